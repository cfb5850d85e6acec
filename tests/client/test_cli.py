import json
import sys

import nibabel as nib
import numpy as np
import pytest
import yaml

from braing3n import cli


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "data"
    (root / "sub-01/anat").mkdir(parents=True)
    image = nib.Nifti1Image(np.arange(20**3, dtype=np.int16).reshape(20, 20, 20),
                            np.diag([-2.0, 2, 2, 1]))
    image.header["descrip"] = b"DOE^JANE 19660101"
    nib.save(image, root / "sub-01/anat/sub-01_T1w.nii.gz")
    (root / "participants.tsv").write_text("participant_id\tage\tname\nsub-01\t95\tJane Doe\n")
    return root


@pytest.fixture
def braing3n(monkeypatch, capsys):
    """Run the program as a shell would, and return its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["braing3n", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def write_yaml(path, data):
    path.write_text(yaml.safe_dump({"name": "a", "data": data, "state_dir": "state"}))
    return path


def test_a_clean_copy_ends_with_0_and_says_where_it_is(site, tmp_path, braing3n):
    code, out, err = braing3n("site", "scrub", site, "--out", tmp_path / "copy")
    assert code == 0
    assert f"copy: {tmp_path / 'copy'}" in out
    assert "2 files copied, 2 of them cleaned" in out
    assert "next: run `braing3n check" in out
    assert "copying files: 2/2" in err
    assert not any(secret in out + err for secret in ("DOE", "Doe", "Jane", "1966"))


def test_what_a_person_has_to_decide_about_ends_with_1(site, tmp_path, braing3n):
    (site / "report.pdf").write_bytes(b"%PDF")
    (site / "Doe_Jane_T1w.nii.gz").write_bytes(b"")
    code, out, _ = braing3n("site", "scrub", site, "--out", tmp_path / "copy")
    assert code == 1
    assert "report.pdf" in out
    assert "***_T1w.nii.gz" in out
    assert "Doe" not in out


def test_json_prints_the_log_alone(site, tmp_path, braing3n):
    code, out, _ = braing3n("site", "scrub", site, "--out", tmp_path / "copy", "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "copy-scrub-log.json").read_text())


@pytest.mark.parametrize("source", ["nowhere", "participants.tsv", "nowhere.yaml"])
def test_a_source_that_is_neither_folder_nor_site_file_ends_with_2(source, site, tmp_path, braing3n):
    code, out, err = braing3n("site", "scrub", site / source, "--out", tmp_path / "copy")
    assert code == 2
    assert "expected:" in err
    assert not out
    assert not (tmp_path / "copy").exists()


def test_a_taken_place_ends_with_2(site, tmp_path, braing3n):
    code, _, err = braing3n("site", "scrub", site, "--out", site / "copy")
    assert code == 2
    assert "no place for a copy" in err


def test_a_site_file_stands_for_its_folder_without_its_state(site, tmp_path, braing3n):
    config = write_yaml(site / "site.yaml", {"folder": "."})
    (site / "state").mkdir()
    (site / "state/progress.json").write_text("{}")
    code, _, _ = braing3n("site", "scrub", config, "--out", tmp_path / "copy")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["participants.tsv", "sub-01"]


def test_a_site_file_with_a_table_stands_for_its_folder_and_tells_scans_outside(site, tmp_path,
                                                                                braing3n):
    (site / "scans.csv").write_text("subject,path\ns1,sub-01/anat/sub-01_T1w.nii.gz\n")
    config = write_yaml(tmp_path / "site.yaml", {"table": "data/scans.csv"})
    assert braing3n("site", "scrub", config, "--out", tmp_path / "copy")[0] == 0
    (site / "scans.csv").write_text("subject,path\ns1,../other.nii.gz\n")
    code, out, _ = braing3n("site", "scrub", config, "--out", tmp_path / "second")
    assert code == 1
    assert "outside of its folder" in out
