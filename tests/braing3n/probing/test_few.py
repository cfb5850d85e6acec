from braing3n.probing.few import FEW, few_people


def test_nothing_is_said_where_people_are_many():
    assert few_people({"age": FEW, "sex": FEW + 80}, {"age": FEW, "sex": FEW}) == ()


def test_each_cause_is_one_warning_and_tasks_of_one_number_stand_together():
    found = few_people({"age": 3, "sex": 3, "site": 5, "grade": 90},
                       {"age": 90, "sex": 12, "site": 90, "grade": 19})
    assert [one.code for one in found] == ["few-measured", "few-fitted"]
    assert "fewer than 20 people: 3 (age, sex), 5 (site)" in found[0].detail
    assert "fewer than 20 people: 12 (sex), 19 (grade)" in found[1].detail


def test_many_tasks_are_counted_not_all_named():
    found, = few_people({f"task-{number:02}": 4 for number in range(12)}, {})
    assert "task-07 and 4 more)" in found.detail
