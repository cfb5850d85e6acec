"""The rounds that are audited: the real training on made patients, with the auditor looking on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from braing3n import dp_training
from braing3n.audit.empirical.canaries import Canaries, GradientCanaries, InputCanaries
from braing3n.audit.empirical.reach import one_patients_reach, sum_error
from braing3n.audit.empirical.result import Diagnostic
from braing3n.audit.empirical.watching import Step, Watched, Watcher
from braing3n.budget import EngineName
from braing3n.data.examples import Example, by_subject
from braing3n.plan import StageName, StagePlan
from braing3n.presets import PresetName
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy_plan import StagePrivacy
from braing3n.training import Objective, seed_for
from braing3n.weights import State

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """What is audited, and how thoroughly.

    Attributes:
        stage: The stage.
        engine: The engine.
        privacy: The claim: σ, q, C, K.
        plan: The stage's plan: rounds, steps and optimiser.
        delta: δ.
        seed: Of patients, coins, draws and noise.
        confidence: 1 − the false-alarm rate of all checks together.
        microbatch: Patients that engines other than the loop hold at once.
        preset: For the record.
    """

    stage: StageName
    engine: EngineName
    privacy: StagePrivacy
    plan: StagePlan
    delta: float
    seed: int
    confidence: float = 0.95
    microbatch: int = 8
    preset: PresetName | None = None

    @property
    def steps(self) -> int:
        """All steps that are planned, which a site charges whatever is trained."""
        return self.plan.rounds * self.plan.steps(0)


class Rounds:
    """The rounds of one audit; between them, all but weights and moments is made anew.

    Args:
        settings: What is claimed.
        fresh: Opens the objective.
        ordinary: Examples of patients that are in the data.
        canaries: One example of each canary.
        members: Of all these, what is trained on.
    """

    def __init__(self, settings: Settings, fresh: Callable[[], Objective], ordinary: Sequence[Example],
                 canaries: Sequence[Example], members: Sequence[Example]) -> None:
        self._settings, self._fresh, self._members = settings, fresh, members
        self._ordinary, self._canaries = [own[0] for own in by_subject(ordinary)], canaries
        self._numbers = {example.subject: number for number, example in enumerate(canaries)}
        # A constant of the plan, not what the coins gave.
        self._num_subjects = len(self._ordinary) + len(canaries) // 2

    def train(self, moments: Path, progress: Progress | None) -> list[Step]:
        """Train for all rounds, and return every step."""
        settings = self._settings
        steps: list[Step] = []
        start: State = {
            name: tensor.clone() for name, tensor in self._fresh().network.state_dict().items()}
        for round_index in range(settings.plan.rounds):
            watched, source = self._open(start)
            watcher = Watcher(watched, source, settings.privacy, self._num_subjects, round_index)

            with watcher.listening():
                trained = dp_training.train_round_with_dp(
                    watched, settings.plan, start, self._mechanism(round_index), examples=self._members,
                    round_index=round_index, moments=moments,
                    on_step=_teller(watcher, len(steps), settings.steps, progress))
            steps += watcher.steps
            start = {name: start[name] + update for name, update in trained.update.items()}
        self._end = start
        return steps

    def reach(self) -> dict[str, Diagnostic]:
        """Return what is found of single patients at the weights that training ended with."""
        settings = self._settings
        watched, _ = self._open(self._end)
        generator = torch.Generator().manual_seed(seed_for(settings.seed, "probes"))
        probes = [watched.draw([example] * settings.privacy.views, generator)
                  for example in (*self._ordinary[:2], *self._canaries[:2])]
        engine, microbatch = settings.engine, settings.microbatch
        return {"reach": one_patients_reach(watched, probes, settings.privacy, engine, microbatch),
                "sum": sum_error(watched, probes, settings.privacy, engine, microbatch)}

    def _mechanism(self, round_index: int) -> dp_training.Mechanism:
        settings = self._settings
        return dp_training.Mechanism(
            settings.privacy, self._num_subjects, settings.engine, settings.microbatch,
            SecureRandom(seed_for(settings.seed, "noise", round_index)))

    def _open(self, weights: State) -> tuple[Watched, Canaries]:
        objective = self._fresh()
        objective.network.load_state_dict(weights)
        objective.network.train()
        privacy, seed = self._settings.privacy, self._settings.seed
        source: Canaries = (
            GradientCanaries(objective.network, len(self._canaries), privacy, seed)
            if self._settings.engine == "loop"
            else InputCanaries(objective, self._canaries, self._ordinary, privacy, seed))
        return Watched(objective, self._numbers, source), source


def _teller(
    watcher: Watcher, before: int, total: int, progress: Progress | None
) -> Callable[[int, int, float], None]:
    """Return what is called after every step: it tells the watcher the loss, and how far it is."""

    def on_step(done: int, of: int, loss: float) -> None:
        del of  # of this round
        watcher.on_loss(loss)
        if progress:
            progress(before + done, total)

    return on_step
