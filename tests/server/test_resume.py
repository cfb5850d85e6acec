"""A coordinator that is killed goes on as if it had not been: whatever it was doing just then."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict

from braing3n.errors import OutputError
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.probe_wire import Numbers
from braing3n.evaluation.site_answers import Answer, SiteTask, answer_scores, answer_sums
from braing3n.evaluation.tasks import load_tasks
from braing3n.files import digest_bytes, locked, remove_unfinished
from braing3n.manifests import Content, manifest_line, sign_manifest
from braing3n.plan import Plan, load_plan
from braing3n.probe_messages import ProbeOrder, ProbeReport
from braing3n.protocol import PROTOCOL_VERSION, Hello, Reply, Task
from braing3n.round_records import read_records
from braing3n.signing import SigningKey
from braing3n.weights import doubles_from_npy, vector_from_npy
from server.app import app as server_app
from server.roster import expected_code_digest
from server.run_state import RunFolder
from simulation.grid import FIRST_SITE_NODE, run_locally
from simulation.run import PLANS

SITES = ("a", "b", "c")
WIDTH = 5
# Every server optimiser, one of them with the moving average.
SWEEP = " ".join([
    "name=resumed probes=[age,sex]", "stages.pretrain.rounds=3", "stages.pretrain.server.name=fedadam",
    "stages.decoder.rounds=1", "stages.diffusion.rounds=2", "stages.diffusion.server.name=fedavgm",
])
PLAN = load_plan(PLANS / "demo.yaml", SWEEP)
CODE = expected_code_digest()
KEYS = {name: SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))
        for number, name in enumerate("abcd")}
SENT = count(10**6)  # of one length, as bytes are counted


def small_weights(plan: Plan, stage: str) -> dict[str, torch.Tensor]:
    """Stand for a network, so that a run takes a fraction of a second."""
    values = torch.linspace(-1, 1, 3000) * len(stage)
    return {"encoder.w": values.reshape(30, 100).clone(), "decoder.w": values[:77].clone()}


def small_moments(plan: Plan) -> dict[str, torch.Tensor]:
    return {"mean": torch.zeros(4, 2, 2, 2), "mean_square": torch.zeros(4, 2, 2, 2)}


def fake_site(message: Message, context: Context) -> Message:
    """A site without data: its updates depend on the weights and on moments that it keeps on disk."""
    number = message.metadata.dst_node_id - FIRST_SITE_NODE
    name, kind = SITES[number], message.metadata.message_type
    if kind == "query.hello":
        return answer(message, Hello(site=name, protocol=PROTOCOL_VERSION, version="0",
                                     code_digest=CODE))
    task = Task.model_validate_json(str(message.content.config_records["message"]["json"]))
    arrays = [array for rec in message.content.array_records.values() for array in rec.values()]
    if kind == "query.probe":
        reports, numbers = probed(number, task.probe, [array.data for array in arrays])
        told = Reply(site=name, stage=task.stage, round_index=task.round_index,
                     plan_digest=task.plan_digest, probe=ProbeReport(tasks=reports))
        return answer(message, told, numbers if len(numbers) else None)
    vector = vector_from_npy([array.data for array in arrays]) if arrays else np.zeros(0, np.float32)
    reply = Reply(site=name, stage=task.stage, round_index=task.round_index, weight=number + 2,
                  plan_digest=task.plan_digest, layout=task.layout)
    if kind.startswith("train."):
        update = train(Path(str(context.run_config["out"])) / "sites" / name, task, vector, number)
        if (name, task.stage, task.round_index) == ("c", "pretrain", 1):
            return Message(Error(1000, "internal"), reply_to=message)  # lost, after its work
        told = {"metrics": {"loss": float(vector[:100].mean())}, "train_loss": float(update.mean())}
        return answer(message, reply.model_copy(update=told), update.astype(np.float32))
    if kind == "query.moments":
        return answer(message, reply, np.linspace(0.1, 2 + number, 64, dtype=np.float32))
    return answer(message, reply.model_copy(update={"metrics": {"loss": float(vector[:9].mean())}}))


def train(folder: Path, task: Task, vector: np.ndarray, number: int) -> np.ndarray:
    """Return an update, with moments of the last round before; two rounds are kept, as AdamW's are."""
    folder = folder / "moments" / task.run / task.stage
    folder.mkdir(parents=True, exist_ok=True)
    before = [path for path in sorted(folder.glob("*.npy")) if int(path.stem) < task.round_index]
    moments = np.load(before[-1]) if before else np.zeros(1000, np.float32)
    update = np.float32(1e-3) * np.sin(vector * 50 + number + task.round_index)
    update[:1000] += np.float32(0.1) * moments
    np.save(folder / f"{task.round_index:05d}.npy", update[:1000] + moments)
    for old in sorted(folder.glob("*.npy"))[:-2]:
        old.unlink()
    return update


def probed(number: int, order: ProbeOrder, contents: list[bytes]) -> Answer:
    """Return what a site with made features answers about age and sex."""
    rng, num = np.random.default_rng(number), 40 + number
    ages, sexes = rng.uniform(40, 90, num), np.array(["F", "M"])[np.arange(num) % 2]
    features = rng.normal(size=(num, WIDTH)) + ages[:, None] / 20 + (sexes == "M")[:, None]
    sets = {name: LabelledSet(features, values, np.array([f"s{row}" for row in range(num)]),
                              np.full(num, SITES[number]))
            for name, values in (("age", ages), ("sex", sexes))}
    train = np.arange(num) < 25
    tasks = {name: SiteTask(load_tasks()[name], sets[name].only(train), sets[name].only(~train))
             for name in order.tasks}
    if order.phase == "sums":
        return answer_sums(tasks)
    return answer_scores(order, Numbers(doubles_from_npy(contents)), tasks, WIDTH)


def answer(message: Message, told: Any, update: np.ndarray | None = None) -> Message:
    text = told.model_dump_json()
    content = RecordDict({"message": ConfigRecord({"json": text})})
    if update is not None:
        content["arrays"] = ArrayRecord({"weights": Array(update)})
    manifest = sign_manifest(
        KEYS[told.site], Content(
            site=told.site, kind=message.metadata.message_type, num_bytes=len(text),
            report_digest=digest_bytes(text.encode()),
            array_digest=None if update is None else digest_bytes(update.tobytes())),
        seq=next(SENT), prev="0" * 64, time="2026-12-01T00:00:00Z")
    content["manifest"] = ConfigRecord({"json": manifest_line(manifest).decode()})
    return Message(content, reply_to=message)


class Killed(BaseException):
    """Stands for SIGKILL: from then on nothing of the process gets to the disk."""


class Fate:
    """Kills at the n-th event, and at every later one; counts them where n is 0."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    def event(self) -> None:
        self.count += 1
        if self.number and self.count >= self.number:
            raise Killed

    def __call__(self, message: Message, context: Context) -> Message:
        self.event()
        reply = fake_site(message, context)
        self.event()
        return reply


@contextmanager
def doomed(number: int) -> Iterator[Fate]:
    """Before and after each message and each file that takes its place, and within each append."""
    fate = Fate(number)
    replace, unlink = Path.replace, Path.unlink

    def unlinked(self: Path, *, missing_ok: bool = False) -> None:
        fate.event()
        unlink(self, missing_ok=missing_ok)

    def replaced(self: Path, target: Path) -> Path:
        fate.event()
        done = replace(self, target)
        fate.event()
        return done

    def append(path: Path, text: str) -> None:
        fate.event()
        with path.open("a") as stream:
            stream.write(text[: len(text) * 2 // 3])
        fate.event()
        with path.open("a") as stream:
            stream.write(text[len(text) * 2 // 3 :])
        fate.event()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replaced)
        patch.setattr(Path, "unlink", unlinked)
        patch.setattr("server.run_state.append_text", append)
        patch.setattr("server.manifests.append_text", append)
        patch.setattr("server.round_records.append_text", append)
        patch.setattr("server.starts.initial_weights", small_weights)
        patch.setattr("server.app.moments_like", small_moments)
        patch.setattr("server.app.num_features", lambda preset: WIDTH)
        patch.setattr("os.fsync", lambda _: None)  # what is killed is a process, not the machine
        yield fate


def start(out: Path, number: int = 0, sweep: str = SWEEP) -> int:
    """Run, or go on, killed at event `number`; return the number of events."""
    sites = out.with_name("sites")
    sites.mkdir(parents=True, exist_ok=True)
    for name in SITES:
        (sites / f"{name}.yaml").touch()
    with doomed(number) as fate:
        run_locally(PLANS / "demo.yaml", sites, out, sweep=sweep, apps=(server_app, fate))
    return fate.count


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The run that nothing interrupts, and how many events it has."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, start(out)


def timeless(value: Any) -> Any:
    """Return JSON without times, memory, and what tells one run from another.

    Bytes that were sent are left out: the number of a round record in them has one digit more where
    a round was run again.
    """
    if isinstance(value, dict):
        return {key: timeless(part) for key, part in value.items()
                if key not in {"seconds", "started", "ended", "id", "resumed", "peak_memory_mb", "run",
                               "metrics_bytes", "metrics_sha256", "record", "bytes_down"}}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def left(out: Path) -> dict[str, Any]:
    """Return all that a run leaves: weights as bytes, JSON without times."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if name.startswith("sites/") or path.is_dir():
            continue
        if name in ("receipts.key", "receipts.pub"):  # drawn anew for each run
            continue
        if path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text()))
        elif name == "manifests.jsonl":  # of replies to cut-off rounds as well: the same again
            lines = map(json.loads, path.read_text().splitlines())
            found[name] = {(line["kind"], line["site"], line["report_digest"], line["array_digest"])
                           for line in lines}
        elif name == "round_records.jsonl":  # of rounds that were run again as well: the same again
            records = list(read_records(path.read_bytes().splitlines()))
            found[name] = {(one.what, one.stage, one.round_index, one.asked, one.answered,
                            str(one.refused), one.result) for one in records}
        elif path.suffix == ".jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        else:
            found[name] = path.read_bytes()
    return found


def interrupt_and_resume(out: Path, number: int) -> None:
    with pytest.raises(Killed):
        start(out, number)
    record = out / "run.json"
    if record.exists() and json.loads(record.read_text())["status"].startswith("completed"):
        with pytest.raises(OutputError, match="it has ended"):  # killed behind its last word
            start(out)
        remove_unfinished(out)  # what the next run would have done
        return
    start(out)


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_coordinator_killed_at_any_event_leaves_what_an_uninterrupted_one_leaves(
    tmp_path: Path, whole: tuple[Path, int], step: int
) -> None:
    finished, events = whole
    expected = left(finished)
    assert {"model/dit.safetensors", "metrics.jsonl", "run.json"} <= expected.keys()
    for number in range(1, events + 1, step):
        out = tmp_path / str(number) / "out"
        interrupt_and_resume(out, number)
        found = left(out)
        assert found.keys() == expected.keys(), number
        assert [name for name in expected if found[name] != expected[name]] == [], number


def test_two_interruptions_are_told_and_change_nothing(
    tmp_path: Path, whole: tuple[Path, int]
) -> None:
    finished, events = whole
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(Killed):
            start(out, events // 2)
    start(out)
    assert left(out) == left(finished)
    resumed = json.loads((out / "run.json").read_text())["resumed"]
    assert len(resumed) == 2
    assert [(one["stage"], one["round"]) for one in resumed] == [("decoder", 0), ("diffusion", 2)]


def test_a_run_that_failed_goes_on_once_the_site_is_mended(
    tmp_path: Path, whole: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = train

    def broken(folder: Path, task: Task, *rest: Any) -> np.ndarray:
        if task.stage == "decoder":
            raise OSError("the disk is full")
        return sound(folder, task, *rest)

    with monkeypatch.context() as patch:
        patch.setitem(fake_site.__globals__, "train", broken)
        with pytest.raises(OSError, match="the disk is full"):
            start(tmp_path / "out")
    status = json.loads((tmp_path / "out" / "run.json").read_text())["status"]
    assert status.startswith("failed: OSError")
    start(tmp_path / "out")
    assert left(tmp_path / "out") == left(whole[0])


def test_a_full_disk_is_told_as_such_and_the_run_goes_on_once_there_is_room(
    tmp_path: Path, whole: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_round", full)
        with pytest.raises(OutputError, match="is full"):
            start(tmp_path / "out")
    status = json.loads((tmp_path / "out" / "run.json").read_text())["status"]
    assert status == f"failed: the disk of {tmp_path / 'out'} is full"
    start(tmp_path / "out")
    assert left(tmp_path / "out") == left(whole[0])


def test_probes_that_are_over_are_not_asked_for_again(
    tmp_path: Path, whole: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        start(tmp_path / "out", whole[1] * 5 // 6)
    monkeypatch.delitem(fake_site.__globals__, "probed")
    start(tmp_path / "out")
    assert left(tmp_path / "out") == left(whole[0])
    probes = json.loads((tmp_path / "out" / "run.json").read_text())["probes"]
    assert probes["exchanges"] == 2
    assert all(task["sites"] == list(SITES) for task in probes["tasks"].values())
    assert probes["tasks"]["age"]["metrics"]["r2"] > 0


@pytest.fixture
def interrupted(tmp_path: Path, whole: tuple[Path, int]) -> Path:
    """A run that was killed in the diffusion stage, after its first round."""
    out = tmp_path / "out"
    with pytest.raises(Killed):
        start(out, whole[1] * 5 // 6)
    assert (out / "rounds" / "diffusion" / "manifest.json").exists()
    return out


def refusal(out: Path, **options: str) -> str:
    """Return why a run is not gone on with, after checking that nothing was changed."""
    def content() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    before = content()
    with pytest.raises(OutputError) as refused:
        start(out, **options)  # type: ignore[arg-type]
    assert content() == before
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_another_plan_or_sweep_is_refused_and_says_what_differs(interrupted: Path) -> None:
    assert "seed 0 there, 4 here" in refusal(interrupted, sweep=f"{SWEEP} seed=4")


def test_other_sites_may_go_on_with_a_run_and_it_says_so(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fake_site.__globals__, "SITES", ("a", "b", "d"))
    (interrupted.with_name("sites") / "c.yaml").unlink()
    start(interrupted)
    record = json.loads((interrupted / "run.json").read_text())
    assert record["sites"] == ["a", "b", "c", "d"]
    assert record["status"] == (
        "completed with 2 of 4 sites in pretrain round 2; with 3 of 4 sites in diffusion round 2; "
        "with 3 of 4 sites in diffusion evaluation; with d from diffusion round 2 on")
    last = record["stages"][2]["participation"][-1]
    assert (last["answered"], last["refused"]) == (["a", "b", "d"], {"c": "unreachable"})


def test_other_code_is_refused(interrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.resume.own_code_digest", lambda: "0" * 64)
    assert "other code" in refusal(interrupted)


def test_a_second_coordinator_is_refused_while_the_first_runs(interrupted: Path) -> None:
    with locked(interrupted / ".run.lock"):
        assert "is in use" in refusal(interrupted)


def damage_round(out: Path) -> Path:
    return next((out / "rounds" / "diffusion").glob("round-*"))


def damage_slots(out: Path) -> Path:
    return next((out / "rounds" / "diffusion").glob("server-*"))


@pytest.mark.parametrize("find", [
    damage_round, damage_slots, lambda out: out / "model" / "decoder.safetensors",
    lambda out: out / "metrics.jsonl", lambda out: out / "rounds" / "pretrain" / "manifest.json",
    lambda out: out / "run.json",
])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_file_is_named(
    interrupted: Path, find: Callable[[Path], Path], damage: str
) -> None:
    path = find(interrupted)
    if damage == "remove":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[20] ^= 255
        path.write_bytes(content)
    try:
        start(interrupted)
    except OutputError as error:
        assert path.name in str(error) or "without its record" in str(error)
    else:
        pytest.fail("the damage went unnoticed")


def test_half_a_line_and_lines_of_an_unfinished_round_are_cut_off(
    interrupted: Path, whole: tuple[Path, int]
) -> None:
    with (interrupted / "metrics.jsonl").open("a") as stream:
        stream.write('{"stage": "diffusion", "round": 2}\n{"stage": "diff')
    start(interrupted)
    assert left(interrupted) == left(whole[0])


def test_a_run_of_which_nothing_was_finished_may_begin_with_other_sites(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "out", PLAN, "1")
    run.begin(("a",), {}, CODE, 1)
    again = RunFolder(tmp_path / "out", PLAN, "2")
    again.begin(("a", "b"), {}, CODE, 2)
    assert (again.run_id, again.attendance.sites) == ("1", ("a", "b"))
