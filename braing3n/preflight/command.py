"""What `braing3n check` and `braing3n site check` share: look, write, print, and the exit code."""

import codecs
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from braing3n.counting import counting
from braing3n.errors import OutputError
from braing3n.preflight.outcome import Preflight, Wishes
from braing3n.preflight.output import as_json, print_outcome

# What a check looks at, before it is known how its progress is shown.
Look = Callable[[Callable[[Wishes], Wishes]], Preflight]

_START_BYTES = 256


def run_check(look: Look, *, prints_json: bool, html: Path | None) -> int:
    """Run a check and show what it came to: results on stdout, progress on stderr.

    Returns:
        The exit code: 0 where nothing worse than a warning was found, else 1.

    Raises:
        OutputError: The page cannot be written: told before the check where it shows, or else after
            what was found is printed.
    """
    if html is not None:
        _check_place(html)
    with counting(Console(stderr=True), "files") as progress:
        preflight = look(lambda wishes: replace(wishes, with_pictures=html is not None,
                                                progress=progress))
    if prints_json:
        sys.stdout.write(as_json(preflight) + "\n")
    else:
        print_outcome(preflight, Console())
    if html is not None:
        _write_page(preflight, html)
    return 0 if preflight.holds else 1


def _check_place(html: Path) -> None:
    """Refuse a place for the page before everything is read for it.

    Raises:
        OutputError: Something other than a page is there, or the folder cannot be written to.
    """
    above = next(folder for folder in html.absolute().parents if folder.exists())
    if html.exists() and not html.is_file():
        found = "a folder" if html.is_dir() else "something other than a file"
    elif html.exists() and not _may_be_replaced(html):
        found = "a file that is no page"
    elif not above.is_dir():
        found = f"{above}, which is no folder"
    elif not os.access(above, os.W_OK | os.X_OK):
        found = f"{above}, which may not be written to"
    else:
        return
    raise OutputError(f"{html} is no place for a page",
                      expected="a new file or an HTML page, in a folder to write to",
                      found=found, fix="choose another place for --html")


def _may_be_replaced(file: Path) -> bool:
    """Tell an earlier page, or a file without content, from a scan or a table.

    Raises:
        OutputError: It cannot be read.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(_START_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().lower()
    except OSError as error:
        raise OutputError(f"{file} cannot be read", expected="a new file or an HTML page",
                          found=error.strerror or "an error",
                          fix="choose another place for --html") from error
    return start.startswith((b"<!doctype html", b"<html")) or file.stat().st_size == 0


def _write_page(preflight: Preflight, html: Path) -> None:
    from braing3n.preflight.page import write_page  # noqa: PLC0415  # only a page needs matplotlib

    try:
        write_page(preflight, html)
    except OSError as error:
        raise OutputError(f"{html} cannot be written", expected="a file in a folder to write to",
                          found=error.strerror or "an error", fix="choose another place") from error
    is_inside = html.resolve().is_relative_to(preflight.folder.resolve())
    where = ", inside the data: it shows every scan, so move it before the folder is passed on"
    sys.stderr.write(f"page: {html}{where if is_inside else ''}\n")
