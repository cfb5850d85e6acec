"""Follows a run from outside until it is over: a line for each round, and how it ended."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from braing3n.refusal_words import explained
from server.consortium import ConsortiumConfig
from server.network.orders import OrderBook
from server.network.places import Places
from server.network.run_record import read_record

POLL_S = 1.0


def follow(config: ConsortiumConfig, name: str | None, say: Callable[[str], None]) -> str:
    """Wait until a run is over, and return how it ended.

    Args:
        config: The consortium.
        name: The run's; None is the newest.
        say: Takes a line about each exchange, as soon as it is on record.

    Raises:
        ConfigError: There is no such run.
    """
    book = OrderBook(Places.of(config))
    order = book.get(name)
    told: set[str] = set()  # a round that failed is run again, with another outcome
    while True:
        ended = order.ended  # read before the record, which then is the last
        record = read_record(Path(order.out))
        for line in _exchanges(record):
            if line not in told:
                say(line)
                told.add(line)
        if ended:
            for line in explained(_refusals(record)):
                say(line)
            return ended
        time.sleep(POLL_S)
        order = book.get(order.name)


def _exchanges(record: dict[str, Any]) -> Iterator[str]:
    for stage in record.get("stages") or []:
        for entry in stage.get("participation", ()):
            yield f"{stage['name']} round {entry['round']} of {stage['rounds']}: {_outcome(entry)}"
        for entry in stage.get("other_exchanges", ()):
            yield f"{stage['name']} {entry['what']}: {_outcome(entry)}"


def _refusals(record: dict[str, Any]) -> Iterator[str]:
    for stage in record.get("stages") or []:
        for entry in (*stage.get("participation", ()), *stage.get("other_exchanges", ())):
            yield from entry["refused"].values()


def _outcome(entry: dict[str, Any]) -> str:
    refused = ", ".join(f"{site}: {why}" for site, why in entry["refused"].items())
    return (f"{len(entry['answered'])} of {len(entry['asked'])} sites in {entry['seconds']:.1f} s"
            + (f" ({refused})" if refused else ""))
