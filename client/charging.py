"""What a site with a budget does around its work: rules, budget, the ledger's entry, then the work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from pydantic import ValidationError

from braing3n.budget import BudgetConfig
from braing3n.errors import PolicyError
from braing3n.plan import Plan, StageName
from braing3n.privacy.accountant import check_delta, epsilon, spent
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import Ledger, open_ledger
from braing3n.privacy.ledger_entry import WITHOUT_DP, Entry, MechanismRecord, SpentRecord, What
from braing3n.privacy.planning import planned_events
from braing3n.privacy.policy import Order, check_budget, check_order, check_sequence, check_stage
from braing3n.privacy_messages import PrivacyReport, Void
from braing3n.privacy_plan import StagePrivacy
from braing3n.protocol import Reply, Task
from braing3n.weights import Vector
from client import outbox
from client.receipts import check_receipts, claim_head
from client.site import Site

Answer = tuple[Reply, Vector | None]

_LARGEST_ROUND = 2**53  # an entry of the ledger holds no larger number


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
    with open_ledger(site.config.state_dir) as ledger:
        check_receipts(site, task, ledger)
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
    with open_ledger(permit.site.config.state_dir) as ledger:
        _note_once(ledger, permit.budget, run=order.run, stage=order.stage,
                   round_index=order.round_index)


def _note_once(
    ledger: Ledger, budget: BudgetConfig, *, run: str, stage: StageName, round_index: int
) -> None:
    if all((entry.run, entry.stage) != (run, stage) for entry in ledger.without_dp(budget.cohort)):
        ledger.note(WITHOUT_DP, run=run, stage=stage, round_index=round_index, cohort=budget.cohort)


def recall(permit: Permit) -> Answer | None:
    """Return the answer that was given to this very task before, at no further cost.

    A coordinator that was interrupted asks again for a round that sites have finished, and a site
    that was killed may have finished one without sending it.
    """
    kept = outbox.find(permit.site.config.state_dir, permit.kind, permit.digest)
    return None if kept is None else _settle(permit, kept)


def charged(permit: Permit, whats: Sequence[What], work: Callable[[PrivacyReport], Answer]) -> Answer:
    """Reserve what the work will cost, do it, keep the answer, settle, and give the answer.

    Killed between any two of these, the site has recorded at least what left it: a reserve that
    is not settled counts as spent, and an answer leaves only when it is kept and settled.

    Args:
        permit: What was decided about the task.
        whats: What is released.
        work: Is given what the site tells of its spending, and does the work.

    Raises:
        PolicyError: The rules do not allow it.
        BudgetError: It does not fit; nothing was spent.
    """
    with open_ledger(permit.site.config.state_dir) as ledger:
        reserves = _reserve(permit, whats, ledger)
        report = _report(permit, ledger)
    reply, vector = work(report)
    kept = outbox.Kept(reply, vector, tuple(entry.seq for entry in reserves))
    outbox.keep(permit.site.config.state_dir, permit.kind, permit.digest, kept)
    return _settle(permit, kept)


def with_head(site: Site, run: str, reply: Reply) -> Reply:
    """Return a reply with the ledger's head, where the site keeps one with entries."""
    if site.config.budget is None:
        return reply
    with open_ledger(site.config.state_dir) as ledger:
        if ledger.head.seq < 0:
            return reply
        return reply.model_copy(update={"head": claim_head(site, ledger, run)})


def report_only(permit: Permit) -> PrivacyReport:
    """Return what the site tells of its spending where nothing more is charged."""
    with open_ledger(permit.site.config.state_dir) as ledger:
        return _report(permit, ledger)


def record_refusal(site: Site, text: str, word: str) -> None:
    """Write into the ledger that something was asked for and refused, where the site keeps one.

    Args:
        site: The site.
        text: The task as it came, which may be anything.
        word: The fixed word that goes out.
    """
    if site.config.budget is None:
        return
    with open_ledger(site.config.state_dir) as ledger:
        try:
            task: Task | None = Task.model_validate_json(text)
        except ValidationError:
            task = None
        if task is None or task.round_index > _LARGEST_ROUND:
            ledger.note("refused_unread")
            return
        ledger.refuse(word, run=task.run, stage=task.stage, round_index=task.round_index,
                      cohort=site.config.budget.cohort, plan_digest=task.plan_digest)


def _settle(permit: Permit, kept: outbox.Kept) -> Answer:
    """Settle what is not settled yet of a kept answer, and give it."""
    with open_ledger(permit.site.config.state_dir) as ledger:
        for reserve in ledger.open_reserves():
            if reserve.seq in kept.reserves and reserve.mechanism is not None:
                ledger.settle(reserve, steps=reserve.mechanism.steps, released_digest=kept.digest,
                              spent=_spent(permit.budget, ledger.events(permit.budget.cohort)))
        head = claim_head(permit.site, ledger, permit.task.run)
    return kept.reply.model_copy(update={"head": head}), kept.vector


def _reserve(permit: Permit, whats: Sequence[What], ledger: Ledger) -> list[Entry]:
    """Check the past and the budget, on the ledger as it is now, and write the reserves."""
    order, budget = permit.order, permit.budget
    check_sequence(order, whats, ledger)
    earlier = ledger.events(budget.cohort)
    records = [_mechanism(permit, what) for what in whats]
    new = [_event(order, record) for record in records]
    is_begun = any(event.run == order.run for event in earlier)
    check_budget(new, [] if is_begun else _rest(permit), earlier, order, budget)
    return [ledger.reserve(
        run=order.run, stage=order.stage, round_index=order.round_index, cohort=budget.cohort,
        what=what, mechanism=record, plan_digest=order.plan.digest,
        spent=_spent(budget, [*earlier, *new[:so_far]]))
        for so_far, (what, record) in enumerate(zip(whats, records, strict=True), start=1)]


def _rest(permit: Permit) -> list[Event]:
    """Return what the run will ask of the site after this, if it is asked in every round."""
    order, budget = permit.order, permit.budget
    return planned_events(
        order.plan, order.run, permit.site.config.release.how("moments", with_dp=True) == "noised",
        start=(order.stage, order.round_index + 1),
        stages=[name for name in budget.stages if name not in budget.without_dp])


def _mechanism(permit: Permit, what: What) -> MechanismRecord:
    """Return how a release is noised: updates by DP-SGD, everything else by one Gaussian."""
    privacy, steps = permit.privacy, permit.order.plan.stage(permit.order.stage).steps(0)
    if privacy is None:
        raise PolicyError("nothing is charged without DP", expected="a stage with `privacy:`",
                          found=permit.order.stage, fix="report this as a fault of the program")
    if what == "update":
        return MechanismRecord(
            name="poisson_gaussian", sample_rate=privacy.sample_rate, steps=steps,
            noise_multiplier=privacy.noise_multiplier, clip_norm=privacy.clip_norm,
            views=privacy.views, engine=permit.budget.engine, num_subjects=permit.num_subjects)
    return MechanismRecord(
        name="gaussian", sample_rate=1.0, steps=1, clip_norm=1.0, num_subjects=permit.num_subjects,
        noise_multiplier=privacy.release_noise_multiplier)


def _event(order: Order, record: MechanismRecord) -> Event:
    return Event(mechanism=record.name, sample_rate=record.sample_rate, steps=record.steps,
                 noise_multiplier=record.noise_multiplier, unit=record.unit, run=order.run,
                 stage=order.stage, round_index=order.round_index)


def _spent(budget: BudgetConfig, events: Sequence[Event]) -> SpentRecord:
    cost = spent(events, budget.delta)
    return SpentRecord(pld=cost.pld, rdp=cost.rdp, prv=cost.prv, delta=cost.delta)


def _report(permit: Permit, ledger: Ledger) -> PrivacyReport:
    """Return what the site tells: public constants, and ε where it means something."""
    budget, order, privacy = permit.budget, permit.order, permit.privacy
    events = ledger.events(budget.cohort)
    own = [event for event in events if event.run == order.run]
    total = spent(events, budget.delta)
    void: Void | None = "without_dp" if ledger.without_dp(budget.cohort) else None
    if void is None and not isfinite(total.pld):
        void = "beyond"
    report = PrivacyReport(delta=budget.delta, void=void)
    if privacy is not None:
        report = report.model_copy(update={
            "noise_multiplier": privacy.noise_multiplier, "sample_rate": privacy.sample_rate,
            "clip_norm": privacy.clip_norm, "views": privacy.views, "engine": budget.engine,
            "num_subjects": permit.num_subjects})
    if void is not None:
        return report
    return report.model_copy(update={
        "epsilon_stage": epsilon([e for e in own if e.stage == order.stage], budget.delta),
        "epsilon_run": epsilon(own, budget.delta), "epsilon_total": total.pld,
        "rdp_total": total.rdp if isfinite(total.rdp) else None})
