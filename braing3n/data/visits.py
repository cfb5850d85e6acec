"""Which of a visit's scans are used, where a site does not want them all."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from braing3n.config import DataConfig
from braing3n.data.people.notes import listed
from braing3n.data.volumes import Volume
from braing3n.errors import CohortError

_ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)")
_NUMBER = re.compile(r"\d+")


def choose(volumes: Sequence[Volume], data: DataConfig) -> tuple[tuple[Volume, ...], list[str]]:
    """Keep the modalities that a site wants, and of each visit all scans or the best.

    Args:
        volumes: A cohort's, sorted by subject, session and modality.
        data: `modalities` and `per_visit` say what is kept. With `best`, it is one scan for each
            subject, visit and modality, the first by `preference`; scans of unknown modality are
            all kept, as nothing says that they are of one kind.

    Returns:
        What is used, in the same order, and notes on what is not, with counts and file names.

    Raises:
        CohortError: Nothing is of a modality that is wanted.
    """
    wanted = [v for v in volumes if data.modalities is None or v.modality in data.modalities]
    if not wanted:
        found = Counter(volume.modality for volume in volumes)
        raise CohortError("no scan is of a modality that is wanted",
                          expected=f"one of {', '.join(data.modalities or ())}",
                          found=", ".join(f"{count} {name}" for name, count in sorted(found.items())),
                          fix="correct `data: modalities:`, or the names of the files")
    notes = listed(f"scans are not used, as `data: modalities:` is {', '.join(data.modalities or ())}",
                   _names(volumes, wanted))
    if data.per_visit == "all":
        return tuple(wanted), notes
    best = _best(wanted)
    notes += listed("scans are not used, as `data: per_visit:` is best, and another of the same "
                    "visit and modality comes first", _names(wanted, best))
    return tuple(best), notes


def preference(volume: Volume) -> tuple[bool, bool, int, int, str]:
    """Return what sorts the scans of one visit and modality, the one to use first.

    By the entities of its name, as BIDS defines them:

    1. `rec-norm`, which the scanner has corrected for its coil, before any other;
    2. without `acq-` and `rec-`, the plain protocol, before variants of it;
    3. without `echo-`, which several echoes are combined to, then the shortest echo;
    4. the highest `run-`, as a scan is repeated because the first was poor; none counts as 1;
    5. the path, so that there is always one answer.
    """
    entities = dict(_ENTITY.findall(volume.path.name.lower()))
    is_plain = not entities.keys() & {"acq", "rec"}
    return (entities.get("rec") != "norm", not is_plain, _number(entities.get("echo"), 0),
            -_number(entities.get("run"), 1), str(volume.path))


def _best(volumes: Sequence[Volume]) -> list[Volume]:
    groups = groupby(volumes, key=lambda v: (v.subject, v.session, v.modality))
    return [volume for (_, _, modality), group in groups
            for volume in (group if modality == "unknown" else [min(group, key=preference)])]


def _names(volumes: Sequence[Volume], kept: Sequence[Volume]) -> list[str]:
    """Return the file names of the volumes that are not kept."""
    paths = {volume.path for volume in kept}
    return [volume.path.name for volume in volumes if volume.path not in paths]


def _number(text: str | None, missing: int) -> int:
    """Return the number that an entity's value begins with or holds."""
    found = _NUMBER.search(text or "")
    return int(found.group()) if found else missing
