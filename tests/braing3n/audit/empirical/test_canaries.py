"""Canaries go through the real engines, and the auditor finds those that are in a sum."""

import math

import numpy as np
import pytest
import torch

from braing3n.audit.empirical.canaries import Canaries, GradientCanaries, InputCanaries
from braing3n.audit.empirical.exact import clipped_gradient, exact_sum, flat, trained
from braing3n.audit.empirical.made import MadeSubjects, made_plan, made_privacy, open_made
from braing3n.audit.empirical.watching import Watched
from braing3n.objectives import StageObjective
from braing3n.plan import StageName
from braing3n.privacy.clipping import LOSS_SHARE
from braing3n.privacy.dpsgd import clipped_sum
from braing3n.privacy_plan import StagePrivacy

COUNT = 24
SHARE = 1 / math.sqrt(1.01)  # of C that is the gradient's


def opened(stage: StageName, privacy: StagePrivacy) -> tuple[StageObjective, MadeSubjects]:
    from braing3n.audit.empirical.run import PRESETS

    made = MadeSubjects(PRESETS["nano"], 4, COUNT, seed=3)
    plan = made_plan("nano", stage, privacy, rounds=1, local_steps=2, seed=3)
    return open_made(plan, stage, made)(), made


def test_gradient_canaries_are_orthogonal_and_as_long_as_clipping_lets_them(pocket: None) -> None:
    privacy = made_privacy(1.0, 0.5, 3)
    objective, _ = opened("pretrain", privacy)
    canaries = GradientCanaries(objective.network, COUNT, privacy, seed=0)
    watched = Watched(objective, {}, canaries)
    rows = []
    for number in range(COUNT):
        total = clipped_sum(watched.network, watched.losses, [canaries.draw(number, 3)],
                            privacy=privacy, engine="loop", microbatch=8)
        rows.append(flat(watched.network, total.sums) / privacy.clip_norm)
        assert total.loss == pytest.approx(0.1 * SHARE * privacy.clip_norm, rel=1e-5)
        found, spread = canaries.measure(rows[-1] * privacy.clip_norm)
        assert found == pytest.approx((np.arange(COUNT) == number).astype(float), abs=1e-4)
        assert spread == pytest.approx(np.full(COUNT, 1 / SHARE))
    products = torch.stack(rows) @ torch.stack(rows).T
    torch.testing.assert_close(products, SHARE**2 * torch.eye(COUNT), rtol=0, atol=1e-4)
    # Together they cover every parameter, up to the rest of the division.
    touched = sum((row != 0).sum().item() for row in rows)
    assert touched > sum(p.numel() for p in watched.network.parameters()) - COUNT


@pytest.mark.parametrize("stage", ["pretrain", "decoder", "diffusion"])
@pytest.mark.parametrize("engine", ["bookkeeping", "opacus"])
def test_input_canaries_are_told_apart_in_a_sum_of_several(
    pocket: None, stage: StageName, engine: str
) -> None:
    privacy = made_privacy(1.0, 0.5, 2)
    objective, made = opened(stage, privacy)
    others = made.ordinary[:2]
    canaries = InputCanaries(objective, made.canaries, others, privacy, seed=0)
    drawn = [1, 5, 6, 20]
    total = clipped_sum(objective.network, objective.losses, [canaries.draw(n, 2) for n in drawn],
                        privacy=privacy, engine=engine, microbatch=3)  # type: ignore[arg-type]
    found, spread = canaries.measure(flat(objective.network, total.sums))
    assert found == pytest.approx(np.isin(np.arange(COUNT), drawn).astype(float), abs=0.05)
    assert spread.min() > 0.99
    assert spread.max() < 3


def test_the_spread_is_what_noise_makes_of_an_estimate(pocket: None) -> None:
    privacy = made_privacy(1.3, 0.5, 2)
    objective, made = opened("diffusion", privacy)
    sources: list[Canaries] = [
        GradientCanaries(objective.network, COUNT, privacy, seed=0),
        InputCanaries(objective, made.canaries, made.ordinary[:2], privacy, seed=0)]
    size = sum(p.numel() for p in objective.network.parameters())
    generator = torch.Generator().manual_seed(0)
    for source in sources:
        noise = [source.measure(0.13 * torch.randn(size, generator=generator)) for _ in range(200)]
        ratio = np.stack([found / spread for found, spread in noise])
        assert ratio.std() == pytest.approx(1.0, abs=0.05)
        assert ratio.mean() == pytest.approx(0.0, abs=0.05)


def test_the_auditors_own_sum_is_the_engines(pocket: None) -> None:
    privacy = made_privacy(1.0, 0.5, 2)
    objective, made = opened("pretrain", privacy)
    inputs = [objective.draw([example] * 2, torch.Generator().manual_seed(0))
              for example in made.ordinary[:3]]
    theirs = clipped_sum(objective.network, objective.losses, inputs, privacy=privacy, engine="loop",
                         microbatch=1)
    ours, loss, norms = exact_sum(objective, inputs, privacy)
    torch.testing.assert_close(ours, flat(objective.network, theirs.sums), rtol=1e-4, atol=1e-7)
    assert loss == pytest.approx(theirs.loss, rel=1e-5)
    scale = privacy.clip_norm / math.sqrt(1 + LOSS_SHARE**2)
    for norm, own in zip(norms, inputs, strict=True):
        gradient = torch.autograd.grad(objective.losses(own).mean(), list(
            trained(objective.network).values()), allow_unused=True)
        length = math.sqrt(sum(float(part.double().square().sum()) for part in gradient
                               if part is not None))
        assert norm == pytest.approx(length / scale, rel=1e-5)


def test_a_patient_that_is_not_finite_gives_the_auditor_nothing(pocket: None) -> None:
    privacy = made_privacy(1.0, 0.5, 2)
    objective, made = opened("pretrain", privacy)
    volume, noise = objective.draw([made.ordinary[0]] * 2, torch.Generator().manual_seed(0))
    found = clipped_gradient(objective, (volume * math.nan, noise), privacy)
    assert (found.gradient, found.loss) == ({}, 0.0)
