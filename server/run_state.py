"""A run's folder: what happened, the weights after every round, and the finished models."""

import json
import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml

from braing3n.errors import OutputError
from braing3n.files import digest_file, write_text
from braing3n.plan import Part, Plan, StageName
from braing3n.protocol import software_version
from braing3n.weights import State, Vector, save_weights
from server.outcome import Frozen, Round, StageRecord

NO_PRIVACY = ("no differential privacy and no secure aggregation: the coordinator sees each site's "
              "update; updates and the finished models can reveal training data")


class RunFolder:
    """The folder of one run. `run.json` is always whole: it is replaced, never edited.

    Args:
        path: The folder. It may hold a site's files already, but no other run.
        plan: The run's plan.
        run_id: The run's id.

    Raises:
        OutputError: Another run is in the folder.
    """

    def __init__(self, path: Path, plan: Plan, run_id: str) -> None:
        self.path = path
        self.plan = plan
        self.run_id = run_id
        self.status = "running"
        self.sites: tuple[str, ...] = ()
        self.strangers: dict[str, str] = {}
        self.code_digest: str | None = None
        self.num_expected = 0
        self.records: list[StageRecord] = []
        self.models: dict[Part, dict[str, str]] = {}
        self._started = _now()
        if (path / "run.json").exists():
            raise OutputError(f"{path} holds a run already", expected="a folder without run.json",
                              found=str(path / "run.json"), fix="choose another --out")
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "plan.yaml", yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False))
        self.write()

    def write(self) -> None:
        """Bring run.json up to date."""
        encoder = self.models.get("encoder")
        content = {
            "schema": 1, "id": self.run_id, "name": self.plan.name, "status": self.status,
            "plan_digest": self.plan.digest, "encoder_digest": encoder and encoder["digest"],
            "started": self._started, "ended": None if self.status == "running" else _now(),
            "privacy": NO_PRIVACY, "versions": versions(), "code_digest": self.code_digest,
            "sites": list(self.sites), "stage_names": list(self.plan.stage_names),
            "strangers": self.strangers, "stages": [record.as_json() for record in self.records],
            "models": self.models,
        }
        write_text(self.path / "run.json", json.dumps(content, indent=1) + "\n")

    def write_metrics(self, stage: StageName, number: int, outcome: Round) -> None:
        """Append what sites reported after round `number` (from 1) to metrics.jsonl.

        What a site measured on held-out subjects is of the weights that it received: those of the
        round before.
        """
        lines = []
        for site, reply in sorted(outcome.replies.items()):
            common = {"stage": stage, "site": site}
            if reply.metrics:
                lines.append({**common, "round": number - 1, "phase": "evaluate",
                              "metrics": reply.metrics})
            if reply.train_loss is not None:
                lines.append({**common, "round": number, "phase": "train",
                              "metrics": {"loss": reply.train_loss}, "losses": reply.losses,
                              "seconds": reply.seconds, "num_skipped": reply.num_skipped})
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines)

    def write_round(
        self, stage: StageName, number: int, outcome: Round, weights: State,
        slots: Mapping[str, Vector],
    ) -> None:
        """Keep the global weights after round `number` with a manifest; older ones go.

        The manifest is written last and names the file by digest: what it names is whole.
        """
        folder = self.path / "rounds" / stage
        path = folder / f"round-{number:05d}.safetensors"
        save_weights(path, weights)
        save_weights(folder / f"server-{number:05d}.safetensors",
                     {name: torch.from_numpy(slot) for name, slot in slots.items()})
        manifest = {"run": self.run_id, "plan_digest": self.plan.digest, "stage": stage,
                    "round": number, "sites": list(outcome.answered), "file": path.name,
                    "sha256": digest_file(path)}
        write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
        for old in folder.glob("*.safetensors"):
            if not old.stem.endswith(f"{number:05d}"):
                old.unlink()

    def write_model(self, part: Part, frozen: Frozen) -> None:
        """Write a finished part to `model/`."""
        path = self.path / "model" / f"{part}.safetensors"
        save_weights(path, frozen.state)
        self.models[part] = {"file": f"model/{path.name}", "digest": frozen.digest,
                             "sha256": digest_file(path)}
        self.write()

    def finish(self) -> None:
        """Say how the run ended: never plainly `completed` where a site or a round was lost."""
        self.status = describe_outcome(self.records, self.sites, self.strangers, self.num_expected)
        self.write()

    def fail(self, reason: str) -> None:
        """Say that and why the run ended early."""
        self.status = f"failed: {reason}"
        self.write()


def describe_outcome(
    records: list[StageRecord], sites: tuple[str, ...], strangers: Mapping[str, str],
    num_expected: int = 0,
) -> str:
    """Return `completed`, or what was lost: `completed with 3 of 4 sites in decoder rounds 2, 5`."""
    total = max(len(sites) + len(strangers), num_expected)
    lost = []
    for record in records:
        by_count: dict[tuple[int, str], list[str]] = {}
        for entry in record.participation:
            if len(entry["answered"]) < len(entry["asked"]):
                drawn = len(entry["asked"]) < len(sites)  # the plan asks some sites in each round
                of = f"{len(entry['asked'])} drawn" if drawn else str(total)
                by_count.setdefault((len(entry["answered"]), of), []).append(str(entry["round"]))
        lost += [f"with {count} of {of} sites in {record.name} round"
                 f"{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
                 for (count, of), numbers in sorted(by_count.items())]
        lost += [f"with {len(entry['answered'])} of {total} sites in {record.name} {entry['what']}"
                 for entry in record.other_exchanges
                 if len(entry["answered"]) < len(entry["asked"])]
    if len(sites) < total:
        names = ", ".join(f"{name}: {why}" for name, why in sorted(strangers.items()))
        lost.insert(0, f"with {len(sites)} of {total} sites admitted ({names or 'others not seen'})")
    skipped = {site: count for record in records for site, count in record.num_skipped.items()}
    if skipped:
        lost.append("without unreadable scans (" + ", ".join(
            f"{site}: {count}" for site, count in sorted(skipped.items())) + ")")
    return "completed" if not lost else "completed " + "; ".join(lost)


def versions() -> dict[str, str]:
    """Return the versions of what computed: ours, Python's and the main libraries'."""
    from importlib.metadata import version  # noqa: PLC0415  # only where a run is recorded

    names = ("flwr", "torch", "monai", "numpy", "nibabel")
    return {"braing3n": software_version(), "python": platform.python_version(),
            **{name: version(name) for name in names}}


def new_run_id() -> str:
    """Return a run id: the time in UTC and the process, unique on one machine."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
