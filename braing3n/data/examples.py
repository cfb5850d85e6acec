"""What the stages need of a site's data: examples, and tensors of them.

`braing3n.data.site_data` opens a hospital's; a test may bring its own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

# A site sends means of its latents over its training subjects. The decoder, which the coordinator
# has, would turn a mean over one subject into that subject's picture.
MIN_SUBJECTS_FOR_MOMENTS = 3


@dataclass(frozen=True)
class Example:
    """One usable volume.

    Attributes:
        subject: The subject's pseudonym.
        session: The visit, or None.
        modality: `T1w`, `T2w`, `FLAIR`, `T1c` or `unknown`.
        key: Names the preprocessed volume: 64 hex digits of the file and the preprocessing.
        conditions: The six numbers of `Conditions.encode`; NaN is unknown.
    """

    subject: str
    session: str | None
    modality: str
    key: str
    conditions: tuple[float, ...]


class Examples(Protocol):
    """A site's examples, split by subject, and their tensors."""

    @property
    def train(self) -> tuple[Example, ...]:
        """What may be trained on."""
        ...

    @property
    def held_out(self) -> tuple[Example, ...]:
        """All volumes of the held-out subjects; may be empty at a small site."""
        ...

    def volumes(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, 1, X, Y, Z) float32 z-scores, background exactly 0."""
        ...

    def conditions(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, 6) float32; NaN is unknown."""
        ...

    def tokens(self, examples: Sequence[Example], encoder_digest: str) -> Tensor:
        """Return (B, N, E) float32: what `cache_tokens` has kept."""
        ...

    def cache_tokens(self, encoder_digest: str, encode: Callable[[Tensor], Tensor],
                     batch_size: int) -> None:
        """Keep the tokens of all examples, computing only what is missing.

        Args:
            encoder_digest: Names the frozen encoder.
            encode: (B, 1, X, Y, Z) float32 to (B, N, E), on any device.
            batch_size: B, at most.
        """
        ...


def chunks(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    """Give `examples` in consecutive pieces of at most `size`."""
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def by_subject(examples: Sequence[Example]) -> list[list[Example]]:
    """Return each subject's examples; how one's are ordered depends on no other's."""
    grouped: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        grouped[example.subject].append(example)
    return [sorted(grouped[subject], key=lambda e: e.key) for subject in sorted(grouped)]
