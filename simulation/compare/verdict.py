"""A paragraph that says plainly which way of training won, and how sure that is."""

from collections.abc import Sequence

from simulation.compare.arms import FEDERATED, LOCAL, POOLED, SINGLE
from simulation.compare.results import Difference, Result

# How a metric is written.
UNITS = {"psnr": "PSNR", "ssim": "SSIM", "auc": "AUC", "balanced_accuracy": "balanced accuracy",
         "r2": "R²", "mae": "mean error", "pearson_r": "r", "c_index": "C-index"}
_DIGITS = {"psnr": 2, "mae": 2}


def verdict(results: Sequence[Result], differences: Sequence[Difference],
            mains: Sequence[tuple[str, str]]) -> list[str]:
    """Return the sentences: a summary first, then one for each measure.

    Args:
        results: All figures.
        differences: Of the federation against the others.
        mains: The measures that are summed up, each with its main metric.
    """
    sentences = [_summary(differences, mains, other) for other in (POOLED, LOCAL)]
    singles = [one for one in differences if one.against.startswith(SINGLE)
               and (one.measure, one.metric) in mains]
    if singles:
        better = sum(one.value >= 0 for one in singles)
        sentences.append("Against the best single site's model, which is chosen on the very scans "
                         "that it is measured on, it is at least as good in "
                         f"{better} of {len(singles)}.")
    return [" ".join(sentence for sentence in sentences if sentence),
            *(_of_measure(results, differences, *main) for main in mains)]


def shown(metric: str, value: float | None) -> str:
    """Return a figure as it is written in texts and tables."""
    return "n/a" if value is None else f"{value:.{_DIGITS.get(metric, 3)}f}"


def interval(one: Result) -> str:
    """Return a figure with its interval."""
    if one.value is None or one.low is None:
        return shown(one.metric, one.value)
    low, high = shown(one.metric, one.low), shown(one.metric, one.high)
    return f"{shown(one.metric, one.value)} ({low} to {high})"


def _summary(differences: Sequence[Difference], mains: Sequence[tuple[str, str]], other: str) -> str:
    about = [one for one in differences if one.against == other and one.contestant == FEDERATED
             and (one.measure, one.metric) in mains]
    if not about:
        return ""
    ahead = [one.measure for one in about if one.low > 0]
    behind = [one.measure for one in about if one.high < 0]
    apart = [one.measure for one in about if not one.do_intervals_overlap]
    who = "pooled training" if other == POOLED else "each site's own training"
    count = "1 measure" if len(about) == 1 else f"{len(about)} measures"
    parts = [f"In {count}, federated training is beyond chance better than {who} in "
             f"{_listed(ahead)}, worse in {_listed(behind)}; in the other "
             f"{len(about) - len(ahead) - len(behind)} these subjects cannot tell them apart."]
    parts.append(f"The two intervals overlap in all but {_listed(apart)}." if apart
                 else "The two intervals overlap in all.")
    return " ".join(parts)


def _of_measure(results: Sequence[Result], differences: Sequence[Difference], measure: str,
                metric: str) -> str:
    """Return the sentence on one measure: the federation's figure, and how far it is from others."""
    whole = {one.contestant: one for one in results
             if (one.measure, one.metric, one.site) == (measure, metric, None)}
    if FEDERATED not in whole:
        return ""
    text = f"{measure} ({UNITS.get(metric, metric)}): federated {interval(whole[FEDERATED])}"
    for one in differences:
        if (one.measure, one.metric, one.contestant) != (measure, metric, FEDERATED):
            continue
        if one.against not in (POOLED, LOCAL) and not one.against.startswith(SINGLE):
            continue  # the rest is in the table of differences
        share = f", {one.share:.0%} of it" if one.share is not None and one.against == POOLED else ""
        overlap = "intervals overlap" if one.do_intervals_overlap else "intervals do not overlap"
        over = f" on the {one.num_subjects} subjects that both cover" if one.is_partial else ""
        text += (f"; {one.against} {interval(whole[one.against])}{share}: {ahead(one)}{over}, "
                 f"{who_won(one)}, {overlap}")
    return f"{text}."


def ahead(one: Difference) -> str:
    """Return a difference with its interval."""
    sign = f"+.{_DIGITS.get(one.metric, 3)}f"
    return f"{one.value:{sign}} ({one.low:{sign}} to {one.high:{sign}})"


def who_won(one: Difference) -> str:
    """Return who of two is better beyond chance, in words."""
    if one.low > 0:
        return f"{one.contestant} is better"
    return f"{one.against} is better" if one.high < 0 else "not to be told apart"


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "none"
