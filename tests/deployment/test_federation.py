"""Three hospitals over TLS, the three stages, started through our commands alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from braing3n.service.programs import environment

FLOWER = Path(sys.executable).parent


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, test_data: Path, phantom_cohort: Path,
    new_consortium: Callable[[Path], Any],
) -> Iterator[Any]:
    """A consortium whose run is over, and that is still at work."""
    made = new_consortium(tmp_path_factory.mktemp("trial"))
    names = made.make_real_and_phantom_sites(test_data, phantom_cohort)
    for name in names:
        made.enrol(name)
    made.start_server()
    for name in names:
        made.start_site(name)
    made.wait_online(*names)
    made.submit(made.write_plan(min_sites=3))
    made.ended = made.follow()
    yield made
    made.end_all()


def test_three_hospitals_run_all_stages(finished: Any) -> None:
    record = json.loads((finished.folder / "trial/run.json").read_text())
    assert finished.ended == "completed"
    assert record["status"] == "completed"
    assert record["sites"] == ["phantom", "site-hh", "site-nsk"]
    assert set(record["models"]) == {"encoder", "decoder", "statistics", "dit"}


def test_every_site_can_show_what_it_sent(finished: Any) -> None:
    for name in ("phantom", "site-hh", "site-nsk"):
        shown = finished.run("site", "outbox", finished.site(name)).stdout
        assert "train.pretrain" in shown
        assert "train.diffusion" in shown


@pytest.mark.parametrize("arguments", [
    ("ls",), ("run", "app"), ("supernode", "register", "node.pub"), ("supernode", "list"),
])
def test_from_outside_nobody_commands_the_server_with_the_cas_file(
    finished: Any, arguments: tuple[str, ...],
) -> None:
    folder = outsider(finished)
    done = subprocess.run([FLOWER / "flwr", *arguments, "--format", "json"], cwd=folder, text=True,
                          capture_output=True, check=False, timeout=60,
                          env=environment(folder / "flwr"))
    assert "403 Forbidden" in done.stdout + done.stderr
    assert '"success": true' not in done.stdout


def test_a_rogue_superexec_with_the_cas_file_gets_no_task(finished: Any) -> None:
    folder = outsider(finished)
    done = subprocess.run(
        [FLOWER / "flower-superexec", "--runtime-api-address", f"127.0.0.1:{finished.port}",
         "--root-certificates", folder / "ca.crt"], cwd=folder, text=True, capture_output=True,
        check=False, timeout=60, env=environment(folder / "flwr"))
    assert done.returncode != 0
    assert "403 Forbidden" in done.stdout + done.stderr


def outsider(made: Any) -> Path:
    """Return a folder with all that anybody outside can have: the CA's file, an app, a key."""
    folder = made.folder / "outsider"
    if folder.exists():
        return folder
    (folder / "flwr").mkdir(parents=True)
    (folder / "ca.crt").write_bytes((made.folder / "site-hh/state/network/ca.crt").read_bytes())
    (folder / "flwr/config.toml").write_text(
        f'[superlink]\ndefault = "own"\n\n[superlink.own]\naddress = "127.0.0.1:{made.port}"\n'
        f'root-certificates = "{folder / "ca.crt"}"\n')
    app = folder / "app"
    app.mkdir()
    root = Path(__file__).parents[2]
    for name in ("pyproject.toml", "LICENSE"):
        (app / name).write_bytes((root / name).read_bytes())
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", folder / "node"],
                   check=True, env=os.environ)
    return folder
