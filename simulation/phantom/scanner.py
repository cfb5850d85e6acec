"""A site's scanner: from a brain's tissues to the voxels of a stored file."""

from types import MappingProxyType

import nibabel as nib
import numpy as np
import numpy.typing as npt

from simulation.phantom.anatomy import Anatomy
from simulation.phantom.people import Contrast, SiteProfile
from simulation.phantom.template import WORKING_MM, Volume, along_axes, average_matrix

# Intensity of CSF, grey matter, vessels with contrast agent, and the template's texture, in
# units of white matter. T1w is as in the template; the rest is the textbook order of tissues.
_LEVELS = MappingProxyType({
    "T1w": (0.28, 0.72, 0.0, 1.0),
    "T2w": (2.6, 1.45, 0.0, -1.0),
    "FLAIR": (0.25, 1.3, 0.0, -0.6),
    "T1c": (0.28, 0.72, 1.2, 1.0),
})
# A voxel is brain where at least half of it is; brain never stores as 0, which is background.
_BRAIN_SHARE = 0.5
_DARKEST = 0.02
# Highest code of the integer types that are stored with a slope: 8 bits, and a 12-bit converter.
_TOP_CODES = MappingProxyType({"uint8": 255, "uint16": 4095})


def scan(
    anatomy: Anatomy, contrast: Contrast, site: SiteProfile, rng: np.random.Generator
) -> nib.Nifti1Image:
    """Return one skull-stripped volume as the site stores it: background is exactly 0."""
    shape = tuple(
        int(np.ceil(n * WORKING_MM / mm))
        for n, mm in zip(anatomy.grey.shape, site.voxel_mm, strict=True)
    )
    grids = zip(anatomy.grey.shape, shape, site.voxel_mm, strict=True)
    x, y, z = (average_matrix(n_in, WORKING_MM, n, mm) for n_in, n, mm in grids)
    signal = along_axes(_signal(anatomy, contrast), (x, y, z)) * _bias(shape, site)
    noisy = np.hypot(
        signal + rng.normal(0, site.noise, shape), rng.normal(0, site.noise, shape)
    )  # Rician, as the magnitude of a complex signal is
    brain = along_axes(anatomy.grey + anatomy.white + anatomy.csf, (x, y, z)) >= _BRAIN_SHARE
    volume = np.where(brain, np.maximum(noisy, _DARKEST), 0) * site.gain
    affine = np.diag([*site.voxel_mm, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * mm for n, mm in zip(shape, site.voxel_mm, strict=True)]
    return _store(volume.astype(np.float32), affine, site)


def _signal(anatomy: Anatomy, contrast: Contrast) -> Volume:
    csf, grey, vessels, texture = _LEVELS[contrast]
    signal = (csf * anatomy.csf + grey * anatomy.grey + anatomy.white + texture * anatomy.texture)
    if vessels:
        # The choroid plexus and the veins under the ventricles' walls light up at their rim.
        rim = anatomy.ventricle * (1 - anatomy.ventricle)
        signal = signal + vessels * (anatomy.vessels + 2 * rim)
    return np.clip(signal, 0, None)


def _bias(shape: tuple[int, ...], site: SiteProfile) -> npt.NDArray[np.float64]:
    """Return the receiver coil's shading, about 1."""
    log = np.zeros((1, 1, 1))
    for axis, (linear, square) in enumerate(site.bias):
        at = np.linspace(-1, 1, shape[axis])
        line = linear * at + square * (at**2 - 1 / 3)
        log = log + line.reshape([-1 if k == axis else 1 for k in range(3)])
    return np.exp(log)


def _store(volume: Volume, affine: npt.NDArray[np.float64], site: SiteProfile) -> nib.Nifti1Image:
    """Return a right-anterior-superior volume in the site's orientation and type."""
    slope = 1.0
    if site.dtype in _TOP_CODES:
        slope = float(volume.max()) / _TOP_CODES[site.dtype]
    codes = volume if site.dtype == "float32" else np.round(volume / slope)
    if site.dtype != "float32":
        codes = np.where(volume > 0, np.maximum(codes, 1), 0)
    image = nib.Nifti1Image(codes.astype(site.dtype), affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(site.orientation)
    )
    image = image.as_reoriented(turn)
    # Scanner coordinates; set after turning, which makes a new header.
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, 0.0)
    return image
