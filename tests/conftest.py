"""Fixtures that every test may use."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Workers share the cores: with more threads than cores, small convolutions wait for one another and
# take a hundred times as long. Before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says nothing here: machines that run the suite share their cores.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that start whole runs: with several workers, none is then left for last."""
    items.sort(key=lambda item: "simulation" not in item.path.parts)


WriteScan = Callable[..., Path]


def _brain(seed: int) -> np.ndarray:
    """An ellipsoid of smooth positive intensities in an empty box of 30 x 34 x 28 voxels."""
    rng = np.random.default_rng(seed)
    shape = (30, 34, 28)
    x, y, z = np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in shape), indexing="ij")
    weights = rng.normal(size=3)
    waves = np.sin(3 * x + weights[0]) + np.cos(4 * y + weights[1]) + np.sin(2 * z + weights[2])
    return np.where(x**2 + y**2 + z**2 < 1, 400 + 100 * waves, 0).astype(np.int16)


@pytest.fixture(scope="session")
def brain() -> np.ndarray:
    return _brain(0)


@pytest.fixture
def write_scan() -> WriteScan:
    """Write a 4 mm LAS scan: of `voxels`, or of a made brain with `seed`."""

    def write(path: Path, voxels: np.ndarray | None = None, *, seed: int = 0,
              affine: np.ndarray | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        geometry = np.diag([-4.0, 4, 4, 1]) if affine is None else affine
        nib.save(nib.Nifti1Image(_brain(seed) if voxels is None else voxels, geometry), path)
        return path

    return write


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real test material, which is never part of the repository."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("BRAING3N_TEST_DATA", default)).resolve()
    if not (folder / "nifti").is_dir():
        pytest.skip(f"no real test material: {folder} has no nifti/ (set BRAING3N_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def phantom_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hospitals with five synthetic subjects each; read it, never write to it."""
    from simulation.phantom.write import write_phantom

    out = tmp_path_factory.mktemp("cohort") / "phantom"
    return write_phantom(out, sites=2, subjects=10, seed=3)


# The demo plan with next to no work: what is tested is who says what to whom.
SHORT_PLAN = " ".join([
    "name=short", "round_timeout_s=60",
    "stages.pretrain.rounds=2", "stages.pretrain.local_steps=2", "stages.pretrain.batch_size=2",
    "stages.decoder.rounds=1", "stages.decoder.local_steps=2", "stages.decoder.batch_size=2",
    "stages.diffusion.rounds=2", "stages.diffusion.local_steps=2", "stages.diffusion.batch_size=2",
    "stages.diffusion.sampling_steps=3",
])


@pytest.fixture(scope="session")
def short_plan() -> str:
    """A sweep that makes the demo plan short."""
    return SHORT_PLAN


# The demo with differential privacy, with next to no work, for two sites of a few subjects.
SHORT_DP_PLAN = " ".join([
    "name=short-dp", "round_timeout_s=60", "budget.epsilon=100", "budget.num_subjects=5",
    *(f"stages.{stage}.{key}={value}" for stage in ("pretrain", "decoder", "diffusion")
      for key, value in (
          ("start", "fresh"), ("rounds", 1), ("local_steps", 2), ("privacy.views", 2),
          ("privacy.noise_multiplier", 1.5), ("privacy.sample_rate", 0.4))),
    "stages.diffusion.sampling_steps=3",
])


@pytest.fixture(scope="session")
def short_dp_plan() -> str:
    """A sweep that makes the demo plan with differential privacy short."""
    return SHORT_DP_PLAN
