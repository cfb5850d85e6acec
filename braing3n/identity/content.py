"""Kinds of content that may name a person, and the places where it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A kind of content that may name a person."""

    DATE = "a full date"
    NAME = "a person's name"
    RECORD = "a record number"
    PERSONAL = "a personal number"
    UID = "a UID"
    EMAIL = "an e-mail address or an account"
    PHONE = "a telephone number"
    PATH = "a path"
    ADDRESS = "an address"
    BIRTH_YEAR = "a year of birth over 89 years ago"
    AGE = "an age over 89"
    OPAQUE = "content that cannot be looked into"


@dataclass(frozen=True)
class Hit:
    """One place that may name a person.

    Attributes:
        place: What leads to it, such as a sidecar's keys; nothing where it is a text as a whole.
        kind: What is in it.
    """

    place: tuple[str, ...]
    kind: Kind


def in_order(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """Return each kind once, in the order of `Kind`."""
    found = set(kinds)
    return tuple(kind for kind in Kind if kind in found)


def describe_hits(hits: Iterable[Hit]) -> str:
    """Return places and what is in them, for a finding: never a value."""
    by_place: dict[str, list[Kind]] = {}
    for hit in hits:
        by_place.setdefault(".".join(hit.place), []).append(hit.kind)
    return ", ".join(f"{place} ({' and '.join(in_order(found))})" if place else
                     " and ".join(in_order(found)) for place, found in by_place.items())
