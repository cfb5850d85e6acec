"""One subject's brain at one visit: the template, warped and thinned by age and disease."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from simulation.phantom.people import WOMAN_SCALE, Person, Visit
from simulation.phantom.template import WORKING_MM, Template, Volume, along_axes, load_template

# Control points of the random deformation, and the spread of their displacement. The cubic
# spline between them leaves about 1.7 mm.
_CONTROL_MM = 40.0
_BEND_MM = 4.5
# Shares of grey matter lost where it is most exposed, at 90 years and at full disease.
_THINNING = 0.45
_SHRINK_BY_DIAGNOSIS = {"HC": 0.0, "MCI": 0.175, "AD": 0.35}
_SHRINK_BY_SEVERITY = 0.6
# Millimetres by which the ventricles' walls may move, for the table of volumes.
_PUSHES_MM = np.linspace(-3.0, 9.0, 13)
_VOXEL_ML = WORKING_MM**3 / 1000


@dataclass(frozen=True)
class Anatomy:
    """A brain on the working grid, with the volumes that it truly has.

    Attributes:
        grey: (X, Y, Z) fraction of grey matter; likewise `white`, `csf`, `ventricle` (a part of
            `csf`), `vessels` and `texture` as in `Template`.
    """

    grey: Volume
    white: Volume
    csf: Volume
    ventricle: Volume
    vessels: Volume
    texture: Volume

    @property
    def ventricle_ml(self) -> float:
        """True volume of the ventricles in millilitres."""
        return float(self.ventricle.sum(dtype=np.float64)) * _VOXEL_ML

    @property
    def grey_ml(self) -> float:
        """True volume of grey matter in millilitres."""
        return float(self.grey.sum(dtype=np.float64)) * _VOXEL_ML

    @property
    def white_ml(self) -> float:
        """True volume of white matter in millilitres."""
        return float(self.white.sum(dtype=np.float64)) * _VOXEL_ML

    @property
    def brain_ml(self) -> float:
        """True volume inside the skull-stripped brain, CSF included, in millilitres."""
        csf_ml = float(self.csf.sum(dtype=np.float64)) * _VOXEL_ML
        return self.grey_ml + self.white_ml + csf_ml


@dataclass(frozen=True)
class _Reach:
    """The M voxels of a subject that the brain may reach; the rest is background.

    Attributes:
        near: (M,) their flat indices.
        places: (3, M) where in the template they come from, before the ventricles' push.
        away: (3, M) the direction of that push there.
    """

    near: npt.NDArray[np.intp]
    places: Volume
    away: Volume


def medial_temporal_shrinkage(person: Person, visit: Visit) -> float:
    """Return the share of the hippocampus and amygdala zone that CSF has replaced, 0 to 0.9."""
    by_severity = _SHRINK_BY_SEVERITY * visit.severity
    return min(_SHRINK_BY_DIAGNOSIS[person.diagnosis] + by_severity, 0.9)


def expected_ventricle_ml(person: Person, visit: Visit) -> float:
    """Return the volume that age, disease and the person ask for, in an average woman's head.

    15 ml at 20 years and 55 ml at 90, growing by the same share every year.
    """
    by_age = 15.0 * float((55.0 / 15.0) ** ((visit.age_years - 20) / 70))
    return by_age * person.ventricle_spread * (1 + 0.3 * medial_temporal_shrinkage(person, visit))


def build_anatomies(person: Person) -> tuple[Anatomy, ...]:
    """Return the person's brain at each visit: one deformation, growing atrophy."""
    template = load_template()
    places = _deformed_places(template, person)
    nearest = np.clip(np.rint(places).astype(np.intp),
                      0, np.array(template.shape).reshape(3, 1, 1, 1) - 1)
    near = np.flatnonzero(_near_brain()[tuple(nearest)])
    places = places.reshape(3, -1)[:, near]
    reach = _Reach(near, places, sample(template.away, places))
    return tuple(_build(template, person, visit, reach) for visit in person.visits)


def _build(template: Template, person: Person, visit: Visit, reach: _Reach) -> Anatomy:
    wanted_ml = expected_ventricle_ml(person, visit) / WOMAN_SCALE**3
    push_mm = float(np.interp(wanted_ml, _pushed_ventricle_ml(), _PUSHES_MM))
    pulled = reach.places - reach.away * np.float32(push_mm / WORKING_MM)  # (3, M)
    decades = max(visit.age_years - 20, 0) / 70
    thinning = min(_THINNING * decades * person.thinning_spread, 0.8)
    kept = 1 - medial_temporal_shrinkage(person, visit) * template.medial_temporal
    grey = template.grey * kept * (1 - thinning * template.cortex)
    maps = np.stack([template.brain, grey, template.white * kept, template.ventricle,
                     template.vessels, template.texture])
    warped = np.zeros((len(maps), template.brain.size), dtype=np.float32)
    warped[:, reach.near] = sample(maps, pulled)
    brain, grey, white, ventricle, vessels, texture = warped.reshape(-1, *template.shape)
    return Anatomy(grey=grey, white=white, csf=np.clip(brain - grey - white, 0, None),
                   ventricle=ventricle, vessels=vessels, texture=texture)


def sample(maps: Volume, places: Volume) -> Volume:
    """Return (C, M): each of (C, X, Y, Z) maps at (3, M) voxel coordinates, linear in between.

    One sparse matrix serves all maps, six times as fast as interpolating them one by one.
    Coordinates beyond the grid take the value at its border.
    """
    shape = maps.shape[1:]
    top = np.array(shape, dtype=np.float32).reshape(3, 1) - 1
    base = np.clip(np.floor(places), 0, top - 1).astype(np.int32)
    shares = np.clip(places - base, 0, 1).astype(np.float32)
    strides = np.array([shape[1] * shape[2], shape[2], 1], dtype=np.int32)
    corners = np.indices((2, 2, 2), dtype=np.int32).reshape(3, 8)
    columns = (strides @ base)[:, None] + strides @ corners  # (M, 8)
    x, y, z = np.stack([1 - shares, shares], axis=1)  # (2, M) each
    weights = np.einsum("am,bm,cm->mabc", x, y, z)
    rows = np.arange(0, columns.size + 1, 8, dtype=np.int32)
    matrix = sparse.csr_array((weights.ravel(), columns.ravel(), rows),
                              shape=(len(columns), int(np.prod(shape))))
    sampled: Volume = (matrix @ maps.reshape(len(maps), -1).T).T
    return sampled


@cache
def _near_brain() -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = ndimage.binary_dilation(load_template().brain > 0, iterations=2)
    return near


@cache
def _pushed_ventricle_ml() -> tuple[float, ...]:
    """Return the template's ventricle volume for each of `_PUSHES_MM`."""
    template = load_template()
    # Only where a wall that moves by the longest push can reach.
    near = ndimage.binary_dilation(template.ventricle > 0, iterations=6)
    grid = np.argwhere(near).T.astype(np.float32)  # (3, M)
    away = template.away[:, near]
    volumes = (sample(template.ventricle[None], grid - away * np.float32(push_mm / WORKING_MM))
               for push_mm in _PUSHES_MM)
    return tuple(float(volume.sum()) * _VOXEL_ML for volume in volumes)


def _deformed_places(template: Template, person: Person) -> Volume:
    """Return (3, X, Y, Z): where in the template each voxel of the subject comes from."""
    rng = np.random.default_rng(person.shape_seed)
    x, y, z = (_spline_matrix(n) for n in template.shape)
    bends_mm = rng.normal(0, _BEND_MM, (3, x.shape[1], y.shape[1], z.shape[1]))
    smooth_mm = np.stack([along_axes(b.astype(np.float32), (x, y, z)) for b in bends_mm])
    centre = (np.array(template.shape, dtype=np.float64) - 1) / 2
    grid = np.indices(template.shape, dtype=np.float32)
    centred = grid - centre.reshape(3, 1, 1, 1)
    places = centred / person.head_scale + centre.reshape(3, 1, 1, 1) + smooth_mm / WORKING_MM
    return np.asarray(places, dtype=np.float32)


def _spline_matrix(num_voxels: int) -> Volume:
    """Return (num_voxels, control points): uniform cubic B-spline weights along one axis."""
    at = np.arange(num_voxels) * WORKING_MM / _CONTROL_MM  # in units of control points
    controls = np.arange(-1, int(at[-1]) + 3)
    distance = np.abs(at[:, None] - controls[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far), dtype=np.float32)
