"""A run's folder: what happened, the weights after every round, and the finished models."""

import hashlib
import json
import os
import platform
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from braing3n.files import append_text, digest_file, remove_unfinished, write_text
from braing3n.plan import Part, Plan, StageName
from braing3n.protocol import software_version
from braing3n.weights import State, Vector, save_weights
from server.attendance import Attendance
from server.checkpoint import (
    Manifest,
    ModelFile,
    check_metrics,
    read_manifest,
    save_slots,
    stage_folder,
    write_manifest,
)
from server.outcome import Frozen, Round, StageRecord, describe_outcome
from server.privacy_account import account_of, summary_of
from server.resume import Earlier, look_back, own_code_digest, take_up


class RunFolder:
    """The folder of one run. `run.json` is always whole: it is replaced, never edited.

    A folder with an unfinished run of the same plan is gone on with; nothing in it is changed before
    `begin`.

    Args:
        path: The folder. It may hold a site's files already, but no other run.
        plan: The run's plan.
        run_id: The run's id, if it is a new one.

    Raises:
        OutputError: Another run is in the folder, or one that cannot be gone on with.
    """

    def __init__(self, path: Path, plan: Plan, run_id: str) -> None:
        self.path = path
        self.plan = plan
        self.run_id = run_id
        self.status = "running"
        self.attendance = Attendance()
        self.code_digest: str | None = None
        self.records: list[StageRecord] = []
        self.models: dict[Part, ModelFile] = {}
        self.probes: dict[str, Any] = {}
        self.resumed: list[dict[str, Any]] = []
        self._started = _now()
        self._metrics, self._metrics_bytes = hashlib.sha256(), 0
        self._own_code = own_code_digest()
        self.earlier = look_back(path, plan)
        self._has_begun = self.earlier is None
        if self.earlier is not None:
            self._take_over(self.earlier)
            return
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "plan.yaml", yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False))
        self.write()

    def _take_over(self, earlier: Earlier) -> None:
        """Take what an interrupted run knew of itself, as of its last finished round."""
        self.run_id = str(earlier.record["id"])
        self._started = str(earlier.record["started"])
        stage, number = earlier.place
        self.resumed = [*earlier.record.get("resumed", []),
                        {"at": _now(), "stage": stage, "round": number}]
        self.records = [StageRecord(**manifest.record) for manifest in earlier.manifests.values()]
        self.models = {part: model for manifest in earlier.manifests.values()
                       for part, model in manifest.models.items()}
        self.probes = next((manifest.probes for manifest in earlier.manifests.values()
                            if manifest.probes), {})
        if earlier.last is not None:
            self._metrics.update(check_metrics(self.path, earlier.last))
            self._metrics_bytes = earlier.last.metrics_bytes

    def begin(
        self, sites: tuple[str, ...], strangers: dict[str, str], code_digest: str, num_expected: int
    ) -> None:
        """Write down who is there; a run that goes on is cut back to its last finished round.

        Args:
            sites: Sites that are there. A run that goes on may have more, which come back later.
            strangers: What was wrong with other nodes.
            code_digest: Of the sites' code.
            num_expected: How many nodes were waited for.
        """
        self.attendance = Attendance(sites, strangers, num_expected)
        if self.earlier is not None:
            take_up(self.earlier, sites, self.attendance, self.plan.min_sites)
            if (self.path / "metrics.jsonl").exists():
                os.truncate(self.path / "metrics.jsonl", self._metrics_bytes)
        for folder in (self.path, self.path / "model", *(self.path / "rounds").glob("*")):
            remove_unfinished(folder)
        self._has_begun = True
        self.code_digest = code_digest
        self.write()

    def note_sites(
        self, joined: Sequence[str], revoked: Sequence[str], strangers: dict[str, str],
        stage: StageName, number: int,
    ) -> None:
        """Write down who is new or shut out before round `number` (from 1) of a stage."""
        if self.attendance.change(joined, revoked, strangers, stage, number):
            self.write()

    def checkpoint(self, stage: StageName) -> Manifest | None:
        """Return the manifest to go on from in a stage; None where it begins."""
        return None if self.earlier is None else self.earlier.manifests.get(stage)

    def open_record(self, stage: StageName) -> StageRecord:
        """Return the stage's record, a new one where there is none."""
        for record in self.records:
            if record.name == stage:
                return record
        self.records.append(StageRecord(stage, self.plan.stage(stage).rounds))
        self.write()
        return self.records[-1]

    def write(self) -> None:
        """Bring run.json up to date."""
        encoder = self.models.get("encoder")
        account = account_of(self.records, self.attendance.sites)
        content = {
            "schema": 1, "id": self.run_id, "name": self.plan.name, "status": self.status,
            "plan_digest": self.plan.digest, "encoder_digest": encoder and encoder.digest,
            "started": self._started, "ended": None if self.status == "running" else _now(),
            "privacy": summary_of(account, self.plan.budget), "privacy_by_site": account,
            "versions": versions(), "code_digest": self.code_digest,
            **self.attendance.as_json(), "stage_names": list(self.plan.stage_names),
            "stages": [record.as_json() for record in self.records],
            "models": {part: model.model_dump() for part, model in self.models.items()},
            "probes": self.probes, "resumed": self.resumed,
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
            if reply.privacy is not None:
                lines.append({**common, "round": number, "phase": "privacy", "metrics": {
                    name: value for name, value in (
                        ("epsilon_total", reply.privacy.epsilon_total),
                        ("signal_to_noise", reply.privacy.signal_to_noise)) if value is not None}})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        append_text(self.path / "metrics.jsonl", text)
        self._metrics.update(text.encode())
        self._metrics_bytes += len(text.encode())

    def write_round(
        self, record: StageRecord, number: int, outcome: Round, weights: State,
        slots: Mapping[str, Vector], average_rounds: int = 0,
    ) -> None:
        """Keep all that the run needs to go on after round `number`; older rounds' files go.

        The manifest is written last and names the files by digest: what it names is whole.
        """
        folder = stage_folder(self.path, record.name)
        path = folder / f"round-{number:05d}.safetensors"
        server = folder / f"server-{number:05d}.safetensors"
        save_weights(path, weights)
        save_slots(server, slots)
        write_manifest(self.path, Manifest(
            run=self.run_id, plan_digest=self.plan.digest, code_digest=self._own_code,
            stage=record.name, round=number, sites=list(outcome.answered), file=path.name,
            sha256=digest_file(path), server_file=server.name, server_sha256=digest_file(server),
            average_rounds=average_rounds, metrics_bytes=self._metrics_bytes,
            metrics_sha256=self._metrics.hexdigest(), record=asdict(record),
        ))

    def write_model(self, part: Part, frozen: Frozen) -> None:
        """Write a finished part to `model/`."""
        path = self.path / "model" / f"{part}.safetensors"
        save_weights(path, frozen.state)
        self.models[part] = ModelFile(file=f"model/{path.name}", digest=frozen.digest,
                                      sha256=digest_file(path))
        self.write()

    def finish_stage(self, record: StageRecord, parts: Iterable[Part]) -> None:
        """Write down that a stage is over and what it froze: it is not trained again."""
        manifest = read_manifest(self.path, record.name)
        if manifest is not None:
            write_manifest(self.path, manifest.model_copy(update={
                "models": {part: self.models[part] for part in parts}, "record": asdict(record),
                "metrics_bytes": self._metrics_bytes,
                "metrics_sha256": self._metrics.hexdigest()}))
        self.write()

    def finish_probes(self, stage: StageName, probes: dict[str, Any]) -> None:
        """Write down what came of the probes after a stage: sites are not asked again."""
        self.probes = probes
        manifest = read_manifest(self.path, stage)
        if manifest is not None:
            write_manifest(self.path, manifest.model_copy(update={"probes": probes}))
        self.write()

    def finish(self) -> None:
        """Say how the run ended: never plainly `completed` where a site or a round was lost."""
        self.status = describe_outcome(self.records, self.attendance, self.plan.sites_per_round)
        self.write()

    def fail(self, reason: str) -> None:
        """Say that and why the run ended early; a run that was not gone on with stays as it was."""
        if not self._has_begun:
            return
        self.status = f"failed: {reason}"
        self.write()


@cache
def versions() -> dict[str, str]:
    """Return the versions of what computed: ours, Python's and the main libraries'."""
    from importlib.metadata import version  # noqa: PLC0415  # only where a run is recorded

    names = ("flwr", "torch", "monai", "numpy", "nibabel")
    return {"braing3n": software_version(), "python": platform.python_version(),
            **{name: version(name) for name in names}}


def new_run_id() -> str:
    """Return a run id: the time in UTC, and chance: two runs in one second are two to the sites."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
