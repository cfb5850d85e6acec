"""The brain that a site's scans are registered to."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from braing3n.data.axes import sizes_mm
from braing3n.data.canonical import body_ml
from braing3n.data.scan import Scan
from braing3n.errors import ScanError

# Points of the template that are looked at lie about so far apart.
_POINTS_MM = 4.0
# A brain that was registered lies in the template's, or around it where its mask is more generous;
# DECISIONS.md has the figures that these bounds were chosen by.
_LEAST_OVERLAP = 0.95
_LEAST_SIZE = 2 / 3


@dataclass(frozen=True)
class Template:
    """A skull-stripped brain.

    Attributes:
        scan: The brain, canonical.
    """

    scan: Scan

    @property
    def title(self) -> str:
        """Which one it is, for a person."""
        return f"template {self.scan.digest[:12]}"

    def describe(self) -> dict[str, Any]:
        """Return all that a refusal depends on besides the scan."""
        return {"sha256": self.scan.digest, "points_mm": _POINTS_MM,
                "least_overlap": _LEAST_OVERLAP, "least_size": _LEAST_SIZE}

    def __call__(self, scan: Scan) -> Scan:
        """Return a canonical scan as it is, if its brain lies where the template's does.

        Only place and size are looked at, not what is inside: a brain whose left and right were
        exchanged fits.

        Raises:
            ScanError: It does not, with what was found.
        """
        overlap, size = self.fit(scan)
        if overlap < _LEAST_OVERLAP or size < _LEAST_SIZE:
            raise ScanError(
                f"{scan.path} does not fit the template {self.scan.path}",
                expected=f"of scan and template, the smaller brain at least {_LEAST_OVERLAP:.0%} "
                         f"inside the larger, and {_LEAST_SIZE:.0%} of its size",
                found=f"{overlap:.0%} inside, {size:.0%} of its size",
                fix="register the scan to that template, or by `preprocessing: registration: "
                    "affine`; if that was done, look at the scan")
        return scan

    def fit(self, scan: Scan) -> tuple[float, float]:
        """Compare a brain's place and size in space with the template's.

        Returns:
            The share of the smaller brain that lies in the larger one, on a coarse grid of points,
            and the smaller one's volume over the larger one's. Each is 0 to 1.
        """
        steps = np.maximum(1, np.round(_POINTS_MM / sizes_mm(self.scan.affine))).astype(int)
        here = np.argwhere(self.scan.voxels[::steps[0], ::steps[1], ::steps[2]]) * steps  # (P, 3)
        to_scan = np.linalg.inv(scan.affine) @ self.scan.affine                           # (4, 4)
        there = np.round(here @ to_scan[:3, :3].T + to_scan[:3, 3]).astype(int)           # (P, 3)
        within = ((there >= 0) & (there < scan.voxels.shape)).all(axis=1)                 # (P,)
        shared = np.count_nonzero(scan.voxels[tuple(there[within].T)]) / len(here)
        smaller, larger = sorted((body_ml(self.scan), body_ml(scan)))
        return (min(shared * body_ml(self.scan) / smaller, 1.0) if smaller else 0.0), smaller / larger
