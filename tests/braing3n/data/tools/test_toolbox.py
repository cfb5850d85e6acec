from pathlib import Path

import numpy as np
import pytest

from braing3n.config import DataConfig, PreprocessingConfig, SiteConfig
from braing3n.data.site_data import open_site_data
from braing3n.data.tools import packages
from braing3n.data.tools.chain import PLAIN
from braing3n.data.tools.toolbox import open_chain
from braing3n.errors import CohortError, ConfigError
from braing3n.presets import PRESETS

NANO = PRESETS["nano"]


@pytest.fixture
def site(tmp_path, write_scan) -> SiteConfig:
    for subject in range(4):
        for run in (1, 2):
            write_scan(tmp_path / f"bids/sub-{subject}/anat/sub-{subject}_run-{run}_T1w.nii.gz",
                       seed=10 * subject + run)
    return SiteConfig(name="a", data=DataConfig(folder=tmp_path / "bids", held_out=0.0),
                      state_dir=tmp_path / "state")


def _with(site: SiteConfig, **preprocessing: object) -> SiteConfig:
    return site.model_copy(update={"preprocessing": PreprocessingConfig(**preprocessing)})


@pytest.fixture
def no_packages(monkeypatch):
    def absent(package: str) -> str:
        raise packages.PackageNotFoundError(package)

    monkeypatch.setattr(packages, "version", absent)


def test_without_settings_nothing_is_done():
    assert open_chain(PreprocessingConfig()) == PLAIN


def test_the_sites_record_begins_with_what_was_done(site):
    assert open_site_data(site, NANO).notes[0] == PLAIN.note()
    unchecked = open_site_data(_with(site, check=False), NANO)
    assert "not checked" in unchecked.notes[0]


def test_a_site_whose_scans_have_skulls_is_told_clearly(site, write_scan, tmp_path, brain):
    noise = np.random.default_rng(0).uniform(1, 9, brain.shape)
    for path in (tmp_path / "bids").glob("*/anat/*.nii.gz"):
        write_scan(path, np.where(brain > 0, brain + len(path.name), noise).astype(np.float32))
    with pytest.raises(CohortError) as caught:
        open_site_data(site, NANO)
    assert "8 scans" in caught.value.found
    assert "skull-stripped" in caught.value.found
    assert "skull_strip: hd-bet" in caught.value.found


def test_registered_scans_are_measured_against_the_template(site, write_scan, tmp_path):
    template = write_scan(tmp_path / "template.nii.gz", seed=99)
    moved = write_scan(tmp_path / "bids/sub-0/anat/sub-0_run-1_T1w.nii.gz", seed=1,
                       affine=np.array([[-4.0, 0, 0, 30], [0, 4, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]))
    data = open_site_data(_with(site, template=template), NANO)
    assert [scan.path for scan in data.skipped] == [moved]
    assert "does not fit the template" in data.skipped[0].reason
    assert len(data.train) == 7


def test_another_chain_never_meets_the_cache_of_the_first(site):
    keys = {example.key for example in open_site_data(site, NANO).train}
    others = {example.key for example in open_site_data(_with(site, check=False), NANO).train}
    assert len(keys | others) == 16


def test_the_best_of_each_visit_is_chosen_before_anything_is_read(site):
    data = site.data.model_copy(update={"per_visit": "best"})
    chosen = open_site_data(site.model_copy(update={"data": data}), NANO)
    assert {path.name for path in chosen.paths.values()} == {
        f"sub-{subject}_run-2_T1w.nii.gz" for subject in range(4)}
    assert sum("per_visit" in note and "(4)" in note for note in chosen.notes) == 1


@pytest.mark.parametrize(("settings", "command"), [
    ({"bias_field": "n4"}, 'python -m pip install "antspyx==0.6.3"'),
    ({"registration": "affine"}, 'python -m pip install "antspyx==0.6.3"'),
    ({"skull_strip": "hd-bet", "hd_bet_model": Path("model")},
     'python -m pip install "nnunetv2==2.8.1"'),
])
def test_a_package_that_is_not_there_is_told_before_any_scan_is_read(
    settings, command, no_packages, write_scan, tmp_path
):
    template = write_scan(tmp_path / "template.nii.gz")
    with pytest.raises(ConfigError) as caught:
        open_chain(PreprocessingConfig(**settings, template=template))
    assert caught.value.fix == command
