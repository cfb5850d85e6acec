"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing here: machines that run the suite share their cores.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


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
    from simulation.phantom import write_phantom

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
