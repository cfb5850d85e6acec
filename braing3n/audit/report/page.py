"""The audit report as one HTML page: it needs no network, no script and no other file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from braing3n.audit.findings import Finding
from braing3n.audit.output import up
from braing3n.audit.report.appendix import MAX_ROWS, Appendix
from braing3n.audit.report.document import Document
from braing3n.audit.report.releases import RUN_RECORD, UPDATES
from braing3n.audit.report.spending import MAX_POINTS, picture
from braing3n.audit.report.words import Piece, Words, linked, words
from braing3n.pages import data_uri, page_template
from braing3n.report.departures import human_bytes
from braing3n.report.privacy_table import starts_in_words
from braing3n.report.run_folder import RunRecord

_STAGES = {
    "pretrain": "an encoder, by filling in hidden parts of scans (masked autoencoder)",
    "decoder": "a decoder from the frozen encoder's embeddings back to scans",
    "diffusion": "a generator of such embeddings by age, sex and diagnosis (diffusion transformer)",
}


@dataclass(frozen=True)
class StageLine:
    """A stage as the page shows it."""

    name: str
    what: str
    done: int
    planned: int
    sites: tuple[str, ...]
    start: str
    digest: str | None


@dataclass(frozen=True)
class FindingLine:
    """Something wrong as the page shows it: where, its code, what it means, and where to look."""

    where: str
    code: str
    says: str
    see: Words


def html_of(doc: Document) -> str:
    """Return an audit report as HTML."""
    record, drawn = doc.given.record, picture(doc.courses)
    folder = Path(__file__).parent
    runs = sorted({line.run for one in doc.ledgers for _, line in one.audit.lines if line.run})
    return page_template(folder / "audit.html.j2").render(
        doc=doc, run=record, title=title_of(doc), up=up, max_rows=MAX_ROWS,
        # Our own file, which has quotation marks.
        css=Markup((folder / "audit.css").read_text(encoding="utf-8")),  # noqa: S704
        in_model=sum(bool(one.is_in_model) for one in doc.promises),
        unsupported=[one.site for one in doc.promises if not one.is_supported],
        ledger_runs=runs, stages=[] if record is None else list(_stages(record)),
        picture=drawn, image=None if drawn is None else data_uri(drawn.image),
        points_left_out=any(len(course.points) >= MAX_POINTS for course in doc.courses),
        has_noised_losses=any(row.noised != "exact" and row.what == UPDATES
                              for row in doc.releases),
        findings=list(finding_lines(doc)), human=human_bytes,
        notes={one.slug: [linked(note, one.target) for note in one.audit.notes] for one in doc.ledgers},
        attack_file={file.path: number for number, file in enumerate(doc.given.files, start=1)})


def title_of(doc: Document) -> str:
    """Return the document's title."""
    if doc.given.record is not None:
        return f"Privacy audit of run {doc.given.record.id} ({doc.given.record.name})"
    return f"Privacy audit of {len(doc.ledgers)} ledger{'s' if len(doc.ledgers) != 1 else ''}"


def finding_lines(doc: Document) -> Iterator[FindingLine]:
    """Give all that speaks against the claims."""
    for one in doc.ledgers:
        yield from (FindingLine(one.name, found.code, found.meaning, _see(found, one))
                    for found in one.audit.findings)
    yield from (FindingLine("receipts", found.code, found.meaning, _command("verify"))
                for found in doc.given.verified.findings)
    for differing in doc.disagreements:
        text = f"{differing.what[0].upper()}{differing.what[1:]}"
        yield FindingLine(differing.site or "files", differing.code, text, words(
            Piece("run.json", RUN_RECORD)))
    for attack in doc.given.attacks:
        if attack.record.speaks_against:
            yield FindingLine("training code", "attack", "; ".join(attack.record.speaks_against),
                              words(Piece("the attack", "empirical")))


def _see(found: Finding, ledger: Appendix) -> Words:
    if found.entry is None:
        return _command("verify")
    return words(Piece(f"entry {found.entry}", ledger.target(found.entry)))


def _command(name: str) -> Words:
    return words(Piece("command", name))


def _stages(record: RunRecord) -> Iterator[StageLine]:
    starts = {stage: (says, digest) for stage, says, digest in starts_in_words(record.starts)}
    for stage in record.stages:
        gave = {site for exchange in stage.participation for site in exchange.answered}
        says, digest = starts.get(stage.name, ("not recorded", None))
        yield StageLine(
            stage.name, _STAGES.get(stage.name, stage.name), len(stage.participation), stage.rounds,
            tuple(site for site in record.sites if site in gave), says, digest)
