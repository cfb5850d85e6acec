"""What a run's folder holds, read and checked. Parts that may be absent come back as None."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from braing3n.errors import OutputError
from braing3n.plan import STAGE_NAMES
from braing3n.report.privacy_table import SiteAccount, Start
from braing3n.report.probe_table import ProbesRecord
from braing3n.yaml_files import LenientModel, load_yaml


class Exchange(LenientModel):
    """One exchange with the sites: round `round` of training, or `what` else it was for."""

    round: int | None = None
    what: str | None = None
    asked: tuple[str, ...]
    answered: tuple[str, ...]
    refused: dict[str, str] = Field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0


class StageRecord(LenientModel):
    """One stage, summed over its rounds. Memory is each program's largest, in MB."""

    name: str
    rounds: int
    sites_asked: int
    sites_answered: int
    seconds: float
    bytes_down: int
    bytes_up: int
    bytes_frozen: int = 0
    peak_memory_mb: float | None = None
    site_peak_memory_mb: float | None = None
    # Empty where a run ended before the stage had weights.
    start: Annotated[Start | None, BeforeValidator(lambda told: told or None)] = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    participation: tuple[Exchange, ...] = ()
    other_exchanges: tuple[Exchange, ...] = ()


class ModelRecord(LenientModel):
    """A finished part of the model: its file in the run's folder and its digest."""

    file: str
    digest: str
    sha256: str | None = None


class Resumption(LenientModel):
    """When a run that had been interrupted went on, and after which round of which stage."""

    at: str
    stage: str
    round: int


class RunRecord(LenientModel):
    """run.json; without an account of privacy by site where an earlier version wrote it."""

    id: str
    name: str
    status: str
    plan_digest: str
    encoder_digest: str | None = None
    started: str | None = None
    ended: str | None = None
    privacy: str
    privacy_by_site: dict[str, SiteAccount] = Field(default_factory=dict)
    versions: dict[str, str]
    code_digest: str | None = None
    sites: tuple[str, ...]
    stage_names: tuple[str, ...] = STAGE_NAMES
    strangers: dict[str, str] = Field(default_factory=dict)
    stages: tuple[StageRecord, ...]
    models: dict[str, ModelRecord] = Field(default_factory=dict)
    generation: dict[str, float | None] = Field(default_factory=dict)
    resumed: tuple[Resumption, ...] = ()
    probes: ProbesRecord = ProbesRecord()

    @property
    def starts(self) -> dict[str, Start]:
        """Where each stage began, as far as that is known."""
        return {stage.name: stage.start for stage in self.stages if stage.start is not None}


@dataclass(frozen=True)
class PlanLimit:
    """What the plan lets a run cost a site: ε, and δ where the plan tells it."""

    epsilon: float
    delta: float | None


class MetricLine(LenientModel):
    """One line of metrics.jsonl: what one site reported.

    A line of phase `evaluate` is of the weights after `round` rounds, so 0 is the start; one of
    phase `train` is of the work in round `round`, with the losses of some of its steps; one of phase
    `privacy` is of what the site had spent after it.
    """

    stage: str
    round: int
    site: str
    phase: str
    metrics: dict[str, float | None]
    losses: tuple[float, ...] = ()


Record = TypeVar("Record", bound=LenientModel)


def load_run(run: Path) -> RunRecord:
    """Read run.json.

    Raises:
        OutputError: It is missing or malformed.
    """
    path = run / "run.json"
    text = _read_text(path)
    if text is None:
        raise OutputError(f"{run} holds no run", expected=f"a file {path}", found="no such file",
                          fix="give the folder that `--out` named")
    return _parse(RunRecord, text, str(path))


def load_metrics(run: Path) -> list[MetricLine]:
    """Read metrics.jsonl; a run that ended in its first round has none.

    A last line without its end, which a run leaves that was cut off while it wrote, is passed over.

    Raises:
        OutputError: A line is malformed.
    """
    path = run / "metrics.jsonl"
    text = _read_text(path) or ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [_parse(MetricLine, line, f"line {number} of {path}")
            for number, line in enumerate(lines, start=1)]


def load_plan_text(run: Path) -> str | None:
    """Return plan.yaml as it stands, or None.

    Raises:
        OutputError: It is there and cannot be read.
    """
    return _read_text(run / "plan.yaml")


def load_plan_budget(run: Path) -> PlanLimit | None:
    """Return what the plan lets a run cost a site, or None where it says nothing of that.

    Raises:
        ConfigError: plan.yaml is there and is not YAML.
    """
    path = run / "plan.yaml"
    budget = load_yaml(path).get("budget") if path.exists() else None
    if not isinstance(budget, dict) or not isinstance(budget.get("epsilon"), int | float):
        return None
    delta = budget.get("delta")
    return PlanLimit(float(budget["epsilon"]), float(delta) if isinstance(delta, int | float) else None)


def _read_text(path: Path) -> str | None:
    """Return a file's text, or None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{path} cannot be read", expected="a readable UTF-8 file",
                          found=str(error), fix="check its permissions, or copy it again"
                          ) from error


def _parse(kind: type[Record], text: str, source: str) -> Record:
    """Check JSON text against what a run writes."""
    try:
        return kind.model_validate(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        found, cause = str(error), error
    except ValidationError as error:
        found = "; ".join(f"`{'.'.join(map(str, detail['loc']))}`: {detail['msg']}"
                          for detail in error.errors()[:10])
        cause = error  # type: ignore[assignment]
    raise OutputError(f"{source} is malformed", expected="what a run of this version writes",
                      found=found, fix="copy the run's folder again, or mend the file") from cause
