"""`braing3n site run` and `status`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:  # what computes is imported where it is used, to keep --help fast
    from client.node.status import SiteStatus

SITE = Annotated[Path, typer.Argument(help="The site's YAML file.")]


def run(
    site: SITE,
    server: Annotated[str | None, typer.Option(
        metavar="HOST:PORT", help="Which of the server's addresses to dial; without it, the first of "
                                  "the coordinator's answer.")] = None,
    log_format: Annotated[Literal["text", "json"], typer.Option(
        help="The log on stdout: lines for people, or a JSON object a line.")] = "text",
    health: Annotated[str | None, typer.Option(
        metavar="HOST:PORT", help="Serve the SuperNode's health by the standard gRPC protocol here, "
                                  "without TLS; take a loopback address.")] = None,
) -> None:
    """Connect to the consortium's server, and work on plans that this site has approved.

    Stays in the foreground, until Ctrl-C or SIGTERM. It dials out, over TLS, through
    a proxy if HTTPS_PROXY is set; nothing listens but on loopback. It runs the
    code that is installed here, whatever the server sends.

    Exit codes: 0 told to stop, 1 the server cannot be reached now (start again), 2
    misuse, wrong settings, or another server's certificate, 3 the server does not
    take this site.
    """
    from braing3n.service.log import ServiceLog  # noqa: PLC0415  # keeps --help fast
    from client.node.running import run_site  # noqa: PLC0415

    run_site(site, ServiceLog(log_format), health=health, wanted=server)


def status(
    site: SITE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Say whether the site is connected, what it does, and what waits for a person.

    Exit codes: 0 at work and connected, 1 not, 2 misuse.
    """
    from braing3n.config import load_site_config  # noqa: PLC0415  # keeps --help fast
    from braing3n.moments import utc_now  # noqa: PLC0415
    from client.node.status import look  # noqa: PLC0415

    found = look(load_site_config(site), utc_now())
    typer.echo(json.dumps(found.as_json()) if as_json else "\n".join(_lines(found)))
    raise typer.Exit(0 if found.is_well else 1)


def _lines(found: "SiteStatus") -> list[str]:
    from braing3n.enrolment.certificates import WARN_DAYS  # noqa: PLC0415  # keeps --help fast
    from braing3n.refusal_words import explained  # noqa: PLC0415

    state = ("connected" if found.is_well else
             "at work, but the server is NOT reached" if found.is_started else "NOT started")
    joined = "no consortium joined" if found.consortium is None else f"consortium {found.consortium}"
    lines = [f"{found.site}: {state}; {joined}",
             f"server last reached: {found.reached or 'never'}"]
    if found.ca_days_left is not None:
        warning = "warning: " if found.ca_days_left < WARN_DAYS else ""
        lines.append(f"{warning}the consortium's CA holds for {found.ca_days_left} days, until "
                     f"{found.ca_expires}")
    if found.doing:
        lines.append("last at work: " + ", ".join(
            f"{key} {found.doing[key]}" for key in ("stage", "round", "doing", "done", "total")
            if found.doing.get(key) not in (None, "")))
    lines += [f"waits for a person: {name} (`braing3n site outbox --release {name}`)"
              for name in found.held]
    lines += [f"a plan waits to be approved: {digest} (`braing3n site approve SITE.yaml "
              f"{digest[:12]}`)" for digest in found.plans]
    lines.append(f"last refusal: {found.last_refusal or 'none'}")
    lines += [f"  {line}" for line in explained(found.last_refusal.split()[-1:])]
    return lines
