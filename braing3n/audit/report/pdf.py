"""The audit report as a PDF, by WeasyPrint, from the same page."""

from typing import Any

from braing3n.errors import ConfigError

_OTHERWISE = ("write `--out report.html`, and print it to a PDF with any browser: it has styles for "
              "paper; or ")


def pdf_of(html: str) -> bytes:
    """Return a page as a tagged PDF.

    Args:
        html: The page; whatever it needs is in it.

    Raises:
        ConfigError: WeasyPrint, or the library Pango that it draws text by, is not installed.
    """
    try:
        # It takes a second, and needs Pango.
        from weasyprint import HTML  # type: ignore[import-untyped]  # noqa: PLC0415
        from weasyprint.urls import URLFetcher  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("a PDF cannot be written here", expected="the Python package weasyprint",
                          found=str(error), fix=f"{_OTHERWISE}`pip install weasyprint`") from error
    except OSError as error:
        raise ConfigError("a PDF cannot be written here", expected="the system library Pango",
                          found=str(error).splitlines()[0], fix=_OTHERWISE +
                          "install Pango: `apt install libpango-1.0-0 libpangoft2-1.0-0`, `brew "
                          "install pango`, or as https://doc.courtbouillon.org/weasyprint/ says"
                          ) from error
    # Pictures stand in the page itself: nothing is fetched from a network, and no other file is read.
    content: Any = HTML(string=html, url_fetcher=URLFetcher(allowed_protocols=["data"])).write_pdf(
        pdf_tags=True)
    return bytes(content)
