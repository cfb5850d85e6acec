"""`braing3n audit empirical`: attack the training code that is installed here."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braing3n.budget import EngineName
from braing3n.errors import ConfigError
from braing3n.plan import StageName
from braing3n.presets import PresetName

if TYPE_CHECKING:
    from braing3n.audit.empirical.result import EmpiricalAudit


def empirical(
    stage: Annotated[StageName, typer.Option(help="The stage whose network is trained.")] = "pretrain",
    engine: Annotated[EngineName, typer.Option(help="How clipped sums are computed.")] = "loop",
    epsilon: Annotated[float | None, typer.Option(
        min=0.01, max=50, help="What the training is to claim; noise is planned for it. Without it: 8.",
        )] = None,
    noise_multiplier: Annotated[float | None, typer.Option(
        min=0.1, max=1000, help="The noise, in place of --epsilon.")] = None,
    sample_rate: Annotated[float, typer.Option(
        min=0.001, max=1, help="Probability that a patient is drawn in a step.")] = 0.2,
    delta: Annotated[float, typer.Option(
        min=1e-10, max=0.01, help="At which epsilon is stated.")] = 1e-5,
    steps: Annotated[int | None, typer.Option(
        min=4, max=10_000, help="In all, in two rounds with a restart between them. Without it: 60, "
        "and 24 for engines other than the loop, whose canaries run through the network.")] = None,
    canaries: Annotated[int | None, typer.Option(
        min=16, max=5000, help="Made patients that are looked for, each in the data by a coin. More "
        "are slower and give higher bounds. Without it: 400, and 64 for engines other than the loop.",
        )] = None,
    preset: Annotated[PresetName, typer.Option(help="Size of the networks.")] = "nano",
    seed: Annotated[int, typer.Option(min=0, help="Of patients, coins, draws and noise.")] = 0,
    confidence: Annotated[float, typer.Option(
        min=0.5, max=0.99, help="Of each bound; and correct training passes with this probability.",
        )] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the JSON object to this file too.")] = None,
) -> None:
    """Attack the real training code with made patients, and compare what leaks with what is claimed.

    No data is needed. Half of the canary patients are trained on; from all that a step releases, lower
    bounds on epsilon follow, with a confidence. Beside them noise, draws and clipping are measured, as
    bounds alone miss some faults.

    Exit codes: 0 nothing speaks against the claim, 1 something does, 2 misuse.
    """
    # Keeps --help fast.
    from rich.console import Console  # noqa: PLC0415

    from braing3n.audit.empirical.run import run_audit  # noqa: PLC0415
    from braing3n.counting import counting  # noqa: PLC0415

    if epsilon is not None and noise_multiplier is not None:
        raise ConfigError("noise is given twice", expected="--epsilon or --noise-multiplier",
                          found="both", fix="leave one out")
    by_gradient = engine == "loop"
    steps = steps or (60 if by_gradient else 24)
    noise = noise_multiplier or planned_noise(
        stage, 8.0 if epsilon is None else epsilon, delta, sample_rate, 2 * (steps // 2))
    with counting(Console(stderr=True), "steps") as progress:
        audit = run_audit(
            stage, engine, noise_multiplier=noise, sample_rate=sample_rate, steps=steps,
            canaries=canaries or (400 if by_gradient else 64), delta=delta, preset=preset,
            seed=seed, confidence=confidence, progress=progress)
    tell(audit, out, as_json=as_json)
    raise typer.Exit(0 if audit.holds else 1)


def provenance() -> dict[str, str]:
    """Return which code was audited, by the digest that sites tell the coordinator, and when."""
    from braing3n.moments import to_text, utc_now  # noqa: PLC0415  # keeps --help fast
    from braing3n.protocol import code_digest, software_version  # noqa: PLC0415

    # Found and not imported: what is audited is in this package, what a site runs is in both.
    folders = [Path(spec.origin).parent for spec in map(find_spec, ("braing3n", "client"))
               if spec is not None and spec.origin is not None]
    return {"version": software_version(), "code_digest": code_digest(folders),
            "time": to_text(utc_now())}


def tell(audit: "EmpiricalAudit", out: Path | None, *, as_json: bool) -> None:
    """Print what an audit came to, and write it to a file."""
    from braing3n.audit.empirical.result import audit_lines  # noqa: PLC0415  # keeps --help fast
    from braing3n.files import write_text  # noqa: PLC0415

    content = json.dumps(audit.as_json() | provenance(), allow_nan=False)
    if out is not None:
        write_text(out, content + "\n")
        sys.stderr.write(f"audit: {out}\n")
    typer.echo(content if as_json else "\n".join(audit_lines(audit)))


def planned_noise(
    stage: StageName, epsilon: float, delta: float, sample_rate: float, steps: int
) -> float:
    """Return the least noise multiplier that keeps ε, as a site's planner finds it."""
    from braing3n.privacy.events import Event  # noqa: PLC0415  # keeps --help fast
    from braing3n.privacy.planning import Limit, least_noise  # noqa: PLC0415

    event = Event(mechanism="poisson_gaussian", sample_rate=sample_rate, noise_multiplier=1.0,
                  steps=steps, stage=stage, round_index=0, run="audit")
    return least_noise([event], [Limit("this audit", epsilon, delta)])[0]
