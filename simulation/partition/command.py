"""`braing3n sim partition`: who is at which site, of one public cohort or several."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from click.core import ParameterSource
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from simulation.partition.asked import Asked
    from simulation.partition.groups import Differences
    from simulation.partition.parts import Partition

# Beside the site's name, so that a terminal of 80 letters shows them.
_COLUMNS = 5
_NOBODY = (
    "nobody is at any site, so nothing was divided. Read another table of the cohort, whose rows or\n"
    "ids tell the site (`braing3n sim cohorts show NAME` says how), or say by --mapping where it is.")


By = Annotated[Literal["site", "site-groups", "dirichlet", "iid"], typer.Option(
    help="What is a part: a site, or a group of sites; or, to compare with, people dealt so that parts "
         "differ in one variable (dirichlet), or at random (iid).")]
GroupSize = Annotated[int | None, typer.Option(help="How many sites are a group, for site-groups.")]
Parts = Annotated[int | None, typer.Option(help="How many parts, for dirichlet and iid.")]
Alpha = Annotated[float | None, typer.Option(
    help="How alike parts are, for dirichlet: 0.1 makes them very different, 100 alike.")]
Variable = Annotated[Literal["diagnosis", "sex", "site", "modality"] | None, typer.Option(
    help="What parts differ in, for dirichlet.")]
Seed = Annotated[int | None, typer.Option(help="Of the draw of dirichlet and iid; 0 if not given.")]
Small = Annotated[Literal["keep", "drop", "merge"], typer.Option(
    help="What becomes of small sites: they are kept, left out, or made one.")]
Out = Annotated[Path | None, typer.Option(
    help="A new folder for settings and a table of each site, and for a table, a picture and a page "
         "of what differs.")]
Scans = Annotated[int, typer.Option(min=0, help=(
    "With --out: how many scans of each site and modality are read, to compare grey values."))]


def partition(
    context: typer.Context,
    source: Annotated[list[str], typer.Argument(
        help="A BIDS folder, a folder of them, a table (TSV, CSV, XLSX), or NAME=PATH.")],
    cohort: Annotated[
        str | None, typer.Option(help="A name of `braing3n sim cohorts`, or a YAML file.")] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(help="In place of --cohort: a mapping file (YAML) with `site:`.")] = None,
    by: By = "site",
    group_size: GroupSize = None,
    parts: Parts = None,
    alpha: Alpha = None,
    variable: Variable = None,
    seed: Seed = None,
    min_subjects: Annotated[
        int, typer.Option(min=1, help="A site of fewer subjects is a small one.")] = 1,
    small: Small = "keep",
    out: Out = None,
    scans: Scans = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Split a cohort by the site where its scans were made; nobody is at two sites.

    SOURCE is a BIDS folder or a table, with --cohort or --mapping; or a
    folder that holds one BIDS folder a site; or several cohorts at once, each
    as NAME=PATH, such as abide1=/data/abide1. Of a table without images,
    rows are counted. Exit codes: 0 done, 2 misuse.
    """
    from braing3n.files import check_free  # noqa: PLC0415  # keeps --help fast
    from simulation.partition.asked import Asked  # noqa: PLC0415
    from simulation.partition.partitioners import Scheme  # noqa: PLC0415
    from simulation.partition.parts import partition_cohort  # noqa: PLC0415
    from simulation.partition.pooling import find_sources, read_sources  # noqa: PLC0415

    scheme = Scheme(by, group_size, parts, alpha, variable, seed)
    scheme.check()
    sources = find_sources(source, cohort, mapping)
    if out is not None:
        check_free(out)
    rows = read_sources(sources)
    done = partition_cohort(rows, scheme, min_subjects=min_subjects, small=small)
    found, written = None, ""
    if out is not None:
        found, written = _write(done, out, Asked(tuple(source), _options_of(context)), scans)
    if as_json:
        typer.echo(json.dumps(done.as_dict(), indent=1))
        return
    _show(done, found, rows.notes)
    if written:
        typer.echo(written)


def _options_of(context: typer.Context) -> tuple[str, ...]:
    """Return the options that were given, and their values, but those that say where results go."""
    return tuple(text for option in context.command.params
                 if option.name not in ("source", "out", "as_json") and option.name is not None
                 and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
                 for text in (option.opts[0], str(context.params[option.name])))


def _write(done: "Partition", out: Path, asked: "Asked", scans: int) -> tuple["Differences", str]:
    """Write everything, and return what differs and what is to be said of the files."""
    from braing3n.counting import counting  # noqa: PLC0415
    from simulation.partition.differences import find_differences  # noqa: PLC0415
    from simulation.partition.figure import draw_differences  # noqa: PLC0415  # matplotlib
    from simulation.partition.files import write_partition  # noqa: PLC0415
    from simulation.partition.intensities import compare_intensities  # noqa: PLC0415
    from simulation.partition.page import partition_page  # noqa: PLC0415
    from simulation.partition.table import differences_tsv  # noqa: PLC0415

    intensities = None
    if scans and any(row.path is not None for site in done.sites for row in site.rows):
        with counting(Console(stderr=True), "comparing grey values") as show:
            intensities = compare_intensities(done.sites, scans, show)
    found = find_differences(done, intensities)
    pages: dict[str, str | bytes] = {}
    if found.pool.num_subjects:
        picture = draw_differences(found)
        pages = {"differences.tsv": differences_tsv(found), "differences.png": picture,
                 "partition.html": partition_page(
                     done, found, picture, ", ".join(asked.sources), scans)}
    count = write_partition(done, found, pages, out, asked)
    return found, f"{out}: {', '.join([*pages, 'partition.json'])}; {_settings(done, count)}"


def _settings(done: "Partition", count: int) -> str:
    """Return how many sites got settings, and how many could not, in words."""
    others = sum(bool(site.rows) for site in done.sites) - count
    if not count:
        return "no settings of sites, and nothing to train on: no images are behind the rows"
    return f"settings of {count} sites" + (
        f"; no images are behind the rows of {others} others" if others else "")


def _show(done: "Partition", found: "Differences | None", notes: tuple[str, ...]) -> None:
    from simulation.partition.differences import find_differences  # noqa: PLC0415
    from simulation.partition.page import odd_lines  # noqa: PLC0415
    from simulation.partition.table import (  # noqa: PLC0415
        abbreviations,
        people_rows,
        sentences,
        shift_rows,
    )

    if not any(site.rows for site in done.sites):
        typer.echo("\n".join([_NOBODY, *odd_lines(done), *notes]))
        return
    found = found or find_differences(done)
    for header, rows in (people_rows(found), shift_rows(found)):
        for first in range(1, len(header), _COLUMNS):
            _print_columns(header, rows, slice(first, first + _COLUMNS))
    typer.echo("\n".join([abbreviations(found), *sentences(found), *odd_lines(done), *notes]))


def _print_columns(header: list[str], rows: list[list[str]], shown: slice) -> None:
    """Print the sites and some columns, so that a line fits a terminal."""
    table = Table(box=SIMPLE)
    table.add_column(header[0], no_wrap=True)
    for name in header[shown]:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(escape, [row[0], *row[shown]]))
    Console().print(table)
