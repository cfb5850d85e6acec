"""What the run's record and the ledgers say differently is found, and spoils the claim."""

import json
from pathlib import Path
from typing import Any

WITHOUT = "no differential privacy; updates can reveal training data"


def test_receipts_that_do_not_hold_leave_every_claim_open(federation: Path, answer_of: Any) -> None:
    path = federation / "receipts.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    answer = answer_of(federation)
    assert [one["supported"] for one in answer["promises"]] == [False, False, True, False]


def test_a_result_that_the_ledger_does_not_list_is_found(
    federation: Path, answer_of: Any, promise: Any, rewritten: Any
) -> None:
    def third_round(record: Any) -> None:
        rounds = record["stages"][0]["participation"]
        rounds.append({**rounds[-1], "round": 3})

    rewritten(federation, third_round)
    answer = answer_of(federation)
    assert [(one["code"], one["site"]) for one in answer["disagreements"]] == [
        ("unlisted", "site-a"), ("unlisted", "site-b")]
    assert "pretrain, round 3" in answer["disagreements"][0]["what"]
    assert not promise(answer, "site-a")["supported"]


def test_moments_and_metrics_that_the_ledger_does_not_list_are_found(
    federation: Path, answer_of: Any, rewritten: Any
) -> None:
    def more(record: Any) -> None:
        record["stages"][0]["other_exchanges"].append(
            {**record["stages"][1]["other_exchanges"][1], "answered": ["site-a"]})

    rewritten(federation, more)
    with (federation / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"stage": "pretrain", "site": "site-b", "round": 3, "phase": "evaluate",
                                 "metrics": {"loss": 0.9}}) + "\n")
    answer = answer_of(federation)
    assert [(one["code"], one["site"]) for one in answer["disagreements"]] == [
        ("unlisted", "site-a"), ("uncharged_metrics", "site-b")]


def test_another_plan_and_another_model_file_are_found(
    federation: Path, answer_of: Any, rewritten: Any
) -> None:
    rewritten(federation, lambda record: record.update(plan_digest="e" * 64))
    (federation / "model" / "encoder.safetensors").write_bytes(b"other")
    answer = answer_of(federation)
    assert {one["code"] for one in answer["disagreements"]} == {"other_plan", "other_file"}
    assert [row["equal"] for row in answer["digests"]] == [None, False, None, True]


def test_a_claim_without_its_ledger_is_not_supported(
    federation: Path, tmp_path: Path, answer_of: Any, page_of: Any
) -> None:
    """At the coordinator lies no ledger: what sites told it is nobody's proof."""
    elsewhere = (federation / "sites").rename(tmp_path / "hospitals")
    page, _ = page_of(federation)
    assert page.text[0].startswith("The claim of privacy is NOT supported")
    assert f"site-c: {WITHOUT}." in page.text[1]
    assert "site-d: refused: nothing of it is in the model" in page.text[1]
    answer = answer_of(federation)
    assert [one["code"] for one in answer["disagreements"]] == ["no_ledger", "no_ledger"]
    kinds = [one["kind"] for one in answer["promises"]]
    assert kinds == ["unchecked", "unchecked", "none", "refused"]
    assert {row["site"] for row in answer["releases"]} == {"site-c"}
    given = [elsewhere / site / "ledger.jsonl" for site in ("site-a", "site-b", "site-d")]
    assert answer_of(federation, *given)["holds"]


def test_sums_for_probes_of_a_site_with_dp_are_found(
    federation: Path, answer_of: Any, rewritten: Any
) -> None:
    rewritten(federation, lambda record: record.update(probes={"tasks": {"age": {
        "kind": "regression", "method": "ridge", "sites": ["site-b", "site-c"]}}}))
    answer = answer_of(federation)
    assert [(one["code"], one["site"]) for one in answer["disagreements"]] == [
        ("uncharged_probes", "site-b")]
    left = [(row["site"], row["how"]) for row in answer["releases"] if "probe" in row["what"]]
    assert left == [("site-b", "exact"), ("site-c", "exact")]


def test_a_ledger_of_no_site_of_the_run_is_found(
    federation: Path, answer_of: Any, rewritten: Any
) -> None:
    rewritten(federation, lambda record: record["sites"].remove("site-d"))
    answer = answer_of(federation)
    assert [(one["code"], one["site"]) for one in answer["disagreements"]] == [("other_site", "site-d")]
