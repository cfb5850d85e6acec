"""The texts of a NIfTI file that is refused: whom it names is told all the same."""

from pathlib import Path
from typing import Any

from braing3n.data.nifti.byte_streams import BrokenStreamError, ByteStream
from braing3n.data.nifti.extensions import UNREADABLE, Extension, other_bytes, read_extensions
from braing3n.data.nifti.stored import MAX_OFFSET, decode_header, read_block, scan_files


def read_texts(path: Path) -> tuple[Any, tuple[Extension, ...]] | None:
    """Return the header and the extensions of a file, also of one that is damaged further on.

    Returns:
        nibabel's header and what else is no voxel, as far as they can be read without the voxels;
        None where there is not even a header.
    """
    files = scan_files(path)
    try:
        if not files[0].is_file():  # opening a named pipe would wait for its writer
            return None
        with ByteStream(files[0]) as stream:
            header = decode_header(read_block(stream))
            if header is None:
                return None
            offset, size = float(header["vox_offset"]), int(header.sizeof_hdr)
            num_between = int(offset) - size if size <= offset <= MAX_OFFSET else 0
            block = stream.read(MAX_OFFSET if len(files) == 2 else num_between)
            found = read_extensions(block[4:], header.endianness)
            # Where the header may be wrong, bytes that are no extension are no reason for alarm.
            known = [one for one in found if one.code != UNREADABLE]
            return header, (*known, *other_bytes(stream))
    except (BrokenStreamError, OSError):
        return None
