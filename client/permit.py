"""What a site with a budget decides about a task before it works on it."""

from dataclasses import dataclass

from braing3n.budget import BudgetConfig
from braing3n.errors import PolicyError
from braing3n.plan import Plan, StageName
from braing3n.privacy.accountant import check_delta
from braing3n.privacy.ledger import Ledger
from braing3n.privacy.ledger_entry import WITHOUT_DP
from braing3n.privacy.ledger_history import Decided
from braing3n.privacy.policy import Order, check_decided, check_order, check_stage
from braing3n.privacy_plan import StagePrivacy
from braing3n.protocol import Task
from braing3n.weights import Vector
from client import outbox
from client.own_ledger import own_ledger
from client.receipts import check_receipts
from client.site import Site


@dataclass(frozen=True)
class Permit:
    """What a site has decided about a task before it works on it.

    Attributes:
        site: The site.
        kind: What is asked for, in one word.
        task: The task.
        weights: What came with it.
        order: The same, as rules see it.
        budget: The site's limits.
        privacy: How the plan noises the stage; None where the site trains it without DP.
    """

    site: Site
    kind: str
    task: Task
    weights: Vector | None
    order: Order
    budget: BudgetConfig
    privacy: StagePrivacy | None

    @property
    def num_subjects(self) -> int:
        """The public number of subjects that the site is taken to have; 1 without a plan's budget."""
        limits = self.order.plan.budget
        return 1 if limits is None else limits.subjects_at(self.site.config.name)

    @property
    def digest(self) -> str:
        """What tells this task from another."""
        return outbox.task_digest(self.kind, self.task, self.weights)


def permit_of(site: Site, kind: str, task: Task, plan: Plan, weights: Vector | None) -> Permit | None:
    """Decide about a task by the site's own rules; None where it has no budget, and so no rules.

    Raises:
        PolicyError: The rules do not allow it.
        LedgerError: The ledger is damaged, or not the one that the coordinator's receipts are for.
    """
    budget = site.config.budget
    if budget is None:
        site.mark_without_dp(task)
        return None
    order = Order(task.run, plan, task.stage, task.round_index)
    check_stage(order, budget)
    with own_ledger(site) as ledger:
        check_receipts(site, task, ledger)
        decided = ledger.limit(budget.cohort)
        if decided is None:  # the first settings are signed as they are
            ledger.decide(budget.cohort, Decided(budget.epsilon, budget.delta))
        else:
            check_decided(budget, decided)
        for run, stage in site.marked_without_dp():  # from before there was a budget
            _note_once(ledger, budget, run=run, stage=stage, round_index=0)
    privacy = None if task.stage in budget.without_dp else check_order(order, budget)
    return Permit(site, kind, task, weights, order, budget, privacy)


def check_subjects(permit: Permit, num_subjects: int) -> None:
    """Check that a site has patients enough, for DP to teach anything and for its δ.

    Raises:
        PolicyError: It has fewer than its own settings want.
        ConfigError: δ is above 1 over their number.
    """
    if num_subjects < permit.budget.min_subjects:
        raise PolicyError("too few subjects to train on under DP", found="fewer",
                          expected=f"at least {permit.budget.min_subjects} (min_subjects)",
                          fix="use the encoder as it is, without training it here; or lower "
                              "`budget: min_subjects:`, if the hospital agrees")
    check_delta(permit.budget.delta, num_subjects)


def note_without_dp(permit: Permit) -> None:
    """Write down, before the work, that a stage is trained here without differential privacy."""
    order = permit.order
    with own_ledger(permit.site) as ledger:
        _note_once(ledger, permit.budget, run=order.run, stage=order.stage,
                   round_index=order.round_index)


def _note_once(
    ledger: Ledger, budget: BudgetConfig, *, run: str, stage: StageName, round_index: int
) -> None:
    if all((entry.run, entry.stage) != (run, stage) for entry in ledger.without_dp(budget.cohort)):
        ledger.note(WITHOUT_DP, run=run, stage=stage, round_index=round_index, cohort=budget.cohort)
