import math
import time

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from braing3n.errors import CohortError
from braing3n.evaluation.labelled import LabelledSet, deal_folds
from braing3n.evaluation.probes import cross_validate, probe
from braing3n.evaluation.tasks import Task

AGE = Task(kind="regression", variable="age_years")
SEX = Task(kind="classification", variable="sex", classes=("F", "M"))
SURVIVAL = Task(kind="survival", time=("OS",))


def _set(features: np.ndarray, values: np.ndarray, *, volumes: int = 1, sites: int = 3,
         events: np.ndarray | None = None) -> LabelledSet:
    """People with `volumes` rows each behind each other, dealt over sites."""
    people = np.arange(len(features)) // volumes
    return LabelledSet(features, values, np.array([f"sub-{n // sites}" for n in people]),
                       np.array([f"site-{n % sites}" for n in people]), events)


def _made(task: Task, num: int, width: int = 5, seed: int = 0, sites: int = 3) -> LabelledSet:
    """Features of which the first says something."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num, width))
    signal = features[:, 0] + rng.normal(size=num)
    if task.kind == "regression":
        return _set(features, 60 + 10 * signal, sites=sites)
    if task.kind == "survival":
        return _set(features, rng.exponential(np.exp(-2 * features[:, 0])),
                    events=rng.random(num) < 0.8, sites=sites)
    names = np.array(task.class_names or ("AD", "HC", "MCI"))
    edges = np.linspace(-1, 1, len(names) + 1)[1:-1]
    return _set(features, names[np.digitize(signal, edges)], sites=sites)


def _halves(data: LabelledSet) -> tuple[LabelledSet, LabelledSet]:
    first = data.persons() % 2 == 0
    return data.only(first), data.only(~first)


TASKS = [AGE, SEX, SEX.model_copy(update={"method": "lda"}),
         SEX.model_copy(update={"method": "logistic"}), SURVIVAL,
         Task(kind="classification", variable="diagnosis")]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.variable}-{task.fitted_by}")
def test_every_kind_of_task_finds_what_features_say(task: Task):
    data = _made(task, 300)
    for result in (probe(task, *_halves(data), seed=0), cross_validate(task, data, seed=0)):
        chance = 0.0 if task.kind == "regression" else 0.5
        assert result.main.low > chance + 0.1
        assert result.main.low < result.main.value < result.main.high
        assert set(result.by_site) == {"site-0", "site-1", "site-2"}
        assert result.left_out == {}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.variable}-{task.fitted_by}")
def test_the_same_seed_gives_the_same_figures(task: Task):
    train, test = _halves(_made(task, 120))
    first = probe(task, train, test, seed=3)
    again = probe(task, train, test, seed=3)
    assert first.metrics == again.metrics
    np.testing.assert_array_equal(first.predictions.scores, again.predictions.scores)


def test_the_fit_is_the_pooled_one_of_the_strength_that_was_chosen():
    train, test = _halves(_made(AGE, 200, width=8))
    result = probe(AGE, train, test, seed=0)
    pooled = make_pipeline(StandardScaler(), Ridge(result.strengths[0] * len(train.values)))
    pooled.fit(train.features, train.values)
    np.testing.assert_allclose(result.predictions.scores[:, 0], pooled.predict(test.features),
                               atol=1e-6)


def test_random_labels_score_about_one_half_over_seeds():
    aucs = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        data = _set(rng.normal(size=(60, 15)), rng.permutation(np.array(["F", "M"] * 30)))
        result = cross_validate(SEX, data, seed)
        assert result.main.low < result.main.value < result.main.high
        aucs.append(result.main.value)
    # A random ranking of 30 against 30 has sd sqrt(61 / (12 · 30 · 30)) = 0.075.
    assert abs(np.mean(aucs) - 0.5) < 3 * 0.075 / math.sqrt(6)


def test_features_that_only_identify_the_subject_do_not_score():
    aucs = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        people = np.repeat(np.arange(30), 4)
        labels = np.array(["F", "M"])[rng.permutation(np.arange(30) % 2)[people]]
        fingerprints = rng.normal(size=(30, 40))[people]
        aucs.append(cross_validate(SEX, _set(fingerprints, labels, volumes=4), seed).main.value)
        # The same features with scans taken for subjects leak; so this test could fail.
        if seed == 0:
            assert cross_validate(SEX, _set(fingerprints, labels), seed).main.value > 0.95
    sd = math.sqrt(31 / (12 * 15 * 15))
    assert abs(np.mean(aucs) - 0.5) < 3 * sd / math.sqrt(4)


def test_a_known_effect_has_its_closed_form_auc():
    rng = np.random.default_rng(3)
    labels = np.arange(400) % 2
    signal = rng.normal(size=400) + 1.5 * labels
    features = np.column_stack([signal, rng.normal(size=(400, 3))])
    result = cross_validate(SEX, _set(features, np.array(["F", "M"])[labels]), 0)
    binormal = 0.5 * (1 + math.erf(1.5 / 2))  # Φ(d / √2) with Φ(x) = (1 + erf(x / √2)) / 2
    assert result.main.value == pytest.approx(binormal, abs=0.04)
    assert result.main.low < binormal < result.main.high
    assert 0.03 < result.main.high - result.main.low < 0.1


def test_the_interval_is_wider_when_volumes_belong_to_fewer_subjects():
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(size=40), 5)
    features = (values + np.repeat(rng.normal(size=40), 5))[:, None]
    grouped = cross_validate(AGE, _set(features, values, volumes=5, sites=1), 0).metrics["pearson_r"]
    single = cross_validate(AGE, _set(features, values, sites=1), 0).metrics["pearson_r"]
    assert grouped.high - grouped.low > 1.6 * (single.high - single.low)  # √5 for whole repetition


def test_folds_keep_people_whole_and_deal_classes_evenly():
    labels = np.repeat(np.array(["F"] * 20 + ["M"] * 10), 3)
    data = _set(np.zeros((90, 1)), labels, volumes=3)
    folds = deal_folds(data, labels, 5, seed=0)
    assert all(len(set(folds[data.persons() == person])) == 1 for person in range(30))
    for label, each in (("F", 12), ("M", 6)):
        assert [(folds[labels == label] == fold).sum() for fold in range(5)] == [each] * 5


def test_rare_classes_are_left_out_and_counted_where_the_task_names_none():
    data = _made(Task(kind="classification", variable="diagnosis"), 100)
    values = data.values.astype("<U5")
    values[:6] = "other"  # five folds would leave four of them to fit on
    data = LabelledSet(data.features, values, data.subjects, data.sites)
    result = cross_validate(Task(kind="classification", variable="diagnosis"), data, 0)
    assert result.predictions.classes == ("AD", "HC", "MCI")
    assert result.left_out == {"other": 6}
    assert len(result.predictions.truths) == 94


def test_a_site_where_a_metric_is_not_defined_says_why():
    data = _made(SEX, 120)
    lone = np.where(data.sites == "site-1", "F", data.values)
    result = cross_validate(SEX, LabelledSet(data.features, lone, data.subjects, data.sites), 0)
    assert result.by_site["site-1"]["auc"].value is None
    assert result.by_site["site-1"]["auc"].reason == "one class alone"
    assert result.by_site["site-0"]["auc"].value is not None


def test_a_person_on_both_sides_is_refused():
    data = _made(AGE, 60)
    with pytest.raises(CohortError, match="found:    1 on both"):
        probe(AGE, data.only(np.arange(60) < 40), data.only(np.arange(60) >= 39), seed=0)


def test_too_few_subjects_are_told_in_words():
    few = np.where(np.arange(40) < 4, "M", "F")
    data = _set(np.random.default_rng(0).normal(size=(40, 2)), few)
    eventless = _set(data.features, np.arange(40.0), events=np.zeros(40, dtype=bool))
    with pytest.raises(CohortError, match=r"5 or more subjects to fit on \(M\)"):
        probe(SEX, data, data.only(np.zeros(40, dtype=bool)), seed=0)
    with pytest.raises(CohortError, match="two classes"):
        cross_validate(Task(kind="classification", variable="diagnosis"), data.only(few == "F"), 0)
    with pytest.raises(CohortError, match="10 or more"):
        cross_validate(AGE, _made(AGE, 9), 0)
    with pytest.raises(CohortError, match="the event"):
        cross_validate(SURVIVAL, eventless, 0)


def test_a_set_without_test_volumes_is_fitted_and_says_so():
    data = _made(AGE, 60)
    result = probe(AGE, data, data.only(np.zeros(60, dtype=bool)), seed=0)
    assert result.main.reason == "no test volume"
    assert result.by_site == {}


@pytest.mark.parametrize(("features", "values", "match"), [
    (np.ones((3, 2)), np.zeros(4), "one row a volume"),
    (np.full((4, 2), np.nan), np.zeros(4), "features are not all finite"),
    (np.ones((4, 2)), np.array([1, 2, np.inf, 3]), "values are not all finite"),
])
def test_arrays_that_cannot_be_probed_are_refused(features, values, match):
    with pytest.raises(ValueError, match=match):
        LabelledSet(features, values, np.array(list("abcd")), np.array(["a"] * 4))


def test_a_thousand_volumes_of_eight_sites_take_well_under_two_seconds():
    train, test = _halves(_made(AGE, 1000, width=288, sites=8))
    began = time.process_time()
    probe(AGE, train, test, seed=0)
    assert time.process_time() - began < 2  # 0.4 s on an idle core
