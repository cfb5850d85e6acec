"""What sites wrote down of their replies: manifests that the coordinator has kept."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from braing3n.audit.ledger_line import Line
from braing3n.manifests import Manifest


class SentRow(NamedTuple):
    """Replies of one kind by one site: how many, their bytes, the longest array by L2 norm."""

    site: str
    kind: str
    num_replies: int
    num_bytes: int
    tensors: int
    norm: float


def sent_rows(sent: Sequence[Manifest]) -> list[SentRow]:
    """Return what left, by site and kind."""
    groups: dict[tuple[str, str], list[Manifest]] = {}
    for one in sent:
        groups.setdefault((one.site, one.kind), []).append(one)
    return [SentRow(site, kind, len(own), sum(one.num_bytes for one in own),
                    max(len(one.tensors) for one in own), max(one.norm for one in own))
            for (site, kind), own in sorted(groups.items())]


def unlike(sent: Sequence[Manifest], site: str, own: Sequence[Line]) -> Iterator[str]:
    """Give updates that a site's ledger settled, and its manifests have with another sha256."""
    told: dict[tuple[str | None, int | None], set[str | None]] = {}
    for one in sent:
        if one.site == site and one.kind.startswith("train.") and one.tensors:
            told.setdefault((one.stage, one.round_index), set()).add(one.array_digest)
    for line in own:
        digests = told.get((line.stage, line.round_index))
        if (line.kind, line.what) == ("settle", "update") and digests is not None and (
                line.released_digest not in digests):
            yield f"{line.stage}, round {(line.round_index or 0) + 1} (entry {line.seq})"
