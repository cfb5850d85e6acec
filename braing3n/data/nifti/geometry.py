"""Where a scan's voxels are in millimetres, and what about that cannot be right."""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.quaternions import quat2mat
from numpy.typing import NDArray

from braing3n.data.axes import Affine, axes, sizes_mm
from braing3n.data.findings import Finding, finding, refusal

# The header's `xyzt_units & 7`: metre, millimetre, micrometre; 0 is unknown, read as millimetres.
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_UNIT_NAMES = {1000.0: "metres", 1.0: "millimetres", 0.001: "micrometres"}
_POSSIBLE_MM = (0.1, 20.0)
_USUAL_MM = (0.3, 10.0)
# Axes are at right angles if their cosine is below this; ITK refuses others too.
_MAX_COSINE = 1e-3
# Voxel sizes agree within a hundredth: converters round them.
_SIZE_TOLERANCE = 0.01
_MIN_SLICES, _MIN_THICK_SLICES, _MIN_COVER_MM = 16, 8, 100.0
_COARSE_BELOW = 40
_THICK_RATIO = 3.0
_OBLIQUE_DEGREES = 2.0
_PLACE_MM = 5.0
# Rounding makes a quaternion of float32 longer than 1 by less than this.
_MAX_QUATERNION = 1.001
# A scanner's bore is about a metre long; the head lies near its middle, or near a template's.
_FAR_MM = 1000.0
_USUAL_AXES = {"RAS", "LAS", "LPS"}


def find_affine(path: Path, header: Any, shape: tuple[int, ...]) -> tuple[Affine, list[Finding]]:
    """Return the (4, 4) affine in millimetres, and what is odd about the geometry.

    The sform is taken, as most programs do, or else the qform, or else sizes alone. An sform that
    maps to another scan or a template (code 2 or more) and is no rigid placement gives way to a
    sound qform.

    Raises:
        RefusedScanError: There is no sound affine, or the scan is a slab.
    """
    sform, qform = _sform(header), _qform(header)
    remarks = []
    if sform is not None and qform is not None:
        problem = _problem(path, sform, header)
        if problem is not None and int(header["sform_code"]) > 1 and (
                _problem(path, qform, header) is None):
            remarks.append(finding("sform-ignored", path, problem.found))
            sform = None
        elif problem is None and _problem(path, qform, header) is None:
            remarks += _compare(path, header, shape, sform, qform)
        elif problem is None:
            remarks.append(finding("qform-ignored", path, "no sound placement"))
    affine = sform if sform is not None else qform
    if affine is None:
        affine = _sizes_alone(header, shape)
        remarks.append(finding("orientation-missing", path, "both codes are 0"))
    refused = _problem(path, affine, header)
    if refused is not None:
        raise refused
    affine, unit_remarks = _to_mm(path, header, affine)
    return affine, remarks + unit_remarks + _oddities(path, header, shape, affine)


def _sform(header: Any) -> Affine | None:
    if int(header["sform_code"]) <= 0:
        return None
    return np.array(header.get_sform(), dtype=np.float64)


def _qform(header: Any) -> Affine | None:
    """Return the qform; of NaN where there is no rotation to be had.

    Handedness (`pixdim[0]`) of 0 counts as 1, and a quaternion that rounding made a little longer
    than 1 is cut to 1, both as in nifti1_io.c (Cox and Reynolds 2003, https://nifti.nimh.nih.gov).
    """
    if int(header["qform_code"]) <= 0:
        return None
    sizes = np.array(header["pixdim"][1:4], dtype=np.float64)
    vector = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    length = float(np.linalg.norm(vector))
    # `not <=` is so that NaN is refused as well.
    if not length <= _MAX_QUATERNION or not (sizes > 0).all() or not np.isfinite(sizes).all():
        return np.full((4, 4), np.nan)
    vector /= max(1.0, length)
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([np.sqrt(max(0.0, 1 - float(vector @ vector))), *vector]) * sizes
    affine[:3, 2] *= -1 if float(header["pixdim"][0]) < 0 else 1
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine


def _sizes_alone(header: Any, shape: tuple[int, ...]) -> Affine:
    """Return an affine of the header's voxel sizes, centred; which side is left is a guess."""
    sizes = np.array(header["pixdim"][1:4], dtype=np.float64)
    affine = np.diag([-sizes[0], sizes[1], sizes[2], 1.0])  # as nibabel and FSL take it
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _problem(path: Path, affine: Affine, header: Any) -> Any:
    """Return why an affine cannot be used, or None."""
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = sizes_mm(affine)
    if not np.isfinite(affine).all() or not np.isfinite(sizes).all():
        return refusal("affine-unusable", path, "numbers that are none")
    if sizes.min() <= 0:
        return refusal("voxel-size-impossible", path, _by(sizes))
    edges = affine[:3, :3] / sizes
    # The determinant of the edges is ±1 for right angles, 0 for a flat voxel.
    if abs(np.linalg.det(edges)) < 1e-3:
        return refusal("affine-unusable", path, "axes that lie in one plane")
    cosine = float(np.abs(edges.T @ edges - np.eye(3)).max())
    if cosine > _MAX_COSINE:
        return refusal("affine-sheared", path,
                       f"axes {np.degrees(np.arcsin(min(1.0, cosine))):.1f} degrees from a right angle")
    pixdim = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64))
    if not np.allclose(sizes, pixdim, rtol=_SIZE_TOLERANCE):
        return refusal("voxel-size-contradicts", path,
                       f"{_by(sizes)} in the sform, {_by(pixdim)} in pixdim")
    return None


def _compare(path: Path, header: Any, shape: tuple[int, ...], sform: Affine,
             qform: Affine) -> list[Finding]:
    """Tell whether two sound placements agree."""
    first, second = axes(sform), axes(qform)
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    if mirrored or {"L", "R"} & set(first) != {"L", "R"} & set(second):
        # Broken qforms beside sound sforms are common, in published templates as well.
        return [finding("orientation-contradicts", path,
                        f"{first} in the sform, {second} in the qform")]
    if int(header["sform_code"]) != int(header["qform_code"]):
        return []  # two spaces on purpose, such as scanner and template
    centre = np.append((np.array(shape) - 1) / 2, 1.0)
    apart = float(np.linalg.norm((sform @ centre - qform @ centre)[:3]))
    rotation = (sform[:3, :3] / sizes_mm(sform)).T @ (qform[:3, :3] / sizes_mm(qform))
    angle = float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
    if apart <= _PLACE_MM and angle <= _OBLIQUE_DEGREES:
        return []
    return [finding("orientation-differs", path, f"{apart:.1f} mm and {angle:.1f} degrees apart")]


def _to_mm(path: Path, header: Any, affine: Affine) -> tuple[Affine, list[Finding]]:
    """Scale the affine to millimetres; where the declared unit cannot be, by one that can."""
    declared = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7)
    sizes = sizes_mm(affine)
    factor, remarks = declared or 1.0, list[Finding]()
    if not _lie_within(sizes * factor, _POSSIBLE_MM):
        fitting = [other for other in _UNIT_NAMES if _lie_within(sizes * other, _USUAL_MM)]
        if not fitting:
            raise refusal("voxel-size-impossible", path, _by(sizes * factor))
        factor = fitting[0]
        remarks.append(finding("units", path, f"{_by(sizes, '')} in what the header calls "
                               f"{_UNIT_NAMES.get(declared or 0.0, 'an unknown unit')}; read as "
                               f"{_UNIT_NAMES[factor]}"))
    elif declared is None or factor != 1.0:
        remarks.append(finding("units", path, f"{_UNIT_NAMES[factor]}; read as such"
                               if declared else "a unit that NIfTI does not know; read as "
                               "millimetres"))
    scaled = affine.copy()
    scaled[:3] *= factor
    if not _lie_within(sizes * factor, _USUAL_MM):
        remarks.append(finding("voxel-size", path, _by(sizes * factor)))
    return scaled, remarks


def _oddities(path: Path, header: Any, shape: tuple[int, ...], affine: Affine) -> list[Finding]:
    """Return what is unusual about a sound geometry.

    Raises:
        RefusedScanError: The scan is a slab or a localizer.
    """
    sizes, remarks = sizes_mm(affine), list[Finding]()
    middle = affine @ np.append((np.array(shape) - 1) / 2, 1.0)
    if np.abs(middle[:3]).max() > _FAR_MM:
        remarks.append(finding("place-far", path, f"{np.abs(middle[:3]).max() / 1000:.4g} m"))
    thin = shape.index(min(shape))
    cover = float(shape[thin] * sizes[thin])
    if shape[thin] < _MIN_THICK_SLICES or (shape[thin] < _MIN_SLICES and cover < _MIN_COVER_MM
                                           and max(shape) >= _COARSE_BELOW):
        raise refusal("slices-few", path, f"{shape[thin]} slices over {cover:.0f} mm")
    if len(header["dim"]) > 4 and int(header["dim"][0]) > 3:
        remarks.append(finding("shape-squeezed", path, " x ".join(
            str(int(size)) for size in header["dim"][1 : 1 + int(header["dim"][0])])))
    if is_coarse(shape):
        remarks.append(finding("volume-coarse", path, f"{' x '.join(map(str, shape))} voxels"))
    if sizes.max() > _THICK_RATIO * sizes.min():
        remarks.append(finding("slices-thick", path, _by(sizes)))
    if axes(affine) not in _USUAL_AXES:
        remarks.append(finding("orientation-stored", path, axes(affine)))
    # The largest cosine of each axis is that with its own direction of the scanner.
    tilt = np.degrees(np.arccos(np.clip(np.abs(affine[:3, :3] / sizes).max(axis=0), 0, 1))).max()
    if tilt > _OBLIQUE_DEGREES:
        remarks.append(finding("oblique", path, f"{tilt:.1f} degrees"))
    return remarks


def is_coarse(shape: tuple[int, ...]) -> bool:
    """Tell whether a volume has too few voxels to judge the anatomy by."""
    return max(shape) < _COARSE_BELOW


def _lie_within(sizes: NDArray[np.float64], limits: tuple[float, float]) -> bool:
    # A thousandth of slack: headers hold float32.
    return bool(sizes.min() >= limits[0] * 0.999 and sizes.max() <= limits[1] * 1.001)


def _by(sizes: NDArray[np.float64], unit: str = " mm") -> str:
    return " x ".join(f"{size:.4g}" for size in sizes) + unit
