import json
from pathlib import Path

import numpy as np
import pytest
import torch

from braing3n.errors import OutputError
from braing3n.files import digest_file
from braing3n.plan import load_plan
from braing3n.protocol import Reply
from braing3n.weights import digest_state, load_weights
from server.attendance import Attendance
from server.outcome import Frozen, Round, StageRecord, describe_outcome
from server.run_state import RunFolder, new_run_id
from simulation.run import PLANS

PLAN = load_plan(PLANS / "demo.yaml")


def reply(site: str, **what: object) -> Reply:
    return Reply(site=site, stage="decoder", round_index=0, plan_digest=PLAN.digest, **what)


def outcome(asked: str, answered: str) -> Round:
    lost = {name: "late" for name in asked if name not in answered}
    return Round(asked=tuple(asked), replies={name: reply(name) for name in answered}, refused=lost,
                 bytes_down=10, bytes_up=20, seconds=1.5)


def record(*answered: str) -> StageRecord:
    stage = StageRecord("decoder", len(answered))
    for number, names in enumerate(answered, 1):
        stage.add(number, "training", outcome("abcd", names))
    return stage


def test_a_run_that_lost_nothing_is_completed() -> None:
    assert describe_outcome([record("abcd", "abcd")], Attendance(tuple("abcd"))) == "completed"


def test_rounds_that_lost_sites_are_named_by_how_many_answered() -> None:
    stage = record("abcd", "abc", "abcd", "ab", "bcd")
    assert describe_outcome([stage], Attendance(tuple("abcd"))) == (
        "completed with 2 of 4 sites in decoder round 4; with 3 of 4 sites in decoder rounds 2, 5"
    )


def test_a_stranger_and_a_lost_evaluation_are_named() -> None:
    stage = StageRecord("decoder", 1)
    stage.add(1, "training", outcome("abc", "abc"))
    stage.add(None, "evaluation", outcome("abc", "ab"))
    assert describe_outcome([stage], Attendance(tuple("abc"), {"d": "stranger"})) == (
        "completed with 3 of 4 sites admitted (d: stranger); "
        "with 2 of 4 sites in decoder evaluation"
    )


def test_sites_that_were_expected_and_never_seen_are_counted() -> None:
    assert describe_outcome([record("abcd")], Attendance(tuple("abcd"), num_expected=6)) == (
        "completed with 4 of 6 sites admitted (others not seen)"
    )


def test_the_record_sums_bytes_and_counts_sites_that_were_always_there() -> None:
    content = record("abcd", "abc", "bcd").as_json()
    assert (content["bytes_down"], content["bytes_up"], content["seconds"]) == (30, 60, 4.5)
    assert (content["sites_asked"], content["sites_answered"]) == (4, 2)
    assert content["participation"][1]["refused"] == {"d": "late"}


def test_a_folder_with_a_run_that_has_ended_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path / "out", PLAN, "1").finish()
    with pytest.raises(OutputError, match="holds a run already"):
        RunFolder(tmp_path / "out", PLAN, "2")


def test_a_manifest_names_the_weights_of_the_last_round_and_older_ones_are_gone(
    tmp_path: Path,
) -> None:
    run = RunFolder(tmp_path / "out", PLAN, "1")
    for number in (1, 2):
        weights = {"w": torch.full((2,), float(number))}
        slots = {"first": np.ones(2, np.float32)}
        run.write_round(StageRecord("decoder", 2), number, outcome("ab", "ab"), weights, slots)
    folder = tmp_path / "out" / "rounds" / "decoder"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"] == digest_file(folder / manifest["file"])
    assert load_weights(folder / manifest["file"])["w"].tolist() == [2, 2]
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json", "round-00002.safetensors", "server-00002.safetensors"
    ]


def test_metrics_of_received_weights_belong_to_the_round_before(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "out", PLAN, "1")
    result = Round(asked=("a",), replies={"a": reply("a", metrics={"psnr": 20.0}, train_loss=0.5,
                                                     losses=(0.6, 0.4))})
    run.write_metrics("decoder", 3, result)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["round"]) for line in lines] == [("evaluate", 2), ("train", 3)]


def test_the_encoders_digest_is_in_run_json_once_it_is_frozen(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "out", PLAN, "1")
    assert json.loads((run.path / "run.json").read_text())["encoder_digest"] is None
    state = {"w": torch.ones(2)}
    run.write_model("encoder", Frozen(state, digest_state(state)))
    content = json.loads((run.path / "run.json").read_text())
    assert content["encoder_digest"] == digest_state(state)
    assert digest_state(load_weights(run.path / content["models"]["encoder"]["file"])) == (
        digest_state(state)
    )


def test_a_site_that_was_not_drawn_is_not_lost_and_one_that_was_is() -> None:
    stage = StageRecord("decoder", 3)
    for number, (asked, answered) in enumerate([("ab", "ab"), ("cd", "c"), ("ac", "ac")], start=1):
        stage.add(number, "training", outcome(asked, answered))
    assert describe_outcome([stage], Attendance(tuple("abcd")), sites_per_round=2) == (
        "completed with 1 of 2 drawn sites in decoder round 2"
    )
    assert (stage.as_json()["sites_asked"], stage.as_json()["sites_answered"]) == (4, 3)


def test_who_came_late_or_was_shut_out_is_named_and_is_no_loss_of_rounds_before() -> None:
    stage = StageRecord("decoder", 3)
    for number, (asked, answered) in enumerate([("ab", "a"), ("abcd", "abd"), ("acd", "acd")], 1):
        stage.add(number, "training", outcome(asked, answered))
    there = Attendance(tuple("ab"))
    assert there.change(["d", "c"], [], {}, "decoder", 2)
    assert there.change([], ["b"], {}, "decoder", 3)
    assert not there.change([], [], {}, "decoder", 3)
    assert (there.sites, there.current) == (tuple("abcd"), ["a", "c", "d"])
    there.join(["b"], "decoder", 4)
    assert (there.sites, there.current) == (tuple("abcd"), ["a", "b", "c", "d"])
    assert describe_outcome([stage], there) == (
        "completed with 1 of 4 sites in decoder round 1; with 3 of 4 sites in decoder round 2; "
        "with c, d from decoder round 2 on; with b from decoder evaluation on; "
        "without b from decoder round 3 on (revoked)")


def test_a_site_that_was_there_for_the_first_round_did_not_come_late() -> None:
    there = Attendance(("a",))
    there.join(["b"], "pretrain", 1)
    assert describe_outcome([], there) == "completed"


def test_two_runs_that_begin_in_one_second_have_two_ids() -> None:
    """Sites keep what they were told in a run, and would take the second for the first gone back."""
    assert len({new_run_id() for _ in range(50)}) == 50
