import os
import time

import pytest

from braing3n.data.tree import Kind
from braing3n.data.walk import walk


def kinds_in(root, aside=frozenset()):
    return {entry.path.relative_to(root).as_posix(): entry.kind for entry in walk(root, aside)}


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_every_file_is_given_once_in_order_and_leftovers_are_not_entered(tmp_path):
    write(tmp_path, "b/sub-01_T1w.nii", "a.hdr", "a.img", "lonely.img", ".git/config", "._a.hdr",
          "Thumbs.db", ".bidsignore", "__MACOSX/x")
    (tmp_path / "gone.nii").symlink_to("nowhere")
    found = kinds_in(tmp_path)
    assert found == {".bidsignore": Kind.OTHER, "._a.hdr": Kind.LITTER, ".git": Kind.LITTER,
                     "Thumbs.db": Kind.LITTER, "__MACOSX": Kind.LITTER, "a.hdr": Kind.SCAN,
                     "b/sub-01_T1w.nii": Kind.SCAN, "gone.nii": Kind.SCAN, "lonely.img": Kind.SCAN}
    assert list(found) == sorted(found)


@pytest.mark.parametrize("name", [".heudiconv", ".dicom", ".old", "~backup"])
def test_a_hidden_folder_is_told_apart_from_what_systems_leave(name, tmp_path):
    write(tmp_path, f"{name}/01/dicominfo.tsv", ".hidden_file")
    assert kinds_in(tmp_path) == {name: Kind.HIDDEN, ".hidden_file": Kind.LITTER}


def test_pipes_and_devices_are_told_also_behind_links_and_under_any_name(tmp_path):
    os.mkfifo(tmp_path / "sub-01_T1w.nii.gz")
    (tmp_path / "sub-02_T1w.json").symlink_to("sub-01_T1w.nii.gz")
    (tmp_path / "sub-03_T1w.nii").symlink_to("/dev/zero")
    assert set(kinds_in(tmp_path).values()) == {Kind.SPECIAL}


def test_a_link_to_nowhere_is_what_its_name_says_or_lost(tmp_path):
    for name, target in (("sub-01_T1w.nii.gz", "gone"), ("x.tsv", "gone"), ("sub-02", "gone"),
                         ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    assert kinds_in(tmp_path) == {"sub-01_T1w.nii.gz": Kind.SCAN, "x.tsv": Kind.TABLE,
                                  "sub-02": Kind.LOST, "loop": Kind.LOST}


def test_a_folder_is_entered_in_its_own_place_and_through_one_link_at_most(tmp_path):
    write(tmp_path, "outside/x.nii", "root/z/y.nii")
    root = tmp_path / "root"
    for name, target in (("a", "../outside"), ("b", "../outside"), ("self", "."), ("c", "z")):
        (root / name).symlink_to(target)
    assert kinds_in(root) == {"a/x.nii": Kind.SCAN, "b": Kind.AGAIN, "self": Kind.AGAIN,
                              "c/y.nii": Kind.SCAN, "z/y.nii": Kind.SCAN}


def test_the_link_behind_the_fewest_others_is_followed(tmp_path):
    write(tmp_path, "far/scans/x.nii", "root/sub/keep")
    root = tmp_path / "root"
    (root / "a").symlink_to("../far")  # scans would be met in it first, by name
    (root / "sub" / "anat").symlink_to("../../far/scans")
    found = kinds_in(root)
    assert found["sub/anat/x.nii"] is Kind.SCAN
    assert found["a/scans"] is Kind.AGAIN


def test_folders_that_all_link_to_one_another_take_no_longer_than_they_have_links(tmp_path):
    count = 60  # more than a system follows in one path, and 60! paths
    for here in range(count):
        write(tmp_path, f"f{here}/x.nii")
        for there in range(count):
            (tmp_path / f"f{here}" / f"l{there}").symlink_to(f"../f{there}")
    start = time.monotonic()
    found = kinds_in(tmp_path)
    assert time.monotonic() - start < 20
    assert sum(kind is Kind.SCAN for kind in found.values()) == 2 * count
    assert set(found.values()) == {Kind.SCAN, Kind.AGAIN}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_without_permission_does_not_stop_the_walk(mode, tmp_path):
    write(tmp_path, "closed/inner/x.nii", "open.nii")
    (tmp_path / "closed").chmod(mode)
    found = kinds_in(tmp_path)
    (tmp_path / "closed").chmod(0o755)
    assert found["open.nii"] is Kind.SCAN
    assert Kind.CLOSED in found.values()


def test_what_is_set_aside_is_left_out_by_whatever_name(tmp_path):
    write(tmp_path, "d/state/x.nii", "d/site.yaml", "d/y.nii")
    (tmp_path / "link").symlink_to("d")
    aside = frozenset({tmp_path / "d/state", tmp_path / "d/site.yaml", tmp_path / "not-there"})
    assert list(kinds_in(tmp_path / "d", aside)) == ["y.nii"]
    assert list(kinds_in(tmp_path / "link", aside)) == ["y.nii"]
