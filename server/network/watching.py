"""What the server at work does besides relaying: nodes as the roster says, runs as they are ordered."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from braing3n.errors import BrainG3NError
from braing3n.moments import to_text, utc_now
from braing3n.service.log import ServiceLog
from braing3n.service.ports import answers
from server.consortium import ConsortiumConfig
from server.enrolling import load_roster
from server.network.control import Control, open_control
from server.network.flower_program import ask_flower, run_config
from server.network.orders import Attempt, Order, OrderBook
from server.network.places import Places
from server.network.registering import Registrar
from server.network.run_record import mark_failed, place_of, status_of

EVERY_S = 3.0
START_S = 60.0
# A ServerApp that dies this often at the same place is not started a further time.
MAX_ATTEMPTS = 3


@dataclass
class Watch:
    """Looks every few seconds; what fails is said once and tried again.

    Attributes:
        config: The consortium.
        environment: For Flower's program.
        log: The service's.
        connect: Opens SuperLink's Control API.
        ask: Runs Flower's program.
    """

    config: ConsortiumConfig
    environment: Mapping[str, str]
    log: ServiceLog
    connect: Callable[[Places], AbstractContextManager[Control]] = open_control
    ask: Callable[[tuple[str, ...], Mapping[str, str], Path, str], dict[str, Any]] = ask_flower
    _began_s: float = field(default_factory=time.monotonic)
    _began: str = field(default_factory=lambda: to_text(utc_now()))
    _next_s: float = 0.0
    _trouble: str = ""
    _registrar: Registrar = field(init=False)
    _book: OrderBook = field(init=False)

    def __post_init__(self) -> None:
        self._registrar = Registrar(Places.of(self.config), self.log)
        self._book = OrderBook(Places.of(self.config))

    def __call__(self) -> None:
        """Look, if it is time."""
        if time.monotonic() < self._next_s:
            return
        try:
            places = Places.of(self.config)
            if not answers(places.read_port()) and time.monotonic() - self._began_s < START_S:
                return  # SuperLink is still starting
            with self.connect(places) as control:
                self._registrar.bring_in_line(control, load_roster(self.config))
                with self._book.changing():
                    for order in self._book.all():
                        self._see_to(control, order)
            self._trouble = ""
        except (BrainG3NError, OSError, httpx.HTTPError) as error:  # the next look tries again
            if str(error) != self._trouble:
                self.log.say("server", str(error), "error")
            self._trouble = str(error)
        self._next_s = time.monotonic() + EVERY_S

    def _see_to(self, control: Control, order: Order) -> None:
        """Bring what is in line with what is wanted, one step at a time."""
        if order.is_over:
            return
        runs, known = control.runs(), [one.flower_run for one in order.attempts]
        strays = {number for number, run in runs.items() if run.is_alive} - set(known)
        last = runs.get(known[-1]) if known else None
        if last is not None and last.is_alive:
            if order.wanted == "stop":
                control.stop(known[-1])
        elif strays:
            # Nobody else starts runs here, and one at a time: this one's start could not be noted.
            self._note(order, min(strays), place_of(Path(order.out)))
        else:
            why = " ".join((last.why if last is not None else "").split())
            self._end_or_go_on(order, why or "Flower does not say why")

    def _end_or_go_on(self, order: Order, why: str) -> None:
        """Do what comes next of an order of which no ServerApp is at work.

        Args:
            order: The order.
            why: What Flower says of how the last one ended.
        """
        out = Path(order.out)
        status, is_begun = status_of(out), len(order.attempts) > order.resumed_after
        if order.wanted == "stop":
            mark_failed(out, "stopped by a person")
            self._end(order, status if status.startswith("completed") else "stopped by a person")
        elif is_begun and status.startswith(("completed", "failed")):
            self._end(order, status)
        else:
            if is_begun:
                self.log.say("server", f"run {order.name}: its ServerApp ended: {why}", "warning")
            self._attempt(order, why)

    def _attempt(self, order: Order, why: str) -> None:
        """Start a ServerApp for a run, unless it died too often at the same place."""
        out, places = Path(order.out), Places.of(self.config)
        place = place_of(out)
        # Those of an earlier server's time died with that server.
        same = [one for one in order.attempts[order.resumed_after:]
                if one.place == place and one.at >= self._began]
        if len(same) >= MAX_ATTEMPTS:
            how = f"the ServerApp ended {MAX_ATTEMPTS} times {place}; the last time: {why}"
            mark_failed(out, how)
            self._end(order, f"failed: {how}")
            return
        answer = self.ask(
            ("run", str(places.app), "--run-config", run_config({
                "plan": str(self._book.plan_path(order.name)), "sweep": order.sweep, "out": order.out,
                "start": order.start, "nodes": str(places.nodes)})),
            self.environment, places.superlink, "the server's log")
        self._note(order, int(answer["run-id"]), place)

    def _note(self, order: Order, flower_run: int, place: str) -> None:
        attempt = Attempt(flower_run=flower_run, at=to_text(utc_now()), place=place)
        self._book.write(order.model_copy(update={"attempts": (*order.attempts, attempt)}))
        how = "goes on" if order.attempts else "starts"
        self.log.say("server", f"run {order.name} {how} {place}, as Flower's {flower_run}")

    def _end(self, order: Order, how: str) -> None:
        self._book.write(order.model_copy(update={"ended": how}))
        self.log.say("server", f"run {order.name}: {how}")
