"""One file on disk to one checked volume, or a ScanError that says why not.

The file is read here, not by nibabel's loader, because loaders forgive too much: a wrong checksum
of the gzip stream is never noticed, and a header is mended where it should be refused. nibabel
only decodes the header's fields.
"""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from braing3n.errors import ScanError
from braing3n.files import digest_bytes, digest_file

# Part of the cache's key: raise it when a scan that was accepted would now be refused or read
# differently, or the reverse.
VERSION = 1

_MAX_VOXELS = 512**3
_MIN_SLICES = 16
_MAX_OFFSET = 2**30  # voxels begin after the header and its extensions
_VOXEL_MM = (0.1, 20.0)
_GZIP_MAGIC = b"\x1f\x8b"
_PAIRED = {".hdr": ".img", ".hdr.gz": ".img.gz"}
_HEADERS = {348: Nifti1Header, 540: Nifti2Header}
# The header's `xyzt_units & 7`: metre, millimetre, micrometre; 0 is unknown, read as millimetres.
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
# How files begin that stand in for a scan, and what to do about them.
_POINTERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the scan: run `git lfs pull`",
    b"/annex/objects": "a git-annex pointer, not the scan: run `git annex get`",
    b"<": "a web page, perhaps of a login, not the scan: download it again",
}


@dataclass(frozen=True)
class Scan:
    """A volume as it is stored: no reorientation, no resampling.

    Attributes:
        path: Where it was read from.
        voxels: (X, Y, Z) float32, after the header's slope and intercept.
        affine: (4, 4) float64, from voxel indices to millimetres (right, anterior, superior).
        digest: The sha256 of the file; of both files' digests for a .hdr/.img pair.
    """

    path: Path
    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    digest: str


def scan_files(path: Path) -> tuple[Path, ...]:
    """Return the files that make up the scan at `path`: itself, or a header and its image."""
    for header, image in _PAIRED.items():
        for ending in (header, image):
            if path.name.lower().endswith(ending):
                stem = path.name[: -len(ending)]
                return path.with_name(stem + header), path.with_name(stem + image)
    return (path,)


@np.errstate(over="ignore", invalid="ignore")  # infinities are looked for where they matter
def load_scan(path: Path) -> Scan:
    """Read a NIfTI file (.nii, .nii.gz, or either half of a .hdr/.img pair) to its last byte.

    Raises:
        ScanError: The file cannot be read whole, or what it holds is not one 3-D volume of
            finite, varying, real numbers with a usable geometry.
    """
    files = scan_files(path)
    try:
        header, content = _read(path, files)
        digests = [digest_file(file) for file in files]
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, files, error) from error
    voxels = _scale(path, header, content)
    _check_voxels(path, voxels)
    digest = digests[0] if len(digests) == 1 else digest_bytes("".join(digests).encode())
    return Scan(path, voxels, _affine(path, header), digest)


def _read(path: Path, files: tuple[Path, ...]) -> tuple[Any, bytes]:
    """Return the checked header and the bytes of the voxels; read every file to its end."""
    with files[0].open("rb") as raw:
        stream = _decompressed(path, raw)
        header = _parse_header(path, stream.read(540), paired=len(files) == 2)
        count = _check_header(path, header)
        offset = int(header["vox_offset"])
        if len(files) == 1:
            stream.seek(offset)
            content = stream.read(count)
        _drain(stream)
    if len(files) == 2:
        with files[1].open("rb") as raw:
            stream = _decompressed(path, raw)
            stream.seek(offset)
            content = stream.read(count)
            _drain(stream)
    if len(content) < count:
        raise ScanError(f"{path} is cut short", expected=f"{count} bytes of voxels",
                        found=f"{len(content)} bytes", fix="copy or convert the scan again")
    return header, content


def _decompressed(path: Path, raw: BinaryIO) -> BinaryIO:
    """Return the stream behind gzip, which is told by its first bytes, not by the file's name."""
    start = raw.read(32)
    raw.seek(0)
    if start.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[return-value]
    hint = next((hint for magic, hint in _POINTERS.items() if start.startswith(magic)), "")
    if hint or not start:
        raise ScanError(f"{path} holds no scan", expected="a NIfTI file",
                        found=hint.partition(":")[0] or "an empty file",
                        fix=hint.partition(": ")[2] or "copy or convert the scan again")
    if path.name.lower().endswith(".gz"):
        raise ScanError(f"{path} is not compressed", expected="gzip, as the name ends in .gz",
                        found="other bytes",
                        fix="if it is a plain NIfTI file, rename it to end in .nii; else copy it "
                            "again")
    return raw


def _drain(stream: BinaryIO) -> None:
    """Read to the end: only then has gzip compared the checksum."""
    while stream.read(1 << 20):
        pass


def _parse_header(path: Path, block: bytes, *, paired: bool) -> Any:
    """Decode a NIfTI-1 or NIfTI-2 header of either byte order, without mending it."""
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    size = next((size for size in _HEADERS if size in sizes and len(block) >= size), None)
    if size is not None:
        header = _HEADERS[size](block[:size], check=False)
        magic = bytes(header["magic"].item())[:3]
        known = (b"ni1", b"ni2") if paired else (b"n+1", b"n+2")
        first = 0 if paired else size
        if magic in known and first <= float(header["vox_offset"]) <= _MAX_OFFSET:
            return header
    raise ScanError(f"{path} is not a NIfTI file", fix="convert the scan again to NIfTI",
                    expected="a NIfTI-1 or NIfTI-2 header" + (" of a pair" if paired else ""),
                    found="a damaged header, or another format")


def _check_header(path: Path, header: Any) -> int:
    """Refuse what the header alone rules out; return the number of bytes of the voxels."""
    shape = _shape(header)
    if len(shape) != 3:
        raise ScanError(f"{path} is not one 3-D volume", expected="three dimensions",
                        found=f"{len(shape)}: {_times(shape)}",
                        fix="give one volume a file; a time or diffusion series is not used")
    if min(shape) < _MIN_SLICES:
        raise ScanError(f"{path} has too few slices",
                        expected=f"at least {_MIN_SLICES} in each direction", found=_times(shape),
                        fix="leave out localizers and single slices")
    if math.prod(shape) > _MAX_VOXELS:
        raise ScanError(f"{path} is too large", expected=f"at most {_MAX_VOXELS} voxels",
                        found=_times(shape), fix="resample the scan, or mend its header")
    try:
        kind = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError):
        kind = np.dtype("V")
    if kind.kind not in "iuf":
        raise ScanError(f"{path} does not hold intensities", expected="whole or real numbers",
                        found=f"data type code {int(header['datatype'])}, such as colours or "
                              "complex numbers", fix="export the magnitude image")
    return int(math.prod(shape) * kind.itemsize)


def _shape(header: Any) -> tuple[int, ...]:
    """Return the volume's shape, without the ones that NIfTI may carry beyond the third."""
    shape = [int(size) for size in header["dim"][1 : 1 + max(0, int(header["dim"][0]))]]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _scale(path: Path, header: Any, content: bytes) -> NDArray[np.float32]:
    """Return (X, Y, Z) intensities: stored numbers times slope plus intercept."""
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise ScanError(f"{path} has no usable scale", expected="a finite scl_inter",
                        found=str(header["scl_inter"]), fix="convert the scan again") from error
    stored = np.frombuffer(content, header.get_data_dtype()).reshape(_shape(header), order="F")
    voxels = np.ascontiguousarray(stored, dtype=np.float32)
    if slope is not None:
        voxels = voxels * np.float32(slope) + np.float32(intercept)
    return voxels


def _check_voxels(path: Path, voxels: NDArray[np.float32]) -> None:
    bad = voxels.size - int(np.isfinite(voxels).sum())
    if bad:
        raise ScanError(f"{path} has voxels that are not numbers", expected="finite intensities",
                        found=f"{bad} NaN or infinite voxels",
                        fix="find the step of the pipeline that divides by zero")
    if voxels.min() == voxels.max():
        raise ScanError(f"{path} is constant", expected="a picture",
                        found=f"{voxels.flat[0]:g} in every voxel", fix="export the scan again")


def _affine(path: Path, header: Any) -> NDArray[np.float64]:
    """Return the (4, 4) affine in millimetres."""
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
    except HeaderDataError:  # a quaternion longer than 1, or a negative voxel size
        affine = np.full((4, 4), np.nan)
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    smallest, largest = _VOXEL_MM
    # The determinant over the product of the edges is 1 for a right angle, 0 for a flat voxel.
    if not (np.isfinite(affine).all() and sizes.min() > 0
            and abs(np.linalg.det(affine[:3, :3])) > 1e-3 * sizes.prod()):
        raise ScanError(f"{path} has no usable geometry", expected="an invertible affine",
                        found="one that is singular or not a number",
                        fix="convert the scan again; its sform, qform or pixdim is damaged")
    if sizes.min() < smallest or sizes.max() > largest:
        raise ScanError(f"{path} has voxels of an impossible size",
                        expected=f"{smallest:g} to {largest:g} mm",
                        found=" x ".join(f"{size:.4g}" for size in sizes) + " mm",
                        fix="correct xyzt_units or the affine in its header")
    return affine


def _unreadable(path: Path, files: tuple[Path, ...], error: Exception) -> ScanError:
    missing = next((file for file in files if not file.exists()), None)
    if missing is not None and missing.is_symlink():
        return ScanError(f"{path} is a link to a file that is not there", expected="a scan",
                         found=f"no {missing.readlink()}", fix="fetch it, as by `git annex get`")
    if missing is not None:
        return ScanError(f"{path} is not there", expected="a readable file",
                         found=f"no {missing}", fix="correct the path, or add the file")
    return ScanError(f"{path} cannot be read to its end", expected="a whole, undamaged file",
                     found=str(error) or type(error).__name__, fix="copy or convert it again")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
