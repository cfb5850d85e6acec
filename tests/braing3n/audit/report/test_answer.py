"""What programs are told of a mixed federation."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from braing3n.audit.account import accounts_of

UNIT = ("-differential privacy for one patient of this site, over all that this site has released for "
        "this cohort")


def test_programs_are_told_the_same(template: Path, answer: Any, promise: Any) -> None:
    assert answer.keys() == {
        "schema", "kind", "version", "written", "holds", "num_findings", "unit", "promises", "run",
        "epsilon",
        "parameters", "releases", "egress_manifests", "transfers", "participation", "refusals",
        "round_records", "digests", "verification", "disagreements", "empirical", "memorisation",
        "not_covered", "commands", "files"}
    assert (answer["schema"], answer["holds"], answer["num_findings"]) == (1, True, 0)
    kinds = {one["site"]: (one["kind"], one["in_model"], one["supported"])
             for one in answer["promises"]}
    assert kinds == {"site-a": ("dp", True, True), "site-b": ("dp", True, True),
                     "site-c": ("none", True, True), "site-d": ("refused", False, True)}
    (spent,) = accounts_of(template / "sites" / "site-a" / "ledger.jsonl", None)
    (cohort,) = promise(answer, "site-a")["cohorts"]
    assert cohort["epsilon"]["pld"] == spent.bounds.pld
    assert cohort["epsilon"]["agrees"]
    assert {(row["by"], row["name"]) for row in answer["epsilon"]["by_part"]} == {
        ("stage", "pretrain"), ("stage", "decoder"), ("run", "run-1"), ("release", "update"),
        ("release", "moments")}
    last = answer["epsilon"]["over_time"][0]["points"][-1]
    assert last["recomputed"] == pytest.approx(spent.bounds.pld)


def test_what_left_each_site_and_who_took_part_is_told(answer: Any) -> None:
    left = {(row["site"], row["stage"], row["what"], row["how"]): row["count"]
            for row in answer["releases"]}
    for site in ("site-a", "site-b"):
        assert left[site, "pretrain", "updates of weights", "with noise"] == 2
        assert left[site, "decoder", "latent moments", "with noise"] == 1
    assert left["site-c", "pretrain", "updates of weights", "exact"] == 2
    assert left["site-c", "pretrain", "held-out metrics", "exact"] == 1
    assert left["site-c", "decoder", "latent moments", "exact"] == 1
    assert not any(site == "site-d" for site, *_ in left)
    assert not any(how == "exact" and site != "site-c" for site, _, _, how in left)
    assert answer["participation"][0] == {
        "stage": "pretrain", "exchange": "rounds 1 to 2", "answered": ["site-a", "site-b", "site-c"],
        "lost": {"site-d": "refused: more than its privacy budget allows"}}
    assert [(row["site"], row["stage"], row["code"], row["count"]) for row in answer["refusals"]] == [
        ("site-d", "pretrain", "budget", 2), ("site-d", "decoder", "budget", 1)]
    sent = [row for row in answer["transfers"] if row["exchange"] == "sending of the finished encoder"]
    assert [row["bytes_down"] for row in sent] == [1_000_000]


def test_what_is_not_covered_is_of_this_run(answer: Any, federation: Path, answer_of: Any) -> None:
    gaps = {gap["code"]: gap["says"] for gap in answer["not_covered"]}
    assert "site-c" in gaps["sites_without_dp"]
    assert gaps["exact_metrics"].startswith("Held-out metrics of site-c; Training losses of site-c")
    assert "no ε holds" in gaps["two_sites"]
    assert "phantom" in gaps["weights_from_elsewhere"]
    assert {"no_attack", "no_memorisation", "no_manifests", "choices", "cheating_site",
            "floating_point", "timing", "coordinator"} <= gaps.keys()
    path = federation / "metrics.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True)
                            if '"evaluate"' in line))
    gaps = {gap["code"]: gap["says"] for gap in answer_of(federation)["not_covered"]}
    assert gaps["exact_metrics"].startswith("Held-out metrics of site-c: they left without noise")
    path.unlink()
    gaps = {gap["code"]: gap["says"] for gap in answer_of(federation)["not_covered"]}
    assert gaps["exact_metrics"].startswith("Not known: rounds were trained")


def test_digests_of_the_run_are_compared(answer: Any) -> None:
    assert [(row["what"], row["equal"]) for row in answer["digests"]] == [
        ("plan", None), ("encoder", True), ("encoder", True),
        ("frozen encoder of all later stages", True)]


def test_ledgers_alone_are_reported_on_too(template: Path, answer_of: Any, page_of: Any) -> None:
    ledgers = [template / "sites" / site / "ledger.jsonl" for site in ("site-a", "site-d")]
    answer = answer_of(*ledgers, receipts=[template / "receipts.jsonl"])
    assert (answer["run"], answer["holds"]) == (None, True)
    assert [(one["site"], one["kind"], one["in_model"]) for one in answer["promises"]] == [
        ("site-a", "dp", None), ("site-d", "refused", None)]
    assert "lists no release" in answer["promises"][1]["says"]
    assert "no_run" in {gap["code"] for gap in answer["not_covered"]}
    page, _ = page_of(*ledgers)
    assert page.targets <= set(page.ids)
    assert "none were given" in " ".join(page.text)


def test_a_site_that_only_measured_says_so_and_one_that_kept_silent_too(
    federation: Path, answer_of: Any, promise: Any, rewritten: Any
) -> None:
    def change(record: Any) -> None:
        for stage in record["stages"]:
            for one in [*stage["participation"], *stage["other_exchanges"]]:
                if one.get("what") != "evaluation":
                    one["answered"].remove("site-c")
                    one["refused"]["site-c"] = "policy"
        record["sites"].append("site-e")

    rewritten(federation, change)
    answer = answer_of(federation)
    assert promise(answer, "site-c")["says"] == (
        "no differential privacy; it gave no update, and what it measured on its patients left as it "
        "was")
    assert (promise(answer, "site-e")["kind"], promise(answer, "site-e")["says"]) == (
        "silent", "no answer: nothing of it is in the model")


def test_a_refused_sites_earlier_work_is_told_beside(
    federation: Path, site: Any, answer_of: Any, promise: Any
) -> None:
    one = type(site)(federation / "sites", "site-d")
    one.decide(9.0)
    one.work(0, run="run-0")
    told = promise(answer_of(federation), "site-d")["says"]
    assert told.startswith("refused: nothing of it is in the model")
    assert UNIT in told.partition("For what it has released all the same, or before: ")[2]


def test_an_attack_is_judged_by_its_numbers_not_by_its_word(
    template: Path, tmp_path: Path, answer_of: Any, attacked: Any
) -> None:
    path = attacked(tmp_path / "bad.json", 3.5)
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "holds": True, "reasons": []}))
    assert not answer_of(template, empirical=[path])["holds"]


def test_what_is_spent_is_drawn_up_to_where_it_becomes_void(
    federation: Path, site: Any, answer_of: Any, note_without_dp: Any
) -> None:
    note_without_dp(federation, "site-a", run="run-1", stage="decoder", round_index=0)
    one = type(site)(federation / "sites", "site-a")
    one.now = datetime(2099, 1, 1, tzinfo=UTC)
    one.work(0, stage="diffusion")
    answer = answer_of(federation)
    note = answer["promises"][0]["cohorts"][0]["without_dp_entry"]
    entries = [point["entry"] for point in answer["epsilon"]["over_time"][0]["points"]]
    assert len(entries) == 2
    assert max(entries) < note
