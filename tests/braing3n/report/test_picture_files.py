import numpy as np
import pytest

from braing3n.errors import OutputError
from braing3n.report.picture_files import load_generated, load_pictures


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
