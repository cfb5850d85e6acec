"""What an audit report is made of: the files that were given, found and read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field, ValidationError

from braing3n.audit.report.attacks import Attack, load_attacks
from braing3n.audit.report.rounds import Rounds, load_rounds
from braing3n.audit.verify import KEY_FILE, Verified, verify
from braing3n.errors import ConfigError, OutputError
from braing3n.files import digest_file
from braing3n.manifests import FILE_NAME as MANIFESTS
from braing3n.manifests import Manifest, load_run_manifests
from braing3n.report.run_folder import MetricLine, RunRecord, load_metrics, load_run
from braing3n.round_records import FILE_NAME as ROUND_RECORDS
from braing3n.yaml_files import LenientModel

LEDGER_FILE, RECEIPTS_FILE = "ledger.jsonl", "receipts.jsonl"


class Delivery(LenientModel):
    """A part that was trained no more, and was sent to sites."""

    part: str
    asked: tuple[str, ...] = ()
    refused: dict[str, str] = Field(default_factory=dict)
    bytes_frozen: int = 0


class _Stage(LenientModel):
    name: str
    deliveries: tuple[Delivery, ...] = ()


class _Deliveries(LenientModel):
    stages: tuple[_Stage, ...] = ()


@dataclass(frozen=True)
class File:
    """A file that the report rests on: its path as it was given, its sha256, its length in bytes."""

    path: Path
    sha256: str
    num_bytes: int


@dataclass(frozen=True)
class Given:
    """All of it.

    Attributes:
        run: The run's folder; None where ledgers alone were given.
        record: Its run.json.
        metrics: Its metrics.jsonl.
        sent: Manifests of what sites sent, as the coordinator has kept them.
        rounds: Its round records; None where it has none, as runs of earlier versions.
        deliveries: (stage, what was sent to sites after it).
        verified: What came out of checking the ledgers.
        ledgers: The ledgers.
        receipts: Files of receipts.
        keys: Public keys that were given; without any, those beside the ledgers count.
        attacks: What empirical audits came to, each with its file.
        files: Whatever was read, with digests.
    """

    run: Path | None
    record: RunRecord | None
    metrics: tuple[MetricLine, ...]
    sent: tuple[Manifest, ...]
    rounds: Rounds | None
    deliveries: tuple[tuple[str, Delivery], ...]
    verified: Verified
    ledgers: tuple[Path, ...]
    receipts: tuple[Path, ...]
    keys: tuple[Path, ...]
    attacks: tuple[Attack, ...]
    files: tuple[File, ...]


def load_given(
    paths: Sequence[Path], receipts: Sequence[Path] = (), keys: Sequence[Path] = (),
    empirical: Sequence[Path] = (),
) -> Given:
    """Find and read what a report is made of, and check the ledgers.

    Args:
        paths: A run's folder, ledgers of sites, or both; in a folder, ledgers under `sites` and all
            receipts are found.
        receipts: More files of receipts.
        keys: Public keys of ledgers.
        empirical: Answers of `braing3n audit empirical --json`.

    Raises:
        ConfigError: There is nothing to report on, or more than one run; a key or an answer is none.
        LedgerError: A ledger or receipts cannot be read.
        OutputError: The run's folder holds no run, or a damaged one.
    """
    folders = [path for path in paths if path.is_dir()]
    if len(folders) > 1:
        raise ConfigError("a report is on one run", expected="one folder, and ledgers of its sites",
                          found=f"{len(folders)} folders", fix="write a report for each of them")
    run = folders[0] if folders else None
    ledgers = _ledgers(run, [path for path in paths if path not in folders])
    if run is None and not ledgers:
        raise ConfigError("there is nothing to report on", expected="a run's folder, or ledgers",
                          found="neither", fix="name a folder with a run.json, or ledger.jsonl files")
    record = None if run is None else load_run(run)
    every = _distinct([*_receipts(run), *receipts])
    ledgers, copies = _without_copies(ledgers)
    verified = verify(ledgers, every, keys)
    verified = replace(verified, notes=(*verified.notes, *copies))
    read = [*_of_run(run), *ledgers, *(keys or _keys_beside(ledgers)), *every, *empirical]
    return Given(run, record, () if run is None else tuple(load_metrics(run)),
                 () if run is None else tuple(load_run_manifests(run)),
                 None if run is None else load_rounds(run),
                 () if run is None else _deliveries(run), verified, tuple(ledgers), tuple(every),
                 tuple(keys), tuple(load_attacks(empirical)), tuple(_file(path) for path in read))


def _ledgers(run: Path | None, named: Sequence[Path]) -> list[Path]:
    found = [] if run is None else sorted((run / "sites").glob(f"*/{LEDGER_FILE}"))
    return _distinct([*found, *named])


def _without_copies(ledgers: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return ledgers without those that begin another one as well, and a note on each of these."""
    contents: dict[Path, bytes] = {}
    for path in ledgers:
        try:
            contents[path] = path.read_bytes()
        except OSError:
            contents[path] = b""  # reading it as a ledger says why
    kept, notes = list(ledgers), []
    for path in ledgers:
        longer = next((other for other in kept if other != path and contents[path]
                       and contents[other].startswith(contents[path])), None)
        if longer is not None:
            kept.remove(path)
            notes.append(f"{path} is {longer} or an older copy of it, and was left out")
    return kept, notes


def _receipts(run: Path | None) -> list[Path]:
    """Return the coordinator's receipts, and what sites have kept of them, as far as they are there."""
    if run is None:
        return []
    return [path for path in (run / RECEIPTS_FILE, *sorted((run / "sites").glob(f"*/{RECEIPTS_FILE}")))
            if path.exists()]


def _keys_beside(ledgers: Sequence[Path]) -> list[Path]:
    return [path.parent / KEY_FILE for path in ledgers]


def _of_run(run: Path | None) -> Iterator[Path]:
    if run is not None:
        names = ("run.json", "plan.yaml", "metrics.jsonl", MANIFESTS, ROUND_RECORDS)
        yield from (path for name in names if (path := run / name).exists())


def _deliveries(run: Path) -> tuple[tuple[str, Delivery], ...]:
    path = run / "run.json"
    try:
        told = _Deliveries.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        raise OutputError(f"{path} is malformed", expected="deliveries as a run of this version writes "
                          "them", found=str(error), fix="copy the run's folder again") from error
    return tuple((stage.name, delivery) for stage in told.stages for delivery in stage.deliveries)


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Return paths in their order, each file once."""
    return list({path.absolute(): path for path in reversed(paths)}.values())[::-1]


def _file(path: Path) -> File:
    try:
        return File(path, digest_file(path), path.stat().st_size)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", expected="a file of the audit",
                          found=error.strerror or type(error).__name__,
                          fix="name the file, and see that it may be read") from error
