"""The embedded cohort as files."""

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from braing3n.data.bids import find_scans
from braing3n.errors import ConfigError, OutputError
from simulation.phantom.people import draw_site
from simulation.phantom.write import write_phantom

COARSE_MM = 7.0
SEED = 5


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "new" / "cohort"
    return write_phantom(out, sites=4, subjects=13, seed=SEED, voxel_mm=COARSE_MM)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first = write_phantom(tmp_path / "first", 2, 3, SEED, COARSE_MM)
    second = write_phantom(tmp_path / "second", 2, 3, SEED, COARSE_MM)
    assert content(first) == content(second)


def test_another_seed_gives_another_cohort(cohort, tmp_path):
    other = write_phantom(tmp_path / "other", 1, 1, SEED + 1, COARSE_MM)
    assert table(other / "truth.tsv")[0] != table(cohort / "truth.tsv")[0]


def test_a_subject_does_not_depend_on_how_many_others_there_are(cohort, tmp_path):
    alone = write_phantom(tmp_path / "alone", 1, 1, SEED, COARSE_MM)
    subject = content(alone / "site-a" / "sub-a001")
    assert subject == content(cohort / "site-a" / "sub-a001")
    assert table(alone / "truth.tsv")[0] == table(cohort / "truth.tsv")[0]


def test_subjects_that_do_not_divide_evenly_go_to_the_first_sites(cohort):
    counts = [len(table(cohort / f"site-{s}" / "participants.tsv")) for s in "abcd"]
    assert counts == [4, 3, 3, 3]


def test_every_volume_has_a_valid_bids_name_and_its_sidecar(cohort):
    name = re.compile(
        r"(sub-[a-z]\d{3})/((ses-[12])/)?anat/\1(_\3)?_(ce-gadolinium_T1w|T1w|T2w|FLAIR)\.nii\.gz")
    for site in sorted(cohort.glob("site-*")):
        scans, others = find_scans(site)
        assert scans
        assert not others
        for path in site.rglob("*.nii.gz"):
            assert name.fullmatch(str(path.relative_to(site))), path
            sidecar = json.loads(path.with_name(path.name[:-7] + ".json").read_text())
            assert sidecar["MagneticFieldStrength"] in {1.5, 3.0}
            assert sidecar["Manufacturer"]
            assert sidecar["InstitutionName"].startswith("Phantom Hospital ")


def test_tables_have_their_columns_and_agree_with_the_folders(cohort):
    for site in sorted(cohort.glob("site-*")):
        rows = table(site / "participants.tsv")
        assert list(rows[0]) == ["participant_id", "age", "sex", "diagnosis", "mmse"]
        assert sorted(r["participant_id"] for r in rows) == sorted(
            p.name for p in site.glob("sub-*"))
        description = json.loads((site / "dataset_description.json").read_text())
        assert {"Name", "BIDSVersion"} <= set(description)
        assert set(json.loads((site / "participants.json").read_text())) == set(rows[0]) - {
            "participant_id"}


def test_two_visits_are_told_in_a_table_of_sessions(cohort):
    found = 0
    for path in cohort.rglob("*_sessions.tsv"):
        first, second = table(path)
        assert list(first) == ["session_id", "age", "mmse", "diagnosis"]
        assert 2 <= float(second["age"]) - float(first["age"]) <= 5.05
        assert int(second["mmse"]) <= int(first["mmse"])
        sessions = {p.name for p in path.parent.iterdir() if p.is_dir()}
        assert sessions == {first["session_id"], second["session_id"]}
        found += 1
    assert found == len(list(cohort.glob("site-*/sub-*/ses-2"))) > 0


def test_truth_has_one_row_for_each_visit(cohort):
    rows = table(cohort / "truth.tsv")
    visits = {(p.parts[-4], p.parts[-3], "n/a") if p.parts[-3].startswith("sub-") else
              (p.parts[-5], p.parts[-4], p.parts[-3])
              for p in cohort.rglob("*_T1w.nii.gz") if "_ce-" not in p.name}
    assert {(r["site"], r["participant_id"], r["session"]) for r in rows} == visits
    for row in rows:
        assert float(row["severity"]) == pytest.approx((30 - int(row["mmse"])) / 30, abs=1e-4)
        assert 8 < float(row["ventricle_ml"]) < 100
        parts = float(row["grey_ml"]) + float(row["white_ml"]) + float(row["ventricle_ml"])
        assert parts < float(row["brain_ml"])


def test_volumes_are_stored_as_their_site_announces(cohort):
    for number, letter in enumerate("abcd"):
        site = draw_site(number, SEED, COARSE_MM)
        for path in (cohort / f"site-{letter}").rglob("*.nii.gz"):
            image = nib.load(path)
            assert "".join(nib.aff2axcodes(image.affine)) == site.orientation
            assert image.get_data_dtype() == np.dtype(site.dtype)
            slope = image.dataobj.slope
            assert (slope == 1.0) == (site.dtype in {"int16", "float32"})
            ras = nib.as_closest_canonical(image)
            assert ras.header.get_zooms() == pytest.approx(site.voxel_mm, rel=1e-5)
            assert image.header["qform_code"] == image.header["sform_code"] == 1


def test_intensities_are_the_scanner_s_after_scaling_and_background_is_zero(cohort):
    for number, letter in enumerate("abcd"):
        gain = draw_site(number, SEED, COARSE_MM).gain
        volume = nib.load(next((cohort / f"site-{letter}").rglob("*_T1w.nii.gz"))).get_fdata()
        assert not volume[[0, -1]].any()
        assert 0.3 < np.median(volume[volume > 0]) / gain < 1.2
        assert 0.15 < (volume > 0).mean() < 0.6


@pytest.mark.parametrize(("arguments", "name"), [
    ({"sites": 0}, "sites"),
    ({"sites": 3, "subjects": 2}, "subjects"),
    ({"seed": -1}, "seed"),
    ({"voxel_mm": 0.5}, "voxel_mm"),
    ({"voxel_mm": 8.5}, "voxel_mm"),
    ({"voxel_mm": float("nan")}, "voxel_mm"),
])
def test_an_argument_out_of_range_is_named(tmp_path, arguments, name):
    with pytest.raises(ConfigError, match=name):
        write_phantom(tmp_path / "out", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_taken_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError):
        write_phantom(tmp_path)
    with pytest.raises(OutputError):
        write_phantom(tmp_path / "mine.txt")
    assert content(tmp_path) == {"mine.txt": b"keep me"}


def test_an_empty_folder_is_used_and_progress_told(tmp_path):
    calls: list[tuple[int, int]] = []
    out = tmp_path / "out"
    out.mkdir()
    write_phantom(out, 1, 2, SEED, COARSE_MM, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2), (2, 2)]
    assert (out / "truth.tsv").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_cohort_leaves_nothing(tmp_path, error):
    def stop(done: int, total: int) -> None:
        raise error

    with pytest.raises(error):
        write_phantom(tmp_path / "out", 2, 4, SEED, COARSE_MM, progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_phantom(tmp_path / "file" / "out", 1, 1, SEED, COARSE_MM)
