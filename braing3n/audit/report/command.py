"""From files to the one document that is asked for, in the format that its name says."""

import json
from collections.abc import Sequence
from pathlib import Path

from braing3n.audit.report.document import Document, examine
from braing3n.audit.report.given import load_given
from braing3n.errors import ConfigError, OutputError
from braing3n.files import replacing

FORMATS = (".html", ".pdf", ".json")


def write_audit_report(
    paths: Sequence[Path], out: Path, receipts: Sequence[Path] = (), keys: Sequence[Path] = (),
    empirical: Sequence[Path] = (),
) -> Document:
    """Write the report on a run, or on ledgers, and return what it says.

    Args:
        paths: A run's folder, ledgers of sites, or both.
        out: report.html, report.pdf or report.json.
        receipts: Files of receipts, beside those in the run's folder.
        keys: Public keys of ledgers; without any, those beside the ledgers.
        empirical: Answers of `braing3n audit empirical --json`.

    Raises:
        ConfigError: The format is none that there is, or what was given is not what it has to be.
        LedgerError: A ledger or receipts cannot be read.
        OutputError: The run is damaged, or the report cannot be written.
    """
    if out.suffix.lower() not in FORMATS:
        raise ConfigError(f"{out} cannot be written", expected=f"a name that ends in {_named()}",
                          found=f"`{out.suffix}`" if out.suffix else "no ending",
                          fix=f"name another --out, such as {out.with_suffix('.html')}")
    doc = examine(load_given(paths, receipts, keys, empirical))
    content = _content(doc, out.suffix.lower())
    try:
        with replacing(out) as part:
            part.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{out} cannot be written", expected="a file in a folder to write in",
                          found=error.strerror or type(error).__name__,
                          fix="check its permissions and the disk, or name another --out") from error
    return doc


def _content(doc: Document, suffix: str) -> bytes:
    if suffix == ".json":
        from braing3n.audit.report.answer import document_json  # noqa: PLC0415  # one format is asked for

        return (json.dumps(document_json(doc), indent=1, ensure_ascii=False, allow_nan=False)
                + "\n").encode()
    from braing3n.audit.report.page import html_of  # noqa: PLC0415

    html = html_of(doc)
    if suffix == ".html":
        return html.encode()
    from braing3n.audit.report.pdf import pdf_of  # noqa: PLC0415

    return pdf_of(html)


def _named() -> str:
    return f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
