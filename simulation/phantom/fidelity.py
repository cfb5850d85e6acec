"""Whether generated brains have the anatomy that was asked for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from braing3n.conditions import Conditions
from braing3n.evaluation.generation import Sampler
from braing3n.presets import PRESETS
from simulation.phantom.measure import ventricle_ml

YOUNGEST, OLDEST = 25.0, 85.0


@dataclass(frozen=True)
class AgeFidelity:
    """How ventricle volume follows the requested age.

    Attributes:
        spearman: Rank correlation of requested age and measured ventricle volume, in [-1, 1].
        num_samples: How many brains were generated.
        young_ml: Mean ventricle volume of the younger half of the requests.
        old_ml: The same of the older half.
    """

    spearman: float
    num_samples: int
    young_ml: float
    old_ml: float


def measure_age_fidelity(
    sampler: Sampler, seed: int, num_samples: int = 40,
    progress: Callable[[int, int], None] | None = None,
) -> AgeFidelity:
    """Generate T1w brains of ages 25 to 85, each from noise of its own, and measure them.

    Args:
        sampler: A finished model.
        seed: Of the noise.
        num_samples: Brains to generate, at least 4.
        progress: Called with (brains done, brains in all).
    """
    ages = np.linspace(YOUNGEST, OLDEST, num_samples)
    wanted = [Conditions(age_years=float(age), modality="T1w", diagnosis="HC") for age in ages]
    volumes = sampler.generate(wanted, [seed + number for number in range(num_samples)], progress)
    voxel_mm = PRESETS[sampler.plan.preset].voxel_mm
    measured = np.array([ventricle_ml(volume[0].numpy(), voxel_mm) for volume in volumes])
    half = num_samples // 2
    # Equal volumes everywhere have no ranks; then nothing follows the age.
    rank = spearmanr(ages, measured).statistic if np.ptp(measured) > 0 else 0.0
    return AgeFidelity(float(rank), num_samples, float(measured[:half].mean()),
                       float(measured[half:].mean()))
