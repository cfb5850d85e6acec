"""Round records in whole runs: what honest parties leave, and coordinators that lie to one site."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord, Context, Message, RecordDict

from braing3n.audit.report.command import write_audit_report
from braing3n.manifests import load_run_manifests
from braing3n.plan import load_plan
from braing3n.protocol import RoundRecord, Task
from braing3n.round_records import FILE_NAME, read_records, record_digest, sign_record
from braing3n.signing import SigningKey, open_key
from braing3n.weights import digest_state, load_weights
from client.app import app as client_app
from server.app import app as server_app
from server.run_state import RunFolder
from simulation.grid import FIRST_SITE_NODE, run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(b"o" * 32))
VICTIM = FIRST_SITE_NODE + 1  # site-b

Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, phantom_cohort: Path, short_plan: str) -> Run:
    """Run the short plan over the two phantom hospitals in this process."""

    def start(sweep: str = "", **options: Any) -> Path:
        out = tmp_path / "out"
        if not (out / "sites").exists():
            plan = load_plan(PLANS / "demo.yaml", short_plan)
            write_site_files(find_site_folders(phantom_cohort), out, plan)
        run_locally(PLANS / "demo.yaml", out / "sites", out,
                    sweep=f"{short_plan} min_sites=1 {sweep}", **options)
        return out

    return start


def records_of(folder: Path) -> list[RoundRecord]:
    return list(read_records((folder / FILE_NAME).read_bytes().splitlines()))


def exchanges(out: Path) -> list[tuple[Any, ...]]:
    """What run.json says of each exchange, as (stage, what, round_index, asked, answered, refused)."""
    found = []
    for stage in json.loads((out / "run.json").read_text())["stages"]:
        for one in [*stage["participation"], *stage["other_exchanges"]]:
            number = one.get("round", stage["rounds"] + 1) - 1
            found.append((stage["name"], one.get("what", "training"), number, tuple(one["asked"]),
                          tuple(one["answered"]), one["refused"]))
    return found


def told(records: list[RoundRecord]) -> list[tuple[Any, ...]]:
    return [(one.stage, one.what, one.round_index, one.asked, one.answered, one.refused)
            for one in records]


def findings(out: Path) -> list[str]:
    document = write_audit_report([out], out.with_name("audit.json"))
    return [one.code for one in document.disagreements]


def test_a_run_leaves_a_record_of_each_round_and_sites_sign_for_all_but_the_last(run: Run) -> None:
    out = run()
    records = records_of(out)
    assert told(records) == exchanges(out)
    assert [(one.stage, one.what) for one in records] == [
        ("pretrain", "training"), ("pretrain", "training"), ("pretrain", "evaluation"),
        ("decoder", "training"), ("decoder", "evaluation"), ("decoder", "statistics"),
        ("diffusion", "training"), ("diffusion", "training"), ("diffusion", "evaluation")]
    last = load_weights(out / "rounds" / "pretrain" / "round-00002.safetensors")
    assert records[1].result == digest_state(last)
    for site in ("site-a", "site-b"):
        assert records_of(out / "sites" / site) == records[:-1]
        assert "has no such answer" not in (out / "sites" / site / "site.log").read_text()
        seen = [one.seen for one in load_run_manifests(out) if one.site == site]
        numbers = [-1 if one is None else one.number for one in seen]
        assert numbers == sorted(numbers)
        assert set(numbers) == set(range(-1, 8))
        assert all(one is None or record_digest(records[one.number]) == one.digest for one in seen)
    assert findings(out) == []


def test_a_site_that_is_silent_in_a_round_is_named_with_the_word(run: Run) -> None:
    def is_lost(message: Message) -> bool:
        return (message.metadata.message_type, message.metadata.dst_node_id) == (
            "train.pretrain", VICTIM)

    out = run("last_stage=pretrain round_timeout_s=1", is_lost=is_lost)
    assert [(one.answered, one.refused) for one in records_of(out)[:2]] == [
        (("site-a",), {"site-b": "late"})] * 2
    assert told(records_of(out)) == exchanges(out)
    assert findings(out) == []


def test_a_round_that_is_run_again_gets_a_second_record_which_sites_take(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_round", killed)
        with pytest.raises(KeyboardInterrupt):
            run("last_stage=pretrain")
    out = run("last_stage=pretrain")
    records = records_of(out)
    assert [(one.what, one.round_index) for one in records] == [
        ("training", 0), ("training", 0), ("training", 1), ("evaluation", 2)]
    assert json.loads((out / "run.json").read_text())["status"] == "completed"
    assert records_of(out / "sites" / "site-a") == records[:-1]
    assert findings(out) == []


Lie = Callable[[Path, RoundRecord, list[RoundRecord]], RoundRecord | None]


def again(key: SigningKey, record: RoundRecord, **changes: Any) -> RoundRecord:
    """A record as the holder of a key signs it with other content."""
    fields = {**dict(record), **changes}
    return sign_record(key, **{name: value for name, value in fields.items()
                               if name not in ("public_key", "signature")})


def forged(out: Path, record: RoundRecord, _: list[RoundRecord]) -> RoundRecord:
    return record.model_copy(update={"answered": ("site-a",), "refused": {"site-b": "late"}})


def of_another_key(out: Path, record: RoundRecord, _: list[RoundRecord]) -> RoundRecord:
    return again(OTHER, record)


def of_another_run(out: Path, record: RoundRecord, _: list[RoundRecord]) -> RoundRecord:
    return again(open_key(out / "receipts.key"), record, run="another")


def forked(out: Path, record: RoundRecord, _: list[RoundRecord]) -> RoundRecord:
    """The true number in the chain, after another past."""
    return again(open_key(out / "receipts.key"), record, previous="f" * 64)


def rolled_back(out: Path, record: RoundRecord, sent: list[RoundRecord]) -> RoundRecord:
    return sent[0]


def none(out: Path, record: RoundRecord, sent: list[RoundRecord]) -> None:
    return None


class Liar:
    """Sits between the coordinator and one site: the records that it is sent are another's."""

    def __init__(self, out: Path, lie: Lie, *, since: int) -> None:
        self.out, self.lie, self.since = out, lie, since
        self.sent: list[RoundRecord] = []

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.dst_node_id == VICTIM and message.metadata.message_type != "query.hello":
            message = self.changed(message)
        return client_app(message, context)

    def changed(self, message: Message) -> Message:
        task = Task.model_validate_json(str(message.content.config_records["message"]["json"]))
        if task.record is not None:
            self.sent.append(task.record)
            if task.record.number >= self.since:
                task = task.model_copy(update={
                    "record": self.lie(self.out, task.record, self.sent)})
        content = RecordDict(dict(message.content))
        content["message"] = ConfigRecord({"json": task.model_dump_json()})
        message.content = content
        return message


@pytest.mark.parametrize(("lie", "word"), [
    (forged, "protocol"), (of_another_key, "protocol"), (of_another_run, "protocol"),
    (rolled_back, "replay"), (none, "replay")])
def test_a_site_that_is_told_another_record_refuses_and_the_record_says_so(
    run: Run, tmp_path: Path, lie: Lie, word: str
) -> None:
    out = run("last_stage=pretrain stages.pretrain.rounds=4",
              apps=(server_app, Liar(tmp_path / "out", lie, since=2)))
    records = records_of(out)
    assert [one.refused for one in records] == [{}, {}, {}, {"site-b": word}, {"site-b": word}]
    assert records_of_site(out) == records[:2]
    assert findings(out) == []
    assert (out / "sites" / "site-b" / "site.log").read_text().count(
        f"answering with a refusal: {word}") >= 2


def test_a_fork_is_refused_and_where_a_site_missed_its_beginning_the_audit_finds_it(
    run: Run, tmp_path: Path
) -> None:
    out = run("last_stage=pretrain stages.pretrain.rounds=4",
              apps=(server_app, Liar(tmp_path / "out", forked, since=2)))
    refused = [one.refused for one in records_of(out)]
    assert refused == [{}, {}, {}, {"site-b": "protocol"}, {}]  # it has nothing to hold the next to
    assert findings(out) == ["other_record"]


def records_of_site(out: Path) -> list[RoundRecord]:
    lines = (out / "sites" / "site-b" / FILE_NAME).read_bytes().splitlines()
    return [RoundRecord.model_validate_json(line) for line in lines]


def test_a_coordinator_that_says_a_silent_site_answered_is_told_on_by_that_site_and_the_audit(
    run: Run, tmp_path: Path
) -> None:
    """It signs the lie for that site alone, and what the site signs for gives it away."""
    def claims(out: Path, record: RoundRecord, _: list[RoundRecord]) -> RoundRecord:
        return again(open_key(out / "receipts.key"), record, answered=("site-a", "site-b"), refused={})

    def is_lost(message: Message) -> bool:
        task = message.metadata.message_type, message.metadata.dst_node_id
        lost.extend([message] if task == ("train.pretrain", VICTIM) else [])
        return len(lost) >= 2 and task == ("train.pretrain", VICTIM)

    lost: list[Message] = []
    out = run("last_stage=pretrain round_timeout_s=1", is_lost=is_lost,
              apps=(server_app, Liar(tmp_path / "out", claims, since=1)))
    assert [one.refused for one in records_of(out)[:2]] == [{}, {"site-b": "late"}]
    log = (out / "sites" / "site-b" / "site.log").read_text()
    assert log.count("has no such answer") == 1
    assert findings(out) == ["other_record"]
