"""What `braing3n probe` does: open sites, embed their volumes by every encoder, probe every task."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from braing3n.counting import counting
from braing3n.errors import CohortError, ConfigError, OutputError
from braing3n.evaluation.encoders import (
    Thumbnails,
    VolumeEncoder,
    open_own,
    open_random,
    open_run,
    preset_of_run,
)
from braing3n.evaluation.fits.moments import Floats
from braing3n.evaluation.probes import ProbeResult, cross_validate, probe
from braing3n.evaluation.published_encoders import PUBLISHED
from braing3n.evaluation.roster import Roster, open_roster
from braing3n.evaluation.tasks import Task, load_tasks
from braing3n.files import write_text
from braing3n.presets import PRESETS, PresetName
from braing3n.probing.runs import check_run
from braing3n.probing.table import EncoderRow, ProbeTable

FILES = ("probes.json", "probes.tsv", "probes.png")


@dataclass(frozen=True)
class Wishes:
    """What is asked for; see the options of `braing3n probe`."""

    runs: Sequence[Path]
    encoders: Sequence[str]
    sites: Sequence[Path]
    tasks: Sequence[str]
    task_file: Path | None
    preset: PresetName | None
    seed: int
    cross_validates: bool
    device: Literal["cpu", "cuda"]
    out: Path | None
    prints_json: bool


def run_probe(wishes: Wishes) -> None:
    """Probe, print the table, and write its files: results on stdout, progress on stderr.

    Raises:
        BrainG3NError: A setting, a file or a site cannot be used, or no task can be probed.
    """
    if wishes.out is not None:
        _check_place(wishes.out)
    tasks = _tasks(wishes)
    preset = _preset(wishes)
    encoders = open_encoders(wishes, preset)
    console = Console(stderr=True)
    roster = _open_roster(wishes, preset, console)
    table = _probe_all(wishes, preset, roster, tasks, encoders, console)
    if wishes.out is not None:
        _write(table, wishes.out)
    if wishes.prints_json:
        sys.stdout.write(json.dumps(table.as_json(), indent=1, allow_nan=False) + "\n")
    else:
        table.show(Console())


def open_encoders(wishes: Wishes, preset: PresetName) -> dict[str, VolumeEncoder | None]:
    """Return every encoder by name; None is one whose file is not there.

    Raises:
        ConfigError: An encoder is not named as NAME=FILE, or two have one name.
        OutputError: A run's encoder is not there, or damaged.
    """
    if wishes.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no GPU to compute on", expected="a CUDA device", found="none",
                          fix="leave --device out")
    device = torch.device(wishes.device)
    named: list[tuple[str, VolumeEncoder | None]] = []
    for run in wishes.runs:
        encoder = open_run(run, device)
        named.append((encoder.name, encoder))
    named += [_named(text, preset, device) for text in wishes.encoders]
    named += [("random", open_random(PRESETS[preset], wishes.seed, device)),
              ("thumbnail", Thumbnails())]
    names = [name for name, _ in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError("two encoders have the same name", expected="names that differ",
                          found=", ".join(twice), fix="give one as NAME=FILE.safetensors")
    return dict(named)


def _named(text: str, preset: PresetName, device: torch.device) -> tuple[str, VolumeEncoder | None]:
    """Return the encoder that NAME=FILE means, and its name."""
    name, is_pair, place = text.partition("=")
    path = Path(place).expanduser()
    if not (is_pair and name and place) or (name not in PUBLISHED and path.suffix != ".safetensors"):
        raise ConfigError(f"`--encoder {text}` names no encoder",
                          expected=f"NAME=FILE with NAME one of {', '.join(PUBLISHED)}, or any NAME "
                                   "with a .safetensors file of this software",
                          found=text, fix="correct the option")
    if not path.exists():
        return name, None
    if name in PUBLISHED:
        return name, PUBLISHED[name](path, device)
    return name, open_own(name, path, PRESETS[preset], device)


def _preset(wishes: Wishes) -> PresetName:
    """Return the one preset of all runs, whose grid every encoder gets."""
    for run in wishes.runs:
        check_run(run)
    found = {str(run): preset_of_run(run) for run in wishes.runs}
    if wishes.preset is not None:
        found["--preset"] = wishes.preset
    if len(set(found.values())) != 1:
        raise ConfigError("all encoders of a table take volumes on one grid",
                          expected="one preset, by --model or --preset",
                          found=", ".join(f"{name}: {preset}" for name, preset in found.items())
                          or "neither", fix="probe runs of different presets one after the other")
    return next(iter(found.values()))


def _tasks(wishes: Wishes) -> dict[str, Task]:
    known = load_tasks(wishes.task_file)
    unknown = [name for name in wishes.tasks if name not in known]
    if unknown:
        raise ConfigError(f"there is no task {', '.join(unknown)}", expected=", ".join(known),
                          found=", ".join(unknown), fix="correct --task, or give --tasks FILE")
    return {name: known[name] for name in wishes.tasks} if wishes.tasks else known


def _open_roster(wishes: Wishes, preset: PresetName, console: Console) -> Roster:
    paths = [path for place in wishes.sites
             for path in (sorted(place.glob("*.yaml")) if place.is_dir() else [place])]
    if not paths:
        raise ConfigError("there is no site to probe", expected="--site SITE.yaml or --sites FOLDER",
                          found="none" if not wishes.sites else
                          f"no *.yaml in {', '.join(map(str, wishes.sites))}", fix="name one")
    with counting(console, "volumes of a site") as progress:
        return open_roster(paths, PRESETS[preset], lambda _: progress)


def _probe_all(wishes: Wishes, preset: PresetName, roster: Roster, tasks: Mapping[str, Task],
               encoders: Mapping[str, VolumeEncoder | None], console: Console) -> ProbeTable:
    """Embed every volume by every encoder, and probe every task that the labels allow.

    Raises:
        CohortError: No task can be probed.
    """
    features: dict[str, Floats] = {}
    for name, encoder in encoders.items():
        if encoder is not None:
            with counting(console, f"volumes by {name}") as progress:
                features[name] = roster.features(encoder, progress)
    results: dict[tuple[str, str], ProbeResult] = {}
    impossible: dict[str, str] = {}
    with counting(console, "tasks") as progress:
        for done, (name, task) in enumerate(tasks.items(), start=1):
            try:
                results |= {(name, encoder): _probe_one(wishes, roster, task, columns)
                            for encoder, columns in features.items()}
            except CohortError as error:
                impossible[name] = f"needs {error.expected}, found {error.found}"
            progress(done, len(tasks))
    if not results:
        raise CohortError("no task can be probed", expected="labels enough for one of the tasks",
                          found="; ".join(f"{name}: {why}" for name, why in impossible.items()),
                          fix="add sites, or a task for the columns that their tables have (--tasks)")
    return ProbeTable(
        preset, wishes.seed, "5-fold cross-validation by subject" if wishes.cross_validates else
        "fitted on each site's training subjects, measured on its validation and test subjects",
        _sizes(roster), [_row(name, encoder, features) for name, encoder in encoders.items()],
        {name: task for name, task in tasks.items() if name not in impossible}, impossible, results)


def _probe_one(wishes: Wishes, roster: Roster, task: Task, features: Floats) -> ProbeResult:
    labelled, to_fit = roster.labelled(roster.labels(task), features)
    if wishes.cross_validates:
        return cross_validate(task, labelled, wishes.seed)
    return probe(task, labelled.only(to_fit), labelled.only(~to_fit), wishes.seed)


def _sizes(roster: Roster) -> dict[str, tuple[int, int]]:
    subjects = {site.name: {row.example.subject for row in roster.rows if row.site is site}
                for site in roster.sites}
    return {site.name: (len(subjects[site.name]), sum(row.site is site for row in roster.rows))
            for site in roster.sites}


def _row(name: str, encoder: VolumeEncoder | None, features: Mapping[str, Floats]) -> EncoderRow:
    if encoder is None:
        return EncoderRow(name, None, None, None)
    return EncoderRow(name, encoder.pooling, features[name].shape[1], encoder.digest)


def _check_place(out: Path) -> None:
    """Refuse a folder that holds something else, before everything is embedded for it.

    Raises:
        OutputError: It does, or cannot be written to.
    """
    found = None
    above = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not above.is_dir():
        found = f"{above}, which is no folder"
    elif not os.access(above, os.W_OK | os.X_OK):
        found = f"{above}, which may not be written to"
    elif above == out.absolute() and (others := {path.name for path in out.iterdir()} - set(FILES)):
        found = ", ".join(sorted(others)[:3])
    if found is not None:
        raise OutputError(f"{out} is no place for a table of probes", found=found,
                          expected="a new or empty folder, or one with an earlier table",
                          fix="choose another folder for --out")


def _write(table: ProbeTable, out: Path) -> None:
    from braing3n.probing.picture import write_picture  # noqa: PLC0415  # matplotlib, for --out only

    try:
        write_text(out / FILES[0], json.dumps(table.as_json(), indent=1, allow_nan=False) + "\n")
        write_text(out / FILES[1], table.as_tsv())
        write_picture(table, out / FILES[2])
    except OSError as error:
        raise OutputError(f"{out} cannot be written", expected="a folder to write to",
                          found=error.strerror or "an error", fix="choose another folder") from error
    sys.stderr.write(f"table: {out}\n")
