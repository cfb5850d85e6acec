"""A site with a budget and made scans, that is asked as a coordinator's messages ask it."""

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from torch import Tensor

from braing3n.budget import BudgetConfig, ReleaseConfig
from braing3n.config import DataConfig, SiteConfig
from braing3n.data.examples import Example
from braing3n.manifests import Manifest, read_manifest
from braing3n.models.mae import Encoder
from braing3n.networks import build_decoder, moments_like, network_like
from braing3n.plan import STAGE_NAMES, Part, Plan, StageName, load_plan
from braing3n.presets import PRESETS
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import load_history
from braing3n.protocol import FIRST_CODE, REFUSALS, Hello, Reply, Task
from braing3n.weights import Vector, digest_state, layout_digest, pack
from client import work
from client.app import app
from client.site import Site
from server.stages import initial_weights
from simulation.run import PLANS

Answer = tuple[Reply, Vector | None]


class MadeScans:
    """Smooth made volumes of so many subjects, one or two each; the first of them are held out."""

    def __init__(self, subjects: int, held_out: int) -> None:
        self.notes, self.skipped = (), ()
        self._kept: dict[tuple[str, str], Tensor] = {}
        every = [[Example(f"sub-{number:03d}", None, "T1w", f"{number:03d}-{volume}", (0.0,) * 6)
                  for volume in range(1 + number % 2)] for number in range(subjects)]
        self.held_out = tuple(example for own in every[:held_out] for example in own)
        self.train = tuple(example for own in every[held_out:] for example in own)

    def volumes(self, examples: Sequence[Example]) -> Tensor:
        return torch.stack([self._volume(example) for example in examples])

    def _volume(self, example: Example) -> Tensor:
        generator = torch.Generator().manual_seed(int(example.key.replace("-", "")))
        coarse = torch.randn(1, 1, 5, 6, 5, generator=generator)
        return torch.nn.functional.interpolate(coarse, PRESETS["nano"].shape, mode="trilinear")[0]

    def conditions(self, examples: Sequence[Example]) -> Tensor:
        return torch.tensor([example.conditions for example in examples])

    def tokens(self, examples: Sequence[Example], encoder_digest: str) -> Tensor:
        return torch.stack([self._kept[encoder_digest, example.key] for example in examples])

    def cache_tokens(self, encoder_digest: str, encode: Callable[[Tensor], Tensor],
                     batch_size: int) -> None:
        for example in self.train + self.held_out:
            if (encoder_digest, example.key) not in self._kept:
                self._kept[encoder_digest, example.key] = encode(self.volumes([example]))[0]


class Clinic:
    """One site; each method asks it for something, under a plan that may be changed on the way."""

    def __init__(self, folder: Path, sweep: str, scans: MadeScans, release: dict[str, Any],
                 budget: dict[str, Any] | None) -> None:
        self.sweep, self.scans = sweep, scans
        limits = None if budget is None else BudgetConfig(
            **{"epsilon": 100.0, "min_subjects": 1, **budget})
        self.site = Site(SiteConfig(
            name="site-a", data=DataConfig(folder=folder, draw="alone"), state_dir=folder / "site-a",
            budget=limits, release=ReleaseConfig(**release)))
        self.state = self.site.config.state_dir
        self.state.mkdir(exist_ok=True)
        self.frozen: dict[Part, str] = {}

    def allow(self, **budget: Any) -> None:
        """Change the site's budget, as its IT may at any time."""
        config = self.site.config
        limits = config.budget.model_copy(update=budget)
        self.site = Site(config.model_copy(update={"budget": limits}))

    def plan(self, sweep: str = "") -> Plan:
        return load_plan(PLANS / "demo-dp.yaml", f"{self.sweep} {sweep}")

    def task(self, stage: StageName = "pretrain", round_index: int = 0, *, sweep: str = "",
             run: str = "r1", receipts: tuple[Any, ...] = (), **change: Any) -> Task:
        plan = self.plan(sweep)
        fields = {"run": run, "plan": plan.canonical(), "plan_digest": plan.digest, "stage": stage,
                  "round_index": round_index, "receipts": receipts, "frozen": self.frozen,
                  "layout": layout_digest(initial_weights(plan, stage)), **change}
        return Task(**fields)

    def weights(self, stage: StageName = "pretrain") -> Vector:
        return pack(initial_weights(self.plan(), stage))

    def train(self, stage: StageName = "pretrain", round_index: int = 0, *, shift: float = 0.0,
              **change: Any) -> Answer:
        return work.train(self.site, self.task(stage, round_index, **change),
                          self.weights(stage) + np.float32(shift))

    def evaluate(self, stage: StageName = "pretrain", **change: Any) -> Reply:
        rounds = self.plan().stage(stage).rounds
        return work.evaluate(self.site, self.task(stage, rounds, **change), self.weights(stage))

    def moments(self, round_index: int | None = None, stage: StageName = "decoder",
                **change: Any) -> Answer:
        number = self.plan().stage(stage).rounds if round_index is None else round_index
        return work.moments(self.site, self.task(stage, number, **change))

    def freeze(self) -> None:
        """Give the site an encoder and a decoder, as after the second stage."""
        torch.manual_seed(0)
        for part, network in (("encoder", Encoder(PRESETS["nano"])),
                              ("decoder", build_decoder(self.plan()))):
            state = dict(network.state_dict())
            self.frozen = {**self.frozen, part: digest_state(state)}
            self.site.store(part, self.frozen[part], state)

    @property
    def kinds(self) -> list[str]:
        """What the ledger says, after the entries that begin it and decide on the budget."""
        return [f"{entry.kind} {entry.code or entry.what}"
                for entry in load_history(self.state).entries
                if (entry.kind, entry.code) not in (("note", "begun"), ("note", "budget"))]

    def events(self) -> list[Event]:
        return load_history(self.state).events("patients")


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_dp_plan: str,
           ) -> Callable[..., Clinic]:
    """Make a site with these numbers of subjects, releases and limits."""

    def make(*, subjects: int = 6, held_out: int = 1, sweep: str = "", name: str = "clinic",
             release: dict[str, Any] | None = None, has_budget: bool = True,
             **budget: Any) -> Clinic:
        folder = tmp_path / name
        folder.mkdir()
        short = " ".join(f"stages.pretrain.{change}" for change in (
            "rounds=3", "local_steps=1", "privacy.clip_norm=0.1"))
        made = Clinic(folder, f"{short_dp_plan} {short} {sweep}",
                      MadeScans(subjects, held_out), release or {}, budget if has_budget else None)
        clinics.append(made)
        return made

    clinics: list[Clinic] = []
    monkeypatch.setattr("client.opening.open_data", lambda site, *_: next(
        one.scans for one in clinics if one.state == site.config.state_dir))
    return make


# What a hospital's scans are called, and where its own things are.
TELLING = ("MUELLER", "KLINIKUM", ".nii.gz", "site.log", "Traceback")


class Hospital:
    """A site as Flower's process finds it: its settings on the disk, real scans, the installed app."""

    run = "r1"

    def __init__(self, folder: Path, scans: Path, sweep: str, settings: str = "", *,
                 has_budget: bool) -> None:
        self.folder, self.scans, self.has_budget = folder, scans, has_budget
        self.file, self.state = folder / "site.yaml", folder / "state"
        self.plan = load_plan(PLANS / "demo-dp.yaml", sweep)
        budget = "budget: {epsilon: 100.0, min_subjects: 1}\n" if has_budget else ""
        self.file.write_text(f"name: site-a\ndata: {{folder: {scans}, draw: alone}}\n"
                             f"state_dir: state\n{budget}{settings}")
        start = initial_weights(self.plan, "pretrain")
        self.weights, self.layout = pack(start), layout_digest(start)
        # What each answer holds at most; built once, as it takes as long as a small task.
        self.shapes = {kind: {name: tuple(tensor.shape) for name, tensor in like.items()}
                       for kind, like in (
                           ("query.moments", moments_like(self.plan)),
                           *((f"train.{name}", network_like(self.plan, name)) for name in STAGE_NAMES))}

    def task(self, stage: StageName = "pretrain", round_index: int = 0, **change: Any) -> Task:
        fields = {"run": self.run, "plan": self.plan.canonical(), "plan_digest": self.plan.digest,
                  "stage": stage, "round_index": round_index,
                  "layout": self.layout, **change}
        return Task(**fields)

    def content(self, task: Task | str | None = None, array: Any = None) -> RecordDict:
        """Return the records of our coordinator; for None the task, and the weights, of round 0."""
        asked = self.task() if task is None else task
        text = asked if isinstance(asked, str) else asked.model_dump_json()
        data = array if isinstance(array, Array) else Array(self.weights if array is None else array)
        return RecordDict({"message": ConfigRecord({"json": text}),
                           "arrays": ArrayRecord({"weights": data})})

    def ask(self, content: RecordDict | Error, kind: str = "train.pretrain", **about: Any) -> Message:
        """Give the app a message, as Flower's process does; `about` goes into its metadata."""
        fields = {"run_id": 1, "message_id": "m", "src_node_id": 1, "dst_node_id": 7,
                  "reply_to_message_id": "", "group_id": "", "created_at": time.time(), "ttl": 3600.0,
                  "message_type": kind, **about}
        what = {"error" if isinstance(content, Error) else "content": content}
        context = Context(run_id=1, node_id=7, node_config={"site-config": str(self.file)},
                          state=RecordDict(), run_config={})
        return app(make_message(Metadata(**fields), **what), context)

    def last_words(self) -> str:
        """What the site has logged last, for whoever reads why a test failed."""
        return (self.state / "site.log").read_text()[-3000:]

    def check(self, reply: Message) -> Reply | Hello | None:
        """Hold a reply to what may leave, without the code that let it out; None for a refusal."""
        wire = b"".join(one.deflate() for one in get_all_nested_objects(reply).values())
        assert not [one for one in (*TELLING, str(self.folder)) if one.encode() in wire]
        if reply.has_error():
            word = reply.error.reason
            assert (word in REFUSALS, reply.error.code) == (True, FIRST_CODE + REFUSALS.index(word))
            return None
        records = {name: list(entries) for name, entries in reply.content.items()}
        arrays = records.pop("arrays", ["weights"])
        assert (records, arrays) == ({"message": ["json"], "manifest": ["json"]}, ["weights"])
        line, text = (str(reply.content[name]["json"]) for name in ("manifest", "message"))
        assert (self.state / "egress.jsonl").read_text().splitlines()[-1] == line
        manifest = read_manifest(line.encode())
        assert manifest.report_digest == hashlib.sha256(text.encode()).hexdigest()
        self._check_array(reply, manifest)
        kind = Hello if reply.metadata.message_type == "query.hello" else Reply
        told = kind.model_validate_json(text)
        assert told.site == manifest.site == "site-a"
        return told

    def _check_array(self, reply: Message, manifest: Manifest) -> None:
        shapes = self.shapes.get(reply.metadata.message_type, {})
        if "arrays" not in reply.content:
            assert (manifest.tensors, manifest.array_digest) == ((), None)
            return
        numbers = np.load(io.BytesIO(reply.content["arrays"]["weights"].data), allow_pickle=False)
        assert (numbers.dtype, numbers.shape) == (np.float32, (sum(map(prod, shapes.values())),))
        assert np.isfinite(numbers).all()
        assert manifest.array_digest == hashlib.sha256(numbers.tobytes()).hexdigest()
        assert {one.name: one.shape for one in manifest.tensors} == shapes

    def events(self) -> list[Event]:
        """What was ever charged, settled or not."""
        return load_history(self.state).events("patients") if self.has_budget else []


@pytest.fixture(scope="session")
def telling_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BIDS folder of eight subjects, whose names would tell who they are."""
    folder = tmp_path_factory.mktemp("neuro") / "KLINIKUM"
    axes = np.meshgrid(*(np.linspace(-1.3, 1.3, size) for size in (30, 34, 28)), indexing="ij")
    for number in range(8):
        waves = np.sin((3 + number / 4) * axes[0]) + np.cos(4 * axes[1] + number)
        voxels = np.where(sum(axis**2 for axis in axes) < 1, 400 + 100 * waves, 0).astype(np.int16)
        name = f"sub-MUELLER{number}"
        path = folder / name / "anat" / f"{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels, np.diag([-4.0, 4, 4, 1])), path)
    return folder


@pytest.fixture(scope="session")
def hospital() -> type[Hospital]:
    """Make a site of a folder, scans, a plan's sweep and settings; see `Hospital`."""
    return Hospital
