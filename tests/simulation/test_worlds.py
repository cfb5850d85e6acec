"""The same apps in both worlds, and the command that a user runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.grid import run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

PROGRAM = Path(sys.executable).parent / "braing3n"


def braing3n(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *map(str, arguments)], text=True, capture_output=True, check=False,
                          cwd=cwd, env={**os.environ, "COLUMNS": "200"}, timeout=300)


@pytest.fixture(scope="module")
def simulated(
    tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path, short_plan: str
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run by the user's command, on Flower's runtime."""
    folder = tmp_path_factory.mktemp("flower")
    done = braing3n("sim", "run", "--cohort", phantom_cohort, "--out", "out", "--sweep", short_plan,
                    cwd=folder)
    return folder / "out", done


def test_flowers_runtime_and_one_process_give_the_same_bits(
    simulated: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, phantom_cohort: Path,
    short_plan: str,
) -> None:
    out, done = simulated
    assert done.returncode == 0, done.stderr
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path / "local")
    run_locally(PLANS / "demo.yaml", sites, tmp_path / "local", sweep=short_plan)
    for part in ("encoder", "decoder", "statistics", "dit"):
        name = f"model/{part}.safetensors"
        assert (out / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), part


def test_the_command_says_how_the_run_ended_and_where_the_report_is(
    simulated: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = simulated
    assert done.stdout.splitlines()[0] == "completed"
    assert done.stdout.splitlines()[1] == f"report: {Path('out') / 'report.html'}"
    assert "round" in done.stderr  # progress, as plain lines
    page = (out / "report.html").read_text()
    assert "site-a" in page
    assert "no differential privacy" in page


def test_the_record_of_a_flower_run_has_what_readers_of_run_json_expect(
    simulated: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    record = json.loads((simulated[0] / "run.json").read_text())
    assert record["status"] == "completed"
    stage_keys = {"name", "rounds", "sites_asked", "sites_answered", "seconds", "bytes_down",
                  "bytes_up", "metrics"}
    assert all(stage_keys <= stage.keys() for stage in record["stages"])
    assert {"plan_digest", "encoder_digest", "versions"} <= record.keys()
    assert -1 <= record["generation"]["age_ventricle_spearman"] <= 1


def test_a_second_run_into_the_same_folder_is_refused_and_changes_nothing(
    simulated: tuple[Path, subprocess.CompletedProcess[str]], phantom_cohort: Path
) -> None:
    out, _ = simulated
    before = (out / "run.json").read_bytes()
    done = braing3n("sim", "run", "--cohort", phantom_cohort, "--out", "out", cwd=out.parent)
    assert done.returncode == 2
    assert "out holds another simulation" in done.stderr
    assert (out / "run.json").read_bytes() == before


def bad_plan(folder: Path, old: str, new: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text((PLANS / "demo.yaml").read_text().replace(old, new, 1))
    return path


@pytest.mark.parametrize(("old", "new", "said"), [
    ("rounds: 3", "ronds: 3", "did you mean `rounds`?"),
    ("seed: 0", "seed: 0\nepsilon: .nan", "no key `epsilon`"),
    ("preset: nano", "preset: huge", "'full', 'base', 'small' or 'nano'"),
    ("learning_rate: 4e-3", "learning_rate: .nan", "a finite number"),
])
def test_a_plan_with_a_mistake_ends_with_a_message_and_exit_code_2(
    tmp_path: Path, phantom_cohort: Path, old: str, new: str, said: str
) -> None:
    done = braing3n("sim", "run", "--plan", bad_plan(tmp_path, old, new), "--cohort", phantom_cohort,
                    "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("make", "said"), [
    (lambda folder: folder / "nowhere", "is no folder"),
    (lambda folder: folder, "holds no BIDS dataset"),
])
def test_a_missing_or_empty_cohort_ends_with_a_message_and_exit_code_2(
    tmp_path: Path, make: object, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = braing3n("sim", "run", "--cohort", make(tmp_path / "empty"), "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "expected:" in done.stderr
    assert "to do:" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_the_groups_and_imports_nothing_heavy(tmp_path: Path) -> None:
    done = braing3n("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "sim" in done.stdout
    heavy = "import sys, braing3n.cli, simulation.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
