"""The page of a check: what a data manager sees, and what nobody sees."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image

from braing3n.data.findings import Severity, finding
from braing3n.data.tree import Entry, Kind, describe
from braing3n.preflight.outcome import Facts, Preflight, VolumeReport
from braing3n.preflight.output import verdict
from braing3n.preflight.page import histogram_path, write_page
from braing3n.preflight.volume import check_scan

ROOT = Path("/data/site")
STAYS = "This page shows scans. It stays at the site."


class _Page(HTMLParser):
    """What a browser would find on a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.words = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.texts.append(data)


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (288, 96), 90).save(buffer, "JPEG")
    return buffer.getvalue()


def _facts(**changed):
    known = {"shape": (60, 72, 61), "voxel_mm": (3.0, 3.0, 0.9375), "axes": "LAS", "affine": np.eye(4),
             "voxels_digest": None, "is_stripped": True, "background_share": 0.6,
             "histogram": (1, 4, 2), "picture": _jpeg()}
    return Facts(**{**known, **changed})


def _scan(name, *codes, found="this", facts=None):
    path = ROOT / name
    entry = Entry(path, Kind.SCAN, name.split("/")[0], None, "T1w")
    return VolumeReport(entry, tuple(finding(code, path, found) for code in codes), facts)


def _preflight(*volumes, more=(), root=ROOT):
    order = list(Severity)
    found = [one for volume in volumes for one in volume.findings] + list(more)
    found.sort(key=lambda one: (order.index(one.rule.severity), one.rule.code, str(one.path)))
    return Preflight(root, len(volumes), tuple(found), tuple(volumes))


@pytest.fixture
def page(tmp_path):
    """A page of these scans, as a browser finds it."""

    def write(*volumes, more=(), root=ROOT):
        path = tmp_path / "page.html"
        write_page(_preflight(*volumes, more=more, root=root), path)
        return _Page(path.read_text(encoding="utf-8"))

    return write


def _mixed():
    return [_scan("sub-01/sub-01_T1w.nii.gz", "scale-applied", facts=_facts()),
            _scan("sub-02/sub-02_T1w.nii.gz", "oblique", "face-present", facts=_facts()),
            _scan("sub-03/sub-03_T1w.nii.gz", "gzip-truncated", found="17 bytes of 99"),
            _scan("sub-04/sub-04_T1w.nii.gz", "identity-header", facts=_facts()),
            _scan("sub-05/sub-05_T1w.nii.gz", facts=_facts())]


def test_the_page_says_first_that_it_stays_then_the_verdict_and_the_numbers(page):
    words = page(*_mixed()).words
    sentence = verdict(_preflight(*_mixed()))
    assert sentence.startswith("not ready")
    assert words.index(STAYS) < words.index(f"✕ {sentence}") < words.index("Rules broken")
    for part in ("files looked at 5", "subjects 5", "scans 5", "scans that can be used 4",
                 "scans that cannot 1"):
        assert part in words


def test_every_finding_is_told_with_its_file_what_was_expected_found_and_what_to_do(page):
    words = page(*_mixed()).words
    assert ("ERROR gzip-truncated: a compressed file that ends too early Expected: a whole gzip "
            "stream. To do: copy it again from where it came from, or convert it again. file found "
            "sub-03/sub-03_T1w.nii.gz 17 bytes of 99") in words


def test_commands_are_set_apart_and_a_single_backtick_is_a_backtick(page):
    found = finding("identity-header", ROOT / "a.nii", "a ` <b>", fix="run `a & b`, `c`")
    text = page(more=[found]).text
    assert "run <code>a &amp; b</code>, <code>c</code>" in text
    assert "a ` &lt;b&gt;" in text


def test_what_differs_between_findings_of_a_rule_has_its_own_column(page):
    more = [finding("table-cells", ROOT / name, "7 cells", expected=f"{number} cells",
                    fix=f"to {number}") for number, name in enumerate(("a.tsv", "b.tsv"))]
    words = page(more=more).words
    assert "file found expected to do a.tsv 7 cells 0 cells to 0 b.tsv 7 cells 1 cells to 1" in words


def test_scans_come_by_their_worst_finding_and_notes_do_not_count(page):
    found = page(*_mixed())
    assert [name for name in found.ids if name.startswith("scan-")] == [
        "scan-3", "scan-4", "scan-2", "scan-1", "scan-5"]
    for title in ("With errors (1)", "With something that may name a person (1)", "With warnings (1)",
                  "Without errors and warnings (2)"):
        assert title in found.words


def test_a_scan_that_cannot_be_used_is_a_tile_that_says_why(page):
    found = page(*_mixed())
    assert "Not used: a compressed file that ends too early: 17 bytes of 99" in found.words
    assert len([image for image in found.images if image.get("loading") == "lazy"]) == 4


def test_a_tile_tells_what_a_scan_is(page):
    found = page(_scan("sub-01/a.nii", facts=_facts()))
    assert "sub-01/a.nii T1w, 60 x 72 x 61 voxels, 3 x 3 x 0.938 mm, LAS" in found.words
    picture = next(image for image in found.images if image.get("loading") == "lazy")
    assert picture["src"] == "data:image/jpeg;base64," + base64.b64encode(_jpeg()).decode()
    assert picture["alt"] == "Axial, coronal and sagittal plane of sub-01/a.nii"
    assert f'<path d="{histogram_path((1, 4, 2))}"/>' in found.text


def test_links_lead_somewhere_and_places_are_unique(page):
    found = page(*_mixed(), more=[finding("scan-twice", ROOT / "sub-01/sub-01_T1w.nii.gz", "sub-05")])
    inside = [link.removeprefix("#") for link in found.links if link.startswith("#")]
    assert set(inside) <= set(found.ids)
    assert {"scan-1", "scan-3", "gzip-truncated"} <= set(inside)
    assert len(found.ids) == len(set(found.ids))


def test_the_page_needs_no_network_and_no_script_and_every_picture_has_words(page):
    found = page(*_mixed())
    assert all(link.startswith(("data:image/", "#")) for link in found.links)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert not re.search(r"https?://|url\(|@import", found.text)
    assert found.images
    assert all(image["alt"] for image in found.images)


def test_what_may_name_a_person_is_nowhere_on_the_page(page):
    name = "sub-01/Erika_Mustermann_19600312_T1w.nii.gz"
    email = "erika.mustermann@example.org"
    found = page(_scan(name, "identity-name", found=f"mail {email}", facts=_facts()),
                 _scan(f"b/{name}", "file-empty"), root=ROOT)
    elsewhere = page(_scan(name, facts=_facts()), root=Path("/home/emustermann/1960-03-12"))
    for text in (found.text, elsewhere.text):
        assert "***" in text
        assert not re.search("mustermann|1960", text, re.IGNORECASE)


def test_hostile_names_are_shown_as_text(page):
    name = '<img src=x>"><script>alert(1)</script>'
    found = page(_scan(name, "face-present", found=name, facts=_facts()),
                 _scan("b" + name, "file-empty"))
    assert "script" not in found.tags
    assert "x" not in found.links
    assert "alert(1)" in found.words


def test_a_name_that_is_not_in_utf8_is_shown_as_escapes(page):
    assert "sub-\\udcfc.nii" in page(_scan("sub-\udcfc.nii", "file-name", facts=_facts())).words


def test_only_the_owner_can_read_the_page_whatever_was_there_before(tmp_path):
    path = tmp_path / "page.html"
    path.touch(mode=0o644)
    write_page(_preflight(*_mixed()), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_the_same_check_gives_the_same_bytes(tmp_path):
    for name in "ab":
        write_page(_preflight(*_mixed()), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_folder_has_a_page_that_says_so(page):
    words = page(more=[finding("scans-none", ROOT, "nothing")]).words
    assert "file found the folder itself nothing" in words
    assert "This page names files of a site. It stays at the site." in words
    assert "There is no scan that can be used, so there is nothing to draw." in words
    assert STAYS not in words


def test_a_clean_folder_is_ready_and_nothing_was_found(page):
    words = page(_scan("sub-01/a.nii", facts=_facts())).words
    assert "✓ ready" in words
    assert "None: nothing was found." in words


def test_without_pictures_the_page_says_that_none_were_made(page):
    found = page(_scan("a.nii", facts=_facts(picture=None)))
    assert "No picture was made" in found.words
    assert STAYS not in found.words


def test_hundreds_of_findings_and_scans_are_folded_and_none_is_lost(page):
    scans = [_scan(f"sub-{number:03}/a.nii", "face-present", facts=_facts()) for number in range(450)]
    found = page(*scans)
    tiles = [name for name in found.ids if name.startswith("scan-")]
    assert sorted(tiles) == sorted(f"scan-{number}" for number in range(1, 451))
    # Each is linked once, in the list of findings.
    assert sum(link.startswith("#scan-") for link in found.links) == 450
    assert "440 more" in found.words
    assert "With warnings: 401 to 450 of 450, sub-400/a.nii to sub-449/a.nii" in found.words
    assert found.tags.count("details") == 1 + 3
    # With the smallest picture that there is: the rest must leave room for a real one.
    assert len(found.text) < 450 * 2500


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=40))
def test_a_histogram_is_drawn_bin_by_bin(counts):
    path = histogram_path(counts)
    if not any(counts):
        assert path is None
        return
    assert path.startswith("M0 24")
    assert path.endswith("V24Z")
    tops = []
    for top, end in re.findall(r"V(\d+)H(\d+)", path):
        tops += [int(top)] * (int(end) - len(tops))
    assert tops == [24 - round(24 * count / max(counts)) for count in counts]


def _head(side):
    """A head in RAS orientation that is brighter to one side, as a NIfTI image of 3 mm voxels."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (48, 60, 50)], indexing="ij")
    # Indices grow to the right, the front and the top.
    brightness = 500 + 400 * axes[("right", "front", "top").index(side)]
    inside = np.linalg.norm(axes, axis=0) < 0.8
    return nib.Nifti1Image(np.where(inside, brightness, 0).astype(np.int16), np.diag([3.0, 3, 3, 1]))


@pytest.mark.parametrize("stored", ["RAS", "LAS", "PSR", "SPL"])
def test_pictures_are_in_radiological_convention_however_voxels_are_stored(tmp_path, stored):
    """Of each plane, compare the halves of its square that a brighter side must tell apart."""
    for side, brighter in (("right", {0: "left", 1: "left"}), ("front", {0: "upper", 2: "left"}),
                           ("top", {1: "upper", 2: "upper"})):
        image = _head(side)
        turned = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(stored)))
        path = tmp_path / f"sub-{side}_T1w.nii"
        nib.save(turned, path)
        facts = check_scan(describe(path, tmp_path), with_picture=True).facts
        assert facts.axes == stored
        sheet = np.asarray(Image.open(io.BytesIO(facts.picture))).astype(float)
        for plane in range(3):
            tile = sheet[:, 96 * plane : 96 * (plane + 1)]
            across = tile[:, :48].mean() - tile[:, 48:].mean()
            along = tile[:48].mean() - tile[48:].mean()
            assert (across > 10) == (brighter.get(plane) == "left")
            assert (along > 10) == (brighter.get(plane) == "upper")
            assert min(across, along) > -10


def test_real_scans_take_less_than_six_kilobytes_each(test_data, tmp_path):
    folder = test_data / "nifti" / "minicohort" / "site-hh"
    scans = [check_scan(describe(path, folder), with_picture=True)
             for path in sorted(folder.glob("sub-*/**/*_T1w.nii.gz"))[:6]]
    sizes = []
    for number in (3, 6):
        write_page(_preflight(*scans[:number], root=folder), tmp_path / "page.html")
        sizes.append((tmp_path / "page.html").stat().st_size)
    assert (sizes[1] - sizes[0]) / 3 < 6000
