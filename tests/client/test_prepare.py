import json
import shutil
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from braing3n.errors import ConfigError
from braing3n.privacy.ledger import open_ledger
from braing3n.privacy.ledger_history import Decided
from client.prepare import cache_key, prepare

app = typer.Typer()
app.command()(prepare)
app.command()(cache_key)


@pytest.fixture
def site(tmp_path: Path, phantom_cohort: Path) -> Path:
    """The file of a site with five synthetic subjects."""
    shutil.copytree(phantom_cohort / "site-a", tmp_path / "bids")
    return write_site(tmp_path)


def write_site(folder: Path, **cache: object) -> Path:
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump({"name": "site-a", "data": {"folder": "bids"},
                                    "state_dir": "state", "cache": cache}))
    return path


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def call_json(*arguments: object) -> tuple[int, dict]:
    result = call("prepare", *arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def scans(folder: Path) -> list[Path]:
    return sorted(folder.glob("bids/sub-*/**/anat/*.nii.gz"))


def test_everything_is_cached_and_counted(site: Path, tmp_path: Path) -> None:
    code, found = call_json(site)
    assert code == 0
    assert found["cached"] == found["volumes"] == len(scans(tmp_path))
    assert found["skipped"] == []
    assert {side: counts["subjects"] for side, counts in found["split"].items()} == {
        "train": 4, "validation": 1, "test": 0}
    assert sum(counts["volumes"] for counts in found["split"].values()) == found["volumes"]
    entries = [path for path in (tmp_path / "state/cache").glob("*/*") if path.is_file()]
    assert found["cache_bytes"] == sum(path.stat().st_size for path in entries) > 0
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert call_json(site) == (code, found)


def test_a_refused_scan_is_named_with_its_reason(site: Path, tmp_path: Path) -> None:
    broken = scans(tmp_path)[0]
    broken.write_bytes(b"")
    code, found = call_json(site)
    assert code == 1
    assert [scan["path"] for scan in found["skipped"]] == [str(broken)]
    result = call("prepare", site)
    assert result.exit_code == 1
    assert f"left out {found['skipped'][0]['reason']}" in result.stdout
    assert f"{found['cached']} of {found['volumes']} volumes are cached" in result.stdout


def test_a_damaged_entry_is_found_and_made_again(site: Path, tmp_path: Path) -> None:
    _, before = call_json(site)
    entry = next(path for path in (tmp_path / "state/cache").glob("*/*"))
    content = entry.read_bytes()
    entry.write_bytes(content[:-1])
    code, after = call_json(site)
    assert (code, after) == (0, before | {"repaired": 1})
    assert entry.read_bytes() == content


def test_a_limit_is_kept_and_what_has_no_room_is_told(site: Path) -> None:
    code, found = call_json(site, "--cache-limit", "0.0004")  # 400 kB: two volumes
    assert code == 0
    assert found["cached"] == 2
    assert found["cache_bytes"] <= 400_000
    assert f"no room for {found['volumes'] - 2}" in call(
        "prepare", site, "--cache-limit", "0.0004").stdout
    for limit in ("0", "-1", "nan"):
        with pytest.raises(ConfigError, match="--cache-limit"):
            call("prepare", site, "--cache-limit", limit)


def test_a_new_key_encrypts_the_cache(site: Path, tmp_path: Path) -> None:
    key = tmp_path / "keys" / "cache.key"
    assert str(key) in call("cache-key", key).stdout
    write_site(tmp_path, encrypt=True, key_file=str(key))
    code, found = call_json(site)
    assert code == 0
    assert found["encrypted"]
    assert found["cached"] == found["volumes"]
    assert all(path.suffix == ".sealed" for path in (tmp_path / "state/cache").glob("*/*"))
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError, match="no key can be written"):
        call("cache-key", key)


def test_a_budget_that_was_taken_out_of_the_settings_is_a_warning(site: Path, tmp_path: Path) -> None:
    assert call_json(site)[1]["warnings"] == []
    with open_ledger(tmp_path / "state") as ledger:
        ledger.decide("patients", Decided(8.0, 1e-5))
    code, found = call_json(site)
    assert code == 0
    (warning,) = found["warnings"]
    assert "training now would be without differential privacy, and void that for good" in warning
    assert f"warning: {warning}" in call("prepare", site).stdout


def test_an_unknown_preset_is_misuse(site: Path) -> None:
    assert call("prepare", site, "--preset", "huge").exit_code == 2
