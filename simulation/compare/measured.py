"""What an arm's networks made of every scan, and the names of those that nobody trained."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RANDOM, THUMBNAILS = "random weights", "thumbnails"


@dataclass(frozen=True)
class Measured:
    """One arm's figures, one row a scan, in the order of `scans_of`.

    Attributes:
        features: (n, d) embeddings: mean token and CLS token behind each other.
        psnr: (n,) dB inside the brain; NaN for scans that were trained on.
        ssim: (n,) inside the brain; NaN likewise.
    """

    features: NDArray[np.float32]
    psnr: NDArray[np.float32]
    ssim: NDArray[np.float32]


def read_measured(kept: Path) -> Measured:
    """Return an arm's figures, as `measure_arm` kept them."""
    with np.load(kept) as stored:
        return Measured(stored["features"], stored["psnr"], stored["ssim"])
