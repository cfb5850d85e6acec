import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from braing3n.conditions import VARIABLES, Conditions
from braing3n.models.dit import DiffusionTransformer, check_conditions
from braing3n.presets import PRESETS, Preset, PresetName

KNOWN = Conditions(60.0, "F", "AD", "T1w", 0.5, "3T").encode()
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def network(tiny: Preset, stir: Callable[[nn.Module], None]) -> DiffusionTransformer:
    network = DiffusionTransformer(tiny)
    stir(network)
    return network


def inputs_for(preset: Preset, count: int) -> Inputs:
    """Latent, time, conditions and hidden, with everything known and shown."""
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(count, preset.latent_channels, *preset.grid, generator=generator)
    return (latent, torch.rand(count, generator=generator), torch.tensor([KNOWN] * count),
            torch.zeros(count, 6, dtype=torch.bool))


def test_an_untrained_network_makes_the_best_linear_guess_from_each_number_alone(
    tiny: Preset,
) -> None:
    # Oracle: least squares of the velocity on x_t, for data of the variance that is assumed.
    generator = torch.Generator().manual_seed(0)
    data = math.sqrt(0.1) * torch.randn(200_000, generator=generator)
    noise = torch.randn(200_000, generator=generator)
    latent = inputs_for(tiny, 1)[0]
    network = DiffusionTransformer(tiny)
    for share in (0.0, 0.3, 0.7, 1.0):
        point = (1 - share) * data + share * noise
        slope = (point @ (noise - data)) / (point @ point)
        velocity = network(latent, torch.tensor([share]), *inputs_for(tiny, 1)[2:])
        torch.testing.assert_close(velocity, slope * latent, atol=0.02, rtol=0.01)


def test_the_blocks_answer_is_scaled_to_what_is_left_of_that_guess(tiny: Preset) -> None:
    generator = torch.Generator().manual_seed(0)
    data = math.sqrt(0.1) * torch.randn(200_000, generator=generator)
    noise = torch.randn(200_000, generator=generator)
    latent, _, *rest = inputs_for(tiny, 1)
    network = DiffusionTransformer(tiny)
    nn.init.ones_(network.leave.bias)  # the blocks answer 1 everywhere
    for share in (0.0, 0.3, 0.7, 1.0):
        point, velocity = (1 - share) * data + share * noise, noise - data
        left = velocity - point * (point @ velocity) / (point @ point)
        answer = network(torch.zeros_like(latent), torch.tensor([share]), *rest)
        torch.testing.assert_close(answer, torch.full_like(answer, left.std().item()),
                                   atol=0.01, rtol=0.01)


def test_the_blocks_see_latents_of_variance_one_at_every_time(tiny: Preset) -> None:
    network, seen = DiffusionTransformer(tiny), list[Tensor]()
    network.enter.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    generator = torch.Generator().manual_seed(0)
    shape = (500, tiny.latent_channels, *tiny.grid)
    data, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    _, _, conditions, hidden = inputs_for(tiny, 500)
    for share in (0.0, 0.3, 0.7, 1.0):
        network((1 - share) * data + share * noise, torch.full((500,), share), conditions, hidden)
        assert seen[-1].var() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["nano", "small", "full"])
def test_no_variable_starts_much_louder_than_another_or_than_time(name: PresetName) -> None:
    torch.manual_seed(0)
    network = DiffusionTransformer(PRESETS[name])
    share = torch.linspace(0, 1, 64)
    loudness = {"time": network.time(share)}
    for variable, embedding in zip(VARIABLES, network.variables, strict=True):
        values = torch.arange(float(len(variable.codes))) if variable.codes else share
        for known in (True, False):
            given = torch.full(values.shape, known, dtype=torch.bool)
            loudness[f"{variable.name}, {known=}"] = embedding(values, given)
    for what, embedded in loudness.items():
        assert 0.5 < embedded.square().mean().sqrt() < 1.3, what


def test_pure_noise_passes_whole_whatever_the_blocks_have_learnt(
    tiny: Preset, network: DiffusionTransformer
) -> None:
    # At time 1 the velocity is the noise minus a guess of the data: of 1000 times the noise, the
    # blocks' bounded output is a small part.
    latent, _, conditions, hidden = inputs_for(tiny, 2)
    velocity = network(1000 * latent, torch.ones(2), conditions, hidden)
    assert (velocity - 1000 * latent).square().mean() < 0.01 * (1000 * latent).square().mean()


def test_every_place_has_its_own_velocity(tiny: Preset, network: DiffusionTransformer) -> None:
    latent, time, conditions, hidden = inputs_for(tiny, 1)
    alike = torch.ones_like(latent)
    velocity = network(alike, time, conditions, hidden).flatten(2)[0].T  # (N, C)
    apart = torch.cdist(velocity, velocity) + torch.eye(len(velocity))
    assert apart.min() > 1e-3


@pytest.mark.parametrize("column", range(len(VARIABLES)))
def test_each_variable_counts_and_hidden_is_the_same_as_missing(
    tiny: Preset, network: DiffusionTransformer, column: int
) -> None:
    latent, time, conditions, hidden = inputs_for(tiny, 2)
    shown = network(latent, time, conditions, hidden)
    missing, dropped = conditions.clone(), hidden.clone()
    missing[0, column], dropped[0, column] = torch.nan, True
    without = network(latent, time, missing, hidden)
    assert (without[0] - shown[0]).abs().max() > 1e-4
    torch.testing.assert_close(without[1], shown[1], atol=1e-6, rtol=0)
    assert torch.equal(network(latent, time, conditions, dropped), without)


def test_every_category_is_another_condition(tiny: Preset, network: DiffusionTransformer) -> None:
    for column, variable in enumerate(VARIABLES):
        count = len(variable.codes) or 4
        latent, time, conditions, hidden = inputs_for(tiny, 1)
        conditions = conditions.repeat(count, 1)
        conditions[:, column] = torch.arange(count) / (1 if variable.codes else count)
        velocity = network(latent.expand(count, -1, -1, -1, -1), time.expand(count), conditions,
                           hidden.expand(count, -1)).flatten(1)
        apart = torch.cdist(velocity, velocity) + torch.eye(count)
        assert apart.min() > 1e-4, variable.name


def test_time_counts(tiny: Preset, network: DiffusionTransformer) -> None:
    # Of latents of 0, only the blocks' answer is left; its direction does not know the gain.
    latent, time, conditions, hidden = inputs_for(tiny, 1)
    nothing = torch.zeros_like(latent)
    first, second = (F.normalize(network(nothing, t, conditions, hidden).flatten(), dim=0)
                     for t in (time, time + 0.1))
    assert (first - second).abs().max() > 1e-3


def test_nan_never_reaches_a_gradient(tiny: Preset, network: DiffusionTransformer) -> None:
    latent, time, conditions, hidden = inputs_for(tiny, 3)
    conditions[0], conditions[1, ::2], hidden[1, 1] = torch.nan, torch.nan, True
    network(latent, time, conditions, hidden).square().sum().backward()
    broken = [n for n, w in network.named_parameters()
              if w.grad is None or not w.grad.isfinite().all()]
    assert broken == []


def test_a_gradient_reaches_every_parameter(tiny: Preset, network: DiffusionTransformer) -> None:
    latent, time, conditions, hidden = inputs_for(tiny, 4)
    hidden[0] = True
    network(latent, time, conditions, hidden).square().sum().backward()
    silent = [n for n, w in network.named_parameters() if w.grad is None or not w.grad.any()]
    assert silent == []


def test_a_volume_changes_its_own_velocity_alone(
    tiny: Preset, network: DiffusionTransformer
) -> None:
    latent, time, conditions, hidden = inputs_for(tiny, 3)
    before = network(latent, time, conditions, hidden)
    latent, time, conditions = latent.clone(), time.clone(), conditions.clone()
    latent[1], time[1], conditions[1] = 9.0, 0.9, torch.nan
    change = (network(latent, time, conditions, hidden) - before).abs().flatten(1).amax(dim=1)
    assert change[1] > 1e-3
    assert change[[0, 2]].max() < 1e-6


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [(1, 2.0, "sex cannot be 2"), (1, -1.0, "sex cannot be -1"), (2, 0.5, "diagnosis cannot be"),
     (3, torch.inf, "modality cannot be inf"), (0, -torch.inf, "age_years cannot be -inf")],
)
def test_a_condition_that_no_network_knows_is_refused(
    column: int, value: float, message: str
) -> None:
    conditions = torch.tensor([KNOWN, Conditions().encode()])
    check_conditions(conditions)
    conditions[0, column] = value
    with pytest.raises(ValueError, match=message):
        check_conditions(conditions)


def test_conditions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"conditions are \(B, 6\), not \(2, 5\)"):
        check_conditions(torch.zeros(2, 5))


def test_only_learnt_tensors_are_in_the_state_dict(tiny: Preset) -> None:
    network = DiffusionTransformer(tiny)
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(name: PresetName) -> None:
    preset = PRESETS[name]
    with torch.device("meta"):
        latent = torch.empty(2, preset.latent_channels, *preset.grid)
        velocity = DiffusionTransformer(preset)(
            latent, torch.empty(2), torch.empty(2, 6), torch.empty(2, 6, dtype=torch.bool)
        )
    assert velocity.shape == latent.shape
