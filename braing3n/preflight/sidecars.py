"""What JSON sidecars say that cannot be: damaged ones, ones without a scan, impossible facts."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from braing3n.data.findings import Finding, finding
from braing3n.data.people.covariates import modality_of
from braing3n.data.sidecar import read_sidecar

# Suffixes of BIDS whose JSON describes a dataset, a table or another recording: no image.
_NO_IMAGE = frozenset((
    "description", "participants", "sessions", "scans", "samples", "events", "beh", "physio",
    "physioevents", "stim", "channels", "electrodes", "optodes", "coordsystem", "markers",
    "headshape", "positions", "meg", "eeg", "ieeg", "nirs", "emg", "motion", "blood", "aslcontext",
    "asllabeling", "photo",
))
# Suffixes that say themselves that an image is not of magnetic resonance.
_NOT_MR = {"pet", "ct"}
# What DICOM calls other modalities. No other text is repeated in a report.
_OTHER_MODALITIES = {"CT", "PT", "NM", "US", "XA", "CR", "DX", "MG", "RF", "OT", "SC", "SEG",
                     "RTSTRUCT", "RTDOSE", "SM", "OPT"}

# What DICOM calls parts of the body that are neither brain nor head (PS3.16, annex L), as it is
# written there or with other blanks, and series that are no anatomical scan of the brain.
_OTHER_PARTS = {"ABDOMEN", "ANKLE", "ARM", "BREAST", "CHEST", "CSPINE", "ELBOW", "FOOT", "FOREARM",
                "HAND", "HEART", "HIP", "KIDNEY", "KNEE", "LEG", "LIVER", "LSPINE", "PELVIS",
                "PROSTATE", "SHOULDER", "SPINE", "TSPINE", "WRIST"}
_OTHER_SERIES = re.compile(r"locali[sz]er|scout|survey|(?<![a-z])[ctl]?[-_ ]?spine(?![a-z])",
                           re.IGNORECASE)
# Kinds of image that are no magnitude: Siemens, General Electric, Philips.
_NO_MAGNITUDE = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}

_LEAST_TESLA, _MOST_TESLA = 0.05, 12.0
_PER_TESLA = {"gauss": 10_000, "millitesla": 1_000}
# A number, perhaps with a unit: a text that says nothing else.
_STRENGTH = re.compile(r"\s*[0-9]{1,6}(\.[0-9]{1,4})?\s*(t|tesla|mt|g|gauss)?\s*", re.IGNORECASE)
# Above these, a time of an anatomical scan is not in seconds.
_MOST_SECONDS = {"EchoTime": 1.0, "RepetitionTime": 100.0, "InversionTime": 100.0}


def sidecar_findings(path: Path, scan_exists: bool) -> list[Finding]:
    """Return what is wrong with one JSON file of a cohort.

    Files that describe a dataset, a table or a recording that is no image, such as
    `dataset_description.json` or `sub-01_sessions.json`, are checked for damage only.

    Args:
        path: The file, which is read; no other is.
        scan_exists: Whether there is an image that it applies to: of the same name, or, by BIDS'
            inheritance principle, of a longer name in its folder or below.
    """
    sidecar = read_sidecar(path)
    if sidecar.damage is not None:
        return [finding("sidecar-damaged", path, sidecar.damage)]
    suffix = path.stem.rpartition("_")[2].casefold()
    if suffix in _NO_IMAGE:
        return []
    found = []
    if path.name.casefold().startswith("sub-") and not scan_exists:
        found.append(finding("sidecar-orphan", path, "no image that it applies to"))
    if scan_exists or path.parent.name == "anat" or modality_of(suffix) is not None:
        found += [finding("sidecar-unclear", path, what, expected=expected)
                  for what, expected in _impossible(sidecar.content, suffix)]
        if sidecar.num_repeated:
            again = f"fields that come again with another value: {sidecar.num_repeated}"
            found.append(finding("sidecar-unclear", path, again, expected="every field once"))
    return found


def _impossible(content: Mapping[str, Any], suffix: str) -> Iterator[tuple[str, str]]:
    """Yield each fact that cannot be, and what would be right."""
    strength = content.get("MagneticFieldStrength")
    if strength is not None:
        what = _wrong_strength(strength)
        if what is not None:
            yield f"MagneticFieldStrength {what}", "a number of tesla, 0.05 to 12"
    modality = content.get("Modality")
    if (isinstance(modality, str) and modality.strip().upper() in _OTHER_MODALITIES
            and suffix not in _NOT_MR):
        yield f"Modality {modality.strip().upper()}", "MR"
    if modality_of(suffix) is not None:
        yield from _other_images(content)
    for name, most in _MOST_SECONDS.items():
        times = content.get(name)
        for time in times if isinstance(times, list) else [times]:
            what = None if time is None else _wrong_time(time, most)
            if what is not None:
                yield f"{name} {what}", f"a number of seconds, at most {most:g}"
                break


def _other_images(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what says that it is no magnitude image of a brain; no other text is repeated."""
    part = re.sub(r"[^A-Z]", "", str(content.get("BodyPartExamined", "")).upper())
    if part in _OTHER_PARTS:
        yield f"BodyPartExamined {part}", "BRAIN or HEAD"
    kinds = content.get("ImageType")
    if isinstance(kinds, str):  # older converters wrote ORIGINAL/PRIMARY/M
        kinds = re.split(r"[/\\]", kinds)
    strange = [kind for kind in kinds if str(kind).upper() in _NO_MAGNITUDE] if (
        isinstance(kinds, list)) else []
    if strange:
        yield f"ImageType {strange[0]}", "a magnitude image, M"
    for name in ("SeriesDescription", "ProtocolName"):
        found = _OTHER_SERIES.search(str(content.get(name, "")))
        if found:
            yield f"{name} with `{found.group().casefold()}`", "a series of the brain"
            break


def _wrong_strength(value: object) -> str | None:
    number = _number(value)
    if number is None:
        is_plain = isinstance(value, str) and _STRENGTH.fullmatch(value)
        return f"as the text {value!r}" if is_plain else "that is no number"
    if _LEAST_TESLA <= number <= _MOST_TESLA:
        return None
    meant = [f"{number / scale:g} T in {unit}" for unit, scale in _PER_TESLA.items()
             if _LEAST_TESLA <= number / scale <= _MOST_TESLA]
    return f"{number:g}" + (f", perhaps {' or '.join(meant)}" if meant else "")


def _wrong_time(value: object, most: float) -> str | None:
    number = _number(value)
    if number is None:
        return "that is no number"
    if 0 <= number <= most:  # 0 s, rounded, is an echo time of some sequences
        return None
    return f"{number:g}" + (", perhaps in milliseconds" if number > most else "")


def _number(value: object) -> float | None:
    """Return a finite number, or None; a text that looks like one is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floating ones
        return None
