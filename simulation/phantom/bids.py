"""Writing a phantom site as a BIDS dataset (https://bids-specification.readthedocs.io, 1.9)."""

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nibabel as nib

from simulation.phantom.people import Contrast, Person, SiteProfile, Visit

_SUFFIXES = MappingProxyType({
    "T1w": "T1w", "T2w": "T2w", "FLAIR": "FLAIR", "T1c": "ce-gadolinium_T1w",
})
_COLUMNS: dict[str, dict[str, Any]] = {
    "age": {"Description": "Age at the (first) visit", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "diagnosis": {
        "Description": "Diagnosis",
        "Levels": {"HC": "healthy control", "MCI": "mild cognitive impairment",
                   "AD": "Alzheimer's disease"},
    },
    "mmse": {"Description": "Mini-Mental State Examination at the (first) visit, 0 to 30"},
}


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write tab-separated values with one line of column names."""
    lines = ["\t".join(map(str, row)) for row in (header, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def session_label(person: Person, visit: Visit) -> str:
    """Return ses-1 or ses-2 for somebody who came twice, n/a for a single visit."""
    return f"ses-{visit.session}" if len(person.visits) > 1 else "n/a"


def write_site(folder: Path, site: SiteProfile, people: Sequence[Person], seed: int) -> None:
    """Write a site's description and its table of participants."""
    _write_json(folder / "dataset_description.json", {
        "Name": f"Phantom brains of {site.name}, seed {seed}: synthetic, no real person",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw",
        "Acknowledgements": (
            "Made from the MNI ICBM152 2009a nonlinear symmetric template, copyright (C) "
            "1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological "
            "Institute, McGill University"
        ),
    })
    rows = [(f"sub-{p.label}", p.visits[0].age_years, p.sex, p.diagnosis, p.visits[0].mmse)
            for p in people]
    write_table(folder / "participants.tsv", ("participant_id", *_COLUMNS), rows)
    _write_json(folder / "participants.json", _COLUMNS)


def write_sessions(folder: Path, person: Person) -> None:
    """Write the table of sessions of somebody who came twice; nothing for a single visit."""
    if len(person.visits) > 1:
        subject = f"sub-{person.label}"
        rows = [(session_label(person, v), v.age_years, v.mmse, person.diagnosis)
                for v in person.visits]
        (folder / subject).mkdir(parents=True, exist_ok=True)
        write_table(folder / subject / f"{subject}_sessions.tsv",
                    ("session_id", "age", "mmse", "diagnosis"), rows)


def write_volume(
    folder: Path, site: SiteProfile, person: Person, visit: Visit,
    contrast: Contrast, *, image: nib.Nifti1Image,
) -> None:
    """Write one volume and its sidecar; the same image always gives the same bytes."""
    entities = [f"sub-{person.label}"]
    if len(person.visits) > 1:
        entities.append(session_label(person, visit))
    anat = folder.joinpath(*entities, "anat")
    anat.mkdir(parents=True, exist_ok=True)
    stem = "_".join((*entities, _SUFFIXES[contrast]))
    # No time and no name in the gzip header: both would differ from run to run.
    (anat / f"{stem}.nii.gz").write_bytes(gzip.compress(image.to_bytes(), 6, mtime=0))
    sidecar: dict[str, Any] = {
        "InstitutionName": f"Phantom Hospital {site.prefix.upper()}",
        "Manufacturer": site.manufacturer,
        "MagneticFieldStrength": site.field_tesla,
    }
    if contrast == "T1c":
        sidecar["ContrastBolusIngredient"] = "GADOLINIUM"
    _write_json(anat / f"{stem}.json", sidecar)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
