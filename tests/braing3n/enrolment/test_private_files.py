import os
import stat

import pytest

from braing3n.enrolment.private_files import (
    check_absent,
    is_there,
    make_private_folder,
    read_private,
    write_private,
)
from braing3n.errors import ConfigError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_its_owners_alone_whatever_the_mask_and_whole(tmp_path):
    before = os.umask(0)
    try:
        write_private(tmp_path / "a", b"x")
        write_private(tmp_path / "a", b"y")
        make_private_folder(tmp_path / "folder")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o600
    assert mode(tmp_path / "folder") == 0o700
    assert read_private(tmp_path / "a") == b"y"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]


@pytest.mark.parametrize("open_mode", [0o604, 0o640, 0o620, 0o601])
def test_what_is_open_to_others_is_refused(tmp_path, open_mode):
    write_private(tmp_path / "a", b"x")
    (tmp_path / "a").chmod(open_mode)
    with pytest.raises(ConfigError, match="open to others") as error:
        read_private(tmp_path / "a")
    assert error.value.found == f"mode {open_mode:04o}"
    (tmp_path / "folder").mkdir(mode=0o750)
    with pytest.raises(ConfigError, match="open to others"):
        make_private_folder(tmp_path / "folder")


def test_what_cannot_be_read_or_written_is_told(tmp_path):
    (tmp_path / "file").touch(mode=0o600)
    for act in (lambda: read_private(tmp_path), lambda: read_private(tmp_path / "none"),
                lambda: write_private(tmp_path / "file/a", b""),
                lambda: make_private_folder(tmp_path / "file"),
                lambda: make_private_folder(tmp_path / "file/a"),
                lambda: read_private(tmp_path / "file", -1)):
        with pytest.raises(ConfigError):
            act()
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(ConfigError, match="is taken"):
            check_absent(taken)
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with pytest.raises(ConfigError, match="is taken"):
        check_absent(tmp_path / "link")
    for free in (tmp_path / "none", tmp_path / "file/none"):
        check_absent(free)
        assert not is_there(free)
    assert is_there(tmp_path / "link")
    with pytest.raises(ConfigError, match="nobody can tell"):  # as where a folder may not be entered
        check_absent(tmp_path / ("a" * 300))
