"""Merging that one wrong site cannot decide: trimmed mean, Krum, and bounds on norms.

Such rules have to see all updates before they can say anything of one. So replies go to files as they
arrive and are read in pieces: memory does not depend on the number of sites.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from braing3n.errors import RunFailedError
from braing3n.optimizer_plan import MergePlan
from braing3n.weights import Doubles, Vector
from server.merge import ExactMean, check_mergeable

OUTLIER = "outlier"
_PIECE = 1 << 18  # numbers of each site at once
_FEWEST = 3       # updates of which the middle one says what is usual


class RobustMerge:
    """The updates of one round, and what the plan's rule makes of them.

    Args:
        plan: The rule.
        size: Numbers in an update.
        folder: An empty folder with room for all updates.
    """

    def __init__(self, plan: MergePlan, size: int, folder: Path) -> None:
        self._plan, self._size, self._folder = plan, size, folder
        self._norms: dict[str, float] = {}
        self._weights: dict[str, int] = {}

    def add(self, site: str, vector: Vector, weight: int) -> None:
        """Take an update.

        Raises:
            ProtocolError: It has another length or type, or a number that is not finite.
        """
        check_mergeable(vector, weight, self._size)
        vector.tofile(self._folder / f"{site}.f32")
        self._norms[site] = float(np.sqrt(sum(
            float(np.square(piece, dtype=np.float64).sum()) for piece in _pieces(vector))))
        self._weights[site] = weight

    def merge(self) -> tuple[Vector | None, dict[str, str]]:
        """Return the merged update, and why each site that is not in it is not.

        Returns:
            The update; None where there was none. Sites that were left out, each with a fixed word.

        Raises:
            RunFailedError: There are too few for the rule.
        """
        if not self._norms:
            return None, {}
        usual = float(np.median(list(self._norms.values())))
        ratio = self._plan.reject_norm_ratio
        outliers = sorted(site for site, norm in self._norms.items()
                          if ratio is not None and len(self._norms) >= _FEWEST and norm > ratio * usual)
        sites = sorted(self._norms.keys() - set(outliers))
        scales = {site: self._scale(site, usual) for site in sites}
        if self._plan.method == "trimmed_mean":
            return self._trimmed_mean(sites, scales), dict.fromkeys(outliers, OUTLIER)
        if self._plan.method == "krum":
            chosen = self._krum(sites, scales)
            outliers += [site for site in sites if site not in chosen]
            sites = chosen
        return self._mean(sites, scales), dict.fromkeys(sorted(outliers), OUTLIER)

    def _scale(self, site: str, usual: float) -> float:
        ratio, norm = self._plan.clip_norm_ratio, self._norms[site]
        return 1.0 if ratio is None or norm <= ratio * usual else ratio * usual / norm

    def _mean(self, sites: Sequence[str], scales: Mapping[str, float]) -> Vector:
        mean = ExactMean(self._size)
        for site in sites:
            mean.add(self._read(site) * np.float32(scales[site]), self._weights[site])
        return mean.mean()

    def _trimmed_mean(self, sites: Sequence[str], scales: Mapping[str, float]) -> Vector:
        """Return the mean of each number without its largest and smallest; every site counts alike.

        Source: Yin et al. 2018, "Byzantine-robust distributed learning", definition 2,
        https://arxiv.org/abs/1803.01498.
        """
        trim = self._plan.trim
        _check_enough(len(sites), 2 * trim + 1, f"trimmed_mean with trim {trim}")
        merged = np.empty(self._size, np.float32)
        for start, rows in self._rows(sites, scales):
            middle = np.sort(rows, axis=0)[trim : len(sites) - trim]        # (n − 2·trim, piece)
            merged[start : start + rows.shape[1]] = middle.mean(axis=0)
        return merged

    def _krum(self, sites: Sequence[str], scales: Mapping[str, float]) -> list[str]:
        """Return the n − f sites whose updates are nearest to others: multi-Krum.

        A site's score is the sum of squared distances to its n − f − 2 nearest.

        Source: Blanchard et al. 2017, "Machine learning with adversaries",
        https://papers.nips.cc/paper/6617, with m = n − f.
        """
        faulty, count = self._plan.faulty, len(sites)
        _check_enough(count, 2 * faulty + 3, f"krum with {faulty} faulty")
        squares = np.zeros((count, count))
        for _, rows in self._rows(sites, scales):
            lengths = np.square(rows).sum(axis=1)
            squares += lengths[:, None] + lengths[None, :] - 2 * rows @ rows.T
        np.fill_diagonal(squares, np.inf)
        nearest = np.sort(squares, axis=1)[:, : count - faulty - 2]
        order = np.argsort(nearest.sum(axis=1), kind="stable")[: count - faulty]
        return sorted(sites[place] for place in order)

    def _rows(self, sites: Sequence[str], scales: Mapping[str, float]) -> Iterator[tuple[int, Doubles]]:
        """Give (start, (n, piece) numbers of all sites), piece by piece."""
        files = [self._read(site) for site in sites]
        factors = np.array([scales[site] for site in sites])[:, None]
        for start in range(0, self._size, _PIECE):
            yield start, factors * np.stack([one[start : start + _PIECE] for one in files]).astype(
                np.float64)

    def _read(self, site: str) -> Vector:
        return np.memmap(self._folder / f"{site}.f32", np.float32, mode="r")


def _pieces(vector: Vector) -> Iterator[Vector]:
    return (vector[start : start + _PIECE] for start in range(0, vector.size, _PIECE))


def _check_enough(count: int, least: int, rule: str) -> None:
    if count < least:
        raise RunFailedError(f"there are too few updates for {rule}", expected=f"at least {least}",
                             found=str(count), fix="raise min_sites in the plan, or choose another "
                             "`merge:`")
