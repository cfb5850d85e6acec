import numpy as np
import pytest

from braing3n.evaluation.tasks import Task
from simulation.compare.scans import Scans

AGE = Task(kind="regression", variable="age_years")
AGE_T1W = Task(kind="regression", variable="age_years", modality="T1w")
DIAGNOSIS = Task(kind="classification", variable="diagnosis")
MDD = Task(kind="classification", variable="diagnosis", classes=("HC", "MDD"))
TASKS = {"age": AGE, "age-t1w": AGE_T1W, "diagnosis": DIAGNOSIS, "mdd-vs-hc": MDD}


def scans(*rows: tuple[float, float, float]) -> Scans:
    """Scans of given age (in centuries), diagnosis and modality."""
    conditions = np.full((len(rows), 6), np.nan)
    conditions[:, [0, 2, 3]] = rows
    return Scans(np.full(len(rows), "a"), np.array([f"s{n}" for n in range(len(rows))]), conditions,
                 np.zeros(len(rows), dtype=bool))


def test_a_task_is_about_scans_of_its_modality_and_classes_whose_variable_is_known() -> None:
    found = scans((0.3, 0, 0), (np.nan, 4, 0), (0.5, 2, 1), (0.6, np.nan, 0))
    assert found.known(AGE).tolist() == [True, False, True, True]
    assert found.known(AGE_T1W).tolist() == [True, False, False, True]
    assert found.known(DIAGNOSIS).tolist() == [True, True, True, False]
    assert found.known(MDD).tolist() == [True, True, False, False]
    assert found.values(AGE)[0] == pytest.approx(30)
    assert found.values(MDD).tolist() == ["HC", "MDD", "AD", ""]


def test_tasks_that_ask_the_same_of_the_same_scans_count_once() -> None:
    assert scans((0.3, 0, 0), (0.5, 4, 0)).same_as(TASKS) == {
        "age-t1w": "age", "mdd-vs-hc": "diagnosis"}
    assert scans((0.3, 0, 0), (0.5, 2, 1)).same_as(TASKS) == {}


def test_a_column_of_a_sites_own_table_is_not_known_here() -> None:
    task = Task(kind="survival", time=("OS",))
    with pytest.raises(ValueError, match="six conditions"):
        scans((0.3, 0, 0)).values(task)
