import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.errors import LedgerError
from braing3n.privacy.ledger import open_ledger
from braing3n.privacy.ledger_entry import Entry, Head, MechanismRecord, SpentRecord
from braing3n.privacy.ledger_history import History, split_lines
from braing3n.signing import PublicKey, SigningKey

STEPS = MechanismRecord(name="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.5, steps=10,
                        clip_norm=1.0, views=4, engine="loop", num_subjects=100)
SPENT = SpentRecord(pld=1.25, rdp=1.5, delta=1e-5)
WORK = {"run": "run-1", "stage": "pretrain", "cohort": "patients"}
COST = {**WORK, "round_index": 0, "what": "update", "mechanism": STEPS, "spent": SPENT,
        "plan_digest": "d" * 64}
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(b"o" * 32))


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, PublicKey]:
    """A ledger's bytes: three rounds, one never settled, a refusal and notes."""
    folder = tmp_path_factory.mktemp("site")
    with open_ledger(folder, clock=lambda: datetime(2026, 11, 23, tzinfo=UTC)) as ledger:
        for round_index in range(3):
            reservation = ledger.reserve(**{**COST, "round_index": round_index})
            if round_index != 1:
                ledger.settle(reservation, steps=10 - round_index, spent=SPENT,
                              released_digest="e" * 64)
        ledger.refuse("budget", **WORK, round_index=3, detail="expected 8 found 9.25")
        ledger.note("without_dp", **WORK, round_index=4)
        ledger.note("budget", cohort="patients", detail="epsilon 8 delta 1e-05")
        ledger.note("other")
        return (folder / "ledger.jsonl").read_bytes(), ledger.public_key


def is_found(content: bytes, key: PublicKey) -> bool:
    lines, torn = split_lines(content)
    return bool(torn) or bool(History(lines, key).findings)


def test_a_valid_ledger_holds_by_a_check_that_shares_no_code(valid: tuple[bytes, PublicKey]) -> None:
    content, key = valid
    before, public = "0" * 64, Ed25519PublicKey.from_public_bytes(key.raw)
    for seq, line in enumerate(content.decode().splitlines()):
        entry = json.loads(line)
        signature = bytes.fromhex(entry.pop("signature"))
        public.verify(signature, json.dumps(entry, sort_keys=True, separators=(",", ":")).encode())
        assert entry["prev"] == before
        assert entry["seq"] == seq
        assert entry["key_id"] == hashlib.sha256(key.raw).hexdigest()
        before = hashlib.sha256(line.encode()).hexdigest()
    assert not is_found(content, key)
    assert History(split_lines(content)[0], key).head == Head(seq=seq, digest=before)


# Attacks on a valid ledger by somebody without its key. Each gives other bytes, or the same by chance.

def change_a_byte(content: bytes, draw: Callable[..., int]) -> bytes:
    place = draw(st.integers(0, len(content) - 1))
    return content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1:]


def add_a_byte(content: bytes, draw: Callable[..., int]) -> bytes:
    place = draw(st.integers(0, len(content)))
    return content[:place] + bytes([draw(st.integers(0, 255))]) + content[place:]


def remove_bytes(content: bytes, draw: Callable[..., int]) -> bytes:
    """In the middle: what is missing at the end, from a line's end on, cannot be found."""
    place = draw(st.integers(0, len(content) - 2))
    return content[:place] + content[draw(st.integers(place + 1, len(content) - 1)):]


def remove_a_line(content: bytes, draw: Callable[..., int]) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[draw(st.integers(0, len(lines) - 2))]
    return b"".join(lines)


def swap_lines(content: bytes, draw: Callable[..., int]) -> bytes:
    lines = content.splitlines(keepends=True)
    one, two = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    lines[one], lines[two] = lines[two], lines[one]
    return b"".join(lines)


def repeat_a_line(content: bytes, draw: Callable[..., int]) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.insert(draw(st.integers(0, len(lines))), lines[draw(st.integers(0, len(lines) - 1))])
    return b"".join(lines)


def cut_within_a_line(content: bytes, draw: Callable[..., int]) -> bytes:
    place = draw(st.integers(1, len(content) - 1).filter(lambda at: content[at - 1:at] != b"\n"))
    return content[:place]


def change_a_value_and_mend_the_chain(content: bytes, draw: Callable[..., int]) -> bytes:
    """A number is changed, and every later `prev` is computed again: only signatures tell."""
    entries = [json.loads(line) for line in content.splitlines()]
    chosen = entries[draw(st.integers(0, len(entries) - 1))]
    path = draw(st.sampled_from(["round_index", "steps", "spent", "time"]))
    if path == "steps" and "mechanism" in chosen:
        chosen["mechanism"]["steps"] = 1
    elif path == "spent" and "spent" in chosen:
        chosen["spent"]["pld"] = 0.5
    elif path == "round_index" and "round_index" in chosen:
        chosen["round_index"] += 1
    else:
        chosen["time"] = "2026-11-22T00:00:00Z"
    lines, before = [], "0" * 64
    for entry in entries:
        entry["prev"] = before
        lines.append(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode())
        before = hashlib.sha256(lines[-1]).hexdigest()
    return b"".join(line + b"\n" for line in lines)


ATTACKS = [change_a_byte, add_a_byte, remove_bytes, remove_a_line, swap_lines, repeat_a_line,
           cut_within_a_line, change_a_value_and_mend_the_chain]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_without_the_key_is_found(
    valid: tuple[bytes, PublicKey], attack: Callable[..., bytes],
) -> None:
    content, key = valid

    @settings(max_examples=100)
    @given(st.data())
    def found(data: st.DataObject) -> None:
        attacked = attack(content, data.draw)
        assert is_found(attacked, key) == (attacked != content)

    found()


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_without_the_key_is_found_in_thousands(
    valid: tuple[bytes, PublicKey], attack: Callable[..., bytes],
) -> None:
    content, key = valid

    @settings(max_examples=5000)
    @given(st.data())
    def found(data: st.DataObject) -> None:
        attacked = attack(content, data.draw)
        assert is_found(attacked, key) == (attacked != content)

    found()


@given(st.binary(max_size=300) | st.lists(st.binary(max_size=40)).map(b"\n".join))
def test_garbage_is_found_and_nothing_else_happens(content: bytes) -> None:
    lines, torn = split_lines(content)
    history = History(lines, KEY.public)
    assert [finding.code for finding in history.findings] == ["malformed"] * len(lines)
    assert (torn == b"") == (content == b"" or content.endswith(b"\n"))
    assert history.events("patients") == history.open_reserves() == []


def test_lines_missing_at_the_end_are_found_with_a_receipt_only(
    valid: tuple[bytes, PublicKey],
) -> None:
    content, key = valid
    lines, _ = split_lines(content)
    whole = History(lines, key)
    receipt = whole.head_at(5)
    for kept in range(len(lines) + 1):
        cut = History(lines[:kept], key)
        assert not cut.findings  # by itself it is a ledger like any other
        assert cut.head == whole.head_at(kept - 1)
        if kept > 5:
            assert cut.head_at(5) == receipt
            continue
        with pytest.raises(LedgerError, match="no such entry"):
            cut.head_at(5)
    with pytest.raises(LedgerError, match="no such entry"):
        whole.head_at(len(lines))
    with pytest.raises(LedgerError, match="no such entry"):
        whole.head_at(-2)


def signed(key: SigningKey, before: list[bytes], **fields: object) -> bytes:
    """Return a line that follows others, by a key; `fields` may break any rule."""
    digest = hashlib.sha256(before[-1]).hexdigest() if before else "0" * 64
    entry = Entry(**{"seq": len(before), "prev": digest, "time": "2026-11-23T16:54:21Z",
                     "key_id": key.public.key_id, "signature": "0" * 128, **fields})
    if entry.signature == "0" * 128:
        entry = entry.model_copy(update={"signature": key.sign(entry.signed_bytes())})
    return entry.line()


def ledger_of(*entries: dict[str, object], key: SigningKey = KEY) -> list[bytes]:
    lines: list[bytes] = []
    for fields in entries:
        lines.append(signed(key, lines, **fields))
    return lines


def codes(lines: list[bytes]) -> list[tuple[str, int]]:
    return [(code, seq) for code, seq, _ in History(lines, KEY.public).findings]


RESERVE = {"kind": "reserve", **COST}
SETTLE = {"kind": "settle", **COST, "reserves": 0, "released_digest": "e" * 64}
NOTE = {"kind": "note", "code": "other"}


@pytest.mark.parametrize(("entry", "code"), [
    ({**NOTE, "seq": 2}, "seq"), ({**NOTE, "seq": 0}, "seq"), ({**NOTE, "prev": "0" * 64}, "chain"),
    ({**NOTE, "time": "2026-11-23T16:54:20Z"}, "time"), ({**NOTE, "key_id": "0" * 64}, "key"),
    ({**NOTE, "signature": "1" * 128}, "signature"), ({**SETTLE, "reserves": 1}, "settle"),
    ({**SETTLE, "reserves": 7}, "settle")])
def test_each_rule_is_kept_by_the_holder_of_the_key_as_well(
    entry: dict[str, object], code: str,
) -> None:
    assert codes(ledger_of(RESERVE, NOTE)) == []
    assert codes(ledger_of(RESERVE, entry)) == [(code, 1)]


@pytest.mark.parametrize("changed", [
    {"run": "run-2"}, {"stage": "decoder"}, {"round_index": 1}, {"cohort": "others"},
    {"what": "moments"}, {"plan_digest": "e" * 64}, {"weights_digest": "e" * 64},
    *({"mechanism": STEPS.model_copy(update=change)} for change in (
        {"steps": 11}, {"noise_multiplier": 1.6}, {"sample_rate": 0.05}, {"clip_norm": 0.5},
        {"views": 5}, {"engine": "opacus"}, {"num_subjects": 200}))])
def test_a_settle_of_something_else_than_was_reserved_is_found(changed: dict[str, object]) -> None:
    assert codes(ledger_of(RESERVE, SETTLE)) == []
    assert codes(ledger_of(RESERVE, {**SETTLE, **changed})) == [("settle", 1)]


def test_a_reserve_is_settled_once_and_by_itself() -> None:
    assert codes(ledger_of(RESERVE, SETTLE, SETTLE)) == [("settle", 2)]
    assert codes(ledger_of(NOTE, SETTLE)) == [("settle", 1)]
    assert codes(ledger_of(RESERVE, SETTLE, {**SETTLE, "reserves": 1})) == [("settle", 2)]
    # A second settle with fewer steps does not lower what is counted, whatever else is made of it.
    fewer = {**SETTLE, "mechanism": STEPS.model_copy(update={"steps": 1})}
    history = History(ledger_of(RESERVE, SETTLE, fewer), KEY.public)
    assert [event.steps for event in history.events("patients")] == [10]


def test_a_ledger_signed_again_with_another_key_is_refused() -> None:
    lines = ledger_of(RESERVE, SETTLE, key=OTHER)
    assert History(lines, OTHER.public).findings == []
    assert codes(lines) == [("key", 0), ("signature", 0), ("key", 1), ("signature", 1)]
    # One that claims the right key's id.
    forged = ledger_of({**RESERVE, "key_id": KEY.public.key_id}, key=OTHER)
    assert codes(forged) == [("signature", 0)]


def test_an_entry_of_the_same_keys_other_ledger_does_not_fit() -> None:
    one, two = ledger_of(NOTE, RESERVE), ledger_of({**NOTE, "code": "word"}, RESERVE)
    assert codes([one[0], two[1]]) == [("chain", 1)]


def test_everything_reserved_is_spent_and_a_settle_says_how_much_of_it() -> None:
    def reserve(round_index: int, cohort: str = "patients") -> dict[str, object]:
        return {**RESERVE, "round_index": round_index, "cohort": cohort}

    settle = {**SETTLE, "round_index": 1, "reserves": 1,
              "mechanism": STEPS.model_copy(update={"steps": 7})}
    history = History(ledger_of(
        reserve(0), reserve(1), reserve(2, "others"), settle, {"kind": "refuse", **WORK,
        "round_index": 9, "code": "budget", "mechanism": STEPS}, NOTE), KEY.public)
    assert not history.findings
    spent = {cohort: [(event.round_index, event.steps) for event in history.events(cohort)]
             for cohort in ("patients", "others")}
    assert spent == {"patients": [(0, 10), (1, 7)], "others": [(2, 10)]}
    assert history.events("nobody") == []
    assert [entry.seq for entry in history.open_reserves()] == [0, 2]


def test_a_release_without_dp_is_known_by_its_cohort() -> None:
    note = {"kind": "note", "code": "without_dp", **WORK, "round_index": 5}
    history = History(ledger_of(NOTE, note, {**note, "kind": "refuse"}), KEY.public)
    assert not history.findings
    assert [(entry.seq, entry.stage, entry.run) for entry in history.without_dp("patients")] == [
        (1, "pretrain", "run-1")]
    assert history.without_dp("others") == []
