from pathlib import Path

import pytest

from braing3n.config import DataConfig, SiteConfig
from braing3n.errors import ConfigError
from client.state_folder import check_state_folder, open_state_folder


def _site(state_dir: Path) -> SiteConfig:
    return SiteConfig(name="a", data=DataConfig(folder=state_dir.parent / "data"), state_dir=state_dir)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_folder_is_for_its_owner_alone_and_a_check_does_not_make_it(tmp_path):
    site = _site(tmp_path / "a/state")
    check_state_folder(site)
    assert not site.state_dir.exists()
    open_state_folder(site)
    assert _mode(site.state_dir) == 0o700


@pytest.mark.parametrize("name", [None, "cache", "site.log"])
def test_an_open_folder_of_the_sites_own_is_closed(name, tmp_path):
    site = _site(tmp_path / "state")
    site.state_dir.mkdir(mode=0o755)
    if name is not None:
        (site.state_dir / name).touch()
    open_state_folder(site)
    assert _mode(site.state_dir) == 0o700


def test_an_open_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path):
    site = _site(tmp_path / "state")
    site.state_dir.mkdir(mode=0o755)
    (site.state_dir / "thesis.docx").touch()
    with pytest.raises(ConfigError, match="holds other files"):
        open_state_folder(site)
    assert _mode(site.state_dir) == 0o755
    site.state_dir.chmod(0o700)
    open_state_folder(site)


def test_what_cannot_become_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file/state", Path("/proc/state")):
        with pytest.raises(ConfigError, match="cannot be used"):
            open_state_folder(_site(place))
