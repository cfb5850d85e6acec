from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from braing3n.config import load_site_config
from braing3n.errors import ProtocolError
from braing3n.evaluation.tasks import probed_tasks
from braing3n.networks import part_like
from braing3n.plan import load_plan
from braing3n.probe_messages import ProbeOrder
from braing3n.protocol import Task
from braing3n.weights import digest_state
from client.probing import probe
from client.site import Site
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

PLAN = load_plan(PLANS / "demo.yaml", "probes=[age,sex,sex/logistic]")


@pytest.fixture
def site(tmp_path: Path, phantom_cohort: Path) -> Site:
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path)
    return Site(load_site_config(sites / "site-a.yaml"))


def task(*names: str, phase: Any = "sums", **change: Any) -> Task:
    digests = {name: one.digest for name, one in probed_tasks(names).items()}
    order = ProbeOrder(phase=phase, tasks=digests)
    fields = {"run": "r", "plan": PLAN.canonical(), "plan_digest": PLAN.digest, "stage": "pretrain",
              "round_index": 3, "frozen": {"encoder": "0" * 64}, "probe": order, **change}
    return Task(**fields)


def with_methods(site: Site, *methods: str) -> Site:
    return Site(site.config.model_copy(update={"probe_methods": methods}))


def test_a_task_that_the_plan_does_not_name_is_not_answered(site: Site) -> None:
    with pytest.raises(ProtocolError, match="no such probe"):
        probe(site, task("diagnosis"), None)


@pytest.mark.parametrize("change", [{"probe": None}, {"frozen": {}}])
def test_a_question_that_lacks_something_is_refused(site: Site, change: dict) -> None:
    with pytest.raises(ProtocolError, match="cannot be answered"):
        probe(site, task("age", **change), None)


def test_a_site_that_refuses_all_reads_no_scan_and_asks_for_no_encoder(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.probing.open_task", pytest.fail)
    reply, array = probe(with_methods(site), task("age", "sex/logistic"), None)
    assert array is None
    assert reply.missing == ()
    assert reply.probe is not None
    assert {one.refusal for one in reply.probe.tasks.values()} == {"policy"}


def test_a_site_that_lacks_the_encoder_says_so(site: Site) -> None:
    reply, array = probe(site, task("age"), None)
    assert (reply.missing, reply.probe, array) == (("encoder",), None, None)


def test_features_are_shown_while_they_are_made_and_made_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {name: torch.full(tensor.shape, 0.01) for name, tensor in
             part_like(PLAN, "encoder").items()}
    site.store("encoder", digest_state(state), state)
    asked = task("age", "sex", frozen={"encoder": digest_state(state)})
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(Site, "show_progress", lambda _, **what: shown.append(what))
    first, array = probe(site, asked, None)
    done = [what for what in shown if what["doing"] == "embedding for probes"]
    assert done[-1]["done"] == done[-1]["total"] > 3
    assert array is None  # four people to train on are too few for any sum
    assert {one.refusal for one in first.probe.tasks.values()} == {"cohort"}
    monkeypatch.setattr("client.probing.own_encoder", pytest.fail)
    probe(site, asked, None)


@pytest.mark.parametrize("numbers", [np.zeros(3), np.full(289, np.nan)])
def test_numbers_that_do_not_fit_are_refused(
    numbers: np.ndarray, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.probing.kept_features", lambda _, roster, *__: np.ones(
        (len(roster.rows), 288)))
    state = {name: torch.full(tensor.shape, 0.01) for name, tensor in
             part_like(PLAN, "encoder").items()}
    site.store("encoder", digest_state(state), state)
    with pytest.raises(ProtocolError):
        probe(site, task("age", phase="scores", frozen={"encoder": digest_state(state)}), numbers)
