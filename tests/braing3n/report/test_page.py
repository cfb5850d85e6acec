import base64
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from braing3n.errors import OutputError
from braing3n.report.departures import human_bytes
from braing3n.report.page import status_level, write_report
from braing3n.report.stage_table import human_time

PRIVACY = "no differential privacy; updates can reveal training data"
SECTIONS = ["summary", "stages", "privacy", "curves", "reconstructions", "generated", "participation",
            "digests"]


def _exchange(sites, lost=(), **more):
    return {"asked": sites, "answered": [s for s in sites if s not in lost],
            "refused": dict.fromkeys(lost, "timeout"), **more}


def _stage(name, sites, rounds, lost, metrics):
    return {"name": name, "rounds": rounds, "sites_asked": len(sites),
            "sites_answered": len(sites) - bool(lost), "seconds": 83.4, "bytes_down": 12_345_678,
            "bytes_up": 2_345_678, "bytes_frozen": 4_100_000, "peak_memory_mb": 812.3,
            "site_peak_memory_mb": 1432.0,
            "metrics": metrics,
            "participation": [_exchange(sites, lost.get(r, ()), round=r, seconds=1.0,
                                        bytes_down=1_500_000 + r, bytes_up=700_000)
                              for r in range(1, rounds + 1)],
            "other_exchanges": [_exchange(sites, what="evaluation")]}


def _run_json(sites):
    stages = [
        _stage("pretrain", sites, 5, {2: sites[-1:], 5: sites[-1:]},
               {"loss": 0.45, "trivial_loss": 0.9}),
        _stage("decoder", sites, 2, {}, {"psnr": 25.0, "mean_volume_psnr": 18.5, "ssim": 0.71}),
        _stage("diffusion", sites, 2, {}, {"loss": 1.1}),
    ]
    return {"schema": 1, "id": "run-7", "name": "demo",
            "status": "completed with 3 of 4 sites in pretrain rounds 2, 5",
            "plan_digest": "ab" * 32, "encoder_digest": "cd" * 32, "started": "2026-01-01T12:00",
            "ended": "2026-01-01T12:05", "privacy": PRIVACY, "versions": {"torch": "2.13"},
            "sites": sites, "strangers": {}, "stages": stages,
            "models": {"encoder": {"file": "model/encoder.safetensors", "digest": "cd" * 32}}}


def _metric_lines(sites):
    for stage, metrics in (("pretrain", {"loss": 0.5, "trivial_loss": 0.9}),
                           ("decoder", {"psnr": 25.0, "mean_volume_psnr": 18.0, "ssim": 0.7}),
                           ("diffusion", {"loss": 1.0})):
        for site in sites:
            common = {"stage": stage, "site": site}
            yield {**common, "round": 0, "phase": "evaluate", "metrics": metrics}
            yield {**common, "round": 1, "phase": "train", "metrics": {"loss": 1.0},
                   "losses": [1.2, 1.0]}
            yield {**common, "round": 1, "phase": "evaluate", "metrics": metrics}


def _ball():
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (10, 12, 10)], indexing="ij")
    return np.where(np.linalg.norm(axes, axis=0) < 0.8, 1 + axes[0], 0).astype(np.float32)


def _write_run(run: Path, sites=("site-a", "site-b", "site-c", "site-d"), pictures=True) -> Path:
    sites = list(sites)
    run.mkdir()
    (run / "run.json").write_text(json.dumps(_run_json(sites)))
    (run / "plan.yaml").write_text("name: demo\npreset: nano\n")
    (run / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in _metric_lines(sites)))
    if pictures:
        for site in sites:
            (run / "sites" / site).mkdir(parents=True)
            np.savez(run / "sites" / site / "pictures.npz", original=_ball(), mae=_ball(),
                     masked=np.where(_ball() > 1, np.nan, _ball()), decoder=_ball())
        np.savez(run / "generated.npz", volumes=np.stack([[_ball()] * 2] * 3),
                 ages=np.array([25.0, 55.0, 85.0]), diagnoses=np.array(["HC", "AD"]))
    return run


def _change(run: Path, **changes) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | changes))


class _Page(HTMLParser):
    """What a browser would find on a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.words = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def _page(run: Path) -> _Page:
    return _Page(write_report(run).read_text(encoding="utf-8"))


def test_the_report_of_a_whole_run_has_every_section_and_picture(tmp_path):
    run = _write_run(tmp_path / "run")
    page = _page(run)
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    images = [link for link in page.links if link.startswith("data:image/png;base64,")]
    # Panels: one of pretrain, three of decoder, one of diffusion; four sites; generated brains.
    assert len(images) == 1 + 3 + 1 + 4 + 1
    assert all(base64.b64decode(i.split(",")[1]).startswith(b"\x89PNG") for i in images)
    for words in (PRIVACY, "completed with 3 of 4 sites in pretrain rounds 2, 5", "ab" * 32,
                  "torch 2.13", "preset: nano", "1 min 23 s", "12.3 MB", "coordinator 812 MB",
                  "0.50 times", "+6.5 dB", "site-d: timeout", "rounds 3 to 4",
                  "treat it as patient data"):
        assert words in page.words


def test_the_age_of_generated_brains_is_told_in_a_sentence(tmp_path):
    run = _write_run(tmp_path / "run", sites=("a",))
    assert "Generated brains:" not in _page(run).words
    _change(run, generation={"age_ventricle_spearman": 0.4782, "age_ventricle_num_samples": 40,
                             "age_ventricle_young_ml": 33.88, "age_ventricle_old_ml": 35.6})
    assert ("rank correlation of 0.48 (1 is in perfect order, 0 not at all): 33.9 ml in the younger "
            "half, 35.6 ml in the older.") in _page(run).words


def test_the_report_needs_no_network_and_no_script(tmp_path):
    page = _page(_write_run(tmp_path / "run", sites=("a",)))
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    text = (tmp_path / "run" / "report.html").read_text()
    assert not re.search(r"https?://|url\(|@import", text)


def test_hostile_names_are_shown_as_text(tmp_path):
    site = "<script>alert(1)</script>$\\frac$"
    run = _write_run(tmp_path / "run", sites=(site, "_b"), pictures=False)
    _change(run, name='"><img src=x>', status="failed: <b>x</b>")
    (run / "plan.yaml").write_text("name: </pre><script>")
    page = _page(run)
    assert "script" not in page.tags
    assert "x" not in page.links
    assert html.unescape(site) in page.words
    assert "failed: <b>x</b>" in page.words


def test_a_site_name_cannot_lead_out_of_the_runs_folder(tmp_path):
    (tmp_path / "secret").mkdir()
    np.savez(tmp_path / "secret" / "pictures.npz", original=_ball())
    run = _write_run(tmp_path / "run", sites=("../../secret", "b"), pictures=False)
    (run / "sites").mkdir()
    assert "No pictures are in this run's folder" in _page(run).words


def test_what_sites_keep_is_said_to_be_kept(tmp_path):
    run = _write_run(tmp_path / "run", sites=("site-a", "site-b"))
    (run / "sites" / "site-b" / "pictures.npz").unlink()
    (run / "generated.npz").unlink()
    page = _page(run)
    assert "No pictures in this folder of: site-b." in page.words
    assert "This page shows a subject's brain of site-a: treat it as patient data." in page.words
    assert "No generated brains are in this run's folder" in page.words


def test_a_run_that_failed_in_its_second_stage_says_how_far_it_came(tmp_path):
    run = _write_run(tmp_path / "run", sites=("a", "b"))
    stages = json.loads((run / "run.json").read_text())["stages"][:2]
    stages[1].update(participation=stages[1]["participation"][:1], metrics={})
    _change(run, status="failed: too few sites", stages=stages, ended=None, encoder_digest=None,
            models={})
    for site in "ab":
        np.savez(run / "sites" / site / "pictures.npz", original=_ball())
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(x for x in lines if '"pretrain"' in x))
    (run / "plan.yaml").unlink()
    words = _page(run).words
    for part in ("Not begun: diffusion.", "1 of 2", "No site reported figures of this stage.",
                 "Not made, as the run did not come so far: masked, mae, decoder.",
                 "no encoder was finished", "plan.yaml is not in", "no end recorded"):
        assert part in words


def test_a_run_that_has_only_begun_has_a_report(tmp_path):
    run = _write_run(tmp_path / "run", pictures=False)
    (run / "metrics.jsonl").unlink()
    _change(run, status="running", stages=[])
    words = _page(run).words
    assert "Not begun: pretrain, decoder, diffusion." in words
    assert "No round took place." in words


def test_a_run_that_was_interrupted_says_where_it_went_on(tmp_path):
    run = _write_run(tmp_path / "run")
    assert "Interrupted" not in write_report(run).read_text()
    _change(run, resumed=[{"at": "2026-01-02T03:04:05+00:00", "stage": "decoder", "round": 1}])
    assert "2026-01-02T03:04:05+00:00 after round 1 of decoder" in write_report(run).read_text()


def test_one_run_gives_the_same_bytes_twice(tmp_path):
    run = _write_run(tmp_path / "run", sites=("a",))
    first = write_report(run).read_bytes()
    assert first == write_report(run).read_bytes()


@pytest.mark.parametrize(("status", "level"), [
    ("completed", "whole"),
    ("completed with 3 of 4 sites in decoder rounds 2, 5", "partial"),
    ("failed: too few sites", "failed"),
    ("running", "running"),
])
def test_only_a_run_that_lost_nothing_is_shown_as_whole(status, level):
    assert status_level(status) == level


def test_amounts_are_written_for_people():
    assert [human_bytes(n) for n in (0, 999, 2_050_000, 3e12)] == [
        "0 bytes", "999 bytes", "2.05 MB", "3 TB"]
    assert [human_time(s) for s in (4.21, 200, 3720)] == ["4.2 s", "3 min 20 s", "1 h 02 min"]


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    run = _write_run(tmp_path / "run", sites=("a",), pictures=False)
    (run / "report.html").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(run)
