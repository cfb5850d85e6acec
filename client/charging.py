"""What a site with a budget does around its work: rules, budget, the ledger's entry, then the work."""

from collections.abc import Callable, Sequence
from math import isfinite

from pydantic import ValidationError

from braing3n.budget import BudgetConfig
from braing3n.errors import BudgetError, PolicyError, ReplayError
from braing3n.privacy.accountant import epsilon, spent
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import Ledger
from braing3n.privacy.ledger_entry import Entry, MechanismRecord, SpentRecord, What
from braing3n.privacy.planning import charged_releases, planned_events
from braing3n.privacy.policy import Order, check_budget, check_sequence
from braing3n.privacy_messages import PrivacyReport, Void
from braing3n.protocol import Reply, Task
from braing3n.weights import Vector
from client import outbox
from client.own_ledger import own_ledger
from client.permit import Permit
from client.receipts import claim_head
from client.site import Site

Answer = tuple[Reply, Vector | None]

UNREAD = "refused_unread"  # the code of a note on what was no task
_LARGEST_ROUND = 2**53  # an entry of the ledger holds no larger number


def recall(permit: Permit) -> Answer | None:
    """Return the answer that was given to this very task before, at no further cost.

    A coordinator that was interrupted asks again for a round that sites have finished, and a site
    that was killed may have finished one without sending it.
    """
    kept = outbox.find(permit.site.config.state_dir, permit.kind, permit.digest)
    if kept is None:
        return None
    with own_ledger(permit.site) as ledger:
        return _settle(permit, kept, ledger)


def charged(permit: Permit, whats: Sequence[What], work: Callable[[PrivacyReport], Answer]) -> Answer:
    """Reserve what the work will cost, do it, keep the answer, settle, and give the answer.

    Killed between any two of these, the site has recorded at least what left it: a reserve that
    is not settled counts as spent, and an answer leaves only when it is kept and settled. So what was
    computed on a reserve that is still open never left, and the same task is done again on it.

    Args:
        permit: What was decided about the task.
        whats: What is released.
        work: Is given what the site tells of its spending, and does the work.

    Raises:
        PolicyError: The rules do not allow it.
        BudgetError: It does not fit; nothing was spent.
        ReplayError: Another process of the site has answered the task meanwhile.
    """
    with own_ledger(permit.site) as ledger:
        reserves = _reserve(permit, whats, ledger)
        report = _report(permit, ledger)
    reply, vector = work(report)
    kept = outbox.Kept(reply, vector, tuple(entry.seq for entry in reserves))
    with own_ledger(permit.site) as ledger:  # checked, kept and settled by one, before the next looks
        _check_open(reserves, ledger)
        outbox.keep(permit.site.config.state_dir, permit.kind, permit.digest, kept)
        return _settle(permit, kept, ledger)


def with_head(site: Site, run: str, reply: Reply) -> Reply:
    """Return a reply with the ledger's head, where the site keeps one."""
    if site.config.budget is None:
        return reply
    with own_ledger(site) as ledger:
        return reply.model_copy(update={"head": claim_head(site, ledger, run)})


def report_only(permit: Permit) -> PrivacyReport:
    """Return what the site tells of its spending where nothing more is charged."""
    with own_ledger(permit.site) as ledger:
        return _report(permit, ledger)


def takes_part(permit: Permit) -> bool:
    """Tell whether the site has trained in this stage of the run, and was not stopped by a budget.

    If not, nothing is charged for measuring what others have made of the stage.
    """
    order = permit.order
    with own_ledger(permit.site) as ledger:
        own = [entry for entry in ledger.entries if entry.run == order.run]
    return (any((entry.kind, entry.stage, entry.what) == ("settle", order.stage, "update")
                for entry in own)
            and all((entry.kind, entry.code) != ("refuse", BudgetError.code) for entry in own))


def record_refusal(site: Site, text: str, word: str) -> None:
    """Write into the ledger that something was asked for and refused, where the site keeps one.

    Args:
        site: The site.
        text: The task as it came, which may be anything.
        word: The fixed word that goes out.
    """
    if site.config.budget is None:
        return
    with own_ledger(site) as ledger:
        try:
            task: Task | None = Task.model_validate_json(text)
        except ValidationError:
            task = None
        if task is None or task.round_index > _LARGEST_ROUND:
            ledger.note(UNREAD)
            return
        ledger.refuse(word, run=task.run, stage=task.stage, round_index=task.round_index,
                      cohort=site.config.budget.cohort, plan_digest=task.plan_digest)


def _settle(permit: Permit, kept: outbox.Kept, ledger: Ledger) -> Answer:
    """Settle what is not settled yet of a kept answer, and give it."""
    for reserve in ledger.open_reserves():
        if reserve.seq in kept.reserves and reserve.mechanism is not None:
            ledger.settle(reserve, steps=reserve.mechanism.steps, released_digest=kept.digest,
                          spent=_spent(permit.budget, ledger.events(permit.budget.cohort)))
    head = claim_head(permit.site, ledger, permit.task.run)
    return kept.reply.model_copy(update={"head": head}), kept.vector


def _check_open(reserves: Sequence[Entry], ledger: Ledger) -> None:
    """Check that nobody has released anything on these reserves: each pays for one release.

    Raises:
        ReplayError: Another process has, as one that goes on while its node was started anew.
    """
    still = {entry.seq for entry in ledger.open_reserves()}
    if any(entry.seq not in still for entry in reserves):
        raise ReplayError("the task was answered by another process meanwhile",
                          expected="a reserve that is open", found="one that is settled",
                          fix="asked again, the site gives that answer")


def _reserve(permit: Permit, whats: Sequence[What], ledger: Ledger) -> list[Entry]:
    """Check the past and the budget, on the ledger as it is now, and write the reserves.

    What a process that was killed had reserved for this very task is used, and not charged again.
    """
    order, budget = permit.order, permit.budget
    check_sequence(order, whats, ledger)
    records = {what: _mechanism(permit, what) for what in whats}
    found = {what: reserve for what, record in records.items()
             if (reserve := _left_open(permit, what, record, ledger)) is not None}
    missing = [what for what in whats if what not in found]
    earlier = ledger.events(budget.cohort)
    new = [_event(order, records[what]) for what in missing]
    is_begun = any(event.run == order.run for event in earlier)
    if missing:
        check_budget(new, [] if is_begun else _rest(permit), earlier, order, budget)
    return [*found.values(), *(ledger.reserve(
        run=order.run, stage=order.stage, round_index=order.round_index, cohort=budget.cohort,
        what=what, mechanism=records[what], plan_digest=order.plan.digest,
        weights_digest=outbox.weights_digest(permit.weights),
        spent=_spent(budget, [*earlier, *new[:so_far]]))
        for so_far, what in enumerate(missing, start=1))]


def _left_open(
    permit: Permit, what: What, record: MechanismRecord, ledger: Ledger,
) -> Entry | None:
    """Return the reserve that a killed process left for this very release; None where there is none.

    Not where the coordinator was told of a failure: whether work on patients fails may depend on
    them, and could be asked time and again.
    """
    order = permit.order
    wanted = (order.run, order.stage, order.round_index, permit.budget.cohort, what, record,
              order.plan.digest, outbox.weights_digest(permit.weights))
    for entry in ledger.open_reserves():
        is_same = wanted == (entry.run, entry.stage, entry.round_index, entry.cohort, entry.what,
                             entry.mechanism, entry.plan_digest, entry.weights_digest)
        if is_same and not any(
                later.kind == "refuse" and later.seq > entry.seq and later.run == order.run
                and (later.stage, later.round_index) == (order.stage, order.round_index)
                for later in ledger.entries):
            return entry
    return None


def _rest(permit: Permit) -> list[Event]:
    """Return what the run will ask of the site after this, if it is asked in every round."""
    order, budget, here = permit.order, permit.budget, (permit.order.stage, permit.order.round_index)
    planned = planned_events(
        order.plan, order.run, charged_releases(permit.site.config.release), start=here,
        stages=[name for name in budget.stages if name not in budget.without_dp])
    # Planned from here on, and not from the next round, as counts are released in the first one alone.
    return [event for event in planned if (event.stage, event.round_index) != here]


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
