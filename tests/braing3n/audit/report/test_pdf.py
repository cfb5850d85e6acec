"""The PDF as a reader sees it: pages as pictures."""

import builtins
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest

from braing3n.audit.report.command import write_audit_report
from braing3n.audit.report.pdf import pdf_of
from braing3n.errors import ConfigError


def _lacks() -> str:
    """Return what the drawing of PDFs lacks here: it needs a library that is not a Python package."""
    try:
        import_module("weasyprint")
    except OSError as error:
        return str(error).splitlines()[0]
    return ""


needs_pango = pytest.mark.skipif(bool(_lacks()), reason=f"PDFs need the library Pango: {_lacks()}")

_SCALE = 1.0  # pixels a point: 1/72 inch
_MARGIN = 28  # of them stay empty at every edge, but for the page's foot


@needs_pango
def test_pages_are_full_and_nothing_is_cut_at_their_edges(template: Path, tmp_path: Path) -> None:
    write_audit_report([template], tmp_path / "report.pdf")
    document = pypdfium2.PdfDocument(tmp_path / "report.pdf")
    assert 6 <= len(document) <= 14
    for page in document:
        width, height = page.get_size()
        assert (round(width), round(height)) == (595, 842)  # A4
        inked = page.render(scale=_SCALE, grayscale=True).to_numpy().squeeze() < 200
        assert inked.mean() > 0.004, "a blank page"
        rows, columns = np.nonzero(inked)
        assert columns.min() >= _MARGIN
        assert columns.max() < inked.shape[1] - _MARGIN, "text runs off at the right"
        assert rows.min() >= _MARGIN
    first = " ".join(document[0].get_textpage().get_text_bounded().split())
    assert "What one patient of each site is promised" in first
    assert "-differential privacy for one patient of this site" in first
    assert "site-c: no differential privacy; updates can reveal training data" in first
    assert "page 1 of" in first
    text = "".join(page.get_textpage().get_text_bounded() for page in document)
    assert "What is not covered" in text
    assert "ledger.jsonl" in text


@needs_pango
def test_a_picture_of_a_wide_word_is_what_the_check_would_find() -> None:
    """The check above can fail: a word that fits no page, on a page without our styles."""
    html = f"<style>@page {{ size: A4; margin: 15mm }}</style><p>{'wide' * 60}</p>"
    inked = pypdfium2.PdfDocument(pdf_of(html))[0].render(scale=_SCALE, grayscale=True).to_numpy() < 200
    assert np.nonzero(inked.squeeze())[1].max() >= inked.shape[1] - _MARGIN


@needs_pango
def test_a_page_for_paper_fetches_nothing(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (400, 400)).save(tmp_path / "black.png")
    html = f'<img src="{(tmp_path / "black.png").as_uri()}">'
    shown = pypdfium2.PdfDocument(pdf_of(html))[0].render(scale=0.2, grayscale=True).to_numpy()
    assert shown.min() > 200


@pytest.mark.parametrize(("error", "expected"), [
    (ImportError("No module named 'weasyprint'"), "the Python package weasyprint"),
    (OSError("cannot load library 'libpango-1.0-0'\nmore"), "the system library Pango")])
def test_where_it_cannot_be_drawn_it_says_how_else(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    whole = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name == "weasyprint":
            raise error
        return whole(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="a PDF cannot be written here") as refused:
        pdf_of("<p>x</p>")
    assert refused.value.expected == expected
    assert "print it to a PDF with any browser" in refused.value.fix
    assert "\n" not in refused.value.found
