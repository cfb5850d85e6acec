"""What a NIfTI file holds besides numbers: texts in its header, and extensions.

Extensions are blocks of any content between header and voxels.

See https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields/nifti1fields_pages/extension.html.
"""

import struct
from typing import Literal, NamedTuple

TEXT_FIELDS = ("descrip", "aux_file", "db_name", "intent_name", "data_type")
"""The header's fields in which anybody may write anything; NIfTI-2 lacks `db_name` and `data_type`."""

UNREADABLE = -1
"""The code of bytes that are no extension, though they stand where extensions do."""

_MAX_EXTENSIONS = 1000


class Extension(NamedTuple):
    """One block.

    Attributes:
        code: What it is said to be, such as 2 for DICOM or 6 for a comment; or `UNREADABLE`.
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
