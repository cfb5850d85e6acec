"""A service's log on stdout: one line an event, as text or as JSON."""

import json
import re
import sys
import threading
from datetime import UTC, datetime
from typing import Literal, TextIO

from braing3n.errors import RunFailedError
from braing3n.printable import printable

LogFormat = Literal["text", "json"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# As Flower and uvicorn begin a line: a time perhaps, a level, a logger perhaps.
_LEVEL = re.compile(r"^(?:\d{4}-\S+Z )?\s*(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\s*:?(?:\s+|$)"
                    r"(?:\[uvicorn\.\w+\] )?")
_WORDS = {"WARN": "warning", "CRITICAL": "error"}


class ServiceLog:
    """Writes events of a service and lines of the programs that it runs.

    Args:
        form: `text` for people, `json` for machines: an object a line with time, source, level, text.
        stream: Where to; None is stdout.
    """

    def __init__(self, form: LogFormat = "text", stream: TextIO | None = None) -> None:
        self._form = form
        self._stream = stream or sys.stdout
        self._writing = threading.Lock()  # each program has a thread that relays what it prints

    def say(self, source: str, text: str, level: str = "info") -> None:
        """Write one event; a text of several lines becomes one for each.

        Raises:
            RunFailedError: The stream does not take it: a full disk, a pipe that nobody reads.
        """
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        shown = "".join(self._line(time, source, level, line) + "\n" for line in text.splitlines())
        try:
            with self._writing:
                self._stream.write(shown)
                self._stream.flush()
        except OSError as error:
            raise RunFailedError("the log cannot be written", expected="a stdout that takes it",
                                 found=error.strerror or type(error).__name__,
                                 fix="make room where it goes, and start anew") from error

    def relay(self, source: str, line: str) -> None:
        """Write a line that a program printed, with the level that it names itself.

        Raises:
            RunFailedError: The stream does not take it.
        """
        plain = _COLOUR.sub("", line).rstrip()
        found = _LEVEL.match(plain)
        if found is not None:
            plain = plain[found.end():]
        word = "INFO" if found is None else found.group(1)
        if plain:
            self.say(source, plain, _WORDS.get(word, word.lower()))

    def _line(self, time: str, source: str, level: str, text: str) -> str:
        if self._form == "json":
            return json.dumps({"time": time, "source": source, "level": level, "text": text})
        return f"{time} {level:<7} {source:<10} {printable(text)}"
