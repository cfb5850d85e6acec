"""SIGKILL anywhere around a charge: never an unrecorded release, and nothing is charged twice."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from braing3n.plan import load_plan
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import load_history
from client.app import app as client_app
from server.app import app as server_app
from simulation.grid import run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["client.app", "server.app", "client.work", "client.dp_work"])
MORE = "last_stage=pretrain stages.pretrain.rounds=3"
STEPS = 2  # of a round
ROUND = Event(mechanism="poisson_gaussian", sample_rate=0.4, noise_multiplier=1.5, steps=STEPS,
              stage="pretrain", round_index=0, run="x")


def run(  # noqa: C901  # it runs in a process of its own, and is one story
    cohort: Path, out: Path, sweep: str, kill: tuple[str, int] | None = None
) -> None:
    """Run or go on; `kill` is a kind of instant, and at the how manieth of them to die."""
    import torch

    from braing3n import dp_training
    from braing3n.privacy import ledger, ledger_file
    from client import charging, outbox
    from client.site import open_site
    from server import run_state

    torch.set_num_threads(1)
    plan = load_plan(PLANS / "demo-dp.yaml", sweep)
    sites = out / "sites" if (out / "sites").exists() else write_site_files(
        find_site_folders(cohort), out, plan)
    seen = 0

    def instant(kind: str) -> None:
        nonlocal seen
        seen += kill is not None and kill[0] == kind
        if kill is not None and seen == kill[1] and kill[0] == kind:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(module, name, kind):
        inner = getattr(module, name)

        def call(*arguments, **named):
            instant(f"before {kind}")
            done = inner(*arguments, **named)
            instant(f"after {kind}")
            return done

        setattr(module, name, call)

    at_work = ""
    gradient = dp_training.noised_gradient

    def written_down(*arguments, **named):
        """Keep an account of the steps that are really taken, beside the ledger's."""
        with (out / "steps.txt").open("a") as stream:
            stream.write(f"{at_work}\n")
        return gradient(*arguments, **named)

    dp_training.noised_gradient = written_down
    around(dp_training, "noised_gradient", "gradient")
    around(run_state.RunFolder, "write_round", "checkpoint")
    around(outbox, "keep", "keep")
    around(ledger, "append", "line")
    around(ledger_file.os, "fsync", "fsync")
    assert charging.outbox is outbox
    write = os.write

    def cut_short(descriptor: int, content: bytes) -> int:
        """Stand for a power cut in the middle of a line of the ledger."""
        nonlocal seen
        if kill is not None and kill[0] == "half line" and content.startswith(b"{"):
            seen += 1
            if seen == kill[1]:
                write(descriptor, content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, content)

    ledger_file.os.write = cut_short

    def site(message, context):
        nonlocal at_work
        at_work = open_site(context).config.name
        reply = client_app(message, context)
        if message.metadata.message_type == "train.pretrain" and not reply.has_error():
            left = next(iter(reply.content.array_records["arrays"].values())).data
            with (out / "left.jsonl").open("a") as stream:
                number = json.loads(reply.content.config_records["message"]["json"])
                stream.write(json.dumps([number["site"], number["round_index"],
                                         hash(left)]) + "\n")
        instant("after reply")
        return reply

    run_locally(PLANS / "demo-dp.yaml", sites, out, sweep=sweep, apps=(server_app, site))


def in_a_process(*arguments: object) -> int:
    os.environ["PYTHONHASHSEED"] = "0"
    process = CONTEXT.Process(target=run, args=arguments)
    process.start()
    process.join(240)
    return process.exitcode


def check(out: Path, cohort: Path, sweep: str, kill: tuple[str, int]) -> None:
    assert in_a_process(cohort, out, sweep, kill) == -signal.SIGKILL
    before = {site: load_history(out / "sites" / site).events("patients")
              for site in ("site-a", "site-b") if (out / "sites" / site / "ledger.pub").exists()}
    assert in_a_process(cohort, out, sweep) == 0
    assert json.loads((out / "run.json").read_text())["status"] == "completed"
    left = [json.loads(line) for line in (out / "left.jsonl").read_text().splitlines()]
    taken = (out / "steps.txt").read_text().splitlines()
    whole = epsilon([ROUND] * 3, 1e-5)
    for site in ("site-a", "site-b"):
        history = load_history(out / "sites" / site)
        events = history.events("patients")
        # What left the site: a round's update is one and the same, and each is settled.
        answers = {(number, digest) for name, number, digest in left if name == site}
        assert len(answers) == len({number for number, _ in answers}) == 3
        settled = [entry.round_index for entry in history.entries if entry.kind == "settle"]
        assert sorted(settled) == [0, 1, 2]
        # Recorded spend is what was released, by an account of its own; what a kill cut off was done
        # again, and of its steps nothing had left.
        assert sum(event.steps for event in events) == 3 * STEPS <= taken.count(site) <= 4 * STEPS
        # ε is that of a run without the kill.
        assert history.open_reserves() == []
        assert epsilon(events, 1e-5) == whole
        assert events[: len(before.get(site, []))] == before.get(site, [])
    shutil.rmtree(out)


@pytest.mark.parametrize("kill", [("before gradient", 3), ("after keep", 2), ("after reply", 6),
                                  ("before checkpoint", 2)])
def test_a_kill_costs_no_round_and_no_epsilon_and_hides_no_spending(
    tmp_path: Path, phantom_cohort: Path, short_dp_plan: str, kill: tuple[str, int]
) -> None:
    check(tmp_path / "out", phantom_cohort, f"{short_dp_plan} {MORE}", kill)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [
    *((kind, number) for kind in ("before line", "half line", "after line")
      for number in range(1, 13)),
    *(("before keep", number) for number in (1, 3, 6)),
    *(("after keep", number) for number in (1, 4, 5)),
    *(("after gradient", number) for number in (1, 2, 6, 12)),
    *(("after reply", number) for number in range(3, 10)),
    *((kind, number) for kind in ("before checkpoint", "after checkpoint") for number in (1, 2, 3)),
    *(("after fsync", number) for number in range(2, 60, 6)),
])
def test_it_does_so_wherever_it_was_killed(
    tmp_path: Path, phantom_cohort: Path, short_dp_plan: str, kill: tuple[str, int]
) -> None:
    check(tmp_path / "out", phantom_cohort, f"{short_dp_plan} {MORE}", kill)


def test_a_site_restarted_at_round_k_still_trains_with_dp(
    tmp_path: Path, phantom_cohort: Path, short_dp_plan: str
) -> None:
    sweep, out = f"{short_dp_plan} {MORE}", tmp_path / "out"
    assert in_a_process(phantom_cohort, out, sweep, ("before gradient", 5)) == -signal.SIGKILL
    kept = load_history(out / "sites" / "site-a").events("patients")
    assert len(kept) == 2  # round 1, and round 2 reserved
    assert in_a_process(phantom_cohort, out, sweep) == 0
    history = load_history(out / "sites" / "site-a")
    rounds = [entry for entry in history.entries if entry.kind == "settle"]
    assert [entry.mechanism.noise_multiplier for entry in rounds] == [1.5] * 3
    # The account went on from what the ledger held, and neither began anew nor charged round 2 again.
    assert len(history.events("patients")) == 3
    spent = [entry.spent.pld for entry in history.entries if entry.kind == "reserve"]
    assert spent == sorted(set(spent))
    for number, cost in enumerate(spent, start=1):
        assert cost == pytest.approx(epsilon([ROUND] * number, 1e-5))
    # And the noise is there: far longer than any sum of clipped gradients in so many steps.
    told = json.loads((out / "run.json").read_text())["privacy_by_site"]["site-a"]["stages"]["pretrain"]
    assert told["signal_to_noise"] < 0.5
    assert told["steps"] == 6
