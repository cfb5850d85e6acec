"""N4: evens out the brightness that a scanner's coil lends to a head."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from braing3n.data.canonical import is_stripped
from braing3n.data.scan import Scan
from braing3n.data.tools.ants_images import PACKAGE, ants_version, open_ants, scan_to_ants

# ANTsPy's defaults, written out so that a record says them.
_SHRINK_FACTOR = 4
_ITERATIONS = (50, 50, 50, 50)
_TOLERANCE = 1e-7


@dataclass(frozen=True)
class N4:
    """N4 bias field correction (Tustison et al. 2010, https://doi.org/10.1109/TMI.2010.2046908).

    The field is fitted to the brain of a stripped scan, and else to what ANTs takes for the head.

    Attributes:
        version: Of ANTsPy.
    """

    version: str

    @property
    def title(self) -> str:
        """What was done, by what."""
        return f"N4 ({PACKAGE} {self.version})"

    def describe(self) -> Mapping[str, Any]:
        """Return all that the result depends on besides the scan."""
        return {"tool": "n4", PACKAGE: self.version, "shrink_factor": _SHRINK_FACTOR,
                "iterations": list(_ITERATIONS), "tolerance": _TOLERANCE}

    def __call__(self, scan: Scan) -> Scan:
        """Return the scan without its bias field; what is not positive stays out of the fit."""
        image, mask = scan_to_ants(replace(scan, voxels=scan.voxels.clip(min=0)))
        if not is_stripped(scan):
            mask = open_ants().get_mask(image)
        corrected = open_ants().n4_bias_field_correction(
            image, mask=mask, shrink_factor=_SHRINK_FACTOR,
            convergence={"iters": list(_ITERATIONS), "tol": _TOLERANCE}).numpy()
        voxels = np.where(scan.voxels > 0, corrected, scan.voxels).astype(np.float32)
        return replace(scan, voxels=voxels)


def open_n4() -> N4:
    """Return the tool.

    Raises:
        ConfigError: ANTsPy is not installed.
    """
    return N4(ants_version("bias_field: n4"))
