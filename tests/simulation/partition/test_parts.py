import contextlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.conditions import Conditions
from braing3n.errors import CohortError, ConfigError
from simulation.cohorts.definitions import find_definition
from simulation.cohorts.row import CohortRow, CohortRows
from simulation.cohorts.rows import read_cohort
from simulation.partition.partitioners import Scheme
from simulation.partition.parts import MERGED, partition_cohort


def _rows(*pairs):
    return CohortRows(tuple(CohortRow(subject, None, site, Conditions())
                            for subject, site in pairs), ())


def _counts(done):
    return {site.name: (site.num_subjects, len(site.rows)) for site in done.sites}


def _codes(done):
    return [warning.code for warning in done.warnings]


def _read(source, name):
    return partition_cohort(read_cohort(source, find_definition(name)))


SUBJECTS = st.sampled_from([f"sub-{number}" for number in range(9)])
SITES = st.sampled_from(["a", "b", "c", "A ", None])
SCHEMES = st.sampled_from([
    Scheme(), Scheme("site-groups", group_size=2), Scheme("iid", parts=2, seed=3),
    Scheme("dirichlet", parts=2, alpha=50.0, variable="site", seed=1)])


@settings(max_examples=60)
@given(st.lists(st.tuples(SUBJECTS, SITES), max_size=60), SCHEMES, st.integers(1, 4),
       st.sampled_from(["keep", "drop", "merge"]))
def test_everybody_is_in_one_part_or_left_out_and_scans_add_up(pairs, scheme, least, small):
    if len({subject for subject, site in pairs if site}) < 6 and scheme.by != "site":
        with contextlib.suppress(CohortError):  # too few for so many parts
            partition_cohort(_rows(*pairs), scheme)
        return
    done = partition_cohort(_rows(*pairs), scheme, min_subjects=least, small=small)
    homes = Counter(subject for site in done.sites for subject in {row.subject for row in site.rows})
    assert set(homes.values()) <= {1}
    assert homes.keys() | {one.subject for one in done.dropped} == {subject for subject, _ in pairs}
    assert sum(len(site.rows) for site in done.sites) + sum(
        one.num_volumes for one in done.dropped) == len(pairs)
    assert len({site.name for site in done.sites}) == len(done.sites)
    if small == "drop":
        assert all(site.num_subjects >= least for site in done.sites)


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), SCHEMES)
def test_the_order_of_rows_changes_nothing(random, scheme):
    pairs = [(f"s{number:02}", "abcd"[number % 4]) for number in range(24)]
    pairs += [("s01", "a"), ("s02", "b")]
    shuffled = list(pairs)
    random.shuffle(shuffled)
    found = [[(site.name, sorted(row.subject for row in site.rows)) for site in
              partition_cohort(_rows(*some), scheme).sites] for some in (pairs, shuffled)]
    assert found[0] == found[1]


def test_contrasts_divide_the_people_and_scans_that_the_sites_have():
    rows = _rows(*((f"s{number}", "ab"[number % 2]) for number in range(20)), ("s1", "a"), ("t", None))
    by_site, iid = (partition_cohort(rows, scheme) for scheme in (Scheme(), Scheme("iid", parts=5)))
    assert by_site.dropped == iid.dropped
    assert [site.name for site in iid.sites] == [f"part-0{number}" for number in range(1, 6)]
    assert [site.num_subjects for site in iid.sites] == [4] * 5


def test_a_subject_of_several_modalities_is_of_a_class_of_its_own():
    rows = CohortRows(tuple(CohortRow(f"s{number:03}", None, "a", Conditions(modality=modality))
                            for number in range(200)
                            for modality in ["T1w", "T2w"][: 1 + number % 2]), ())
    done = partition_cohort(rows, Scheme("dirichlet", parts=2, alpha=0.3, variable="modality"))
    # Every other subject has a T2w besides: parts of one class alone would have half of each.
    shares = [sum(row.conditions.modality == "T2w" for row in site.rows) / site.num_subjects
              for site in done.sites]
    assert abs(shares[0] - shares[1]) > 0.3


def test_a_variable_that_is_known_of_nobody_is_refused():
    with pytest.raises(ConfigError, match="no subject's diagnosis is known"):
        partition_cohort(_rows(("a", "x"), ("b", "x")),
                         Scheme("dirichlet", parts=2, alpha=1.0, variable="diagnosis"))


def test_who_is_excluded_is_left_out_with_a_reason():
    ball = CohortRow("ball", None, "a", Conditions())
    done = partition_cohort(CohortRows(_rows(("s", "a")).rows, (), excluded=(ball, ball)))
    assert [(one.subject, one.num_volumes, one.reason) for one in done.dropped] == [
        ("ball", 2, "is left out by the cohort's definition")]


def test_a_traveller_stays_where_most_scans_were_made_and_then_where_the_fewest_people_are():
    done = partition_cohort(_rows(("x", "a"), ("x", "b"), ("x", "b"), ("p", "b"), ("y", "a"),
                                   ("y", "b")))
    assert _counts(done) == {"a": (1, 1), "b": (2, 3)}
    assert _codes(done) == ["travelling-subject"]
    assert {(one.subject, one.num_volumes) for one in done.dropped} == {("x", 1), ("y", 1)}


def test_sites_that_are_spelled_alike_are_proposed_and_not_merged():
    done = partition_cohort(_rows(("a", "NYU"), ("b", "nyu"), ("c", "NYU "), ("d", "UCLA_1"),
                                   ("e", "UCLA_2")))
    assert [warning.code for warning in done.warnings] == ["site-spelling"]
    assert "'NYU' = 'NYU ' = 'nyu'" in done.warnings[0].detail
    assert len(done.sites) == 5


def test_spellings_are_compared_inside_one_cohort_alone():
    told = [("a", "b:c"), ("a", "NYU"), ("a", "nyu"), ("a:b", "c")]
    rows = [CohortRow(f"{cohort}:{n}", None, f"{cohort}:{site}", Conditions(), cohort=cohort)
            for n, (cohort, site) in enumerate(told)]
    done = partition_cohort(CohortRows(tuple(rows), ()))
    assert len(done.warnings) == 1
    assert done.warnings[0].detail.startswith("'a:NYU' = 'a:nyu': ")


def test_small_sites_are_kept_left_out_or_made_one():
    rows = _rows(*((f"s{number}", "big") for number in range(5)), ("t", "x"), ("u", "y"))
    assert _counts(partition_cohort(rows, min_subjects=2, small="merge")) == {
        "big": (5, 5), MERGED: (2, 2)}
    dropped = partition_cohort(rows, min_subjects=2, small="drop")
    assert _counts(dropped) == {"big": (5, 5)}
    assert {one.reason for one in dropped.dropped} == {"x has fewer than 2 subjects",
                                                       "y has fewer than 2 subjects"}
    assert len(partition_cohort(rows, min_subjects=2).sites) == 3


@pytest.mark.parametrize(("table", "name", "sites"), [
    # `tail -n +2 FILE | cut -f1 | sed 's/.*_//' | sort | uniq -c`
    ("phenotypic/brainscape_IXI_participants.tsv", "ixi", {"Guys": 322, "HH": 187, "IOP": 75}),
    # `cut -f15 FILE | sort | uniq -c`
    ("phenotypic/ds000030_participants.tsv", "cnp", {"35343": 180, "35426": 92}),
    ("bids/ds000030-cnp", "cnp", {"35343": 180, "35426": 92}),  # of both, 7 rows have no T1w
    # `wc -l FILE`, less the header
    ("phenotypic/brainscape_AOMIC_participants.tsv", "aomic", {"amsterdam": 928}),
    ("phenotypic/UCSF-PDGM-metadata_v2.csv", "ucsf-pdgm", {"ucsf": 501}),
    ("phenotypic/UPENN-GBM_clinical_info_v1.0.csv", "upenn-gbm", {"upenn": 671}),
    # `cut -f2 FILE | sort | uniq -c`
    ("nifti/minicohort/participants_all.tsv", "minicohort", {"nsk": 48, "hh": 28}),
])
def test_real_tables_have_the_sites_that_are_counted_by_hand(table, name, sites, test_data):
    done = _read(test_data / table, name)
    assert {site.name: len(site.rows) for site in done.sites} == sites
    assert done.dropped == ()
    assert _codes(done) == (["scan-missing"] if name == "cnp" else [])


def test_rows_that_tell_of_a_missing_scan_are_counted_by_column_and_by_cohort():
    told = [("p", (), "x"), ("q", ("T1w",), "x"), ("r", ("T1w", "T2w"), "x"), ("s", ("T1w",), "y")]
    rows = [CohortRow(subject, None, "a", Conditions(), lacking=columns, cohort=cohort)
            for subject, columns, cohort in told]
    done = partition_cohort(CohortRows(tuple(rows), ()))
    assert [(warning.code, warning.detail.partition(";")[0]) for warning in done.warnings] == [
        ("scan-missing", "T1w is empty, n/a, 0 or no in 2 of 3 rows of x: q, r"),
        ("scan-missing", "T2w is empty, n/a, 0 or no in 1 of 3 rows of x: r"),
        ("scan-missing", "T1w is empty, n/a, 0 or no in 1 of 1 rows of y: s")]
    assert sum(len(site.rows) for site in done.sites) == 4  # rows stay rows


def test_scans_are_called_scans_and_rows_rows():
    scan = CohortRow("a", None, "x", Conditions(), Path("/x.nii"))
    row = CohortRow("b", None, "x", Conditions())
    assert [partition_cohort(CohortRows(rows, ())).unit for rows in
            ((scan,), (row,), (scan, row))] == ["scans", "rows", "scans and rows"]


def test_the_26_repeated_ids_of_ixi_are_told_and_that_its_demographics_know_no_site(test_data):
    done = _read(test_data / "phenotypic/IXI_demographics_noDOB.csv", "ixi")
    assert _codes(done) == ["repeated-id", "site-unknown"]
    assert done.warnings[0].detail.startswith("26 ids have several rows")
    assert sum(one.num_volumes for one in done.dropped) == 619


def test_the_two_scans_of_a_person_of_upenn_are_of_one_subject(test_data):
    # 671 rows: `tail -n +2 FILE | wc -l`. 630 people: `tail -n +2 FILE | cut -d, -f1 | cut -d_ -f1 |
    # sort -u | wc -l`; 611 rows end in _11 and 60 in _21, and 41 people have both (611 + 60 - 41).
    read = read_cohort(test_data / "phenotypic/UPENN-GBM_clinical_info_v1.0.csv",
                       find_definition("upenn-gbm"))
    assert Counter(row.session for row in read.rows) == {"11": 611, "21": 60}
    scans = Counter(row.subject for row in read.rows)
    assert (len(scans), Counter(scans.values())) == (630, {1: 589, 2: 41})
    assert read.repeated == ()


def test_each_scanner_of_spine_generic_is_a_site(test_data):
    done = _read(test_data / "phenotypic/spine-generic-single_participants.tsv", "spine-generic")
    assert len(done.sites) == 19


def test_the_travelling_phantoms_have_eight_sites_and_the_ball_is_none_of_them(test_data, tmp_path):
    for line in (test_data / "bids/ds000206-thp/anat_listing.txt").read_text().split():
        (tmp_path / line).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / line).touch()
    _is_thp(_read(tmp_path, "thp"))


def test_sidecars_stand_for_scans_that_are_not_there_yet(test_data):
    done = _read(test_data / "bids/ds000206-thp", "thp")
    _is_thp(done)
    # `find ds000206-thp -name "*T?w.json" | wc -l`
    assert sum(len(site.rows) for site in done.sites) + sum(
        one.num_volumes for one in done.dropped) == 67
    assert all(row.scanner and row.conditions.field_strength for site in done.sites
               for row in site.rows)


def _is_thp(done):
    # `sed 's/.*ses-THP[0-9]*//;s/[0-9].*//' anat_listing.txt | sort -u`, without the ball's sessions.
    assert [site.name for site in done.sites] == ["CCF", "DART", "IOWA", "JHU", "MGH", "UCI", "UMN",
                                                  "UW"]
    assert "travelling-subject" in _codes(done)
    assert {one.reason for one in done.dropped if one.subject == "sub-THPBALL"} == {
        "is left out by the cohort's definition"}
    assert sum(site.num_subjects for site in done.sites) == 5
