"""docs/privacy-budget.md says what the code does, and its checker of ledgers checks."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature

from braing3n.files import canonical_json, digest_bytes
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.ledger import FILE_NAME, KEY_NAME, PUBLIC_NAME, load_history, open_ledger
from braing3n.privacy.ledger_entry import WITHOUT_DP, Entry, MechanismRecord, SpentRecord, parse_line
from braing3n.privacy.ledger_history import Decided
from braing3n.privacy_messages import HeadClaim, PrivacyReport, Receipt
from braing3n.protocol import REFUSALS, Hello, Reply
from braing3n.receipts import receipt_digest, receipt_line, sign_claim, sign_receipt
from braing3n.signing import SigningKey, load_public_key, open_key
from client.state_folder import _OWN

PAGE = (Path(__file__).parents[1] / "docs" / "privacy-budget.md").read_text(encoding="utf-8")
TRAINING = MechanismRecord(name="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.5, steps=100,
                           clip_norm=0.1, views=4, engine="loop", num_subjects=80)
ONCE = MechanismRecord(name="gaussian", sample_rate=1.0, noise_multiplier=4.0, steps=1, clip_norm=1.0,
                       num_subjects=80)
SPENT = SpentRecord(pld=50.0, rdp=60.0, delta=1e-5)
PLACE = {"run": "r1", "stage": "decoder", "cohort": "patients"}

Check = Callable[..., str]


def section(title: str) -> str:
    """Return a part of the page, up to the next title of its level or above."""
    level = title.partition(" ")[0]
    rest = PAGE.partition(f"\n{title}\n")[2]
    assert rest, title
    return re.split(rf"\n#{{2,{len(level)}}} ", rest)[0]


def named(text: str) -> set[str]:
    """Return the words that stand as code in a text."""
    return set(re.findall(r"`([a-z_]+)`", text))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A site's state folder: rounds settled, done in part and never settled, moments, a refusal."""
    folder = tmp_path / "state"
    with open_ledger(folder) as ledger:
        for cohort in ("patients", "others"):
            ledger.decide(cohort, Decided(60.0, 1e-5))
        for number, steps in enumerate((100, 40, None)):
            entry = ledger.reserve(**PLACE, round_index=number, what="update", mechanism=TRAINING,
                                   spent=SPENT, plan_digest="0" * 64)
            if steps is not None:
                ledger.settle(entry, steps=steps, spent=SPENT, released_digest="1" * 64)
        ledger.reserve(**PLACE, round_index=3, what="moments", mechanism=ONCE, spent=SPENT,
                       plan_digest="0" * 64)
        ledger.refuse("budget", **PLACE, round_index=4)
    return folder


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run the page's own checker, as an auditor would; returns what it prints."""
    script = tmp_path / "check_ledger.py"
    blocks = re.findall(r"```python\n(.*?)```", section("### A checker of your own"), re.DOTALL)
    assert len(blocks) == 1
    script.write_text(blocks[0], encoding="utf-8")

    def run(*arguments: str | Path) -> str:
        monkeypatch.setattr("sys.argv", ["check_ledger.py", *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run


def receipt_of(state: Path, seq: int, *, key: SigningKey | None = None, digest: str | None = None,
               ) -> Receipt:
    """Return a receipt for an entry of site a; `digest` claims another than the ledger has."""
    own = open_key(state / KEY_NAME) if key is None else key
    head = load_history(state).head_at(seq)
    if digest is not None:
        head = head.model_copy(update={"digest": digest})
    return sign_receipt(open_key(state.parent / "coordinator.key"), number=0, run="r1", site="a",
                        previous=receipt_digest(None),
                        claim=sign_claim(own.sign, own.public, "a", head=head))


def kept(state: Path, receipt: Receipt) -> Path:
    path = state.parent / "receipts.jsonl"
    path.write_bytes(receipt_line(receipt) + b"\n")
    return path


def test_the_page_s_checker_computes_the_epsilon_of_all_that_was_spent(state: Path, check: Check,
                                                                       ) -> None:
    with open_ledger(state) as ledger:
        own = ledger.events("patients")
        ledger.reserve(**{**PLACE, "cohort": "others"}, round_index=0, what="moments", mechanism=ONCE,
                       spent=SPENT, plan_digest="0" * 64)
        others = ledger.events("others")
    assert [event.steps for event in own] == [100, 40, 100, 1]
    told = dict(re.findall(r"(\w+): epsilon ([0-9.]+)", check("a", state)))
    assert {name: float(text) for name, text in told.items()} == {
        "patients": pytest.approx(epsilon(own, 1e-5), rel=0.01),
        "others": pytest.approx(epsilon(others, 1e-5), rel=0.01)}


def test_the_page_s_checker_names_no_epsilon_after_work_without_dp(state: Path, check: Check) -> None:
    with open_ledger(state) as ledger:
        ledger.note(WITHOUT_DP, **PLACE, round_index=5)
    assert check("a", state) == "patients: no epsilon, also trained on without DP\n"


@pytest.mark.parametrize(("before", "after"), [
    (b'"noise_multiplier":1.5', b'"noise_multiplier":2.5'),
    (b'"cohort":"patients"', b'"cohort":"patience"'),
    (b'"code":"budget"', b'"code":"policy"'),
    (b'"seq":1,', b'"seq":1, '),
    (b'"kind":"reserve"', b'"kind":"refuse"'),
])
def test_the_page_s_checker_finds_an_edited_line(state: Path, check: Check, before: bytes, after: bytes,
                                                 ) -> None:
    check("a", state)
    path = state / FILE_NAME
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after, 1))
    with pytest.raises((InvalidSignature, SystemExit)):
        check("a", state)


def drop_one(lines: list[bytes]) -> list[bytes]:
    return lines[:3] + lines[4:]


def swap_two(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


def say_one_twice(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[-1]]


@pytest.mark.parametrize("change", [drop_one, swap_two, say_one_twice])
def test_the_page_s_checker_finds_lines_that_were_dropped_moved_or_said_twice(
    state: Path, check: Check, change: Callable[[list[bytes]], list[bytes]],
) -> None:
    path = state / FILE_NAME
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(SystemExit, match="does not hold"):
        check("a", state)


def test_the_page_s_checker_finds_an_entry_that_another_key_signed(state: Path, check: Check) -> None:
    other = open_key(state.parent / "other.key")
    lines = (state / FILE_NAME).read_bytes().splitlines()
    last = parse_line(lines[-1])
    forged = last.model_copy(update={"signature": other.sign(last.signed_bytes())})
    (state / FILE_NAME).write_bytes(b"\n".join([*lines[:-1], forged.line(), b""]))
    with pytest.raises(InvalidSignature):
        check("a", state)


def signed(state: Path, **changes: object) -> None:
    """Append an entry that the site's own key signed, without the ledger's rules: a forger's."""
    key, path = open_key(state / KEY_NAME), state / FILE_NAME
    lines = path.read_bytes().splitlines()
    content = json.loads(lines[4]) | {
        "time": json.loads(lines[-1])["time"], "seq": len(lines), "prev": digest_bytes(lines[-1]),
        **changes}
    del content["signature"]
    content["signature"] = key.sign(canonical_json(content))
    with path.open("ab") as stream:
        stream.write(canonical_json(content) + b"\n")


def test_the_page_s_checker_finds_a_second_settle_and_one_of_less_noise(state: Path, check: Check,
                                                                        ) -> None:
    content = (state / FILE_NAME).read_bytes()
    how = TRAINING.model_dump(mode="json")
    for changes in ({"reserves": 3},                                       # settled in line 4 already
                    {"reserves": 7, "mechanism": {**how, "noise_multiplier": 9.0}},
                    {"reserves": 7, "mechanism": {**how, "steps": 101}},
                    {"reserves": 7, "cohort": "others"}):
        (state / FILE_NAME).write_bytes(content)
        signed(state, **changes)
        with pytest.raises(SystemExit, match="settles something else"):
            check("a", state)
    (state / FILE_NAME).write_bytes(content)
    signed(state, reserves=7)
    check("a", state)


@pytest.mark.parametrize(("changes", "why"), [
    ({"spent": {"pld": 61.0, "rdp": 62.0, "delta": 1e-5}}, "over budget"),
    ({"spent": {"pld": 0.0, "rdp": 0.0, "delta": 0.5}}, "over budget"),
    ({"spent": {"pld": 0.5, "rdp": 0.6, "delta": 1e-5}}, "comes to more than is claimed"),
    ({"time": "2020-01-01T00:00:00Z"}, "older than the one before")])
def test_the_page_s_checker_finds_what_the_site_itself_has_signed_wrongly(
    state: Path, check: Check, changes: dict[str, object], why: str
) -> None:
    signed(state, reserves=7, **changes)
    with pytest.raises(SystemExit, match=why):
        check("a", state)


def test_the_page_s_checker_holds_a_ledger_to_the_receipts(state: Path, check: Check) -> None:
    last = load_history(state).head.seq
    receipts = kept(state, receipt_of(state, last))
    check("a", state, receipts)
    lines = (state / FILE_NAME).read_bytes().splitlines(keepends=True)
    (state / FILE_NAME).write_bytes(b"".join(lines[:-1]))  # cut, or restored from a backup
    check("a", state)
    with pytest.raises(SystemExit, match=f"entry {last} is not the one that was shown"):
        check("a", state, receipts)


def test_the_page_s_checker_finds_a_receipt_that_is_forged_or_of_another_key(state: Path, check: Check,
                                                                             ) -> None:
    good = receipt_of(state, 2)
    check("a", state, kept(state, good))
    with pytest.raises(SystemExit, match="not the one that was shown"):
        check("a", state, kept(state, receipt_of(state, 2, digest="f" * 64)))
    other = open_key(state.parent / "other.key")
    with pytest.raises(SystemExit, match="not the one that was shown"):
        check("a", state, kept(state, receipt_of(state, 2, key=other)))
    for forged in (good.model_copy(update={"number": 7}), good.model_copy(
            update={"claim": good.claim.model_copy(update={"seq": 1})})):
        with pytest.raises(InvalidSignature):
            check("a", state, kept(state, forged))


def test_what_is_signed_is_the_line_without_its_signature(state: Path) -> None:
    key = load_public_key(state / PUBLIC_NAME)
    for line in (state / FILE_NAME).read_bytes().splitlines():
        signature = str(json.loads(line)["signature"])
        assert key.verify(line.replace(f'"signature":"{signature}",'.encode(), b""), signature)


def test_the_page_names_every_field_of_an_entry_and_of_a_receipt() -> None:
    ledger, receipts = section("### The ledger"), section("### Receipts")
    assert set(Entry.model_fields) == {row[0] for row in re.findall(r"^\| `([a-z_]+)` \|()", ledger,
                                                                    re.MULTILINE)}
    assert {*MechanismRecord.model_fields, *SpentRecord.model_fields} <= named(ledger)
    assert {*Receipt.model_fields, *HeadClaim.model_fields} <= named(receipts)


def test_the_page_says_of_every_field_of_a_message_whether_it_leaves() -> None:
    told = named(section("## What leaves a site"))
    assert {*Hello.model_fields, *Reply.model_fields, *PrivacyReport.model_fields} <= told


def test_the_page_explains_every_word_of_a_refusal() -> None:
    words = re.findall(r"^\| (`.*?) \|", section("### Refusals"), re.MULTILINE)
    # Of the coordinator, which no site sends.
    own = {"late", "unreachable", "name_taken", "revoked", "impostor", "unknown_node"}
    assert named(" ".join(words)) == {*REFUSALS, *own}


def test_the_page_says_of_every_file_in_the_state_folder_whether_to_back_it_up() -> None:
    rows = "".join(re.findall(r"^\| (`.*?) \|", section("### Backups"), re.MULTILINE))
    told = {name.rstrip("/") for name in re.findall(r"`([^`]+)`", rows)}
    assert told == _OWN - {"egress.lock", "ledger.lock", "split.lock"}


def test_every_place_that_the_page_points_to_is_there() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = target.partition("#")
        text = PAGE if not file else (root / "docs" / file).read_text(encoding="utf-8")
        titles = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
                  for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        assert not anchor or anchor in titles, target
