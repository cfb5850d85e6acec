"""Round records that were changed, cut, left out or told otherwise are found from files alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from braing3n.audit.report.rounds import load_rounds
from braing3n.manifests import Content, TensorRecord, manifest_line, sign_manifest
from braing3n.protocol import RoundRecord
from braing3n.round_records import FILE_NAME, record_digest, record_line, seen_of, sign_record
from braing3n.signing import SigningKey, open_key

OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(b"o" * 32))
SITES = ("site-a", "site-b", "site-c", "site-d")
KINDS = {"training": "train.{}", "evaluation": "evaluate", "statistics": "query.moments"}
# What the run of `conftest` did: two rounds of pretraining, one of the decoder, and what follows each.
DONE = [("training", "pretrain", 0), ("training", "pretrain", 1), ("evaluation", "pretrain", 2),
        ("training", "decoder", 0), ("evaluation", "decoder", 1), ("statistics", "decoder", 1)]

Records = list[RoundRecord]


def record(key: SigningKey, before: RoundRecord | None, what: str, stage: str, round_index: int,
           **changes: Any) -> RoundRecord:
    lost = {} if what == "evaluation" else {"site-d": "budget"}
    return sign_record(key, **{
        "number": 0 if before is None else before.number + 1, "previous": record_digest(before),
        "run": "run-1", "plan_digest": "d" * 64, "what": what, "stage": stage,
        "round_index": round_index, "asked": SITES, "refused": lost, "result": "1" * 64,
        "answered": tuple(site for site in SITES if site not in lost), "time": "2026-11-23T16:00:00Z",
        **changes})


def chain(key: SigningKey, done: list[tuple[str, str, int]] = DONE, run: str = "run-1") -> Records:
    records: Records = []
    for what, stage, number in done:
        records.append(record(key, records[-1] if records else None, what, stage, number, run=run))
    return records


class Run:
    """A run's folder with records, and manifests of all that sites answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = open_key(folder / "receipts.key")
        self.records = chain(self.key)
        self.write(self.records)
        self.sign_for(self.records)

    def write(self, records: Records) -> None:
        (self.folder / FILE_NAME).write_bytes(b"".join(record_line(one) + b"\n" for one in records))

    def sign_for(self, records: Records, *, without: tuple[str, int] | None = None) -> None:
        """Write manifests of sites that are each sent the record before; one answer may be missing."""
        lines = []
        for number, site in enumerate(SITES):
            key = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number + 1] * 32)))
            for seq, one in enumerate(records):
                if site not in one.answered or (site, seq) == without:
                    continue
                # The ledgers of `conftest` settle such a sha256 for each round.
                has_array = one.what != "evaluation"
                content = Content(
                    site=site, kind=KINDS[one.what].format(one.stage), run=one.run, stage=one.stage,
                    round_index=one.round_index, plan_digest=one.plan_digest, num_bytes=4,
                    tensors=(TensorRecord(name="w", shape=(1,), dtype="float32", norm=1.0),
                             ) if has_array else (),
                    array_digest=f"{one.round_index:064x}" if has_array else None,
                    report_digest="0" * 64, seen=seen_of(records[seq - 1]) if seq else None)
                lines.append(manifest_line(sign_manifest(key, content, seq=seq, prev="0" * 64,
                                                         time="2026-11-23T16:00:00Z")))
        (self.folder / "manifests.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.fixture
def run(federation: Path) -> Run:
    return Run(federation)


@pytest.fixture
def codes(run: Run, answer_of: Any) -> Callable[[], list[str]]:
    def of() -> list[str]:
        answer = answer_of(run.folder)
        assert answer["holds"] == (not answer["disagreements"])
        return [one["code"] for one in answer["disagreements"]]

    return of


def test_records_that_agree_with_all_else_hold_and_are_told(run: Run, answer_of: Any, page_of: Any,
                                                            ) -> None:
    answer = answer_of(run.folder)
    assert answer["disagreements"] == []
    assert answer["holds"]
    assert answer["round_records"] == {"records": 6, "signed_for_up_to": {
        "site-a": 4, "site-b": 4, "site-c": 4, "site-d": 3}}
    assert FILE_NAME in {Path(file["path"]).name for file in answer["files"]}
    assert "no_round_records" not in {gap["code"] for gap in answer["not_covered"]}
    _, html = page_of(run.folder)
    assert "The coordinator signed 6 round records" in html


def test_an_older_run_has_none_and_the_report_says_so(federation: Path, answer_of: Any) -> None:
    answer = answer_of(federation)
    assert (answer["holds"], answer["round_records"]) == (True, None)
    (says,) = [gap["says"] for gap in answer["not_covered"] if gap["code"] == "no_round_records"]
    assert says.startswith("There are none, as of runs of earlier versions")


def edit_answered(record: Any) -> None:
    one = record["stages"][0]["participation"][1]
    one["answered"].remove("site-b")
    one["refused"]["site-b"] = "late"


def edit_word(record: Any) -> None:
    record["stages"][1]["other_exchanges"][1]["refused"]["site-d"] = "late"


def edit_asked(record: Any) -> None:
    record["stages"][0]["other_exchanges"][0]["asked"].remove("site-d")


@pytest.mark.parametrize(("edit", "where"), [
    (edit_answered, "pretrain, round 2"), (edit_word, "decoder, statistics"),
    (edit_asked, "pretrain, evaluation")])
def test_an_edited_participation_is_found(run: Run, answer_of: Any, rewritten: Any,
                                          edit: Callable[[Any], None], where: str) -> None:
    rewritten(run.folder, edit)
    found = [one for one in answer_of(run.folder)["disagreements"]
             if one["code"] == "other_participation"]
    assert len(found) == 1
    assert where in found[0]["what"]


@pytest.mark.parametrize("change", [
    lambda records: records[1:], lambda records: [records[0], *records[2:]],
    lambda records: [records[1], records[0], *records[2:]],
    lambda records: [records[0].model_copy(update={"refused": {}}), *records[1:]],
    lambda records: [*records, records[-1]],
    lambda records: chain(OTHER),  # a whole chain, by another key than the run's
])
def test_a_broken_chain_is_found(run: Run, codes: Callable[[], list[str]],
                                 change: Callable[[Records], Records]) -> None:
    run.write(change(run.records))
    assert codes() == ["broken_records"]


def test_records_of_another_run_are_found(run: Run, codes: Callable[[], list[str]]) -> None:
    run.write(chain(run.key, run="run-2"))
    assert codes() == ["broken_records"]


def test_records_that_were_removed_are_missed_by_who_signed_for_them(
    run: Run, codes: Callable[[], list[str]]
) -> None:
    (run.folder / FILE_NAME).unlink()
    assert codes() == ["broken_records"]
    run.sign_for([])
    assert codes() == []


def test_a_cut_end_is_found_by_the_run_and_by_who_signed(run: Run, codes: Callable[[], list[str]],
                                                        ) -> None:
    run.write(run.records[:-1])
    assert codes() == ["unrecorded"]
    run.write(run.records[:-2])
    assert codes() == ["unrecorded", "other_record"]


def test_a_chain_that_the_coordinator_signed_anew_is_not_what_sites_signed_for(
    run: Run, codes: Callable[[], list[str]], rewritten: Any
) -> None:
    """It has the key, and makes run.json fit; what sites signed it cannot make again."""
    new: Records = []
    for one in run.records:
        changes: dict[str, Any] = {} if one.number != 1 else {
            "answered": SITES[:2], "refused": {"site-c": "late", "site-d": "budget"}}
        new.append(record(run.key, new[-1] if new else None, one.what, one.stage, one.round_index,
                          **changes))
    run.write(new)

    def fit(told: Any) -> None:
        told["stages"][0]["participation"][1].update(
            answered=list(SITES[:2]), refused={"site-c": "late", "site-d": "budget"})

    rewritten(run.folder, fit)
    assert codes() == ["other_record"]


def test_an_answer_that_a_site_never_signed_is_found(run: Run, answer_of: Any) -> None:
    run.sign_for(run.records, without=("site-c", 3))
    (found,) = answer_of(run.folder)["disagreements"]
    assert found["code"] == "unsent"
    assert "site-c (decoder, round 1)" in found["what"]


def test_a_round_that_run_json_leaves_out_is_found(run: Run, codes: Callable[[], list[str]],
                                                   rewritten: Any) -> None:
    rewritten(run.folder, lambda told: told["stages"][0]["participation"].pop())
    assert codes() == ["unlisted_round"]


def test_a_round_that_was_run_again_counts_by_its_last_record(run: Run, codes: Callable[[], list[str]],
                                                             ) -> None:
    done = [DONE[0], *DONE]  # killed before the first checkpoint
    again = chain(run.key, done)
    first = record(run.key, None, *DONE[0], answered=SITES[:1],
                   refused=dict.fromkeys(SITES[1:], "late"))
    records = [first]
    for one in again[1:]:
        records.append(record(run.key, records[-1], one.what, one.stage, one.round_index))
    run.write(records)
    run.sign_for(records)
    assert codes() == []


def test_a_run_that_was_cut_off_may_have_records_behind_its_last_checkpoint(
    run: Run, codes: Callable[[], list[str]], rewritten: Any
) -> None:
    def cut(status: str) -> None:
        def change(told: Any) -> None:
            told["status"] = status
            told["stages"][1]["other_exchanges"] = told["stages"][1]["other_exchanges"][:1]

        rewritten(run.folder, change)

    cut("running")
    assert codes() == []
    cut("completed")
    assert codes() == ["unlisted_round"]


def test_a_run_that_was_cut_off_has_no_record_of_other_rounds_before_that(
    run: Run, codes: Callable[[], list[str]], rewritten: Any
) -> None:
    def change(told: Any) -> None:
        told["status"] = "running"
        told["stages"][0]["participation"].pop()

    rewritten(run.folder, change)
    assert codes() == ["unlisted_round"]


def test_the_exchange_that_a_run_failed_in_has_no_record(
    run: Run, codes: Callable[[], list[str]], rewritten: Any
) -> None:
    run.write(run.records[:-1])
    run.sign_for(run.records[:-1])
    rewritten(run.folder, lambda told: told.update(status="failed: too few usable replies"))
    assert codes() == []
    run.write(run.records[:-2])  # but any before has one
    run.sign_for(run.records[:-2])
    assert codes() == ["unrecorded"]


def test_what_is_left_of_a_line_at_the_end_is_passed_over(run: Run, codes: Callable[[], list[str]],
                                                         ) -> None:
    path = run.folder / FILE_NAME
    path.write_bytes(path.read_bytes() + b'{"answered":["sit')
    assert codes() == []


@given(content=st.binary(max_size=200) | st.text().map(str.encode) | st.builds(
    lambda value: json.dumps(value).encode() + b"\n", st.dictionaries(st.text(), st.integers())))
def test_any_content_is_a_fault_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / FILE_NAME).write_bytes(content)
    rounds = load_rounds(folder)
    assert rounds is not None
    assert rounds.records == ()
    assert bool(rounds.fault) == (b"\n" in content)
