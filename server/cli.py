"""`braing3n server`: what a consortium's coordinator does."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.network.cli import follow, resume, start, status, stop, submit

if TYPE_CHECKING:  # what computes is imported where it is used, to keep --help fast
    from datetime import datetime

    from braing3n.enrolment.roster import Standing
    from server.consortium import ConsortiumConfig

app = typer.Typer(no_args_is_help=True, help="Coordinate a consortium: its CA, its sites, its runs.")
for command in (start, submit, status, follow, stop, resume):
    app.command()(command)

CONSORTIUM = Annotated[Path, typer.Argument(help="The consortium's YAML file; see docs/network.md.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
OUT = Annotated[Path | None, typer.Option(
    help="Where to write the answer; nothing may be there. Without it: SITE.answer.json.")]


@app.callback()
def server() -> None:
    """Coordinate a consortium: its CA, its sites, its runs."""


@app.command()
def init(consortium: CONSORTIUM, as_json: JSON = False) -> None:
    """Make the consortium's CA, server certificate, keys and empty roster.

    All of it is in `state_dir`, for its owner alone, and nothing is overwritten.

    Exit codes: 0 made, 2 misuse, or something is there already.
    """
    from braing3n.moments import utc_now  # noqa: PLC0415  # keeps --help fast
    from server.authority import initialise  # noqa: PLC0415
    from server.consortium import load_consortium  # noqa: PLC0415

    config, now = load_consortium(consortium), utc_now()
    initialise(config, now)
    _tell(_described(config, now), [
        f"made in {config.state_dir}, for consortium {config.name} at {', '.join(config.addresses)}",
        *_authority_lines(config, now),
        f"back up {config.state_dir} where only its owner reads: whoever has ca.key can pass for the "
        "server, and without coordinator.key nobody can be enrolled",
        "next: sites send you requests; `braing3n server enrol` answers them",
    ], as_json=as_json)


@app.command()
def renew(consortium: CONSORTIUM, as_json: JSON = False) -> None:
    """Make a new server certificate by the same CA, for the names in the settings.

    The server has to be started anew with it. Sites notice nothing, unless the
    names have changed: then each needs a new answer (`braing3n server answer`).

    Exit codes: 0 made, 2 misuse, or the CA has expired.
    """
    from braing3n.moments import utc_now  # noqa: PLC0415  # keeps --help fast
    from server.authority import renew_server_certificate  # noqa: PLC0415
    from server.consortium import open_consortium  # noqa: PLC0415

    config, now = open_consortium(consortium), utc_now()
    renew_server_certificate(config, now)
    _tell(_described(config, now), [f"made: {config.server_certificate}",
                                    *_authority_lines(config, now),
                                    "next: start the server anew"], as_json=as_json)


@app.command()
def enrol(
    consortium: CONSORTIUM,
    request: Annotated[Path, typer.Argument(help="What the site has sent (`braing3n site request`).")],
    out: OUT = None,
    words: Annotated[str | None, typer.Option(
        help="The twelve words that the site has read out by telephone. Without it, you are asked.")
    ] = None,
    yes: Annotated[bool, typer.Option(
        "--yes", help="Compare no words: for tests on one machine.")] = False,
    replace_key: Annotated[bool, typer.Option(
        "--replace-key", help="It is a site of the roster with the same ledger and a new SuperNode "
                              "key, also after it was revoked.")] = False,
    as_json: JSON = False,
) -> None:
    """Look at a site's request, compare its words by telephone, and enrol the site.

    Exit codes: 0 enrolled, 1 not enrolled, 2 misuse, or the request cannot be granted.
    """
    from braing3n.enrolment.comparing import agreed  # noqa: PLC0415  # keeps --help fast
    from braing3n.enrolment.request import read_request  # noqa: PLC0415
    from braing3n.moments import utc_now  # noqa: PLC0415
    from server import enrolling  # noqa: PLC0415
    from server.consortium import open_consortium  # noqa: PLC0415

    config, now = open_consortium(consortium), utc_now()
    asked = read_request(request, now)
    entry = enrolling.check_enrolment(config, asked, replaces_key=replace_key)
    typer.echo("\n".join([f"site {asked.site}, braing3n {asked.version}, asked on {asked.time}",
                          *_version_note(asked.version)]), err=as_json)
    if not agreed(asked.words, asked.site, given=words, yes=yes, to_stderr=as_json):
        typer.echo("not enrolled", err=as_json)
        raise typer.Exit(1)
    out = out or request.with_name(f"{asked.site}.answer.json")
    enrolling.enrol(config, entry, out, now, replaces_key=replace_key)
    _tell({"site": asked.site, "answer": str(out), "words": enrolling.words_of(config)}, [
        f"enrolled: {asked.site}", *_answer_lines(config, out)], as_json=as_json)


@app.command()
def answer(
    consortium: CONSORTIUM,
    site: Annotated[str, typer.Argument(help="The name of an enrolled site.")],
    out: OUT = None, as_json: JSON = False,
) -> None:
    """Write the answer to an enrolled site once more: it was lost, or the server's names changed.

    Exit codes: 0 written, 2 misuse, or there is no such site.
    """
    from braing3n.moments import utc_now  # noqa: PLC0415  # keeps --help fast
    from server import enrolling  # noqa: PLC0415
    from server.consortium import open_consortium  # noqa: PLC0415

    config = open_consortium(consortium)
    out = out or Path(f"{site}.answer.json")
    enrolling.write_answer(config, site, out, utc_now())
    _tell({"site": site, "answer": str(out), "words": enrolling.words_of(config)},
          _answer_lines(config, out), as_json=as_json)


@app.command()
def revoke(
    consortium: CONSORTIUM,
    site: Annotated[str, typer.Argument(help="The name of an enrolled site.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask again.")] = False,
    as_json: JSON = False,
) -> None:
    """Shut a site out: its name and its keys are refused from then on.

    Exit codes: 0 revoked, 1 not revoked, 2 misuse, or there is no such site.
    """
    from braing3n.moments import utc_now  # noqa: PLC0415  # keeps --help fast
    from server import enrolling  # noqa: PLC0415
    from server.consortium import open_consortium  # noqa: PLC0415

    config = open_consortium(consortium)
    enrolling.load_roster(config).enrolled(site)
    if not yes and not typer.confirm(f"Shut {site} out?", err=as_json):
        typer.echo("not revoked", err=as_json)
        raise typer.Exit(1)
    enrolling.revoke(config, site, utc_now())
    _tell({"site": site, "revoked": True}, [
        f"revoked: {site}. It may come back by `braing3n server enrol --replace-key` alone"],
        as_json=as_json)


@app.command()
def roster(consortium: CONSORTIUM, as_json: JSON = False) -> None:
    """List the sites, the consortium's words, and how long its certificates hold.

    All decisions are checked on the way: each is signed and names the one before.

    Exit codes: 0 done, 2 misuse, or the roster is damaged.
    """
    from braing3n.moments import utc_now  # noqa: PLC0415  # keeps --help fast
    from server.consortium import open_consortium  # noqa: PLC0415
    from server.enrolling import load_roster  # noqa: PLC0415

    config, now = open_consortium(consortium), utc_now()
    found = load_roster(config)
    sites = [found.sites[name] for name in sorted(found.sites)]
    held = _authority_lines(config, now)
    _tell({**_described(config, now), "decisions": len(found.lines),
           "sites": [_site(one) for one in sites]}, [
        f"consortium {config.name} at {', '.join(config.addresses)}; decisions so far: "
        f"{len(found.lines)}, each signed and in order",
        *held, *([_site_line(one) for one in sites] or ["no site yet"])], as_json=as_json)
    if as_json:
        for line in held:
            if line.startswith("warning"):
                typer.echo(line, err=True)


def _tell(described: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    typer.echo(json.dumps(described) if as_json else "\n".join(lines))


def _described(config: "ConsortiumConfig", now: "datetime") -> dict[str, Any]:
    from braing3n.enrolment.certificates import days_left  # noqa: PLC0415  # keeps --help fast
    from braing3n.moments import to_text  # noqa: PLC0415
    from server.authority import load_authority, load_server_certificate  # noqa: PLC0415
    from server.enrolling import words_of  # noqa: PLC0415

    certificates = {"ca": load_authority(config), "server": load_server_certificate(config)}
    return {"consortium": config.name, "addresses": list(config.addresses),
            "state_dir": str(config.state_dir), "words": words_of(config),
            "certificates": {name: {"expires": to_text(one.not_valid_after_utc),
                                    "days_left": days_left(one, now)}
                             for name, one in certificates.items()}}


def _authority_lines(config: "ConsortiumConfig", now: "datetime") -> list[str]:
    """Return the consortium's words, and how long its certificates hold."""
    from braing3n.enrolment.certificates import validity_line  # noqa: PLC0415  # keeps --help fast
    from braing3n.enrolment.words import shown  # noqa: PLC0415
    from server.authority import load_authority, load_server_certificate  # noqa: PLC0415
    from server.enrolling import words_of  # noqa: PLC0415

    return [validity_line(load_server_certificate(config), "the server's certificate", now,
                          "run `braing3n server renew`"),
            validity_line(load_authority(config), "the CA's certificate", now,
                          "plan a new CA: docs/network.md, When a certificate expires"),
            "the words of the consortium, to read out to sites:", *shown(words_of(config))]


def _answer_lines(config: "ConsortiumConfig", out: Path) -> list[str]:
    from braing3n.enrolment.words import shown  # noqa: PLC0415  # keeps --help fast
    from server.enrolling import words_of  # noqa: PLC0415

    return [f"answer: {out}; mail it to the site, and read these words out to it by telephone:",
            *shown(words_of(config))]


def _version_note(version: str) -> list[str]:
    from braing3n.protocol import software_version  # noqa: PLC0415  # keeps --help fast

    return ([] if version == software_version() else
            [f"note: here is braing3n {software_version()}; runs take sites with the same code alone"])


def _site(one: "Standing") -> dict[str, Any]:
    return {**one.entry.model_dump(mode="json"), "enrolled": one.is_enrolled, "since": one.since}


def _site_line(one: "Standing") -> str:
    ledger = one.entry.ledger_key.removeprefix("ed25519:")[:16]
    status = "enrolled" if one.is_enrolled else "REVOKED"
    return (f"  {one.entry.site:<20} {status:<8}  since {one.since}  braing3n {one.entry.version}"
            f"  ledger {ledger}")
