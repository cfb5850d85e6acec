"""Replies that wait for a person: written into the site's folder, and let out or not by a command."""

import time
from pathlib import Path

from braing3n.errors import HeldError, OutputError
from braing3n.files import write_text
from braing3n.manifests import Content
from braing3n.yaml_files import StrictModel
from client.site import Site

POLL_S = 1.0
_FOLDER = "held"
_SWITCH = "hold"  # a file in that folder: replies wait, whatever the settings say
# Before the coordinator stops waiting: the refusal has to get there.
_MARGIN_S = 15.0


class Held(StrictModel):
    """A reply that waits.

    Attributes:
        content: What would leave.
        report: The report, word for word.
        since: When it began to wait, by `time.time`.
    """

    content: Content
    report: str
    since: float

    @property
    def name(self) -> str:
        """What it is called: the first digits of its digest."""
        return self.content.digest[:12]


def is_on(state_dir: Path) -> bool:
    """Tell whether a person has said that replies wait."""
    return (state_dir / _FOLDER / _SWITCH).exists()


def switch(state_dir: Path, *, on: bool) -> None:
    """Let replies wait for a person from now on, or no longer; those that wait go on waiting."""
    path = state_dir / _FOLDER / _SWITCH
    if on:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    else:
        path.unlink(missing_ok=True)


def wait_for_release(site: Site, content: Content, report: str, until: float) -> None:
    """Wait until a person lets a reply out.

    The same content is let out at once the next time, as where a site was stopped while it waited.

    Args:
        site: The site.
        content: What would leave.
        report: The report, word for word.
        until: When the coordinator stops waiting, by `time.time`.

    Raises:
        HeldError: Nobody has let it out in time, or somebody has decided against it.
    """
    folder = site.config.state_dir / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    waits = Held(content=content, report=report, since=time.time())
    name = waits.name
    path, answer = folder / f"{name}.json", folder / f"{name}.answer"
    write_text(path, waits.model_dump_json())
    path.chmod(0o600)
    site.log(f"a reply waits for a person: braing3n site outbox --release {name}")
    try:
        while not answer.exists():
            if time.time() > until - _MARGIN_S:
                raise HeldError("nobody has let a reply out", expected="`braing3n site outbox "
                                f"--release {name}` before the round ends", found="no decision",
                                fix="ask for a longer round_timeout_s, or decide sooner")
            site.show_progress(doing="waiting for a person", done=0, total=1, **_place(content))
            time.sleep(POLL_S)
        if answer.read_text(encoding="utf-8") != "release":
            raise HeldError("a person has decided that a reply stays here", expected="a release",
                            found=f"`braing3n site outbox --discard {name}`", fix="ask that person")
    finally:
        path.unlink(missing_ok=True)


def held(state_dir: Path) -> list[Held]:
    """Return the replies that wait, the longest first."""
    found = []
    for path in (state_dir / _FOLDER).glob("[!.]*.json"):  # not what is being written
        try:
            found.append(Held.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue  # it went meanwhile
    return sorted(found, key=lambda one: one.since)


def decide(state_dir: Path, name: str, *, releases: bool) -> None:
    """Let a reply out that waits, or not.

    Raises:
        OutputError: No such reply waits.
    """
    if name not in [one.name for one in held(state_dir)]:
        raise OutputError(f"no reply {name} waits", found="none of that name",
                          expected="the name of one, as `braing3n site outbox` lists them",
                          fix="look again: it may have been given up meanwhile")
    write_text(state_dir / _FOLDER / f"{name}.answer", "release" if releases else "discard")


def _place(content: Content) -> dict[str, str | int]:
    return {"stage": content.stage or "", "round": 1 + (content.round_index or 0)}
