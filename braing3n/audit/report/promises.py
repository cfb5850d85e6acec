"""What one patient of each site is promised, in words that are true of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from braing3n.audit.recompute import Recomputed
from braing3n.audit.report.agreement import Part, part_of, says_dp
from braing3n.audit.report.appendix import Appendix
from braing3n.audit.report.participation import meaning_of
from braing3n.audit.report.words import Piece, Words, chance, listed, number, times, words
from braing3n.report.privacy_table import SiteAccount
from braing3n.report.run_folder import RunRecord

NO_DP = "no differential privacy; updates can reveal training data"
PARTICIPATION = "participation"  # id of the section on who took part

Kind = Literal["dp", "void", "beyond", "none", "refused", "silent", "unlisted", "unchecked"]
_WEAKEST_FIRST: tuple[Kind, ...] = ("void", "beyond", "dp")


@dataclass(frozen=True)
class CohortPromise:
    """What a site's patients of one cohort are promised.

    Attributes:
        cohort: The site's name for them.
        kind: `dp`: an (ε, δ). `void`: none, as they were also trained on without. `beyond`: none, as
            no accountant has a number.
        recomputed: ε and all that belongs to it; None where nothing was charged.
        claimed_at: The entry that has the site's own claim.
        void_at: The first entry that says that they were trained on without DP.
        ledger: Where it all stands.
    """

    cohort: str
    kind: Kind
    recomputed: Recomputed | None
    claimed_at: int | None
    void_at: int | None
    ledger: Appendix


@dataclass(frozen=True)
class Promise:
    """What one patient of a site is promised.

    Attributes:
        site: Its agreed name.
        kind: The weakest of its cohorts'; or why there is none.
        is_supported: Whether what is said here was checked and holds.
        is_in_model: Whether something of its patients is in the run's models; None without a run.
        cohorts: What its ledgers say, by cohort.
        says: The sentence.
    """

    site: str
    kind: Kind
    is_supported: bool
    is_in_model: bool | None
    cohorts: tuple[CohortPromise, ...]
    says: Words


def promises(record: RunRecord | None, ledgers: Sequence[Appendix], unsupported: Collection[str],
             ) -> list[Promise]:
    """Return what is promised, for the sites of a run in their order, and then for other ledgers'.

    Args:
        record: The run; None where ledgers alone were given.
        ledgers: The ledgers.
        unsupported: Names of sites whose claims do not hold.
    """
    in_run = () if record is None else record.sites
    names = dict.fromkeys([*in_run, *(one.name for one in ledgers)])
    return [_promise(name, record if name in in_run else None,
                     [one for one in ledgers if one.name == name], name not in unsupported)
            for name in names]


def cohort_promises(ledger: Appendix) -> list[CohortPromise]:
    """Return what a ledger's patients are promised, cohort by cohort."""
    void_at: dict[str, int] = {}
    claimed_at: dict[str, int] = {}
    for entry, line in ledger.audit.lines:
        if line.is_without_dp:
            void_at.setdefault(str(line.cohort), entry)
        elif line.spent is not None and line.kind in ("reserve", "settle"):
            claimed_at[str(line.cohort)] = entry
    spent = {one.cohort: one for one in ledger.audit.cohorts}
    return [CohortPromise(name, _kind(name in void_at, spent.get(name)), spent.get(name),
                          claimed_at.get(name), void_at.get(name), ledger)
            for name in dict.fromkeys([*spent, *void_at])]


def _kind(is_void: bool, spent: Recomputed | None) -> Kind:
    if is_void:
        return "void"
    return "dp" if spent is not None and spent.bounds.pld is not None else "beyond"


def _promise(site: str, record: RunRecord | None, ledgers: Sequence[Appendix], is_supported: bool,
             ) -> Promise:
    part = None if record is None else part_of(record, site)
    account = None if record is None else record.privacy_by_site.get(site)
    cohorts = tuple(promise for one in ledgers for promise in cohort_promises(one))
    kind = _kind_of_site(part, account, ledgers, cohorts)
    says = _says(kind, part, account, cohorts)
    if not is_supported:
        says = words("the claim is NOT supported (", Piece("see what was found", "verification"),
                     "); unless that is cleared up, what follows cannot be relied on, and more may "
                     "have been spent than any number in it says: ", says)
    return Promise(site, kind, is_supported, None if part is None else part.is_in_model, cohorts,
                   says)


def _kind_of_site(part: Part | None, account: SiteAccount | None, ledgers: Sequence[Appendix],
                  cohorts: Sequence[CohortPromise]) -> Kind:
    """Return what a site's patients are promised, at the weakest."""
    has_refused = any(line.kind == "refuse" for one in ledgers for _, line in one.audit.lines)
    absent: Kind = "refused" if (has_refused if part is None else part.refused) else "silent"
    if not ledgers:
        if says_dp(account):
            return "unchecked"
        has_budget = account is not None and bool(account.stages)
        is_open = part is not None and (part.is_in_model or (bool(part.others) and not has_budget))
        return "none" if is_open else absent
    if part is not None and not part.is_in_model:
        return absent
    kinds = [one.kind for one in cohorts]
    weakest: Kind = next((kind for kind in _WEAKEST_FIRST if kind in kinds), "unlisted")
    return absent if part is None and not kinds else weakest


def _says(kind: Kind, part: Part | None, account: SiteAccount | None,
          cohorts: Sequence[CohortPromise]) -> Words:
    if kind == "none":
        return _without(part)
    if kind == "unlisted":
        return words("the run has this site in its results, and its ledger lists nothing")
    if kind == "unchecked":
        return words("nothing was checked, as no ledger of this site was given; by its own word: ",
                     "" if account is None else account.statement)
    own = tuple(part for one in cohorts for part in words(_of_cohort(one), ". "))[:-1]
    if kind not in ("refused", "silent"):
        return own
    if part is None and kind == "silent":
        return own or words("this ledger lists no release and no refusal: nothing was spent yet")
    nothing = words(Piece("refused" if kind == "refused" else "no answer", PARTICIPATION), (
        ": nothing of it is in the model" if part is not None else ": this ledger lists no release"),
        _reasons(part))
    return nothing if not own else words(
        nothing, ". For what it has released all the same, or before: ", own)


def _without(part: Part | None) -> Words:
    if part is None or part.is_in_model:
        return words(NO_DP)
    return words("no differential privacy; it gave no update, and what it measured on its patients "
                 "left as it was")


def _reasons(part: Part | None) -> str:
    if part is None or not part.refused:
        return ""
    reasons = [f"{meaning_of(word).split(': ', 1)[-1]}, in {listed(stages)}"
               for word, stages in part.refused.items()]
    return f" ({'; '.join(reasons)})"


def _of_cohort(one: CohortPromise) -> Words:
    ledger = one.ledger
    if one.kind == "void":
        at = one.void_at or 0
        return words(f"{NO_DP}: patients of cohort {one.cohort} were also trained on without it (",
                     Piece(f"entry {at}", ledger.target(at)), "), so that no ε holds for them")
    spent = one.recomputed
    if spent is None or spent.bounds.pld is None:
        return words(f"no (ε, δ) can be given for cohort {one.cohort}: what was spent is ",
                     Piece("beyond what accountants can put into a number", ledger.recompute_id))
    epsilon = spent.bounds.pld
    return words(
        "(", number(epsilon, ledger.recompute_id), f", {spent.delta:g})-differential privacy for one "
        "patient of this site, over all that this site has released for this cohort. In plain words: "
        "whatever anybody computes from it comes out at most ",
        Piece(times(epsilon), ledger.recompute_id), " times as often with this patient's scans as "
        f"without them, or the other way round, but for a chance of {chance(spent.delta)}",
        "; a bound as high as this rules out next to nothing" if epsilon > 10 else "",
        ". (The number is recomputed from the ledger; the site claims ",
        number(spent.claimed.pld, ledger.target(one.claimed_at or 0)),
        f" for its cohort {one.cohort})")
