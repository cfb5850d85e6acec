import json

import numpy as np
import pytest

from braing3n.errors import OutputError
from braing3n.report.run_folder import load_generated, load_metrics, load_pictures, load_run


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(OutputError, match="holds no run"):
        load_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"schema": 1}', "null", "\x00"])
def test_a_malformed_run_json_is_told_without_a_traceback(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(OutputError, match=r"run\.json is malformed"):
        load_run(tmp_path)


def test_a_run_json_that_is_not_text_is_told(tmp_path):
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OutputError, match="cannot be read"):
        load_run(tmp_path)


def test_a_mistake_in_run_json_is_named_by_its_path(tmp_path):
    record = {"stages": [{"name": "pretrain", "rounds": "many"}]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(OutputError) as caught:
        load_run(tmp_path)
    assert "`stages.0.rounds`" in caught.value.found


def test_a_malformed_line_of_metrics_is_told_by_its_number(tmp_path):
    good = {"stage": "decoder", "round": 1, "site": "a", "phase": "train", "metrics": {"loss": 1}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(good) + "\n{\n")
    with pytest.raises(OutputError, match="line 2 of"):
        load_metrics(tmp_path)


def test_a_run_without_metrics_has_no_lines(tmp_path):
    assert load_metrics(tmp_path) == []


@pytest.mark.parametrize("arrays", [
    {"mae": np.zeros((2, 2, 2))},
    {"original": np.zeros((2, 2))},
    {"original": np.zeros((2, 2, 2)), "mae": np.zeros((2, 2, 3))},
])
def test_pictures_of_the_wrong_shape_are_told(tmp_path, arrays):
    (tmp_path / "sites" / "a").mkdir(parents=True)
    np.savez(tmp_path / "sites" / "a" / "pictures.npz", **arrays)
    with pytest.raises(OutputError, match="does not hold its arrays"):
        load_pictures(tmp_path, "a")


def test_truncated_and_pickled_archives_are_told(tmp_path):
    path = tmp_path / "generated.npz"
    volumes, ages = np.ones((2, 1, 3, 3, 3)), np.ones(2)
    np.savez_compressed(path, volumes=volumes, ages=ages, diagnoses=np.array(["HC"]))
    assert load_generated(tmp_path).diagnoses == ("HC",)
    whole = path.read_bytes()
    for content in (whole[:-40], whole[: len(whole) // 2], b"", b"not an archive"):
        path.write_bytes(content)
        with pytest.raises(OutputError, match="does not hold its arrays"):
            load_generated(tmp_path)
    np.savez(path, volumes=volumes, ages=ages, diagnoses=np.array(["HC"], dtype=object))
    with pytest.raises(OutputError, match="does not hold its arrays"):
        load_generated(tmp_path)


@pytest.mark.parametrize(("volumes", "ages", "diagnoses"), [
    ((2, 1, 3, 3), 2, 1),
    ((2, 1, 3, 3, 3), 3, 1),
    ((2, 0, 3, 3, 3), 2, 0),
])
def test_generated_brains_that_do_not_fit_their_labels_are_told(tmp_path, volumes, ages, diagnoses):
    np.savez(tmp_path / "generated.npz", volumes=np.ones(volumes), ages=np.ones(ages),
             diagnoses=np.array(["HC"] * diagnoses, dtype=str))
    with pytest.raises(OutputError, match="does not hold its arrays"):
        load_generated(tmp_path)
