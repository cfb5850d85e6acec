import math

import pytest

from braing3n.data.covariates import Cell, cells_of, modality_of, understand


def _of(**row):
    return understand(cells_of(row), "T1w")


@pytest.mark.parametrize(("text", "age"), [
    ("34", 34.0), ("34.5", 34.5), ("0", 0.0), ("9", 9.0), ("99", 99.0), ("120", 120.0),
])
def test_a_plain_age_is_understood(text, age):
    assert _of(age=text)[0].age_years == age


@pytest.mark.parametrize("text", ["89+", "045Y", "540", "-3", "1520", "22-25", "1e1", "nan1"])
def test_any_other_age_is_unknown_and_listed(text):
    conditions, strange = _of(age=text)
    assert conditions.age_years is None
    assert strange == (Cell("age", text),)


@pytest.mark.parametrize("text", ["", "n/a", "NA", "N/A", "-999", "-9", "Not Available",
                                  "pending", "NaN", "?"])
@pytest.mark.parametrize("column", ["age", "sex", "group", "mmse"])
def test_a_spelling_of_missing_is_unknown_and_not_listed(text, column):
    conditions, strange = _of(**{column: text})
    assert all(math.isnan(value) for value in conditions.encode()[:3])
    assert strange == ()


@pytest.mark.parametrize(("text", "sex"), [("M", "M"), ("f", "F"), ("Male", "M"),
                                           ("female", "F"), ("1", None), ("2", None),
                                           ("U", None)])
def test_sex_is_read_from_words_and_never_from_numbers(text, sex):
    conditions, strange = _of(sex=text)
    assert conditions.sex == sex
    assert (strange == ()) == (sex is not None)


@pytest.mark.parametrize(("text", "diagnosis"), [
    ("CONTROL", "HC"), ("healthy control", "HC"), ("CN", "HC"), ("depr", "MDD"), ("SCHZ", "SCZ"),
    ("BIPOLAR", "BP"), ("Alzheimer's disease", "AD"), ("ADHD", "ADHD"), ("GBM", "glioma"),
    ("case", None), ("patient", None), ("1", None), ("non-AD", None), ("HC?", None),
])
def test_a_diagnosis_is_mapped_by_a_table_or_listed(text, diagnosis):
    conditions, strange = _of(diagnosis=text)
    assert conditions.diagnosis == diagnosis
    assert (strange == ()) == (diagnosis is not None)


@pytest.mark.parametrize(("column", "text", "severity"), [
    ("mmse", "30", 0.0), ("mmse", "21", 0.3), ("cdr", "0.5", 1 / 6), ("who_grade", "IV", 1.0),
    ("who_cns_grade", "2", 0.5), ("severity", "0.25", 0.25), ("severity", "25", None),
    ("mmse", "31", None),
])
def test_severity_is_0_to_1_on_each_scale(column, text, severity):
    assert _of(**{column: text})[0].severity == pytest.approx(severity)


@pytest.mark.parametrize(("text", "code"), [("3", "3T"), ("2.89", "3T"), ("1.494", "1.5T"),
                                            ("7.0", "7T"), ("3 Tesla", "3T"), ("1.5T", "1.5T"),
                                            ("0.55", None), ("15000", None)])
def test_field_strength_is_the_nearest_of_three_magnets(text, code):
    assert _of(field_strength=text)[0].field_strength == code


@pytest.mark.parametrize(("text", "contrast", "modality"), [
    ("T1w", False, "T1w"), ("T1w", True, "T1c"), ("t1ce", False, "T1c"), ("FLAIR", True, "FLAIR"),
    ("T2", False, "T2w"), ("bold", False, None),
])
def test_modality_follows_the_suffix_and_the_contrast_agent(text, contrast, modality):
    assert modality_of(text, contrast=contrast) == modality


def test_the_best_column_that_says_something_counts():
    conditions, _ = _of(diagnosis="n/a", group="control", dx="AD")
    assert conditions.diagnosis == "HC"
