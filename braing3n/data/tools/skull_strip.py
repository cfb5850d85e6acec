"""HD-BET 2 from a folder that a site has: leaves the brain, and nothing around it.

HD-BET 2 is a model of nnU-Net, and its package a command that downloads the model and calls
nnU-Net on files. Here nnU-Net is called on arrays, as that command does, and nothing is downloaded.
"""

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from braing3n.data.axes import sizes_mm
from braing3n.data.scan import Scan
from braing3n.data.tools.packages import required_version
from braing3n.errors import ConfigError, ScanError
from braing3n.files import digest_bytes, digest_file

PACKAGE = "nnunetv2"
_KNOWN = "2.8.1"
_FILES = ("dataset.json", "plans.json", "fold_all/checkpoint_final.pth")


@dataclass(frozen=True)
class HdBet:
    """HD-BET (Isensee et al. 2019, https://doi.org/10.1002/hbm.24750).

    Attributes:
        folder: The model as its release unpacks: dataset.json, plans.json, fold_all.
        digest: Of the three files' digests.
        version: Of nnU-Net.
        device: `cpu` or `cuda`. As HD-BET's authors advise, mirrored copies are predicted too on
            a GPU, not on a CPU.
    """

    folder: Path
    digest: str
    version: str
    device: str

    @property
    def title(self) -> str:
        """What was done, by what."""
        return f"HD-BET (model {self.digest[:12]}, {PACKAGE} {self.version}, on {self.device})"

    def describe(self) -> Mapping[str, Any]:
        """Return all that the result depends on besides the scan."""
        return {"tool": "hd-bet", PACKAGE: self.version, "torch": torch.__version__,
                "model": self.digest, "device": self.device}

    def __call__(self, scan: Scan) -> Scan:
        """Return the brain; what HD-BET does not take for brain becomes 0.

        Raises:
            ScanError: HD-BET finds no brain.
        """
        # HD-BET wants the axes of the MNI152 template: X right, Y anterior, Z up; nnU-Net Z first.
        image = np.ascontiguousarray(scan.voxels[::-1, ::-1].T, dtype=np.float32)    # (Z, Y, X)
        sizes = [float(size) for size in sizes_mm(scan.affine)[::-1]]
        with redirect_stdout(io.StringIO()):
            found = self._network.predict_single_npy_array(image[None], {"spacing": sizes})
        brain = np.asarray(found).T[::-1, ::-1] > 0                                  # (X, Y, Z)
        if not brain.any():
            raise ScanError(f"{scan.path} has no brain in it", expected="a head",
                            found="nothing that HD-BET takes for a brain", fix="look at the scan")
        return replace(scan, voxels=np.where(brain, scan.voxels, np.float32(0)))

    @cached_property
    def _network(self) -> Any:
        """nnU-Net's predictor with the site's weights; read when the first scan needs it."""
        # One thread for its resampling, so that the machine's cores do not matter.
        os.environ.update({"nnUNet_def_n_proc": "1", "nnUNet_compile": "F"})
        benchmark = torch.backends.cudnn.benchmark
        with redirect_stdout(io.StringIO()):
            from nnunetv2.inference.predict_from_raw_data import (  # noqa: PLC0415
                nnUNetPredictor,
            )

            predictor = nnUNetPredictor(
                tile_step_size=0.5, use_gaussian=True, use_mirroring=self.device == "cuda",
                perform_everything_on_device=True, device=torch.device(self.device),
                allow_tqdm=False)
            predictor.initialize_from_trained_model_folder(str(self.folder), "all")
        torch.backends.cudnn.benchmark = benchmark  # nnU-Net sets it, for training as well
        return predictor


def open_hd_bet(folder: Path, device: str) -> HdBet:
    """Return the tool; the model is read when it is first used.

    Raises:
        ConfigError: nnU-Net is not installed, or the folder does not hold the model.
    """
    version = required_version(PACKAGE, _KNOWN, "hd-bet", "skull_strip: hd-bet")
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError("the model of HD-BET is not there", found=f"no {missing[0]} in {folder}",
                          expected=f"a folder with {', '.join(_FILES)}",
                          fix="unpack HD-BET 2's parameters (its zenodo.org record 14445620) there; "
                              "nothing is downloaded from here")
    digests = [digest_file(folder / name) for name in _FILES]
    return HdBet(folder, digest_bytes("\n".join(digests).encode()), version, device)
