"""Who the phantom cohort's sites and subjects are: drawn once, from a seed and their own number.

Every draw has its own generator, keyed by seed, site and subject, so that a subject stays the
same whatever the number of other subjects or sites.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

Contrast = Literal["T1w", "T2w", "FLAIR", "T1c"]
Diagnosis = Literal["HC", "MCI", "AD"]
StorageType = Literal["int16", "uint8", "float32", "uint16"]

WOMAN_SCALE = 0.945
"""Mean edge of a woman's head in units of the template's, which is larger than most."""
_MAN_SCALE = 1.04 * WOMAN_SCALE
# Keys that keep the generators of different purposes apart.
_SITE, _SUBJECT, _NOISE = range(3)
# Cycled through by the site's number, with lengths that keep neighbours different.
_ORIENTATIONS = ("RAS", "LAS", "PSR", "LIA", "LPS", "ASR", "RPI")
_DTYPES: tuple[StorageType, ...] = ("int16", "uint8", "float32", "uint16")
_SCANNERS = (("Siemens", 3.0), ("Philips", 1.5), ("GE", 3.0), ("Siemens", 1.5), ("Philips", 3.0))
# The oldest start at 84, so that nobody is over 89 at a second visit.
_AGES = ((20.0, 70.0), (55.0, 84.0), (35.0, 84.0), (20.0, 84.0))
# Shares of HC, MCI and AD among those who are old enough.
_MIXES = ((0.8, 0.1, 0.1), (0.4, 0.3, 0.3), (0.5, 0.2, 0.3), (0.6, 0.25, 0.15))
_SHARES: tuple[dict[Contrast, float], ...] = (
    {"T2w": 0.8, "FLAIR": 0.2},
    {"FLAIR": 0.6, "T1c": 0.1},
    {"T2w": 0.3, "T1c": 0.4},
    {"T2w": 0.4, "FLAIR": 0.4, "T1c": 0.2},
)
# Below this age a diagnosis is possible, but this many times as likely.
_DIAGNOSIS_AGE, _EARLY = 55.0, 0.04


@dataclass(frozen=True)
class SiteProfile:
    """One hospital: its scanner, its habits of storing, and whom it sees.

    Attributes:
        name: The site's name, also its folder.
        prefix: What its subjects' labels start with.
        voxel_mm: Voxel edges along right, anterior and superior.
        orientation: Axis codes of the stored array.
        dtype: Type of the stored voxels; integers other than int16 are stored with scl_slope.
        gain: Intensity of white matter.
        noise: Standard deviation of the noise as a share of `gain`.
        bias: (3, 2) linear and quadratic coefficients of the log bias field along each axis.
        age_range: Years at the first visit.
        mix: Shares of HC, MCI and AD above the age of 55.
        shares: The share of visits at which each contrast besides T1w is taken.
    """

    number: int
    name: str
    prefix: str
    voxel_mm: tuple[float, float, float]
    orientation: str
    dtype: StorageType
    gain: float
    noise: float
    bias: tuple[tuple[float, float], ...]
    manufacturer: str
    field_tesla: float
    age_range: tuple[float, float]
    mix: tuple[float, float, float]
    shares: Mapping[Contrast, float]


@dataclass(frozen=True)
class Visit:
    """One session: the state of the disease at an age, and the contrasts taken.

    `mmse` is the Mini-Mental State Examination, 0 to 30, 30 the best.
    """

    session: int
    age_years: float
    mmse: int
    contrasts: tuple[Contrast, ...]

    @property
    def severity(self) -> float:
        """0 for a full MMSE, 1 for none."""
        return (30 - self.mmse) / 30


@dataclass(frozen=True)
class Person:
    """One subject with what stays the same between visits.

    Attributes:
        head_scale: Edge of the head in units of the template's.
        ventricle_spread: Own factor on the volume expected for the age.
        thinning_spread: Own factor on the thinning of the cortex expected for the age.
        shape_seed: Seed of the deformation that makes the brain this person's.
        visits: One or two.
    """

    label: str
    sex: Literal["F", "M"]
    diagnosis: Diagnosis
    head_scale: float
    ventricle_spread: float
    thinning_spread: float
    shape_seed: tuple[int, ...]
    visits: tuple[Visit, ...]


def letters(number: int) -> str:
    """Return a, b, ... z, aa, ab, ... for 0, 1, ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def draw_site(number: int, seed: int, voxel_mm: float) -> SiteProfile:
    """Return hospital `number` (from 0), whose voxels are within 15 % of `voxel_mm`."""
    rng = np.random.default_rng([seed, _SITE, number])
    edges = voxel_mm * rng.uniform(0.85, 1.15, 3)
    if rng.random() < 0.5:
        edges[:] = edges[0]
    manufacturer, field_tesla = _SCANNERS[number % len(_SCANNERS)]
    habit = number % len(_AGES)
    # 12 % of linear and 10 % of quadratic shading at most, from the centre to the edge.
    bias = rng.uniform(-1, 1, (3, 2)) * (0.12, 0.10)
    return SiteProfile(
        number=number, name=f"site-{letters(number)}", prefix=letters(number),
        voxel_mm=(float(edges[0]), float(edges[1]), float(edges[2])),
        orientation=_ORIENTATIONS[number % len(_ORIENTATIONS)],
        dtype=_DTYPES[number % len(_DTYPES)],
        gain=float(np.exp(rng.uniform(np.log(150), np.log(3000)))),
        noise=float(rng.uniform(0.015, 0.035)),
        bias=tuple((float(linear), float(square)) for linear, square in bias),
        manufacturer=manufacturer, field_tesla=field_tesla,
        age_range=_AGES[habit], mix=_MIXES[habit], shares=MappingProxyType(_SHARES[habit]),
    )


def draw_person(site: SiteProfile, number: int, seed: int) -> Person:
    """Return subject `number` (from 0) of a site."""
    rng = np.random.default_rng([seed, _SUBJECT, site.number, number])
    age = round(float(rng.uniform(*site.age_range)), 1)
    sex: Literal["F", "M"] = "M" if rng.random() < 0.5 else "F"
    diagnosis = _draw_diagnosis(rng, age, site)
    head_scale = (_MAN_SCALE if sex == "M" else WOMAN_SCALE) * (1 + 0.015 * _normal(rng))
    spreads = np.exp(0.15 * _normal(rng)), np.exp(0.2 * _normal(rng))
    return Person(
        label=f"{site.prefix}{number + 1:03d}", sex=sex, diagnosis=diagnosis,
        head_scale=head_scale, ventricle_spread=float(spreads[0]),
        thinning_spread=float(spreads[1]), shape_seed=(seed, _SUBJECT, site.number, number, 1),
        visits=_draw_visits(rng, age, diagnosis, site),
    )


def noise_generator(
    seed: int, site: SiteProfile, label: str, session: int, contrast: Contrast
) -> np.random.Generator:
    """Return the generator of one volume's noise."""
    volume = f"{label}{contrast}".encode()
    return np.random.default_rng([seed, _NOISE, site.number, session, *volume])


def _normal(rng: np.random.Generator) -> float:
    """Return a standard normal draw, without the tails that would make monsters."""
    return float(np.clip(rng.standard_normal(), -2.5, 2.5))


def _draw_diagnosis(rng: np.random.Generator, age: float, site: SiteProfile) -> Diagnosis:
    mix = np.asarray(site.mix)
    if age < _DIAGNOSIS_AGE:
        sick = _EARLY * mix[1:]
        mix = np.array([1 - sick.sum(), *sick])
    diagnoses: tuple[Diagnosis, ...] = ("HC", "MCI", "AD")
    return diagnoses[int(rng.choice(3, p=mix))]


def _draw_visits(
    rng: np.random.Generator, age: float, diagnosis: Diagnosis, site: SiteProfile
) -> tuple[Visit, ...]:
    low, high, yearly = {
        "HC": (0.0, 0.08, 0.003), "MCI": (0.08, 0.25, 0.015), "AD": (0.2, 0.6, 0.035),
    }[diagnosis]
    severity = float(rng.uniform(low, high))
    has_second, years = rng.random() < 1 / 3, round(float(rng.uniform(2, 5)), 1)
    visits = []
    for session, later in enumerate((0.0, years) if has_second else (0.0,), start=1):
        now = min(severity + later * yearly, 0.9)
        extra = [c for c, share in site.shares.items() if rng.random() < share]
        visits.append(Visit(session, round(age + later, 1), round(30 * (1 - now)),
                            ("T1w", *extra)))
    return tuple(visits)
