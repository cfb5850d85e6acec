"""docs/deploy/README.md, followed word by word in an empty folder, and the files beside it."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from client.cli import app as site
from server.cli import app as server

FOLDER = Path(__file__).parents[2] / "docs/deploy"


def test_the_walk_through_ends_with_a_finished_run(tmp_path: Path) -> None:
    if shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        pytest.skip("no nginx: install nginx-light")
    chapter = (FOLDER / "README.md").read_text().partition("\n## For real")[0]
    blocks = re.findall(r"```bash\n(.*?)```", chapter, re.DOTALL)
    assert len(blocks) == 5
    script = tmp_path / "walk.sh"
    # What was started ends also where a command before the last block fails.
    script.write_text("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
                      + "\n".join(blocks[:-1]) + "\nset +e\n" + blocks[-1] + "\necho walked\n")
    place = tmp_path / "empty"
    place.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", script], cwd=place, env={**os.environ, "PATH": path}, text=True,
                          capture_output=True, check=False, timeout=560)
    logs = "\n".join(one.read_text(errors="replace")[-2000:] for one in place.rglob("*.log")
                     if place in (one.parent, one.parent.parent))
    assert done.stdout.splitlines()[-1:] == ["walked"], done.stdout + done.stderr + logs
    assert json.loads((place / "trial/run.json").read_text())["status"] == "completed", logs
    assert (place / "trial/report.html").exists()
    assert (place / "audit.html").exists()
    assert (place / "trial/model/dit.safetensors").exists()
    assert "run trial: completed" in done.stdout
    assert "train.diffusion" in done.stdout  # what the outbox shows


@pytest.mark.parametrize(("name", "app"), [("server", server), ("site", site)])
def test_the_units_start_commands_that_there_are_and_know_their_exit_codes(name: str, app) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(FOLDER / f"systemd/braing3n-{name}.service")
    group, command, _, *options = unit["Service"]["ExecStart"].split()[1:]
    assert group == name
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert all(option in shown for option in options if option.startswith("--"))
    prevented = unit["Service"]["RestartPreventExitStatus"].split()
    assert prevented == (["2"] if name == "server" else ["2", "3"])
    assert unit["Service"]["UMask"] == "0077"


@pytest.mark.parametrize(("name", "app"), [("server", server), ("site", site)])
def test_the_compose_files_start_commands_that_there_are(name: str, app) -> None:
    service = yaml.safe_load((FOLDER / f"compose/{name}.compose.yaml").read_text())["services"][name]
    group, command, _, *options = service["command"]
    assert group == name
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert all(option in shown for option in options if option.startswith("--"))
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert ("ports" in service) == (name == "server")  # at a hospital nothing listens
    checked = service["healthcheck"]["test"]
    assert checked[:3] == ["CMD", "braing3n", name]


def test_the_image_holds_every_package_and_no_other_code() -> None:
    lines = (FOLDER / "compose/Dockerfile").read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY") and len(line.split()) == 3}
    assert {"braing3n", "client", "server", "simulation", "site_configs"} <= copied
    assert "USER braing3n" in lines
