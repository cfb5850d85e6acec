"""Attacks on ledgers, each by name; that each needs its check; and anything else that may come."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from braing3n.audit import ledger_line, ledger_rules, receipts, recompute, verify
from braing3n.audit.cli import app
from braing3n.audit.findings import CLAIM_AFTER
from braing3n.errors import ConfigError, LedgerError
from braing3n.privacy.ledger import open_ledger
from braing3n.privacy.ledger_history import Decided
from braing3n.receipts import receipt_digest, sign_claim, sign_receipt
from braing3n.signing import open_key

Attack = Callable[[Any, Any, Path], None]


def lines_of(site: Any) -> list[bytes]:
    return site.ledger.read_bytes().splitlines()


def write(site: Any, lines: list[bytes]) -> None:
    site.ledger.write_bytes(b"".join(line + b"\n" for line in lines))


def audited(site: Any, coordinator: Any) -> verify.Verified:
    return verify.verify([site.ledger], [coordinator.folder / "receipts.jsonl"])


def codes(verified: verify.Verified) -> set[str]:
    return {one.code for one in verified.findings} | {
        one.code for ledger in verified.ledgers for one in ledger.findings}


def test_a_ledger_that_nobody_touched_holds(worked: Any, coordinator: Any) -> None:
    verified = audited(worked, coordinator)
    assert verified.holds
    (ledger,) = verified.ledgers
    assert (ledger.site, ledger.num_entries) == ("site-a", 8)
    assert ledger.cohorts[0].bounds.pld == pytest.approx(ledger.cohorts[0].claimed.pld, abs=1e-6)


# Attacks. Without the key unless it is said.


def edit_an_entry(site: Any, coordinator: Any, spare: Path) -> None:
    """Half the noise that was really there is doubled on paper."""
    lines = lines_of(site)
    write(site, [line.replace(b'"noise_multiplier":1.5', b'"noise_multiplier":9.5') for line in lines])


def edit_and_chain_anew(site: Any, coordinator: Any, spare: Path) -> None:
    """Edit, and mend the digests of all that follows: only signatures are wrong then."""
    mended: list[bytes] = []
    for line in lines_of(site):
        entry = json.loads(line)
        entry["prev"] = receipts.hashlib.sha256(mended[-1]).hexdigest() if mended else "0" * 64
        if "mechanism" in entry:
            entry["mechanism"]["noise_multiplier"] = 9.5
        mended.append(ledger_line.encode(entry))
    write(site, mended)


def swap_two_entries(site: Any, coordinator: Any, spare: Path) -> None:
    lines = lines_of(site)
    lines[3], lines[4] = lines[4], lines[3]
    write(site, lines)


def delete_an_entry(site: Any, coordinator: Any, spare: Path) -> None:
    write(site, [line for number, line in enumerate(lines_of(site)) if number != 4])


def insert_an_entry(site: Any, coordinator: Any, spare: Path) -> None:
    """With the site's own key, as its IT could: to explain something afterwards."""
    lines = lines_of(site)
    write(site, [*lines[:4], site.forge(at=4), *lines[4:]])


def cut_the_end(site: Any, coordinator: Any, spare: Path) -> None:
    write(site, lines_of(site)[:-2])


def restore_a_backup(site: Any, coordinator: Any, spare: Path) -> None:
    """The whole folder of an earlier day; what came after is forgotten."""
    shutil.copytree(site.folder, spare)
    site.work(3, coordinator=coordinator)
    shutil.rmtree(site.folder)
    shutil.copytree(spare, site.folder)


def restore_and_go_on(site: Any, coordinator: Any, spare: Path) -> None:
    """A backup that is gone on with, by the site's own software, until it is as long."""
    restore_a_backup(site, coordinator, spare)
    site.work(3, steps=1)


def sign_with_another_key(site: Any, coordinator: Any, spare: Path) -> None:
    """The whole ledger is written anew by a key of the attacker's, with half the rounds."""
    resign(site, spare)


def sign_anew_and_replace_the_public_key(site: Any, coordinator: Any, spare: Path) -> None:
    """The same by somebody who can put another ledger.pub beside it: the site itself."""
    key = resign(site, spare)
    (site.folder / "ledger.pub").write_text(key.public.text + "\n")


def resign(site: Any, spare: Path) -> Any:
    spare.mkdir()
    key = open_key(spare / "other.key")
    lines = [json.loads(line) for line in lines_of(site)[:-2]]
    site.ledger.write_bytes(b"")
    for entry in lines:
        site.append(site.forge(key, **{name: value for name, value in entry.items()
                                       if name not in ("signature", "prev", "key_id", "code")},
                               **({"code": entry["code"]} if "code" in entry else {"code": None})))
    without = [{name: value for name, value in json.loads(line).items() if value is not None}
               for line in lines_of(site)]
    write(site, signed_again(without, key))
    return key


def signed_again(entries: list[dict[str, Any]], key: Any) -> list[bytes]:
    done: list[bytes] = []
    for entry in entries:
        entry["prev"] = receipts.hashlib.sha256(done[-1]).hexdigest() if done else "0" * 64
        entry.pop("signature")
        done.append(ledger_line.encode({**entry, "signature": key.sign(ledger_line.encode(entry))}))
    return done


def replay_an_entry(site: Any, coordinator: Any, spare: Path) -> None:
    lines = lines_of(site)
    write(site, [*lines, lines[3]])


def set_the_clock_back(site: Any, coordinator: Any, spare: Path) -> None:
    """With the site's key: an entry that is dated before the one before it."""
    site.append(site.forge(time="2026-11-01T00:00:00Z"))


def write_from_two_copies(site: Any, coordinator: Any, spare: Path) -> None:
    """Two machines with the same key and ledger; somebody puts both files together."""
    common = lines_of(site)
    shutil.copytree(site.folder, spare)
    site.work(3)
    first = lines_of(site)
    write(site, common)
    site.work(3, steps=2)
    write(site, [*first, *lines_of(site)[len(common):]])


def raise_the_budget_in_silence(site: Any, coordinator: Any, spare: Path) -> None:
    """The limit is signed once, and more is spent: by software that does not look."""
    site.decide(epsilon=0.5)
    site.work(3)


def begin_without_a_limit(site: Any, coordinator: Any, spare: Path) -> None:
    shutil.rmtree(site.folder)
    (coordinator.folder / "receipts.jsonl").write_bytes(b"")
    site.work(0)


def claim_less_than_was_spent(site: Any, coordinator: Any, spare: Path) -> None:
    site.work(3, claimed=0.25)


def settle_with_more_noise(site: Any, coordinator: Any, spare: Path) -> None:
    """With the site's key: a settle with more noise than was reserved."""
    site.work(3, settles=False)
    reserve = json.loads(lines_of(site)[-1])
    site.append(signed(site, {
        **reserve, "kind": "settle", "reserves": reserve["seq"], "released_digest": "e" * 64,
        "mechanism": {**reserve["mechanism"], "noise_multiplier": 50.0}}))


def settle_at_a_large_delta(site: Any, coordinator: Any, spare: Path) -> None:
    """With the site's key: at a delta of a half, everything costs nothing."""
    site.work(3, settles=False)
    reserve = json.loads(lines_of(site)[-1])
    site.append(signed(site, {**reserve, "kind": "settle", "reserves": reserve["seq"],
                              "released_digest": "e" * 64,
                              "spent": {"pld": 0.0, "rdp": 0.0, "delta": 0.5}}))


def claim_little_until_it_is_raised(site: Any, coordinator: Any, spare: Path) -> None:
    """Reserves claim to be within the limit; the last settle, after a larger one, tells the truth."""
    site.decide(epsilon=0.5)
    site.work(3, claimed=0.4, settles=False)
    site.decide(epsilon=100.0)
    site.work(4)


def settle_beyond_the_limit(site: Any, coordinator: Any, spare: Path) -> None:
    """The reserve claims to be within the limit, its settle does not."""
    site.decide(epsilon=50.0)
    site.work(3, settles=False)
    reserve = json.loads(lines_of(site)[-1])
    site.append(signed(site, {**reserve, "kind": "settle", "reserves": reserve["seq"],
                              "released_digest": "e" * 64,
                              "spent": {**reserve["spent"], "pld": 60.0}}))


def signed(site: Any, entry: dict[str, Any]) -> bytes:
    """Return an entry as the ledger's next line, signed by the site's key."""
    lines = lines_of(site)
    key = open_key(site.folder / "ledger.key")
    entry = {**entry, "seq": len(lines), "prev": receipts.hashlib.sha256(lines[-1]).hexdigest()}
    entry.pop("signature", None)
    return ledger_line.encode({**entry, "signature": key.sign(ledger_line.encode(entry))})


def release_the_same_round_twice(site: Any, coordinator: Any, spare: Path) -> None:
    site.work(2)


def tear_the_last_line(site: Any, coordinator: Any, spare: Path) -> None:
    site.ledger.write_bytes(site.ledger.read_bytes()[:-40])


def change_a_receipt(site: Any, coordinator: Any, spare: Path) -> None:
    path = coordinator.folder / "receipts.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":7'))


def drop_a_receipt(site: Any, coordinator: Any, spare: Path) -> None:
    coordinator.write(coordinator.folder / "receipts.jsonl",
                      [coordinator.given[0], coordinator.given[2]])


def invent_a_head(site: Any, coordinator: Any, spare: Path) -> None:
    """By the coordinator: a receipt for a head that the site has never claimed."""
    last = coordinator.given[-1]
    claim = last.claim.model_copy(update={"seq": 99, "digest": "f" * 64})
    coordinator.write(coordinator.folder / "receipts.jsonl", [*coordinator.given, sign_receipt(
        coordinator.key, number=3, previous=receipt_digest(last), run="run-1", site="site-a",
        claim=claim)])


def put_a_strangers_receipt_in(site: Any, coordinator: Any, spare: Path) -> None:
    spare.mkdir()
    stranger = open_key(spare / "stranger.key")
    with open_ledger(site.folder, clock=site.clock) as ledger:
        claim = sign_claim(ledger.sign, ledger.public_key, "site-a", head=ledger.head)
    coordinator.write(coordinator.folder / "receipts.jsonl", [*coordinator.given, sign_receipt(
        stranger, number=3, previous=receipt_digest(coordinator.given[-1]), run="run-1",
        site="site-a", claim=claim)])


def give_all_receipts_anew(site: Any, coordinator: Any, spare: Path) -> None:
    """By somebody who is not the coordinator, to leave out what came last."""
    spare.mkdir()
    stranger = open_key(spare / "stranger.key")
    given: list[Any] = []
    for one in coordinator.given[:2]:
        given.append(sign_receipt(stranger, number=one.number, run=one.run, site=one.site,
                                  claim=one.claim,
                                  previous=receipt_digest(given[-1] if given else None)))
    coordinator.write(coordinator.folder / "receipts.jsonl", given)
    cut_the_end(site, coordinator, spare)


def never(*_: object, **__: object) -> tuple[()]:
    return ()


def always(*_: object, **__: object) -> bool:
    return True


# What each attack is found by, and the checks without which it is not.
ATTACKS: list[tuple[Attack, str, Sequence[tuple[Any, str, Any]]]] = [
    (edit_an_entry, "edited", []),
    (edit_and_chain_anew, "edited", []),
    (swap_two_entries, "reordered", [(ledger_rules, "check_order", never)]),
    (delete_an_entry, "deleted", [(ledger_rules, "check_order", never)]),
    (insert_an_entry, "two_writers", [(ledger_rules, "check_order", never)]),
    (cut_the_end, "truncated", [(verify, "hold", never)]),
    (restore_a_backup, "truncated", [(verify, "hold", never)]),
    (restore_and_go_on, "forked", [(verify, "hold", never)]),
    (sign_with_another_key, "key", []),
    (sign_anew_and_replace_the_public_key, "other_key", [(verify, "hold", never)]),
    (replay_an_entry, "replayed", [(ledger_rules, "check_order", never)]),
    (set_the_clock_back, "clock", [(ledger_rules, "check_times", never)]),
    (write_from_two_copies, "two_writers", [(ledger_rules, "check_order", never)]),
    (raise_the_budget_in_silence, "over_budget",
     [(ledger_rules, "check_budgets", never), (verify, "check_spending", never)]),
    (settle_at_a_large_delta, "over_budget", [(ledger_rules, "check_budgets", never)]),
    (settle_beyond_the_limit, "over_budget", [(ledger_rules, "check_budgets", never)]),
    (claim_little_until_it_is_raised, "over_budget", [(verify, "check_spending", never)]),
    (begin_without_a_limit, "undecided", [(ledger_rules, "check_budgets", never)]),
    (claim_less_than_was_spent, "understated", [(recompute, "is_below", lambda *_: False)]),
    (settle_with_more_noise, "settle", [(ledger_rules, "_wrong_settle", lambda *_: None)]),
    (release_the_same_round_twice, "released_twice", [(ledger_rules, "check_settles", never)]),
    (tear_the_last_line, "unfinished", []),
    (change_a_receipt, "receipt_signature", [(receipts, "is_signed", always)]),
    (drop_a_receipt, "receipt_chain", [(receipts, "_check_chain", never)]),
    (invent_a_head, "receipt_claim", [(receipts, "is_signed", always)]),
    (put_a_strangers_receipt_in, "receipt_key", []),
    (give_all_receipts_anew, "receipt_key", [(receipts, "_check_key", never)]),
]


@pytest.mark.parametrize(("attack", "code"), [(one[0], one[1]) for one in ATTACKS],
                         ids=[one[0].__name__ for one in ATTACKS])
def test_an_attack_is_found(worked: Any, coordinator: Any, tmp_path: Path, attack: Attack, code: str,
                            ) -> None:
    attack(worked, coordinator, tmp_path / "spare")
    verified = audited(worked, coordinator)
    assert code in codes(verified)
    assert not verified.holds
    assert all(len(one.meaning) > 60 for one in verified.ledgers[0].findings)


@pytest.mark.parametrize("attack", [one for one in ATTACKS if one[2]],
                         ids=[one[0].__name__ for one in ATTACKS if one[2]])
def test_without_its_check_it_is_not(
    worked: Any, coordinator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    attack: tuple[Attack, str, Sequence[tuple[Any, str, Any]]],
) -> None:
    """Mutation: what finds an attack is its check, and nothing else by chance."""
    attack[0](worked, coordinator, tmp_path / "spare")
    for check in attack[2]:
        monkeypatch.setattr(*check)
    assert attack[1] not in codes(audited(worked, coordinator))


def test_without_signatures_an_edit_that_mends_the_chain_is_only_found_by_receipts(
    worked: Any, coordinator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_and_chain_anew(worked, coordinator, tmp_path)
    monkeypatch.setattr(ledger_line, "is_signed", always)
    assert codes(audited(worked, coordinator)) == {"forked"}
    assert verify.verify([worked.ledger]).holds


def test_every_code_is_the_finding_of_an_attack_or_of_a_test_here() -> None:
    elsewhere = {"malformed", "chain", "receipt_malformed", "receipt_fork", "unreceipted"}
    assert {one[1] for one in ATTACKS} | elsewhere == CLAIM_AFTER.keys()


def test_sites_copies_show_a_coordinator_that_tells_them_different_things(
    two_sites: tuple[Any, Any], coordinator: Any, tmp_path: Path
) -> None:
    first, second = two_sites
    path = coordinator.write(tmp_path / "b.jsonl", coordinator.given)
    other = sign_receipt(coordinator.key, number=3, previous=coordinator.given[3].previous,
                         run="run-1", site="site-a", claim=coordinator.given[2].claim)
    coordinator.write(coordinator.folder / "receipts.jsonl", [*coordinator.given[:3], other])
    found = verify.verify([first.ledger, second.ledger], [path, coordinator.folder / "receipts.jsonl"])
    assert codes(found) == {"receipt_fork"}
    assert [ledger.site for ledger in found.ledgers] == ["site-a", "site-b"]


def test_what_a_site_has_kept_finds_a_cut_as_well(worked: Any, coordinator: Any, tmp_path: Path,
                                                  ) -> None:
    """A site keeps some receipts, in any order: nothing is missing for that."""
    kept = coordinator.write(tmp_path / "kept.jsonl", [coordinator.given[2], coordinator.given[0]])
    assert verify.verify([worked.ledger], [kept]).holds
    cut_the_end(worked, coordinator, tmp_path)
    assert codes(verify.verify([worked.ledger], [kept])) == {"truncated"}


def test_receipts_that_a_site_has_and_the_coordinators_file_lacks_are_told(
    worked: Any, coordinator: Any, tmp_path: Path
) -> None:
    kept = coordinator.write(tmp_path / "kept.jsonl", coordinator.given)
    coordinator.write(coordinator.folder / "receipts.jsonl", coordinator.given[:1])
    own = coordinator.folder / "receipts.jsonl"
    assert verify.verify([worked.ledger], [own]).holds
    assert codes(verify.verify([worked.ledger], [own, kept])) == {"receipt_chain"}
    assert codes(verify.verify([worked.ledger], [kept, own])) == {"receipt_chain"}


def test_two_copies_that_were_gone_on_with_differently_are_told(
    worked: Any, coordinator: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(worked.folder, copy)
    assert verify.verify([worked.ledger, copy / "ledger.jsonl"]).holds
    worked.work(3)
    assert verify.verify([worked.ledger, copy / "ledger.jsonl"]).holds  # an older copy
    before = worked.folder
    worked.folder = copy
    worked.work(3, steps=2)
    worked.folder = before
    found = verify.verify([worked.ledger, copy / "ledger.jsonl"])
    assert [(one.code, one.entry) for one in found.findings] == [("two_writers", 8)]
    assert not any(ledger.findings for ledger in found.ledgers)


def test_a_ledger_in_the_place_of_another_is_found_whatever_its_folder_is_called(
    worked: Any, coordinator: Any, tmp_path: Path
) -> None:
    other = type(worked)(tmp_path, "hospital-1")
    other.decide()
    assert verify.verify([other.ledger], [coordinator.folder / "receipts.jsonl"]).holds
    other.work(0)
    found = audited(other, coordinator)
    assert codes(found) == {"unreceipted"}
    assert "a ledger of site-a that was not given" in found.ledgers[0].findings[0].meaning
    # With the other one beside it, nothing is in anybody's place.
    both = verify.verify([other.ledger, worked.ledger], [coordinator.folder / "receipts.jsonl"])
    assert both.holds


def test_a_deleted_entry_is_one_finding_of_receipts_and_not_one_for_each_that_follows(
    worked: Any, coordinator: Any
) -> None:
    kept = coordinator.write(worked.folder / "kept.jsonl", coordinator.given)
    delete_an_entry(worked, coordinator, worked.folder)
    found = verify.verify([worked.ledger], [coordinator.folder / "receipts.jsonl", kept])
    assert codes(found) <= {"deleted", "settle"}
    assert len(found.ledgers[0].findings) <= 3


def test_an_empty_ledger_is_none(worked: Any) -> None:
    worked.ledger.write_bytes(b"")
    assert codes(verify.verify([worked.ledger])) == {"deleted"}


def test_somebody_elses_key_names_no_ledger(two_sites: tuple[Any, Any], coordinator: Any) -> None:
    first, second = two_sites
    shutil.copy(second.folder / "ledger.pub", first.folder / "ledger.pub")
    found = verify.verify([first.ledger, second.ledger], [coordinator.folder / "receipts.jsonl"])
    assert [ledger.site for ledger in found.ledgers] == ["site-a", "site-b"]
    assert [bool(ledger.findings) for ledger in found.ledgers] == [True, False]


def test_settles_of_fewer_steps_than_were_charged_are_noted(worked: Any, coordinator: Any) -> None:
    with open_ledger(worked.folder, clock=worked.clock) as ledger:
        entry = worked.reserve(ledger, 3, "pretrain", "update", "run-1", None, 1000, 1.5)
        ledger.settle(entry, steps=1, spent=worked.cost(ledger, None), released_digest="e" * 64)
    verified = audited(worked, coordinator)
    assert any("1 settles say that 1 steps were done, of 1000 that were charged" in note
               for note in verified.ledgers[0].notes)


@pytest.mark.parametrize("change", [{"seq": -1}, {"run": "r" * 81}, {"site": "a\nb"}])
def test_a_receipt_of_another_form_is_told_and_never_a_crash(
    worked: Any, coordinator: Any, change: dict[str, Any]
) -> None:
    path = coordinator.folder / "receipts.jsonl"
    first, *rest = map(json.loads, path.read_bytes().splitlines())
    if "seq" in change:
        first["claim"].update(change)
    else:
        first.update(change)
    path.write_bytes(b"".join(ledger_line.encode(one) + b"\n" for one in [first, *rest]))
    worked.ledger.write_bytes(b"")
    assert "receipt_malformed" in codes(audited(worked, coordinator))


def test_without_receipts_a_cut_looks_whole_and_that_is_said(worked: Any, coordinator: Any,
                                                             tmp_path: Path) -> None:
    cut_the_end(worked, coordinator, tmp_path)
    found = verify.verify([worked.ledger])
    assert found.holds
    assert any("restored from a backup" in note for note in found.notes)


def test_what_is_no_breach_is_told_as_a_note(worked: Any, coordinator: Any) -> None:
    with open_ledger(worked.folder, clock=worked.clock) as ledger:
        ledger.decide("patients", Decided(150.0, 1e-5))
        ledger.refuse("budget", run="run-1", stage="pretrain", round_index=4, cohort="patients")
    worked.work(6, settles=False)
    verified = audited(worked, coordinator)
    assert verified.holds
    notes = "\n".join(verified.ledgers[0].notes)
    assert "1 charges were never settled" in notes
    assert "nothing is said of round 4, 6" in notes
    assert "from 100 at 1e-05 to an epsilon of 150 at delta 1e-05" in notes
    assert "refused 1 times: budget" in notes
    assert "the last 3 entries are later than any receipt" in notes


@pytest.mark.parametrize("detail", [
    "epsilon much delta small", "epsilon 1e999 delta 1e-05", "epsilon 1", "epsilon e delta e",
    "epsilon 9.0 delta 2.0", "epsilon 0.0 delta 1e-05"])
def test_a_decision_that_says_nothing_is_none(worked: Any, detail: str) -> None:
    worked.append(worked.forge(code="budget", cohort="patients", detail=detail))
    notes = verify.verify([worked.ledger]).ledgers[0].notes
    assert [note for note in notes if "the hospital allows" in note or "changed for" in note] == [
        "entry 1, 2026-11-23T16:00:02Z: the hospital allows an epsilon of 100 at delta 1e-05 for "
        "cohort patients"]


def test_a_given_key_counts_and_not_the_one_beside_the_ledger(worked: Any, tmp_path: Path) -> None:
    good = tmp_path / "by-mail.pub"
    shutil.copy(worked.folder / "ledger.pub", good)
    sign_anew_and_replace_the_public_key(worked, None, tmp_path / "spare")
    assert verify.verify([worked.ledger]).holds  # the site can do that, to whom has nothing else
    assert "key" in codes(verify.verify([worked.ledger], keys=[good]))


def test_several_keys_are_matched_to_ledgers_by_themselves(two_sites: tuple[Any, Any]) -> None:
    keys = [site.folder / "ledger.pub" for site in reversed(two_sites)]
    assert verify.verify([site.ledger for site in two_sites], keys=keys).holds


def test_a_key_that_is_missing_or_none_is_told(worked: Any, tmp_path: Path) -> None:
    (worked.folder / "ledger.pub").write_text("ed25519:no\n")
    with pytest.raises(ConfigError, match="holds no public key"):
        verify.verify([worked.ledger])
    (worked.folder / "ledger.pub").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        verify.verify([worked.ledger])
    with pytest.raises(LedgerError, match="cannot be read"):
        verify.verify([tmp_path / "no.jsonl"], keys=[tmp_path / "run" / "receipts.pub"])


def test_the_command_answers_programs_and_people(worked: Any, coordinator: Any) -> None:
    path = str(coordinator.folder / "receipts.jsonl")
    result = CliRunner().invoke(app, ["verify", str(worked.ledger), "--receipts", path, "--json"])
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (answer["holds"], answer["findings"], answer["num_entries"]) == (True, [], 8)
    assert answer["epsilon"].keys() == {"claimed", "rdp", "pld", "delta"}
    assert answer["epsilon"]["pld"] == pytest.approx(answer["epsilon"]["claimed"], abs=1e-6)
    cut_the_end(worked, coordinator, Path())
    result = CliRunner().invoke(app, ["verify", str(worked.ledger), "--receipts", path, "--json"])
    (finding,) = json.loads(result.stdout)["findings"]
    assert result.exit_code == 1
    assert finding.keys() == {"code", "entry", "meaning"}
    result = CliRunner().invoke(app, ["verify", str(worked.ledger), "--receipts", path])
    assert result.stdout.rstrip().endswith("does not hold")
    assert "more was spent than this file says" in result.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """A ledger with receipts of all its heads, for thousands of changes."""
    return tmp_path_factory.mktemp("whole")


CHANGES = st.one_of(
    st.tuples(st.just("byte"), st.integers(0, 10**6), st.integers(1, 255)),
    st.tuples(st.just("remove"), st.integers(0, 10**6), st.just(0)),
    st.tuples(st.just("swap"), st.integers(0, 10**6), st.integers(0, 10**6)),
    st.tuples(st.just("cut"), st.integers(0, 10**6), st.just(0)),
)


def changed(content: bytes, change: tuple[str, int, int]) -> bytes:
    kind, where, what = change
    lines = content.splitlines(keepends=True)
    if kind == "byte":
        place = where % len(content)
        return content[:place] + bytes([content[place] ^ what]) + content[place + 1:]
    if kind == "cut":
        return content[: where % len(content)]
    if kind == "remove":
        del lines[where % len(lines)]
    else:
        one, other = where % len(lines), what % len(lines)
        lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def try_changes(worked: Any, coordinator: Any, examples: int) -> None:
    content = worked.ledger.read_bytes()
    path = coordinator.folder / "receipts.jsonl"

    @settings(max_examples=examples)
    @given(CHANGES)
    def one(change: tuple[str, int, int]) -> None:
        new = changed(content, change)
        if new == content:
            return
        worked.ledger.write_bytes(new)
        assert not verify.verify([worked.ledger], [path]).holds

    one()


def test_any_byte_line_swap_or_cut_is_found(worked: Any, coordinator: Any,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "recompute", never)  # what is changed is found without it
    try_changes(worked, coordinator, 300)


@pytest.mark.slow
def test_any_of_six_thousand_changes_is_found(worked: Any, coordinator: Any,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "recompute", never)
    try_changes(worked, coordinator, 6000)


@given(st.one_of(st.binary(max_size=400), st.text(max_size=200).map(str.encode), st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
        st.sampled_from(["seq", "kind", "mechanism", "spent", "claim", "x"]), inner, max_size=4)),
).map(lambda value: json.dumps(value).encode())))
def test_garbage_is_told_and_never_a_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes,
                                           ) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    key = open_key(folder / "ledger.key", folder / "ledger.pub")
    (folder / "ledger.jsonl").write_bytes(content + b"\n")
    found = verify.verify([folder / "ledger.jsonl"], [folder / "ledger.jsonl"])
    assert not found.holds
    assert codes(found) >= {"malformed", "receipt_malformed"}
    assert key.public.text == found.ledgers[0].public_key

