"""A site with a budget and made scans, that is asked as a coordinator's messages ask it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from braing3n.budget import BudgetConfig, ReleaseConfig
from braing3n.config import DataConfig, SiteConfig
from braing3n.data.examples import Example
from braing3n.models.mae import Encoder
from braing3n.networks import build_decoder
from braing3n.plan import Part, Plan, StageName, load_plan
from braing3n.presets import PRESETS
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import load_history
from braing3n.protocol import Reply, Task
from braing3n.weights import Vector, digest_state, layout_digest, pack
from client import work
from client.site import Site
from server.stages import initial_weights
from simulation.run import PLANS

Answer = tuple[Reply, Vector | None]


class MadeScans:
    """Smooth made volumes of so many subjects, one or two each; the first of them are held out."""

    def __init__(self, subjects: int, held_out: int) -> None:
        self.notes, self.skipped = (), ()
        self._kept: dict[tuple[str, str], Tensor] = {}
        every = [[Example(f"sub-{number:03d}", None, "T1w", f"{number:03d}-{volume}", (0.0,) * 6)
                  for volume in range(1 + number % 2)] for number in range(subjects)]
        self.held_out = tuple(example for own in every[:held_out] for example in own)
        self.train = tuple(example for own in every[held_out:] for example in own)

    def volumes(self, examples: Sequence[Example]) -> Tensor:
        return torch.stack([self._volume(example) for example in examples])

    def _volume(self, example: Example) -> Tensor:
        generator = torch.Generator().manual_seed(int(example.key.replace("-", "")))
        coarse = torch.randn(1, 1, 5, 6, 5, generator=generator)
        return torch.nn.functional.interpolate(coarse, PRESETS["nano"].shape, mode="trilinear")[0]

    def conditions(self, examples: Sequence[Example]) -> Tensor:
        return torch.tensor([example.conditions for example in examples])

    def tokens(self, examples: Sequence[Example], encoder_digest: str) -> Tensor:
        return torch.stack([self._kept[encoder_digest, example.key] for example in examples])

    def cache_tokens(self, encoder_digest: str, encode: Callable[[Tensor], Tensor],
                     batch_size: int) -> None:
        for example in self.train + self.held_out:
            if (encoder_digest, example.key) not in self._kept:
                self._kept[encoder_digest, example.key] = encode(self.volumes([example]))[0]


class Clinic:
    """One site; each method asks it for something, under a plan that may be changed on the way."""

    def __init__(self, folder: Path, sweep: str, scans: MadeScans, release: dict[str, Any],
                 budget: dict[str, Any] | None) -> None:
        self.sweep, self.scans = sweep, scans
        limits = None if budget is None else BudgetConfig(
            **{"epsilon": 100.0, "min_subjects": 1, **budget})
        self.site = Site(SiteConfig(
            name="site-a", data=DataConfig(folder=folder, draw="alone"), state_dir=folder / "site-a",
            budget=limits, release=ReleaseConfig(**release)))
        self.state = self.site.config.state_dir
        self.state.mkdir(exist_ok=True)
        self.frozen: dict[Part, str] = {}

    def allow(self, **budget: Any) -> None:
        """Change the site's budget, as its IT may at any time."""
        config = self.site.config
        limits = config.budget.model_copy(update=budget)
        self.site = Site(config.model_copy(update={"budget": limits}))

    def plan(self, sweep: str = "") -> Plan:
        return load_plan(PLANS / "demo-dp.yaml", f"{self.sweep} {sweep}")

    def task(self, stage: StageName = "pretrain", round_index: int = 0, *, sweep: str = "",
             run: str = "r1", receipts: tuple[Any, ...] = (), **change: Any) -> Task:
        plan = self.plan(sweep)
        fields = {"run": run, "plan": plan.canonical(), "plan_digest": plan.digest, "stage": stage,
                  "round_index": round_index, "receipts": receipts, "frozen": self.frozen,
                  "layout": layout_digest(initial_weights(plan, stage)), **change}
        return Task(**fields)

    def weights(self, stage: StageName = "pretrain") -> Vector:
        return pack(initial_weights(self.plan(), stage))

    def train(self, stage: StageName = "pretrain", round_index: int = 0, *, shift: float = 0.0,
              **change: Any) -> Answer:
        return work.train(self.site, self.task(stage, round_index, **change),
                          self.weights(stage) + np.float32(shift))

    def evaluate(self, stage: StageName = "pretrain", **change: Any) -> Reply:
        rounds = self.plan().stage(stage).rounds
        return work.evaluate(self.site, self.task(stage, rounds, **change), self.weights(stage))

    def moments(self, round_index: int | None = None, stage: StageName = "decoder",
                **change: Any) -> Answer:
        number = self.plan().stage(stage).rounds if round_index is None else round_index
        return work.moments(self.site, self.task(stage, number, **change))

    def freeze(self) -> None:
        """Give the site an encoder and a decoder, as after the second stage."""
        torch.manual_seed(0)
        for part, network in (("encoder", Encoder(PRESETS["nano"])),
                              ("decoder", build_decoder(self.plan()))):
            state = dict(network.state_dict())
            self.frozen = {**self.frozen, part: digest_state(state)}
            self.site.store(part, self.frozen[part], state)

    @property
    def kinds(self) -> list[str]:
        """What the ledger says, after the entries that begin it and decide on the budget."""
        return [f"{entry.kind} {entry.code or entry.what}"
                for entry in load_history(self.state).entries
                if (entry.kind, entry.code) not in (("note", "begun"), ("note", "budget"))]

    def events(self) -> list[Event]:
        return load_history(self.state).events("patients")


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_dp_plan: str,
           ) -> Callable[..., Clinic]:
    """Make a site with these numbers of subjects, releases and limits."""

    def make(*, subjects: int = 6, held_out: int = 1, sweep: str = "", name: str = "clinic",
             release: dict[str, Any] | None = None, has_budget: bool = True,
             **budget: Any) -> Clinic:
        folder = tmp_path / name
        folder.mkdir()
        short = " ".join(f"stages.pretrain.{change}" for change in (
            "rounds=3", "local_steps=1", "privacy.clip_norm=0.1"))
        made = Clinic(folder, f"{short_dp_plan} {short} {sweep}",
                      MadeScans(subjects, held_out), release or {}, budget if has_budget else None)
        clinics.append(made)
        return made

    clinics: list[Clinic] = []
    monkeypatch.setattr("client.opening.open_data", lambda site, *_: next(
        one.scans for one in clinics if one.state == site.config.state_dir))
    return make
