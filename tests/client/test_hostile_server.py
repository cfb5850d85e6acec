"""A hostile server gets nothing: one table of what it may send, each row given to the installed app."""

import io
import json
import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from braing3n.evaluation.tasks import probed_tasks
from braing3n.files import canonical_json, digest_bytes, write_text
from braing3n.networks import part_like
from braing3n.privacy.ledger import load_history, open_ledger
from braing3n.privacy.ledger_entry import Head
from braing3n.privacy_messages import HeadClaim
from braing3n.probe_messages import MAX_EXCHANGES
from braing3n.protocol import FIRST_CODE, REFUSALS, Reply, RoundRecord
from braing3n.receipts import sign_claim, sign_receipt
from braing3n.round_records import record_digest, sign_record
from braing3n.signing import SigningKey, open_key
from braing3n.weights import digest_state, unpack
from client.approval import decide
from client.charging import UNREAD
from client.reading import MAX_TASK_CHARACTERS

Site = Any  # `Hospital` of conftest.py
Sent = RecordDict | Error | tuple[Any, ...]  # with a message type and what goes into the metadata
ANSWERED = ""
NPY = b"\x93NUMPY\x01\x00"
DEEP = 100_000
# How a line of site.log begins: with the time of an entry, or further in where that goes on.
LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\S+ (answering|a reply waits)|    ")


@dataclass(frozen=True)
class Row:
    """One hostile message.

    Attributes:
        says: What it is.
        word: What the site answers; ANSWERED is a reply with no more than an honest task gets.
        make: The message, for a site that has answered rounds 0 and 1 of run r1, and of run r2 with
            round record 1 and a receipt.
        plain: The word of a site without a budget, where it is another one.
        at: The sites that are asked: with a budget (True), without.
        settings: What the site's file has besides.
    """

    says: str
    word: str
    make: Callable[[Site], Sent]
    plain: str | None = None
    at: tuple[bool, ...] = (True, False)
    settings: str = ""


ROWS: list[Row] = []


def row(says: str, word: str, make: Callable[[Site], Sent], **more: Any) -> None:
    ROWS.append(Row(says, word, make, **more))


def told(site: Site, **raw: Any) -> str:
    """Return the honest task's JSON with other values, of whatever kind."""
    return json.dumps(json.loads(site.task().model_dump_json()) | raw)


def text(says: str, make: Callable[[Site], str], word: str = "protocol", **more: Any) -> None:
    row(says, word, lambda site: site.content(make(site)), **more)


def field(says: str, word: str = "protocol", **raw: Any) -> None:
    text(says, lambda site: told(site, **raw), word)


def plan(says: str, change: Callable[[str], str], word: str = "protocol", **raw: Any) -> None:
    """Add a row with another text as the plan, which has its digest."""

    def make(site: Site) -> str:
        made = change(site.plan.canonical())
        return told(site, plan=made, plan_digest=digest_bytes(made.encode("utf-8", "replace")), **raw)

    text(says, make, word)


def array(says: str, change: Callable[[np.ndarray], bytes | np.ndarray], word: str = "protocol",
          **more: Any) -> None:
    def make(site: Site) -> RecordDict:
        made = change(site.weights)
        return site.content(None, made if isinstance(made, np.ndarray) else
                            Array("float32", (site.weights.size,), "numpy.ndarray", made))

    row(says, word, make, **more)


def npy(header: str, body: bytes, length: int | None = None) -> bytes:
    named = header.encode() + b" \n"
    return NPY + struct.pack("<H", len(named) if length is None else length) + named + body


def shape(count: object) -> str:
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count},), }}"


def packed(weights: np.ndarray) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", weights.tobytes())
    return content.getvalue()


def saved(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


# What is no task.
row("no records", "protocol", lambda _: RecordDict())
row("an error in place of records", "protocol", lambda _: Error(1, "evil"))
row("a task under another name", "protocol", lambda site: RecordDict(
    {"evil": site.content()["message"], "arrays": site.content()["arrays"]}))
row("arrays where the task belongs", "protocol", lambda site: RecordDict(
    {"message": site.content()["arrays"], "arrays": site.content()["arrays"]}))
for value in (7, 1.5, True, b"{}", ["{}"], [1, 2]):
    row(f"{type(value).__name__} {value} where the text belongs", "protocol",
        lambda site, value=value: RecordDict({"message": ConfigRecord({"json": value})}))
# Records that we do not know are never looked at: they change nothing.
row("unknown records beside ours", ANSWERED, lambda site: RecordDict(
    {**site.content(), "evil": ConfigRecord({"json": "{}"}), "more": MetricRecord({"evil": 1.0})}))
row("an unknown entry beside the task", ANSWERED, lambda site: RecordDict(
    {**site.content(), "message": ConfigRecord({**site.content()["message"], "evil": "../evil"})}))
# The last one counts, for every reader of a message.
text("a key twice", lambda site: '{"run":"evil",' + told(site)[1:], ANSWERED)
for says, made in {
        "no JSON": "evil", "nothing": "", "a list": "[]", "half a JSON": '{"run": "r1"',
        "JSON that is nested 100,000 deep": '{"plan":' * DEEP, "lists 100,000 deep": "[" * DEEP,
        "a lone surrogate": "\ud800", "a zero byte": "\0", "10 MB of text": "x" * 10**7,
        "10 MB of blanks": " " * 10**7}.items():
    text(f"{says} in place of a task", lambda _, made=made: made)
text("10 MB of unknown keys", lambda site: told(site, **{f"evil{n}": n for n in range(600_000)}))
text("3 MB of unknown keys", lambda site: told(site, **{f"evil{n}": n for n in range(150_000)}))
text("a number of 5,000 digits", lambda site: told(site)[:-1] + ',"round_index":' + "9" * 5000 + "}")
text("100,000 deep receipts", lambda site: told(site)[:-1] + ',"receipts":' + "[" * DEEP + "}")
field("a lone surrogate in the run's name", run="r\ud800")
field("a run of 10 MB", run="r" * 10**7)
for name in ("../../evil", "/tmp/evil", "r1/../evil", "", "r1\n", "..", "CON:", "r\0"):
    field(f"a run called {name!r}", run=name)
for value in (-1, 2**70, 4, 1.0, 1.5, "0", True, None):
    field(f"round {value!r}", round_index=value)
text("a round that is no number", lambda site: told(site, round_index=float("nan")))
field("round 3 of 3 to train in", round_index=3)
field("an unknown key", evil="../evil")
field("another protocol", protocol=3)
field("a protocol of a huge number", protocol=2**70)
field("an unknown stage", stage="evil")
field("a frozen part that is a path", frozen={"../../evil": "0" * 64})
field("a frozen part whose digest is a path", frozen={"encoder": "../../evil"})

# Plans.
plan("a plan that nobody approved", lambda made: made.replace('"seed":0', '"seed":1'), "plan")
field("a digest that is not the plan's", plan_digest="0" * 64)
# What the site's word for a mistake in a plan is: docs/privacy-budget.md, "Refusals".
plan("a plan with an unknown key", lambda made: '{"evil":1,' + made[1:], "config")
plan("a plan with an unknown key that is a lone surrogate",
     lambda made: '{"evil\\ud800":1,' + made[1:], "config")
plan("a plan with an unknown key of several lines",
     lambda made: '{"evil\\n2026-01-01T00:00:00+0000 answering":1,' + made[1:], "config")
plan("a plan whose seed is NaN", lambda made: made.replace('"seed":0', '"seed":NaN'), "config")
plan("a plan that lacks its stages", lambda _: "{}", "config")
plan("a plan that is a list", lambda _: "[]", "config")
plan("a plan that is no JSON", lambda _: "evil")
plan("a plan that is nested 100,000 deep", lambda _: '{"a":' * 10_000)
plan("a plan with a number of 5,000 digits",
     lambda made: made.replace('"seed":0', '"seed":' + "9" * 5000))
plan("a plan written another way", lambda made: made.replace(":", ": ", 1))
plan("a plan with a key twice", lambda made: '{"name":"evil",' + made[1:])
plan("a plan of 10 MB", lambda made: " " * 10**7 + made)
plan("a plan of 60,000 unknown keys",
     lambda made: "{" + "".join(f'"evil{n}":1,' for n in range(60_000)) + made[1:])
plan("a stage that the plan does not have",
     lambda made: made.replace('"last_stage":"diffusion"', '"last_stage":"pretrain"'), stage="decoder")

# Message types.
row("a task of another stage than its message type", "protocol",
    lambda site: (site.content(), "train.decoder"))
# Of other types than these, Flower makes no message: client/node/incoming.py drops what it then raises.
for kind in ("train", "train.evil", "query", "query.evil", "evaluate.evil", "system",
             f"query.{'evil' * 10**5}"):
    row(f"an unknown message type {kind[:20]!r} of {len(kind)}", "protocol",
        lambda site, kind=kind: (site.content(), kind))

# Rounds that were answered, and records of rounds.
row("an answered round with other weights", "replay", lambda site: site.content(
    None, site.weights + np.float32(0.5)), plain=ANSWERED)  # nothing is kept of it without a ledger


def recorded(says: str, make: Callable[[Site], RoundRecord | dict[str, Any] | None],
             word: str = "protocol") -> None:
    def text_of(site: Site) -> str:
        record = make(site)
        raw = record.model_dump(mode="json") if isinstance(record, RoundRecord) else record
        return told(site, run="r2", round_index=1, record=raw)

    text(f"a round record {says}", text_of, word)


recorded("that is missing where there was one", lambda _: None, "replay")
recorded("that is older", lambda site: site.records[0], "replay")
recorded("whose signature is another's", lambda site: site.records[1].model_copy(
    update={"signature": site.records[0].signature}))
recorded("whose signature is no signature", lambda site: site.records[1].model_copy(
    update={"signature": "evil"}))
recorded("that was changed", lambda site: site.records[1].model_copy(update={"answered": ("site-a",)}))
recorded("by another key", lambda site: signed(site, site.stranger, number=2))
recorded("of another run", lambda site: signed(site, number=2, run="r1"))
recorded("of another plan", lambda site: signed(site, number=2, plan_digest="0" * 64))
recorded("under a number that was used", lambda site: signed(site, number=1, asked=("site-b",)))
recorded("that does not follow the last", lambda site: signed(site, number=2, previous="1" * 64))
recorded("with a number of 22 digits, signed", lambda site: signed_raw(site, number=2**70))
recorded("of a round of 22 digits, signed", lambda site: signed_raw(site, round_index=2**70))
recorded("of 1,001 sites", lambda site: signed(site).model_dump(mode="json") | {
    "asked": [f"site-{n}" for n in range(1001)]})
recorded("with a time that is none", lambda site: signed(site).model_dump(mode="json") | {
    "time": "2026-99-99T99:99:99Z"})


def signed_raw(site: Site, **change: Any) -> dict[str, Any]:
    """Return a record that our own models would not make, with a right signature."""
    raw = signed(site).model_dump(mode="json", exclude={"signature"}) | change
    return {**raw, "signature": site.coordinator.sign(canonical_json(raw))}


def receipted(says: str, make: Callable[[Site], list[Any]], word: str = "protocol", *,
              plain: str = ANSWERED) -> None:
    """Add a row with receipts; a site without a ledger has nothing to hold to them."""
    text(f"a receipt {says}", lambda site: told(
        site, run="r2", round_index=1, record=site.records[1].model_dump(mode="json"),
        receipts=make(site)), word, plain=plain)


def receipt(site: Site, key: SigningKey | None = None, **change: Any) -> dict[str, Any]:
    fields = {"number": 1, "previous": "0" * 64, "run": "r2", "site": "site-a",
              "claim": site.claim, **change}
    return sign_receipt(key or site.coordinator, **fields).model_dump(mode="json")


def far(site: Site) -> HeadClaim:
    """Return a claim that the coordinator made up for the site: of an entry that is not there."""
    return sign_claim(site.coordinator.sign, site.coordinator.public, "site-a",
                      head=Head(seq=10**6, digest="f" * 64))


receipted("with a wrong signature", lambda site: [receipt(site) | {"number": 2}])
receipted("by another key", lambda site: [receipt(site, site.stranger)], plain="protocol")
receipted("of another run", lambda site: [receipt(site, run="r1")])
receipted("for an entry beyond the ledger", lambda site: [receipt(
    site, claim=site.claim.model_copy(update={"seq": 10**6}))])
receipted("for an entry beyond the ledger, by a key of its own", lambda site: [receipt(
    site, claim=far(site))], "ledger")
receipted("for another ledger", lambda site: [receipt(site, claim=site.other_claim)], "ledger")
receipted("that is none", lambda _: [{"evil": 1}], plain="protocol")
receipted("for each of 1,001 sites", lambda site: [receipt(site)] * 1001, plain="protocol")

# Arrays.
row("no array", "protocol", lambda site: RecordDict({"message": site.content()["message"]}))
row("two arrays", "protocol", lambda site: RecordDict({
    **site.content(), "arrays": ArrayRecord({"a": Array(site.weights), "b": Array(site.weights)})}))
row("two records of arrays", "protocol", lambda site: RecordDict({
    **site.content(), "evil": ArrayRecord({"weights": Array(site.weights)})}))
array("a larger array", lambda weights: np.append(weights, weights))
array("a smaller array", lambda weights: weights[:-1])
array("an empty array", lambda weights: weights[:0])
array("NaN", lambda weights: np.full_like(weights, np.nan))
array("infinity", lambda weights: np.full_like(weights, np.inf))
# It would be older than what was answered; a site without a ledger trains, and gets nowhere.
array("numbers near the largest", lambda weights: np.full_like(weights, 3e38), "replay",
      plain="diverged")
array("float64", lambda weights: weights.astype(np.float64))
array("whole numbers", lambda weights: weights.astype(np.int32))
# Half precision is one of the payloads: other weights than those that were answered.
array("half precision", lambda weights: weights.astype(np.float16), "replay", plain=ANSWERED)
array("big-endian numbers", lambda weights: weights.astype(">f4"))
array("columns first", lambda weights: np.asfortranarray(np.stack([weights, weights])))
array("two dimensions", lambda weights: weights[None])
array("no dimension", lambda _: saved(np.array(1.0, np.float32)))
array("text", lambda _: np.array(["evil"]))
array("a pickled object in NumPy's format", lambda _: saved(np.array([Path("evil")], dtype=object)))
array("a pickle", lambda _: pickle.dumps(Path("evil")))
array("an archive", packed)
array("no bytes", lambda _: b"")
array("a header and nothing else", lambda weights: npy(shape(weights.size), b""))
array("fewer bytes than the header says", lambda weights: npy(
    shape(weights.size), weights.tobytes()[:-1]))
array("more bytes than the header says", lambda weights: npy(
    shape(weights.size), weights.tobytes() + b"evil"))
for count in (10**18, 10**14, -1, "9" * 5000, f"{10**9}, {10**9}", "True", "__import__('os')"):
    array(f"a header of {str(count)[:20]} numbers",
          lambda weights, count=count: npy(shape(count), weights.tobytes()))
array("a header that says that it is 64 kB long", lambda weights: npy(
    shape(weights.size), weights.tobytes(), length=2**16 - 1))
array("a header that says that it is 1 GB long", lambda weights: b"\x93NUMPY\x02\x00" + struct.pack(
    "<I", 2**30) + shape(weights.size).encode() + b" \n" + weights.tobytes())
# Flower's own names for type and shape are not read.
row("an array whose record says something else", ANSWERED, lambda site: site.content(None, Array(
    "object", (10**18,), "../evil", Array(site.weights).data)))

# Frozen parts.


def asked(says: str, kind: str, word: str, array: np.ndarray | None = None, *,
          at: tuple[bool, ...] = (True, False), settings: str = "", **raw: Any) -> None:
    """Add a row of another message type than training; an array of the weights for None."""
    row(says, word, lambda site: (site.content(told(site, **raw), array), kind), at=at,
        settings=settings)


NOTHING = {"encoder": "0" * 64}
# What an honest coordinator is told, which then sends it: that the site lacks it.
field("frozen parts that the site lacks", ANSWERED, frozen={"encoder": "0" * 64, "dit": "1" * 64})
asked("a stage without the parts that it builds on", "train.decoder", "protocol", stage="decoder")
asked("a stage without one of its parts", "train.diffusion", "protocol", stage="diffusion",
      frozen=NOTHING)
asked("moments without the parts that they are of", "query.moments", "protocol", stage="decoder",
      round_index=1)
asked("moments without the decoder", "query.moments", "protocol", stage="decoder", round_index=1,
      frozen=NOTHING)
asked("an evaluation without the parts of its stage", "evaluate", "protocol", stage="diffusion",
      round_index=1)


def kept(says: str, word: str, change: Callable[[np.ndarray], np.ndarray], **raw: Any) -> None:
    """Add a row that has a part kept: an encoder, changed, beside the digest of the right one."""
    fields = {"part": "encoder", "frozen": NOTHING, **raw}
    row(f"to keep {says}", word, lambda site: (
        site.content(told(site, **fields), change(site.encoder)), "query.install"))


kept("a part that is another than announced", "digest", lambda encoder: encoder)
kept("a part that is not announced", "protocol", lambda encoder: encoder, frozen={})
kept("no part", "protocol", lambda encoder: encoder, part=None)
kept("a part of a wrong name", "protocol", lambda encoder: encoder, part="evil")
kept("a part that is a path", "protocol", lambda encoder: encoder, part="../../evil")
kept("a part that is larger", "protocol", lambda encoder: np.append(encoder, encoder))
kept("a part that is of NaN", "protocol", lambda encoder: encoder * np.float32(np.nan))
kept("statistics that are an encoder", "protocol", lambda encoder: encoder, part="statistics",
     frozen={"statistics": "0" * 64})
row("to keep a part without one", "protocol", lambda site: (RecordDict({
    "message": ConfigRecord({"json": told(site, part="encoder", frozen=NOTHING)})}), "query.install"))

# Probes. `site.frozen` is an encoder that the site has.


def probed(says: str, word: str, order: dict[str, Any], numbers: int = 0, *,
           asked_before: int = 0, at: tuple[bool, ...] = (True, False), settings: str = "") -> None:
    def make(site: Site) -> Sent:
        if asked_before:
            write_text(site.state / "probes" / "r1.json", json.dumps({"sex/logistic": asked_before}))
        fields = {"phase": "sums", "tasks": {"sex/logistic": site.probe_digest}, **order}
        return site.content(told(site, round_index=3, frozen=site.frozen, probe=fields),
                            np.ones(numbers)), "query.probe"

    row(f"a probe {says}", word, make, at=at, settings=settings)


WITH_PROBES = {"at": (False,), "settings": "probe_methods: [logistic]\n"}
MODEL = {"task": "sex/logistic", "class_name": "M", "frame": 0, "wants": "derivatives"}
asked("a probe without an order", "query.probe", "protocol", np.ones(3), frozen=NOTHING)
asked("a probe without an encoder", "query.probe", "protocol", np.ones(3),
      probe={"phase": "sums", "tasks": {"age": "0" * 64}})
probed("for a task that the plan does not name", "protocol", {"tasks": {"evil": "0" * 64}})
probed("for a task that is a path", "protocol", {"tasks": {"../../evil": "0" * 64}})
probed("for 33 tasks", "protocol", {"tasks": {f"evil-{n}": "0" * 64 for n in range(33)}})
probed("for an unknown phase", "protocol", {"phase": "scans"})
probed("for 1,001 models", "protocol", {"phase": "terms", "models": [MODEL] * 1001})
probed("that weighs a volume as more than there can be", "protocol", {
    "phase": "terms", "models": [MODEL | {"inside": 1e9}]})
# The report says "policy" of each task, and there is no array.
probed("that the site takes no part in", ANSWERED, {})
probed("asked more often than a run may", ANSWERED, {"phase": "scores"}, asked_before=MAX_EXCHANGES,
       **WITH_PROBES)
probed("of another definition than the installed one", ANSWERED, {
    "tasks": {"sex/logistic": "0" * 64}}, **WITH_PROBES)

# What the site's own settings do not let out.
for says, rules in (("tensors that may not leave", "{tensors: {pretrain: ['encoder.*']}}"),
                    ("a reply of more bytes than may leave", "{max_mb: 0.001}"),
                    ("an update that is longer than may leave", "{max_norm: 1.0e-9}")):
    row(says, "egress", lambda site: site.content(), settings=f"egress: {rules}\n")

# What Flower says of a message.


def about(says: str, word: str, settings: str = "", **metadata: Any) -> None:
    row(says, word, lambda site: (site.content(), "train.pretrain", metadata), settings=settings)


HOLD = "egress: {hold: true}\n"
about("a message that is a reply", ANSWERED, reply_to_message_id="m")
about("a message that was made in 1970", ANSWERED, created_at=0.0)
for value in (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e300):
    about(f"a message that lives {value} s", "protocol", ttl=value)
    about(f"a message that lives {value} s while replies wait", "protocol", HOLD, ttl=value)
for value in (float("nan"), float("inf"), -float("inf"), 1e300, 1e12):
    about(f"a message made at {value} s while replies wait", "protocol", HOLD, created_at=value)
about("a message that is over before a person can look at the reply", "held", HOLD, ttl=1.0)


def signed(site: Site, key: SigningKey | None = None, **change: Any) -> RoundRecord:
    """Return a record of run r2, by the coordinator: number 2, after the last one."""
    fields = {"number": 2, "previous": record_digest(site.records[-1]) if site.records else "0" * 64,
              "run": "r2", "plan_digest": site.plan.digest, "what": "training", "stage": "pretrain",
              "round_index": 0, "asked": ("site-b",), "answered": (), "refused": {"site-b": "late"},
              "result": "0" * 64, "time": "2026-01-01T00:00:00Z", **change}
    return sign_record(key or site.coordinator, **fields)


def answered(site: Site, content: RecordDict, kind: str = "train.pretrain") -> Message:
    reply = site.ask(content, kind)
    assert not reply.has_error(), site.last_words()
    return reply


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, telling_scans: Path, short_dp_plan: str,
          hospital: Any) -> dict[bool, Site]:
    """A site with a budget and one without, as each row finds them."""
    short = "stages.pretrain.rounds=3 stages.pretrain.local_steps=1 probes=[sex/logistic]"

    def folder() -> Path:  # in one of its own: what is beside it is looked through after each row
        made = tmp_path_factory.mktemp("around") / "site"
        made.mkdir()
        return made

    return {has_budget: begun(hospital(
        folder(), telling_scans, f"{short_dp_plan} {short}",
        "plans: {approve: each}\n", has_budget=has_budget)) for has_budget in (True, False)}


def begun(site: Site) -> Site:
    """Let a site answer what an honest coordinator has asked of it so far."""
    decide(site.state, site.plan, approves=True)
    site.coordinator = open_key(site.folder / "coordinator.key")
    site.stranger = open_key(site.folder / "stranger.key")
    site.probe_digest = probed_tasks(["sex/logistic"])["sex/logistic"].digest
    like = part_like(site.plan, "encoder")
    site.encoder = np.linspace(-0.1, 0.1, sum(one.numel() for one in like.values()), dtype=np.float32)
    site.frozen = {"encoder": digest_state(unpack(site.encoder, like))}
    answered(site, site.content(told(site, part="encoder", frozen=site.frozen), site.encoder),
             "query.install")
    site.records, site.claim = [], None
    with open_ledger(site.folder / "other") as ledger:
        site.other_claim = sign_claim(ledger.sign, ledger.public_key, "site-a", head=ledger.head)
    first = answered(site, site.content(told(site, run="r2")))
    site.claim = report_of(first).head or site.other_claim
    for number in (0, 1):
        site.records.append(signed(site, number=number))
        answered(site, site.content(told(
            site, run="r2", round_index=1, record=site.records[-1].model_dump(mode="json"),
            receipts=[receipt(site, number=0)])))
    site.honest = answered(site, site.content())
    return site


def report_of(reply: Message) -> Reply:
    return Reply.model_validate_json(str(reply.content["message"]["json"]))


def look(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the files below a folder, with what changes when they are written to."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns)
            for path in folder.rglob("*") if path.is_file()}


def outside(site: Site) -> dict[Path, tuple[int, int]]:
    """Return all files that are near a site and not in its state folder, or where a row points."""
    places = [site.folder.parent, site.scans, *Path("/tmp").glob("evil*"), *Path.cwd().glob("evil*")]
    near = {path: how for place in places for path, how in look(place).items()}
    return {path: how for path, how in near.items()
            if site.state not in path.parents and path != site.file}


def check_refused(site: Site, reply: Message, word: str, log: str) -> None:
    """Check that a site refused by a fixed word, and wrote that down; `log` is what it logged."""
    site.check(reply)
    assert (reply.error.reason, reply.error.code) == (word, FIRST_CODE + REFUSALS.index(word)), log
    assert f"answering with a refusal: {word}\n" in log
    assert len(log) < 100_000
    if site.has_budget:
        last = load_history(site.state).entries[-1]
        assert (last.kind, last.code) in (("refuse", word), ("note", UNREAD))


def check_answered(site: Site, reply: Message) -> None:
    """Check that a reply holds what the honest one holds, or less."""
    assert not reply.has_error(), site.last_words()
    report = site.check(reply)
    assert report.round_index in (0, 1, 3)
    if site.has_budget and "arrays" in reply.content:
        assert reply.content["arrays"] == site.honest.content["arrays"]


@contextmanager
def settings(site: Site, more: str) -> Iterator[None]:
    """Add to a site's settings for a while."""
    before = site.file.read_text()
    try:
        site.file.write_text(before + more)
        yield
    finally:
        site.file.write_text(before)


CASES = [pytest.param(has_budget, one, id=f"{one.says}, {'with' if has_budget else 'without'} a budget")
         for one in ROWS for has_budget in one.at]


@pytest.mark.parametrize(("has_budget", "row"), CASES)
def test_a_hostile_server_gets_nothing(
    has_budget: bool, row: Row, sites: dict[bool, Site]
) -> None:
    site = sites[has_budget]
    made = row.make(site)
    content, kind, about = (*made, {})[:3] if isinstance(made, tuple) else (made, "train.pretrain", {})
    spent, near, inside = site.events(), outside(site), look(site.state)
    logged = (site.state / "site.log").stat().st_size
    with settings(site, row.settings):
        reply = site.ask(content, kind, **about)
    log = (site.state / "site.log").read_text()[logged:]
    assert not [line for line in log.splitlines() if not LOGGED.match(line)]
    word = row.word if has_budget or row.plain is None else row.plain
    if word == ANSWERED:
        check_answered(site, reply)
    else:
        check_refused(site, reply, word, log)
        assert {path.parent.name for path in look(site.state).keys() - inside.keys()} <= {"plans"}
    assert site.events() == spent
    assert not has_budget or not load_history(site.state).open_reserves()
    assert outside(site) == near
    assert not [path for path in look(site.state) if "evil" in str(path)]
    check_answered(site, site.ask(site.content()))


def test_a_text_that_is_longer_than_any_task_is_not_read(sites: dict[bool, Site]) -> None:
    site = sites[False]
    site.ask(site.content(" " * (MAX_TASK_CHARACTERS + 1)))
    assert f"{MAX_TASK_CHARACTERS + 1} characters" in site.last_words()
    site.ask(site.content(" " * MAX_TASK_CHARACTERS))
    assert "Invalid JSON: EOF" in site.last_words()


def test_what_a_reply_cost_that_is_too_long_to_leave_is_charged_once(
    tmp_path: Path, telling_scans: Path, short_dp_plan: str, hospital: Any
) -> None:
    """How long an update is, nobody knows before it was made: its noise was drawn, and is spent."""
    site = hospital(tmp_path, telling_scans, short_dp_plan, "egress: {max_norm: 1.0e-9}\n",
                    has_budget=True)
    for _ in range(3):
        check_refused(site, site.ask(site.content()), "egress", (site.state / "site.log").read_text())
        assert len(site.events()) == 1
    assert not (site.state / "egress.jsonl").exists()


@pytest.mark.parametrize("has_budget", [True, False])
def test_nobody_hears_which_scan_is_broken(
    tmp_path: Path, telling_scans: Path, short_dp_plan: str, hospital: Any, *, has_budget: bool
) -> None:
    scans = tmp_path / "KLINIKUM"
    shutil.copytree(telling_scans, scans)
    site = hospital(tmp_path, scans, short_dp_plan, has_budget=has_budget)
    first, *others = sorted(scans.rglob("*.nii.gz"))
    first.write_bytes(first.read_bytes()[:999])
    site.check(answered(site, site.content()))
    assert first.name in (site.state / "site.log").read_text()
    for path in others:
        path.write_bytes(b"")
    reply = site.ask(site.content(site.task(run="r2")))
    check_refused(site, reply, "cohort", site.last_words())
