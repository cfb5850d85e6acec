"""What one step releases: how much of it one subject can be, and what noise lies over it."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from braing3n.errors import ConfigError
from braing3n.privacy import dpsgd
from braing3n.privacy.clipping import LOSS_SHARE, ClippedSum, Inputs, squared_norm, squared_norms
from braing3n.privacy.dpsgd import (
    Noised,
    clipped_sum,
    noised_gradient,
    signal_to_noise,
    squared_length,
)
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy_plan import StagePrivacy

PRIVACY = StagePrivacy(noise_multiplier=1.5, sample_rate=0.2, clip_norm=0.7, views=1, loss_bound=2.0)


class Dot(nn.Module):
    """A network whose gradient is its input: losses are w · x + the offset that a row brings."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def losses(self, inputs: Inputs) -> Tensor:
        vectors, offsets = inputs  # (B, size), (B,)
        return vectors @ self.weight + offsets


def given_gradient(*rows: list[float], loss: float = 0.0) -> Inputs:
    """A subject whose views have these gradients."""
    return torch.tensor(rows), torch.full((len(rows),), loss)


def sum_of(subjects: list[Inputs], privacy: StagePrivacy = PRIVACY) -> ClippedSum:
    network = Dot(len(subjects[0][0][0]) if subjects else 3)
    return clipped_sum(network, network.losses, iter(subjects), privacy=privacy, engine="loop",
                       microbatch=1)


def length(total: ClippedSum) -> float:
    """How long a sum is, gradient and loss's coordinate together."""
    return math.hypot(*(float(t.double().norm()) for t in total.sums.values()), total.loss)


def step(subjects: list[Inputs], size: int = 3, seed: int = 0, num_subjects: int = 50,
         privacy: StagePrivacy = PRIVACY) -> Noised:
    network = Dot(size)
    return noised_gradient(network, network.losses, iter(subjects), privacy=privacy,
                           num_subjects=num_subjects, randomness=SecureRandom(seed), engine="loop",
                           microbatch=1)


def test_a_short_gradient_is_added_as_it_is_and_a_long_one_scaled_to_the_bound() -> None:
    bound = 0.7 / math.sqrt(1.01) * (1 - 1e-6)
    assert sum_of([given_gradient([0.1, 0.2, -0.3])]).sums["weight"].tolist() == pytest.approx(
        [0.1, 0.2, -0.3])
    clipped = sum_of([given_gradient([3.0, 0.0, 4.0])])
    assert clipped.sums["weight"].tolist() == pytest.approx([0.6 * bound, 0, 0.8 * bound])
    assert clipped.diagnostics().norms == pytest.approx((5.0,))
    assert clipped.diagnostics().num_clipped == 1


def test_views_are_averaged_before_the_clip_and_not_after() -> None:
    # Two views that point apart leave 0.2 of each other; clipped one by one, nothing would be left.
    total = sum_of([given_gradient([100.0, 0.0, 0.0], [-99.6, 0.0, 0.0])])
    assert total.sums["weight"].tolist() == pytest.approx([0.2, 0, 0], rel=1e-4)
    assert total.diagnostics().num_drawn == 1


def test_the_loss_is_one_more_coordinate_between_0_and_a_tenth_of_the_gradients_bound() -> None:
    most = LOSS_SHARE * 0.7 / math.sqrt(1.01) * (1 - 1e-6)
    for loss, expected in [(0.0, 0.0), (-5.0, 0.0), (1.0, most / 2), (2.0, most), (1e30, most)]:
        total = sum_of([given_gradient([0.0, 0.0, 0.0], loss=loss)])
        assert total.loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_a_subject_that_is_not_finite_gives_exactly_nothing(bad: float, where: str) -> None:
    good = given_gradient([0.1, 0.2, 0.3], loss=0.5)
    subject = (given_gradient([0.1, bad, 0.0]) if where == "gradient"
               else given_gradient([0.1, 0.2, 0.0], loss=bad))
    alone, both = sum_of([good]), sum_of([good, subject])
    assert torch.equal(alone.sums["weight"], both.sums["weight"])
    assert alone.loss == both.loss
    assert both.diagnostics().num_zeroed == 1
    assert sum_of([subject]).sums["weight"].tolist() == [0, 0, 0]


def test_one_bad_view_makes_the_whole_subject_give_nothing() -> None:
    total = sum_of([given_gradient([0.1, 0.0, 0.0], [math.nan, 0.0, 0.0])])
    assert length(total) == 0


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=6),
       st.floats(width=32), st.floats(1e-6, 1e6))
@settings(max_examples=300)
def test_no_gradient_and_no_loss_weighs_more_than_the_clip_norm(
    gradient: list[float], loss: float, clip_norm: float
) -> None:
    privacy = PRIVACY.model_copy(update={"clip_norm": clip_norm})
    assert length(sum_of([given_gradient(gradient, loss=loss)], privacy)) <= clip_norm


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e19, 1e25, 1e36, 3e38])
def test_gradients_at_the_ends_of_float32_are_clipped_or_left_out(scale: float) -> None:
    total = sum_of([given_gradient([scale] * 5000, loss=2.0)])
    assert length(total) <= 0.7
    if 1e-10 <= scale <= 1e25:
        exact = scale * math.sqrt(5000)
        assert total.diagnostics().norms[0] == pytest.approx(exact, rel=1e-6)
        assert length(total) > 0.69 or scale == 1e-10


def test_the_divisor_is_the_expected_number_whoever_is_drawn() -> None:
    subject = given_gradient([0.3, 0.0, 0.0], loss=1.0)
    for drawn in (0, 1, 3, 30):
        with_subjects, nobody = step([subject] * drawn), step([])
        share = [a - b for a, b in zip(with_subjects.gradient["weight"].tolist(),
                                       nobody.gradient["weight"].tolist(), strict=True)]
        assert share == pytest.approx([drawn * 0.3 / 10, 0, 0], abs=1e-6)
        assert with_subjects.loss - nobody.loss == pytest.approx(drawn * 1.0 / 10, abs=1e-9)


def test_an_empty_draw_is_a_step_of_noise() -> None:
    noised = step([], size=50_000)
    values = noised.gradient["weight"].numpy()
    assert noised.clipped.num_drawn == 0
    assert stats.kstest(values / (1.5 * 0.7 / 10), "norm").pvalue > 0.001


def test_every_coordinate_has_noise_of_its_own_and_of_the_claimed_deviation() -> None:
    claimed = 1.5 * 0.7 / 10  # σ C / (q n)
    subject = given_gradient([0.1, 0.0, -0.2], loss=1.0)
    network, randomness = Dot(), SecureRandom(3)
    steps = [noised_gradient(network, network.losses, [subject], privacy=PRIVACY, num_subjects=50,
                             randomness=randomness, engine="loop", microbatch=1)
             for _ in range(4000)]
    # The loss's noise, in units of losses: σ C over what a loss of 1 weighs, over q n.
    unit = LOSS_SHARE * 0.7 / math.sqrt(1.01) / 2.0
    values = np.array([[*noised.gradient["weight"].tolist(), noised.loss * unit] for noised in steps])
    noise = values - [0.01, 0, -0.02, unit / 10]
    assert noise.mean(axis=0) == pytest.approx([0] * 4, abs=4 * claimed / 4000**0.5)
    assert noise.std(axis=0) == pytest.approx([claimed] * 4, rel=4 / 8000**0.5)
    for column in noise.T:
        assert stats.kstest(column / claimed, "norm").pvalue > 0.001
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 4.5 / 4000**0.5
    assert np.abs(np.corrcoef(noise.T) - np.eye(4)).max() < 4.5 / 4000**0.5


def test_a_new_source_gives_new_noise_without_a_seed() -> None:
    network = Dot()
    first, second = (
        noised_gradient(network, network.losses, [], privacy=PRIVACY, num_subjects=50,
                        randomness=SecureRandom(), engine="loop", microbatch=1) for _ in range(2))
    assert not torch.equal(first.gradient["weight"], second.gradient["weight"])


def test_parameters_without_a_gradient_are_noised_and_frozen_ones_are_not_there() -> None:
    network = Dot()
    network.unused = nn.Parameter(torch.zeros(4))
    network.frozen = nn.Parameter(torch.zeros(4), requires_grad=False)
    noised = noised_gradient(network, network.losses, [given_gradient([0.1, 0.0, 0.0])],
                             privacy=PRIVACY, num_subjects=50, randomness=SecureRandom(1),
                             engine="loop", microbatch=1)
    assert sorted(noised.gradient) == ["unused", "weight"]
    assert noised.gradient["unused"].abs().min() > 0


def test_weights_with_channels_last_are_noised_in_every_number() -> None:
    network = nn.Conv3d(3, 4, 3).to(memory_format=torch.channels_last_3d)
    noised = noised_gradient(network, lambda inputs: inputs[0], [], privacy=PRIVACY, num_subjects=50,
                             randomness=SecureRandom(1), engine="loop", microbatch=1)
    weight = noised.gradient["weight"]
    assert weight.stride() == network.weight.stride()
    assert len(weight.unique()) == weight.numel()
    assert weight.abs().min() > 0


def test_subjects_are_read_one_microbatch_at_a_time() -> None:
    alive: list[int] = []

    def lazily() -> Iterator[Inputs]:
        for number in range(6):
            alive.append(number)
            yield given_gradient([0.1, 0.0, 0.0])

    network = Dot()
    seen: list[int] = []

    def losses(inputs: Inputs) -> Tensor:
        seen.append(len(alive))
        return network.losses(inputs)

    clipped_sum(network, losses, lazily(), privacy=PRIVACY, engine="loop", microbatch=100)
    assert seen == [2, 3, 4, 5, 6, 6]  # the next one is asked for before this one is worked on


def test_subjects_with_other_numbers_of_views_come_in_microbatches_of_their_own() -> None:
    rows = [1, 1, 1, 3, 3, 1, 2]
    subjects = [given_gradient(*[[0.1, 0.0, 0.0]] * count) for count in rows]
    together = [[len(inputs[0]) for inputs in batch] for batch in dpsgd._microbatches(subjects, 2)]
    assert together == [[1, 1], [1], [3, 3], [1], [2]]


@pytest.mark.parametrize("module", [
    nn.BatchNorm3d(4), nn.BatchNorm1d(4, affine=False), nn.SyncBatchNorm(4),
    nn.InstanceNorm3d(4, track_running_stats=True),
])
@pytest.mark.parametrize("engine", ["loop", "bookkeeping", "opacus"])
def test_what_mixes_rows_or_keeps_statistics_is_refused(module: nn.Module, engine: str) -> None:
    network = nn.Sequential(nn.Linear(3, 4), module)
    with pytest.raises(ConfigError, match="1 \\("):
        clipped_sum(network, lambda inputs: inputs[0], [], privacy=PRIVACY, engine=engine,
                    microbatch=1)


def test_a_mean_over_rows_is_no_loss() -> None:
    network = Dot()
    with pytest.raises(ValueError, match="one a row"):
        clipped_sum(network, lambda inputs: network.losses(inputs).mean(),
                    [given_gradient([1.0, 0.0, 0.0])], privacy=PRIVACY, engine="loop", microbatch=1)


@pytest.mark.parametrize("shape", [(40_000_000,), (2, 20_000_000), (40, 999_983)])
def test_norms_are_right_at_40_million_parameters(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul_(1e-3).add_(1e-3)
    pieces = values.flatten().split(2**20)
    exact = sum(np.square(piece.numpy().astype(np.float64)).sum() for piece in pieces)
    # A square root halves the relative error.
    assert squared_norm([values, values]) == pytest.approx(2 * exact, rel=1e-6)
    assert float(squared_norms(values.unsqueeze(0))[0]) == pytest.approx(exact, rel=1e-6)


def test_signal_to_noise_is_estimated_from_released_numbers() -> None:
    size = 100_000
    deviation = 1.5 * 0.7 / 10
    for ratio in (0.0, 0.5, 2.0):
        found = []
        for seed in range(3):
            noised = step([], size=size, seed=seed).gradient["weight"]
            signal = torch.zeros(size)
            signal[seed] = ratio * deviation * math.sqrt(size)
            found.append(squared_length({"weight": noised + signal}))
        estimated = signal_to_noise(sum(found) / 3, size, PRIVACY, 50)
        assert estimated == pytest.approx(ratio, abs=0.1 if ratio == 0 else 0.02)
    assert signal_to_noise(0.0, size, PRIVACY, 50) == 0
