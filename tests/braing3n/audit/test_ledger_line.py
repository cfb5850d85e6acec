"""Two readers of a line, which share no code, must agree on every line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.audit.ledger_line import encode, look_at
from braing3n.privacy.ledger_entry import parse_line

DIGEST = "ab" * 32
MECHANISM = {"name": "poisson_gaussian", "sample_rate": 0.1, "noise_multiplier": 1.5, "steps": 10,
             "clip_norm": 1.0, "unit": "subject", "views": 4, "engine": "loop", "num_subjects": 100}
ALWAYS = {"seq": 3, "prev": DIGEST, "time": "2026-11-23T16:54:21Z", "key_id": DIGEST,
          "signature": "cd" * 64}
WORK = {"run": "r-1", "stage": "decoder", "round_index": 2, "cohort": "patients"}
COST = {**WORK, "what": "update", "mechanism": MECHANISM, "plan_digest": DIGEST,
        "spent": {"pld": 1.25, "rdp": 1.5, "delta": 1e-5}}
LINES: list[dict[str, Any]] = [
    {**ALWAYS, **COST, "kind": "reserve"},
    {**ALWAYS, **COST, "kind": "reserve", "weights_digest": DIGEST, "what": "moments", "mechanism": {
        "name": "gaussian", "sample_rate": 1.0, "noise_multiplier": 4.0, "steps": 1, "clip_norm": 1.0,
        "unit": "subject", "num_subjects": 100}},
    {**ALWAYS, **COST, "kind": "settle", "reserves": 2, "released_digest": DIGEST},
    {**ALWAYS, **WORK, "kind": "refuse", "code": "budget", "detail": "expected 8 found 9.25"},
    {**ALWAYS, "kind": "note", "code": "begun"},
    {**ALWAYS, **WORK, "kind": "note", "code": "without_dp"},
    {**ALWAYS, "kind": "note", "code": "budget", "cohort": "a", "detail": "epsilon 8.0 delta 1e-05"},
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**54), st.floats(), st.text(max_size=6),
    st.sampled_from(["note", "settle", "gaussian", "loop", "update", "", "2026-13-40T00:00:00Z",
                     DIGEST, "A" * 64, "ed25519", 1.0, 0.0, 1, 0, 1e400, "x" * 90, {}, [], "\u00e9"]))
NAMES = sorted({name for line in LINES for name in line})
INNER = sorted({*MECHANISM, "pld", "rdp", "prv", "delta"})


def site_reads(line: bytes) -> bool:
    try:
        parse_line(line)
    except ValueError:
        return False
    return True


def agree(line: bytes) -> None:
    assert (look_at(0, line, None).line is not None) == site_reads(line)


@pytest.mark.parametrize("number", range(len(LINES)))
def test_both_read_what_sites_write(number: int) -> None:
    line = encode(LINES[number])
    assert site_reads(line)
    seen = look_at(0, line, None)
    assert seen.findings == ()
    assert (seen.line.kind, seen.line.seq) == (LINES[number]["kind"], 3)


@given(st.sampled_from(LINES), st.sampled_from(NAMES), st.one_of(st.just("drop"), VALUES))
def test_both_agree_on_a_changed_field(line: dict[str, Any], name: str, value: Any) -> None:
    fields = {key: item for key, item in line.items() if not (key == name and value == "drop")}
    if value != "drop":
        fields[name] = value
    agree(json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


@given(st.sampled_from(LINES[:3]), st.sampled_from(["mechanism", "spent"]), st.sampled_from(INNER),
       st.one_of(st.just("drop"), VALUES))
def test_both_agree_on_a_changed_number(line: dict[str, Any], part: str, name: str, value: Any) -> None:
    inner = {key: item for key, item in line[part].items() if not (key == name and value == "drop")}
    if value != "drop":
        inner[name] = value
    agree(json.dumps({**line, part: inner}, sort_keys=True, separators=(",", ":"),
                     ensure_ascii=False).encode())


@given(st.sampled_from(LINES), st.integers(0, 2000), st.integers(1, 255))
def test_both_agree_on_a_changed_byte(line: dict[str, Any], where: int, what: int) -> None:
    content = bytearray(encode(line))
    content[where % len(content)] ^= what
    agree(bytes(content))


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b"1", b'{"a":1}', b"\xff", b"[" * 3000,
                                  b'{"seq":' + b"9" * 3900 + b"}", b" " * 5000])
def test_what_is_no_entry_is_told(line: bytes) -> None:
    agree(line)
    (finding,) = look_at(7, line, None).findings
    assert (finding.code, finding.entry) == ("malformed", 7)
