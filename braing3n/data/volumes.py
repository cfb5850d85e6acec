"""One scan of a cohort, before it is read."""

from dataclasses import dataclass
from pathlib import Path

from braing3n.conditions import Conditions


@dataclass(frozen=True)
class Volume:
    """One scan of one subject, not yet read.

    Attributes:
        subject: The subject's pseudonym: the unit of the held-out split.
        session: The visit, or None where there is one only.
        modality: `T1w`, `T2w`, `FLAIR`, `T1c` or `unknown`.
        path: The file.
        conditions: What is known of it.
        site: Where it was taken, as written or as the mapping names it; None where nothing says so.
            Two spellings are two sites.
    """

    subject: str
    session: str | None
    modality: str
    path: Path
    conditions: Conditions
    site: str | None = None
