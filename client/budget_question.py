"""What `braing3n site budget plan` and `cost` are asked about: a plan, a site, its past, its limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from braing3n.audit.report.words import listed
from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig
from braing3n.errors import ConfigError
from braing3n.plan import STAGE_NAMES, Plan, StageName, load_plan
from braing3n.privacy.events import Event
from braing3n.privacy.ledger_entry import What
from braing3n.privacy.planning import BY_DEFAULT, Limit, charged_releases, limits_of, planned_events
from braing3n.privacy_plan import PlanBudget
from client.past import Past, in_force, look_back, other_accounts, unsigned_change
from client.settings import load_with_budget
from client.subjects import Counted, check_delta_for, check_delta_option, count_subjects

_FAR = 1.5  # a factor between the plan's number of subjects and the site's own, either way


@dataclass(frozen=True)
class Question:
    """What is asked about.

    Attributes:
        plan: The plan.
        budget: The site's limits that are in force, if the site was named.
        target: The ε to stay within.
        delta: δ.
        stages: The stages that the site takes part in.
        releases: What it releases with noise of its own, beside updates.
        before: What it spent on the cohort already.
        limits: All that has to hold.
        void: Why no ε holds, where none does.
        hindrances: Why the site would refuse whatever the noise is, in words.
        unknown: What could not be found out, so that nobody can say whether the site would train.
        warnings: What to look into, though it is no reason to refuse.
        notes: What else to know.
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
    unknown: tuple[str, ...]
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
    if site is None:
        return _of_plan(path, plan, epsilon, delta)
    return _of_site(plan, epsilon, delta, site)


def _of_plan(path: Path, plan: Plan, epsilon: float | None, delta: float | None) -> Question:
    """Return the question of what a plan costs any site."""
    said = plan.budget
    if said is None or not any(plan.stage(name).privacy for name in plan.stage_names):
        raise ConfigError(f"{path} has no differential privacy", expected="a stage with `privacy:`",
                          found="none in the stages that are run",
                          fix="add `privacy:` to each of them; any noise_multiplier will do to begin")
    most = max([said.num_subjects, *said.site_subjects.values()])
    if delta is None:
        check_delta_for(said.delta, most, "delta")
    else:
        check_delta_option(delta, most)
    return Question(
        plan=plan, budget=None, target=epsilon or said.epsilon, before=(),
        delta=said.delta if delta is None else delta, stages=STAGE_NAMES, releases=BY_DEFAULT,
        limits=_limits(plan, said, None, Past(), epsilon, delta),
        void=_void([name for name in plan.stage_names if plan.stage(name).privacy is None]),
        hindrances=(), unknown=(), warnings=(), notes=())


def _of_site(plan: Plan, epsilon: float | None, delta: float | None, site: Path) -> Question:
    """Return the question of what a plan costs a site, and whether that would train it."""
    config, settings = load_with_budget(site)
    past, counted = look_back(config), count_subjects(site)
    assumed = 1 if plan.budget is None else plan.budget.subjects_at(config.name)
    number = assumed if counted.number is None else counted.number
    check_delta_for(settings.delta, number, "delta")
    if delta is not None:
        check_delta_option(delta, number)
    budget, patients = in_force(settings, past), _patients(plan, config, settings, counted)
    return Question(
        plan=plan, budget=budget, target=epsilon or budget.epsilon,
        delta=budget.delta if delta is None else delta, stages=budget.stages,
        releases=charged_releases(config.release), before=past.events,
        limits=_limits(plan, budget, budget, past, epsilon, delta),
        void=past.without_dp or _void([name for name in plan.stage_names if name in budget.stages
                                       and name in budget.without_dp]),
        hindrances=(*unsigned_change(config, past, site), *_refused_stages(plan, budget),
                    *patients.refused),
        unknown=patients.unknown, warnings=(*other_accounts(config, past), *patients.warnings),
        notes=_stage_notes(plan, budget))


def _limits(plan: Plan, said: PlanBudget | BudgetConfig, budget: BudgetConfig | None, past: Past,
            epsilon: float | None, delta: float | None) -> tuple[Limit, ...]:
    """Return all that has to hold: what was asked for, if anything, the site's limits, the plan's."""
    limits = limits_of(plan, budget, past.events)
    if epsilon is not None or delta is not None:
        limits.insert(0, Limit("what was asked for", epsilon or said.epsilon,
                               said.delta if delta is None else delta, past.events))
    return tuple(limits)


class _Patients(NamedTuple):
    """What there is to say of a site's patients; see `Question`, of whose hindrances one is."""

    refused: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _patients(plan: Plan, config: SiteConfig, budget: BudgetConfig, counted: Counted) -> _Patients:
    """Compare the site's patients with what it and the plan say of them."""
    found = counted.number
    if found is None:
        return (_Patients(refused=(counted.why,)) if counted.is_refused else
                _Patients(unknown=(f"the patients could not be counted: {counted.why}",)))
    few = () if found >= budget.min_subjects else (
        f"too few subjects to train on under DP: {found} (not held out) instead of at least "
        f"{budget.min_subjects} (min_subjects). A small site can use the encoder as it is, without "
        "training it here; or lower min_subjects, if the hospital agrees",)
    assumed = found if plan.budget is None else plan.budget.subjects_at(config.name)
    is_far = max(found, assumed) > _FAR * min(found, assumed)
    return _Patients(refused=few, warnings=(_far(found, assumed, config),) if is_far else ())


def _far(found: int, assumed: int, config: SiteConfig) -> str:
    """Return what it means that a plan's number of subjects is not the site's."""
    effect = (f"too large: gradients are scaled down {assumed / max(found, 1):.1f} times"
              if assumed > found else f"too small: gradients are scaled up {found / assumed:.1f} times")
    weight = "" if "counts" in charged_releases(config.release) else (
        f", and the site's updates weigh as if it had {assumed}")
    return (f"the plan takes this site to have {assumed} subjects, and it has {found} to train on. "
            f"That is {effect}{weight}. The guarantee holds either way. The coordinator may set "
            "`budget: site_subjects:` to a rough number that is public; never tell the exact one")


def _void(without_dp: Sequence[StageName]) -> str | None:
    """Return why no ε holds for the plan: stages that are trained without DP on the same patients."""
    if not without_dp:
        return None
    return (f"no epsilon holds: {listed(without_dp)} would be trained on the same patients without "
            "differential privacy")


def _refused_stages(plan: Plan, budget: BudgetConfig) -> tuple[str, ...]:
    """Return why the site would take no part: stages without DP, or none that it is for."""
    own = [name for name in plan.stage_names if name in budget.stages]
    if not own:
        return ("the site takes no part in any stage (`stages:` of its budget)",)
    bare = [name for name in own
            if plan.stage(name).privacy is None and name not in budget.without_dp]
    if not bare:
        return ()
    is_one = len(bare) == 1
    return (f"{listed(bare)} {'is' if is_one else 'are'} without differential privacy in this plan, "
            f"and the site refuses {'it' if is_one else 'them'} (`policy`): ask the coordinator for "
            "`privacy:` there",)


def _stage_notes(plan: Plan, budget: BudgetConfig) -> tuple[str, ...]:
    """Return what to know of stages of the plan that the site has left out."""
    out = [name for name in plan.stage_names if name not in budget.stages]
    if not out or len(out) == len(plan.stage_names):
        return ()
    return (f"the site takes no part in {listed(out)} (`stages:` of its budget) and refuses "
            f"{'it' if len(out) == 1 else 'them'} (`policy`)",)
