"""What an affine says of a volume's axes: their lengths, and where they point to."""

from functools import lru_cache

import numpy as np
from nibabel.orientations import io_orientation, ornt2axcodes
from numpy.typing import NDArray

Affine = NDArray[np.float64]


def sizes_mm(affine: Affine) -> NDArray[np.float64]:
    """Return (3,) the edges of a voxel in millimetres."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def orientation(affine: Affine) -> NDArray[np.float64]:
    """Return (3, 2) of each stored axis the RAS axis that it runs along, and 1 or -1; to read only."""
    return _orientation(np.ascontiguousarray(affine, dtype=np.float64).tobytes())


@lru_cache(maxsize=256)  # a decomposition of a millisecond, asked several times a scan
def _orientation(affine: bytes) -> NDArray[np.float64]:
    found: NDArray[np.float64] = io_orientation(np.frombuffer(affine).reshape(4, 4))
    found.flags.writeable = False
    return found


def axes(affine: Affine) -> str:
    """Return where the stored axes point to, such as `LAS`."""
    return "".join(ornt2axcodes(orientation(affine)))
