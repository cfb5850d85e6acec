import json
from pathlib import Path

import pytest

from braing3n.report.page import write_report
from braing3n.report.probe_table import ProbesRecord, probe_rows

PROBES = {
    "exchanges": 3, "bytes_down": 12_000, "bytes_up": 3_400_000, "bytes_frozen": 0, "seconds": 4.0,
    "tasks": {
        "age": {"kind": "regression", "method": "ridge", "strength": 0.1, "sites": ["a", "b"],
                "refused": {"c": "policy"}, "not_probed": None,
                "metrics": {"r2": 0.4321, "mae": 6.7}, "by_site": {"a": {"r2": 0.5, "mae": None}}},
        "sex/lda": {"kind": "classification", "method": "lda", "sites": [], "strength": None,
                    "refused": {"b": "cohort", "c": "<b>"}, "metrics": {}, "by_site": {},
                    "not_probed": "1 usable sites, and 2 are needed"}}}


def test_each_metric_is_a_row_with_a_figure_for_each_site_and_why_others_are_missing():
    r2, mae, sex = probe_rows(ProbesRecord.model_validate(PROBES), ["a", "b", "c"])
    assert (r2.task, r2.metric, r2.overall, r2.each) == ("age", "R²", "0.432", ("0.5", "-", "-"))
    assert r2.missing == "c: not allowed by its settings"
    assert (mae.metric, mae.overall, mae.each) == ("mean error", "6.7", ("-", "-", "-"))
    assert (sex.metric, sex.overall) == ("not probed", "1 usable sites, and 2 are needed")
    assert sex.missing == "b: fewer than five people; c: <b>"


def test_a_probe_that_was_fitted_and_could_not_be_measured_says_why():
    blank = {**PROBES["tasks"]["age"], "metrics": {"r2": None, "mae": None}, "by_site": {},
             "not_measured": "few held out"}
    (row,) = probe_rows(ProbesRecord.model_validate({"tasks": {"age": blank}}), ["a", "b"])
    assert (row.metric, row.overall, row.each) == ("not measured", "few held out", ("-", "-"))


@pytest.mark.parametrize("has_probes", [True, False])
def test_the_page_has_a_table_where_there_are_probes(has_probes: bool, tmp_path: Path):
    run = {"id": "r", "name": "demo", "status": "completed", "plan_digest": "ab", "privacy": "none",
           "versions": {}, "sites": ["a", "b", "c"], "stages": []}
    (tmp_path / "run.json").write_text(json.dumps({**run, "probes": PROBES} if has_probes else run))
    text = write_report(tmp_path).read_text()
    assert ("<h2>Probes</h2>" in text) == ("What left the sites for it" in text) == has_probes
    assert ("For the probes they sent 3.4 MB more" in text) == has_probes
    assert ("c: &lt;b&gt;" in text) == has_probes
    assert "<b>c" not in text
    assert "private" not in text.lower().replace("privacy", "")
    assert "anonym" not in text.lower()
