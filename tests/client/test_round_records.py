"""A site takes round records of its run alone, never older ones, and says where one tells a lie."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord, Context, Message, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.config import DataConfig, SiteConfig
from braing3n.errors import OutputError, ProtocolError, ReplayError
from braing3n.files import append_text
from braing3n.manifests import Content, Manifest, TensorRecord
from braing3n.plan import load_plan
from braing3n.privacy.ledger_entry import Head
from braing3n.privacy_messages import Receipt
from braing3n.protocol import Reply, RoundRecord, Task
from braing3n.receipts import receipt_line, sign_claim, sign_receipt
from braing3n.round_records import FILE_NAME, record_digest, record_line, seen_of, sign_record
from braing3n.signing import SigningKey
from client.app import app, read_task, write_reply
from client.egress_log import append_manifest, load_manifests
from client.guard import guard
from client.round_records import kept_records, take_record
from client.site import Site, open_site
from simulation.grid import LocalGrid
from simulation.run import PLANS

PLAN = load_plan(PLANS / "demo.yaml")
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(b"o" * 32))


def record(before: RoundRecord | None = None, key: SigningKey = KEY, **changes: Any) -> RoundRecord:
    number = 0 if before is None else before.number + 1
    return sign_record(key, **{
        "number": number, "previous": record_digest(before), "run": "run-1",
        "plan_digest": PLAN.digest, "what": "training", "stage": "pretrain", "round_index": number,
        "asked": ("site-a", "site-b"), "answered": ("site-b",), "refused": {"site-a": "late"},
        "result": "1" * 64, "time": "2026-12-01T00:00:00Z", **changes})


def task(seen: RoundRecord | None = None, **changes: Any) -> Task:
    return Task(**{"run": "run-1", "plan": PLAN.canonical(), "plan_digest": PLAN.digest,
                   "stage": "pretrain", "round_index": 1, "record": seen, **changes})


def receipt(key: SigningKey, run: str = "run-1") -> Receipt:
    claim = sign_claim(OTHER.sign, OTHER.public, "site-b", head=Head(seq=0, digest="a" * 64))
    return sign_receipt(key, number=0, previous="0" * 64, run=run, site="site-b", claim=claim)


FIRST = record()
SECOND = record(FIRST)
THIRD = record(SECOND)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "state").mkdir()
    return Site(SiteConfig(name="site-a", data=DataConfig(folder=tmp_path),
                           state_dir=tmp_path / "state"))


def log_of(site: Site) -> str:
    path = site.config.state_dir / "site.log"
    return path.read_text() if path.exists() else ""


def test_records_are_kept_once_each_also_where_a_site_missed_some(site: Site) -> None:
    take_record(site, task())
    for sent in (FIRST, FIRST, THIRD, THIRD):
        take_record(site, task(sent))
    path = site.config.state_dir / FILE_NAME
    assert path.read_bytes().splitlines() == [record_line(FIRST), record_line(THIRD)]
    other = record(run="run-2")
    take_record(site, task(other, run="run-2"))
    assert kept_records(site, "run-1") == [FIRST, THIRD]
    assert kept_records(site, "run-2") == [other]


@pytest.mark.parametrize("forged", [
    SECOND.model_copy(update={"refused": {}}), SECOND.model_copy(update={"signature": "0" * 128}),
    SECOND.model_copy(update={"public_key": OTHER.public.text}),
    SECOND.model_copy(update={"public_key": "ed25519:0"}),  # no key
    record(FIRST, OTHER),  # another coordinator
    record(FIRST, run="run-2"), record(FIRST, plan_digest="e" * 64),
    record(FIRST, number=0),  # the first one's number, with other content
    record(record(answered=(), refused={"site-a": "late", "site-b": "late"})),  # after another first
])
def test_a_record_that_is_forged_forked_or_of_another_run_or_key_is_refused_and_not_kept(
    site: Site, forged: RoundRecord
) -> None:
    take_record(site, task(FIRST))
    with pytest.raises(ProtocolError):
        take_record(site, task(forged))
    assert kept_records(site, "run-1") == [FIRST]
    take_record(site, task(SECOND))  # the true one goes on


@pytest.mark.parametrize("older", [FIRST, SECOND, None, record(FIRST, answered=(), refused={})])
def test_a_coordinator_that_goes_back_is_refused(site: Site, older: RoundRecord | None) -> None:
    take_record(site, task(THIRD))
    with pytest.raises(ReplayError) as refused:
        take_record(site, task(older))
    assert refused.value.code == "replay"
    assert kept_records(site, "run-1") == [THIRD]


def test_a_record_has_the_key_that_receipts_of_the_run_have(site: Site) -> None:
    path = site.config.state_dir / "receipts.jsonl"
    append_text(path, receipt_line(receipt(KEY)).decode() + "\n")
    append_text(path, receipt_line(receipt(OTHER, "run-0")).decode() + "\n")
    with pytest.raises(ProtocolError, match="not by this run's coordinator"):
        take_record(site, task(record(key=OTHER)))
    take_record(site, task(FIRST))
    with pytest.raises(ProtocolError, match="not by this run's coordinator"):
        take_record(site, task(SECOND, receipts=(receipt(OTHER),)))
    take_record(site, task(SECOND, receipts=(receipt(KEY),)))


@pytest.mark.parametrize("length", [1, 40, -1])
def test_a_line_that_a_kill_cut_short_is_replaced_by_the_whole_one(site: Site, length: int) -> None:
    take_record(site, task(FIRST))
    path = site.config.state_dir / FILE_NAME
    path.write_bytes(path.read_bytes() + record_line(SECOND)[:length])
    assert kept_records(site, "run-1") == [FIRST]
    take_record(site, task(SECOND))
    assert kept_records(site, "run-1") == [FIRST, SECOND]


@settings(max_examples=50)
@given(content=st.binary(max_size=200) | st.text().map(str.encode))
def test_any_content_of_the_file_is_told_or_passed_over(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("site")
    (folder / FILE_NAME).write_bytes(content)
    own = Site(SiteConfig(name="site-a", data=DataConfig(folder=folder), state_dir=folder))
    try:
        take_record(own, task(FIRST))
    except OutputError as error:
        assert "is damaged" in error.what
    else:
        assert kept_records(own, "run-1") == [FIRST]


def sent(site: Site, kind: str, stage: str = "pretrain", round_index: int = 0, *, run: str = "run-1",
         has_tensors: bool = True) -> Manifest:
    tensors = (TensorRecord(name="w", shape=(1,), dtype="float32", norm=1.0),) if has_tensors else ()
    return append_manifest(site.config.state_dir, Content(
        site="site-a", kind=kind, run=run, stage=stage, round_index=round_index, tensors=tensors,
        num_bytes=4, report_digest="0" * 64))


CLAIM = {"answered": ("site-a", "site-b"), "refused": {}}


@pytest.mark.parametrize(("what", "left"), [
    ("training", [("train.pretrain", "pretrain", 0)]),
    ("evaluation", [("evaluate", "pretrain", 0)]),
    ("statistics", [("query.moments", "pretrain", 0), ("evaluate", "pretrain", 0)])])
def test_a_true_claim_of_an_answer_is_not_spoken_of(
    site: Site, what: str, left: list[tuple[str, str, int]]
) -> None:
    for kind, stage, number in left:
        sent(site, kind, stage, number)
    take_record(site, task(record(what=what, **CLAIM)))
    assert log_of(site) == ""


@pytest.mark.parametrize("left", [
    [], [("evaluate", {})], [("train.decoder", {"stage": "decoder"})],
    [("train.pretrain", {"round_index": 1})], [("train.pretrain", {"run": "run-0"})],
    [("train.pretrain", {"has_tensors": False})]])  # it asked for a frozen part
def test_a_claim_of_an_answer_that_never_left_is_logged_once_and_not_refused(
    site: Site, left: list[tuple[str, dict[str, Any]]]
) -> None:
    for kind, how in left:
        sent(site, kind, **how)
    false = record(**CLAIM)
    take_record(site, task(false))
    take_record(site, task(false))
    assert log_of(site).count("has no such answer") == 1
    assert "round record 0 of run run-1" in log_of(site)
    assert kept_records(site, "run-1") == [false]


def test_a_record_that_does_not_name_this_site_is_no_claim(site: Site) -> None:
    take_record(site, task(FIRST))
    assert log_of(site) == ""


class Guarded:
    """A site behind its guard, with a handler that answers a plain report."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.answered = folder, folder / "state", 0
        (folder / "bids").mkdir()
        (folder / "a.yaml").write_text("name: site-a\ndata: {folder: bids}\nstate_dir: state\n")
        LocalGrid(app, 1, {})  # lets messages be made, as a grid does

    def ask(self, asked: Task | str) -> Message:
        text = asked if isinstance(asked, str) else asked.model_dump_json()
        content = RecordDict({"message": ConfigRecord({"json": text})})
        message = Message(content, 7, "evaluate", ttl=60.0)
        message.metadata.__dict__["_message_id"] = "m"
        context = Context(run_id=1, node_id=7, node_config={"partition-id": 0}, state=RecordDict(),
                          run_config={"sites": str(self.folder)})
        return guard(message, context, self.handler)

    def handler(self, message: Message, context: Context) -> Message:
        read_task(message)
        self.answered += 1
        return write_reply(open_site(context), message, Reply(
            site="site-a", stage="pretrain", round_index=1, plan_digest=PLAN.digest), None)


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def test_a_reply_and_its_manifest_say_which_record_was_sent(guarded: Guarded) -> None:
    for sent_record in (None, FIRST, SECOND):
        reply = guarded.ask(task(sent_record))
        told = Reply.model_validate_json(str(reply.content.config_records["message"]["json"]))
        assert told.seen == load_manifests(guarded.state)[-1].seen == seen_of(sent_record)


@pytest.mark.parametrize(("bad", "word"), [
    (None, "replay"), (FIRST, "replay"), (record(SECOND, OTHER), "protocol"),
    (SECOND.model_copy(update={"time": "2027-01-01T00:00:00Z"}), "protocol"),
    (record(FIRST, answered=("site-a",)), "protocol")])
def test_a_bad_record_is_refused_before_any_work(
    guarded: Guarded, bad: RoundRecord | None, word: str
) -> None:
    guarded.ask(task(SECOND))
    assert guarded.ask(task(bad)).error.reason == word
    assert (guarded.answered, len(load_manifests(guarded.state))) == (1, 1)
    assert not guarded.ask(task(THIRD)).has_error()  # the site stays up


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


@settings(max_examples=60, deadline=None)
@given(JSON.filter(lambda value: value is not None) | st.dictionaries(
    st.sampled_from(sorted(RoundRecord.model_fields)), JSON, min_size=1).map(
        lambda changes: json.loads(record_line(FIRST)) | changes))
def test_whatever_comes_as_a_record_ends_in_a_fixed_word(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    guarded = Guarded(tmp_path_factory.mktemp("fuzz"))
    text = json.dumps(json.loads(task().model_dump_json()) | {"record": value})
    if value != json.loads(record_line(FIRST)):
        assert guarded.ask(text).error.reason == "protocol"
        assert guarded.answered == 0
        assert not (guarded.state / FILE_NAME).exists()
