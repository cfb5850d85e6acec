import numpy as np
import pytest
import torch
import yaml

from braing3n.errors import ConfigError, DivergedError
from braing3n.evaluation.encoders import Thumbnails
from braing3n.evaluation.roster import open_roster
from braing3n.evaluation.tasks import Task, load_tasks
from braing3n.presets import PRESETS

NANO = PRESETS["nano"]
# Columns as two published tables name them.
TABLE = """participant_id	age	sex	diagnosis	IDH	OS	1-dead 0-alive	WHO CNS Grade
sub-1	61	F	AD	wildtype	100	1	4
sub-2	45	M	HC	IDH1 p.R132H	250.5	0	2.0
sub-3	n/a	F	n/a	NOS/NEC	n/a	1	3
sub-4	70	n/a	HC	Wildtype	30	unsure	n/a
"""


@pytest.fixture
def write_site(write_scan, tmp_path):
    def write(name, table):
        root = tmp_path / name / "bids"
        for line in table.splitlines()[1:]:
            subject = line.partition("\t")[0]
            for number, modality in enumerate(("T1w", "FLAIR")):
                write_scan(root / subject / "anat" / f"{subject}_{modality}.nii.gz",
                           seed=100 * len(name) + 10 * number + int(subject[-1]))
        (root / "participants.tsv").write_text(table)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"name": name, "state_dir": f"{name}/state",
                                        "data": {"folder": f"{name}/bids"}}))
        return path

    return write


@pytest.fixture
def roster(write_site):
    return open_roster([write_site("north", TABLE), write_site("south", TABLE.partition("sub-3")[0])],
                       NANO)


def _said(roster, task):
    """What each subject with T1w is said to be, by site and subject."""
    labels = roster.labels(task)
    return {f"{row.site.name} {row.example.subject}": value
            for row, value, known in zip(roster.rows, labels.values.tolist(), labels.known, strict=True)
            if known and row.example.modality == "T1w"}


def test_conditions_and_columns_become_labels_and_what_is_not_known_is_none(roster):
    tasks = load_tasks()
    south = {"south sub-1", "south sub-2"}
    assert _said(roster, tasks["age"]) == pytest.approx(
        {"north sub-1": 61, "north sub-2": 45, "north sub-4": 70, "south sub-1": 61, "south sub-2": 45})
    assert _said(roster, tasks["sex"])["north sub-3"] == "F"
    assert "north sub-4" not in _said(roster, tasks["sex"])
    assert set(_said(roster, tasks["site"]).values()) == {"north", "south"}
    idh = _said(roster, tasks["idh"])
    assert idh == {"north sub-1": "wildtype", "north sub-2": "mutated", "north sub-4": "wildtype",
                   "south sub-1": "wildtype", "south sub-2": "mutated"}
    assert _said(roster, tasks["grade"])["north sub-2"] == "2"
    assert south < set(_said(roster, tasks["diagnosis"]))


def test_survival_needs_a_time_and_a_word_on_the_event(roster):
    task = load_tasks()["survival"]
    assert _said(roster, task) == {"north sub-1": 100, "north sub-2": 250.5, "south sub-1": 100,
                                   "south sub-2": 250.5}
    events = roster.labels(task).events
    by_subject = {row.example.subject: bool(event)
                  for row, event in zip(roster.rows, events, strict=True)}
    assert by_subject["sub-1"]
    assert not by_subject["sub-2"]


def test_a_modality_of_a_task_leaves_out_the_others(roster):
    labels = roster.labels(Task(kind="regression", variable="age_years", modality="FLAIR"))
    assert {row.example.modality for row, known in zip(roster.rows, labels.known, strict=True)
            if known} == {"FLAIR"}


def test_a_column_that_no_table_has_gives_no_label(roster):
    assert not roster.labels(load_tasks()["mgmt"]).known.any()


def test_rows_that_differ_of_a_subject_say_nothing(write_site):
    path = write_site("east", "participant_id\tgene\nsub-1\tA\nsub-2\tB\n")
    table = path.parent / "east" / "bids" / "participants.tsv"
    table.write_text("participant_id\tgene\nsub-1\tA\nsub-1\tB\nsub-2\tB\n")
    found = _said(open_roster([path], NANO), Task(kind="classification", column=("gene",)))
    assert found == {"east sub-2": "B"}


def test_features_are_the_encoders_of_each_row_and_sides_are_the_sites_own(roster):
    calls = []
    features = roster.features(Thumbnails(), lambda *done: calls.append(done))
    assert calls[-1] == (12, 12)
    for number in (0, 11):
        row = roster.rows[number]
        expected = Thumbnails().embed(row.site.data.volumes([row.example]))[0]
        np.testing.assert_allclose(features[number], expected, atol=1e-5)
    labelled, to_fit = roster.labelled(roster.labels(load_tasks()["age"]), features)
    assert len(labelled.values) == len(to_fit) == 10
    sides = {(row.site.name, row.example.subject): row.side for row in roster.rows}
    for site, subject, is_fitted in zip(labelled.sites, labelled.subjects, to_fit, strict=True):
        assert (sides[str(site), str(subject)] == "train") == is_fitted


def test_features_that_are_not_finite_are_told(roster):
    class Broken(Thumbnails):
        def embed(self, volumes: torch.Tensor) -> torch.Tensor:
            return super().embed(volumes) * torch.nan

    with pytest.raises(DivergedError, match="thumbnail gives features that are not finite"):
        roster.features(Broken())


def test_a_site_that_is_given_twice_is_refused(write_site):
    path = write_site("north", TABLE)
    with pytest.raises(ConfigError, match="the same name"):
        open_roster([path, path], NANO)


@pytest.mark.parametrize(("file", "name", "counts"), [
    ("UCSF-PDGM-metadata_v2.csv", "idh", {"wildtype": 398, "mutated": 103}),
    ("UCSF-PDGM-metadata_v2.csv", "mgmt", {"unmethylated": 114, "methylated": 302}),
    ("UCSF-PDGM-metadata_v2.csv", "grade", {"2": 56, "3": 43, "4": 402}),
    ("UCSF-PDGM-metadata_v2.csv", "codeletion-1p19q", {"intact": 395, "codeleted": 15}),
    ("UPENN-GBM_clinical_info_v1.0.csv", "idh", {"wildtype": 546, "mutated": 19}),
    ("UPENN-GBM_clinical_info_v1.0.csv", "mgmt", {"unmethylated": 170, "methylated": 121}),
])
def test_tasks_read_the_real_tables_as_a_reader_counts_them(test_data, file, name, counts):
    # Counted by hand: `cut` and `uniq -c` of the column, the spellings of each class summed.
    from collections import Counter

    from braing3n.config import DataConfig
    from braing3n.data.people.further import open_further
    from braing3n.data.people.names import code_of

    further = open_further(DataConfig(table=test_data / "phenotypic" / file))
    task = load_tasks()[name]
    column = further.first_of(task.column)
    texts = [further.said(subject, column) for subject in further.cells]
    found = Counter(label for text in texts if text is not None for label, cells in task.cells.items()
                    if code_of(text) in {code_of(cell) for cell in cells})
    assert found == counts
