"""Which fields of a JSON text may name a person, and the text without them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from braing3n.identity.content import Hit, Kind, in_order
from braing3n.identity.fields import is_of_hospital
from braing3n.identity.keys import kinds_by_key, says_something
from braing3n.identity.texts import kinds
from braing3n.identity.values import is_removed

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 200
_PAIR = re.compile(r'"([^"\\]{1,64})"\s{0,8}:\s{0,8}("[^"\\]{0,256}"|[^\s,"}\]]{1,64})')
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
        found = kinds(value)
    elif isinstance(value, int) and abs(value) >= 10**7:
        found = tuple(kind for kind in kinds(str(value)) if kind is Kind.DATE)
    else:
        return []
    return [kind for kind in found if not is_lenient or kind in _NEVER_DESCRIBING]


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
    """Return keys that may be shown: those that name nobody themselves."""
    return tuple("(key)" if kinds(key) else key for key in place if key != "[]")


def _plain(value: Any) -> Any:
    if isinstance(value, _Fields):
        return {key: _plain(inner) for key, inner in value.pairs}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def is_about_dataset(name: str) -> bool:
    """Tell by its name BIDS' description of a data set, which names its authors."""
    return name.casefold() == "dataset_description.json"


def hits_in_damaged(text: str) -> tuple[Hit, ...]:
    """Look through what should be JSON but is not: pairs of key and value, and every line."""
    hits = [Hit(_named((match[1],)), kind) for match in _PAIR.finditer(text)
            for kind in kinds_by_key(match[1], match[2].strip('"'))]
    hits += [Hit((), kind) for kind in in_order(kind for line in text.splitlines()
                                                for kind in kinds(line))]
    return tuple(dict.fromkeys(hits))
