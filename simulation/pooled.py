"""All sites' subjects as one dataset."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd


def pool_folders(folders: Mapping[str, Path], out: Path) -> dict[str, Path]:
    """Make one BIDS dataset of several by links, in OUT/pooled; subjects' ids are unique over sites.

    Args:
        folders: Each site's.
        out: Where to make it; it may be there already.

    Returns:
        The one dataset, by the name `pooled`.
    """
    pooled = out / "pooled"
    pooled.mkdir(parents=True, exist_ok=True)
    tables = []
    for folder in folders.values():
        tables.append(pd.read_csv(folder / "participants.tsv", sep="\t", dtype=str,
                                  keep_default_na=False))
        for subject in folder.glob("sub-*"):
            if not (pooled / subject.name).is_symlink():
                (pooled / subject.name).symlink_to(subject.resolve())
    pd.concat(tables).to_csv(pooled / "participants.tsv", sep="\t", index=False)
    return {"pooled": pooled}
