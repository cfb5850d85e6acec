import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braing3n.errors import CohortError
from braing3n.identity.clean_table import clean_table
from braing3n.identity.content import Kind


def clean(tmp_path, text, name="participants.tsv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return clean_table(path)


def test_columns_go_and_all_other_cells_stay_as_written(tmp_path):
    done = clean(tmp_path, "participant_id\tname\tscore\tage\tDOB\n"
                           "sub-01\tJane Doe\t1.50e-3\t 039.90\t1966-01-01\n"
                           "sub-02\tRoe\t\"a b\"\t95\n")
    assert done.content == b"participant_id\tscore\tage\nsub-01\t1.50e-3\t 039.90\nsub-02\ta b\t89+\n"
    assert {(hit.label, hit.kind) for hit in done.removed} == {
        ("`name`", Kind.NAME), ("`DOB`", Kind.DATE), ("`age`", Kind.AGE)}
    assert done.lost_keys == ()


def test_a_clean_table_stays_as_it_is_to_the_last_byte(tmp_path):
    text = b"\xef\xbb\xbfparticipant_id\tAge \r\nsub-01\t\"34\"\r\n\r\n"
    assert clean(tmp_path, text).content == text


@pytest.mark.parametrize(("text", "expected"), [
    ("id;name;x\n1;Doe;3,5\n", "id;x\n1;3,5\n"), ("id,name,x\n1,Doe,\"3,5\"\n", "id,x\n1,\"3,5\"\n"),
    ("sep=;\nid;name;x\n1;Doe;3,5\n", "id;x\n1;3,5\n"), ("name\nDoe\n", "\n\n")])
def test_the_separator_stays(text, expected, tmp_path):
    assert clean(tmp_path, text, "t.csv").content.decode() == expected


def test_a_tsv_stays_one_in_utf8_whatever_it_was_separated_by(tmp_path):
    done = clean(tmp_path, "participant_id,name,site\nsub-01,Doe,Köln\n".encode("latin-1"))
    assert done.content.decode() == "participant_id\tsite\nsub-01\tKöln\n"


def test_old_ages_in_other_units_become_unknown(tmp_path):
    done = clean(tmp_path, "participant_id\tage_months\nsub-01\t1100\nsub-02\t400\n")
    assert done.content == b"participant_id\tage_months\nsub-01\tn/a\nsub-02\t400\n"


def test_dates_of_birth_in_a_column_of_ages_go_with_it(tmp_path):
    done = clean(tmp_path, "participant_id\tage\tscore\nsub-01\t12.04.58\t3\nsub-02\t40\t4\n")
    assert done.content == b"participant_id\tscore\nsub-01\t3\nsub-02\t4\n"


def test_a_table_whose_ids_may_name_a_person_is_told(tmp_path):
    done = clean(tmp_path, "participant_id\tage\nDoe_Jane\t40\nRoe_Rick\t41\n")
    assert done.lost_keys == ("`participant_id`",)


def test_a_line_with_more_cells_than_the_header_is_refused(tmp_path):
    with pytest.raises(CohortError):
        clean(tmp_path, "participant_id\tname\nsub-01\tJane\tDoe\n")


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")),
                max_size=12) \
    | st.sampled_from(["DOE^JANE", "1966-01-01", "95", "a@b.org", "n/a", 'say "hi"', "x\ty"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=6),
       st.lists(st.sampled_from(["age", "name", "x", "StudyDate", "score", "mrn", "ä b"]),
                min_size=3, max_size=3, unique=True))
def test_what_is_cleaned_is_clean_and_holds_the_kept_columns(tmp_path, rows, names):
    rows = [[f"sub-{n:02d}", *row[1:]] for n, row in enumerate(rows)]
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t",
               lineterminator="\n").writerows([["participant_id", *names], *rows])
    done = clean(tmp_path, stream.getvalue())
    gone = {hit.place for hit in done.removed if hit.kind is not Kind.AGE}
    kept = list(csv.reader(io.StringIO(done.content.decode(), newline=""), delimiter="\t"))
    for before, after in zip([["participant_id", *names], *rows], kept, strict=True):
        left = [cell for place, cell in enumerate(before) if place not in gone]
        assert all(b in (a, "89+") for a, b in zip(left, after, strict=True))
    assert clean(tmp_path, done.content).removed == ()
