import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from braing3n.errors import CohortError, ConfigError
from simulation.partition.partitioners import Member, Scheme, assign


def _members(**sites):
    return [Member(f"{site}{number:03}", site, "HC" if number % 2 else "AD")
            for site, count in sites.items() for number in range(count)]


def test_by_site_each_part_is_who_is_at_home_there():
    members = _members(b=3, a=2, c=1)
    naive = {site: sorted(one.subject for one in members if one.site == site) for site in "abc"}
    assert assign(members, Scheme()) == naive
    assert assign([], Scheme()) == {}


def test_groups_take_sites_in_order_of_their_names_and_the_last_may_be_smaller():
    parts = assign(_members(d=1, b=3, a=2, c=1, e=4), Scheme("site-groups", group_size=2))
    assert {name: len(subjects) for name, subjects in parts.items()} == {"a+b": 5, "c+d": 2, "e": 4}
    assert assign(_members(a=1, b=1), Scheme("site-groups", group_size=9)).keys() == {"a+b"}


def test_the_name_of_a_large_group_is_cut_between_sites():
    sites = {f"hospital-{number:02}": 1 for number in range(20)}
    name, = assign(_members(**sites), Scheme("site-groups", group_size=20))
    assert name.startswith("hospital-00+hospital-01+")
    assert name.endswith("+15 more")
    assert len(name) < 75


def test_groups_that_would_be_named_alike_are_numbered():
    members = [Member(site, site, "") for site in ("a", "a!+b", "a+a!", "b")]
    assert assign(members, Scheme("site-groups", group_size=2)) == {
        "a+a!+b (1)": ["a", "a!+b"], "a+a!+b (2)": ["a+a!", "b"]}


def test_parts_at_random_are_of_equal_size_and_mix_sites():
    parts = assign(_members(a=60, b=60), Scheme("iid", parts=8, seed=5))
    assert [len(subjects) for subjects in parts.values()] == [15] * 8
    shares = [sum(subject[0] == "a" for subject in subjects) for subjects in parts.values()]
    # Of 15 drawn from 60 and 60, the number from one side has a mean of 7.5 and an SD of 1.8.
    assert min(shares) >= 2
    assert max(shares) <= 13


def test_a_large_alpha_gives_each_part_the_shares_of_all_and_a_small_one_does_not():
    members = _members(a=400)
    alike = assign(members, Scheme("dirichlet", parts=4, alpha=1e6, variable="diagnosis"))
    label = {one.subject: one.label for one in members}
    for subjects in alike.values():
        counts = Counter(label[subject] for subject in subjects)
        assert abs(counts["HC"] - 50) <= 1
        assert abs(counts["AD"] - 50) <= 1
    apart = assign(members, Scheme("dirichlet", parts=4, alpha=0.3, variable="diagnosis", seed=2))
    shares = [sum(label[subject] == "HC" for subject in subjects) / len(subjects)
              for subjects in apart.values()]
    assert max(shares) - min(shares) > 0.3


def test_another_seed_gives_other_parts_and_the_same_the_same():
    members = _members(a=40)
    for scheme in ({"by": "iid", "parts": 4},
                   {"by": "dirichlet", "parts": 4, "alpha": 5.0, "variable": "sex"}):
        first, again, other = (assign(members, Scheme(**scheme, seed=seed)) for seed in (1, 1, 2))
        assert first == again != other


@pytest.mark.parametrize("scheme", [
    Scheme("iid"), Scheme("iid", parts=1), Scheme(parts=3), Scheme(seed=3), Scheme("site-groups"),
    Scheme("site-groups", group_size=0), Scheme("dirichlet", parts=3, alpha=1.0),
    Scheme("dirichlet", parts=3, alpha=0.0, variable="sex"), Scheme("iid", parts=3, seed=-1),
    Scheme("dirichlet", parts=3, alpha=float("nan"), variable="sex"),
    Scheme("dirichlet", parts=3, alpha=float("inf"), variable="sex"),
])
def test_options_that_do_not_go_together_are_refused(scheme):
    with pytest.raises(ConfigError):
        scheme.check()


def test_more_parts_than_subjects_and_parts_that_stay_empty_are_refused():
    with pytest.raises(CohortError, match="fewer subjects than parts"):
        assign(_members(a=3), Scheme("iid", parts=4))
    with pytest.raises(CohortError, match="no draw gave"):
        assign(_members(a=12), Scheme("dirichlet", parts=12, alpha=0.001, variable="sex"))


_QUIET = """
import socket
def refuse(*_): raise SystemExit("went online")
socket.socket.connect = socket.create_connection = refuse
from simulation.partition.partitioners import Member, Scheme, assign
members = [Member(str(n), "ab"[n % 2], "x") for n in range(20)]
for scheme in (Scheme(), Scheme("site-groups", group_size=1), Scheme("iid", parts=2),
               Scheme("dirichlet", parts=2, alpha=9.0, variable="sex")):
    assign(members, scheme)
"""


def test_nothing_is_printed_nothing_is_written_and_nobody_is_asked(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path),
                   "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONDONTWRITEBYTECODE": "1",
                   "MPLCONFIGDIR": "/nonexistent"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _QUIET], capture_output=True,
                          text=True, env=environment, cwd=tmp_path, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Generating" not in done.stderr
    assert [path for path in tmp_path.rglob("*") if "matplotlib" not in str(path)] == []
