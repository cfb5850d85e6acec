"""`braing3n site`: what a hospital's IT does with its own data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from client.approve_cli import approve
from client.budget_cli import app as budget
from client.enrol_cli import accept, init, keygen, request
from client.node.cli import run, status
from client.outbox_cli import outbox
from client.prepare import cache_key, prepare

if TYPE_CHECKING:
    from braing3n.identity.scrub import Scrubbed

app = typer.Typer(no_args_is_help=True, help="Look after one hospital's data; nothing is sent.")
app.command()(prepare)
app.command()(cache_key)
app.command()(outbox)
app.command()(approve)
for command in (init, keygen, request, accept, run, status):
    app.command()(command)
app.add_typer(budget, name="budget")

_SHOWN = 10


@app.callback()
def site() -> None:
    """Look after one hospital's data; nothing is sent."""


@app.command()
def scrub(
    source: Annotated[Path, typer.Argument(help="A folder with scans, or a site's YAML file.")],
    out: Annotated[Path, typer.Option(help="The cleaned copy: a folder that is new or empty.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the log on stdout.")] = False,
) -> None:
    """Write a cleaned copy, without what may name a person.

    The data itself stays as it is. Texts and extensions of NIfTI headers, keys
    of sidecars and columns of tables are removed, and ages over 89 become 89+.
    DICOM, files that cannot be looked into, and files whose names may name a
    person are not copied but listed. A log beside the copy says what was done.

    Exit codes: 0 done, 1 something was left out that a person has to decide
    about, 2 misuse.
    """
    from braing3n.counting import counting  # noqa: PLC0415  # keeps --help fast
    from braing3n.identity.scrub import scrub as copy  # noqa: PLC0415

    root, aside, listed = _open_source(source)
    with counting(Console(stderr=True), "copying files") as show:
        scrubbed = copy(root, out, aside=aside, listed=listed, progress=show)
    typer.echo(scrubbed.log.read_text(encoding="utf-8") if as_json else _summary(scrubbed),
               nl=not as_json)
    raise typer.Exit(1 if scrubbed.needs_person else 0)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="The site's YAML file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures of every scan here.")] = None,
) -> None:
    """Look at all that a site would train on: scans, tables, sidecars, names.

    Like `braing3n check FOLDER`, with the site's own table, mapping and folders.

    Exit codes: 0 clean or warnings only, 1 errors or privacy findings, 2 misuse.
    """
    from braing3n.preflight.command import run_check  # noqa: PLC0415  # keeps --help fast
    from client.checking import look_at_site  # noqa: PLC0415
    from client.network_folder import tell_enrolment  # noqa: PLC0415

    look = look_at_site(config)
    tell_enrolment(config)
    raise typer.Exit(run_check(look, prints_json=as_json, html=html))


def _open_source(source: Path) -> tuple[Path, frozenset[Path], list[Path]]:
    """Return the folder to copy, what in it is no data, and the scans that a table lists."""
    from braing3n.config import load_site_config  # noqa: PLC0415
    from braing3n.data.cohort import open_cohort  # noqa: PLC0415
    from braing3n.errors import ConfigError  # noqa: PLC0415

    if source.is_dir():
        return source, frozenset(), []
    if source.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"{source} is nothing to copy", expected="a folder, or a site's YAML file",
                          found="a file" if source.is_file() else "nothing there",
                          fix="name the folder that holds the scans")
    config = load_site_config(source)
    aside = frozenset({config.state_dir, source.resolve()}
                      | ({config.data.mapping} if config.data.mapping is not None else set()))
    if config.data.folder is not None:
        return config.data.folder, aside, []
    table = config.data.table
    if table is None:
        raise ConfigError(f"{source} names no data", expected="`data: folder:` or `data: table:`",
                          found="neither", fix="add one of them")
    return table.parent, aside, [volume.path for volume in open_cohort(config.data).volumes]


def _summary(scrubbed: "Scrubbed") -> str:
    lines = [f"copy: {scrubbed.out}", f"log:  {scrubbed.log}",
             f"{scrubbed.num_copied} files copied, {len(scrubbed.cleaned)} of them cleaned"]
    for reason, count in scrubbed.counts.most_common():
        to_do = f"; to do: {reason.advice}" if reason.advice else ""
        lines.append(f"{count} left out: {reason}{to_do}")
        names = [name for name, stays in scrubbed.left.items() if stays.reason is reason]
        if reason.advice:
            lines += [f"  {name}" for name in names[:_SHOWN]]
            lines += [f"  and {len(names) - _SHOWN} more: see the log"] if len(names) > _SHOWN else []
    first = "decide about what was left out, then " if scrubbed.needs_person else ""
    lines.append(f"next: {first}run `braing3n check {scrubbed.out}`, and name the copy in `data:` of "
                 "the site's settings")
    return "\n".join(lines)
