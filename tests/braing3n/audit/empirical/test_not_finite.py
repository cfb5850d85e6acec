"""Training with numbers that are not finite: NaN compares as nothing, and must never pass for right.

The checks that catch each fault are compared as a whole, as in `test_faults`.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from braing3n import dp_training
from braing3n.audit.empirical import reach
from braing3n.audit.empirical.result import EmpiricalAudit
from braing3n.privacy.clipping import ClippedSum
from braing3n.privacy.dpsgd import clipped_sum
from braing3n.privacy.noise import SecureRandom

ALL_BOUNDS = {"one_run", "one_run_gaussian", "clopper_pearson", "gaussian_fit"}
Audit = Callable[..., EmpiricalAudit]


@pytest.mark.parametrize("engine", ["loop", "bookkeeping"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_noise_that_is_not_a_number_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch, engine: str, value: float
) -> None:
    """Weights are then none either, so that nobody adds anything to sums, and nobody is found."""
    real = SecureRandom.gaussians
    monkeypatch.setattr(SecureRandom, "gaussians", lambda self, count: (
        np.full(count, value) if count > 1 else real(self, count)))
    audit = small_audit("diffusion", engine, steps=12, canaries=40)
    assert audit.caught_by == {*ALL_BOUNDS, "noise_scale", "noise_places", "noise_lag",
                               "noise_repeats", "noise_denominator", "signal", "reach"}
    assert not audit.holds
    assert json.loads(json.dumps(audit.as_json(), allow_nan=False))["holds"] is False


@pytest.mark.parametrize(("engine", "num_broken", "caught_by"), [
    ("loop", None, {"reach"}), ("loop", 1, {"reach"}), ("bookkeeping", None, {*ALL_BOUNDS, "reach"})])
def test_training_whose_weights_are_soon_not_finite_shows_nothing_and_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch, engine: str, num_broken: int | None,
    caught_by: set[str],
) -> None:
    """All noise is as claimed, but from the second step on there is no patient to be hidden by it."""
    real = dp_training._step

    def step(network: Any, *rest: Any) -> None:
        real(network, *rest)
        for parameter in list(network.parameters())[:num_broken]:
            parameter.data.fill_(np.nan)

    monkeypatch.setattr(dp_training, "_step", step)
    audit = small_audit(engine=engine, steps=12, canaries=40)
    assert audit.caught_by == caught_by


def test_a_broken_scan_that_is_added_to_the_sum_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made patients are whole; the one who is not is only tried by himself, and turns sums to NaN."""
    real = ClippedSum.weigh
    monkeypatch.setattr(ClippedSum, "weigh", lambda self, losses, squares: [
        factor or 1.0 for factor in real(self, losses, squares)])
    audit = small_audit("diffusion", steps=12, canaries=40)
    assert audit.caught_by == {"reach"}
    assert audit.diagnostics["reach"].statistic == np.inf


def test_sums_that_are_no_numbers_are_no_small_ones(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come out of the engine when it is looked at by itself, and not while training."""

    def spoilt(*args: Any, **rest: Any) -> ClippedSum:
        found = clipped_sum(*args, **rest)
        for total in found.sums.values():
            total.fill_(np.nan)
        return found

    monkeypatch.setattr(reach, "clipped_sum", spoilt)
    assert small_audit("diffusion", steps=12, canaries=40).caught_by == {"reach", "sum"}
