"""Whatever comes over the wire: the app answers, and never with more than the policy allows."""

import itertools
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.files import digest_bytes
from braing3n.privacy.ledger_entry import Head
from braing3n.receipts import sign_claim, sign_receipt
from braing3n.round_records import sign_record
from braing3n.signing import open_key
from client.approval import decide

Site = Any  # `Hospital` of conftest.py
KINDS = ("train.pretrain", "train.pretrain", "train.pretrain", "train.decoder", "train.diffusion",
         "evaluate", "query.install", "query.moments", "query.probe", "query.hello", "query.evil")
RUNS = itertools.count()
FEW = settings(max_examples=25, derandomize=True, deadline=None)
BOTH = pytest.mark.parametrize("has_budget", [True, False])


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, telling_scans: Path, short_dp_plan: str,
          hospital: Any) -> Iterator[dict[bool, Site]]:
    """A site with a budget and one without; in the end both still do what they are asked."""
    sweep = f"{short_dp_plan} stages.pretrain.rounds=3 stages.pretrain.local_steps=1"
    rules = "plans: {approve: each}\negress: {max_mb: 6.0, max_norm: 1.0e+6}\n"
    made = {has_budget: hospital(tmp_path_factory.mktemp("site"), telling_scans, sweep, rules,
                                 has_budget=has_budget) for has_budget in (True, False)}
    for site in made.values():
        decide(site.state, site.plan, approves=True)
        site.key = open_key(site.folder / "coordinator.key")
        assert not site.ask(site.content(honest(site))).has_error()
    yield made
    for site in made.values():
        assert not held_to_policy(site, site.content(honest(site))).has_error()


def honest(site: Site, **change: Any) -> str:
    """Return a task of a run that the site has not heard of."""
    return site.task(run=f"fuzz-{next(RUNS)}", **change).model_dump_json()


def held_to_policy(site: Site, content: RecordDict | Error, kind: str = "train.pretrain",
                   **about: Any) -> Any:
    """Ask, and check what left, and that no more was charged than for a round, and that for a reply."""
    before = site.events()
    reply = site.ask(content, kind, **about)
    site.check(reply)
    # Whatever can come has a word of its own: "internal" is for mistakes in the program.
    assert reply.has_content() or reply.error.reason != "internal", site.last_words()
    privacy = site.plan.stages.pretrain.privacy
    new = site.events()[len(before):]
    assert not (new and reply.has_error()), reply.error
    assert [(one.steps, one.sample_rate, one.noise_multiplier) for one in new] in (
        [], [(1, privacy.sample_rate, privacy.noise_multiplier)])
    return reply


SCALARS = st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.floats() | st.text(max_size=20)
JSON = st.recursive(SCALARS | st.sampled_from(["../../evil", "0" * 64, "pretrain", "encoder", "r1"]),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.text(max_size=9), inner, max_size=3), max_leaves=6)
# Where, what is done there, and with what.
CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["set", "drop", "add", "wrap"]),
                             JSON), min_size=1, max_size=3)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (holder, key) in a JSON value."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value)
                 if isinstance(value, list) else ())
    return [(value, key) for key, _ in items] + [one for _, inner in items for one in places(inner)]


def changed(value: Any, changes: list[tuple[int, str, Any]]) -> Any:
    for number, how, what in changes:
        every = places(value)
        if not every:
            return what
        holder, key = every[number % len(every)]
        if how == "drop":
            del holder[key]
        elif how == "add" and isinstance(holder, dict):
            holder[f"{key}-evil"] = what
        else:
            holder[key] = [holder[key]] if how == "wrap" else what
    return value


def whole(site: Site) -> dict[str, Any]:
    """Return a task in which everything is that a task can have."""
    run = f"fuzz-{next(RUNS)}"
    claim = sign_claim(site.key.sign, site.key.public, "site-b", head=Head(seq=3, digest="a" * 64))
    receipt = sign_receipt(site.key, number=0, previous="0" * 64, run=run, site="site-b", claim=claim)
    record = sign_record(
        site.key, number=0, previous="0" * 64, run=run, plan_digest=site.plan.digest, what="training",
        stage="pretrain", round_index=0, asked=("site-b",), answered=(), refused={"site-b": "late"},
        result=None, time="2026-01-01T00:00:00Z")
    task = site.task(run=run, receipts=(receipt,), record=record)
    return json.loads(task.model_dump_json())


@BOTH
@FEW
@given(changes=CHANGES, kind=st.sampled_from(KINDS[:-1]), more=st.sampled_from([
    {}, {"part": "encoder", "frozen": {"encoder": "0" * 64}},
    {"probe": {"phase": "terms", "tasks": {"age": "0" * 64}}, "frozen": {"encoder": "0" * 64}}]))
def test_a_task_that_was_changed_anywhere(
    sites: dict[bool, Site], has_budget: bool, changes: Any, kind: str, more: dict[str, Any]
) -> None:
    site = sites[has_budget]
    text = json.dumps(changed(whole(site) | more, changes))
    held_to_policy(site, site.content(text), kind)


@BOTH
@FEW
@given(changes=CHANGES, is_digested=st.booleans())
def test_a_plan_that_was_changed_anywhere(
    sites: dict[bool, Site], has_budget: bool, changes: Any, is_digested: bool
) -> None:
    site = sites[has_budget]
    text = json.dumps(changed(json.loads(site.plan.canonical()), changes), sort_keys=True,
                      separators=(",", ":"), ensure_ascii=False)
    digest = digest_bytes(text.encode("utf-8", "replace")) if is_digested else site.plan.digest
    task = json.loads(honest(site)) | {"plan": text, "plan_digest": digest}
    if held_to_policy(site, site.content(json.dumps(task))).has_content():
        assert text == site.plan.canonical()


@BOTH
@FEW
@given(cut=st.integers(0, 4000), length=st.integers(0, 40), what=st.text(max_size=40))
def test_a_task_whose_text_was_cut_and_mended(
    sites: dict[bool, Site], has_budget: bool, cut: int, length: int, what: str
) -> None:
    site = sites[has_budget]
    text = honest(site)
    place = cut % len(text)
    held_to_policy(site, site.content(text[:place] + what + text[place + length:]))


# An array as it should be, and what else each part of it may be.
HONEST = {"version": b"\x01\x00", "descr": "<f4", "order": "False", "shape": "{n},", "off_by": 0,
          "bytes_off": 0, "scale": 1.0}
ODD = {"version": [b"\x02\x00", b"\x03\x00", b"\xff\xff"],
       "descr": ["<f2", "<u2", "<f8", "<f2", ">f4", "<i4", "|O", "<U4", "evil"],
       "order": ["True", "1"], "shape": ["{n}", "", "1, {n}", "{n}0,", "-{n},", "9" * 19 + ","],
       "off_by": [1, -1, 2**15], "bytes_off": [1, -1, -4, 4, 400],
       "scale": [0.0, -1.0, 1e3, 3e38, np.nan, np.inf]}
HEADERS = st.lists(st.sampled_from([(part, value) for part, values in ODD.items() for value in values]),
                   max_size=2).map(lambda changes: HONEST | dict(changes))


def npy(weights: np.ndarray, of: dict[str, Any]) -> bytes:
    """Return an array in NumPy's format, or almost."""
    with np.errstate(over="ignore", invalid="ignore"):
        body = (weights * np.float32(of["scale"])).tobytes()
    body = body + bytes(of["bytes_off"]) if of["bytes_off"] >= 0 else body[:of["bytes_off"]]
    shape = of["shape"].format(n=weights.size)
    text = f"{{'descr': '{of['descr']}', 'fortran_order': {of['order']}, 'shape': ({shape}), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return (b"\x93NUMPY" + of["version"] + struct.pack("<H", (len(text) + of["off_by"]) % 2**16)
            + text.encode() + body)


@BOTH
@settings(FEW, max_examples=50)
@given(data=HEADERS | HEADERS | st.binary(max_size=300),
       kind=st.just("train.pretrain") | st.just("train.pretrain") | st.sampled_from(KINDS))
def test_bytes_that_are_no_array_or_almost_one(
    sites: dict[bool, Site], has_budget: bool, data: bytes | dict[str, Any], kind: str
) -> None:
    site = sites[has_budget]
    made = npy(site.weights, data) if isinstance(data, dict) else data
    held_to_policy(site, site.content(
        honest(site), Array("float32", (3,), "numpy.ndarray", made)), kind)


TEXTS = st.text(max_size=20) | st.just("honest")
ENTRIES = st.one_of(
    st.dictionaries(st.sampled_from(["json", "evil", "../evil"]), st.one_of(
        TEXTS, st.integers(-2**63, 2**63 - 1), st.floats(), st.booleans(), st.binary(max_size=9),
        st.lists(TEXTS, max_size=2)), max_size=2).map(ConfigRecord),
    st.dictionaries(st.sampled_from(["weights", "evil"]), st.builds(
        Array, st.sampled_from(["float32", "object", "evil"]), st.just((3,)), st.just("numpy.ndarray"),
        st.binary(max_size=99) | st.just(b"honest")), max_size=2).map(ArrayRecord),
    st.dictionaries(st.text(max_size=9), st.floats() | st.integers(0, 9), max_size=2).map(MetricRecord))
RECORDS = st.dictionaries(st.sampled_from(["message", "arrays", "manifest", "evil"]), ENTRIES)


@BOTH
@FEW
@given(records=RECORDS, has_task=st.booleans(), has_array=st.booleans(), kind=st.sampled_from(KINDS))
def test_any_records_beside_or_in_place_of_ours(
    sites: dict[bool, Site], has_budget: bool, records: dict[str, Any], has_task: bool,
    has_array: bool, kind: str
) -> None:
    site = sites[has_budget]
    ours = site.content(honest(site))
    held_to_policy(site, RecordDict({
        **records, **({"message": ours["message"]} if has_task else {}),
        **({"arrays": ours["arrays"]} if has_array else {})}), kind)


NODES = st.integers(0, 2**63 - 1)
METADATA = st.fixed_dictionaries({}, optional={
    "run_id": NODES, "message_id": st.text(max_size=9), "src_node_id": NODES, "dst_node_id": NODES,
    "reply_to_message_id": st.text(max_size=9), "group_id": st.text(max_size=9),
    "created_at": st.floats(), "ttl": st.floats()})


@BOTH
@FEW
@given(about=METADATA, kind=st.sampled_from(KINDS) | st.from_regex(
    r"(train|evaluate|query)(\.[a-z_]{1,9})?|system", fullmatch=True), is_error=st.booleans())
def test_any_message_type_and_metadata(
    sites: dict[bool, Site], has_budget: bool, about: dict[str, Any], kind: str, is_error: bool
) -> None:
    site = sites[has_budget]
    held_to_policy(site, Error(7, "evil") if is_error else site.content(honest(site)), kind, **about)
