"""`braing3n site init`, `keygen`, `request` and `accept`: a hospital joins a consortium."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:  # what computes is imported where it is used, to keep --help fast
    from client.keygen import Keys

SITE = Annotated[Path, typer.Argument(help="The site's YAML file.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def init(
    out: Annotated[Path, typer.Argument(help="The settings to write; nothing may be there.")],
    name: Annotated[str | None, typer.Option(
        help="The site's name, as agreed in the consortium.")] = None,
    folder: Annotated[str | None, typer.Option(help="The BIDS dataset with the scans.")] = None,
    table: Annotated[str | None, typer.Option(
        help="In its place, a table with one row a scan (CSV, TSV, XLSX).")] = None,
    state_dir: Annotated[str | None, typer.Option(
        help="The site's own folder, on a disk of the hospital.")] = None,
    epsilon: Annotated[float | None, typer.Option(
        help="The privacy budget over everything that is ever released on these patients; 0 trains "
             "without differential privacy.")] = None,
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(
        help="What to compute on; without it, as in the example.")] = None,
    threads: Annotated[int | None, typer.Option(
        min=1, max=256, help="CPU threads to use; without it, as in the example.")] = None,
) -> None:
    """Write a site's settings, with comments; what is not given is asked for.

    Relative paths are relative to the file that is written.

    Exit codes: 0 written, 2 misuse, or the settings would be wrong.
    """
    from braing3n.enrolment.private_files import check_absent  # noqa: PLC0415  # keeps --help fast
    from braing3n.errors import ConfigError  # noqa: PLC0415
    from client.site_template import Wanted, write_settings  # noqa: PLC0415

    check_absent(out)
    if folder is not None and table is not None:
        raise ConfigError("the scans are named twice", expected="one of --folder and --table",
                          found="both", fix="leave one out")
    try:
        name = _asked("The name that the consortium agreed on", name)
        if folder is None and table is None:
            folder, table = _asked_scans(out)
        state_dir = _asked("The site's own folder, which need not be there yet", state_dir)
        if epsilon is None:
            epsilon = typer.prompt("Privacy budget (epsilon), for your data-protection officer to "
                                   "decide; 0 is without differential privacy", type=float, err=True)
    except typer.Abort as error:
        raise ConfigError("not all was answered", expected="--name, --folder or --table, --state-dir "
                          "and --epsilon, or an answer to each question", found="no answer",
                          fix="give these options, or run the command in a terminal") from error
    write_settings(out, Wanted(name=name, folder=folder, table=table, state_dir=state_dir,
                               epsilon=epsilon or None, device=device, threads=threads))
    typer.echo(f"written: {out}; read through it, and change what is not as you want it\n"
               f"next: braing3n site check {out}, then braing3n site keygen {out}")


def keygen(site: SITE, as_json: JSON = False) -> None:
    """Make the keys of the site's SuperNode and of its ledger, where they are missing.

    Both stay in the state folder, for its owner alone. Keys that are there are
    kept. No ledger is begun.

    Exit codes: 0 done, 2 misuse, or a ledger or a key that was there is gone.
    """
    from braing3n.config import load_site_config  # noqa: PLC0415  # keeps --help fast
    from braing3n.privacy.ledger import KEY_NAME  # noqa: PLC0415
    from client.keygen import make_keys  # noqa: PLC0415
    from client.network_folder import NetworkFolder  # noqa: PLC0415

    config = load_site_config(site)
    keys = make_keys(config)
    if as_json:
        typer.echo(json.dumps({"site": config.name, "made": _made(keys), "node_key": keys.node_key,
                               "ledger_key": keys.ledger_key.text}))
        return
    lines = [f"{'made' if name in _made(keys) else 'kept, as it was there'}: the {name}'s key, {place}"
             for name, place in (("SuperNode", NetworkFolder.of(config).node_key),
                                 ("ledger", config.state_dir / KEY_NAME))]
    typer.echo("\n".join([*lines, "back up both where only their owner reads; nobody else needs them",
                          f"next: braing3n site request {site} --out {config.name}.request.json"]))


def request(
    site: SITE,
    out: Annotated[Path, typer.Option(help="The file to mail; nothing may be there yet.")],
    as_json: JSON = False,
) -> None:
    """Write the request to join that you mail to the coordinator.

    It has the site's name, its two public keys, the software's version and the
    time, signed by both keys; nothing of data or patients.

    Exit codes: 0 written, 2 misuse, or there are no keys.
    """
    from braing3n.config import load_site_config  # noqa: PLC0415  # keeps --help fast
    from braing3n.enrolment.private_files import check_absent  # noqa: PLC0415
    from braing3n.enrolment.signed_files import write_signed  # noqa: PLC0415
    from braing3n.enrolment.words import shown  # noqa: PLC0415
    from braing3n.moments import utc_now  # noqa: PLC0415
    from client.network_folder import request_of  # noqa: PLC0415

    check_absent(out)
    made = request_of(load_site_config(site), utc_now())
    write_signed(out, made)
    typer.echo(json.dumps({"site": made.site, "request": str(out), "words": made.words}) if as_json else
               "\n".join([f"request: {out}; mail it to the coordinator, and read these words out to "
                          "them by telephone:", *shown(made.words)]))


def accept(
    site: SITE,
    answer: Annotated[Path, typer.Argument(
        help="What the coordinator has sent (`braing3n server enrol`).")],
    words: Annotated[str | None, typer.Option(
        help="The twelve words that the coordinator has read out by telephone. Without it, you are "
             "asked.")] = None,
    yes: Annotated[bool, typer.Option(
        "--yes", help="Compare no words: for tests on one machine.")] = False,
    replace: Annotated[bool, typer.Option(
        "--replace", help="Leave the consortium that the site is in, or take its new CA.")] = False,
    as_json: JSON = False,
) -> None:
    """Look at the coordinator's answer, compare its words by telephone, and keep it.

    Exit codes: 0 accepted, 1 not accepted, 2 misuse, or the answer is not for this site.
    """
    from braing3n.config import load_site_config  # noqa: PLC0415  # keeps --help fast
    from braing3n.enrolment.answer import read_answer  # noqa: PLC0415
    from braing3n.enrolment.comparing import agreed  # noqa: PLC0415
    from braing3n.moments import utc_now  # noqa: PLC0415
    from client.network_folder import check_answer, keep_answer  # noqa: PLC0415

    config = load_site_config(site)
    given = read_answer(answer, utc_now())
    check_answer(config, given, replaces=replace)
    typer.echo(f"consortium {given.consortium} at {', '.join(given.addresses)} has enrolled "
               f"{given.entry.site}", err=as_json)
    whose = "the coordinator"
    if not agreed(given.words, whose, given=words, yes=yes, to_stderr=as_json):
        typer.echo("not accepted", err=as_json)
        raise typer.Exit(1)
    folder = keep_answer(config, given)
    typer.echo(json.dumps({"site": config.name, "consortium": given.consortium, "words": given.words,
                           "addresses": given.addresses, "folder": str(folder.path)}) if as_json else
               f"accepted: it is in {folder.path}")


def _asked(question: str, given: str | None) -> str:
    return given if given is not None else str(typer.prompt(question, err=True))


def _asked_scans(out: Path) -> tuple[str | None, str | None]:
    """Return a folder or a table: what there is at the place that is answered, seen from `out`."""
    data = _asked("Where the scans are: a BIDS dataset, or a table with one row a scan", None)
    is_folder = (out.resolve().parent / Path(data).expanduser()).is_dir()
    return (data, None) if is_folder else (None, data)


def _made(keys: "Keys") -> list[str]:
    return [name for name, is_new in (("SuperNode", keys.has_new_node_key),
                                      ("ledger", keys.has_new_ledger_key)) if is_new]
