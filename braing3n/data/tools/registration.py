"""Affine registration of a stripped brain to a site's template, on the template's grid."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from braing3n.data.scan import Scan
from braing3n.data.tools.ants_images import PACKAGE, ants_version, open_ants, scan_to_ants
from braing3n.data.tools.template import Template
from braing3n.errors import ScanError

_TRANSFORM = "Affine"


@dataclass(frozen=True)
class AffineRegistration:
    """ANTs' affine registration by mutual information.

    Attributes:
        template: Where to.
        version: Of ANTsPy.
    """

    template: Template
    version: str

    @property
    def title(self) -> str:
        """What was done, by what."""
        return f"affine registration to {self.template.title} ({PACKAGE} {self.version})"

    def describe(self) -> Mapping[str, Any]:
        """Return all that the result depends on besides the scan and the template."""
        return {"tool": _TRANSFORM, PACKAGE: self.version, "interpolation": "linear, brain only"}

    def __call__(self, scan: Scan) -> Scan:
        """Return the brain on the template's grid, interpolated over the brain alone.

        Raises:
            ScanError: ANTs finds no transform.
        """
        ants = open_ants()
        image, mask = scan_to_ants(scan)
        fixed, _ = scan_to_ants(self.template.scan)
        with TemporaryDirectory() as folder:
            try:
                found = ants.registration(fixed=fixed, moving=image, type_of_transform=_TRANSFORM,
                                          outprefix=str(Path(folder) / "affine"))
            except RuntimeError as error:
                raise ScanError(f"{scan.path} cannot be registered", expected="a stripped brain",
                                found=str(error), fix="look at the scan") from error
            values, share = (
                ants.apply_transforms(fixed, moving, found["fwdtransforms"]).numpy()
                for moving in (image, mask))
        inside = share >= 0.5
        voxels = np.where(inside, values / share.clip(min=0.5), 0).astype(np.float32)
        return replace(scan, voxels=voxels, affine=self.template.scan.affine)


def open_registration(template: Template) -> AffineRegistration:
    """Return the tool.

    Raises:
        ConfigError: ANTsPy is not installed.
    """
    return AffineRegistration(template, ants_version("registration: affine"))
