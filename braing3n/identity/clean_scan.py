"""A copy of a NIfTI file without texts and extensions; its voxels stay as they are, bit for bit."""

import gzip
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from braing3n.data.findings import refusal
from braing3n.data.nifti.byte_streams import BrokenStreamError, ByteStream
from braing3n.data.nifti.extensions import TEXT_FIELDS

_CHUNK = 1 << 20
# A small compressed file may claim to be larger than any disk.
_MAX_BYTES = 1 << 34
_MAX_OFFSET = 1 << 26
_HEADERS = {348: Nifti1Header, 540: Nifti2Header}
_MAGIC = {(348, 1): b"n+1", (540, 1): b"n+2", (348, 2): b"ni1", (540, 2): b"ni2"}


def copy_scan(sources: Sequence[Path], targets: Sequence[Path]) -> list[str]:
    """Copy a NIfTI file, or a .hdr/.img pair, without what is not geometry or voxels.

    The copy is compressed if its name ends in .gz, without the time and the name that gzip keeps.

    Args:
        sources: The file, or header and image; see `braing3n.data.nifti.stored.scan_files`.
        targets: Where to, as many.

    Returns:
        What was removed: texts of the header by name, extensions, bytes after the voxels.

    Raises:
        RefusedScanError: The file is damaged, cut short or no NIfTI file.
        OSError: It cannot be read, or the copy not be written.
    """
    try:
        return _copy(sources, targets)
    except BrokenStreamError as error:
        raise refusal(error.code, sources[0], error.found) from error


def _copy(sources: Sequence[Path], targets: Sequence[Path]) -> list[str]:
    source = sources[0]
    with ByteStream(sources[0]) as stream:
        header = _read_header(source, stream, len(sources))
        removed = _blank(header)
        size, offset = _num_bytes(source, header), int(header["vox_offset"])
        if len(sources) == 2:
            extra = stream.read(_MAX_OFFSET)
        else:
            extra = stream.read(offset - header.sizeof_hdr)
            header["vox_offset"] = header.sizeof_hdr + 4
        removed += ["extensions"] if any(extra[4:]) else []
        with _writing(targets[0]) as out:
            out.write(header.binaryblock + bytes(4))
            if len(sources) == 1:
                _copy_voxels(source, stream, out, size)
        trailing, _ = stream.finish()
    if len(sources) == 2:
        with ByteStream(sources[1]) as stream, _writing(targets[1]) as out:
            removed += ["bytes before the voxels"] if any(stream.read(offset)) else []
            out.write(bytes(offset))
            _copy_voxels(source, stream, out, size)
            trailing, _ = stream.finish()
    return removed + (["bytes after the voxels"] if trailing else [])


def _read_header(path: Path, stream: ByteStream, num_files: int) -> Any:
    """Return nibabel's header, decoded and not mended."""
    block = stream.read(348)
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    if 540 in sizes:
        block += stream.read(192)
    size = next((size for size in _HEADERS if size in sizes and len(block) == size), None)
    if size is None:
        raise refusal("nifti-header", path, "bytes that begin otherwise")
    header = _HEADERS[size](block, check=False)
    first = size if num_files == 1 else 0
    if header["magic"].item()[:3] != _MAGIC[size, num_files] or not (
            first <= float(header["vox_offset"]) <= _MAX_OFFSET):
        raise refusal("nifti-header", path, "no mark of NIfTI, or voxels at an impossible place")
    return header


def _blank(header: Any) -> list[str]:
    """Empty the header's texts, and return the names of those that said something."""
    fields = [name for name in TEXT_FIELDS if name in header]
    told = [name for name in fields if header[name].item().strip(b"\0 ")]
    for name in fields:
        header[name] = b""
    return told


def _num_bytes(path: Path, header: Any) -> int:
    """Return how many bytes the voxels have, of any type and number of dimensions."""
    num_dims = int(header["dim"][0])
    shape = [int(side) for side in header["dim"][1 : 1 + max(0, num_dims)]]
    try:
        num_bits = int(np.dtype(header.get_data_dtype()).itemsize) * 8
    except (HeaderDataError, KeyError):
        num_bits = int(header["bitpix"])
    if not 1 <= num_dims <= 7 or min(shape) < 1 or num_bits < 1:
        raise refusal("nifti-header", path, "no dimension, or no type of number")
    size = math.ceil(math.prod(shape) * num_bits / 8)
    if size > _MAX_BYTES:
        raise refusal("volume-too-large", path, f"{size} bytes", expected=f"at most {_MAX_BYTES}")
    return size


def _copy_voxels(path: Path, stream: ByteStream, out: IO[bytes], size: int) -> None:
    left = size
    while left:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            raise refusal("file-short", path, f"{size - left} of {size} bytes of voxels")
        out.write(chunk)
        left -= len(chunk)


@contextmanager
def _writing(target: Path) -> Iterator[IO[bytes]]:
    """Open the copy, compressed or not, as its name says."""
    with target.open("xb") as raw:
        if target.name.lower().endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as out:
                yield out  # type: ignore[misc]
        else:
            yield raw
