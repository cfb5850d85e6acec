from dataclasses import replace

import numpy as np
import pytest

from braing3n.evaluation.probes import probe
from braing3n.evaluation.tasks import Task
from simulation.compare.arms import LOCAL, UNSEEN, Arm
from simulation.compare.contest import (
    Contest,
    best_single,
    measure_decoder,
    measure_task,
    told_by_site,
)
from simulation.compare.measured import Measured
from simulation.compare.results import results_of
from simulation.compare.scans import Scans

SITES = ("a", "b", "c")
AGE = Task(kind="regression", variable="age_years")
SEX = Task(kind="classification", variable="sex", classes=("F", "M"))


def scans_of_three_sites(per_site: int = 60) -> Scans:
    rng = np.random.default_rng(0)
    num = 3 * per_site
    conditions = np.full((num, 6), np.nan)
    conditions[:, 0] = rng.uniform(0.2, 0.8, num)
    conditions[:, 1] = rng.integers(0, 2, num)
    conditions[2 * per_site:, 1] = 0  # nobody at c is a man
    sites = np.repeat(SITES, per_site)
    subjects = np.array([f"{site}:{number:03d}" for number, site in enumerate(sites)])
    return Scans(sites, subjects, conditions, np.arange(num) % 3 == 0)


def features(scans: Scans, noise: float, seed: int) -> np.ndarray:
    """Eight columns, of which the first two tell age and sex, as clearly as the noise is small."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(len(scans.sites), 8))
    found[:, 0] = scans.conditions[:, 0] * 5 + noise * found[:, 0]
    found[:, 1] = scans.conditions[:, 1] + noise * found[:, 1]
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def contest() -> Contest:
    scans = scans_of_three_sites()
    num = len(scans.sites)

    def arm(name: str, kind: str, sites: tuple[str, ...], noise: float, seed: int,
            ) -> tuple[Arm, Measured]:
        psnr = np.full(num, 20 + seed, dtype=np.float32)
        return Arm(name, kind, sites), Measured(features(scans, noise, seed), psnr, psnr / 100)  # type: ignore[arg-type]

    arms = dict([
        arm("pooled", "pooled", SITES, 0.2, 1), arm("federated", "federated", SITES, 0.3, 2),
        *(arm(f"without-{site}", "without", tuple(s for s in SITES if s != site), 0.5, 20 + number)
          for number, site in enumerate(SITES)),
        *(arm(f"local-{site}", "local", (site,), 1.0, 10 + number)
          for number, site in enumerate(SITES))])
    return Contest(scans, arms, {"thumbnails": features(scans, 2.0, 5)}, seed=0)


def test_a_contestant_of_all_sites_is_the_plain_probe_on_all_of_them(contest: Contest) -> None:
    scans = contest.scans
    measured = next(f for arm, f in contest.arms.items() if arm.name == "pooled")
    plain = probe(AGE, scans.labelled(AGE, measured.features, ~scans.is_test),
                  scans.labelled(AGE, measured.features, scans.is_test), 0)
    answers = measure_task("age", AGE, contest).answers["pooled"]
    assert answers.predictions is not None
    np.testing.assert_array_equal(answers.predictions.scores, plain.predictions.scores)


def test_a_site_alone_learns_from_its_own_subjects_and_is_measured_on_them(contest: Contest) -> None:
    scans = contest.scans
    measure = measure_task("age", AGE, contest)
    own = next(f for arm, f in contest.arms.items() if arm.name == "local-b")
    here = scans.sites == "b"
    plain = probe(AGE, scans.labelled(AGE, own.features, here & ~scans.is_test),
                  scans.labelled(AGE, own.features, here & scans.is_test), 0)
    together = measure.answers[LOCAL].predictions
    assert together is not None
    np.testing.assert_array_equal(together.scores[together.sites == "b"], plain.predictions.scores)
    np.testing.assert_array_equal(together.truths, scans.conditions[scans.is_test, 0] * 100)


def test_a_federation_without_a_site_learns_nothing_from_its_labels(contest: Contest) -> None:
    scans = contest.scans
    measure = measure_task("age", AGE, contest)
    other = scans.conditions.copy()
    other[(scans.sites == "b") & ~scans.is_test, 0] = 0.5
    changed = measure_task("age", AGE, replace(contest, scans=replace(scans, conditions=other)))
    for name, is_same in ((UNSEEN, True), ("federated", False)):
        one, two = (m.answers[name].predictions for m in (measure, changed))
        assert one is not None
        assert two is not None
        at_b = one.sites == "b"
        assert np.array_equal(one.scores[at_b], two.scores[at_b]) == is_same


def test_clearer_features_win(contest: Contest) -> None:
    found = {one.contestant: one.value for one in results_of(measure_task("age", AGE, contest), 0)
             if one.metric == "r2" and one.site is None}
    assert found["pooled"] > found["federated"] > found[UNSEEN] > found["thumbnails"]
    assert found["federated"] > found[LOCAL]


def test_a_site_that_lacks_a_class_is_named_and_left_out(contest: Contest) -> None:
    measure = measure_task("sex", SEX, contest)
    alone = measure.answers[LOCAL]
    assert not alone.covered[measure.sites == "c"].any()
    assert alone.covered[measure.sites != "c"].all()
    assert len(alone.why_not) == 1
    assert alone.why_not[0].startswith("c: ")
    assert measure.answers["federated"].covered.all()


def test_no_site_alone_can_tell_sites_apart(contest: Contest) -> None:
    task = Task(kind="classification", variable="site")
    measure = measure_task("site", task, contest)
    assert not measure.answers[LOCAL].covered.any()
    shown = {one.contestant for one in results_of(measure, 0)}
    assert "federated" in shown
    assert LOCAL not in shown


def test_the_best_single_site_is_chosen_among_encoders_alone(contest: Contest) -> None:
    measure = measure_task("age", AGE, contest)
    best = best_single(measure)
    assert best in {"only a", "only b", "only c"}
    values = {one.contestant: one.value for one in results_of(measure, 0)
              if one.metric == "r2" and one.site is None and one.contestant.startswith("only ")}
    assert best == max(values, key=values.__getitem__)
    assert len(values) == 3


def test_what_the_site_alone_tells_of_a_label_is_between_nothing_and_all(contest: Contest) -> None:
    scans = contest.scans
    everything = np.ones(len(scans.sites), dtype=bool)
    assert told_by_site(AGE, scans, everything) < 0.05
    assert 0.1 < told_by_site(SEX, scans, everything) < 0.9  # nobody at c is a man
    conditions = scans.conditions.copy()
    conditions[:, 0] = np.where(scans.sites == "a", 0.3, 0.7)
    assert told_by_site(AGE, replace(scans, conditions=conditions), everything) == pytest.approx(1)
    conditions[:, 0] = 0.5
    assert told_by_site(AGE, replace(scans, conditions=conditions), everything) is None


def test_classes_are_told_apart_within_sites(contest: Contest) -> None:
    measure = measure_task("sex", SEX, contest)
    assert measure.main == "auc_within_sites"
    found = {one.metric: one for one in results_of(measure, 0)
             if one.contestant == "federated" and one.site is None}
    at_c = int((measure.sites == "c").sum())
    assert found["auc"].num_subjects - found["auc_within_sites"].num_subjects == at_c


def test_each_site_is_decoded_by_its_own_model_alone_and_by_the_others_where_it_is_unseen(
    contest: Contest,
) -> None:
    found = {(one.contestant, one.site): one.value for one in results_of(measure_decoder(contest), 0)
             if one.metric == "psnr"}
    for number, site in enumerate(SITES):
        assert found[LOCAL, site] == pytest.approx(30 + number)
        assert found[UNSEEN, site] == pytest.approx(40 + number)
        assert found[f"only {site}", None] == pytest.approx(30 + number)
    assert found["pooled", None] == pytest.approx(21)
    assert found[LOCAL, None] == pytest.approx(31)
