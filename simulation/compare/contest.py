"""Who is compared with whom, by which measure: arms, baselines, and what single sites can do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braing3n.errors import CohortError, DivergedError
from braing3n.evaluation.metrics import Predictions
from braing3n.evaluation.probes import probe
from braing3n.evaluation.tasks import Task
from simulation.compare.arms import LOCAL, SINGLE, UNSEEN, Arm
from simulation.compare.measured import Measured
from simulation.compare.results import Answers, Measure
from simulation.compare.scans import Scans
from simulation.partition.skew import associate

Floats = NDArray[np.floating]

DECODER = "decoder"


@dataclass(frozen=True)
class Contest:
    """What is compared.

    Attributes:
        scans: All sites'.
        arms: Arms with their figures.
        baselines: Features that were not trained for this, by name.
        seed: Of folds and of resamples.
    """

    scans: Scans
    arms: Mapping[Arm, Measured]
    baselines: Mapping[str, Floats]
    seed: int

    def by_kind(self, kind: str) -> dict[str, Measured]:
        """Return the arms of one kind by the site that they are of, or are without."""
        everybody = set(self.scans.sites.tolist())
        return {(next(iter(everybody - set(arm.sites))) if kind == "without" else arm.sites[0]): figures
                for arm, figures in self.arms.items() if arm.kind == kind}

    def whole(self) -> dict[str, Floats]:
        """Return the features of contestants that learn from all sites, by name."""
        return {**{arm.name: figures.features for arm, figures in self.arms.items()
                   if arm.kind in ("federated", "pooled", "drawn")}, **self.baselines}


def measure_task(name: str, task: Task, contest: Contest) -> Measure:
    """Fit a task's probe for every contestant, and have it tell the held-out scans.

    A contestant of all sites fits on all sites' training subjects. "each site alone" has the site's
    own encoder, fits on the site's own subjects, and is measured on the site's own. "only X" has
    X's encoder, yet fits on all sites' subjects, so that encoders alone are compared.
    "federated, without the site" fits on the other sites' subjects.

    Raises:
        CohortError: The task cannot be fitted on this cohort at all.
    """
    scans = contest.scans
    known = scans.known(task)
    train, test = known & ~scans.is_test, known & scans.is_test
    answers: dict[str, Answers] = {}

    def fit(features: Floats, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Predictions:
        return probe(task, scans.labelled(task, features, train),
                     scans.labelled(task, features, test), contest.seed).predictions

    # All contestants tell the same classes: those that the whole cohort has enough people of.
    classes = fit(next(iter(contest.whole().values())), train, test).classes
    if classes:
        task = task.model_copy(update={"classes": classes})
        test &= np.isin(scans.values(task), classes)
    everything = np.ones(int(test.sum()), dtype=bool)
    for contestant, features in contest.whole().items():
        answers[contestant] = Answers(everything, fit(features, train, test))
    for site, figures in contest.by_kind("local").items():
        answers[SINGLE + site] = Answers(everything, fit(figures.features, train, test))
    for contestant, kind, is_own in ((LOCAL, "local", True), (UNSEEN, "without", False)):
        models = contest.by_kind(kind)
        if models:
            answers[contestant] = _at_home(models, scans.sites, train, test, fit, is_own=is_own)
    return Measure(name, task.kind, task.main_metric, scans.subjects[test], scans.sites[test], answers,
                   told_by_site(task, scans, train | test))


def measure_decoder(contest: Contest) -> Measure:
    """Return how well every arm decodes the held-out scans."""
    scans, test = contest.scans, contest.scans.is_test
    everything = np.ones(int(test.sum()), dtype=bool)
    answers = {
        arm.name if arm.kind != "local" else SINGLE + arm.sites[0]:
            Answers(everything, scores=_scores(figures, test))
        for arm, figures in contest.arms.items() if arm.kind != "without"}
    for contestant, kind in ((LOCAL, "local"), (UNSEEN, "without")):
        models = contest.by_kind(kind)
        if models:
            own = {metric: np.full(int(test.sum()), np.nan) for metric in ("psnr", "ssim")}
            for site, figures in models.items():
                here = scans.sites[test] == site
                for metric, score in _scores(figures, test).items():
                    own[metric][here] = score[here]
            answers[contestant] = Answers(everything, scores=own)
    return Measure(DECODER, None, "psnr", scans.subjects[test], scans.sites[test], answers)


def told_by_site(task: Task, scans: Scans, rows: NDArray[np.bool_]) -> float | None:
    """Return how much of what a task asks the site alone tells: 0 is nothing, 1 all.

    Of classes the adjusted mutual information, of numbers the share of variance between sites.

    Args:
        task: The task.
        scans: All sites'.
        rows: (n,) of which scans; a subject counts once.
    """
    _, first = np.unique(scans.subjects[rows], return_index=True)
    values, sites = scans.values(task)[rows][first], scans.sites[rows][first]
    if task.kind == "classification":
        found = associate(sites.tolist(), values.tolist())
        return None if found is None else max(found.ami, 0.0)
    numbers = values.astype(np.float64)
    if np.ptp(numbers) == 0:
        return None
    means = {site: numbers[sites == site].mean() for site in np.unique(sites)}
    between = np.array([means[site] for site in sites])
    return float(between.var() / numbers.var())


def best_single(measure: Measure) -> str | None:
    """Return the single site's encoder that scores best on all sites' held-out scans.

    It is chosen on the very scans that it is measured on, which flatters it.
    """
    rows = np.ones(len(measure.sites), dtype=bool)
    ones = np.ones((1, len(rows)))
    scored = {name: float(answers.metrics(measure.kind, ones, rows)[measure.main][0])
              for name, answers in measure.answers.items() if name.startswith(SINGLE)}
    defined = {name: value for name, value in scored.items() if np.isfinite(value)}
    return max(defined, key=defined.__getitem__) if defined else None


def _at_home(
    models: Mapping[str, Measured], sites: NDArray[np.str_], train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    fit: Callable[[Floats, NDArray[np.bool_], NDArray[np.bool_]], Predictions], *, is_own: bool,
) -> Answers:
    """Return what each site's model says of that site's scans, put together.

    Args:
        models: By site.
        sites: (n,) of all scans.
        train: (n,) what may be fitted on.
        test: (n,) what is measured on.
        fit: Fits on some scans and tells others.
        is_own: Whether a site's model fits on its own subjects, or on all others'.
    """
    parts: list[tuple[NDArray[np.intp], Predictions]] = []
    why_not = []
    for site, figures in models.items():
        here = test & (sites == site)
        if not here.any():
            continue
        try:
            said = fit(figures.features, train & ((sites == site) == is_own), here)
        except (CohortError, DivergedError) as error:
            why_not.append(f"{site}: {error.what}")
            continue
        parts.append((np.flatnonzero(here[test]), said))
    covered = np.zeros(int(test.sum()), dtype=bool)
    if not parts:
        return Answers(covered, _empty(), why_not=tuple(why_not))
    rows = np.concatenate([rows for rows, _ in parts])
    covered[rows] = True
    return Answers(covered, _joined([said for _, said in parts], np.argsort(rows)),
                   why_not=tuple(why_not))


def _joined(parts: Sequence[Predictions], order: NDArray[np.intp]) -> Predictions:
    """Return parts of one task behind each other, in another order."""
    return Predictions(
        np.concatenate([part.scores for part in parts])[order],
        np.concatenate([part.predicted for part in parts])[order],
        np.concatenate([part.truths for part in parts])[order], None,
        np.concatenate([part.subjects for part in parts])[order],
        np.concatenate([part.sites for part in parts])[order], parts[0].classes)


def _empty() -> Predictions:
    nothing = np.empty(0, dtype=np.str_)
    return Predictions(np.empty((0, 1)), nothing, nothing, None, nothing, nothing)


def _scores(figures: Measured, test: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    return {"psnr": figures.psnr[test].astype(np.float64),
            "ssim": figures.ssim[test].astype(np.float64)}
