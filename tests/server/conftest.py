"""Sites with made features in place of scans, for probes over real messages; nodes that get lost."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from flwr.app import Error, Message

from braing3n.conditions import Conditions
from braing3n.data.examples import Example
from braing3n.data.site_data import SiteData
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.tasks import probed_tasks
from braing3n.plan import Plan, load_plan
from braing3n.protocol import Task
from braing3n.weights import digest_state
from client.app import app as client_app
from server.messages import Member
from server.outcome import Frozen
from server.probe_asking import Asking
from server.probing import run_probes
from server.stages import encoder_of, initial_weights
from server.strategy import Strategy
from simulation.grid import FIRST_SITE_NODE, LocalGrid
from simulation.run import PLANS

WIDTH = 7
METHODS = ["ridge", "lda", "logistic", "cox"]


@dataclass(frozen=True)
class MadeSite:
    """One site's people, a row each; a person has one volume or two."""

    ages: np.ndarray
    sexes: np.ndarray
    diagnoses: np.ndarray
    times: np.ndarray
    died: np.ndarray
    sides: np.ndarray  # 0 train, 1 validation, 2 test
    owners: np.ndarray  # (n,) of each volume
    features: np.ndarray  # (n, WIDTH)


def make_site(num: int, seed: int) -> MadeSite:
    rng = np.random.default_rng(seed)
    sexes = np.array(["F", "M"])[np.arange(num) % 2]
    diagnoses = np.array(["HC", "AD", "MCI"])[np.arange(num) % 3]
    ages = rng.integers(40, 90, size=num).astype(float)
    owners = np.repeat(np.arange(num), 1 + np.arange(num) % 2)
    signal = np.column_stack([ages / 20, sexes == "M", diagnoses == "AD", diagnoses == "MCI"])
    mixing = np.random.default_rng(9).normal(size=(4, WIDTH))
    features = (signal @ mixing)[owners] + 2 * rng.normal(size=(len(owners), WIDTH)) + 3 + seed
    times = np.ceil(rng.exponential(400 * np.exp(-(ages - 60) / 30)))
    return MadeSite(ages, sexes, diagnoses, times, rng.random(num) < 0.7, np.arange(num) // 6 % 3 * (
        np.arange(num) % 5 < 3), owners, features)


class World:
    """Sites that answer over real messages; `told` is what they were sent and said."""

    def __init__(self, folder: Path, sizes: tuple[int, ...], probes: list[str], **policy: Any) -> None:
        self.sites = {f"site-{number}": make_site(num, number) for number, num in enumerate(sizes)}
        self.folder = folder
        self.plan = load_plan(PLANS / "demo.yaml", f"last_stage=pretrain probes=[{','.join(probes)}]")
        self.told: list[tuple[str, Message]] = []
        for name, site in self.sites.items():
            self._write(name, site, policy.get(name.replace("-", "_"), METHODS))

    def _write(self, name: str, site: MadeSite, methods: list[str]) -> None:
        data = self.folder / "data" / name
        data.mkdir(parents=True)
        rows = [f"sub-{row}\t{site.times[row]}\t{int(site.died[row])}" for row in range(len(site.ages))]
        (data / "participants.tsv").write_text(
            "\n".join(["participant_id\tOS\t1-dead 0-alive", *rows]) + "\n")
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(
            {"name": name, "data": {"folder": str(data)}, "state_dir": name,
             "probe_methods": list(methods)}))

    def examples(self, name: str, side: int) -> tuple[Example, ...]:
        site = self.sites[name]
        return tuple(
            Example(f"sub-{owner}", None, "T1w", f"{row:064d}", Conditions(
                age_years=site.ages[owner], sex=str(site.sexes[owner]),
                diagnosis=str(site.diagnoses[owner])).encode())
            for row, owner in enumerate(site.owners) if site.sides[owner] == side)

    def labelled(self, kind: str, *sides: int) -> LabelledSet:
        """Return all sites' volumes together, as nobody but a simulation could."""
        parts = []
        for name, site in self.sites.items():
            rows = np.flatnonzero(np.isin(site.sides[site.owners], sides))
            owners = site.owners[rows]
            values = {"age": site.ages, "sex": site.sexes, "diagnosis": site.diagnoses,
                      "survival": site.times}[kind][owners]
            parts.append((site.features[rows], values, np.array([f"sub-{o}" for o in owners]),
                          np.full(len(rows), name), site.died[owners]))
        features, values, subjects, sites, events = (
            np.concatenate(part) for part in zip(*parts, strict=True))
        return LabelledSet(features, values, subjects, sites, events if kind == "survival" else None)

    def run(self, around: Callable[[Message, Callable[[], Message]], Message] | None = None,
            min_sites: int = 2) -> dict[str, Any]:
        """Run the plan's probes over real messages."""
        def app(message: Message, context: Any) -> Message:
            def answer() -> Message:
                return client_app(message, context)

            site = list(self.sites)[message.metadata.dst_node_id - FIRST_SITE_NODE]
            self.told.append((site, message))
            reply = answer() if around is None else around(message, answer)
            self.told.append((site, reply))
            return reply

        grid = LocalGrid(app, len(self.sites), {"sites": str(self.folder)})  # type: ignore[arg-type]
        members = [Member(name, FIRST_SITE_NODE + number) for number, name in enumerate(self.sites)]
        asking = asking_of(self.plan, Strategy(grid, members, min_sites, 5.0))
        return run_probes(asking, probed_tasks(self.plan.probes), WIDTH, min_sites)


def asking_of(plan: Plan, strategy: Strategy) -> Asking:
    state = encoder_of(initial_weights(plan, "pretrain"))
    frozen = Frozen(state, digest_state(state))
    task = Task(run="r", plan=plan.canonical(), plan_digest=plan.digest, stage="pretrain",
                round_index=plan.stages.pretrain.rounds, frozen={"encoder": frozen.digest})
    return Asking(strategy, task, {"encoder": frozen})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Make sites of these sizes, whose volumes have the features of `MadeSite`."""

    def make(sizes: tuple[int, ...], *probes: str, **policy: Any) -> World:
        made = World(tmp_path, sizes, list(probes), **policy)

        def open_data(site: Any, *_: object) -> SiteData:
            sides = [made.examples(site.config.name, side) for side in range(3)]
            return SiteData(*sides, (), (), {}, SimpleNamespace(cache=None))

        def features(_: object, roster: Any, *__: object) -> np.ndarray:
            return np.stack([made.sites[row.site.name].features[int(row.example.key)]
                             for row in roster.rows])

        monkeypatch.setattr("client.opening.open_data", open_data)
        monkeypatch.setattr("client.probing.kept_features", features)
        return made

    return make


class FlakyGrid(LocalGrid):
    """Nodes that vanish and come back, as over a SuperLink, which then answers for them.

    `away` says for how many looks at the nodes each is not there; `dies` for how many one will not be
    there from a message on, whose work it does, and whose answer is lost.
    """

    def __init__(self, app: Any, num_sites: int, config: dict[str, str] | None = None) -> None:
        super().__init__(app, num_sites, config or {})
        self.away: dict[int, float] = {}
        self.dies: Callable[[Message], float] = lambda _: 0
        self.sent: list[Message] = []

    def get_node_ids(self) -> list[int]:
        self.away = {node: left - 1 for node, left in self.away.items() if left > 1}
        return [node for node in super().get_node_ids() if node not in self.away]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self.sent += messages
        return list(super().push_messages(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = []
        for identifier in message_ids:
            message = self._pushed.get(identifier)
            node = None if message is None else message.metadata.dst_node_id
            looks = 0 if message is None or node in self.away else self.dies(message)
            if looks:
                super().pull_messages([identifier])
                self.away[node] = looks
            if node in self.away:
                self._pushed.pop(identifier, None)
                replies.append(unavailable(message))
            else:
                replies += super().pull_messages([identifier])
        return replies


def unavailable(message: Message) -> Message:
    """Return what SuperLink answers for a node that is gone."""
    reply = Message(Error(5, "Error: Node Unavailable"), reply_to=message)
    reply.metadata.__dict__["_src_node_id"] = 1
    return reply


@pytest.fixture
def flaky_grid(monkeypatch: pytest.MonkeyPatch) -> type[FlakyGrid]:
    """Nodes that get lost, and no pause before one that is there is asked again."""
    monkeypatch.setattr("server.exchange.AGAIN_S", 0.0)
    monkeypatch.setattr("server.exchange.POLL_S", 0.01)
    return FlakyGrid
