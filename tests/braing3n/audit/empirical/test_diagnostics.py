"""Diagnostics of steps that are made up: what is not finite is never right, and steps are counted."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from braing3n.audit.empirical import diagnostics as checks
from braing3n.audit.empirical.result import Diagnostic
from braing3n.audit.empirical.watching import Step

LEVEL = 0.003
SIZE = 400
OF_NOISE: dict[str, Callable[[Sequence[Step], float], Diagnostic]] = {
    "noise_scale": checks.noise_scale, "noise_places": checks.noise_places,
    "noise_lag": checks.noise_lag, "noise_repeats": checks.noise_repeats,
    "noise_denominator": checks.noise_denominator, "loss_noise": checks.loss_noise,
    "signal": checks.signal}


def a_step(seed: int) -> Step:
    """As correct training would have it."""
    rng = np.random.default_rng(seed)
    noise, exact = rng.normal(size=SIZE), rng.normal(size=SIZE)
    return Step(
        round_index=0, drawn=tuple(f"sub-{n:04d}" for n in range(1 + seed)), norms=(),
        num_coordinates=SIZE,
        mean_square=float(np.square(noise).mean()),
        by_parameter={"weight": (float(np.square(noise[:300]).sum()), 300),
                      "bias": (float(np.square(noise[300:]).sum()), 100)},
        sketch=noise, signal=float((noise + exact) @ exact), signal_square=float(exact @ exact),
        loss_noise=float(rng.normal()), found=np.zeros(4), spread=np.ones(4))


def broken(step: Step, value: float) -> Step:
    """The same step where one coordinate of the noise, and that of the loss, is `value`."""
    noise = step.sketch.copy()
    noise[7] = value
    return replace(
        step, mean_square=float(np.square(noise).mean()), sketch=noise,
        by_parameter={**step.by_parameter, "weight": (float(np.square(noise[:300]).sum()), 300)},
        signal=math.nan, loss_noise=value)


@pytest.mark.parametrize("name", OF_NOISE)
def test_steps_as_they_should_be_hold(name: str) -> None:
    assert OF_NOISE[name]([a_step(seed) for seed in range(6)], LEVEL).holds


@pytest.mark.parametrize("place", [0, 5])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", OF_NOISE)
def test_one_number_in_one_step_that_is_not_finite_fails(name: str, value: float, place: int) -> None:
    steps = [a_step(seed) for seed in range(6)]
    steps[place] = broken(steps[place], value)
    with np.errstate(invalid="ignore"):
        found = OF_NOISE[name](steps, LEVEL)
    assert not found.holds
    assert found.p_value == 0.0


@pytest.mark.parametrize("name", ["noise_lag", "noise_repeats", "noise_denominator"])
def test_a_step_without_noise_is_not_judged_by_how_its_noise_looks(name: str) -> None:
    """The scale of noise is another check's; what there is none of has no lag."""
    steps = [a_step(seed) for seed in range(6)]
    steps[2] = replace(steps[2], mean_square=1e-9, sketch=np.zeros(SIZE))
    found = OF_NOISE[name](steps, LEVEL)
    assert found.holds
    assert found.p_value is None


@pytest.mark.parametrize(("taken", "holds"), [(5, False), (6, True), (7, False), (18, False)])
def test_steps_are_as_many_as_planned_and_not_one_more_or_less(taken: int, *, holds: bool) -> None:
    found = checks.steps_taken([a_step(0)] * taken, 6)
    assert found.holds is holds
    assert found.statistic == pytest.approx(taken / 6)
    assert (found.expected, found.p_value) == (1.0, None)
