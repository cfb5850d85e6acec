"""A site's settings, written from the example that is shipped, with its comments."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from braing3n.config import load_site_config
from braing3n.enrolment.private_files import check_absent, unwritable
from braing3n.errors import ConfigError
from braing3n.files import replacing
from braing3n.printable import printable

_BUDGET = re.compile(r"^budget:\n(?:  .*\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Wanted:
    """What a site says of itself.

    Attributes:
        name: The name that the consortium agreed on.
        folder: A BIDS dataset, or None.
        table: A table of scans, where there is no folder.
        state_dir: The site's own folder.
        epsilon: The privacy budget; None trains without differential privacy.
        device: What to compute on; None is as in the example.
        threads: CPU threads, likewise.
    """

    name: str
    folder: str | None
    table: str | None
    state_dir: str
    epsilon: float | None
    device: str | None = None
    threads: int | None = None


def write_settings(out: Path, wanted: Wanted) -> None:
    """Write a site's settings, if they can be loaded from there; else nothing is left.

    Raises:
        ConfigError: Something is there, what is wanted is no settings, or it cannot be written.
    """
    check_absent(out)
    content = _encoded(settings_text(example(), wanted))
    try:
        with replacing(out) as part:
            part.write_bytes(content)
            try:
                load_site_config(part)
            except ConfigError as error:
                raise ConfigError(error.what.replace(part.name, out.name), expected=error.expected,
                                  found=error.found, fix="give another value; nothing was written"
                                  ) from error
    except OSError as error:
        raise unwritable(out, error) from error


def example() -> str:
    """Return the example's text: of the source tree, or of the installed package.

    Raises:
        ConfigError: It is not there.
    """
    package = Path(__file__).parent
    for place in (package / "example.yaml", package.parent / "site_configs" / "example.yaml"):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise _damaged("no example.yaml")


def settings_text(template: str, wanted: Wanted) -> str:
    """Return the example's text with what a site says of itself in its place."""
    values: dict[str, object] = {"name": wanted.name, "state_dir": wanted.state_dir,
                                 "device": wanted.device, "threads": wanted.threads}
    text = _put(template, {key: value for key, value in values.items() if value is not None})
    source = "folder" if wanted.table is None else "table"
    text = _replace(r"^  folder: .*$", f"  {source}: {_quoted(wanted.table or wanted.folder)}", text)
    if wanted.epsilon is not None:
        return _replace(r"^  epsilon: .*$", f"  epsilon: {wanted.epsilon!r}", text)
    return _without_budget(text)


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError("a path cannot be written into settings", expected="letters of Unicode",
                          found=printable(text[error.start:error.end]),
                          fix="rename that file or folder") from error


def _without_budget(text: str) -> str:
    """Return the text with `budget: null`; what a budget would say stays, as comments."""
    found = _BUDGET.search(text)
    if found is None:
        raise _damaged("no `budget:`")
    lines = found[0].splitlines()[1:]
    commented = [line if line.lstrip().startswith("#") else f"  # {line.strip()}" for line in lines]
    return text[:found.start()] + "\n".join(["budget: null", *commented, ""]) + text[found.end():]


def _put(text: str, values: Mapping[str, object]) -> str:
    for key, value in values.items():
        text = _replace(rf"^{key}: .*$", f"{key}: {_quoted(value)}", text)
    return text


def _replace(pattern: str, line: str, text: str) -> str:
    changed, times = re.subn(pattern, lambda _: line, text, flags=re.MULTILINE)
    if times != 1:
        raise _damaged(f"`{line.partition(':')[0].strip()}` {times} times")
    return changed


def _quoted(value: object) -> str:
    """Return a value as YAML takes it, whatever letters it has: JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


def _damaged(found: str) -> ConfigError:
    return ConfigError("the example of a site's settings is damaged", found=found,
                       expected="site_configs/example.yaml as it was released",
                       fix="install braing3n again")
