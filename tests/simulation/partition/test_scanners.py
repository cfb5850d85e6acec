import json
from collections import Counter

import pytest

from braing3n.data.people.tables import read_table
from simulation.cohorts.definitions import find_definition, load_definition
from simulation.cohorts.rows import read_cohort
from simulation.partition.scanners import scanner_of, scanners_of


@pytest.mark.parametrize(("maker", "model", "said"), [
    ("SIEMENS", "TrioTim", "Siemens TrioTim"), ("Siemens Healthineers", "Prisma", "Siemens Prisma"),
    ("GE MEDICAL SYSTEMS", "DISCOVERY MR750", "GE DISCOVERY MR750"), ("Philips", None, "Philips"),
    ("Siemens", "Siemens  Skyra", "Siemens Skyra"), (None, "Achieva", "Achieva"), (None, None, None),
    ("n/a", "n/a", None), ("Gecko", "1", "Gecko 1"),
])
def test_what_makers_write_of_themselves_is_one_name(maker, model, said):
    assert scanner_of({"Manufacturer": maker, "ManufacturersModelName": model}) == said


def test_a_table_names_a_scanner_where_its_rows_agree(tmp_path):
    path = tmp_path / "people.tsv"
    path.write_text("id\tmanufacturer\tmanufacturers_model_name\na\tGE\tMR750\na\tGE\tMR750\n"
                    "b\tGE\tMR750\nb\tPhilips\tIngenia\nc\tn/a\tn/a\n")
    assert scanners_of(read_table(path), lambda row: row["id"]) == {"a": "GE MR750"}


def test_the_sidecar_goes_before_the_table(tmp_path):
    for subject in ("sub-1", "sub-2"):
        folder = tmp_path / "data" / subject / "anat"
        folder.mkdir(parents=True)
        (folder / f"{subject}_T1w.nii").touch()
    (tmp_path / "data/sub-1/anat/sub-1_T1w.json").write_text(json.dumps({"Manufacturer": "Philips"}))
    (tmp_path / "data/participants.tsv").write_text(
        "participant_id\tmanufacturer\nsub-1\tGE\nsub-2\tGE\n")
    (tmp_path / "own.yaml").write_text("name: own\nsubject: participant_id\nsite: {single: a}\n")
    read = read_cohort(tmp_path / "data", load_definition(tmp_path / "own.yaml"))
    assert [row.scanner for row in read.rows] == ["Philips", "GE"]


def test_the_scanners_of_spine_generic_are_read_from_its_table(test_data):
    read = read_cohort(test_data / "phenotypic/spine-generic-single_participants.tsv",
                       find_definition("spine-generic"))
    # `cut -f6,7 FILE | sort | uniq -c`
    assert Counter(row.scanner for row in read.rows) == {
        "GE MR750": 2, "GE MR750w": 2, "GE Signa": 2, "Philips Achieva": 1,
        "Philips Achieva-dStream": 1, "Philips Ingenia": 3, "Siemens Prisma": 2,
        "Siemens Prisma-fit": 1, "Siemens Skyra": 3, "Siemens Trio": 2}
