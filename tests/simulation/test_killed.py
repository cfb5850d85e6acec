"""Real sites and a real SIGKILL: the run goes on, and ends with the same bits."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from client.app import app as client_app
from server.app import app as server_app
from simulation.grid import run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

# A process that has imported everything, and forks others: each is as fresh as a new one.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["client.app", "server.app", "client.work"])
SWEEP = ("stages.pretrain.server.name=fedadam stages.decoder.rounds=2 "
         "stages.decoder.server.name=fedavgm")


def run(cohort: Path, out: Path, sweep: str, kill: tuple[str, int] | None = None) -> None:
    """Run or go on; `kill` is a kind of instant, and at the how manieth of them to die."""
    import torch

    torch.set_num_threads(1)
    sites = out / "sites" if (out / "sites").exists() else write_site_files(
        find_site_folders(cohort), out)
    seen = 0

    def instant(kind: str) -> None:
        nonlocal seen
        seen += kill is not None and kill[0] == kind
        if kill is not None and seen == kill[1]:
            os.kill(os.getpid(), signal.SIGKILL)

    def site(message, context):
        from braing3n import training

        step = training._step

        def stepping(*arguments):
            instant(message.metadata.message_type)
            return step(*arguments)

        training._step = stepping
        reply = client_app(message, context)
        training._step = step
        instant(f"after {message.metadata.message_type}")
        return reply

    replace = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        instant(f"before {target.name}")
        done = replace(self, target)
        instant(f"after {target.name}")
        return done

    Path.replace = replaced  # type: ignore[method-assign]
    run_locally(PLANS / "demo.yaml", sites, out, sweep=f"{sweep} {SWEEP}", apps=(server_app, site))


def in_a_process(*arguments: object) -> int:
    process = CONTEXT.Process(target=run, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path, short_plan: str
) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert in_a_process(phantom_cohort, out, short_plan) == 0
    return out


def weights(out: Path) -> dict[str, bytes]:
    paths = [*out.glob("model/*"), *out.glob("rounds/*/*.safetensors")]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def metrics(out: Path) -> list[dict]:
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def check(whole: Path, out: Path, cohort: Path, sweep: str, kill: tuple[str, int]) -> None:
    assert in_a_process(cohort, out, sweep, kill) == -signal.SIGKILL
    assert in_a_process(cohort, out, sweep) == 0
    assert weights(out) == weights(whole)
    assert metrics(out) == metrics(whole)
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], len(record["resumed"])) == ("completed", 1)
    shutil.rmtree(out)


def test_a_run_that_was_killed_between_a_reply_and_its_record_ends_with_the_same_bits(
    whole: Path, tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    check(whole, tmp_path / "out", phantom_cohort, short_plan, ("after train.diffusion", 3))


@pytest.mark.slow
@pytest.mark.parametrize("kill", [
    ("train.pretrain", 2), ("train.pretrain", 8), ("train.decoder", 3), ("train.decoder", 6),
    ("train.diffusion", 4),
    ("train.diffusion", 7), ("after query.hello", 2), ("after train.pretrain", 4),
    ("after train.decoder", 1), ("after evaluate", 2), ("after evaluate", 3),
    ("after query.install", 1), ("after query.install", 4), ("after query.moments", 1),
    ("before manifest.json", 3), ("after manifest.json", 3), ("before statistics.safetensors", 1),
    ("before encoder.safetensors", 1),
    ("after dit.safetensors", 1), ("before 00001.safetensors", 2), ("after 00001.safetensors", 1),
    ("before pictures.npz", 2), ("before split.json", 2), ("after run.json", 7),
])
def test_it_does_so_wherever_it_was_killed(
    whole: Path, tmp_path: Path, phantom_cohort: Path, short_plan: str, kill: tuple[str, int]
) -> None:
    check(whole, tmp_path / "out", phantom_cohort, short_plan, kill)
