from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from braing3n.data.canonical import canonical
from braing3n.data.preprocess import preprocess, preprocessing_digest
from braing3n.data.scan import Scan
from braing3n.data.tools.chain import PLAIN, Chain
from braing3n.data.tools.template import Template
from braing3n.errors import ScanError
from braing3n.presets import PRESETS

NANO = PRESETS["nano"]


@dataclass(frozen=True)
class Named:
    """A tool that adds a number to the brain's voxels, or cuts off what is around the brain."""

    title: str
    add: float = 0.0
    keep_above: float = 0.0

    def describe(self):
        return {"tool": self.title, "add": self.add, "keep_above": self.keep_above}

    def __call__(self, scan):
        kept = scan.voxels > self.keep_above
        return replace(scan, voxels=np.where(kept, scan.voxels + self.add, 0).astype(np.float32))


@pytest.fixture
def scan(brain) -> Scan:
    return Scan(Path("a.nii"), brain.astype(np.float32), np.diag([-4.0, -4.0, 4.0, 1.0]), "0" * 64)


@pytest.fixture
def head(scan) -> Scan:
    noise = np.random.default_rng(0).uniform(1, 20, scan.voxels.shape).astype(np.float32)
    return replace(scan, voxels=np.where(scan.voxels > 0, scan.voxels, noise))


def test_nothing_is_done_by_default_and_the_record_says_so(scan):
    assert PLAIN.apply(scan) is scan
    assert PLAIN.note() == ("preprocessing: no bias field correction; no skull strip: scans are taken "
                            "as stripped, checked; no registration")


def test_tools_run_in_the_papers_order(scan):
    order = []

    @dataclass(frozen=True)
    class Listed(Named):
        def __call__(self, scan):
            order.append(self.title)
            return scan

    chain = Chain(registration=Listed("moved"), skull_strip=Listed("stripped"),
                  bias_field=Listed("evened"))
    chain.apply(scan)
    assert order == ["evened", "stripped", "moved"]
    assert chain.note() == "preprocessing: evened; stripped, checked; moved, checked"


def test_what_a_tool_strips_is_checked_after_it(head):
    with pytest.raises(ScanError, match="skull-stripped"):
        Chain(bias_field=Named("n4", add=1.0)).apply(head)
    stripped = Chain(skull_strip=Named("strip", keep_above=50)).apply(head)
    assert 0.3 < (stripped.voxels == 0).mean() < 0.9
    with pytest.raises(ScanError, match="skull-stripped"):
        Chain(skull_strip=Named("fails")).apply(head)
    assert np.array_equal(Chain(skull_strip=Named("fails"), is_checked=False).apply(head).voxels,
                          head.voxels)


def test_scans_are_checked_against_the_template_that_they_are_said_to_be_registered_to(scan):
    scan = canonical(scan)
    chain = Chain(template=Template(scan))
    assert chain.apply(scan) is scan
    moved = replace(scan, affine=scan.affine + np.eye(4, k=3) * 40)
    with pytest.raises(ScanError, match="does not fit"):
        chain.apply(moved)
    assert replace(chain, is_checked=False).apply(moved) is moved
    assert "taken as registered to template 000000000000, checked" in chain.note()
    assert "taken as registered to template 000000000000, not checked" in replace(
        chain, is_checked=False).note()


def test_the_voxels_come_from_the_tools_and_the_digest_from_all_that_they_depend_on(scan, head):
    strip = Chain(skull_strip=Named("strip", keep_above=50))
    np.testing.assert_allclose(preprocess(head, NANO, strip), preprocess(scan, NANO), atol=3e-3)
    chains = [PLAIN, strip, Chain(skull_strip=Named("strip", keep_above=51)),
              Chain(bias_field=Named("strip", keep_above=50)), Chain(is_checked=False),
              Chain(template=Template(scan)), Chain(template=Template(replace(scan, digest="1" * 64)))]
    assert len({preprocessing_digest(NANO, chain) for chain in chains}) == len(chains)
