"""A NIfTI file's parts, read whole and not mended: header, extensions, voxels as they are stored.

The file is read here, not by nibabel's loader, because loaders forgive too much: a wrong checksum
of the gzip stream is never noticed, and a header is mended where it should be refused. nibabel
only decodes the header's fields.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from braing3n.data.findings import Finding, finding, refusal
from braing3n.data.nifti.byte_streams import BrokenStreamError, ByteStream
from braing3n.data.nifti.extensions import Extension, other_bytes, read_extensions
from braing3n.files import digest_bytes

# A 512 x 512 x 512 volume is refused: reading and judging one would take gigabytes.
_MAX_VOXELS = 128_000_000
_MAX_BYTES = 2**29
# Voxels begin after the header and its extensions.
MAX_OFFSET = 2**26
_PAIRED = {".hdr": ".img", ".hdr.gz": ".img.gz"}
_HEADERS = {348: Nifti1Header, 540: Nifti2Header}
# The mark of NIfTI-2 ends so that a transfer as text shows, like PNG's; some writers leave zeros.
_LINE_ENDS = ([13, 10, 26, 10], [0, 0, 0, 0])
# How files begin that stand in for a scan, and what to do about them.
_POINTERS = {
    b"version https://git-lfs": ("a Git LFS pointer", "run `git lfs pull`"),
    b"/annex/objects": ("a git-annex pointer", "run `git annex get`"),
    b"../": ("a pointer to another file", "run `git annex get`, or fetch the file"),
    b".git/annex": ("a git-annex pointer", "run `git annex get`"),
    b"<": ("a web page, perhaps of a login", "download the scan again"),
}


@dataclass(frozen=True)
class Stored:
    """What is in a NIfTI file.

    Attributes:
        header: nibabel's Nifti1Header or Nifti2Header, as it is in the file.
        extensions: What lies between header and voxels, and other bytes that are neither.
        voxels: (X, Y, Z) in Fortran order, of the stored type and byte order; empty if they were
            only read through.
        digest: The sha256 of the file; of both files' digests for a .hdr/.img pair.
        remarks: What is odd about the file.
    """

    header: Any
    extensions: tuple[Extension, ...]
    voxels: NDArray[Any]
    digest: str
    remarks: tuple[Finding, ...]


def scan_files(path: Path) -> tuple[Path, ...]:
    """Return the files that make up the scan at `path`: itself, or a header and its image."""
    for header, image in _PAIRED.items():
        for ending in (header, image):
            if path.name.lower().endswith(ending):
                stem = path.name[: -len(ending)]
                return path.with_name(stem + header), path.with_name(stem + image)
    return (path,)


def read_nifti(path: Path) -> Stored:
    """Read a NIfTI file (.nii, .nii.gz, or either half of a .hdr/.img pair) to its last byte.

    Raises:
        RefusedScanError: A file is missing or damaged, or its header rules a volume out. Nothing
            is allocated before the header has been checked.
    """
    return _guarded(path, _take_volume)


def read_through(path: Path) -> Stored:
    """Read a NIfTI file of any kind to its last byte, and keep no voxel.

    Raises:
        RefusedScanError: A file is missing or damaged.
    """
    return _guarded(path, _skip_voxels)


# From a file, its header and its stream, which stands before the voxels, to what is kept of them.
_Taking = Callable[[Path, Any, ByteStream], NDArray[Any]]


def _guarded(path: Path, take: _Taking) -> Stored:
    files = scan_files(path)
    if any(file.exists() and not file.is_file() for file in files):
        # A folder, or a pipe, which would be waited for.
        raise refusal("file-unreadable", path, "no regular file", fix="name the scan's file")
    try:
        return _read(path, files, take)
    except BrokenStreamError as error:
        raise refusal(error.code, path, error.found) from error
    except OSError as error:
        raise _unreadable(path, files, error) from error


def _read(path: Path, files: tuple[Path, ...], take: _Taking) -> Stored:
    is_pair = len(files) == 2
    with ByteStream(files[0]) as stream:
        remarks = _check_start(files[0], stream)
        header = _parse_header(path, read_block(stream), is_pair)
        offset = int(header["vox_offset"])
        between = stream.read(MAX_OFFSET if is_pair else offset - header.sizeof_hdr)
        if not is_pair:
            voxels = take(path, header, stream)
        trailing, digest = stream.finish()
        others = other_bytes(stream)
    if is_pair:
        with ByteStream(files[1]) as stream:
            remarks += _check_start(files[1], stream)
            before = stream.read(offset)
            voxels = take(path, header, stream)
            trailing, image_digest = stream.finish()
            others += other_bytes(stream, before)
        digest = digest_bytes((digest + image_digest).encode())
    if trailing:
        remarks.append(finding("file-trailing", path, f"{trailing} more bytes"))
    # The first four bytes announce that there are extensions; some writers forget them.
    return Stored(header, (*read_extensions(between[4:], header.endianness), *others), voxels, digest,
                  tuple(remarks))


def _check_start(path: Path, stream: ByteStream) -> list[Finding]:
    """Refuse what stands in for a scan, and say where content and name disagree."""
    start, name = stream.start, path.name.lower()
    if not start:
        raise refusal("file-empty", path, "0 bytes")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, (what, fix) in _POINTERS.items():
        if text.startswith(magic):
            raise refusal("file-pointer", path, what, fix=fix)
    if stream.is_compressed and not name.endswith(".gz"):
        return [finding("gzip-unnamed", path, f"gzip under a name that ends in {path.suffix}",
                        fix=f"rename it so that it ends in {path.suffix}.gz")]
    if not stream.is_compressed and name.endswith(".gz"):
        is_nifti = int.from_bytes(start[:4], "little") in _HEADERS or (
            int.from_bytes(start[:4], "big") in _HEADERS)
        raise refusal("gzip-missing", path, "a plain NIfTI header" if is_nifti else "other bytes",
                      fix=None if is_nifti else "copy or compress it again")
    return []


def read_block(stream: ByteStream) -> bytes:
    """Return the bytes of a header of NIfTI-1 or, where they begin so, of NIfTI-2, which is longer."""
    block = stream.read(348)
    is_second = 540 in (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    return block + (stream.read(192) if is_second else b"")


def decode_header(block: bytes) -> Any | None:
    """Return nibabel's header of either byte order, neither checked nor mended, or None."""
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    size = next((size for size in _HEADERS if size in sizes and len(block) >= size), None)
    return None if size is None else _HEADERS[size](block[:size], check=False)


def _parse_header(path: Path, block: bytes, is_pair: bool) -> Any:
    """Decode a NIfTI-1 or NIfTI-2 header of either byte order, without mending it."""
    header = decode_header(block)
    if header is None:
        raise refusal("nifti-header", path, f"{len(block)} bytes that begin otherwise"
                      if len(block) < 348 else "a first number that is neither 348 nor 540")
    size = int(header.sizeof_hdr)
    if int(header["sizeof_hdr"]) != size:
        raise refusal("nifti-header", path, "numbers in two byte orders")
    magic = bytes(header["magic"].item())[:3]
    if magic in (b"ni1", b"ni2") and not is_pair:
        raise refusal("half-missing", path, "the header of a pair under the name of a single file",
                      fix="name the files .hdr and .img, or convert them to one .nii.gz")
    if size == 348 and is_pair and not magic.strip(b"\0"):
        raise refusal("format-analyze", path, "a header without NIfTI's mark")
    if magic not in ((b"ni1", b"ni2") if is_pair else (b"n+1", b"n+2")):
        raise refusal("nifti-header", path, "a header without NIfTI's mark")
    if size == 540 and header["eol_check"].tolist() not in _LINE_ENDS:
        raise refusal("nifti-header", path, "line ends that were changed, as by a transfer as text")
    first = 0 if is_pair else size
    if not first <= float(header["vox_offset"]) <= MAX_OFFSET:
        raise refusal("nifti-header", path, "voxels that begin within the header, or far behind it")
    return header


def _check_header(path: Path, header: Any) -> int:
    """Refuse what the header alone rules out; return the number of bytes of the voxels."""
    shape = shape_of(header)
    if len(shape) != 3 or min(shape) < 2:
        raise refusal("shape-not-3d", path, f"{_times(shape) or 'no dimension'}")
    try:
        kind = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError):
        kind = np.dtype("V")
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise refusal("type-not-intensity", path, f"data type code {int(header['datatype'])}")
    size = int(math.prod(shape) * kind.itemsize)
    if math.prod(shape) > _MAX_VOXELS or size > _MAX_BYTES:
        raise refusal("volume-too-large", path, f"{_times(shape)} voxels, {size / 2**20:.0f} MiB")
    return size


def shape_of(header: Any) -> tuple[int, ...]:
    """Return the volume's shape, without the ones that NIfTI may carry beyond the third."""
    shape = [int(size) for size in header["dim"][1 : 1 + max(0, int(header["dim"][0]))]]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _take_volume(path: Path, header: Any, stream: ByteStream) -> NDArray[Any]:
    size = _check_header(path, header)
    voxels = bytearray(size)
    filled = stream.read_into(voxels)
    if filled < size:
        raise refusal("file-short", path, f"{filled} of {size} bytes of voxels")
    return np.frombuffer(voxels, header.get_data_dtype()).reshape(shape_of(header), order="F")


def _skip_voxels(path: Path, header: Any, stream: ByteStream) -> NDArray[Any]:
    size = math.prod(max(0, side) for side in shape_of(header)) * int(header["bitpix"]) // 8
    skipped = stream.skip(size)
    if skipped < size:
        raise refusal("file-short", path, f"{skipped} of {size} bytes of voxels")
    return np.empty(0)


def _unreadable(path: Path, files: tuple[Path, ...], error: OSError) -> Exception:
    missing = next((file for file in files if not file.exists()), None)
    if missing is not None and missing.is_symlink():
        return refusal("link-dangling", path, f"no {missing.readlink()}")
    if missing is not None and len(files) == 2 and any(file.exists() for file in files):
        return refusal("half-missing", path, f"no {missing.name}")
    if missing is not None:
        return refusal("file-unreadable", path, "no such file",
                       fix="correct the path, or add the file")
    return refusal("file-unreadable", path, error.strerror or "an error of the system")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
