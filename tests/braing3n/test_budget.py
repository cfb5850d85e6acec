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


@pytest.mark.parametrize("allowed", ["newest", ">=0.1 0.2", "0.1", 1])
def test_versions_of_the_app_that_are_none_are_told(
    load: Callable[..., SiteConfig], allowed: object,
) -> None:
    with pytest.raises(ConfigError, match="app_version"):
        load(data={"folder": "bids"}, plans={"app_version": allowed})


def test_versions_of_the_app_are_as_pep_440_writes_them(load: Callable[..., SiteConfig]) -> None:
    assert load(data={"folder": "bids"}).plans.app_version is None
    allowed = load(data={"folder": "bids"}, plans={"app_version": ">=0.1,<0.2"}).plans.app_version
    assert allowed == ">=0.1,<0.2"


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


@pytest.mark.parametrize(("change", "key", "found", "fix"), [
    ({"data": {"folder": "bids"}}, "data.draw", "even` (its default)", "write `draw: alone`"),
    ({"data": {"folder": "bids", "draw": "even"}}, "data.draw", "even`", "write `draw: alone`"),
    ({"probe_methods": ["ridge"]}, "probe_methods", "['ridge']`", "take `probe_methods` out"),
    ({"release": {"counts": "exact"}}, "release.counts", "exact`", "`release: counts:`"),
    ({"release": {"counts": "bucketed"}}, "release.counts", "bucketed`", "`release: counts:`"),
    ({"release": {"losses": "exact"}}, "release.losses", "exact`", "`release: losses:`"),
    ({"release": {"metrics": "exact"}}, "release.metrics", "exact`", "`release: metrics:`"),
    ({"release": {"moments": "exact"}}, "release.moments", "exact`", "`release: moments:`"),
])
def test_what_passes_a_budget_by_is_refused_with_its_key(
    load: Callable[..., SiteConfig], change: dict[str, Any], key: str, found: str, fix: str
) -> None:
    with pytest.raises(ConfigError, match="1 mistake") as wrong:
        load(budget=BUDGET, **change)
    assert wrong.value.expected.startswith(f"`{key}`: ")
    assert "as the site has a `budget`" in wrong.value.expected
    assert wrong.value.found == f"`{key}: {found}"
    assert fix in wrong.value.fix


def test_all_that_passes_a_budget_by_is_told_at_once(load: Callable[..., SiteConfig]) -> None:
    with pytest.raises(ConfigError, match="4 mistakes") as wrong:
        load(budget=BUDGET, data={"folder": "bids"}, probe_methods=["ridge"],
             release={"metrics": "exact", "moments": "exact"})
    for key in ("data.draw", "probe_methods", "release.metrics", "release.moments"):
        assert f"`{key}`: " in wrong.value.expected


def test_a_cap_above_the_whole_budget_is_named(load: Callable[..., SiteConfig]) -> None:
    with pytest.raises(ConfigError, match="1 mistake") as wrong:
        load(budget={**BUDGET, "stage_epsilon": {"pretrain": 1.0, "decoder": 9.0}})
    assert wrong.value.expected == (
        "`budget.stage_epsilon.decoder`: at most the whole budget, `epsilon: 8`")
    assert wrong.value.found == "`budget.stage_epsilon.decoder: 9.0`"
    assert "lower `stage_epsilon: decoder:`" in wrong.value.fix


@pytest.mark.parametrize("what", get_args(Release))
def test_what_is_noised_needs_a_budget_to_be_charged_to(
    load: Callable[..., SiteConfig], what: Release
) -> None:
    load(budget=BUDGET, release={what: "noised"})
    load(release={what: "withheld"})
    with pytest.raises(ConfigError, match="1 mistake") as wrong:
        load(release={what: "noised"})
    assert wrong.value.expected == f"`release.{what}`: not `noised` without a `budget` to charge it to"
    assert wrong.value.found == f"`release.{what}: noised`"
    assert "write a `budget:`" in wrong.value.fix


def test_a_stage_without_dp_never_sends_in_full_what_was_to_be_noised() -> None:
    for what in get_args(Release):
        assert ReleaseConfig(**{what: "noised"}).how(what, with_dp=False) == "withheld"
        assert ReleaseConfig(**{what: "withheld"}).how(what, with_dp=False) == "withheld"


def test_caps_of_stages_may_reach_the_whole() -> None:
    budget = BudgetConfig(epsilon=3.0, stage_epsilon={"pretrain": 3.0, "decoder": 0.5})
    assert budget.stage_epsilon["pretrain"] == 3.0
