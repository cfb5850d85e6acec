import json
from pathlib import Path

import pytest
import torch
import yaml
from flwr.app import Context, RecordDict

from braing3n.errors import ConfigError, DigestError, ProtocolError
from braing3n.plan import load_plan
from braing3n.protocol import Task
from braing3n.weights import digest_state
from client.site import Site, check_task, open_site
from simulation.run import PLANS

PLAN = load_plan(PLANS / "demo.yaml")


def task(**change: object) -> Task:
    fields = {"run": "r", "plan": PLAN.canonical(), "plan_digest": PLAN.digest, "stage": "pretrain",
              "round_index": 0, **change}
    return Task(**fields)


def write_site(folder: Path, name: str) -> Path:
    (folder / "bids").mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "data": {"folder": "bids"}, "state_dir": name}))
    return path


def context(node: dict, run: dict) -> Context:
    return Context(run_id=1, node_id=2, node_config=node, state=RecordDict(), run_config=run)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    path = write_site(tmp_path, "site-a")
    return open_site(context({"site-config": str(path)}, {}))


def test_a_simulated_node_is_the_site_of_its_number(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_site(tmp_path, name)
    run = {"sites": str(tmp_path)}
    assert open_site(context({"partition-id": 0}, run)).config.name == "a"
    assert open_site(context({"partition-id": 1}, run)).config.name == "b"
    with pytest.raises(ConfigError, match="more simulated nodes than sites"):
        open_site(context({"partition-id": 2}, run))


def test_what_the_coordinator_sends_cannot_name_another_site_file(tmp_path: Path) -> None:
    own = write_site(tmp_path / "own", "own")
    write_site(tmp_path / "theirs", "theirs")
    run = {"sites": str(tmp_path / "theirs"), "site-config": str(tmp_path / "theirs/theirs.yaml")}
    assert open_site(context({"site-config": str(own), "partition-id": 0}, run)).config.name == "own"
    with pytest.raises(ConfigError, match="does not know its site"):
        open_site(context({}, run))


def test_a_task_whose_plan_was_changed_on_the_way_is_refused() -> None:
    assert check_task(task()) == PLAN
    changed = json.dumps({**json.loads(PLAN.canonical()), "seed": 99})
    with pytest.raises(ProtocolError, match="not the one that its digest names"):
        check_task(task(plan=changed))


@pytest.mark.parametrize("change", [{"protocol": 99}, {"round_index": 1000}])
def test_a_task_of_another_protocol_or_beyond_the_plan_is_refused(change: dict) -> None:
    with pytest.raises(ProtocolError):
        check_task(task(**change))


def test_a_frozen_part_is_kept_only_with_its_digest_and_found_by_it(site: Site) -> None:
    state = {"w": torch.ones(3)}
    with pytest.raises(DigestError):
        site.store("encoder", "0" * 64, state)
    assert site.frozen({"encoder": "0" * 64}) == ({}, ("encoder",))
    site.store("encoder", digest_state(state), state)
    found, missing = site.frozen({"encoder": digest_state(state), "decoder": "1" * 64})
    assert list(found) == ["encoder"]
    assert missing == ("decoder",)


def test_a_frozen_part_that_was_changed_on_disk_is_refused(site: Site) -> None:
    state, other = {"w": torch.ones(3)}, {"w": torch.zeros(3)}
    site.store("encoder", digest_state(state), state)
    site.store("encoder", digest_state(other), other)
    folder = site.config.state_dir / "frozen"
    (folder / f"encoder-{digest_state(other)}.safetensors").replace(
        folder / f"encoder-{digest_state(state)}.safetensors"
    )
    with pytest.raises(DigestError):
        site.frozen({"encoder": digest_state(state)})


def test_the_sites_log_is_readable_by_its_owner_alone(site: Site) -> None:
    site.log("first")
    site.log("second")
    path = site.config.state_dir / "site.log"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [line.split(" ", 1)[1] for line in path.read_text().splitlines()] == ["first", "second"]


def test_questions_about_probes_are_counted_by_run_and_task_and_outlive_the_process(site: Site) -> None:
    assert site.count_exchange("run-1", ["sex", "age"]) == {"sex": 1, "age": 1}
    assert Site(site.config).count_exchange("run-1", ["sex"]) == {"sex": 2, "age": 1}
    assert site.count_exchange("run-2", ["sex"]) == {"sex": 1}


def test_half_a_mark_of_a_killed_site_does_not_spoil_the_next(site: Site) -> None:
    site.config.state_dir.mkdir(exist_ok=True)
    site.mark_without_dp(task(run="r1"))
    path = site.config.state_dir / "without_dp.jsonl"
    path.write_text(path.read_text() + '["r2", "pre')
    site.mark_without_dp(task(run="r3"))
    site.mark_without_dp(task(run="r3"))
    assert site.marked_without_dp() == [("r1", "pretrain"), ("r3", "pretrain")]
