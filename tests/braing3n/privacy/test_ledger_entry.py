import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from braing3n.errors import LedgerError
from braing3n.files import digest_bytes
from braing3n.privacy.events import Event
from braing3n.privacy.ledger_entry import (
    MAX_LINE_BYTES,
    Entry,
    MechanismRecord,
    SpentRecord,
    parse_line,
)

STEPS = MechanismRecord(name="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.5, steps=10,
                        clip_norm=1.0, views=4, engine="loop", num_subjects=100)
ONCE = MechanismRecord(name="gaussian", sample_rate=1.0, noise_multiplier=8.0, steps=1, clip_norm=1.0,
                       num_subjects=100)
SPENT = SpentRecord(pld=1.25, rdp=1.5, prv=1.26, delta=1e-5)
HEAD = {"seq": 3, "prev": "a" * 64, "time": "2026-11-23T16:54:21Z", "key_id": "b" * 64,
        "signature": "c" * 128}
WORK = {"run": "run-1", "stage": "pretrain", "round_index": 2, "cohort": "patients"}
COST = {**WORK, "what": "update", "mechanism": STEPS, "spent": SPENT, "plan_digest": "d" * 64}
KINDS = {
    "reserve": COST,
    "settle": {**COST, "reserves": 2, "released_digest": "e" * 64},
    "refuse": {**WORK, "code": "budget", "detail": "expected 8 found 9.25"},
    "note": {"code": "torn", "detail": "dropped_bytes 17"},
}
EXTRA = {"run": "run-1", "stage": "pretrain", "round_index": 2, "cohort": "patients", "what": "update",
         "mechanism": STEPS, "spent": SPENT, "plan_digest": "d" * 64, "weights_digest": "d" * 64,
         "reserves": 2, "released_digest": "e" * 64, "code": "budget", "detail": "found 1"}


def made(kind: str, **more: object) -> Entry:
    return Entry(**{**HEAD, "kind": kind, **KINDS[kind], **more})


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_comes_back_from_its_line(kind: str) -> None:
    entry = made(kind)
    assert parse_line(entry.line()) == entry
    content = json.loads(entry.line())
    assert None not in content.values()
    # The naive way: sorted keys, no blanks.
    assert json.dumps(content, sort_keys=True, separators=(",", ":")).encode() == entry.line()
    del content["signature"]
    assert json.dumps(content, sort_keys=True, separators=(",", ":")).encode() == entry.signed_bytes()
    assert entry.head.digest == digest_bytes(entry.line())
    assert entry.head.seq == 3


def test_the_longest_entry_fits_a_line() -> None:
    longest = made("settle", run="r" * 80, cohort="c" * 64, round_index=2**53, seq=2**53,
                   weights_digest="a" * 64, reserves=2**53, mechanism=STEPS.model_copy(update={
                       "noise_multiplier": math.pi * 1e-100, "clip_norm": math.e * 1e-100}))
    assert len(longest.line()) < MAX_LINE_BYTES / 2


@pytest.mark.parametrize("kind", ["reserve", "settle", "refuse", "note"])
@pytest.mark.parametrize("field", EXTRA)
def test_a_kind_has_the_fields_that_it_must_and_no_others(kind: str, field: str) -> None:
    needed = {"reserve": {*WORK, "what", "mechanism", "spent", "plan_digest"},
              "settle": {*WORK, "what", "mechanism", "spent", "plan_digest", "reserves",
                         "released_digest"},
              "refuse": {*WORK, "code"}, "note": {"code"}}[kind]
    barred = {"reserve": {"reserves", "released_digest", "code", "detail"},
              "settle": {"code", "detail"}, "refuse": {"reserves", "released_digest", "spent"},
              "note": {"reserves", "mechanism"}}[kind]
    given_fields = {**KINDS[kind], field: EXTRA[field]}
    if field in barred:
        with pytest.raises(ValidationError, match=f"a {kind} without {field}"):
            Entry(**HEAD, kind=kind, **given_fields)
    else:
        Entry(**HEAD, kind=kind, **given_fields)
    del given_fields[field]
    if field in needed:
        with pytest.raises(ValidationError, match=f"a {kind} with .*{field}"):
            Entry(**HEAD, kind=kind, **given_fields)
    else:
        Entry(**HEAD, kind=kind, **given_fields)


def test_a_release_without_dp_says_of_whom_and_when() -> None:
    for field in WORK:
        with pytest.raises(ValidationError, match=f"a note with {field}"):
            made("note", code="without_dp", **{**WORK, field: None})
    made("note", code="without_dp", **WORK)


@pytest.mark.parametrize("detail", [
    "expected 8 found 9.25", "dropped_bytes 123", "found 1e-05", "expected -1", "found inf"])
def test_details_are_words_and_numbers(detail: str) -> None:
    assert made("refuse", detail=detail).detail == detail


@pytest.mark.parametrize("detail", [
    "", "Mueller", "/data/scan", "sub-01", "found sub01", "mrn 1234567890", "a  b", "a\n", "a b ",
    "found 1.", "é", "scan.nii", "12", " ".join(["word"] * 13)])
def test_details_cannot_name_a_path_or_an_id(detail: str) -> None:
    with pytest.raises(ValidationError):
        made("refuse", detail=detail)


@pytest.mark.parametrize("changed", [
    {"time": "2026-02-30T00:00:00Z"}, {"time": "2026-11-23T16:54:21"}, {"time": "2026-11-23 16:54:21Z"},
    {"time": "2026-11-23T24:00:01Z"}, {"time": "२026-11-23T16:54:21Z"}, {"seq": -1}, {"seq": 2**53 + 1},
    {"prev": "A" * 64}, {"signature": "c" * 127}, {"key_id": "b" * 16}, {"run": "../x"},
    {"cohort": "a b"}, {"round_index": -1}, {"stage": "other"}, {"what": "scan"}, {"unknown": 1},
    {"seq": 3.0}, {"plan_digest": "d" * 63}])
def test_fields_out_of_their_range_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        made("reserve", **changed)


@pytest.mark.parametrize("changed", [
    {"sample_rate": 0.0}, {"sample_rate": 1.5}, {"noise_multiplier": 0.0}, {"steps": 0},
    {"steps": True},
    {"noise_multiplier": math.inf}, {"noise_multiplier": math.nan}, {"clip_norm": 0.0},
    {"unit": "volume"}, {"num_subjects": 0}, {"engine": None}, {"views": None}, {"views": 0},
    {"name": "gaussian"}, {"name": "laplace"}, {"engine": "other"}])
def test_mechanisms_without_a_meaning_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MechanismRecord(**{**STEPS.model_dump(), **changed})


def test_what_is_spent_is_a_number_at_a_delta() -> None:
    for changed in ({"pld": -0.1}, {"pld": math.inf}, {"rdp": math.nan}, {"delta": 0.0}, {"delta": 1.0},
                    {"pld": None}):
        with pytest.raises(ValidationError):
            SpentRecord(**{**SPENT.model_dump(), **changed})
    assert SpentRecord(pld=0.0, rdp=0.0, delta=1e-5).prv is None


def test_reserves_and_settles_give_their_event() -> None:
    assert made("reserve").event() == Event(
        mechanism="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.5, steps=10, stage="pretrain",
        round_index=2, run="run-1")
    assert made("settle", what="moments", mechanism=ONCE).event() == Event(
        mechanism="gaussian", sample_rate=1.0, noise_multiplier=8.0, steps=1, stage="pretrain",
        round_index=2, run="run-1")
    for costless in (made("note"), made("refuse", mechanism=STEPS)):
        with pytest.raises(LedgerError, match="costs nothing"):
            costless.event()


@pytest.mark.parametrize(("old", "new"), [
    (b'"seq":3', b'"seq": 3'), (b'"seq":3', b'"seq":3.0'), (b'"seq":3', b'"seq":03'),
    (b'"seq":3', b'"seq":3,"seq":3'), (b'"pld":1.25', b'"pld":1.250'), (b'"pld":1.25', b'"pld":125e-2'),
    (b'"delta":1e-05', b'"delta":0.00001'), (b'"clip_norm":1.0', b'"clip_norm":1'),
    (b'"pretrain"', b'"\\u0070retrain"'), (b'"what"', b'"weights_digest":null,"what"'),
    (b'{"cohort"', b' {"cohort"'), (b'{"cohort"', b'\xef\xbb\xbf{"cohort"'), (b"}", b"}\r"),
    (b'"kind":"reserve","mechanism"', b'"mechanism"'),
])
def test_what_is_written_otherwise_is_no_line(old: bytes, new: bytes) -> None:
    line = made("reserve").line()
    assert old in line
    with pytest.raises(ValueError, match="it is"):
        parse_line(line.replace(old, new))


def test_a_line_too_long_or_too_deep_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 4096 bytes"):
        parse_line(b" " * 4097)
    with pytest.raises(ValueError, match="no entry"):
        parse_line(b"[" * 4096)
    with pytest.raises(ValueError, match="no entry"):
        parse_line(b'{"seq":' + b"9" * 4000 + b"}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(sorted(EXTRA)), inner),
    max_leaves=8)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_refused_and_nothing_else_happens(line: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        parse_line(line)


@given(st.sampled_from(sorted(EXTRA)), json_values)
def test_an_entry_with_any_other_value_is_refused_or_itself(field: str, value: object) -> None:
    content = {**json.loads(made("settle").line()), field: value}
    line = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass")
    try:
        entry = parse_line(line)
    except ValueError as error:
        assert "it " in str(error)
    else:
        assert entry.line() == line


def test_what_is_said_of_a_line_does_not_repeat_it() -> None:
    with pytest.raises(ValueError, match="it is no entry") as error:
        parse_line(b'{"secret_name":"secret_value","seq":"secret_seq"}')
    assert "secret" not in str(error.value)
