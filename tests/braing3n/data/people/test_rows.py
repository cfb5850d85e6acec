from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.people.covariates import Cell
from braing3n.data.people.rows import Person, join, suggest_matches


def _person(subject, line, visit=None, **cells):
    return Person(subject, visit, {name: Cell(name, text) for name, text in cells.items()}, line)


def _texts(cells):
    return {name: cell.text for name, cell in cells.items()}


def test_rows_of_one_subject_are_joined_where_they_agree():
    people = join([_person("a", 2, sex="M"), _person("a", 3, sex="male", age_years="30"),
                   _person("a", 4, age_years="30.0")])
    assert _texts(people.said_of("a", None)) == {"sex": "M", "age_years": "30"}
    assert people.contradictory == {}


def test_rows_that_contradict_each_other_are_not_used_and_their_lines_told():
    people = join([_person("a", 2, sex="M"), _person("a", 3, sex="F"), _person("b", 4, sex="F")])
    assert people.said_of("a", None) == {}
    assert people.contradictory == {"a": (2, 3)}
    assert _texts(people.said_of("b", None)) == {"sex": "F"}


def test_a_visit_overrides_what_is_said_of_all_of_them():
    people = join([_person("a", 2, age_years="30", sex="F"), _person("a", 3, "ses-2", age_years="32"),
                   _person("a", 4, "3", age_years="33")])
    assert _texts(people.said_of("a", "ses-1")) == {"age_years": "30", "sex": "F"}
    assert _texts(people.said_of("a", "ses-2")) == {"age_years": "32", "sex": "F"}
    assert _texts(people.said_of("a", "ses-3")) == {"age_years": "33", "sex": "F"}
    assert people.said_of("b", None) == {}


def test_a_single_visit_needs_no_name():
    people = join([_person("a", 2, "ses-1", age_years="30"), _person("b", 3, "1", age_years="40"),
                   _person("b", 4, "2", age_years="41")])
    assert _texts(people.said_of("a", None)) == {"age_years": "30"}
    assert people.said_of("b", None) == {}


def test_ids_that_differ_in_prefix_zeros_capitals_blanks_or_marks_are_suggested():
    folders = {"sub-01", "sub-02", "sub-03", "sub-nsk004", "sub-A5"}
    assert suggest_matches({"1", "sub-2", "SUB-03 ", "NSK_4", "sub-a-5", "sub-09"}, folders) == {
        "1": "sub-01", "sub-2": "sub-02", "SUB-03 ": "sub-03", "NSK_4": "sub-nsk004",
        "sub-a-5": "sub-A5"}


def test_nothing_is_suggested_where_two_would_do_or_the_folder_has_its_row():
    assert suggest_matches({"1"}, {"sub-1", "sub-01"}) == {}
    assert suggest_matches({"1", "01"}, {"sub-01"}) == {}
    assert suggest_matches({"1", "sub-01"}, {"sub-01"}) == {}


@given(st.sets(st.integers(0, 999), min_size=1, max_size=20), st.integers(3, 5))
def test_every_id_that_lost_its_zeros_and_prefix_finds_its_folder(numbers, zeros):
    folders = {f"sub-{number:0{zeros}}" for number in numbers}
    expected = {str(number): f"sub-{number:0{zeros}}" for number in numbers}
    assert suggest_matches({str(number) for number in numbers}, folders) == expected


@given(st.sets(st.text(max_size=6), max_size=8), st.sets(st.text(max_size=6), max_size=8))
def test_suggestions_are_one_to_one_and_only_for_what_is_left_over(ids, folders):
    found = suggest_matches(ids, folders)
    assert set(found) <= ids - folders
    assert set(found.values()) <= folders - ids
    assert len(set(found.values())) == len(found)
