"""What `braing3n site budget plan` and `cost` are asked about: a plan, a site, its past, its limits."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig, load_site_config
from braing3n.errors import BrainG3NError, ConfigError
from braing3n.plan import STAGE_NAMES, Plan, StageName, load_plan
from braing3n.privacy.events import Event
from braing3n.privacy.ledger_entry import What
from braing3n.privacy.planning import BY_DEFAULT, Limit, charged_releases, limits_of, planned_events
from client.past import Past, look_back, other_accounts, unsigned_change
from client.settings import load_settings
from client.subjects import check_delta_for, training_subjects

_FAR = 1.5  # a factor between the plan's number of subjects and the site's own, either way


@dataclass(frozen=True)
class Question:
    """What is asked about.

    Attributes:
        plan: The plan.
        budget: The site's limits, if the site was named.
        target: The ε to stay within.
        delta: δ.
        stages: The stages that the site takes part in.
        releases: What it releases with noise of its own, beside updates.
        before: What it spent on the cohort already.
        limits: All that has to hold.
        void: Why no ε holds, where none does.
        hindrances: Why the site would refuse whatever the noise is, in words.
        warnings: What to look into, though it is no reason to refuse.
        notes: What could not be found out.
    """

    plan: Plan
    budget: BudgetConfig | None
    target: float
    delta: float
    stages: tuple[StageName, ...]
    releases: frozenset[What]
    before: tuple[Event, ...]
    limits: tuple[Limit, ...]
    void: str | None
    hindrances: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def stage_names(self) -> list[StageName]:
        """The stages of the plan that the site takes part in."""
        return [name for name in self.plan.stage_names if name in self.stages]

    def asked_for(self) -> list[Event]:
        """Return all that the plan asks of the site."""
        return planned_events(self.plan, "planned", self.releases, stages=self.stages)


def ask(path: Path, epsilon: float | None, delta: float | None, site: Path | None) -> Question:
    """Read the files, and settle what counts where several say something.

    Args:
        path: The plan.
        epsilon: The ε that was asked for; without it the site's counts, or else the plan's own.
        delta: The same of δ.
        site: The site's file. The scans that it names need not be there.

    Raises:
        ConfigError: A file is wrong, or has nothing to do with differential privacy; or δ is too large.
        LedgerError: The site's ledger is damaged, gone, or not the one that its receipts are for.
    """
    plan = load_plan(path)
    if plan.budget is None or not any(plan.stage(name).privacy for name in plan.stage_names):
        raise ConfigError(f"{path} has no differential privacy", expected="a stage with `privacy:`",
                          found="none in the stages that are run",
                          fix="add `privacy:` to each of them; any noise_multiplier will do to begin")
    config = None if site is None else _with_budget(site)
    budget = None if config is None else config.budget
    past = Past((), None, (), None) if config is None else look_back(config)
    said = plan.budget if budget is None else budget
    target, chosen = epsilon or said.epsilon, said.delta if delta is None else delta
    patients = _patients(plan, config, site, chosen)
    warnings = [] if config is None else other_accounts(config, past)
    unsigned = [] if config is None else unsigned_change(config, past)
    limits = limits_of(plan, budget, past.events)
    if epsilon is not None or delta is not None:
        limits.insert(0, Limit("what was asked for", target, chosen, past.events))
    stages = STAGE_NAMES if budget is None else budget.stages
    return Question(
        plan, budget, target, chosen, stages,
        BY_DEFAULT if config is None else charged_releases(config.release), past.events,
        tuple(limits), past.without_dp or _void(plan, stages, budget),
        (*unsigned, *patients.too_few), (*warnings, *patients.warnings), patients.notes)


def _with_budget(site: Path) -> SiteConfig:
    """Return the settings of a site, which must have a budget."""
    config = load_settings(site)
    if config.budget is None:
        raise ConfigError(f"{site} has no budget", expected="`budget:` in the site's file",
                          found="none, so that the site trains without differential privacy",
                          fix="add one, or leave out --site")
    return config


class _Patients(NamedTuple):
    """What there is to say of a site's patients; see `Question`, of whose hindrances one is."""

    too_few: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _patients(
    plan: Plan, config: SiteConfig | None, site: Path | None, delta: float
) -> _Patients:
    """Compare the site's patients with what it and the plan say of them, after checking δ for them."""
    if plan.budget is None:
        return _Patients()
    if config is None or config.budget is None or site is None:
        most = max([plan.budget.num_subjects, *plan.budget.site_subjects.values()])
        check_delta_for(delta, most, "delta")
        return _Patients()
    found, assumed = _counted(site), plan.budget.subjects_at(config.name)
    for each in (delta, config.budget.delta):
        check_delta_for(each, assumed if isinstance(found, str) else found, "delta")
    if isinstance(found, str):
        return _Patients(notes=(
            "the site's patients could not be counted, so that neither min_subjects nor the plan's "
            f"number of them was looked at: {found}",))
    is_far, least = max(found, assumed) > _FAR * min(found, assumed), config.budget.min_subjects
    return _Patients(
        too_few=() if found >= least else (
            f"too few subjects to train on under DP: {found} (not held out) instead of at least "
            f"{least} (min_subjects)",),
        warnings=(_far(found, assumed, config),) if is_far else ())


def _counted(site: Path) -> int | str:
    """Return the site's training subjects, or why they could not be counted."""
    try:
        return training_subjects(load_site_config(site))
    except BrainG3NError as error:
        return f"{error.what} ({error.found})"
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"


def _far(found: int, assumed: int, config: SiteConfig) -> str:
    """Return what it means that a plan's number of subjects is not the site's."""
    effect = (f"too large: gradients are scaled down {assumed / max(found, 1):.1f} times"
              if assumed > found else f"too small: gradients are scaled up {found / assumed:.1f} times")
    weight = "" if "counts" in charged_releases(config.release) else (
        f", and the site's updates weigh as if it had {assumed}")
    return (f"the plan takes this site to have {assumed} subjects, and it has {found} to train on. "
            f"That is {effect}{weight}. The guarantee holds either way. The coordinator may set "
            "`budget: site_subjects:` to a rough number that is public; never tell the exact one")


def _void(plan: Plan, stages: Iterable[StageName], budget: BudgetConfig | None) -> str | None:
    """Return why no ε holds for the plan: a stage without DP on the same patients."""
    without = [name for name in plan.stage_names if name in stages and (
        plan.stage(name).privacy is None or (budget is not None and name in budget.without_dp))]
    if not without:
        return None
    return (f"no epsilon holds: {' and '.join(without)} would be trained on the same patients without "
            "differential privacy")
