"""The rules of the roster, without a disk."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.enrolment.decisions import SiteEntry, sign_decision
from braing3n.enrolment.roster import Roster, begin_roster
from braing3n.errors import BrainG3NError, ConfigError, ProtocolError
from braing3n.files import digest_bytes

from .conftest import NOW, MadeSite, ed25519, made_site


@pytest.fixture
def empty(coordinator, now):
    return begin_roster("demo", "0" * 64, coordinator, now)


@pytest.fixture
def decide(coordinator, now):
    def made(roster: Roster, action: str, site: MadeSite) -> Roster:
        return roster.decided(action, SiteEntry.of(site.request()), coordinator, now)

    return made


def test_a_site_is_enrolled_revoked_and_comes_back_with_a_new_key(
        empty, decide, site, other, coordinator):
    roster = decide(decide(empty, "enrolled", site), "enrolled", other)
    assert roster.enrolled("hospital-a").seq == 1
    roster = decide(roster, "revoked", site)
    assert not roster.sites["hospital-a"].is_enrolled
    assert roster.sites["hospital-b"].is_enrolled
    with pytest.raises(ConfigError, match="no enrolled site") as error:
        roster.enrolled("hospital-a")
    assert "revoked on 2026-03-01T12:00:00Z" in error.value.found
    fresh = MadeSite(site.name, made_site().node_key, site.ledger_key)
    roster = decide(roster, "replaced", fresh)
    assert roster.enrolled("hospital-a").entry.node_key == fresh.request().node_key
    assert Roster(roster.lines, coordinator.public).sites == roster.sites
    assert empty.sites == {}  # a decision makes another roster


def test_a_name_and_a_key_are_taken_once_also_when_they_were_revoked(empty, decide, site):
    name, node, ledger = site.name, site.node_key, site.ledger_key
    other = made_site("hospital-c")
    enrolled = decide(empty, "enrolled", site)
    for roster, word in ((enrolled, "taken"), (decide(enrolled, "revoked", site), "revoked")):
        with pytest.raises(ConfigError, match=f"the name hospital-a .*{word}"):
            decide(roster, "enrolled", MadeSite(name, other.node_key, other.ledger_key))
        with pytest.raises(ConfigError, match=r"the SuperNode's key .* that of hospital-a"):
            decide(roster, "enrolled", MadeSite("hospital-c", node, other.ledger_key))
        with pytest.raises(ConfigError, match=r"the ledger's key .* that of hospital-a"):
            decide(roster, "enrolled", MadeSite("hospital-c", other.node_key, ledger))


def test_a_key_is_replaced_by_one_that_nobody_ever_had_and_by_the_same_ledger_alone(empty, decide, site,
                                                                                   other):
    fresh = MadeSite(site.name, made_site().node_key, site.ledger_key)
    with pytest.raises(ConfigError, match="no site hospital-a whose key"):
        decide(empty, "replaced", fresh)
    roster = decide(decide(empty, "enrolled", site), "enrolled", other)
    with pytest.raises(ConfigError, match="not from the ledger of hospital-a"):
        decide(roster, "replaced", MadeSite(site.name, fresh.node_key, made_site().ledger_key))
    with pytest.raises(ConfigError, match="SuperNode's key is that of hospital-b"):
        decide(roster, "replaced", MadeSite(site.name, other.node_key, site.ledger_key))
    replaced = decide(roster, "replaced", fresh)
    with pytest.raises(ConfigError, match="SuperNode's key is that of hospital-a"):  # not back again
        decide(replaced, "replaced", site)


def test_the_very_request_that_was_granted_is_told_apart(empty, coordinator, now, site):
    entry = SiteEntry.of(site.request())
    roster = empty.decided("enrolled", entry, coordinator, now)
    for action in ("enrolled", "replaced"):
        with pytest.raises(ConfigError, match="was enrolled by this request") as error:
            roster.decided(action, entry, coordinator, now)
        assert "braing3n server answer" in error.value.fix


def test_a_stranger_is_not_revoked_and_nobody_twice(empty, decide, site, other):
    with pytest.raises(ConfigError, match="no enrolled site") as error:
        empty.enrolled(site.name)
    assert "there is none" in error.value.expected
    roster = decide(empty, "enrolled", site)
    with pytest.raises(ConfigError, match="no enrolled site `hospital-b`") as error:
        decide(roster, "revoked", other)
    assert error.value.expected == "one of hospital-a"
    with pytest.raises(ConfigError, match="no enrolled site"):
        decide(decide(roster, "revoked", site), "revoked", site)


def test_lines_that_are_edited_moved_left_out_or_signed_by_another_are_found(
        empty, decide, site, other, coordinator):
    roster = decide(decide(decide(empty, "enrolled", site), "enrolled", other), "revoked", site)
    first, second, third, fourth = roster.lines
    mine = ed25519()
    forged = begin_roster("demo", "0" * 64, mine, NOW)
    for wrong in ([], [second], [first, third], [first, third, second, fourth], [first, second, second],
                  [first, second.replace(b"hospital-a", b"hospital-x"), third, fourth],
                  [first, second, third, fourth.replace(b"revoked", b"enrolled")],
                  [first + b" ", second], [b"", first], forged.lines, [first, first]):
        with pytest.raises(ProtocolError):
            Roster(wrong, coordinator.public)
    with pytest.raises(ProtocolError):
        Roster(roster.lines, mine.public)


def test_a_signed_decision_that_breaks_a_rule_is_not_taken(empty, decide, site, coordinator):
    roster = decide(empty, "enrolled", site)
    last = json.loads(roster.lines[-1])
    place = {"seq": 2, "prev": digest_bytes(roster.lines[-1]), "time": last["time"],
             "consortium": "demo", "authority": "0" * 64}
    entry = SiteEntry.of(site.request())
    for fields in ({"action": "enrolled", "entry": entry}, {"action": "begun", "entry": None},
                   {"action": "begun", "entry": entry}, {"action": "revoked", "entry": None},
                   {"action": "revoked", "entry": entry, "consortium": "other"}):
        line = sign_decision(coordinator, **{**place, **fields}).line()
        with pytest.raises(BrainG3NError):
            Roster([*roster.lines, line], coordinator.public)
    good = sign_decision(coordinator, **place, action="revoked", entry=entry).line()
    assert not Roster([*roster.lines, good], coordinator.public).sites["hospital-a"].is_enrolled


KEY = ed25519()
LINES = begin_roster("demo", "0" * 64, KEY, NOW).decided(
    "enrolled", SiteEntry.of(made_site().request()), KEY, NOW).lines


@given(st.integers(0, 1), st.integers(0, 400), st.binary(max_size=4), st.integers(0, 4))
def test_an_edited_line_is_refused_and_never_a_crash(number, place, put, dropped):
    lines = list(LINES)
    line = lines[number]
    lines[number] = line[:place] + put + line[place + dropped:]
    if lines == LINES:
        return
    with pytest.raises(BrainG3NError):
        Roster(lines, KEY.public)


@given(st.lists(st.binary(max_size=100) | st.just(b"[" * 5000), max_size=3))
def test_any_lines_are_refused_and_never_a_crash(lines):
    with pytest.raises(BrainG3NError):
        Roster(lines, KEY.public)
