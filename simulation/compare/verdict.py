"""A paragraph that says plainly which way of training won, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from braing3n.evaluation.metrics import METRIC_NAMES
from simulation.compare.arms import FEDERATED, LOCAL, POOLED, SINGLE
from simulation.compare.differences import Difference
from simulation.compare.results import Main, Result

# How a metric is written.
UNITS = {"psnr": "PSNR", "ssim": "SSIM", **METRIC_NAMES}
_DIGITS = {"psnr": 2, "mae": 2}
# What a site alone tells of a number from which on it is said beside the figure.
_MUCH = 0.2
_WHO = {POOLED: "pooled training", LOCAL: "each site's own training"}


@dataclass(frozen=True)
class Verdict:
    """Who won, in sentences.

    Attributes:
        headline: Who won.
        summary: How often, against whom, and what to bear in mind.
        measures: A sentence on each measure.
    """

    headline: str
    summary: tuple[str, ...]
    measures: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """A paragraph, and a line for each measure."""
        return [" ".join((self.headline, *self.summary)), *self.measures]


def verdict(results: Sequence[Result], differences: Sequence[Difference], mains: Sequence[Main],
            baselines: Sequence[str], num_held_out: int) -> Verdict:
    """Return who won.

    Args:
        results: All figures.
        differences: Of the federation against the others.
        mains: The measures that are summed up.
        baselines: Contestants that nobody trained.
        num_held_out: Subjects that are measured on.
    """
    summed_up = {(main.measure, main.metric) for main in mains}
    about = [one for one in differences
             if one.contestant == FEDERATED and (one.measure, one.metric) in summed_up]
    by_opponent = {other: [one for one in about if one.against == other] for other in (LOCAL, POOLED)}
    summary = [*(_tally(_WHO[other], found) for other, found in by_opponent.items() if found),
               _singles([one for one in about if one.against.startswith(SINGLE)]),
               _untrained(about, baselines),
               "One training seed: another would move these figures too."]
    return Verdict(_headline(by_opponent, num_held_out), tuple(filter(None, summary)),
                   tuple(filter(None, (_of_measure(results, about, main) for main in mains))))


def shown(metric: str, value: float | None) -> str:
    """Return a figure as it is written in texts and tables."""
    return "n/a" if value is None else f"{value:.{_DIGITS.get(metric, 3)}f}"


def interval(one: Result) -> str:
    """Return a figure with its interval."""
    if one.value is None or one.low is None:
        return shown(one.metric, one.value)
    low, high = shown(one.metric, one.low), shown(one.metric, one.high)
    return f"{shown(one.metric, one.value)} ({low} to {high})"


def ahead(one: Difference) -> str:
    """Return a difference with its interval."""
    sign = f"+.{_DIGITS.get(one.metric, 3)}f"
    return f"{one.value:{sign}} ({one.low:{sign}} to {one.high:{sign}})"


def who_won(one: Difference) -> str:
    """Return who of two is better beyond chance, in words."""
    if one.winner is not None:
        return f"{one.winner} is better"
    return "undecided" if one.why_open is None else f"undecided: {one.why_open}"


def _headline(by_opponent: Mapping[str, Sequence[Difference]], num_held_out: int) -> str:
    """Return the first sentence: who won."""
    asked = [one for found in by_opponent.values() for one in found]
    people = f"{num_held_out} held-out subjects"
    if not asked:
        return f"Nothing could be compared on these {people}."
    won = []
    for other, found in by_opponent.items():
        for winner, loser in ((FEDERATED, other), (other, FEDERATED)):
            names = [one.measure for one in found if one.winner == winner]
            if names:
                first = _WHO.get(winner, "federated training")
                won.append(f"{first[0].upper()}{first[1:]} beats "
                           f"{_WHO.get(loser, 'federated training')} in {_listed(names)}.")
    if not won:
        return (f"No winner: {people} do not tell federated training from "
                f"{' or from '.join(_WHO[other] for other, found in by_opponent.items() if found)}.")
    if any(one.winner is None for one in asked):
        won.append(f"Elsewhere {people} name no winner.")
    return " ".join(won)


def _tally(who: str, found: Sequence[Difference]) -> str:
    """Return how often the federation won, lost or neither against one opponent."""
    won = [one.measure for one in found if one.winner == FEDERATED]
    lost = [one.measure for one in found if one.winner not in (FEDERATED, None)]
    apart = [one.measure for one in found if not one.do_intervals_overlap]
    count = "1 measure" if len(found) == 1 else f"{len(found)} measures"
    overlap = f"in all but {_listed(apart)}" if apart else "in all"
    return (f"Against {who}, federated training wins {len(won)} of {count}, loses {len(lost)}, "
            f"and {len(found) - len(won) - len(lost)} are undecided; the intervals of the two "
            f"overlap {overlap}.")


def _singles(found: Sequence[Difference]) -> str:
    if not found:
        return ""
    better = sum(one.value >= 0 for one in found)
    return ("Against the best single site's model, which is chosen on the very scans that it is "
            f"measured on, its figure is at least as high in {better} of {len(found)}.")


def _untrained(about: Sequence[Difference], baselines: Sequence[str]) -> str:
    """Return how the federation does against what nobody trained: else training has shown nothing."""
    parts = []
    for name in baselines:
        found = [one for one in about if one.against == name]
        beaten = sum(one.winner == FEDERATED for one in found)
        as_good = [one.measure for one in found if one.value <= 0]
        if found:
            parts.append(f"it beats {name} in {beaten} of {len(found)}, and they score at least as "
                         f"high in {_listed(as_good) if as_good else 'none'}")
    return f"Against what nobody trained: {'; '.join(parts)}." if parts else ""


def _of_measure(results: Sequence[Result], about: Sequence[Difference], main: Main) -> str:
    """Return the sentence on one measure: the federation's figure, and how far it is from others."""
    whole = {one.contestant: one for one in results
             if (one.measure, one.metric, one.site) == (main.measure, main.metric, None)}
    if FEDERATED not in whole:
        return ""
    own = whole[FEDERATED]
    told = ("" if main.metric != "r2" or (main.told_by_site or 0) < _MUCH else
            f"; the site alone tells {main.told_by_site:.0%} of it")
    text = (f"{main.measure} ({UNITS.get(main.metric, main.metric)}, {own.num_subjects} subjects"
            f"{told}): federated {interval(own)}")
    for one in about:
        if one.measure != main.measure or not (one.against in _WHO or one.against.startswith(SINGLE)):
            continue  # the rest is in the table of differences
        share = f", {one.share:.0%} of it" if one.share is not None and one.against == POOLED else ""
        overlap = "overlap" if one.do_intervals_overlap else "do not overlap"
        over = (f" on the {one.num_subjects} subjects that both cover, where federated has "
                f"{shown(main.metric, one.own)}" if one.is_partial else "")
        text += (f"; {one.against} {interval(whole[one.against])}{share}: {ahead(one)}{over}, "
                 f"{who_won(one)} (intervals {overlap})")
    return f"{text}."


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})"
