"""`braing3n server start`, `submit`, `status`, `follow`, `stop` and `resume`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:  # what computes is imported where it is used, to keep --help fast
    from server.network.status import Status

CONSORTIUM = Annotated[Path, typer.Argument(help="The consortium's YAML file; see docs/network.md.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
RUN = Annotated[str | None, typer.Argument(help="The run's name; without it, the newest.")]


def start(
    consortium: CONSORTIUM,
    log_format: Annotated[Literal["text", "json"], typer.Option(
        help="The log on stdout: lines for people, or a JSON object a line.")] = "text",
    health: Annotated[str | None, typer.Option(
        metavar="HOST:PORT", help="Serve SuperLink's health by the standard gRPC protocol here, "
                                  "without TLS; take a loopback address.")] = None,
) -> None:
    """Run the server: nginx with TLS, and behind it Flower's SuperLink and SuperExec.

    Stays in the foreground, until Ctrl-C or SIGTERM. Sites of the roster may
    connect; who is enrolled or revoked meanwhile is noticed within seconds.
    Runs that were ordered and are not over yet go on.

    Exit codes: 0 told to stop, 1 a program does not stay up, 2 misuse, a taken
    port, or a certificate that does not hold.
    """
    from braing3n.service.log import ServiceLog  # noqa: PLC0415  # keeps --help fast
    from server.consortium import open_consortium  # noqa: PLC0415
    from server.network.starting import serve  # noqa: PLC0415

    serve(open_consortium(consortium), ServiceLog(log_format), health)


def submit(
    consortium: CONSORTIUM,
    plan: Annotated[Path, typer.Argument(help="The plan's YAML file. It is copied.")],
    name: Annotated[str | None, typer.Option(
        help="The run's name; without it, the plan's with the time.")] = None,
    out: Annotated[Path | None, typer.Option(
        help="The run's folder: new or empty. Without it, one in the state folder.")] = None,
    sweep: Annotated[list[str] | None, typer.Option(
        help="Replace values of the plan, as 'seed=3'. May be given several times.")] = None,
    start_from: Annotated[Path | None, typer.Option(
        "--start", help="Folder with the weights that stages start from, if the plan wants any.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Order a run. The server at work starts it, and starts it again where it was killed.

    Nothing is begun at a site that has not approved the plan: mail it to the
    sites before (`braing3n site approve`).

    Exit codes: 0 ordered, 2 misuse, a wrong plan, or another run is not over.
    """
    from server.consortium import open_consortium  # noqa: PLC0415  # keeps --help fast
    from server.network.ordering import order_run  # noqa: PLC0415

    config = open_consortium(consortium)
    order = order_run(config, plan, name=name, out=out, sweep=" ".join(sweep or []), start=start_from)
    _tell(order.model_dump(mode="json"), [
        f"ordered: {order.name}, plan {order.plan_digest}", f"its folder: {order.out}",
        "next: `braing3n server follow` waits for it, `server status` shows how far it is",
    ], as_json=as_json)


def status(consortium: CONSORTIUM, as_json: JSON = False) -> None:
    """Say how the server, its sites and its runs stand.

    Exit codes: 0 sites are served, 1 they are not, 2 misuse.
    """
    from server.consortium import open_consortium  # noqa: PLC0415  # keeps --help fast
    from server.network.status import look  # noqa: PLC0415

    found = look(open_consortium(consortium))
    _tell(found.as_json(), _lines(found), as_json=as_json)
    raise typer.Exit(0 if found.is_well else 1)


def follow(consortium: CONSORTIUM, run: RUN = None, as_json: JSON = False) -> None:
    """Wait until a run is over, and say what comes of each round.

    Ctrl-C ends only the waiting.

    Exit codes: 0 the run is complete, 1 it failed or was stopped, 2 misuse.
    """
    from server.consortium import open_consortium  # noqa: PLC0415  # keeps --help fast
    from server.network.following import follow as wait  # noqa: PLC0415

    ended = wait(open_consortium(consortium), run, lambda line: typer.echo(line, err=True))
    again = ["once that is mended: braing3n server resume CONSORTIUM.yaml"]
    _tell({"ended": ended}, [ended, *(again if ended.startswith("failed") else [])], as_json=as_json)
    raise typer.Exit(0 if ended.startswith("completed") else 1)


def stop(consortium: CONSORTIUM, run: RUN = None, as_json: JSON = False) -> None:
    """Stop a run. Rounds that are finished stay; `braing3n server resume` goes on with it.

    Sites that are at work in a round finish it, and are not listened to.

    Exit codes: 0 the order is given, 2 misuse, or the run is over.
    """
    from server.consortium import open_consortium  # noqa: PLC0415  # keeps --help fast
    from server.network.ordering import order_stop  # noqa: PLC0415

    order = order_stop(open_consortium(consortium), run)
    _tell(order.model_dump(mode="json"), [f"to be stopped: {order.name}"], as_json=as_json)


def resume(consortium: CONSORTIUM, run: RUN = None, as_json: JSON = False) -> None:
    """Go on with a run that failed or was stopped, after its last finished round.

    A run whose programs were killed goes on by itself.

    Exit codes: 0 the order is given, 2 misuse, or the run is complete or at work.
    """
    from server.consortium import open_consortium  # noqa: PLC0415  # keeps --help fast
    from server.network.ordering import order_resume  # noqa: PLC0415

    order = order_resume(open_consortium(consortium), run)
    _tell(order.model_dump(mode="json"), [f"to go on: {order.name}"], as_json=as_json)


def _tell(described: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    typer.echo(json.dumps(described) if as_json else "\n".join(lines))


def _lines(found: "Status") -> list[str]:
    from braing3n.enrolment.certificates import WARN_DAYS  # noqa: PLC0415  # keeps --help fast
    from braing3n.refusal_words import explained  # noqa: PLC0415

    state = ("at work, and sites are answered" if found.is_well else
             "at work, but sites are NOT answered" if found.is_started else "NOT started")
    lines = [f"consortium {found.consortium}: {state}"]
    lines += [f"{'warning: ' if one['days_left'] < WARN_DAYS else ''}certificate of the {name}: "
              f"{one['days_left']} days left, until {one['expires']}"
              for name, one in found.certificates.items()]
    lines += [f"  site {name:<20} {how}" for name, how in found.sites.items()] or ["  no site enrolled"]
    for run in found.runs:
        is_stopping = run["wanted"] == "stop" and run["status"] == "running"
        lines.append(f"  run {run['name']}: {run['status']}{', to be stopped' if is_stopping else ''}")
        lines += [f"    {name}: round {number}" for name, number in run["rounds"].items()]
        last = run["last_round"]
        if last is not None and last["refused"]:
            refused = ", ".join(f"{name}: {why}" for name, why in last["refused"].items())
            lines.append(f"    not in {last['stage']} round {last['round']}: {refused}")
            lines += [f"      {line}" for line in explained(last["refused"].values())]
        if run["status"].startswith("failed"):
            lines.append("    to go on once that is mended: braing3n server resume CONSORTIUM.yaml "
                         f"{run['name']}")
    return lines
