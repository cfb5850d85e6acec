"""Flower's command-line program `flwr`, asked for JSON."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braing3n.errors import RunFailedError
from braing3n.service.programs import program

ANSWER_TIMEOUT_S = 120.0


def ask_flower(
    arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, look_into: str,
) -> dict[str, Any]:
    """Run `flwr` and return its answer.

    Args:
        arguments: Of the program, without the format.
        environment: With the FLWR_HOME that names the SuperLink.
        folder: Its working directory.
        look_into: Where a person finds more, for the message.

    Raises:
        RunFailedError: It failed, or printed something else.
    """
    try:
        done = subprocess.run([program("flwr"), *arguments, "--format", "json"], text=True, check=False,
                              capture_output=True, cwd=folder, env=dict(environment),
                              timeout=ANSWER_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise RunFailedError(f"`flwr {arguments[0]}` does not answer", found="none",
                             expected=f"an answer in {ANSWER_TIMEOUT_S:.0f} s",
                             fix=f"look into {look_into}") from error
    start = done.stdout.find("{")
    try:
        # Whatever is printed after it does not undo what was done.
        answer: dict[str, Any] = (
            {} if start < 0 else json.JSONDecoder().raw_decode(done.stdout[start:])[0])
    except json.JSONDecodeError:
        answer = {}
    if done.returncode or not answer or answer.get("success") is False:
        found = str(answer.get("error-message", "")) or (done.stderr or done.stdout).strip()
        raise RunFailedError(f"`flwr {arguments[0]}` failed", expected="JSON with success",
                             found=found[-400:] or "nothing", fix=f"look into {look_into}")
    return answer


def run_config(settings: Mapping[str, str]) -> str:
    """Return a run's configuration as one argument: TOML, each text in quotes.

    `flwr` takes a text to end at the first quotation mark, also at an escaped one.
    """
    return " ".join(f'{key}="{_escaped(value)}"' for key, value in settings.items())


def _escaped(text: str) -> str:
    """Return a text as TOML has it between quotation marks, without any in it."""
    return r"\u0022".join(json.dumps(part, ensure_ascii=False)[1:-1] for part in text.split('"'))
