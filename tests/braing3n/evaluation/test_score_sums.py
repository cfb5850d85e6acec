import numpy as np
import pytest

from braing3n.evaluation.metrics import Predictions, figures
from braing3n.evaluation.score_sums import figures_of, report_scores


def predictions(scores, truths, site="a", events=None, classes=(), subjects=None):
    scores = np.asarray(scores, dtype=float).reshape(len(truths), -1)
    predicted = scores[:, 0]
    if classes:
        best = scores.argmax(axis=1) if len(classes) > 2 else (scores[:, 0] > 0).astype(int)
        predicted = np.array(classes)[best]
    own = np.arange(len(truths)) if subjects is None else subjects
    return Predictions(scores, predicted, np.asarray(truths),
                       None if events is None else np.asarray(events),
                       np.array([f"s{number}" for number in own]), np.full(len(truths), site), classes)


def together(parts):
    events = None if parts[0].events is None else np.concatenate([p.events for p in parts])
    return Predictions(*(np.concatenate([getattr(p, name) for p in parts])
                         for name in ("scores", "predicted", "truths")), events,
                       np.concatenate([p.subjects for p in parts]),
                       np.concatenate([p.sites for p in parts]), parts[0].classes)


def plain(kind, parts):
    whole = together(parts)
    return {key: value[0] for key, value in
            figures(kind, whole, np.ones((1, len(whole.truths)))).items()}


@pytest.mark.parametrize("kind", ["regression", "survival"])
def test_figures_from_sums_are_those_of_all_volumes_together(kind):
    rng = np.random.default_rng(0)
    parts = [predictions(rng.normal(size=num) + 100, np.round(rng.normal(size=num) + 100, 1), f"{num}",
                         rng.random(num) < 0.6 if kind == "survival" else None)
             for num in (30, 12, 50)]
    found = figures_of(kind, [report_scores(kind, part) for part in parts], ())
    assert found == pytest.approx(plain(kind, parts), abs=1e-9)


def test_balanced_accuracy_is_that_of_all_volumes_and_the_auc_of_pairs_within_sites():
    # Within each site the scores rank perfectly; between sites they rank the wrong way round.
    low = predictions([-3, -3, -3, -3, -3, -2, -2, -2, -2, -2], ["F"] * 5 + ["M"] * 5, "a",
                      classes=("F", "M"))
    high = predictions([2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3], ["F"] * 5 + ["M"] * 6, "b",
                       classes=("F", "M"))
    found = figures_of("classification", [report_scores("classification", low),
                                          report_scores("classification", high)], ("F", "M"))
    assert found["auc_within_sites"] == 1.0
    assert plain("classification", [low, high])["auc"] < 1
    assert found["balanced_accuracy"] == pytest.approx(
        plain("classification", [low, high])["balanced_accuracy"])


def test_a_label_that_goes_with_the_site_gives_no_auc():
    parts = [predictions(np.full(6, score), [name] * 6, name, classes=("F", "M"))
             for score, name in ((-1.0, "F"), (1.0, "M"))]
    reports = [report_scores("classification", part) for part in parts]
    assert figures_of("classification", reports, ("F", "M"))["auc_within_sites"] is None
    assert plain("classification", parts)["auc"] == 1.0


def test_sites_weigh_in_the_auc_by_their_pairs():
    even = predictions([0.0] * 10, ["F"] * 5 + ["M"] * 5, "a", classes=("F", "M"))      # 25, half won
    right = predictions([-1.0] * 5 + [1.0] * 15, ["F"] * 5 + ["M"] * 15, "b", classes=("F", "M"))  # 75
    reports = [report_scores("classification", part) for part in (even, right)]
    found = figures_of("classification", reports, ("F", "M"))
    assert found["auc_within_sites"] == pytest.approx(87.5 / 100)


def test_of_three_classes_each_is_told_from_the_rest():
    rng = np.random.default_rng(1)
    names = ("AD", "HC", "MCI")
    one = predictions(rng.normal(size=(60, 3)), np.array(names)[np.arange(60) % 3], classes=names)
    found = figures_of("classification", [report_scores("classification", one)], names)
    pooled = plain("classification", [one])
    assert found == pytest.approx({name: pooled[name] for name in found})
    assert pooled["auc_within_sites"] == pytest.approx(pooled["auc"])  # of one site


def test_nothing_is_told_of_fewer_than_five_people():
    four_people = np.repeat(np.arange(4), 3)
    assert report_scores("regression", predictions(
        np.ones(12), np.arange(12.0), subjects=four_people)).errors is None
    assert report_scores("survival", predictions(
        np.ones(12), np.arange(12.0), events=np.arange(12) < 4)).pairs is None
    told = report_scores("classification", predictions(
        np.ones(14), ["F"] * 10 + ["M"] * 4, classes=("F", "M")))
    assert list(told.classes) == ["F"]
    assert told.classes["F"].possible == 0


def test_without_any_report_no_figure_is_defined():
    for kind, names in (("regression", ()), ("survival", ()), ("classification", ("F", "M"))):
        assert set(figures_of(kind, [], names).values()) == {None}
