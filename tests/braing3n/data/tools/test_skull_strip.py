import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from braing3n.data.canonical import canonical
from braing3n.data.scan import Scan
from braing3n.data.tools import packages
from braing3n.data.tools.skull_strip import open_hd_bet
from braing3n.errors import ConfigError, ScanError

SHAPE = (20, 24, 16)


def _write_model(folder: Path) -> Path:
    """Write a model of nnU-Net that calls brain what is above the mean one voxel higher up."""
    networks = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    kinds = {"conv_op": torch.nn.Conv3d, "norm_op": None, "dropout_op": None,
             "nonlin": torch.nn.LeakyReLU}
    sizes = {"n_stages": 2, "features_per_stage": [2, 2], "kernel_sizes": [[3, 3, 3]] * 2,
             "strides": [[1, 1, 1], [2, 2, 2]], "n_conv_per_stage": [1, 1],
             "n_conv_per_stage_decoder": [1], "conv_bias": True, "norm_op_kwargs": None,
             "dropout_op_kwargs": None, "nonlin_kwargs": {"inplace": True}}
    network = networks.PlainConvUNet(input_channels=1, num_classes=2, deep_supervision=False,
                                     **kinds, **sizes)
    weights = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    for name, tensor in weights.items():
        if re.search(r"stages\.0\.0\.convs\.0\.(conv|all_modules\.0)\.weight$", name):
            tensor[0, 0, 2, 1, 1] = 1.0  # the first axis is Z
        elif re.search(r"decoder\.stages\.0\.convs\.0\.(conv|all_modules\.0)\.weight$", name):
            tensor[0, 2, 1, 1, 1] = 1.0  # behind two channels from below come those of the skip
        elif name == "decoder.seg_layers.0.weight":
            tensor[1, 0] = 1.0           # the brain's score is the voxel, the other's 0
    path = ".".join((networks.PlainConvUNet.__module__, networks.PlainConvUNet.__name__))
    names = {kind: None if op is None else f"{op.__module__}.{op.__name__}"
             for kind, op in kinds.items()}
    resampling = {f"resampling_fn_{what}": "resample_data_or_seg_to_shape"
                  for what in ("data", "seg", "probabilities")}
    orders = {f"resampling_fn_{what}_kwargs": {"is_seg": what == "seg", "order": 1, "order_z": 0,
                                               "force_separate_z": None}
              for what in ("data", "seg", "probabilities")}
    configuration = {"preprocessor_name": "DefaultPreprocessor", "patch_size": [16, 16, 16],
                     "spacing": [4.0, 4.0, 4.0], "normalization_schemes": ["ZScoreNormalization"],
                     "use_mask_for_norm": [False], "batch_dice": False, **resampling, **orders,
                     "architecture": {"network_class_name": path, "arch_kwargs": {**sizes, **names},
                                      "_kw_requires_import": list(names)}}
    plans = {"dataset_name": "Dataset001_Toy", "plans_name": "nnUNetPlans",
             "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
             "image_reader_writer": "SimpleITKIO", "configurations": {"3d_fullres": configuration},
             "foreground_intensity_properties_per_channel": {"0": {}}}
    dataset = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "brain": 1},
               "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "fold_all").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    torch.save({"network_weights": weights, "trainer_name": "nnUNetTrainer",
                "init_args": {"configuration": "3d_fullres"},
                "inference_allowed_mirroring_axes": (0, 1, 2)},
               folder / "fold_all/checkpoint_final.pth")
    return folder


def _head(seed: int = 0) -> Scan:
    # Far from the mean, as nnU-Net keeps scores in half precision.
    rng = np.random.default_rng(seed)
    voxels = (rng.uniform(1, 30, SHAPE) + rng.choice([0, 70], SHAPE)).astype(np.float32)
    return Scan(Path("head.nii"), voxels, np.diag([-4.0, -4.0, 4.0, 1.0]), "0" * 64)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pytest.importorskip("nnunetv2")
    return _write_model(tmp_path / "model")


def test_a_model_of_nnu_net_is_applied_along_the_axes_that_it_was_made_for(model):
    scan = _head()
    stripped = open_hd_bet(model, "cpu")(scan)
    above = np.zeros(SHAPE, bool)
    above[:, :, :-1] = scan.voxels[:, :, 1:] > scan.voxels.mean()
    np.testing.assert_array_equal(stripped.voxels, np.where(above, scan.voxels, 0))


def test_two_strips_by_two_loadings_have_equal_bits_and_nothing_is_printed(model, capsys):
    scan = _head(1)
    first, second = (open_hd_bet(model, "cpu")(scan).voxels for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert capsys.readouterr().out == ""


def test_a_scan_of_another_voxel_size_keeps_its_grid(model):
    scan = Scan(Path("a.nii"), _head().voxels, np.diag([-2.0, -3.0, 5.0, 1.0]), "0" * 64)
    stripped = open_hd_bet(model, "cpu")(scan)
    assert stripped.voxels.shape == SHAPE
    kept = stripped.voxels != 0
    np.testing.assert_array_equal(stripped.voxels[kept], scan.voxels[kept])


def test_a_head_without_a_brain_is_refused(model):
    flat = np.full(SHAPE, 5.0, np.float32)
    flat[:, :, 0] = 90.0  # only the voxel below the lowest slice is above the mean
    scan = canonical(Scan(Path("a.nii"), flat, np.diag([-4.0, -4.0, 4.0, 1.0]), "0" * 64))
    with pytest.raises(ScanError, match="no brain"):
        open_hd_bet(model, "cpu")(scan)


def test_the_models_bytes_and_the_tools_version_are_in_the_record(model):
    before = open_hd_bet(model, "cpu")
    assert before.digest[:12] in before.title
    assert before.version in before.title
    (model / "plans.json").write_text((model / "plans.json").read_text() + " ")
    after = open_hd_bet(model, "cpu")
    assert before.describe() != after.describe()
    assert open_hd_bet(model, "cuda").describe() != after.describe()


def test_a_folder_without_the_model_is_told_and_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "version", lambda package: "2.8.1")
    with pytest.raises(ConfigError, match="nothing is downloaded") as caught:
        open_hd_bet(tmp_path, "cpu")
    assert "dataset.json" in caught.value.found


def test_a_missing_package_is_told_with_the_command_that_installs_it(tmp_path, monkeypatch):
    def absent(package: str) -> str:
        raise packages.PackageNotFoundError(package)

    monkeypatch.setattr(packages, "version", absent)
    with pytest.raises(ConfigError) as caught:
        open_hd_bet(tmp_path, "cpu")
    assert caught.value.fix == 'python -m pip install "nnunetv2==2.8.1"'
