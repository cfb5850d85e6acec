"""Signed round records: nothing of them can be changed, cut or moved without its being seen."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from braing3n.errors import ProtocolError
from braing3n.manifests import Content, manifest_line, read_manifest, sign_manifest
from braing3n.protocol import LOSSES, MAX_SITES, RecordSeen, RoundRecord
from braing3n.round_records import (
    check_record,
    read_record,
    read_records,
    record_digest,
    record_line,
    seen_of,
    sign_record,
)
from braing3n.signing import SigningKey

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(b"o" * 32))
FIELDS: dict[str, Any] = {
    "number": 0, "previous": "0" * 64, "run": "run-1", "plan_digest": "d" * 64, "what": "training",
    "stage": "pretrain", "round_index": 0, "asked": ("a", "b", "c"), "answered": ("a", "b"),
    "refused": {"c": "late"}, "result": "1" * 64, "time": "2026-12-01T00:00:00Z"}


def record(before: RoundRecord | None = None, key: SigningKey = KEY, **changes: Any) -> RoundRecord:
    number = 0 if before is None else before.number + 1
    return sign_record(key, **{**FIELDS, "number": number, "round_index": number,
                               "previous": record_digest(before), **changes})


def chain(length: int, key: SigningKey = KEY, **changes: Any) -> list[bytes]:
    lines, before = [], None
    for _ in range(length):
        before = record(before, key, **changes)
        lines.append(record_line(before))
    return lines


@pytest.mark.parametrize(("field", "value"), [
    ("number", 1), ("previous", "2" * 64), ("run", "run-2"), ("plan_digest", "e" * 64),
    ("what", "evaluation"), ("stage", "decoder"), ("round_index", 1), ("asked", ("a", "b")),
    ("answered", ("a", "b", "c")), ("refused", {"c": "budget"}), ("result", None),
    ("time", "2026-12-01T00:00:01Z"), ("public_key", OTHER.public.text)])
def test_a_record_that_was_changed_in_any_field_is_not_signed(field: str, value: Any) -> None:
    good = record()
    check_record(good)
    with pytest.raises(ProtocolError, match="wrong signature"):
        check_record(good.model_copy(update={field: value}))


def test_every_field_is_in_the_line_and_the_line_is_read_back() -> None:
    good = record(refused={})
    assert read_record(record_line(good)) == good
    assert seen_of(good) == RecordSeen(number=0, digest=record_digest(good))
    assert seen_of(None) is None
    with pytest.raises(ProtocolError, match="one way"):
        read_record(record_line(good).replace(b'"number":', b'"number": '))


@pytest.mark.parametrize("changes", [
    {"asked": tuple(f"s-{number}" for number in range(MAX_SITES + 1))},
    {"answered": tuple(f"s-{number}" for number in range(MAX_SITES + 1))},
    {"refused": {f"s-{number}": "late" for number in range(MAX_SITES + 1)}},
    {"refused": {"c": "sub-01 is ill"}}, {"refused": {"c": "late "}}, {"refused": {"c": "late\n"}},
    {"refused": {"/data/sub-01": "late"}}, {"asked": ("Site A",)}, {"run": "../run"},
    {"what": "probes"}, {"result": "1"}, {"time": "yesterday"}, {"round_index": -1}])
def test_a_record_holds_names_fixed_words_and_digests_and_nothing_longer(changes: Any) -> None:
    with pytest.raises(ValidationError):
        record(**changes)


def test_every_fixed_word_and_a_thousand_sites_fit() -> None:
    sites = tuple(f"s-{number}" for number in range(MAX_SITES))
    words = {site: LOSSES[number % len(LOSSES)] for number, site in enumerate(sites)}
    assert read_record(record_line(record(asked=sites, answered=(), refused=words))).refused == words


@pytest.mark.parametrize("change", [
    lambda lines: lines[1:],  # the first is gone
    lambda lines: [lines[0], *lines[2:]],
    lambda lines: [lines[0], lines[2], lines[1], lines[3]],
    lambda lines: [*lines, lines[-1]],
    lambda lines: [lines[0], lines[1].replace(b'"c":"late"', b'"c":"budget"'), *lines[2:]],
    lambda lines: [*lines[:2], b"", *lines[2:]],
    lambda lines: chain(3, OTHER)[:1] + lines[1:],
    lambda lines: [*lines, record_line(record(read_record(lines[-1]), number=9))],
    lambda lines: [*lines, record_line(record(read_record(lines[-1]), previous="3" * 64))],
    lambda lines: [*lines, record_line(record(read_record(lines[-1]), OTHER))],
    lambda lines: [*lines, record_line(record(read_record(lines[-1]), run="run-2"))],
    lambda lines: [*lines, record_line(record(read_record(lines[-1]), plan_digest="e" * 64))],
])
def test_a_chain_that_was_cut_moved_or_added_to_is_found(
    change: Callable[[list[bytes]], list[bytes]],
) -> None:
    lines = chain(4)
    assert [one.number for one in read_records(lines)] == [0, 1, 2, 3]
    with pytest.raises(ProtocolError):
        list(read_records(change(lines)))


def test_a_round_that_was_run_again_follows_in_the_chain() -> None:
    first = record()
    again = record(first, round_index=0, answered=("a", "b", "c"), refused={})
    lines = [record_line(first), record_line(again)]
    assert [one.round_index for one in read_records(lines)] == [0, 0]


@given(st.lists(st.binary(max_size=300) | st.text().map(str.encode), max_size=4))
def test_any_bytes_are_a_protocol_error_and_no_crash(lines: list[bytes]) -> None:
    if lines:
        with pytest.raises(ProtocolError):
            list(read_records(lines))


@given(st.data())
def test_no_byte_of_a_line_can_be_another(data: st.DataObject) -> None:
    line = bytearray(chain(1)[0])
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError):
        read_record(bytes(line))


def test_a_manifest_has_the_record_only_where_one_was_sent() -> None:
    """Logs of before there were records are read as they are."""
    content = Content(site="a", kind="evaluate", num_bytes=9, report_digest="0" * 64)
    sent = content.model_copy(update={"seen": seen_of(record())})
    lines = [manifest_line(sign_manifest(KEY, one, seq=0, prev="0" * 64, time="2026-12-01T00:00:00Z"))
             for one in (content, sent)]
    assert b"seen" not in lines[0]
    assert [read_manifest(line).seen for line in lines] == [None, seen_of(record())]
    with pytest.raises(ProtocolError, match="wrong signature"):
        read_manifest(lines[1].replace(record_digest(record()).encode(), b"2" * 64))
