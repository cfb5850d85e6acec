"""Which fields of a JSON text may name a person, and the text without them."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from braing3n.identity.content import Hit, Kind, in_order
from braing3n.identity.dicom import dicom_hits
from braing3n.identity.fields import is_of_hospital
from braing3n.identity.free_text import shown_keys, text_hits
from braing3n.identity.keys import kinds_by_key, says_something
from braing3n.identity.texts import kinds
from braing3n.identity.values import is_removed

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 200
# Shorter ones are words, and digests are hexadecimal.
_LEAST_BASE64 = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]{64,}={0,2}\s*")
_HEX = re.compile(r"[0-9a-fA-F\s]+")
# What a data dictionary says of a column (BIDS). It describes, and is of no patient.
_DESCRIBING = {"Description", "LongName", "Levels", "Units", "TermURL", "Derivative"}
# Of what is written about a data set as a whole, only these are of a patient.
_NEVER_DESCRIBING = {Kind.RECORD, Kind.PERSONAL, Kind.UID, Kind.PATH, Kind.OPAQUE}


class UnreadableJsonError(ValueError):
    """A text is not JSON, or is nested too deeply; its message holds nothing of its content."""


@dataclass(frozen=True)
class _Fields:
    """A JSON object with all of its pairs: `json` would keep the last of two with one name."""

    pairs: tuple[tuple[str, Any], ...]


class _Dropped:
    """Stands where a value was."""


def clean_json(text: str, *, is_about_dataset: bool = False) -> tuple[str, tuple[Hit, ...]]:
    """Find the fields that may name a person, and leave them out.

    Args:
        text: A JSON text.
        is_about_dataset: It describes a data set as a whole; names, dates and addresses in it are
            those of its authors.

    Returns:
        The text without these fields, unchanged where there are none; and what they are.

    Raises:
        UnreadableJsonError: It is not JSON, or nested more than `MAX_DEPTH` deep.
    """
    if len(text) > MAX_BYTES:
        raise UnreadableJsonError(f"more than {MAX_BYTES // 2**20} MiB")
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _Fields(tuple(pairs)))
    except (ValueError, RecursionError) as error:
        raise UnreadableJsonError("not JSON") from error
    hits: list[Hit] = []
    kept = _clean(value, (), is_about_dataset, hits)
    if not hits:
        return text, ()
    content = {} if isinstance(kept, _Dropped) else _plain(kept)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n", tuple(dict.fromkeys(hits))


def _clean(value: Any, place: tuple[str, ...], is_lenient: bool, hits: list[Hit]) -> Any:
    """Return a value without what may name a person; `_Dropped` where it is to go as a whole."""
    if len(place) > MAX_DEPTH:
        raise UnreadableJsonError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, _Fields):
        is_lenient = is_lenient or (bool(place) and any(key in _DESCRIBING for key, _ in value.pairs))
        pairs = [(key, _clean_pair(key, inner, (*place, key), is_lenient, hits))
                 for key, inner in value.pairs]
        return _Fields(tuple(pair for pair in pairs if not isinstance(pair[1], _Dropped)))
    if isinstance(value, list):
        kept = [_clean(inner, (*place, "[]"), is_lenient, hits) for inner in value]
        return _Dropped() if any(isinstance(inner, _Dropped) for inner in kept) else kept
    found = _leaf_kinds(value, is_lenient)
    hits += [Hit(_named(place), kind) for kind in found]
    return _Dropped() if found else value


def _clean_pair(key: str, value: Any, place: tuple[str, ...], is_lenient: bool,
                hits: list[Hit]) -> Any:
    """Judge a field by its key first, then by what is in it."""
    if is_of_hospital(key) and isinstance(value, str):
        return value
    found = set(kinds(key)) & (_NEVER_DESCRIBING if is_lenient else set(Kind))
    if says_something(key) and not _is_described(value):
        found |= {kind for leaf in _leaves(value) for kind in kinds_by_key(key, leaf)}
    if found:
        hits += [Hit(_named(place), kind) for kind in in_order(found)]
        return _Dropped()
    return _clean(value, place, is_lenient, hits)


def _leaf_kinds(value: Any, is_lenient: bool) -> list[Kind]:
    if isinstance(value, str) and not is_removed(value):
        found = [hit.kind for hit in hits_within(value)]
    elif isinstance(value, int) and 10**7 <= abs(value) < 10**17:
        found = [kind for kind in kinds(str(value)) if kind is Kind.DATE]
    else:
        return []
    return [kind for kind in in_order(found) if not is_lenient or kind in _NEVER_DESCRIBING]


def hits_within(text: str) -> tuple[Hit, ...]:
    """Judge a text in a field: it may be JSON itself, or bytes in base64, such as a header."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return clean_json(text)[1]
        except UnreadableJsonError:
            return text_hits(text)
    content = _from_base64(text)
    if content is None:
        return text_hits(text)
    if content.isascii():
        return text_hits(content.decode())
    # Other bytes, such as pictures, are too many kinds to be told.
    return tuple(hit for hit in dicom_hits(content) if hit.kind is not Kind.OPAQUE)


def _from_base64(text: str) -> bytes | None:
    if len(text) < _LEAST_BASE64 or _BASE64.fullmatch(text) is None or _HEX.fullmatch(text):
        return None
    try:
        return b64decode(text)
    except ValueError:
        return None


def _leaves(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a value as texts."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise UnreadableJsonError(f"nested more than {MAX_DEPTH} deep")
        if isinstance(item, _Fields):
            # A DICOM attribute in JSON says of itself of which representation it is.
            waiting += [(inner, depth + 1) for key, inner in item.pairs if key != "vr"]
        elif isinstance(item, list):
            waiting += [(inner, depth + 1) for inner in item]
        elif isinstance(item, str | int | float) and not isinstance(item, bool):
            yield str(item)


def _is_described(value: Any) -> bool:
    """Tell a data dictionary's entry, whose key is the name of a column and not of its content."""
    return isinstance(value, _Fields) and any(key in _DESCRIBING for key, _ in value.pairs)


def _named(place: tuple[str, ...]) -> tuple[str, ...]:
    return shown_keys(tuple(key for key in place if key != "[]"))


def _plain(value: Any) -> Any:
    if isinstance(value, _Fields):
        return {key: _plain(inner) for key, inner in value.pairs}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def is_about_dataset(name: str) -> bool:
    """Tell by its name BIDS' description of a data set, which names its authors."""
    return name.casefold() == "dataset_description.json"
