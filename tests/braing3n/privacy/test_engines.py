"""All engines give the clipped sum of a loop over patients, on the three networks that we train."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from braing3n.privacy.clipping import ClippedSum, Inputs
from braing3n.privacy.dpsgd import clipped_sum, noised_gradient
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy_plan import StagePrivacy

NETWORKS = ("mae", "decoder", "dit")
ENGINES = ("loop", "bookkeeping", "opacus")
Gradient = dict[str, Tensor]


def brute_force(case, inputs: Inputs) -> Gradient:
    """One subject's gradient by plain backward, in float64 from there on."""
    case.network.zero_grad(set_to_none=True)
    case.losses(inputs).mean().backward()
    found = {name: torch.zeros_like(p).double() if p.grad is None else p.grad.double()
             for name, p in case.network.named_parameters()}
    case.network.zero_grad(set_to_none=True)
    return found


def norm(gradient: Gradient) -> float:
    return math.sqrt(sum(float(part.square().sum()) for part in gradient.values()))


def clipped(gradient: Gradient, clip_norm: float) -> Gradient:
    factor = min(1.0, clip_norm / math.sqrt(1.01) * (1 - 1e-6) / norm(gradient))
    return {name: factor * part for name, part in gradient.items()}


def added(gradients: list[Gradient]) -> Gradient:
    return {name: sum(gradient[name] for gradient in gradients) for name in gradients[0]}


def engine_sum(case, subjects: list[Inputs], engine: str, clip_norm: float,
               microbatch: int = 8) -> ClippedSum:
    privacy = StagePrivacy(noise_multiplier=1.0, sample_rate=0.1, clip_norm=clip_norm, loss_bound=1e9)
    return clipped_sum(case.network, case.losses, iter(subjects), privacy=privacy, engine=engine,
                       microbatch=microbatch)


def assert_same(found: Gradient, expected: Gradient, rel: float = 1e-5) -> None:
    """Each parameter's largest error is below `rel` of its largest number.

    Where a gradient is next to nothing beside the others, it is rounding of larger numbers that
    cancelled; it is then measured by 10⁻³ of the largest number of all.
    """
    assert found.keys() == expected.keys()
    most = max(float(part.abs().max()) for part in expected.values())
    for name, part in expected.items():
        scale = max(float(part.abs().max()), 1e-3 * most)
        assert float((found[name] - part).abs().max()) <= rel * scale, name


@pytest.mark.parametrize("views", [1, 4, 6])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_by_subject_equal_a_loop_raw_and_clipped(dp_case, name, engine, views) -> None:
    case = dp_case(name)
    subjects = [case.subject(views, seed) for seed in range(5)]
    exact = [brute_force(case, inputs) for inputs in subjects]
    norms = [norm(gradient) for gradient in exact]
    for clip_norm in (1e6, sorted(norms)[2] * 1.01, min(norms) / 3):  # nobody, some, everybody
        total = engine_sum(case, subjects, engine, clip_norm)
        assert_same(total.sums, added([clipped(gradient, clip_norm) for gradient in exact]))
        assert total.diagnostics().norms == pytest.approx(norms, rel=1e-5)
        expected = sum(case.losses(inputs).mean().item() for inputs in subjects)
        assert sum(total.diagnostics().losses) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_single_subject_of_a_microbatch_has_its_own_gradient(dp_case, name, engine) -> None:
    case = dp_case(name)
    for views in (1, 3):
        subjects = [case.subject(views, seed) for seed in range(4)]
        broken = [tuple(part * math.nan if part.is_floating_point() else part for part in inputs)
                  for inputs in subjects]
        for number, inputs in enumerate(subjects):
            # In one microbatch with others that give nothing.
            together = [*broken[:number], inputs, *broken[number + 1 :]]
            total = engine_sum(case, together, engine, 1e6)
            assert total.diagnostics().num_zeroed == 3
            assert_same(total.sums, brute_force(case, inputs))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_subjects_of_one_to_six_volumes_in_one_draw(dp_case, name, engine) -> None:
    case = dp_case(name)
    subjects = [case.subject(views, views) for views in (1, 6, 2, 2, 5, 3, 4, 1, 1)]
    exact = [brute_force(case, inputs) for inputs in subjects]
    clip_norm = sorted(norm(gradient) for gradient in exact)[4]
    total = engine_sum(case, subjects, engine, clip_norm, microbatch=3)
    assert_same(total.sums, added([clipped(gradient, clip_norm) for gradient in exact]))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_size_of_microbatches_changes_nothing(dp_case, name, engine) -> None:
    case = dp_case(name)
    subjects = [case.subject(2, seed) for seed in range(7)]
    first, *others = [engine_sum(case, subjects, engine, 0.1, microbatch).sums
                      for microbatch in (1, 2, 3, 7, 100)]
    for other in others:
        assert_same(other, {part: values.double() for part, values in first.items()})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fresh_network_with_weights_at_zero_is_no_exception(dp_case, name, engine) -> None:
    case = dp_case(name, stirred=False)
    subjects = [case.subject(2, seed) for seed in range(3)]
    exact = [brute_force(case, inputs) for inputs in subjects]
    clip_norm = min(norm(gradient) for gradient in exact) / 2
    total = engine_sum(case, subjects, engine, clip_norm)
    assert_same(total.sums, added([clipped(gradient, clip_norm) for gradient in exact]))


@pytest.mark.parametrize("engine", ["bookkeeping", "opacus"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_engine_leaves_the_network_as_it_was(dp_case, name, engine) -> None:
    case = dp_case(name)
    before = {part: (id(p), p.requires_grad) for part, p in case.network.named_parameters()}
    order = list(case.network.state_dict())
    attributes = [sorted(vars(module)) for module in case.network.modules()]
    engine_sum(case, [case.subject(2, seed) for seed in range(3)], engine, 0.1)
    assert {part: (id(p), p.requires_grad) for part, p in case.network.named_parameters()} == before
    assert list(case.network.state_dict()) == order
    assert [sorted(vars(module)) for module in case.network.modules()] == attributes
    assert not any(module._forward_hooks or module._backward_hooks for module in case.network.modules())
    assert all(p.grad is None and not hasattr(p, "grad_sample") for p in case.network.parameters())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, 3e38])
def test_a_patient_that_is_not_finite_gives_exactly_nothing(dp_case, name, engine, bad) -> None:
    case = dp_case(name)
    subjects = [case.subject(2, seed) for seed in range(4)]
    broken = tuple(part.clone() for part in subjects[2])
    broken[0].view(-1)[7] = bad
    broken[1].view(-1)[7] = bad
    with_it = engine_sum(case, [*subjects[:2], broken, *subjects[3:]], engine, 0.1)
    without = added([clipped(brute_force(case, subjects[number]), 0.1) for number in (0, 1, 3)])
    if with_it.diagnostics().num_zeroed == 0:  # huge, yet finite
        assert bad == 3e38
        without = added([without, clipped(brute_force(case, broken), 0.1)])
    assert_same(with_it.sums, without)
    if bad != 3e38:
        assert with_it.diagnostics().num_zeroed == 1
        one_view = tuple(part[:1] for part in broken)
        for alone in ([broken], [one_view], [one_view] * 3):
            total = engine_sum(case, alone, engine, 0.1)
            assert all(not part.any() for part in total.sums.values())
            assert total.loss == 0
            assert total.diagnostics().num_zeroed == len(alone)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_empty_draw_gives_noise(dp_case, name, engine) -> None:
    case = dp_case(name)
    privacy = StagePrivacy(noise_multiplier=2.0, sample_rate=0.1, clip_norm=0.5)
    noised = noised_gradient(case.network, case.losses, [], privacy=privacy, num_subjects=40,
                             randomness=SecureRandom(0), engine=engine, microbatch=4)
    numbers = torch.cat([part.flatten() for part in noised.gradient.values()])
    assert len(numbers) == sum(p.numel() for p in case.network.parameters())
    assert float(numbers.std()) == pytest.approx(2.0 * 0.5 / 4, rel=4 / (2 * len(numbers)) ** 0.5)
    assert noised.clipped.num_drawn == 0


# What a patient's numbers may be: as usual, huge, tiny, all the same, mostly one outlier.
KINDS = st.sampled_from(["usual", "huge", "tiny", "constant", "outlier", "nan"])


def adversarial(case, kind: str, scale: float, views: int, seed: int) -> Inputs:
    subject = [part.clone() for part in case.subject(views, seed)]
    values = subject[0]
    if kind == "constant":
        values.fill_(scale)
    elif kind == "outlier":
        values.view(-1)[seed % values.numel()] = scale * 1e6
    elif kind == "nan":
        values.view(-1)[seed % values.numel()] = math.nan
    elif kind != "usual":
        values.mul_(scale * (1e8 if kind == "huge" else 1e-8))
    return tuple(subject)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_nobody_weighs_more_than_the_clip_norm_whatever_their_scans_are(dp_case, name, engine) -> None:
    case = dp_case(name)

    @given(st.lists(st.tuples(KINDS, st.floats(0.1, 10.0)), min_size=1, max_size=3),
           st.integers(0, 50), st.integers(1, 3), st.sampled_from([1e-3, 0.3, 30.0]))
    @settings(max_examples=8 if engine == "opacus" else 15)
    def check(patients, seed, views, clip_norm) -> None:
        subjects = [adversarial(case, kind, scale, views, seed + number)
                    for number, (kind, scale) in enumerate(patients)]
        for inputs in subjects:  # alone in the draw
            total = engine_sum(case, [inputs], engine, clip_norm)
            assert influence(total) <= clip_norm
        # Together: what each adds to the others, and no more than as many patients can.
        assert influence(engine_sum(case, subjects, engine, clip_norm)) <= clip_norm * len(subjects)
        more = engine_sum(case, subjects, engine, clip_norm)
        less = engine_sum(case, subjects[1:], engine, clip_norm)
        # Rounding of the sums of the others, in float32, is beside the point here.
        rounding = 3e-6 * clip_norm * len(subjects)
        assert influence(more, less) <= clip_norm + rounding

    check()


def influence(more: ClippedSum, less: ClippedSum | None = None) -> float:
    """How far a sum, or two of them, are apart in all coordinates together."""
    parts = [values.double() - (less.sums[part].double() if less else 0)
             for part, values in more.sums.items()]
    coordinate = more.loss - (less.loss if less else 0.0)
    return math.sqrt(sum(float(part.square().sum()) for part in parts) + coordinate**2)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_coordinate_of_the_loss_leaves_a_subject_within_the_clip_norm(dp_case, engine) -> None:
    case = dp_case("mae")
    privacy = StagePrivacy(noise_multiplier=1.0, sample_rate=0.1, clip_norm=0.01, loss_bound=1e-6)
    for seed in range(10):
        total = clipped_sum(case.network, case.losses, [case.subject(2, seed)], privacy=privacy,
                            engine=engine, microbatch=4)
        assert 0.01 * (1 - 1e-5) < influence(total) <= 0.01


class _Wide(nn.Module):
    """40 million parameters and the fewest tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 8000), nn.Linear(8000, 4936)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(tokens))).square().mean(dim=(1, 2))


@pytest.mark.parametrize("engine", ENGINES)
def test_norms_of_every_engine_are_right_at_40_million_parameters(engine) -> None:
    torch.manual_seed(0)
    network = _Wide()
    assert sum(p.numel() for p in network.parameters()) > 40e6 * 0.99
    subjects = [(torch.randn(1, 3, 64),) for _ in range(2)]
    case = type("Case", (), {"network": network, "losses": staticmethod(lambda i: network(*i))})
    found = engine_sum(case, subjects, engine, 1e-3).diagnostics().norms
    assert found == pytest.approx([norm(brute_force(case, inputs)) for inputs in subjects], rel=1e-6)
