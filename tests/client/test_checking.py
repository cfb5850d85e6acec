import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from braing3n.config import load_site_config
from braing3n.data.splits import FILE_NAME, open_split
from braing3n.errors import BrainG3NError, CohortError, ConfigError, LedgerError
from braing3n.privacy.ledger import open_ledger
from braing3n.privacy.ledger_entry import MechanismRecord, SpentRecord
from client.checking import look_at_site
from client.cli import app
from client.subjects import training_subjects

RUNNER = CliRunner()


def _site(folder, data, **more):
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump({"name": "hospital-a", "data": data, "state_dir": "state", **more}))
    return path


def _table(folder, subjects):
    for number in range(subjects):
        (folder / f"{number}.nii.gz").touch()
    (folder / "scans.csv").write_text("subject,path\n" + "".join(
        f"p{number},{number}.nii.gz\n" for number in range(subjects)))


def _check(path):
    outcome = RUNNER.invoke(app, ["check", str(path), "--json"])
    return outcome.exit_code, json.loads(outcome.stdout)


def test_a_sites_folder_is_checked_without_its_own_cache(write_scan, tmp_path):
    write_scan(tmp_path / "d/sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "d/state/cache").mkdir(parents=True)
    (tmp_path / "d/state/cache/broken.nii").write_bytes(b"")
    code, outcome = _check(_site(tmp_path, {"folder": "d"}, state_dir="d/state"))
    assert code == 0
    assert outcome["num_volumes"] == 1


def test_a_sites_table_is_checked_with_the_scans_that_it_lists(write_scan, tmp_path):
    write_scan(tmp_path / "a/one.nii.gz")
    (tmp_path / "two.nii.gz").write_bytes(b"")
    (tmp_path / "scans.csv").write_text("subject,path,age,sex\np1,a/one.nii.gz,34,M\n"
                                        "p2,two.nii.gz,40,F\n")
    code, outcome = _check(_site(tmp_path, {"table": "scans.csv"}))
    assert code == 1
    assert [(found["code"], found["file"]) for found in outcome["findings"]
            if found["severity"] == "ERROR"] == [("file-empty", "two.nii.gz")]


def test_codes_that_a_mapping_explains_are_no_finding(write_scan, tmp_path):
    for number in range(1, 7):
        write_scan(tmp_path / f"d/sub-0{number}/anat/sub-0{number}_T1w.nii.gz", seed=number)
    (tmp_path / "d/participants.tsv").write_text("participant_id\tage\tSEX_ID\n" + "".join(
        f"sub-0{number}\t{30 + number}\t{1 + number % 2}\n" for number in range(1, 7)))
    (tmp_path / "m.yaml").write_text("subject: participant_id\n"
                                     "sex: {column: SEX_ID, codes: {1: M, 2: F}}\n")
    without = _check(_site(tmp_path, {"folder": "d"}))[1]
    mapped = _check(_site(tmp_path, {"folder": "d", "mapping": "m.yaml"}))[1]
    codes = [{found["code"] for found in outcome["findings"]} for outcome in (without, mapped)]
    assert "sex-unclear" in codes[0]
    assert "sex-unclear" not in codes[1]


@pytest.mark.parametrize(("preprocessing", "code"), [
    ({}, "skull-refused"), ({"check": False}, "skull-present")])
def test_skulls_are_errors_where_training_refuses_them(preprocessing, code, brain, write_scan,
                                                       tmp_path):
    around = np.random.default_rng(0).integers(1, 30, (48, 48, 48)).astype(np.int16)  # no exact 0
    head = np.pad(brain, ((9, 9), (7, 7), (10, 10))) + around
    write_scan(tmp_path / "d/sub-01/anat/sub-01_T1w.nii.gz", head)
    outcome = _check(_site(tmp_path, {"folder": "d"}, preprocessing=preprocessing))[1]
    assert code in {found["code"] for found in outcome["findings"]}


@pytest.mark.parametrize(("more", "message"), [
    ({"data": {"folder": "d", "modalities": ["FLAIR"]}}, "modality"),
    ({"cache": {"encrypt": True, "key_file": "gone.key"}}, "key file"),
])
def test_settings_that_training_could_not_use_are_told_before_any_scan_is_read(
        more, message, write_scan, tmp_path):
    write_scan(tmp_path / "d/sub-01/anat/sub-01_T1w.nii.gz")
    data = more.pop("data", {"folder": "d"})
    with pytest.raises(BrainG3NError, match=message):
        look_at_site(_site(tmp_path, data, **more))
    assert not (tmp_path / "state").exists()


def test_a_folder_in_place_of_the_settings_gets_the_other_command(tmp_path):
    with pytest.raises(ConfigError, match="use `braing3n check"):
        look_at_site(tmp_path)


def test_a_delta_that_promises_nothing_to_so_many_patients_is_told(tmp_path):
    _table(tmp_path, 150)
    data = {"table": "scans.csv", "draw": "alone", "held_out": 0}
    look_at_site(_site(tmp_path, data, budget={"epsilon": 8.0, "delta": 0.006}))
    with pytest.raises(ConfigError, match="promises nothing") as told:
        look_at_site(_site(tmp_path, data, budget={"epsilon": 8.0, "delta": 0.007}))
    assert "150 subjects" in told.value.found
    # As in a run, those who are held out do not count.
    look_at_site(_site(tmp_path, {**data, "held_out": 0.2}, budget={"epsilon": 8.0, "delta": 0.007}))
    with pytest.raises(ConfigError, match="mistake"):
        look_at_site(_site(tmp_path, data, budget={"epsilon": 8.0, "delta": 0.01}))
    assert not (tmp_path / "state").exists()


def test_a_remembered_split_that_training_would_refuse_is_told_and_left_as_it_is(tmp_path):
    _table(tmp_path, 40)
    record = tmp_path / "state" / FILE_NAME
    path = _site(tmp_path, {"table": "scans.csv", "draw": "alone", "held_out": 0.5},
                 budget={"epsilon": 8.0})
    config = load_site_config(path)
    assert 10 < training_subjects(config) < 30
    assert not record.parent.exists()
    strata = {f"p{number}": ("d", "s", "a") for number in range(40)}
    open_split(record, strata, config.data.model_copy(update={"held_out": 0.2}))
    remembered = record.read_bytes()
    with pytest.raises(CohortError, match="on other sides"):
        look_at_site(path)
    assert record.read_bytes() == remembered


def test_spending_under_another_cohort_name_is_a_warning(write_scan, tmp_path):
    write_scan(tmp_path / "d/sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "d/sub-02/anat").mkdir(parents=True)
    (tmp_path / "d/sub-02/anat/sub-02_T1w.nii.gz").touch()
    record = MechanismRecord(name="gaussian", sample_rate=1.0, noise_multiplier=4.0, steps=1,
                             clip_norm=1.0, num_subjects=70)
    with open_ledger(tmp_path / "state") as ledger:
        ledger.reserve(run="r", stage="decoder", round_index=1, cohort="patients", what="moments",
                       mechanism=record, spent=SpentRecord(pld=0.93, rdp=1.0, delta=1e-5),
                       plan_digest="d" * 64)
    data = {"folder": "d", "draw": "alone", "held_out": 0}
    for budget, warned in (({"epsilon": 8.0}, 0), ({"epsilon": 8.0, "cohort": "again"}, 1)):
        _, outcome = _check(_site(tmp_path, data, budget=budget))
        found = [one for one in outcome["findings"] if one["code"] == "cohort-renamed"]
        assert len(found) == warned
    assert found[0]["severity"] == "WARN"
    assert "an epsilon of 0.927 at delta 1e-05" in found[0]["found"]
    assert "another cohort name, patients," in found[0]["found"]
    severities = [one["severity"] for one in outcome["findings"]]
    assert severities == sorted(severities, key=["ERROR", "PRIVACY", "WARN", "INFO"].index)
    assert severities[0] == "ERROR"
    _, outcome = _check(_site(tmp_path, data))
    assert "cohort-renamed" not in {one["code"] for one in outcome["findings"]}
    (removed,) = [one for one in outcome["findings"] if one["code"] == "budget-removed"]
    assert removed["severity"] == "WARN"
    assert "an epsilon of 0.927 at delta 1e-05 for cohort patients" in removed["found"]
    assert "write `budget:` back" in removed["fix"]


def test_a_check_of_a_site_whose_ledger_is_gone_says_so(write_scan, tmp_path):
    write_scan(tmp_path / "d/sub-01/anat/sub-01_T1w.nii.gz")
    with open_ledger(tmp_path / "state"):
        pass
    (tmp_path / "state/ledger.jsonl").unlink()
    path = _site(tmp_path, {"folder": "d", "draw": "alone", "held_out": 0}, budget={"epsilon": 8.0})
    with pytest.raises(LedgerError, match="is gone"):
        look_at_site(path)
