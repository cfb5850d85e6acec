"""Whether a run's folder holds a run to go on with, and where it goes on."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

import braing3n
from braing3n.errors import OutputError
from braing3n.plan import STAGE_NAMES, Plan, StageName
from braing3n.protocol import code_digest
from server.attendance import Attendance
from server.checkpoint import FIX, Manifest, read_manifest, stage_folder

_NEEDED = {"id", "status", "started", "plan_digest"}


@dataclass(frozen=True)
class Earlier:
    """What a run that was interrupted left.

    Attributes:
        record: Its run.json.
        stage_names: The stages of its plan.
        manifests: Of the stages that have a finished round.
    """

    record: dict[str, Any]
    stage_names: tuple[StageName, ...]
    manifests: dict[StageName, Manifest] = field(default_factory=dict)

    @property
    def last(self) -> Manifest | None:
        """The manifest of the last stage that was begun."""
        return next((self.manifests[name] for name in reversed(STAGE_NAMES)
                     if name in self.manifests), None)

    @property
    def place(self) -> tuple[StageName, int]:
        """The stage that goes on, and how many of its rounds are done."""
        for name in self.stage_names:
            manifest = self.manifests.get(name)
            if manifest is None:
                return name, 0
            if not manifest.is_finished:
                return name, manifest.round
        return self.stage_names[-1], self.manifests[self.stage_names[-1]].round


def look_back(path: Path, plan: Plan) -> Earlier | None:
    """Return what a run of this plan left in `path`; None where no run was begun.

    The manifests decide, not run.json: they are written after what they name.

    Raises:
        OutputError: The folder holds another run, one that has ended, one of other code, or files
            that are damaged.
    """
    if not (path / "run.json").exists():
        if (path / "rounds").exists():
            raise OutputError(f"{path} holds rounds of a run without its record",
                              expected=f"{path / 'run.json'}", found="no such file", fix=FIX)
        return None
    record = _read_record(path)
    status = str(record["status"])
    if status.startswith("completed"):
        raise OutputError(f"{path} holds a run already, and it has ended", found=status,
                          expected="a new folder, or a run that was interrupted",
                          fix="choose another --out")
    if record["plan_digest"] != plan.digest:
        raise OutputError(f"{path} holds a run already, of another plan",
                          expected=f"the plan of digest {record['plan_digest']}",
                          found=_differences(path, plan) or f"one of digest {plan.digest}",
                          fix="give the plan and the --sweep that it was begun with, to go on with "
                              "it; or choose another --out")
    manifests = {name: found for name in STAGE_NAMES if (found := read_manifest(path, name))}
    earlier = Earlier(record, plan.stage_names, manifests)
    _check(path, earlier, plan)
    return earlier


def take_up(earlier: Earlier, names: tuple[str, ...], attendance: Attendance, min_sites: int) -> None:
    """Put into `attendance` who is in a run that goes on: its own sites, and new ones.

    New ones count from the round on with which it goes on. Where too few are there, it does not go on,
    and nobody is new.

    Args:
        earlier: What the run left.
        names: Sites that are there.
        attendance: As yet without sites.
        min_sites: The plan's.
    """
    if earlier.last is None:  # nothing was finished with any sites
        attendance.sites = names
        return
    own = tuple(str(name) for name in earlier.record["sites"])
    attendance.sites = own
    attendance.joined = list(earlier.record.get("joined", []))
    attendance.revoked = list(earlier.record.get("revoked", []))
    if len(names) >= min_sites:
        stage, number = earlier.place
        new = [name for name in names if name not in attendance.current]
        attendance.join(new, stage, number + 1)


def own_code_digest() -> str:
    """Return the digest of all code that a run computes with, the coordinator's included."""
    root = Path(braing3n.__file__).parent
    return code_digest([root, root.parent / "client", root.parent / "server"])


def _check(path: Path, earlier: Earlier, plan: Plan) -> None:
    """Check that all manifests are of this run, this plan, and the code that is installed."""
    for before, after in pairwise(STAGE_NAMES):
        kept = earlier.manifests.get(before)
        if after in earlier.manifests and (kept is None or not kept.is_finished):
            raise OutputError(f"{path} holds rounds of {after} without a finished {before}",
                              expected=f"{stage_folder(path, before) / 'manifest.json'}",
                              found="none, or one of an unfinished stage", fix=FIX)
    code = own_code_digest()
    for manifest in earlier.manifests.values():
        if (manifest.run, manifest.plan_digest) != (earlier.record["id"], plan.digest):
            raise OutputError(f"{path} holds rounds of another run", found=manifest.run,
                              expected=str(earlier.record["id"]), fix=FIX)
        if manifest.code_digest != code:
            raise OutputError(
                f"the run in {path} was begun with other code",
                expected=f"code of digest {manifest.code_digest}, as its finished rounds",
                found=code, fix="install the version that it was begun with, to go on with it; or "
                                "begin anew with another --out")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((path / "run.json").read_text(encoding="utf-8"))
        if isinstance(record["sites"], list) and set(record) >= _NEEDED:
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise OutputError(f"{path / 'run.json'} is damaged", expected="a run's record",
                      found="other content", fix=FIX)


def _differences(path: Path, plan: Plan) -> str:
    """Return what differs between the run's plan and this one: `seed 0 there, 1 here`."""
    try:
        there = _flat(yaml.safe_load((path / "plan.yaml").read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError):
        return ""
    here = _flat(plan.model_dump(mode="json"))
    return "; ".join(f"{key} {there.get(key)} there, {here.get(key)} here"
                     for key in sorted(there.keys() | here.keys())
                     if there.get(key) != here.get(key))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {key: inner for name, part in value.items()
            for key, inner in _flat(part, f"{prefix}.{name}" if prefix else str(name)).items()}
