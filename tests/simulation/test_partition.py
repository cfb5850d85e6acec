from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.conditions import Conditions
from simulation.cohort_rows import CohortRow, CohortRows, read_cohort
from simulation.definitions import find_definition
from simulation.partition import MERGED, partition_by_site


def _rows(*pairs):
    return CohortRows(tuple(CohortRow(subject, None, site, Conditions())
                            for subject, site in pairs), ())


def _counts(done):
    return {site.name: (site.num_subjects, len(site.rows)) for site in done.sites}


def _codes(done):
    return [warning.code for warning in done.warnings]


def _read(source, name):
    definition = find_definition(name)
    exclude = definition.about.exclude
    return partition_by_site(read_cohort(source, definition),
                             excluded=exclude.subject if exclude is not None else None)


SUBJECTS = st.sampled_from([f"sub-{number}" for number in range(9)])
SITES = st.sampled_from(["a", "b", "c", "A ", None])


@given(st.lists(st.tuples(SUBJECTS, SITES), max_size=60), st.integers(1, 4),
       st.sampled_from(["keep", "drop", "merge"]))
def test_nobody_is_at_two_sites_and_every_row_is_at_one_or_left_out(pairs, least, small):
    done = partition_by_site(_rows(*pairs), min_subjects=least, small=small)
    homes = Counter(subject for site in done.sites for subject in {row.subject for row in site.rows})
    assert set(homes.values()) <= {1}
    assert sum(len(site.rows) for site in done.sites) + sum(
        one.num_volumes for one in done.dropped) == len(pairs)
    if small == "drop":
        assert all(site.num_subjects >= least for site in done.sites)


def test_a_traveller_stays_where_most_scans_were_made_and_then_where_the_fewest_people_are():
    done = partition_by_site(_rows(("x", "a"), ("x", "b"), ("x", "b"), ("p", "b"), ("y", "a"),
                                   ("y", "b")))
    assert _counts(done) == {"a": (1, 1), "b": (2, 3)}
    assert _codes(done) == ["travelling-subject"]
    assert {(one.subject, one.num_volumes) for one in done.dropped} == {("x", 1), ("y", 1)}


def test_sites_that_are_spelled_alike_are_proposed_and_not_merged():
    done = partition_by_site(_rows(("a", "NYU"), ("b", "nyu"), ("c", "NYU "), ("d", "UCLA_1"),
                                   ("e", "UCLA_2")))
    assert [warning.code for warning in done.warnings] == ["site-spelling"]
    assert "'NYU' = 'NYU ' = 'nyu'" in done.warnings[0].detail
    assert len(done.sites) == 5


def test_small_sites_are_kept_left_out_or_made_one():
    rows = _rows(*((f"s{number}", "big") for number in range(5)), ("t", "x"), ("u", "y"))
    assert _counts(partition_by_site(rows, min_subjects=2, small="merge")) == {
        "big": (5, 5), MERGED: (2, 2)}
    dropped = partition_by_site(rows, min_subjects=2, small="drop")
    assert _counts(dropped) == {"big": (5, 5)}
    assert {one.reason for one in dropped.dropped} == {"x has fewer than 2 subjects",
                                                       "y has fewer than 2 subjects"}
    assert len(partition_by_site(rows, min_subjects=2).sites) == 3


@pytest.mark.parametrize(("table", "name", "sites"), [
    # `tail -n +2 FILE | cut -f1 | sed 's/.*_//' | sort | uniq -c`
    ("phenotypic/brainscape_IXI_participants.tsv", "ixi", {"Guys": 322, "HH": 187, "IOP": 75}),
    # `cut -f15 FILE | sort | uniq -c`
    ("phenotypic/ds000030_participants.tsv", "cnp", {"35343": 180, "35426": 92}),
    ("bids/ds000030-cnp", "cnp", {"35343": 180, "35426": 92}),
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
    assert done.warnings == ()


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
    done = _read(tmp_path, "thp")
    # `sed 's/.*ses-THP[0-9]*//;s/[0-9].*//' anat_listing.txt | sort -u`, without the ball's sessions.
    assert [site.name for site in done.sites] == ["CCF", "DART", "IOWA", "JHU", "MGH", "UCI", "UMN",
                                                  "UW"]
    assert "travelling-subject" in _codes(done)
    assert {one.reason for one in done.dropped if one.subject == "sub-THPBALL"} == {
        "is left out by the cohort's definition"}
    assert sum(site.num_subjects for site in done.sites) == 5
