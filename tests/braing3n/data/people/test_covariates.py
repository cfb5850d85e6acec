import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.people.covariates import (
    READ,
    Cell,
    is_missing,
    is_over_89,
    modality_of,
    unclear_letters,
    understand,
    value_of,
)


def _of(scale="", meaning=None, **cells):
    """Understand cells by variable."""
    return understand({name: Cell(name, text, meaning, scale) for name, text in cells.items()}, "T1w")


@pytest.mark.parametrize(("text", "age"), [
    ("34", 34.0), ("34.5", 34.5), ("34.", 34.0), (" 34 ", 34.0), ("0", 0.0), ("9", 9.0), ("99", 99.0),
    ("120", 120.0), ("007", 7.0), ("35,8", 35.8), ("35,80013", 35.80013), ("045Y", 45.0),
    ("006M", 0.5), ("010D", 10 / 365.25), ("012W", 84 / 365.25), ("89+", 89.0), ("90+", 90.0),
    (">89", 89.0), ("> 89", 89.0), ("≥90", 90.0), (">=90", 90.0),
])
def test_an_age_in_one_of_the_ways_that_mean_one_thing_is_understood(text, age):
    conditions, strange = _of(age_years=text)
    assert conditions.age_years == pytest.approx(age)
    assert strange == {}


@pytest.mark.parametrize("text", [
    "540", "-3", "1520", "22-25", "36+", "85+", "1e1", "nan1", "thirty", "45M", "45Y", "045y", "1,520",
    "3,141", "12.5.2", "1966-01-01", "121", "٣٤", "--5", "+34", "0x22", "1_0", "∞", "999",
])
def test_any_other_age_is_unknown_and_listed(text):
    conditions, strange = _of(age_years=text)
    assert conditions.age_years is None
    assert strange == {"age_years": Cell("age_years", text)}


@pytest.mark.parametrize(("text", "unit", "age"), [
    ("540", "months", 45.0), ("36525", "days", 100.0), ("52", "weeks", 52 * 7 / 365.25),
    ("045Y", "months", 45.0), ("1441", "months", None), ("89+", "months", None),
])
def test_a_unit_other_than_years_is_converted(text, unit, age):
    value = value_of("age_years", Cell("age", text, None, unit))
    assert value == (None if age is None else pytest.approx(age))


@given(st.floats(0, 120))
def test_every_age_as_python_writes_it_is_read_or_listed(age):
    text = repr(age)
    value = value_of("age_years", Cell("age", text))
    assert value == (None if "e" in text else age)


@pytest.mark.parametrize(("text", "is_over"), [
    ("90", True), ("95", True), ("090Y", True), ("89.5", True), ("95+", True), ("85-95", True),
    ("over 92", True), ("89", False), ("89+", False), ("90+", False), (">89", False), ("540", False),
    ("1520", False), ("22-25", False), ("n/a", False), ("1991-12-01", False), ("95,2", True),
])
def test_an_age_over_89_is_found_unless_it_is_a_top_code(text, is_over):
    assert is_over_89(Cell("age", text)) == is_over


def test_months_over_89_are_no_age_over_89():
    assert not is_over_89(Cell("age", "95", None, "months"))
    assert is_over_89(Cell("age", "1100", None, "months"))


@pytest.mark.parametrize("text", [
    "", " ", "n/a", "N/A", "NA", "na", "NaN", "nan", "None", "NULL", "null", "-", "--", ".", "?", "-9",
    "-99", "-999", "-9999", "-999.0", "-9.", "\u2212999", "Not Available", "not applicable", "Unknown",
    "pending", "withheld", "missing", "#N/A", "n.a.", "—", "<NA>",
])
def test_a_spelling_of_missing_is_missing(text):
    assert is_missing(text)


@pytest.mark.parametrize("text", ["0", "9", "99", "999", "-1", "-3", "-98", "-9.5", "no", "U", "x",
                                  "NAD", "nano", "n", "unknown?", "-9-9"])
def test_what_may_be_a_value_is_not_missing(text):
    assert not is_missing(text)


@pytest.mark.parametrize(("text", "sex"), [
    ("M", "M"), ("f", "F"), (" Male", "M"), ("female", "F"), ("weiblich", "F"), ("w", "F"), ("H", "M"),
    ("mujer", "F"), ("Homme", "M"), ("ж", "F"), ("女", "F"), ("男", "M"), ("K", "F"),
    ("0", None), ("1", None), ("2", None), ("U", None), ("V", None), ("N", None), ("E", None),
    ("other", None), ("M/F", None), ("fm", None), ("TRUE", None),
])
def test_sex_is_read_from_words_and_never_from_numbers(text, sex):
    conditions, strange = _of(sex=text)
    assert conditions.sex == sex
    assert (strange == {}) == (sex is not None)


@pytest.mark.parametrize(("meaning", "sex"), [
    ("m", "M"), ("Male", "M"), ("female participant", "F"), ("F", "F"), ("male or female", None),
    ("not recorded here", None), ("Männlich", "M"),
])
def test_a_code_of_sex_is_what_its_dictionary_says(meaning, sex):
    assert _of(meaning=meaning, sex="1")[0].sex == sex


@pytest.mark.parametrize(("texts", "unclear"), [
    ({"M", "F"}, set()), ({"M"}, set()), ({"f", "f "}, set()), ({"M", "F", "N", "H"}, set()),
    ({"H", "M"}, {"m"}), ({"V", "M"}, {"m"}), ({"F", "N"}, {"f"}), ({"M", "W"}, set()),
    ({"M", "K", "n/a"}, set()), ({"H", "F"}, set()),
])
def test_letters_of_another_language_make_m_and_f_unclear(texts, unclear):
    assert set(unclear_letters(texts)) == unclear
    assert all(value_of("sex", Cell("sex", letter, meaning)) is None
               for letter, meaning in unclear_letters(texts).items())


@pytest.mark.parametrize(("text", "diagnosis"), [
    ("CONTROL", "HC"), ("healthy control", "HC"), ("CN", "HC"), ("depr", "MDD"), ("SCHZ", "SCZ"),
    ("BIPOLAR", "BP"), ("Alzheimer's disease", "AD"), ("Alzheimer\u2019s disease", "AD"),
    ("ADHD", "ADHD"),
    ("GBM", "glioma"), ("AD patients", "AD"), ("patients with depression", "MDD"),
    ("Control group", "HC"), ("TDC", "HC"), ("ADHD-Hyperactive/Impulsive", "ADHD"),
    ("case", None), ("patient", None), ("1", None), ("0", None), ("non-AD", None), ("HC?", None),
    ("no AD", None), ("Dementia", None), ("AD or MCI", None),
])
def test_a_diagnosis_is_mapped_by_a_table_or_listed(text, diagnosis):
    conditions, strange = _of(diagnosis=text)
    assert conditions.diagnosis == diagnosis
    assert (strange == {}) == (diagnosis is not None)


@pytest.mark.parametrize(("text", "meaning", "diagnosis"), [
    ("1", "Autism", "ASD"), ("0", "TDC", "HC"), ("depr", "patients with depression", "MDD"),
    ("SCHZ", "Schizophrenia after DSM-IV", "SCZ"), ("1", "Schizophrenia after DSM-IV", None),
    ("AD", "atopic dermatitis", None), ("1", "patient", None),
])
def test_a_dictionary_goes_before_what_a_word_usually_means(text, meaning, diagnosis):
    assert _of(meaning=meaning, diagnosis=text)[0].diagnosis == diagnosis


@pytest.mark.parametrize(("scale", "text", "severity"), [
    ("mmse", "30", 0.0), ("mmse", "21", 0.3), ("cdr", "0.5", 1 / 6), ("cdr", "0,5", 1 / 6),
    ("who_grade", "IV", 1.0), ("who_grade", "2", 0.5), ("severity", "0.25", 0.25), ("", "0.25", 0.25),
    ("severity", "25", None), ("mmse", "31", None), ("cdr", "4", None), ("who_grade", "0", None),
    ("mmse", "mild", None),
])
def test_severity_is_0_to_1_on_each_scale(scale, text, severity):
    assert _of(scale=scale, severity=text)[0].severity == (
        None if severity is None else pytest.approx(severity))


@pytest.mark.parametrize(("text", "code"), [
    ("3", "3T"), ("2.89", "3T"), ("1.494", "1.5T"), ("7.0", "7T"), ("3 Tesla", "3T"), ("1.5T", "1.5T"),
    ("1,5", "1.5T"), ("3 Tesla MRI", "3T"), ("0.55", None), ("15000", None), ("T", None)])
def test_field_strength_is_the_nearest_of_three_magnets(text, code):
    assert _of(field_strength=text)[0].field_strength == code


@pytest.mark.parametrize(("text", "contrast", "modality"), [
    ("T1w", False, "T1w"), ("T1w", True, "T1c"), ("t1ce", False, "T1c"), ("FLAIR", True, "FLAIR"),
    ("T2", False, "T2w"), ("bold", False, None),
])
def test_modality_follows_the_suffix_and_the_contrast_agent(text, contrast, modality):
    assert modality_of(text, contrast=contrast) == modality


@given(st.sampled_from(sorted(READ)), st.text(max_size=30), st.none() | st.text(max_size=30))
def test_any_text_is_a_value_that_can_be_encoded_or_is_listed(variable, text, meaning):
    conditions, strange = understand({variable: Cell("c", text, meaning)}, None)
    assert (getattr(conditions, variable) is None) == (variable in strange)
    assert sum(not math.isnan(number) for number in conditions.encode()) == 1 - len(strange)


def test_other_cells_than_those_of_variables_are_passed_over():
    conditions, strange = understand({"site": Cell("site", "NYU")}, None)
    assert all(math.isnan(number) for number in conditions.encode())
    assert strange == {}
