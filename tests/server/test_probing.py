"""Probes over real messages equal the fits of all sites' volumes together."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from braing3n.evaluation.fits.cox import choose_cox, fit_cox
from braing3n.evaluation.fits.linear_fits import LinearModel
from braing3n.evaluation.fits.logistic import choose_logistic
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.metrics import figures, r2
from braing3n.evaluation.pairs import c_index
from braing3n.evaluation.predicting import predict
from braing3n.evaluation.probe_wire import Numbers, unpack_model
from braing3n.evaluation.site_statistics import cells_of, fit_sums, sum_sites
from braing3n.evaluation.tasks import probed_tasks
from braing3n.protocol import Reply, Task
from braing3n.weights import doubles_from_npy

SIZES = (36, 60, 120)
WIDTH = 7


def sent_models(world: Any) -> dict[str, LinearModel]:
    """Return the models that sites were sent to be measured, by task."""
    for _, message in world.told:
        if message.metadata.message_type != "query.probe" or message.metadata.reply_to_message_id:
            continue
        order = Task.model_validate_json(message.content.config_records["message"]["json"]).probe
        if order.phase == "scores":
            arrays = [a.data for rec in message.content.array_records.values() for a in rec.values()]
            numbers = Numbers(doubles_from_npy(arrays))
            columns = {name: len(order.classes.get(name, ())) for name in order.tasks}
            return {name: unpack_model(WIDTH, count if count > 2 else 1, numbers)
                    for name, count in columns.items()}
    raise AssertionError("nothing was measured")


def with_folds(data: LabelledSet, *columns: Any) -> list[tuple]:
    """Return each site's rows with its own fold, as the fits of one machine take them."""
    return [(data.features[rows], *(column[rows] for column in columns),
             np.full(int(rows.sum()), number)) for number, rows in enumerate(data.by_site())]


def standardised(data: LabelledSet, model: LinearModel) -> tuple[np.ndarray, np.ndarray]:
    """Return scaled features, and the model's weights for them."""
    scaler = StandardScaler().fit(data.features)
    return scaler.transform(data.features), model.weights * scaler.scale_[:, None]


def test_ridge_is_the_pooled_ridge(world: Callable[..., Any]) -> None:
    made = world(SIZES, "age")
    told = made.run()["tasks"]["age"]
    data = made.labelled("age", 0)
    features, weights = standardised(data, sent_models(made)["age"])
    pooled = Ridge(alpha=told["strength"] * len(features)).fit(features, data.values)
    np.testing.assert_allclose(weights[:, 0], pooled.coef_, atol=1e-6)


@pytest.mark.parametrize("task", ["sex", "diagnosis"])
def test_ridge_of_classes_is_the_pooled_one(task: str, world: Callable[..., Any]) -> None:
    made = world(SIZES, task)
    told = made.run()["tasks"][task]
    data = made.labelled(task, 0)
    features, weights = standardised(data, sent_models(made)[task])
    pooled = RidgeClassifier(alpha=told["strength"] * len(features), class_weight="balanced",
                             tol=1e-10).fit(features, data.values)
    assert told["classes"] == pooled.classes_.tolist()
    np.testing.assert_allclose(weights.T, np.atleast_2d(pooled.coef_), atol=1e-6)


@pytest.mark.parametrize("task", ["sex", "diagnosis"])
def test_lda_is_the_pooled_one(task: str, world: Callable[..., Any]) -> None:
    made = world(SIZES, f"{task}/lda")
    told = made.run()["tasks"][f"{task}/lda"]
    data = made.labelled(task, 0)
    features, weights = standardised(data, sent_models(made)[f"{task}/lda"])
    classes = len(told["classes"])
    pooled = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=told["strength"], priors=np.full(classes, 1 / classes))
    pooled.fit(features, data.values)
    np.testing.assert_allclose(weights.T, pooled.coef_, atol=1e-6)


@pytest.mark.parametrize("task", ["sex", "diagnosis"])
def test_logistic_regression_is_the_pooled_one_and_its_strength_that_of_left_out_sites(
    task: str, world: Callable[..., Any]
) -> None:
    made = world(SIZES, f"{task}/logistic")
    told = made.run()["tasks"][f"{task}/logistic"]
    data = made.labelled(task, 0)
    features, weights = standardised(data, sent_models(made)[f"{task}/logistic"])
    logistic = LogisticRegression(C=told["strength"], class_weight="balanced", tol=1e-10,
                                  max_iter=100_000)
    if task == "diagnosis":
        pooled = OneVsRestClassifier(logistic).fit(features, data.values)
        expected = np.concatenate([one.coef_ for one in pooled.estimators_])
    else:
        expected = logistic.fit(features, data.values).coef_
    np.testing.assert_allclose(weights.T, expected, atol=1e-6)
    assert told["strength"] == choose_logistic(with_folds(data, data.values),
                                               told["classes"]).strength


def test_more_than_five_sites_are_five_inner_folds_of_a_fit_by_steps(
    world: Callable[..., Any]
) -> None:
    made = world((30,) * 7, "survival")
    told = made.run()["tasks"]["survival"]
    data = made.labelled("survival", 0)
    rows = [(*site[:-1], site[-1] % 5)
            for site in with_folds(data, data.values, data.events)]
    assert told["strength"] == choose_cox(rows).strength
    expected, _ = fit_cox(rows, told["strength"])
    np.testing.assert_allclose(sent_models(made)["survival"].weights, expected.weights, atol=1e-6)


def test_cox_is_the_pooled_one_stratified_by_site(world: Callable[..., Any]) -> None:
    made = world(SIZES, "survival")
    told = made.run()["tasks"]["survival"]
    data = made.labelled("survival", 0)
    rows = with_folds(data, data.values, data.events)
    assert told["strength"] == choose_cox(rows).strength
    expected, _ = fit_cox(rows, told["strength"])
    model = sent_models(made)["survival"]
    np.testing.assert_allclose(model.weights, expected.weights, atol=1e-6)
    test = made.labelled("survival", 1, 2)
    assert told["metrics"]["c_index"] == pytest.approx(c_index(
        test.values, test.events, model.scores(test.features)[:, 0], test.sites,
        np.ones((1, len(test.values))))[0])


@pytest.mark.parametrize("task", ["age", "sex", "sex/lda"])
def test_the_strength_is_chosen_by_leaving_sites_out(task: str, world: Callable[..., Any]) -> None:
    made = world(SIZES, task)
    told = made.run()["tasks"][task]
    data, own = made.labelled(task.partition("/")[0], 0), probed_tasks([task])[task]
    folds = [cells_of(own, data.only(rows), np.full(int(rows.sum()), number))
             for number, rows in enumerate(data.by_site())]
    assert told["strength"] == fit_sums(own, sum_sites(folds, len(SIZES)),
                                        tuple(told["classes"])).strength


def test_metrics_are_those_of_all_sites_together_but_the_auc_which_is_within_sites(
    world: Callable[..., Any]
) -> None:
    made = world(SIZES, "age", "diagnosis")
    told = made.run()["tasks"]
    models = sent_models(made)
    data = made.labelled("age", 1, 2)
    ones = np.ones((1, len(data.values)))
    expected = figures("regression", predict(models["age"], data, ()), ones)
    assert told["age"]["metrics"] == pytest.approx({k: v[0] for k, v in expected.items()})
    for number, rows in enumerate(data.by_site()):
        one = data.only(rows)
        assert told["age"]["held_out"][f"site-{number}"] == {
            "volumes": len(one.values), "subjects": one.num_persons()}
        assert told["age"]["by_site"][f"site-{number}"]["r2"] == pytest.approx(
            r2(one.values, models["age"].scores(one.features)[:, 0],
               np.ones((1, len(one.values))))[0])
    classes = tuple(told["diagnosis"]["classes"])
    people = made.labelled("diagnosis", 1, 2)
    # What has five people of each class: the smaller sites give some classes alone, or none.
    kept = [name for name, site in told["diagnosis"]["by_site"].items()
            if site["auc_within_sites"] is not None]
    assert "site-2" in kept
    alone = people.only(people.sites == "site-2")
    assert told["diagnosis"]["by_site"]["site-2"] == pytest.approx({
        key: value[0] for key, value in figures(
            "classification", predict(models["diagnosis"], alone, classes),
            np.ones((1, len(alone.values)))).items() if key != "auc"})  # which ranks over sites


def test_all_tasks_go_together_in_each_message(world: Callable[..., Any]) -> None:
    one = world(SIZES, "sex/logistic")
    alone = one.run()
    assert alone["exchanges"] == alone["tasks"]["sex/logistic"]["exchanges"] + 1 < 20


def test_a_sites_log_has_what_it_sent_and_no_id(world: Callable[..., Any]) -> None:
    made = world(SIZES, "age")
    made.run()
    log = (made.folder / "site-1" / "site.log").read_text()
    assert log.count("answering query.probe") == 3  # it lacked the encoder at first
    assert "float64 numbers of sha256" in log
    assert "sub-" not in log
    texts = [reply.content.config_records["message"]["json"] for _, reply in made.told
             if reply.metadata.reply_to_message_id and reply.has_content()]
    assert any(Reply.model_validate_json(text).probe for text in texts)
    assert not any("sub-" in text for text in texts)
    assert "sub-" not in json.dumps(made.run())
