"""`braing3n sim run`, killed anywhere: the same command does what is missing and leaves no process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from braing3n.errors import ConfigError, OutputError
from braing3n.service.processes import processes_of
from simulation import run as simulation_run
from simulation.grid import run_locally
from simulation.phantom import fidelity
from simulation.run import PLANS, simulate
from simulation.running.order import Order
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

PROGRAM = Path(sys.executable).parent / "braing3n"


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch, phantom_cohort: Path) -> list[str]:
    """Everything heavy is replaced by something light; returns what was done, as it is done."""
    done: list[str] = []

    def phantom(out, **_):
        done.append("phantom")
        return Path(shutil.copytree(phantom_cohort, out))

    def federation(out, plan, config, *_):
        done.append("federation")
        run_locally(Path(config["plan"]), Path(config["sites"]), out, sweep=config["sweep"])

    monkeypatch.setattr("simulation.phantom.write.write_phantom", phantom)
    monkeypatch.setattr(simulation_run, "run_federation", federation)
    measure = fidelity.measure_age_fidelity

    def measured(sampler, seed, progress=None):
        done.append("brains")
        return measure(sampler, seed, 4)

    monkeypatch.setattr("simulation.phantom.fidelity.measure_age_fidelity", measured)
    monkeypatch.setattr(simulation_run, "AGES", (40.0,))
    monkeypatch.setattr(simulation_run, "DIAGNOSES", ("HC",))
    return done


def test_only_what_is_missing_is_done_again(
    tmp_path: Path, short_plan: str, light: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, console = tmp_path / "out", Console(stderr=True)
    order = Order(PLANS / "demo.yaml", short_plan)
    steps = ("simulation.run.write_site_files", "braing3n.evaluation.generation.age_by_diagnosis",
             "braing3n.report.page.write_report", "simulation.run.mark_finished")
    for step in steps:
        with monkeypatch.context() as patch:
            def killed(*_: object, **__: object) -> None:
                raise Killed

            patch.setattr(step, killed)
            with pytest.raises(Killed):
                simulate(order, out, console)
    report = simulate(order, out, console)
    assert report.exists()
    assert light == ["phantom", "federation", "brains", "brains"]
    assert json.loads((out / "run.json").read_text())["status"] == "completed"
    with pytest.raises(OutputError, match="has ended"):
        simulate(order, out, console)


def test_another_plan_other_sites_or_another_folder_are_refused(
    tmp_path: Path, short_plan: str, light: list[str], phantom_cohort: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, console = tmp_path / "out", Console(stderr=True)
    order = Order(PLANS / "demo.yaml", short_plan, cohort=phantom_cohort)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(simulation_run, "run_federation", killed)
        with pytest.raises(Killed):
            simulate(order, out, console)
    for other, said in ((Order(PLANS / "demo.yaml", f"{short_plan} seed=9", cohort=phantom_cohort),
                         "plan_digest"), (Order(PLANS / "demo.yaml", short_plan), "data: cohort")):
        with pytest.raises(OutputError, match="holds another simulation") as refused:
            simulate(other, out, console)
        assert said in refused.value.found
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match="is not empty"):
        simulate(order, tmp_path / "mine", console)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_cohort_and_a_partition_exclude_each_other(tmp_path: Path, phantom_cohort: Path) -> None:
    order = Order(PLANS / "demo.yaml", cohort=phantom_cohort, partition=tmp_path)
    with pytest.raises(ConfigError, match="which sites take part"):
        simulate(order, tmp_path / "out", Console(stderr=True))


def wait_for(path: Path, process: "subprocess.Popen[str]", timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert path.exists()


@pytest.mark.slow
def test_a_killed_command_goes_on_leaves_no_process_and_gives_the_same_bits(
    tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    command = [str(PROGRAM), "sim", "run", "--cohort", str(phantom_cohort), "--out", "out", "--sweep",
               short_plan]
    out = tmp_path / "out"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as first:
        wait_for(out / "rounds" / "pretrain" / "manifest.json", first)
        home = Path((out / ".flower-home").read_text().strip())
        assert processes_of(home)
        os.killpg(first.pid, signal.SIGKILL)
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    assert "going on with the run in out after round" in done.stderr
    assert "seconds a round" in done.stderr
    assert processes_of(home) == []
    assert not home.exists()
    record = json.loads((out / "run.json").read_text())
    assert len(record["resumed"]) == 1
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path / "local")
    run_locally(PLANS / "demo.yaml", sites, tmp_path / "local", sweep=short_plan)
    for part in ("encoder", "decoder", "statistics", "dit"):
        name = f"model/{part}.safetensors"
        assert (out / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), part
