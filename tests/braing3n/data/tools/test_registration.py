"""These run where ANTsPy is installed: `pip install -c constraints-tools.txt -e .[ants]`."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from braing3n.data.canonical import canonical
from braing3n.data.scan import Scan
from braing3n.data.tools.registration import open_registration
from braing3n.data.tools.template import Template
from braing3n.files import digest_bytes

pytest.importorskip("ants")


def _lumps(points: np.ndarray) -> np.ndarray:
    """A lopsided brain of smooth intensities at points (..., 3) in millimetres."""
    x, y, z = np.moveaxis(points, -1, 0)
    inside = (x / 66) ** 2 + (y / 84) ** 2 + (z / 58) ** 2 + 0.3 * (x > 20) * (y < -30) < 1
    waves = np.sin(x / 14) + np.cos(y / 17 + 1) + np.sin(z / 11) + np.cos((x + y) / 23)
    return np.where(inside, 400 + 80 * waves, 0)


def _scan(move: np.ndarray, voxel_mm: float = 4.0, edge_mm: float = 208.0) -> Scan:
    """The brain as it is after `move` (4, 4), from its own place to the scanner's."""
    count = round(edge_mm / voxel_mm)
    affine = np.diag([-voxel_mm, -voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, (count - 1) / 2)
    places = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1)
    world = places @ affine[:3, :3].T + affine[:3, 3]
    own = (world - move[:3, 3]) @ np.linalg.inv(move[:3, :3]).T
    return Scan(Path("a.nii"), _lumps(own).astype(np.float32), affine, "0" * 64)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template(canonical(_scan(np.eye(4))))


@pytest.fixture(scope="module")
def moved() -> Scan:
    move = np.eye(4)
    move[:3, :3] = Rotation.from_euler("xyz", [6, -8, 10], degrees=True).as_matrix() * 0.93
    move[:3, 3] = 12, -9, 15
    return _scan(move, voxel_mm=3.7)


def test_a_turned_shifted_and_smaller_brain_comes_to_lie_on_the_template(template, moved):
    assert template.fit(canonical(moved))[0] < 0.9
    registered = open_registration(template)(canonical(moved))
    assert template(registered) is registered
    np.testing.assert_array_equal(registered.affine, template.scan.affine)
    both = (registered.voxels > 0) & (template.scan.voxels > 0)
    assert both.sum() > 0.97 * (template.scan.voxels > 0).sum()
    # Neither a dark rim nor another contrast: intensities are those of the template.
    difference = registered.voxels[both] - template.scan.voxels[both]
    assert np.abs(difference).mean() < 15
    assert registered.voxels[registered.voxels != 0].min() > 0.9 * moved.voxels[moved.voxels != 0].min()


def test_however_a_scan_is_stored_the_same_bits_come_out(template, moved):
    image = nib.Nifti1Image(moved.voxels, moved.affine)
    reference = open_registration(template)(canonical(moved)).voxels
    for axes in ("RAS", "PIL"):
        stored = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(axes)))
        scan = replace(moved, voxels=np.asarray(stored.dataobj, np.float32), affine=stored.affine)
        np.testing.assert_array_equal(open_registration(template)(canonical(scan)).voxels, reference)


def test_two_registrations_have_equal_bits_in_other_processes_too(template, moved, tmp_path):
    arrays = tmp_path / "scans.npz"
    np.savez(arrays, fixed=template.scan.voxels, moving=moved.voxels, fixed_affine=template.scan.affine,
             moving_affine=moved.affine)
    program = f"""
import numpy as np
from pathlib import Path
from braing3n.data.canonical import canonical
from braing3n.data.tools.registration import open_registration
from braing3n.data.scan import Scan
from braing3n.data.tools.template import Template
from braing3n.files import digest_bytes
a = np.load({str(arrays)!r})
fixed = Scan(Path("a"), a["fixed"], a["fixed_affine"], "0" * 64)
moving = Scan(Path("a"), a["moving"], a["moving_affine"], "0" * 64)
registered = open_registration(Template(fixed))(canonical(moving))
print(digest_bytes(np.ascontiguousarray(registered.voxels).tobytes()))
"""
    here = np.ascontiguousarray(open_registration(template)(canonical(moved)).voxels)
    # A setting of the machine must not matter.
    threads = {**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "2"}
    there = subprocess.run([sys.executable, "-c", program], env=threads, check=True, text=True,
                           capture_output=True)
    assert there.stdout.split()[-1] == digest_bytes(here.tobytes())


def test_the_record_names_tool_version_and_template(template):
    tool = open_registration(template)
    assert tool.title == (f"affine registration to template {template.scan.digest[:12]} "
                          f"(antspyx {tool.version})")
