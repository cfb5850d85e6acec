import torch

from braing3n.networks import moments_like, part_like
from braing3n.plan import STAGE_NAMES, load_plan
from braing3n.weights import layout_digest
from server.stage_state import decay_per_round
from server.stages import STAGES, encoder_of, initial_weights, statistics_from
from simulation.run import PLANS

PLAN = load_plan(PLANS / "demo.yaml")


def test_stages_run_in_the_plans_order_and_need_only_what_earlier_ones_froze() -> None:
    assert tuple(stage.name for stage in STAGES) == STAGE_NAMES
    frozen: set[str] = set()
    for stage in STAGES:
        assert set(stage.needs) <= frozen
        frozen |= set(stage.frozen_parts)


def test_what_a_stage_freezes_has_the_layout_that_sites_expect() -> None:
    for stage in STAGES:
        part = stage.result(initial_weights(PLAN, stage.name))
        assert layout_digest(part) == layout_digest(part_like(PLAN, stage.freezes))


def test_initial_weights_depend_on_the_seed_and_leave_torchs_own_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = initial_weights(PLAN, "pretrain"), initial_weights(PLAN, "pretrain")
    other = initial_weights(PLAN.model_copy(update={"seed": 9}), "pretrain")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_encoder_leaves_the_mae_decoder_behind() -> None:
    weights = initial_weights(PLAN, "pretrain")
    encoder = encoder_of(weights)
    assert 0 < len(encoder) < len(weights)
    assert all(torch.equal(weights[f"encoder.{name}"], tensor) for name, tensor in encoder.items())


def test_statistics_of_all_sites_are_those_of_pooled_latents() -> None:
    random = torch.Generator().manual_seed(0)
    sites = [3 + 2 * torch.randn(count, 4, 2, 2, 2, generator=random).double() for count in (5, 11)]
    weights = torch.tensor([5.0, 11.0], dtype=torch.float64) / 16
    moments = {
        "mean": sum(w * site.mean(0) for w, site in zip(weights, sites, strict=True)),
        "mean_square": sum(w * (site**2).mean(0) for w, site in zip(weights, sites, strict=True)),
    }
    pooled = torch.cat(sites)
    statistics = statistics_from(moments)
    torch.testing.assert_close(statistics["mean"], pooled.mean(0).float())
    variance = pooled.var(0, unbiased=False).mean((1, 2, 3))
    torch.testing.assert_close(statistics["variance"], variance.float())
    assert moments_like(PLAN).keys() == moments.keys()


def test_the_averages_decay_over_a_round_is_that_of_its_steps() -> None:
    steps = PLAN.stages.diffusion.local_steps
    assert decay_per_round(PLAN) == PLAN.stages.diffusion.ema_decay**steps
