import numpy as np
import pytest

from braing3n.errors import ProtocolError
from braing3n.evaluation.fits.logistic import logistic_terms
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.probe_wire import Numbers, joined, unpack_terms
from braing3n.evaluation.site_answers import (
    SiteTask,
    answer_scores,
    answer_sums,
    answer_terms,
)
from braing3n.evaluation.tasks import Task, probed_tasks
from braing3n.probe_messages import MAX_NUMBERS, ModelOrder, ProbeOrder

WIDTH = 3
DIGEST = "0" * 64


def people(values: list, events: list | None = None, subjects: list | None = None) -> LabelledSet:
    num = len(values)
    return LabelledSet(
        np.random.default_rng(0).normal(size=(num, WIDTH)), np.array(values),
        np.array([f"s{row}" for row in (range(num) if subjects is None else subjects)]),
        np.full(num, "a"), None if events is None else np.array(events))


def site(name: str, train: LabelledSet, held_out: LabelledSet | None = None) -> dict[str, SiteTask]:
    return {name: SiteTask(probed_tasks([name])[name], train, train if held_out is None else held_out)}


def order(name: str, *models: ModelOrder, **what: object) -> ProbeOrder:
    return ProbeOrder(phase="terms", tasks={name: DIGEST}, models=models, num_frames=1, **what)


def model(name: str, class_name: str | None = "M", wants: str = "derivatives", frame: int = 0,
          ) -> ModelOrder:
    return ModelOrder(task=name, class_name=class_name, frame=frame, inside=2.0, outside=0.5,
                      wants=wants)


FRAME = joined([np.arange(WIDTH), np.full(WIDTH, 2.0)])


def test_a_class_of_four_people_stays_and_the_others_go():
    reports, array = answer_sums(site("diagnosis", people(["HC"] * 6 + ["AD"] * 4 + ["MCI"] * 5)))
    cells = reports["diagnosis"].cells
    assert {name: cell.num_subjects for name, cell in cells.items()} == {"HC": 6, "MCI": 5}
    assert len(array) == 2 * (WIDTH + WIDTH * (WIDTH + 1) // 2)


@pytest.mark.parametrize(("name", "train"), [
    ("age", people([60.0, 61.0, 62.0, 63.0])),
    ("age", people([60.0] * 9, subjects=[0, 0, 0, 1, 1, 2, 2, 3, 3])),
    ("sex/logistic", people(["F"] * 4 + ["M"] * 4)),
    ("survival", people([5.0] * 20, events=[True] * 4 + [False] * 16)),
    ("sex/logistic", people(["X"] * 20)),
])
def test_a_site_of_too_few_people_gives_nothing(name: str, train: LabelledSet):
    reports, array = answer_sums(site(name, train))
    assert reports[name].refusal == "cohort"
    assert reports[name].cells == {}
    assert len(array) == 0
    if name != "age":  # whoever asks for terms without having seen sums gets none
        has_class = name != "survival"
        told = order(name, model(name, "M" if has_class else None))
        numbers = Numbers(joined([FRAME, np.zeros(WIDTH + has_class)]))
        reports, array = answer_terms(told, numbers, site(name, train), WIDTH)
        assert reports[name].refusal == "cohort"
        assert len(array) == 0


def test_terms_are_those_of_the_classes_that_are_asked_for():
    train = people(["HC"] * 6 + ["AD"] * 7 + ["MCI"] * 5)
    tasks, at = site("diagnosis/logistic", train), np.array([0.1, -0.2, 0.3, 0.05])
    told = order("diagnosis/logistic", model("diagnosis/logistic", "AD"),
                 model("diagnosis/logistic", "AD", "loss"),
                 classes={"diagnosis/logistic": ("AD", "HC")})
    numbers = Numbers(joined([FRAME, at, at]))
    reports, array = answer_terms(told, numbers, tasks, WIDTH)
    numbers.end()
    two = train.only(train.values != "MCI")
    positive = two.values == "AD"
    expected = logistic_terms((two.features - np.arange(WIDTH)) / 2, positive,
                              np.where(positive, 2.0, 0.5), at)
    found = Numbers(array)
    terms = unpack_terms(4, found, has_derivatives=True)
    assert terms.loss == unpack_terms(4, found, has_derivatives=False).loss == expected.loss
    found.end()
    np.testing.assert_array_equal(terms.gradient, expected.gradient)
    np.testing.assert_allclose(terms.hessian, expected.hessian)
    assert reports["diagnosis/logistic"].refusal is None


LOGISTIC = "sex/logistic"


@pytest.mark.parametrize(("told", "frame"), [
    (order(LOGISTIC, model(LOGISTIC, frame=1)), FRAME),
    (order(LOGISTIC, model("age")), FRAME),
    (order(LOGISTIC, model(LOGISTIC, None)), FRAME),
    (order(LOGISTIC, model(LOGISTIC)), FRAME * 0),
    (order(LOGISTIC, model(LOGISTIC)), FRAME[:-1]),
])
def test_an_order_that_does_not_fit_is_refused(told: ProbeOrder, frame: np.ndarray):
    tasks = site(LOGISTIC, people(["F"] * 9 + ["M"] * 9))
    with pytest.raises(ProtocolError):
        answer_terms(told, Numbers(joined([frame, np.zeros(WIDTH + 1)])), tasks, WIDTH)


def test_terms_of_a_task_that_is_fitted_from_sums_are_not_given():
    tasks = site("sex", people(["F"] * 9 + ["M"] * 9))
    with pytest.raises(ProtocolError, match="does not give"):
        answer_terms(order("sex", model("sex")), Numbers(joined([FRAME, np.zeros(WIDTH + 1)])), tasks,
                     WIDTH)


def test_an_order_whose_answer_no_message_could_hold_is_refused_before_anything_is_computed():
    width = int(MAX_NUMBERS**0.5)
    told = order(LOGISTIC, model(LOGISTIC), model(LOGISTIC), model(LOGISTIC))
    with pytest.raises(ProtocolError, match="does not give"):
        answer_terms(told, Numbers(np.zeros(0)), site(LOGISTIC, people(["F"] * 9 + ["M"] * 9)), width)


@pytest.mark.parametrize(("name", "classes"), [("age", ("F", "M")), ("sex", ()), ("sex", ("F", "F"))])
def test_scores_of_another_kind_of_task_are_not_given(name: str, classes: tuple[str, ...]):
    tasks = site(name, people([60.0] * 9 if name == "age" else ["F"] * 9))
    told = ProbeOrder(phase="scores", tasks={name: DIGEST}, classes={name: classes} if classes else {})
    with pytest.raises(ProtocolError, match="does not give"):
        answer_scores(told, Numbers(np.zeros(WIDTH + 1)), tasks, WIDTH)


def test_models_of_tasks_that_a_site_is_not_in_are_passed_over():
    told = ProbeOrder(phase="scores", tasks={"age": DIGEST, "severity": DIGEST})
    held_out = people([60.0, 70, 80, 50, 40])
    numbers = Numbers(np.concatenate([np.full(WIDTH + 1, 9.0), np.zeros(WIDTH), [55.0]]))
    reports, _ = answer_scores(told, numbers, site("severity", held_out), WIDTH)
    numbers.end()
    assert list(reports) == ["severity"]
    assert reports["severity"].errors.absolute == 5 + 15 + 25 + 5 + 15


def test_nobody_held_out_is_no_score():
    task = Task(kind="regression", variable="age_years")
    empty = people([60.0] * 5).only(np.zeros(5, dtype=bool))
    reports, _ = answer_scores(ProbeOrder(phase="scores", tasks={"age": DIGEST}),
                               Numbers(np.zeros(WIDTH + 1)),
                               {"age": SiteTask(task, people([60.0] * 5), empty)}, WIDTH)
    assert reports["age"].errors is None
