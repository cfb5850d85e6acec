"""The embedded cohort: synthetic but anatomical brains of several hospitals, with known truth."""

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

from braing3n.errors import ConfigError, OutputError
from braing3n.files import check_free
from simulation.phantom.anatomy import Anatomy, build_anatomies
from simulation.phantom.bids import (
    session_label,
    write_sessions,
    write_site,
    write_table,
    write_volume,
)
from simulation.phantom.people import (
    Person,
    SiteProfile,
    Visit,
    draw_person,
    draw_site,
    noise_generator,
)
from simulation.phantom.scanner import scan

_TRUTH = ("site", "participant_id", "session", "age", "sex", "diagnosis", "mmse", "severity",
          "ventricle_ml", "grey_ml", "white_ml", "brain_ml")


def write_phantom(
    out: Path,
    sites: int = 4,
    subjects: int = 64,
    seed: int = 0,
    voxel_mm: float = 4.0,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write one BIDS dataset a site under `out` (site-a, site-b, ...), and truth.tsv beside them.

    The same arguments give the same bytes. A subject is the same whatever the number of others.

    Args:
        out: Folder to make; not there yet, or empty. It appears when everything is written.
        sites: Number of hospitals, at least 1.
        subjects: Number of subjects over all sites, at least one a site.
        seed: What everything is drawn from, 0 or more.
        voxel_mm: Edge of a voxel, 1 to 8; each site's own edges are within 15 % of it.
        progress: Called with the number of subjects written and of all, after each.

    Raises:
        ConfigError: An argument is out of range.
        OutputError: `out` is taken, or cannot be written.
    """
    _check_arguments(sites, subjects, seed, voxel_mm)
    target = out.resolve()
    check_free(target)
    part = target.with_name(f".{uuid4().hex}.{target.name}")
    try:
        part.mkdir(parents=True)
        _write(part, sites, subjects, seed, voxel_mm, progress=progress)
        part.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write the cohort to {out}", found=str(error),
                          expected="a folder that can be written",
                          fix="choose another --out, or free space there") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _write(
    folder: Path, sites: int, subjects: int, seed: int, voxel_mm: float, *,
    progress: Callable[[int, int], None] | None,
) -> None:
    truth: list[tuple[object, ...]] = []
    done = 0
    for number in range(sites):
        site = draw_site(number, seed, voxel_mm)
        # The first sites take one more where subjects do not divide evenly.
        here = subjects // sites + (number < subjects % sites)
        people = [draw_person(site, k, seed) for k in range(here)]
        (folder / site.name).mkdir()
        write_site(folder / site.name, site, people, seed)
        for person in people:
            truth.extend(_write_person(folder / site.name, site, person, seed))
            done += 1
            if progress is not None:
                progress(done, subjects)
    write_table(folder / "truth.tsv", _TRUTH, truth)


def _write_person(
    folder: Path, site: SiteProfile, person: Person, seed: int
) -> Iterator[tuple[object, ...]]:
    """Write a subject's volumes, and yield a row of truth for each visit."""
    write_sessions(folder, person)
    for visit, anatomy in zip(person.visits, build_anatomies(person), strict=True):
        for contrast in visit.contrasts:
            rng = noise_generator(seed, site, person.label, visit.session, contrast)
            image = scan(anatomy, contrast, site, rng)
            write_volume(folder, site, person, visit, contrast, image=image)
        yield _truth_row(site, person, visit, anatomy)


def _truth_row(
    site: SiteProfile, person: Person, visit: Visit, anatomy: Anatomy
) -> tuple[object, ...]:
    volumes = (anatomy.ventricle_ml, anatomy.grey_ml, anatomy.white_ml, anatomy.brain_ml)
    return (site.name, f"sub-{person.label}", session_label(person, visit), visit.age_years,
            person.sex, person.diagnosis, visit.mmse, f"{visit.severity:.4f}",
            *(f"{volume:.3f}" for volume in volumes))


def _check_arguments(sites: int, subjects: int, seed: int, voxel_mm: float) -> None:
    checks = (
        (sites >= 1, "sites", "at least 1", sites),
        (subjects >= sites, "subjects", f"at least one a site, so {sites} or more", subjects),
        (seed >= 0, "seed", "0 or more", seed),
        (math.isfinite(voxel_mm) and 1 <= voxel_mm <= 8, "voxel_mm", "1 to 8 mm", voxel_mm),
    )
    for holds, name, expected, found in checks:
        if not holds:
            raise ConfigError(f"{name} of the phantom cohort is out of range", expected=expected,
                              found=str(found), fix=f"give another {name}")
