"""DICOM left in a tree, or within a NIfTI file."""

import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError

from braing3n.data.nifti.byte_streams import GZIP_MAGIC
from braing3n.identity.content import Hit, Kind, in_order
from braing3n.identity.fields import is_of_hospital
from braing3n.identity.keys import kinds_by_key
from braing3n.identity.texts import kinds
from braing3n.identity.values import is_removed

# Its warnings and its log quote values, which must never be shown.
warnings.filterwarnings("ignore", module="pydicom")
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
config.settings.reading_validation_mode = config.IGNORE

_NAME = re.compile(r"(dicomdir|.*\.(dcm|dicom|ima)(\.(gz|bz2|xz|zip))?)$", re.IGNORECASE)
# What pydicom raises for damaged and for foreign bytes.
_DAMAGE = (ArithmeticError, AttributeError, BytesLengthException, EOFError, InvalidDicomError,
           LookupError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error)
# What is read of a file to tell what it is; and how many elements it takes to tell a data set.
_HEAD_BYTES, _NUM_ELEMENTS = 4096, 3
# The group of the first element of a file without preamble, little or big endian.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
_PIXELS = 0x7FE0


def is_dicom(path: Path) -> bool:
    """Tell a DICOM file by its name, or by its content under whatever name, also within gzip."""
    if _NAME.fullmatch(path.name):
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if head.startswith(GZIP_MAGIC):
            head = zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except (OSError, zlib.error):
        return False
    return head[128:132] == b"DICM" or _is_bare(head)


def _is_bare(head: bytes) -> bool:
    """Tell a data set without preamble: it begins with several attributes that DICOM knows."""
    if not head.startswith(_FIRST_GROUPS):
        return False
    try:
        dataset = dcmread(BytesIO(head), force=True, stop_before_pixels=True)
    except _DAMAGE:
        return False
    tags = [tag for tag in (*dataset.file_meta.keys(), *dataset.keys())
            if not tag.is_private and tag.element]
    return len(tags) >= _NUM_ELEMENTS and all(map(dictionary_has_tag, tags))


def dicom_hits(content: bytes) -> list[Hit]:
    """Return the attributes that may name a person in a DICOM data set, with or without preamble.

    What is no readable data set is one hit of `Kind.OPAQUE`: it cannot be looked into.
    """
    try:
        dataset = dcmread(BytesIO(content), force=True)
        is_whole = _is_whole(dataset, content)  # before its elements are decoded
        elements = [element for element in dataset.iterall() if element.tag != 0]  # 0 is padding
        if not (is_whole and _is_plausible(elements)):
            return [Hit((), Kind.OPAQUE)]
        return list(dict.fromkeys(hit for element in elements for hit in _element_hits(element)))
    except _DAMAGE:
        return [Hit((), Kind.OPAQUE)]


def _is_plausible(elements: list[DataElement]) -> bool:
    """Tell a data set from bytes that only happen to be read as one: its public tags are known."""
    public = [element for element in elements if not element.tag.is_private and element.tag.element]
    return bool(public) and all(element.keyword for element in public)


def _is_whole(dataset: Dataset, content: bytes) -> bool:
    """Tell whether the last element ends where the content does; pydicom stops without a word."""
    last = dataset.get_item(max(dataset.keys()))
    if not isinstance(last, RawDataElement):
        return True  # a sequence, which pydicom reads to its end or not at all
    end = last.value_tell + last.length
    return end <= len(content) and not any(content[end:])


def _element_hits(element: DataElement) -> list[Hit]:
    name = element.keyword or f"{element.tag:08X}"
    if element.VR == "SQ" or element.tag.group == _PIXELS or is_of_hospital(name):
        return []
    found: set[Kind] = set()
    for text in _texts(element.value):
        found |= {*kinds_by_key(name, text), *(() if is_removed(text) else kinds(text))}
    return [Hit((name,), kind) for kind in in_order(found)]


def _texts(value: Any) -> Iterator[str]:
    """Yield an element's values as text, each of several for itself."""
    if isinstance(value, bytes):
        yield value.decode("latin-1")
    elif isinstance(value, str) or not hasattr(value, "__iter__"):
        yield str(value)
    else:  # several values, or a person's name
        yield from ((str(item) for item in value) if hasattr(value, "append") else (str(value),))
