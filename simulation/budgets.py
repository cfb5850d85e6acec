"""Budgets of simulated sites: one researcher holds all scans, so the plan's limits are theirs."""

from pathlib import Path

from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.splits import place, strata_of
from braing3n.plan import Plan

# Below this, DP training at ε of 8 or less made encoders worse than leaving them as they were.
FEW_SUBJECTS = 50


def with_budget(config: SiteConfig, plan: Plan) -> SiteConfig:
    """Return a simulated site's settings with the plan's budget, where it has none of its own.

    A hospital's own bounds on noise, sample rate and subjects are not simulated: its IT sets them.
    """
    if plan.budget is None or config.budget is not None:
        return config
    stages = plan.stage_names
    budget = BudgetConfig(
        epsilon=plan.budget.epsilon, delta=plan.budget.delta, min_subjects=1,
        min_noise_multiplier=1e-3, max_sample_rate=1.0,
        without_dp=tuple(name for name in stages if plan.stage(name).privacy is None))
    data = config.data.model_copy(update={"draw": "alone"})
    return config.model_copy(update={"budget": budget, "data": data, "probe_methods": ()})


def few_subjects(sites: Path) -> list[str]:
    """Return which sites with a budget, of a folder of settings, have fewer than `FEW_SUBJECTS`."""
    few = []
    for path in sorted(sites.glob("*.yaml")):
        config = load_site_config(path)
        if config.budget is None:
            continue
        volumes = open_cohort(config.data).volumes
        split = place(strata_of((v.subject, v.conditions) for v in volumes), config.data, {})
        if sum(side == "train" for side in split.values()) < FEW_SUBJECTS:
            few.append(config.name)
    return few
