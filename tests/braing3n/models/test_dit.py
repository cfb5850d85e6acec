from collections.abc import Callable

import pytest
import torch
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


def test_an_untrained_network_moves_nothing(tiny: Preset) -> None:
    velocity = DiffusionTransformer(tiny)(*inputs_for(tiny, 2))
    assert torch.equal(velocity, torch.zeros(2, 4, 2, 3, 2))


@pytest.mark.parametrize("column", range(6))
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
    latent, time, conditions, hidden = inputs_for(tiny, 1)
    first, second = (network(latent, t, conditions, hidden) for t in (time, time + 0.1))
    assert (first - second).abs().max() > 1e-4


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
