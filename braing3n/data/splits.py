"""Which subjects are trained on, validated on and tested on: drawn once, then remembered.

A subject's place among others is the sha256 of its id. Within a stratum (diagnosis, sex, age) the
first in that order are held out. Even shares in every stratum depend on who else is there, so a
site writes down where each subject is: a later one never moves an earlier one, and nobody who was
trained on is ever tested on.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, get_args

from braing3n.conditions import Conditions
from braing3n.config import DataConfig
from braing3n.errors import CohortError
from braing3n.files import canonical_json, digest_bytes, locked, replacing

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = get_args(Side)
FILE_NAME = "split.json"

# Diagnosis, sex, age band; cut short where too few subjects share the last ones.
Stratum = tuple[str, ...]
# Sides by the sha256 of the subject's id: a record need not name anybody.
Placed = Mapping[str, Side]

_AGE_BAND_YEARS = 20
_VERSION = 1


def strata_of(volumes: Iterable[tuple[str, Conditions]]) -> dict[str, Stratum]:
    """Return each subject's stratum: its diagnosis and sex, and its age at the first visit.

    Args:
        volumes: The subject of each, and what is known of it.
    """
    known: dict[str, dict[str, Any]] = defaultdict(dict)
    for subject, conditions in sorted(volumes, key=lambda volume: _age(volume[1])):
        facts = known[subject]  # also where nothing is known
        for name in ("diagnosis", "sex", "age_years"):
            value = getattr(conditions, name)
            if value is not None:
                facts.setdefault(name, value)
    return {subject: (facts.get("diagnosis", "diagnosis unknown"), facts.get("sex", "sex unknown"),
                      _age_band(facts.get("age_years")))
            for subject, facts in known.items()}


def place(strata: Mapping[str, Stratum], shares: DataConfig, placed: Placed) -> dict[str, Side]:
    """Return every subject's side; those of `placed` stay where they are.

    In a fresh draw every stratum's held-out subjects are within one of its share, and all strata
    together have the share, rounded down. A later draw comes as near to that as the subjects that
    are new to it allow.

    Args:
        strata: Of all subjects, old and new.
        shares: `held_out` is the share of validation, `test` of test.
        placed: What is remembered.

    Raises:
        CohortError: Subjects are to be placed alone, and were not when they were placed.
    """
    held = _held_shares(shares)
    if shares.draw == "alone":
        return _all_alone(strata, held, placed)
    split: dict[str, Side] = {subject: placed[_hash(subject)] for subject in strata
                              if _hash(subject) in placed}
    groups = _groups(strata, held)
    targets = {side: _targets(groups, share) for side, share in held.items()}
    for label, members in groups.items():
        have = Counter(split[subject] for subject in members if subject in split)
        for subject in sorted((s for s in members if s not in split), key=_hash):
            behind: dict[Side, float] = {
                side: share * len(members) - have[side] for side, share in held.items()
                if have[side] < targets[side][label]}
            split[subject] = max(behind, key=behind.__getitem__) if behind else "train"
            have[split[subject]] += 1
    return split


def _all_alone(strata: Iterable[str], held: Mapping[Side, float], placed: Placed) -> dict[str, Side]:
    """Return every subject's side by its own hash, where nothing else is remembered."""
    split = {subject: _side_alone(subject, held) for subject in strata}
    moved = sum(placed.get(_hash(subject), side) != side for subject, side in split.items())
    if moved:
        raise CohortError(
            "subjects are remembered on other sides than their own hashes give",
            expected="a split that was drawn with `draw: alone` and with these shares",
            found=f"{moved} of {len(split)} subjects where others made them be",
            fix=f"set the shares back, if they were changed; or, to draw anew, remove {FILE_NAME} and "
                "the cache from the site's state folder, and measure no model on it that was trained "
                "before")
    return split


def _side_alone(subject: str, held: Mapping[Side, float]) -> Side:
    """Return a subject's side by its own hash, whoever else is there.

    In an even draw one subject more can move another from training to validation, so that it would
    change more than its own share of what is trained: sites with a privacy budget draw so.
    """
    place, bound = int(_hash(subject)[:13], 16) / 16**13, 0.0
    for side, share in held.items():
        bound += share
        if place < bound:
            return side
    return "train"


def was_begun(state_dir: Path) -> bool:
    """Tell whether a site is known to have had a record: the cache's index is written after it."""
    return any((state_dir / "cache").glob("index-*"))


def begin_split(path: Path, *, is_in_use: bool) -> None:
    """Check the record of a site's split, or begin one at a new site.

    A record that is gone or damaged is an error, because drawing anew could test on subjects that
    a model was trained on, and nothing would show it.

    Args:
        path: The record.
        is_in_use: Whether this site is known to have had a record.

    Raises:
        CohortError: The record is damaged, or gone from a site that is in use.
    """
    with _locked(path):
        if _load(path) is not None:
            return
        if is_in_use:
            raise CohortError(f"{path} is gone", expected="the record of who is trained on and who is "
                              "not, as this site has been in use", found="nothing",
                              fix="restore it from a backup; or, to draw the split anew, remove the "
                                  f"cache ({path.parent / 'cache'}) as well, and measure no model "
                                  "on it that was trained here before")
        _save(path, {})


def open_split(path: Path, strata: Mapping[str, Stratum], shares: DataConfig) -> dict[str, Side]:
    """Return every subject's side, after writing down those of new subjects.

    Raises:
        CohortError: The record is damaged.
    """
    with _locked(path):
        placed = _load(path) or {}
        split = place(strata, shares, placed)
        now = {**placed, **{_hash(subject): side for subject, side in split.items()}}
        if now != placed:
            _save(path, now)
    return split


def remember(path: Path, split: Mapping[str, Side]) -> None:
    """Write a record of subjects whose sides were decided elsewhere."""
    with _locked(path):
        _save(path, {_hash(subject): side for subject, side in split.items()})


def describe(strata: Mapping[str, Stratum], split: Mapping[str, Side], shares: DataConfig,
             volumes: Iterable[str]) -> tuple[str, ...]:
    """Return what a site's log says of its split: counts of each side, and of each stratum.

    Args:
        strata: Of all subjects.
        split: Their sides.
        shares: What was asked for.
        volumes: The subject of each volume.
    """
    subjects = Counter(split.values())
    scans = Counter(split[subject] for subject in volumes)
    sides = ", ".join(f"{side} {subjects[side]} subjects with {scans[side]} volumes"
                      for side in SIDES)
    rows = []
    for label, members in sorted(_groups(strata, _held_shares(shares)).items()):
        counts = Counter(split[subject] for subject in members)
        rows.append(f"{_name(label)}: {' / '.join(str(counts[side]) for side in SIDES)}")
    return (f"split: {sides}",
            f"subjects of each stratum ({' / '.join(SIDES)}): {'; '.join(rows)}")


def _held_shares(shares: DataConfig) -> dict[Side, float]:
    both: dict[Side, float] = {"validation": shares.held_out, "test": shares.test}
    return {side: share for side, share in both.items() if share > 0}


def _groups(strata: Mapping[str, Stratum], held: Mapping[Side, float]) -> dict[Stratum, list[str]]:
    """Return the subjects of each stratum that is large enough to hold one out of every side.

    Where too few subjects share diagnosis, sex and age, those of other ages join them, then of
    the other sex, and at last the rest of all.
    """
    least = math.ceil(1 / min(held.values())) if held else 1
    labels = dict(strata)
    for length in (3, 2, 1):
        sizes = Counter(labels.values())
        labels = {subject: label[:length - 1] if len(label) == length and sizes[label] < least
                  else label for subject, label in labels.items()}
    groups: dict[Stratum, list[str]] = defaultdict(list)
    for subject, label in labels.items():
        groups[label].append(subject)
    return groups


def _targets(groups: Mapping[Stratum, Sequence[str]], share: float) -> dict[Stratum, int]:
    """Return how many of each stratum to hold out: largest remainders, as votes become seats."""
    exact = {label: round(share * len(members), 9) for label, members in groups.items()}
    targets = {label: math.floor(number) for label, number in exact.items()}
    left = math.floor(round(share * sum(map(len, groups.values())), 9)) - sum(targets.values())
    for label in sorted(exact, key=lambda label: (targets[label] - exact[label], label))[:left]:
        targets[label] += 1
    return targets


def _age(conditions: Conditions) -> float:
    return math.inf if conditions.age_years is None else conditions.age_years


def _age_band(age_years: float | None) -> str:
    if age_years is None:
        return "age unknown"
    low = int(age_years // _AGE_BAND_YEARS) * _AGE_BAND_YEARS
    return f"{low}-{low + _AGE_BAND_YEARS - 1} years"


def _name(label: Stratum) -> str:
    return ", ".join((*label, "the rest")[:3]) if label else "the rest"


def _hash(subject: str) -> str:
    return digest_bytes(subject.encode())


def _locked(path: Path) -> AbstractContextManager[None]:
    """Let one process at a time read and write the record, in a folder for its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return locked(path.with_suffix(".lock"), waits=True)


def _load(path: Path) -> dict[str, Side] | None:
    """Return what is remembered; None where there is no record."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        placed: dict[str, Side] = content["subjects"]
        is_whole = (content["version"] == _VERSION and set(placed.values()) <= set(SIDES)
                    and content["sha256"] == digest_bytes(canonical_json(placed)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise CohortError(f"{path} is damaged",
                          expected="the record of who is trained on and who is not, and its sha256",
                          found="other content", fix="restore it from a backup; it is not drawn anew, "
                          "as subjects that were trained on could then be tested on")
    return placed


def _save(path: Path, placed: Mapping[str, Side]) -> None:
    content = {"version": _VERSION, "sha256": digest_bytes(canonical_json(placed)),
               "subjects": dict(placed)}
    with replacing(path) as part:
        part.touch(mode=0o600)
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
