"""The records of a text table: encoding, line ends and separator are told by its content."""

import codecs
import contextlib
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

# A record: the line that it begins in, counted from 1, and its cells as they are written.
Record = tuple[int, list[str]]
# What is odd: a code of `braing3n.data.catalogue`, and what was found.
Remark = tuple[str, str]

# With UTF-32 before UTF-16, whose mark its own begins with.
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"),
          (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF16_LE, "utf-16-le"),
          (codecs.BOM_UTF16_BE, "utf-16-be"))
_FOREIGN = {
    b"\x1f\x8b": "a gzip file", b"\xd0\xcf\x11\xe0": "an old or protected Excel workbook",
    b"%PDF": "a PDF file", b"<": "a web page or XML", b"{\\rtf": "a rich-text document",
    b"/annex/objects": "a git-annex pointer", b"version https://git-lfs": "a Git LFS pointer",
}
# What no text holds. Tabs, line ends, vertical tabs and form feeds are text.
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_ENDS = {r"\r\n": "CRLF", r"\r(?!\n)": "bare CR", r"(?<!\r)\n": "LF"}
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_MAX_LINE = 2_000_000
_NUM_SAMPLE_LINES = 100


class UnreadableError(ValueError):
    """Bytes are no table.

    Attributes:
        found: What they are instead.
        fix: What to do about it.
    """

    def __init__(self, found: str, fix: str = "save it again as TSV or CSV in UTF-8") -> None:
        super().__init__(found)
        self.found = found
        self.fix = fix


@dataclass(frozen=True)
class _Style:
    """How cells are set apart; `skips` is whether blanks after a separator belong to it."""

    separator: str
    skips: bool = False

    def read(self, lines: Iterator[str]) -> Iterator[Record]:
        reader = csv.reader(lines, delimiter=self.separator, skipinitialspace=self.skips,
                            strict=True)
        begin = 1
        try:
            for cells in reader:
                yield begin, cells
                begin = reader.line_num + 1
        except csv.Error as error:
            raise UnreadableError(f"{error}, in the row that begins in line {begin}",
                                  "mend the quotation marks there, or save it again") from error


def read_text(content: bytes, suffix: str) -> tuple[Iterator[Record], list[Remark]]:
    """Return the records of a table in text, and what is odd about the text.

    Args:
        content: The whole file.
        suffix: Of the file's name, such as `.tsv`, for where the content leaves a choice.

    Raises:
        UnreadableError: It is no text; later records may raise it as well.
    """
    text, remarks = _decode(content)
    used = [name for end, name in _ENDS.items() if re.search(end, text)]
    if used not in ([], ["LF"]):
        remarks.append(("table-line-ends", " and ".join(used)))
    hint = re.match(r'"?sep=(.)"?(\r\n|\r|\n)', text)  # Excel's own line before the header
    first = hint.end() if hint else 0
    style = _Style(hint[1]) if hint else _style(text, suffix.lower())
    named = {".tsv": "\t", ".csv": ",;"}.get(suffix.lower())
    width = next((len(cells) for _, cells in style.read(_lines(text, first)) if any(cells)), 0)
    if named and style.separator not in named and width > 1:
        words = {"\t": "tabs", ",": "commas", ";": "semicolons"}
        remarks.append(("table-delimiter", words.get(style.separator, repr(style.separator))))
    skipped = 1 if hint else 0
    return ((line + skipped, cells) for line, cells in style.read(_lines(text, first))), remarks


def _decode(content: bytes) -> tuple[str, list[Remark]]:
    remarks: list[Remark] = []
    foreign = next((name for magic, name in _FOREIGN.items() if content.startswith(magic)), None)
    if foreign is not None:
        raise UnreadableError(foreign)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)),
                          (b"", "utf-8"))
    try:
        text = content[len(mark):].decode(encoding)
    except UnicodeDecodeError as error:
        if mark:
            raise UnreadableError(f"bytes that are not {encoding.upper()}, as its mark says"
                                  ) from error
        text, encoding = _decode_western(content)
    if mark == codecs.BOM_UTF8:
        remarks.append(("table-bom", "a byte-order mark of UTF-8"))
    elif encoding != "utf-8":
        remarks.append(("table-encoding", f"{encoding.upper()}, by its byte-order mark" if mark
                        else f"bytes that are not UTF-8; read as {encoding}"))
    strange = _NO_TEXT.search(text)
    if strange is not None:
        raise UnreadableError(f"a byte {ord(strange[0]):#04x}, which no text holds")
    return text.lstrip("\ufeff"), remarks


def _decode_western(content: bytes) -> tuple[str, str]:
    """Decode as Western European, in which every byte is a character: ids and numbers survive."""
    try:
        return content.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "Latin-1"


def _lines(text: str, start: int = 0) -> Iterator[str]:
    """Give the lines with their ends: LF, CRLF or a bare CR; not the many that `str` knows."""
    for number, match in enumerate(_LINE.finditer(text, start), start=1):
        if match.end() - match.start() > _MAX_LINE:
            raise UnreadableError(f"more than {_MAX_LINE} characters in line {number}")
        yield match[0]


def _style(text: str, suffix: str) -> _Style:
    """Find the separator: the one by which the first rows have as many cells as the header.

    A tab is hardly ever part of a cell, so that it wins where it does as well as another.
    """
    sample: list[str] = []
    for line in _lines(text):
        if line.strip() or sample:
            sample.append(line)
        if len(sample) == _NUM_SAMPLE_LINES:
            break
    best, best_fit = _Style("\t" if suffix == ".tsv" else ","), (False, 0.0, False, 1, False)
    for separator in "\t,;":
        for skips in (False, True):
            style = _Style(separator, skips)
            share, width = _fit(style, sample)
            fit = (suffix == ".tsv" and separator == "\t", share, separator == "\t", width, not skips)
            if width > 1 and fit > best_fit:
                best, best_fit = style, fit
    return best


def _fit(style: _Style, sample: list[str]) -> tuple[float, int]:
    """Return the share of rows with as many cells as the header, and the number of those."""
    counts = []
    # A sample may end inside a quoted cell; what is really wrong is told when all is read.
    with contextlib.suppress(UnreadableError):
        for _, cells in style.read(iter(sample)):
            counts += [len(cells)] if cells else []
    width = counts[0] if counts else 0
    return (counts.count(width) - 1) / max(1, len(counts) - 1), width
