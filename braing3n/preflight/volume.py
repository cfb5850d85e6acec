"""One NIfTI file, read to its last voxel: what is wrong with it, what it is, how it looks."""

import hashlib
import io

import numpy as np
from PIL import Image

from braing3n.data.axes import axes, sizes_mm
from braing3n.data.findings import Finding, RefusedScanError
from braing3n.data.nifti.geometry import is_coarse
from braing3n.data.nifti.stored import read_through
from braing3n.data.reading import load_scan
from braing3n.data.scan import Scan
from braing3n.data.tree import Entry
from braing3n.identity.findings import header_findings, refused_identity
from braing3n.preflight.anatomy import anatomy_findings
from braing3n.preflight.look import Look, look_at
from braing3n.preflight.outcome import Facts, VolumeReport

_PICTURE_PIXELS = 96
_JPEG_QUALITY = 60
# An axial plane so far below the top of a brain, or of a head, shows the ventricles.
_BELOW_BRAIN_MM, _BELOW_HEAD_MM = 65.0, 80.0
_BINS = 32


def check_scan(entry: Entry, *, with_picture: bool) -> VolumeReport:
    """Read a scan as training would, and look at it besides."""
    try:
        scan = load_scan(entry.path)
    except RefusedScanError as error:
        return VolumeReport(entry, (error.finding, *refused_identity(entry.path)), None)
    look = look_at(scan)
    found = [*scan.remarks, *anatomy_findings(scan, look, entry.modality),
             *header_findings(entry.path, scan.header, scan.extensions)]
    return VolumeReport(entry, tuple(found), _facts(scan, look, with_picture))


def check_other_image(entry: Entry) -> tuple[Finding, ...]:
    """Read an image that is not trained on: whether it is whole, and whom its header names."""
    try:
        stored = read_through(entry.path)
    except RefusedScanError as error:
        return (error.finding, *refused_identity(entry.path))
    return (*stored.remarks, *header_findings(entry.path, stored.header, stored.extensions))


def _facts(scan: Scan, look: Look, with_picture: bool) -> Facts:
    low, high = look.levels.low, look.levels.high
    counts, _ = np.histogram(look.intensities, _BINS, range=(low, max(high, low + 1e-6)))
    return Facts(
        shape=scan.voxels.shape, voxel_mm=tuple(sizes_mm(scan.affine).tolist()),
        axes=axes(scan.affine), affine=scan.affine,
        voxels_digest=None if is_coarse(scan.voxels.shape) else _digest(scan, look),
        is_stripped=look.is_stripped, background_share=look.background_share,
        histogram=tuple(counts.tolist()),
        picture=_picture(look, low, high) if with_picture else None)


def _digest(scan: Scan, look: Look) -> str:
    """Name the voxels; every other one of the coarse copy tells two scans apart as well as all."""
    # The same brain stored in another order is another file: a test of loaders, not a copy.
    digest = hashlib.blake2b(repr((scan.voxels.shape, axes(scan.affine))).encode())
    digest.update(look.voxels[::2, ::2, ::2].tobytes())
    return digest.hexdigest()


def _picture(look: Look, low: float, high: float) -> bytes:
    """Draw an axial, a coronal and a sagittal plane of the head, side by side.

    Radiological convention: the patient's right is on the picture's left. The axial plane has the
    nose on top, the others the crown; the sagittal one looks to the left.
    """
    # The head with a margin, not the air around it.
    around = tuple(slice(max(0, part.start - (part.stop - part.start) // 12 - 1),
                         part.stop + (part.stop - part.start) // 12 + 1) for part in look.box)
    x, y, z = ((part.start + part.stop) // 2 - start.start
               for part, start in zip(look.box, around, strict=True))
    # The middle of a head with its neck is below the ventricles.
    below = (_BELOW_BRAIN_MM if look.is_stripped else _BELOW_HEAD_MM) / float(look.sizes[2])
    z = max(z, look.box[2].stop - around[2].start - round(below))
    # Darkest is the background, whatever its value.
    floor = min(low, float(np.percentile(look.voxels, 0.5)))
    grey = np.clip((look.voxels[around] - floor) / max(high - floor, 1e-6), 0, 1) * 255
    # Rows from the top, columns from the left.
    planes = ((grey[::-1, ::-1, z].T, look.sizes[[1, 0]]),
              (grey[::-1, y, ::-1].T, look.sizes[[2, 0]]),
              (grey[x, ::-1, ::-1].T, look.sizes[[2, 1]]))
    sheet = Image.new("L", (3 * _PICTURE_PIXELS, _PICTURE_PIXELS))
    longest = float((grey.shape * look.sizes).max())
    for number, (plane, sizes) in enumerate(planes):
        height, width = np.maximum(1, plane.shape * sizes / longest * _PICTURE_PIXELS).astype(int)
        tile = Image.fromarray(plane.astype(np.uint8)).resize((int(width), int(height)),
                                                               Image.Resampling.BICUBIC)
        sheet.paste(tile, (number * _PICTURE_PIXELS + (_PICTURE_PIXELS - int(width)) // 2,
                           (_PICTURE_PIXELS - int(height)) // 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return buffer.getvalue()
