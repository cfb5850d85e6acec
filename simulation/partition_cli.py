"""`braing3n sim partition`: who is at which site, of a public cohort."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from simulation.definitions import CohortDefinition
    from simulation.partition import Partition


def partition(
    source: Annotated[Path, typer.Argument(help="A BIDS folder, or a table of scans or of people.")],
    cohort: Annotated[
        str | None, typer.Option(help="A name of `braing3n sim cohorts`, or a YAML file.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="A mapping file as a hospital writes it, with `site:`.")] = None,
    min_subjects: Annotated[int, typer.Option(min=1, help="A site of fewer subjects is small.")] = 1,
    small: Annotated[
        str, typer.Option(help="What becomes of small sites: keep, drop, or merge into one.")] = "keep",
    out: Annotated[
        Path | None, typer.Option(help="A new folder for one settings file and table a site.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Split a cohort by the site where its scans were made; nobody is at two sites.

    Rows of a table without scans count as scans. Exit codes: 0 done, 2 misuse.
    """
    from simulation.cohort_rows import read_cohort  # noqa: PLC0415  # keeps --help fast
    from simulation.partition import partition_by_site  # noqa: PLC0415
    from simulation.partition_files import write_partition  # noqa: PLC0415

    definition = _definition(cohort, mapping)
    rows = read_cohort(source, definition)
    exclude = definition.about.exclude
    done = partition_by_site(rows, excluded=exclude.subject if exclude is not None else None,
                             min_subjects=min_subjects, small=_rule(small))
    written = None if out is None else write_partition(done, out)
    if as_json:
        typer.echo(json.dumps(done.as_dict(), indent=1))
        return
    _show(done, rows.notes)
    if out is not None:
        typer.echo(f"{out}: settings of {written} sites" if written else
                   f"{out}: partition.json alone, as the rows are of no scans")


def _definition(cohort: str | None, mapping: Path | None) -> "CohortDefinition":
    from braing3n.errors import ConfigError  # noqa: PLC0415
    from simulation.definitions import find_definition, load_definition_of_mapping  # noqa: PLC0415

    if (cohort is None) == (mapping is None):
        raise ConfigError("it is not said how the cohort is read", expected="--cohort or --mapping",
                          found="neither" if cohort is None else "both",
                          fix="see `braing3n sim cohorts`")
    return find_definition(str(cohort)) if mapping is None else load_definition_of_mapping(mapping)


def _rule(small: str) -> Literal["keep", "drop", "merge"]:
    from braing3n.errors import ConfigError  # noqa: PLC0415

    for rule in ("keep", "drop", "merge"):
        if small == rule:
            return rule
    raise ConfigError("--small is none of its values", expected="keep, drop or merge", found=small,
                      fix="name one of them")


def _show(done: "Partition", notes: tuple[str, ...]) -> None:
    table = Table("site", "subjects", "scans")
    for site in done.sites:
        table.add_row(escape(site.name), str(site.num_subjects), str(len(site.rows)))
    Console().print(table)
    reasons = Counter[str]()
    for one in done.dropped:
        reasons[one.reason] += one.num_volumes
    lines = [f"left out, {count} scans: {reason}" for reason, count in reasons.most_common()]
    lines += [f"{warning.code}: {warning.detail}" for warning in done.warnings]
    typer.echo("\n".join([*lines, *notes]))
