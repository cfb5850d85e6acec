"""`braing3n site outbox`: what left this site, what waits, and who decides."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from braing3n.manifests import Content, Manifest
    from client.holding import Held

_SHOWN = 20


def outbox(
    config: Annotated[Path, typer.Argument(help="The site's YAML file.")],
    hold: Annotated[bool | None, typer.Option(
        "--hold/--no-hold", help="Let every reply wait for a person from now on, or no longer; also "
                                 "while the client runs.")] = None,
    release: Annotated[str | None, typer.Option(
        metavar="NAME", help="Let a reply out that waits, by its name in the list.")] = None,
    discard: Annotated[str | None, typer.Option(
        metavar="NAME", help="Keep a reply that waits; the coordinator is told `held`.")] = None,
    last: Annotated[int, typer.Option(min=0, help="How many of what left are listed.")] = _SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Show what left this site, and what waits for a person.

    The log is checked on the way: each manifest is signed and names the one before.

    Exit codes: 0 done, 2 misuse, or the log is damaged.
    """
    from braing3n.config import load_site_config  # noqa: PLC0415  # keeps --help fast
    from client import holding  # noqa: PLC0415
    from client.egress_log import load_manifests  # noqa: PLC0415

    settings = load_site_config(config)
    folder = settings.state_dir
    if hold is not None:
        holding.switch(folder, on=hold)
    for name, releases in ((release, True), (discard, False)):
        if name is not None:
            holding.decide(folder, name, releases=releases)
    waits = settings.egress.hold or holding.is_on(folder)
    sent, held = load_manifests(folder), holding.held(folder)
    if as_json:
        typer.echo(json.dumps(_as_json(sent, held, waits=waits)))
        return
    typer.echo("\n".join([*_sent_lines(sent, last), *_held_lines(held),
                          "replies wait for a person" if waits else "replies leave by themselves"]))
    if hold is False and settings.egress.hold:
        typer.echo(f"note: `egress: hold: true` in {config} still lets them wait", err=True)


def _as_json(sent: "list[Manifest]", held: "list[Held]", *, waits: bool) -> dict[str, Any]:
    return {"waits": waits, "sent": [one.model_dump(mode="json") for one in sent],
            "held": [{"name": one.name, "since": one.since, "report": json.loads(one.report),
                      **one.content.model_dump(mode="json")} for one in held]}


def _sent_lines(sent: "list[Manifest]", last: int) -> list[str]:
    total = sum(one.num_bytes for one in sent)
    lines = [f"{len(sent)} replies have left, {_size(total)} in all; every one is signed and in order"
             if sent else "nothing has left yet"]
    shown = sent[len(sent) - min(last, len(sent)):]
    lines += [f"  {one.seq:>5}  {one.time}  {_line(one)}" for one in shown]
    if len(shown) < len(sent):
        lines.append(f"  and {len(sent) - len(shown)} earlier ones: --last {len(sent)}")
    return lines


def _held_lines(held: "list[Held]") -> list[str]:
    return [f"waits for {time.time() - one.since:.0f} s: {one.name}  {_line(one.content)}\n"
            f"  {one.report}\n"
            f"  `--release {one.name}` lets it out, `--discard {one.name}` keeps it here"
            for one in held]


def _line(one: "Content") -> str:
    """Return a content in one line: what for, how much, how long, what it cost."""
    place = "" if one.run is None else f" run {one.run}, round {1 + (one.round_index or 0)}"
    array = (f", {len(one.tensors)} tensors of norm {one.norm:.4g}" if one.tensors else ", no array")
    spent = one.privacy.epsilon_total if one.privacy is not None else None
    cost = "" if spent is None else f", epsilon so far {spent:.3f}"
    return f"{one.kind}{place}: {_size(one.num_bytes)}{array}{cost}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.2f} MB" if num_bytes >= 10**5 else f"{num_bytes / 1e3:.1f} kB"
