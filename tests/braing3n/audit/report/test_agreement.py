"""What the run's record and the ledgers say differently is found, and spoils the claim."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from braing3n.files import digest_bytes
from braing3n.manifests import Content, TensorRecord, manifest_line, sign_manifest
from braing3n.signing import open_key

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
    assert page.text[0].startswith("Not all that is claimed is supported")
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


def change(**fields: Any) -> Callable[[Any], None]:
    """Returns what changes how a site told to have trained, in run.json."""
    def rewrite(record: Any) -> None:
        record["privacy_by_site"]["site-a"]["stages"]["pretrain"].update(fields)

    return rewrite


@pytest.mark.parametrize(("fields", "code"), [
    ({"noise_multiplier": 9.0}, "other_mechanism"), ({"sample_rate": 0.01}, "other_mechanism"),
    ({"clip_norm": 2.0}, "other_mechanism"), ({"views": 1}, "other_mechanism"),
    ({"steps": 21}, "other_mechanism"), ({"epsilon_total": 0.5}, "other_epsilon"),
    ({"epsilon_total": 7.5}, "other_epsilon")])
def test_other_numbers_than_the_ledger_has_are_found(
    federation: Path, answer_of: Any, rewritten: Any, fields: dict[str, Any], code: str
) -> None:
    rewritten(federation, change(**fields))
    answer = answer_of(federation)
    assert [(one["code"], one["site"]) for one in answer["disagreements"]] == [(code, "site-a")]


def test_one_charge_for_metrics_does_not_hide_those_of_other_rounds(
    federation: Path, answer_of: Any, site: Any
) -> None:
    one = type(site)(federation / "sites", "site-b")
    one.work(2, what="metrics", noise_multiplier=4.0)
    with (federation / "metrics.jsonl").open("a") as stream:
        for number in (1, 3):
            stream.write(json.dumps({"stage": "pretrain", "site": "site-b", "round": number,
                                     "phase": "evaluate", "metrics": {"loss": 0.9}}) + "\n")
    (found,) = answer_of(federation)["disagreements"]
    assert (found["code"], found["site"]) == ("uncharged_metrics", "site-b")
    assert "in 1 rounds (pretrain round 1)" in found["what"]


def test_results_of_a_site_that_the_record_no_longer_names_are_found(
    federation: Path, answer_of: Any, rewritten: Any
) -> None:
    def forget(record: Any) -> None:
        record["sites"].remove("site-c")

    rewritten(federation, forget)
    assert "unlisted_site" in {one["code"] for one in answer_of(federation)["disagreements"]}


def test_a_copy_of_a_ledger_is_told_once(federation: Path, tmp_path: Path, answer_of: Any) -> None:
    copy = tmp_path / "by-mail"
    shutil.copytree(federation / "sites" / "site-a", copy)
    path = copy / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    answer = answer_of(federation, path)
    assert answer["holds"]
    assert [one["site"] for one in answer["promises"]].count("site-a") == 1
    assert any("older copy" in note for note in answer["verification"]["notes"])
    assert "cohorts" not in {gap["code"] for gap in answer["not_covered"]}


def test_a_ledger_in_which_nothing_happened_yet_refused_nothing(
    tmp_path: Path, site: Any, answer_of: Any, promise: Any
) -> None:
    says = promise(answer_of(site.ledger), "site-a")["says"]
    assert "nothing was spent yet" in says
    assert "refused:" not in says


def manifests(folder: Path, digests: list[str]) -> None:
    """Write what site-a is to have sent in pretraining."""
    key = open_key(folder / "egress.key")
    made = [sign_manifest(key, Content(
        site="site-a", kind="train.pretrain", run="run-1", stage="pretrain", round_index=number,
        tensors=(TensorRecord(name="w", shape=(2,), dtype="float32", norm=1.5),), num_bytes=2_000_000,
        array_digest=digest, report_digest=digest_bytes(b"r")),
        seq=number, prev="0" * 64, time="2026-11-23T16:00:00Z")
        for number, digest in enumerate(digests)]
    (folder / "manifests.jsonl").write_bytes(b"".join(manifest_line(one) + b"\n" for one in made))


def test_what_was_sent_is_told_from_manifests_and_held_to_the_ledger(
    federation: Path, answer_of: Any, page_of: Any
) -> None:
    manifests(federation, [f"{number:064x}" for number in range(2)])
    answer = answer_of(federation)
    assert answer["holds"]
    (row,) = answer["egress_manifests"]
    assert (row["site"], row["num_replies"], row["num_bytes"]) == ("site-a", 2, 4_000_000)
    assert "Replies by site" in page_of(federation)[1]
    manifests(federation, ["f" * 64, f"{1:064x}"])
    (found,) = answer_of(federation)["disagreements"]
    assert (found["code"], found["site"]) == ("other_release", "site-a")
    assert "pretrain, round 1 (entry 3)" in found["what"]


def test_an_emptied_metrics_file_does_not_mean_that_nothing_left(federation: Path, answer_of: Any,
                                                                 ) -> None:
    (federation / "metrics.jsonl").write_bytes(b"")
    gaps = {gap["code"]: gap["says"] for gap in answer_of(federation)["not_covered"]}
    assert gaps["exact_metrics"].startswith("Not known")
