"""Where the scans of a BIDS folder are, and what is listed and not used."""

import json
import os
from itertools import pairwise

import pytest

from braing3n.data.bids import find_scans
from braing3n.data.sidecar import Sidecars
from braing3n.errors import CohortError


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _found(root):
    scans, others = find_scans(root)
    return ([str(scan.path.relative_to(root)) for scan in scans],
            [str(path.relative_to(root)) for path in others])


# --- names -----------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "modality"), [
    ("sub-01_T1w.nii.gz", "T1w"), ("sub-01_t1w.NII.GZ", "T1w"), ("sub-01_T2w.nii", "T2w"),
    ("sub-01_acq-mprage_rec-norm_run-2_echo-1_part-mag_T1w.nii", "T1w"),
    ("sub-01_ce-gadolinium_T1w.nii.gz", "T1c"), ("sub-01_ce-none_T1w.nii.gz", "T1w"),
    ("sub-01_ce-gadolinium_FLAIR.nii.gz", "FLAIR"), ("sub-01_T1c.nii.gz", "T1c"),
    ("sub-01_space-MNI152_desc-preproc_T1w.nii.gz", "T1w"),
])
def test_scans_are_known_by_suffix_and_entities(name, modality, tmp_path):
    _touch(tmp_path, f"sub-01/anat/{name}")
    (scan,), others = find_scans(tmp_path)
    assert (scan.subject, scan.session, scan.modality) == ("sub-01", None, modality)
    assert not others


@pytest.mark.parametrize("name", [
    "sub-01_inv-1_T1w.nii.gz", "sub-01_inv-2_part-mag_MP2RAGE.nii.gz", "sub-01_UNIT1.nii.gz",
    "sub-01_part-phase_T1w.nii.gz", "sub-01_chunk-1_T1w.nii.gz", "sub-01_mod-T1w_defacemask.nii.gz",
    "sub-01_desc-brain_mask.nii.gz", "sub-01_label-GM_T1w.nii.gz", "sub-01_dseg.nii.gz",
    "sub-01_inplaneT1.nii.gz", "sub-01_T2starw.nii.gz", "sub-01_PDw.nii.gz", "sub-01_T1map.nii.gz",
    "sub-01_angio.nii.gz", "sub-02_T1w.nii.gz", "SUB-01_T1w.nii.gz", "T1w.nii.gz", "scan.nii",
    "sub-01_ses-1_ses-2_T1w.nii.gz", "sub-01_acq-_T1w.nii.gz", "sub-01_T1w (1).nii.gz",
    "sub-01 T1w.nii.gz", "sub-01_Müller_T1w.nii.gz", "sub-01_acq-Müller_T1w.nii.gz",
    "sub-01_T1w.nii.gz.part", "sub-01_acq-a_acq-b_T1w.nii.gz", "sub-01_T1w\n.nii.gz",
])
def test_other_images_and_unclear_names_are_listed_not_used(name, tmp_path):
    _touch(tmp_path, "sub-00/anat/sub-00_T1w.nii.gz", f"sub-01/anat/{name}")
    assert _found(tmp_path) == (["sub-00/anat/sub-00_T1w.nii.gz"], [f"sub-01/anat/{name}"])


def test_entities_are_kept_in_the_order_of_the_name(tmp_path):
    _touch(tmp_path, "sub-01/ses-a/anat/sub-01_ses-a_run-2_acq-x_T1w.nii.gz")
    (scan,), _ = find_scans(tmp_path)
    assert list(scan.entities.items()) == [("sub", "01"), ("ses", "a"), ("run", "2"), ("acq", "x")]
    assert hash(scan) == hash(find_scans(tmp_path)[0][0])


def test_the_session_is_that_of_folder_and_name_which_must_agree(tmp_path):
    _touch(tmp_path, "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii", "sub-01/ses-a/anat/sub-01_ses-b_T1w.nii",
           "sub-01/ses-a/anat/sub-01_T1w.nii", "sub-01/anat/sub-01_ses-c_T1w.nii")
    scans, others = find_scans(tmp_path)
    assert [scan.session for scan in scans] == ["ses-c", "ses-a"]
    assert [path.name for path in others] == ["sub-01_T1w.nii", "sub-01_ses-b_T1w.nii"]


# --- folders ---------------------------------------------------------------------------------

def test_what_is_nearly_in_place_is_listed(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/sub-01_T2w.nii.gz",
           "sub-01/Anat/sub-01_FLAIR.nii.gz", "sub-01/ses_1/anat/x", "Sub-02/anat/x", "sub03/anat/x",
           "sub-04_Müller/anat/sub-04_Müller_T1w.nii.gz", "sub-05.zip", "all_T1w.nii.gz",
           "subjects/x", "anat/x", "sub-01/ses-2/sub-01_ses-2_T1w.nii", "sub-01/ses-2/ses-1/anat/x",
           "derivatives/sub-01/anat/sub-01_T1w.nii.gz",
           "sub-01/func/sub-01_task-rest_bold.nii.gz")
    assert _found(tmp_path) == (["sub-01/anat/sub-01_T1w.nii.gz"], [
        "Sub-02", "all_T1w.nii.gz", "anat", "sub03", "sub-01/Anat", "sub-01/ses_1",
        "sub-01/sub-01_T2w.nii.gz", "sub-01/ses-2/ses-1", "sub-01/ses-2/sub-01_ses-2_T1w.nii",
        "sub-04_Müller/anat/sub-04_Müller_T1w.nii.gz"])


def test_linked_subjects_are_read_and_lost_links_are_told(tmp_path):
    root, scan = tmp_path / "root", "anat/sub-02_T1w.nii.gz"
    _touch(root, "sub-01/anat/sub-01_T1w.nii.gz")
    _touch(tmp_path, f"elsewhere/{scan}")
    (root / "sub-02").symlink_to("../elsewhere")
    (root / "sub-03").symlink_to("../nowhere")
    (root / "sub-04/anat").mkdir(parents=True)
    (root / "sub-04/anat/sub-04_T1w.nii.gz").symlink_to("nowhere.nii.gz")
    (root / "sub-05").mkdir()
    (root / "sub-05/anat").symlink_to("nowhere")
    _write(root / "T1w.json", {"MagneticFieldStrength": 7})
    scans, others = find_scans(root)
    assert [scan.subject for scan in scans] == ["sub-01", "sub-02", "sub-04"]
    assert [path.name for path in others] == ["sub-03", "anat"]
    assert Sidecars(root).of(root / "sub-02" / scan) == {"MagneticFieldStrength": 7}


def test_circles_of_links_end(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    for name in ("sub-01/ses-1", "sub-01/ses-2", "sub-01/anat/again", "sub-02"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "sub-03").symlink_to("sub-03")
    (tmp_path / "sub-01/anat/sub-01_T2w.nii.gz").symlink_to("sub-01_T2w.nii.gz")
    scans, others = _found(tmp_path)
    assert scans == ["sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz"]
    inside = [f"sub-0{n}" for n in (1, 2, 3)]
    assert others == [*(f"sub-01/ses-{n}/{name}" for n in (1, 2) for name in inside),
                      *(f"sub-02/{name}" for name in inside), "sub-03"]


def test_folders_and_pipes_named_like_scans_are_listed(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "sub-01/anat/sub-01_T2w.nii").mkdir()
    os.mkfifo(tmp_path / "sub-01/anat/sub-01_FLAIR.nii")
    os.mkfifo(tmp_path / "sub-01/anat/sub-01_T1w.json")
    assert _found(tmp_path)[1] == ["sub-01/anat/sub-01_FLAIR.nii", "sub-01/anat/sub-01_T2w.nii"]
    sidecars = Sidecars(tmp_path)
    assert sidecars.of(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz") == {}
    assert [path.name for path in sidecars.damaged] == ["sub-01_T1w.json"]


def _deny(monkeypatch, *denied):
    """Make folders unreadable, also to root, who runs some test machines."""
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith(denied):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_cannot_be_read_is_listed_and_the_others_go_on(tmp_path, monkeypatch):
    _touch(tmp_path, *(f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in range(1, 4)))
    _deny(monkeypatch, "sub-01", "sub-02/anat")
    scans, others = _found(tmp_path)
    assert scans == ["sub-03/anat/sub-03_T1w.nii.gz"]
    assert others == ["sub-01", "sub-02/anat"]
    sidecars = Sidecars(tmp_path)
    sidecars.of(tmp_path / "sub-02/anat/sub-02_T1w.nii.gz")
    assert sidecars.damaged == [tmp_path / "sub-02/anat"]
    _deny(monkeypatch, tmp_path.name)
    with pytest.raises(CohortError, match="cannot be listed"):
        find_scans(tmp_path)


# --- real datasets ---------------------------------------------------------------------------

@pytest.mark.parametrize(("dataset", "counts"), [
    ("ds006", {"T1w": 28}), ("genetics_ukbb", {"T1w": 14, "FLAIR": 14}), ("synthetic", {"T1w": 6}),
    ("mrs_fmrs", {"T1w": 15}), ("pheno004", {"T1w": 2}),
])
def test_real_datasets_are_found_whole_and_described(dataset, counts, test_data):
    root = test_data / "bids" / dataset
    scans, others = find_scans(root)
    assert {m: sum(s.modality == m for s in scans) for m in counts} == counts
    assert sum(counts.values()) == len(scans)
    assert all("inplaneT2" in path.name for path in others)
    sidecars = Sidecars(root)
    strengths = {(s.modality, sidecars.of(s.path).get("MagneticFieldStrength")) for s in scans}
    known = dataset not in ("ds006", "synthetic")
    assert ("T1w", 3 if known else None) in strengths
    assert sidecars.damaged == sidecars.disputed == []
    ordered = [(s.subject, s.session or "", s.path) for s in scans]
    assert all(first < second for first, second in pairwise(ordered))
