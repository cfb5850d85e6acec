"""The gate: no bound on what really leaks from our training may be above what it claims."""

import math
from collections.abc import Callable

import pytest

from braing3n.audit.empirical.bounds import epsilon_of_mu
from braing3n.audit.empirical.result import EmpiricalAudit
from braing3n.audit.empirical.run import BOUNDS, NUM_DIAGNOSTICS, run_audit
from braing3n.errors import ConfigError

Audit = Callable[..., EmpiricalAudit]


@pytest.mark.parametrize("engine", ["loop", "bookkeeping"])
@pytest.mark.parametrize("stage", ["pretrain", "decoder", "diffusion"])
def test_training_leaks_no_more_than_it_claims(small_audit: Audit, stage: str, engine: str) -> None:
    audit = small_audit(stage, engine, steps=20, canaries=80, noise_multiplier=0.9)
    assert audit.holds, audit.reasons
    assert all(bound.epsilon < audit.claim.epsilon for bound in audit.bounds.values())
    assert len(audit.diagnostics) == NUM_DIAGNOSTICS
    assert audit.bounds.keys() == BOUNDS.keys()
    # It looked: an attack that finds nothing would pass any training.
    assert audit.bounds["gaussian_fit"].epsilon > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "bookkeeping", "opacus"])
@pytest.mark.parametrize("stage", ["pretrain", "decoder", "diffusion"])
def test_training_at_nano_size_leaks_no_more_than_it_claims(stage: str, engine: str) -> None:
    audit = run_audit(stage, engine, noise_multiplier=1.2,  # type: ignore[arg-type]
                      canaries=200 if engine == "loop" else 48, steps=60 if engine == "loop" else 20)
    assert audit.holds, audit.reasons


def test_everybody_drawn_in_every_step_is_the_plain_gaussian_mechanism(small_audit: Audit) -> None:
    """Its trade-off is Gaussian with μ = √T / σ, so the fit has to come close to the truth."""
    audit = small_audit("diffusion", sample_rate=1.0, noise_multiplier=3.0, steps=20, canaries=400)
    assert audit.holds, audit.reasons
    exact = epsilon_of_mu(math.sqrt(20) / 3, audit.claim.delta)
    assert audit.claim.epsilon == pytest.approx(exact, abs=1e-2)
    assert 0.75 * exact < audit.bounds["gaussian_fit"].epsilon < exact


def test_an_audit_is_repeated_by_its_seed(small_audit: Audit) -> None:
    first, again, other = (
        small_audit("diffusion", steps=8, canaries=32, seed=seed) for seed in (1, 1, 2))
    assert first.bounds == again.bounds
    assert first.diagnostics["signal"].statistic == again.diagnostics["signal"].statistic
    assert first.diagnostics["signal"].statistic != other.diagnostics["signal"].statistic


def test_correct_training_is_accused_as_rarely_as_is_said(small_audit: Audit) -> None:
    """5 % at most; of 12, 4 or more would come up with p = 0.002."""
    accused = [audit.reasons for audit in (
        small_audit("diffusion", steps=10, canaries=32, noise_multiplier=0.8, subjects=4, seed=seed)
        for seed in range(12)) if not audit.holds]
    assert len(accused) < 4, accused


@pytest.mark.slow
def test_correct_training_of_every_network_is_accused_as_rarely_as_is_said(small_audit: Audit) -> None:
    """5 % at most; of 150, 17 or more would come up with p = 0.001."""
    accused = []
    for seed in range(150):
        stage = ("pretrain", "decoder", "diffusion")[seed % 3]
        audit = small_audit(stage, steps=20, canaries=64, noise_multiplier=0.95, seed=1000 + seed)
        if not audit.holds:
            accused.append((seed, audit.reasons))
    assert len(accused) < 17, accused


@pytest.mark.parametrize(("change", "what"), [
    ({"steps": 2}, "steps"), ({"canaries": 4}, "canaries"), ({"subjects": 1}, "subjects"),
    ({"rounds": 0}, "rounds"), ({"confidence": 0.999}, "confidence")])
def test_an_audit_that_says_nothing_is_refused(
    small_audit: Audit, change: dict[str, float], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        small_audit(**change)


def test_norms_before_clipping_are_counted(small_audit: Audit) -> None:
    """Canaries of the loop have a norm of ten times the clip norm; ordinary patients have their own."""
    audit = small_audit("diffusion", steps=8, canaries=32)
    counts = audit.norm_counts
    assert sum(counts.values()) == len(audit.norms) > 20
    assert counts["8 to 16"] > 10
    assert counts["not finite"] == 0
    assert max(audit.norms) < 16
    assert audit.as_json()["gradient_norms"] == counts
