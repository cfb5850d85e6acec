"""The MNI152 brain, cut and averaged to the working grid on which subjects are made.

The maps are the ICBM152 2009a nonlinear symmetric template (Fonov et al. 2011,
https://doi.org/10.1016/j.neuroimage.2010.07.033) that ships inside nilearn.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from nilearn.datasets import (
    load_mni152_gm_template,
    load_mni152_template,
    load_mni152_wm_template,
)
from scipy import ndimage, sparse

Volume = npt.NDArray[np.float32]
"""(X, Y, Z), right-anterior-superior."""

WORKING_MM = 2.5
# Room around the template's brain for subjects that are larger or bulge.
_MARGIN_MM = 12
# (x, y, z) in MNI mm: the box that holds the lateral and third ventricles, and the cisterns
# behind the third ventricle, which the template's CSF joins to it.
_VENTRICLE_BOX = ((-38.0, 38.0), (-52.0, 35.0), (0.0, 34.0))
_CISTERN_BOX = ((-15.0, 15.0), (-60.0, -22.0), (0.0, 14.0))
# Ends of the line through the right hippocampus from the amygdala to the tail, in MNI mm.
_AMYGDALA, _TAIL = (23.0, -3.0, -20.0), (30.0, -36.0, -5.0)
# How fast the push of growing ventricles on the tissue around them fades.
_PUSH_MM = 16.0


@dataclass(frozen=True)
class Template:
    """Maps on the working grid; fractions lie in 0 to 1.

    Attributes:
        origin_mm: MNI coordinates of the centre of voxel (0, 0, 0).
        brain: Fraction of a voxel that is inside the skull-stripped brain.
        grey: Fraction that is grey matter.
        white: Fraction that is white matter.
        ventricle: Fraction that is ventricular CSF.
        texture: T1w intensity that the tissue fractions do not explain; white matter is 1.
        vessels: Where contrast agent shows: midline sinuses.
        cortex: How much of the grey matter borders on the sulci: what ageing thins.
        medial_temporal: Weight of the hippocampus and amygdala zone.
        away: (3, X, Y, Z) direction away from the ventricles, fading with distance.
    """

    origin_mm: tuple[float, float, float]
    brain: Volume
    grey: Volume
    white: Volume
    ventricle: Volume
    texture: Volume
    vessels: Volume
    cortex: Volume
    medial_temporal: Volume
    away: Volume

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the working grid."""
        x, y, z = self.brain.shape
        return x, y, z


def average_matrix(num_in: int, in_mm: float, num_out: int, out_mm: float) -> Volume:
    """Return the (num_out, num_in) matrix that averages a line over larger or smaller voxels.

    Both lines share their centre. A row holds the share of each input voxel in one output voxel;
    what lies outside the input counts as 0, so that sums times voxel size are kept.
    """
    edges_in = (np.arange(num_in + 1) - num_in / 2) * in_mm
    edges_out = (np.arange(num_out + 1) - num_out / 2) * out_mm
    upper = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    lower = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    return np.asarray(np.maximum(upper - lower, 0) / out_mm, dtype=np.float32)


def along_axes(volume: Volume, matrices: tuple[Volume, Volume, Volume]) -> Volume:
    """Return `volume` multiplied along X, Y and Z by one (num_out, num_in) matrix each."""
    for matrix in matrices:
        # Few entries are not 0; and no thread pool, which costs more than it gives at this size.
        lines = sparse.csr_array(matrix) @ volume.reshape(len(volume), -1)
        # The new axis goes last: after three, the order is back.
        volume = np.moveaxis(lines.reshape(-1, *volume.shape[1:]), 0, -1)
    return np.ascontiguousarray(volume)


@cache
def load_template() -> Template:
    """Read nilearn's maps once a process and derive everything that subjects are made of."""
    images = (load_mni152_template(1), load_mni152_gm_template(1), load_mni152_wm_template(1))
    t1, grey, white = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    brain = ndimage.binary_fill_holes(t1 > 0.05)
    where = np.nonzero(brain)
    start = np.array([index.min() - _MARGIN_MM for index in where])
    extent = np.array([index.max() + _MARGIN_MM + 1 for index in where]) - start
    shape = np.ceil(extent / WORKING_MM).astype(int)
    matrices = (
        average_matrix(int(extent[0]), 1.0, int(shape[0]), WORKING_MM),
        average_matrix(int(extent[1]), 1.0, int(shape[1]), WORKING_MM),
        average_matrix(int(extent[2]), 1.0, int(shape[2]), WORKING_MM),
    )

    def cut(volume: Volume) -> Volume:
        """Return the brain's box of a 1 mm map on the working grid."""
        pad = [(max(-int(s), 0), max(int(s + e) - n, 0))
               for s, e, n in zip(start, extent, volume.shape, strict=True)]
        box = tuple(slice(max(int(s), 0), max(int(s), 0) + int(e))
                    for s, e in zip(start, extent, strict=True))
        return along_axes(np.pad(volume, pad)[box], matrices)

    centre_mm = images[0].affine[:3, 3] + start + (extent - 1) / 2
    origin_mm = centre_mm - (shape - 1) / 2 * WORKING_MM
    return _derive(cut(t1), cut(brain.astype(np.float32)), cut(grey * brain), cut(white * brain),
                   (float(origin_mm[0]), float(origin_mm[1]), float(origin_mm[2])))


def _derive(
    t1: Volume, brain: Volume, grey: Volume, white: Volume, origin_mm: tuple[float, float, float]
) -> Template:
    csf = np.clip(brain - grey - white, 0, None)
    texture = _texture(t1, grey, white, csf)
    places = tuple(
        (np.arange(n, dtype=np.float32) * np.float32(WORKING_MM) + np.float32(o)).reshape(
            tuple(-1 if k == axis else 1 for k in range(3)))
        for axis, (n, o) in enumerate(zip(brain.shape, origin_mm, strict=True))
    )
    region = _ventricle_region(csf, places)
    # The template is a mean of 152 heads; one head's ventricles have crisp walls.
    crisp = np.where(region > 0, np.clip(2.5 * (csf - 0.5) + 0.5, 0, 1) * brain, csf)
    kept = (brain - crisp) / np.maximum(brain - csf, 1e-3)
    csf, grey, white = crisp, grey * kept, white * kept
    texture = np.where(region > 0, 0, texture)
    ventricle = csf * region
    x, y, z = places
    sinus = (np.abs(x) < 4) & ((z > 30) | (y < -60))
    # The sulci, and the outside itself: cortex within about 4 mm of either can be thinned.
    outer = ndimage.gaussian_filter(csf - ventricle + (1 - brain), 1.5)
    return Template(
        origin_mm=origin_mm, brain=brain, grey=grey, white=white, ventricle=ventricle,
        texture=texture,
        vessels=csf * sinus,
        cortex=np.clip(4 * outer, 0, 1),
        medial_temporal=_medial_temporal(places),
        away=_away(ventricle),
    )


def _inside(places: tuple[Volume, ...], box: tuple[tuple[float, float], ...]) -> Volume:
    inside = np.ones((1, 1, 1), dtype=bool)
    for place, (low, high) in zip(places, box, strict=True):
        inside = inside & (place > low) & (place < high)
    return inside.astype(np.float32)


def _ventricle_region(csf: Volume, places: tuple[Volume, ...]) -> Volume:
    """Return 1 in and just around the CSF of the central box that hangs together with its core."""
    box = _inside(places, _VENTRICLE_BOX) * (1 - _inside(places, _CISTERN_BOX))
    labels, _ = ndimage.label((csf > 0.4) & (box > 0))
    # Both lateral ventricles pass through the middle of the box; sulci at its rim do not.
    core = _inside(places, ((-16.0, 16.0), (-30.0, 24.0), (10.0, 28.0)))
    found = np.unique(labels[(core > 0) & (csf > 0.8)])
    region = ndimage.binary_dilation(np.isin(labels, found[found > 0]))
    return np.asarray(region * box, dtype=np.float32)


def _texture(t1: Volume, grey: Volume, white: Volume, csf: Volume) -> Volume:
    """Return what is left of T1w after the best mixture of three tissue intensities."""
    tissues = np.stack([grey.ravel(), white.ravel(), csf.ravel()], axis=1)
    levels = np.linalg.lstsq(tissues, t1.ravel(), rcond=None)[0]
    rest = (t1.ravel() - tissues @ levels) / levels[1]
    return np.asarray(np.clip(rest, -0.2, 0.2).reshape(t1.shape), dtype=np.float32)


def _medial_temporal(places: tuple[Volume, ...]) -> Volume:
    x, y, z = places
    start, end = np.array(_AMYGDALA), np.array(_TAIL)
    line = end - start
    point = (np.abs(x) - start[0], y - start[1], z - start[2])
    along = np.clip(sum(p * a for p, a in zip(point, line, strict=True)) / (line @ line), 0, 1)
    squared = sum((p - along * a) ** 2 for p, a in zip(point, line, strict=True))
    return np.asarray(np.exp(-squared / (2 * 8.0**2)), dtype=np.float32)


def _away(ventricle: Volume) -> Volume:
    inside = ventricle > 0.5
    distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance = ndimage.gaussian_filter(distance * WORKING_MM, 1.0)
    fading = np.exp(-np.maximum(distance, 0) ** 2 / (2 * _PUSH_MM**2))
    return np.asarray(np.stack(np.gradient(distance, WORKING_MM)) * fading, dtype=np.float32)
