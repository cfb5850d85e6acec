"""The audit itself: made patients, canaries by coin, the real training, bounds and diagnostics."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from braing3n.audit.empirical import bounds as lower
from braing3n.audit.empirical import diagnostics as checks
from braing3n.audit.empirical.made import MadeSubjects, made_plan, made_privacy, open_made
from braing3n.audit.empirical.result import Claim, Diagnostic, EmpiricalAudit, LowerBound
from braing3n.audit.empirical.rounds import Progress, Rounds, Settings
from braing3n.audit.empirical.watching import Step, log_likelihood_ratios
from braing3n.budget import EngineName
from braing3n.data.examples import Example
from braing3n.errors import ConfigError
from braing3n.plan import StageName
from braing3n.presets import PRESETS, PresetName
from braing3n.privacy.accountant import epsilon as epsilon_of
from braing3n.privacy.events import Event
from braing3n.training import Objective, seed_for

BOUNDS: dict[str, tuple[lower.Bound, str]] = {
    "one_run": (lower.epsilon_one_run, "assumes nothing; Steinke et al. 2023"),
    "one_run_gaussian": (lower.epsilon_one_run_gaussian,
                         "assumes a Gaussian trade-off; Mahloujifar et al. 2024"),
    "clopper_pearson": (lower.epsilon_clopper_pearson, "assumes independent canaries"),
    "gaussian_fit": (lower.epsilon_gaussian_fit,
                     "assumes normal scores and a Gaussian trade-off; Nasr et al. 2023"),
}
NUM_DIAGNOSTICS = 12
NUM_CHECKS = len(BOUNDS) + NUM_DIAGNOSTICS


def run_audit(
    stage: StageName, engine: EngineName, *, noise_multiplier: float, sample_rate: float = 0.2,
    steps: int = 60, rounds: int = 2, canaries: int = 200, subjects: int = 16, views: int = 2,
    delta: float = 1e-5, preset: PresetName = "nano", seed: int = 0, confidence: float = 0.95,
    progress: Progress | None = None,
) -> EmpiricalAudit:
    """Audit the training of one stage by one engine, on patients that are made up for it.

    Args:
        stage: The stage.
        engine: The engine.
        noise_multiplier: σ.
        sample_rate: q.
        steps: In all, over all rounds.
        rounds: Rounds, with a restart of everything but weights and moments between them.
        canaries: Each is in the data by a fair coin.
        subjects: Ordinary patients.
        views: K.
        delta: δ of the claim and of the bounds.
        preset: Size of the networks.
        seed: Of everything.
        confidence: 1 − the false-alarm rate of all checks together.
        progress: Called with (steps done, steps in all).

    Raises:
        ConfigError: Numbers are out of range.
    """
    _check(steps, rounds, canaries, subjects)
    _check_confidence(confidence)
    privacy = made_privacy(noise_multiplier, sample_rate, views)
    plan = made_plan(preset, stage, privacy, rounds=rounds, local_steps=steps // rounds, seed=seed)
    made = MadeSubjects(PRESETS[preset], subjects, canaries, seed)
    settings = Settings(stage, engine, privacy, plan.stage(stage), delta, seed, confidence,
                        preset=preset)
    return audit(settings, open_made(plan, stage, made), made.ordinary, made.canaries, progress)


def audit(
    settings: Settings, fresh: Callable[[], Objective], ordinary: Sequence[Example],
    canaries: Sequence[Example], progress: Progress | None = None,
) -> EmpiricalAudit:
    """Audit the training of any objective.

    Args:
        settings: What is claimed.
        fresh: Opens the objective, with new objects and the same initial weights every time.
        ordinary: Examples of patients that are in the data.
        canaries: One example of each canary.
        progress: Called with (steps done, steps in all).
    """
    began = time.monotonic()
    rng = np.random.default_rng(seed_for(settings.seed, "coins"))
    included = rng.random(len(canaries)) < 0.5
    members = [*ordinary, *(one for one, is_in in zip(canaries, included, strict=True) if is_in)]
    rounds = Rounds(settings, fresh, ordinary, canaries, members)
    with TemporaryDirectory() as folder:
        steps = rounds.train(Path(folder), progress)
    scored = lower.Scored(log_likelihood_ratios(steps, settings.privacy.sample_rate), included,
                          settings.delta)
    diagnostics = {**_diagnose(settings, steps, members), **rounds.reach()}
    return EmpiricalAudit(
        settings.stage, settings.engine, settings.preset, _claim(settings), _bounds(settings, scored),
        diagnostics, (len(canaries), int(included.sum())), settings.confidence, settings.seed,
        time.monotonic() - began, tuple(norm for step in steps for norm in step.norms))


def level_of(settings: Settings) -> float:
    """Return each check's part of the false alarms, so that all together are as many as are allowed."""
    return (1 - settings.confidence) / NUM_CHECKS


def _bounds(settings: Settings, scored: lower.Scored) -> dict[str, LowerBound]:
    return {name: LowerBound(
        bound(scored, settings.confidence), bound(scored, 1 - level_of(settings)),
        words if scored.are_finite else "scores are not finite, so that all may have leaked")
        for name, (bound, words) in BOUNDS.items()}


def _diagnose(
    settings: Settings, steps: Sequence[Step], members: Sequence[Example]
) -> dict[str, Diagnostic]:
    level, rate = level_of(settings), settings.privacy.sample_rate
    subjects = sorted({example.subject for example in members})
    return {
        "steps": checks.steps_taken(steps, settings.steps),
        "noise_scale": checks.noise_scale(steps, level),
        "noise_places": checks.noise_places(steps, level),
        "noise_lag": checks.noise_lag(steps, level),
        "noise_repeats": checks.noise_repeats(steps, level),
        "noise_denominator": checks.noise_denominator(steps, level),
        "loss_noise": checks.loss_noise(steps, level),
        "signal": checks.signal(steps, level),
        "batch_sizes": checks.batch_sizes(steps, len(subjects), rate, level,
                                          seed_for(settings.seed, "sizes")),
        "turns": checks.turns(steps, subjects, rate, level, seed_for(settings.seed, "turns")),
    }


def _claim(settings: Settings) -> Claim:
    privacy, steps = settings.privacy, settings.steps
    event = Event(mechanism="poisson_gaussian", sample_rate=privacy.sample_rate,
                  noise_multiplier=privacy.noise_multiplier, steps=steps, stage=settings.stage,
                  round_index=0, run="audit")
    return Claim(epsilon_of([event], settings.delta), settings.delta, privacy.noise_multiplier,
                 privacy.sample_rate, steps, settings.plan.rounds)


def _check(steps: int, rounds: int, canaries: int, subjects: int) -> None:
    for name, found, least in (("steps", steps // max(rounds, 1), 2), ("rounds", rounds, 1),
                               ("canaries", canaries, 16), ("subjects", subjects, 3)):
        if found < least:
            raise ConfigError(f"an audit with so few {name} says nothing", expected=f"{least} or more"
                              + (" in every round" if name == "steps" else ""), found=str(found),
                              fix=f"ask for more {name}")


def _check_confidence(confidence: float) -> None:
    if not 0.5 <= confidence <= 0.99:  # above, simulated draws are too few to tell anything
        raise ConfigError("the confidence of an audit is out of range", expected="0.5 to 0.99",
                          found=f"{confidence:g}", fix="choose another, such as 0.95")
