"""What the numbers of a report do not cover, as far as that can be known of what was done."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from braing3n.audit.report.appendix import Appendix
from braing3n.audit.report.given import Given
from braing3n.audit.report.promises import Promise
from braing3n.audit.report.releases import HELD_OUT, LOSSES, ReleaseRow, exact_sites
from braing3n.audit.report.words import Piece, Words, linked, listed, words


class Gap(NamedTuple):
    """Something that no number covers: a code, a short name, and what it is here."""

    code: str
    name: str
    says: Words


def gaps(given: Given, ledgers: Sequence[Appendix], promised: Sequence[Promise],
         rows: Sequence[ReleaseRow]) -> list[Gap]:
    """Return what is not covered, the weightiest first.

    Args:
        given: What the report is made of.
        ledgers: The ledgers.
        promised: What each site's patients are promised.
        rows: What left the sites.
    """
    return [*_without(promised), *_large_delta(ledgers), *_exact(given, rows), *_elsewhere(given),
            *_choices(ledgers), *_people(promised), *_trust(given, ledgers), *_technical(),
            *_not_given(given)]


def _without(promised: Sequence[Promise]) -> Iterator[Gap]:
    none = [one.site for one in promised if one.kind == "none"]
    if none:
        yield Gap("sites_without_dp", "Sites without differential privacy", words(
            f"Patients of {listed(none)}: the models and updates can reveal training data of them. "
            "That does not weaken what is promised to patients of other sites."))
    void = [one.site for one in promised if one.kind in ("void", "beyond")]
    if void:
        yield Gap("void", "Sites with a budget for whose patients no number holds",
                  words(f"Patients of {listed(void)}."))
    unknown = [one.site for one in promised if one.kind in ("unchecked", "unlisted")
               or not one.is_supported]
    if unknown:
        yield Gap("unsupported", "Claims that are not supported", words(
            f"Those of {listed(unknown)}; ", Piece("what was found", "verification"), "."))


def _large_delta(ledgers: Sequence[Appendix]) -> Iterator[Gap]:
    large = [one.name for one in ledgers if any(
        line.mechanism is not None and line.spent is not None
        and line.spent.delta * line.mechanism.num_subjects >= 1 for _, line in one.audit.lines)]
    if large:
        yield Gap("large_delta", "A large δ", words(
            f"At {listed(large)}, δ is not below 1 over the plan's number of patients. Such a promise "
            "is kept even by publishing one patient's data whole."))


def _exact(given: Given, rows: Sequence[ReleaseRow]) -> Iterator[Gap]:
    held_out, losses = exact_sites(rows, HELD_OUT), exact_sites(rows, LOSSES)
    if held_out or losses:
        parts = [f"{what[0].upper()}{what[1:]} of {listed(sites)}"
                 for what, sites in ((HELD_OUT, held_out), (LOSSES, losses)) if sites]
        yield Gap("exact_metrics", "Metrics that were released exactly", words(
            f"{'; '.join(parts)}: they left without noise (", Piece("how many", "releases"),
            "). So did the numbers of training scans that their updates are weighted by, unless the "
            "site's settings withhold them."))
    elif given.record is not None:
        trained = any(stage.participation for stage in given.record.stages)
        yield Gap("exact_metrics", "Metrics that were released exactly", words(
            "Not known: rounds were trained, and metrics.jsonl has none of them."
            if trained and not given.metrics else "None that metrics.jsonl knows of."))
    probed = sorted({site for task in (given.record.probes.tasks if given.record else {}).values()
                     for site in task.sites})
    if probed:
        yield Gap("probes", "Sums for probes", words(
            f"{listed(probed)} gave exact sums of embeddings and labels for linear probes. No ledger "
            "charges them."))


def _elsewhere(given: Given) -> Iterator[Gap]:
    starts = {} if given.record is None else given.record.starts
    public = [stage for stage, start in starts.items() if start.source not in ("fresh", "phantom")]
    phantom = [stage for stage, start in starts.items() if start.source == "phantom"]
    if public:
        yield Gap("weights_from_elsewhere", "Weights that came from elsewhere", words(
            f"{listed(public)} began with weights that were not made here. What their own training "
            "data risk is not counted, nor is a patient of these sites who was among those."))
    if phantom:
        yield Gap("weights_from_elsewhere", "Weights that came from elsewhere", words(
            f"{listed(phantom)} began with weights that the plan says were trained on the synthetic "
            "phantom, which is nobody's data. That they were is the coordinator's word."))
    if given.record is not None and given.record.resumed:
        yield Gap("resumed", "A run that was interrupted", words(
            f"It went on {len(given.record.resumed)} times. A round that was asked again is charged "
            "again, unless the site gave the same answer, number for number."))


def _choices(ledgers: Sequence[Appendix]) -> Iterator[Gap]:
    runs = {line.run for one in ledgers for _, line in one.audit.lines if line.kind == "reserve"}
    yield Gap("choices", "Choices made by looking at patients", words(
        "Whether learning rates, numbers of rounds or the noise were chosen after somebody had seen "
        "results on these patients is in no file. What was tried as a run with a ledger is charged",
        f": the ledgers here have {len(runs)} run{'s' if len(runs) > 1 else ''}, and the numbers count "
        "all of that." if runs else "."))


def _people(promised: Sequence[Promise]) -> Iterator[Gap]:
    with_dp = [one.site for one in promised if one.kind == "dp"]
    none = [one.site for one in promised if one.kind in ("none", "void", "beyond")]
    if len(with_dp) + len(none) > 1:
        yield Gap("two_sites", "A patient of two sites", words(
            "Each ε is for one site's releases. For a patient of several of them they add up, and so "
            "do the δ" + (f"; for one who was also at {listed(none)}, no ε holds" if none else "")
            + ". Whether there are such patients cannot be checked without sharing something."))
    cohorts = [one for one in promised if len({part.cohort for part in one.cohorts}) > 1]
    if cohorts:
        yield Gap("cohorts", "Several accounts of one site", words(
            f"{listed(one.site for one in cohorts)} counts patients under more than one cohort. For a "
            "patient in several of them, the ε and the δ add up."))
    yield Gap("groups", "Several people together, and what is true of many", words(
        "For k people together, such as a family, it is k times ε, and δ grows more. What is learned "
        "of all patients with a disease holds for each of them, whether he took part or not."))


def _trust(given: Given, ledgers: Sequence[Appendix]) -> Iterator[Gap]:
    if ledgers:
        yield Gap("cheating_site", "A site that cheats", words(
            "A ledger says what the site's software wrote down, not that the noise was added; nobody "
            "else can see that. Who has the machine and the key can write another ledger. ",
            "Receipts show it only up to the last one." if given.receipts else
            "No receipts were given, so that nothing here would show it."))
    late = [words(f"{one.name}: ", linked(note, one.target), ". ") for one in ledgers
            for note in one.audit.notes if "receipt" in note]
    if late:
        yield Gap("after_receipts", "What came after the last receipt", words(*late))
    if given.record is not None:
        yield Gap("coordinator", "The coordinator", words(
            "There is no secure aggregation: the coordinator sees each site's update. What is "
            "promised holds against it as well; for sites without differential privacy nothing does."))


def _technical() -> Iterator[Gap]:
    yield Gap("timing", "Timing, sizes and refusals", words(
        "When an answer comes depends on how many patients were drawn. Whether a refusal comes, and "
        "which word, is not noised; at the border it tells whether there are patients enough."))
    yield Gap("floating_point", "Arithmetic", words(
        "The mathematics is of real numbers, and computers round. Noise is drawn in float64 as the "
        "scaled sum of several draws from a cryptographic generator (Holohan and Braghin 2021, after "
        "Mironov 2012); a proof for floating-point numbers that is not."))


def _not_given(given: Given) -> Iterator[Gap]:
    if given.run is not None and any((given.run / "sites").glob("*/pictures.npz")):
        yield Gap("pictures", "Pictures in the run's folder", words(
            "sites/*/pictures.npz hold exact slices of held-out patients, and the run's report.html "
            "may show them. No ε counts them: they are not to leave the site."))
    if given.record is None:
        yield Gap("no_run", "The run", words(
            "No run's folder was given: what was trained, who took part, what sites without a ledger "
            "gave, and whether ledgers lack something that the run has is not known."))
    if not given.attacks:
        yield Gap("no_attack", "Empirical audit", words(
            "No result of an attack on the training code was given (--empirical): whether the code "
            "adds the noise that the ledgers list was not tried for this report."))
    else:
        yield Gap("attack", "Empirical audit", words(
            "It is of the code, on the machine and at the time of the audit, not of this run."))
    yield Gap("no_memorisation", "Memorisation", words(
        "No memorisation result was given: whether generated scans resemble training scans was not "
        "looked at for this report."))
    if not given.sent:
        yield Gap("no_manifests", "Manifests of what left", words(
            "No manifests were given. What left is told by ledgers, with the sha256 of each release, "
            "and by the run's record; what a site sent beside that stands in its own egress.jsonl."))
    if given.record is not None and given.rounds is None:
        yield Gap("no_round_records", "Signed round records", words(
            "There are none, as of runs of earlier versions: who was asked, answered and refused is "
            "the coordinator's word, which nobody signed."))
    yield Gap("earlier", "Earlier, and elsewhere", words(
        "Training on the same patients under another cohort name, with another state folder, or by "
        "other software, is in none of these files."))
    if given.verified.ledgers and not given.keys:
        yield Gap("keys", "Keys", words(
            "Each ledger was checked with the public key that lay beside it. Who can replace a ledger "
            "can replace that as well: compare it with what the hospital tells you by another way "
            "(--pubkey)."))
