"""`braing3n sim cohorts`: the public cohorts that are known, and how each is read."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:  # what reads YAML is imported where it is used, to keep --help fast
    from simulation.cohorts.definitions import CohortDefinition

app = typer.Typer(help="Public cohorts: where to get them, and how their tables are read.")

_MARK = "(confirm)"
_TOLD = {"column": "column", "id_pattern": "id", "file_pattern": "file's name",
         "session_pattern": "session", "sidecar": "sidecar"}


@app.callback(invoke_without_command=True)
def cohorts(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list on stdout.")] = False,
) -> None:
    """List all cohorts that come with the program; `show NAME` tells one in full."""
    if context.invoked_subcommand is not None:
        return
    from simulation.cohorts.definitions import shipped_definitions  # noqa: PLC0415

    definitions = shipped_definitions()
    if as_json:
        typer.echo(json.dumps([_as_dict(definition) for definition in definitions], indent=1))
        return
    table = Table("name", "scans", "site told by", "terms", "to confirm")
    for definition in definitions:
        about = definition.about
        table.add_row(about.name, str(about.volumes or ""), _told_by(definition),
                      escape(about.terms), ", ".join(definition.unconfirmed))
    Console().print(table)
    typer.echo("to confirm: from memory, not compared with the cohort's own tables\n"
               "one in full: braing3n sim cohorts show NAME; your own: a YAML file like those in "
               "simulation/cohorts, given to --cohort")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A cohort's name, or a YAML file of your own.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Show where a cohort is to be had, and how its files and columns are read."""
    from simulation.cohorts.definitions import find_definition  # noqa: PLC0415

    definition = find_definition(name)
    if as_json:
        typer.echo(json.dumps(_as_dict(definition), indent=1))
        return
    about = definition.about
    lines = [f"{about.name}: {about.title}"]
    for key, value in (("source", about.source), ("terms", about.terms), ("files", about.files)):
        if value:
            lines.append(f"{key}: {value}{_mark(definition, key)}")
    for variable, said in definition.variables.items():
        lines.append(f"{variable}: {_in_words(said)}{_mark(definition, variable)}")
    if definition.single_site is not None:
        lines.append(f"site: {definition.single_site}, for all")
    if about.exclude is not None:
        lines.append(f"left out: subjects whose id matches {about.exclude.subject}")
    typer.echo("\n".join(lines))


def _mark(definition: "CohortDefinition", key: str) -> str:
    return f" {_MARK}" if key in definition.unconfirmed else ""


def _in_words(said: "Any") -> str:
    parts = [f"{_TOLD[key]} {' or '.join(value) if isinstance(value, list) else value}"
             for key, value in said.items() if key in _TOLD]
    parts += [", ".join(f"{code} = {meaning}" for code, meaning in said["codes"].items())] if (
        said.get("codes")) else []
    parts += [f"{key} {said[key]}" for key in ("unit", "scale", "prefix", "zeros", "pattern")
              if key in said]
    return "; ".join(parts)


def _told_by(definition: "CohortDefinition") -> str:
    if definition.single_site is not None:
        return "one site"
    return next(words for key, words in _TOLD.items() if key in definition.variables["site"])


def _as_dict(definition: "CohortDefinition") -> dict[str, Any]:
    site = {"single": definition.single_site} if definition.single_site else {}
    return {**definition.about.model_dump(exclude_none=True), **definition.variables,
            **({"site": site} if site else {}), "confirm": list(definition.unconfirmed)}
