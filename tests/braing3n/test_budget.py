"""What a site's own IT writes down, and what it cannot write down by mistake."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from braing3n.budget import BudgetConfig, Release, ReleaseConfig
from braing3n.config import SiteConfig, load_site_config
from braing3n.errors import ConfigError

ALONE = {"folder": "bids", "draw": "alone"}
BUDGET = {"epsilon": 8.0}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., SiteConfig]:
    """Load a site's file with these settings."""

    def read(**change: Any) -> SiteConfig:
        (tmp_path / "bids").mkdir(exist_ok=True)
        content = {"name": "a", "data": ALONE, "state_dir": "state", **change}
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_site_config(path)

    return read


def test_a_site_without_a_budget_is_as_it_was_before_there_were_any(
    load: Callable[..., SiteConfig]
) -> None:
    config = load(data={"folder": "bids"})
    assert config.budget is None
    assert all(config.release.how(what, with_dp=False) == "exact" for what in get_args(Release))


def test_the_defaults_with_a_budget_are_the_careful_ones(load: Callable[..., SiteConfig]) -> None:
    config = load(budget=BUDGET)
    budget = config.budget
    assert budget is not None
    assert (budget.unit, budget.delta, budget.min_subjects) == ("subject", 1e-5, 50)
    assert (budget.min_noise_multiplier, budget.max_sample_rate) == (0.5, 0.5)
    assert budget.without_dp == ()
    assert {what: config.release.how(what, with_dp=True) for what in get_args(Release)} == {
        "counts": "withheld", "losses": "noised", "metrics": "withheld", "moments": "noised"}


@pytest.mark.parametrize("change", [
    {"epsilon": 0}, {"epsilon": -1}, {"epsilon": "inf"}, {"epsilon": float("nan")},
    {"epsilon": float("inf")}, {"delta": 0}, {"delta": 0.01}, {"unit": "volume"},
    {"cohort": "a b"}, {"cohort": "../a"}, {"stages": ["pretraining"]}, {"min_noise_multiplier": 0},
    {"max_sample_rate": 0}, {"max_sample_rate": 1.5}, {"min_subjects": 0}, {"engine": "fast"},
    {"stage_epsilon": {"pretrain": 9.0}}, {"stage_epsilon": {"pretrain": 0}}, {"sigma": 1.0},
])
def test_a_budget_that_is_none_is_told_with_its_place(
    load: Callable[..., SiteConfig], change: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(budget={**BUDGET, **change})
    assert "budget" in str(wrong.value)


@pytest.mark.parametrize(("change", "why"), [
    ({"data": {"folder": "bids"}}, "draw: alone"),
    ({"probe_methods": ["ridge"]}, "no probe_methods with a budget"),
    ({"release": {"counts": "exact"}}, "release: counts"),
    ({"release": {"counts": "bucketed"}}, "release: counts"),
    ({"release": {"losses": "exact"}}, "release: losses"),
    ({"release": {"metrics": "exact", "moments": "exact"}}, "metrics, moments"),
])
def test_nothing_exact_passes_a_budget_by(
    load: Callable[..., SiteConfig], change: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        load(budget=BUDGET, **change)


@pytest.mark.parametrize("what", get_args(Release))
def test_what_is_noised_needs_a_budget_to_be_charged_to(
    load: Callable[..., SiteConfig], what: Release
) -> None:
    load(budget=BUDGET, release={what: "noised"})
    load(release={what: "withheld"})
    with pytest.raises(ConfigError, match="a budget, as release"):
        load(release={what: "noised"})


def test_a_stage_without_dp_never_sends_in_full_what_was_to_be_noised() -> None:
    for what in get_args(Release):
        assert ReleaseConfig(**{what: "noised"}).how(what, with_dp=False) == "withheld"
        assert ReleaseConfig(**{what: "withheld"}).how(what, with_dp=False) == "withheld"


def test_caps_of_stages_may_reach_the_whole() -> None:
    budget = BudgetConfig(epsilon=3.0, stage_epsilon={"pretrain": 3.0, "decoder": 0.5})
    assert budget.stage_epsilon["pretrain"] == 3.0
