"""What a NIfTI file holds besides numbers: texts in its header, extensions, and stray bytes.

Extensions are blocks of any content between header and voxels.

See https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields/nifti1fields_pages/extension.html.
"""

import struct
from typing import Literal, NamedTuple

from braing3n.data.nifti.byte_streams import ByteStream

TEXT_FIELDS = ("descrip", "aux_file", "db_name", "intent_name", "data_type", "unused_str")
"""The header's fields in which anybody may write anything; NIfTI-2 lacks `db_name` and `data_type`,
NIfTI-1 `unused_str`."""

UNREADABLE, BEFORE_VOXELS, AFTER_VOXELS, GZIP_NAME, GZIP_COMMENT = -1, -2, -3, -4, -5
OTHER_PLACES = {
    UNREADABLE: "bytes that are no extension",  # though they stand where extensions do
    BEFORE_VOXELS: "bytes before the voxels of the .img",
    AFTER_VOXELS: "bytes after the voxels",
    GZIP_NAME: "the original name that gzip keeps",
    GZIP_COMMENT: "the comment that gzip keeps",
}
"""Codes of our own for bytes that are no extension, and where they stand."""

_MAX_EXTENSIONS = 1000


class Extension(NamedTuple):
    """One block of bytes that are neither header nor voxels.

    Attributes:
        code: What it is said to be, such as 2 for DICOM or 6 for a comment; or of `OTHER_PLACES`.
        content: Its bytes, padding included.
    """

    code: int
    content: bytes


def read_extensions(block: bytes, byte_order: Literal["<", ">"]) -> tuple[Extension, ...]:
    """Return what is in the bytes between a NIfTI header and its voxels.

    No byte is passed over, except zeros: what is not laid out as an extension comes as one with
    the code `UNREADABLE`.

    Args:
        block: The bytes, without the four that announce extensions.
        byte_order: The header's.
    """
    found: list[Extension] = []
    place = 0
    while len(block) - place >= 8 and len(found) < _MAX_EXTENSIONS:
        size, code = struct.unpack_from(f"{byte_order}ii", block, place)
        if not 8 <= size <= len(block) - place or code < 0:
            break
        found.append(Extension(code, block[place + 8 : place + size]))
        place += size
    if any(block[place:]):
        found.append(Extension(UNREADABLE, block[place:]))
    return tuple(found)


def other_bytes(stream: ByteStream, before: bytes = b"") -> list[Extension]:
    """Return what is no header, extension or voxel of a stream that was read, except zeros.

    Args:
        stream: After `finish`; before it, only what gzip keeps is there.
        before: What stood before the voxels in the .img of a pair.
    """
    places = {BEFORE_VOXELS: before, AFTER_VOXELS: stream.tail, GZIP_NAME: stream.gzip_name,
              GZIP_COMMENT: stream.gzip_comment}
    return [Extension(code, content) for code, content in places.items() if any(content)]
