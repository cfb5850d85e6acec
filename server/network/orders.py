"""Runs as a person ordered them: what is wanted, and what came of it. The server at work sees to it.

Commands only write what is wanted. So a run goes on after the server was killed or was not there yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from braing3n.enrolment.private_files import is_there, make_private_folder, write_private
from braing3n.errors import ConfigError
from braing3n.files import locked
from braing3n.moments import Moment
from braing3n.yaml_files import Digest, StrictModel
from server.network.places import Places

_FILE = "order.json"
PLAN = "plan.yaml"

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$"
RunName = Annotated[str, Field(pattern=RUN_NAME)]


class Attempt(StrictModel):
    """One ServerApp that was started for a run.

    Attributes:
        flower_run: Flower's number.
        at: When.
        place: How far the run was then: stage and finished rounds.
    """

    flower_run: int
    at: Moment
    place: str


class Order(StrictModel):
    """A run.

    Attributes:
        name: Its name here.
        plan_digest: Of the plan beside it.
        sweep: Replacements in the plan.
        out: The run's folder.
        start: Folder of the weights that stages start from; "" is none.
        ordered: When.
        wanted: What a person wants of it.
        ended: How it ended; "" while it has not.
        attempts: So far; those before the last `resume` do not count as failed.
        resumed_after: How many attempts there were when it was last resumed by a person.
    """

    name: RunName
    plan_digest: Digest
    sweep: str = ""
    out: str
    start: str = ""
    ordered: Moment
    wanted: Literal["run", "stop"] = "run"
    ended: str = ""
    attempts: tuple[Attempt, ...] = ()
    resumed_after: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be done any more."""
        return bool(self.ended)


class OrderBook:
    """The orders on the disk.

    Args:
        places: Where.
    """

    def __init__(self, places: Places) -> None:
        self._places = places

    def folder(self, name: str) -> Path:
        """Return an order's folder."""
        return self._places.runs / name

    def plan_path(self, name: str) -> Path:
        """Return the plan of an order, as it was when it was ordered."""
        return self.folder(name) / PLAN

    def all(self) -> list[Order]:
        """Return all orders, the oldest first.

        Raises:
            ConfigError: One is damaged.
        """
        if not is_there(self._places.runs):
            return []
        found = [self._read(path) for path in self._places.runs.glob(f"*/{_FILE}")]
        return sorted(found, key=lambda order: (order.ordered, order.name))

    def get(self, name: str | None) -> Order:
        """Return an order by name, or the newest.

        Raises:
            ConfigError: There is none.
        """
        orders = self.all()
        found = [order for order in orders if name in (None, order.name)]
        if not found:
            names = ", ".join(order.name for order in orders) or "none was ever submitted"
            raise ConfigError("there is no such run", expected=f"one of: {names}",
                              found=name or "none", fix="`braing3n server status` lists the runs")
        return found[-1]

    def add(self, order: Order, plan: bytes) -> None:
        """Write a new order with its plan.

        Raises:
            ConfigError: Another run is not over yet, there is one of this name, or no place.
        """
        with self.changing():
            self.check_none_is_open()
            if is_there(self.folder(order.name)):
                raise ConfigError(f"there is a run {order.name} already", expected="a new name",
                                  found=str(self.folder(order.name)), fix="give another --name")
            make_private_folder(self.folder(order.name))
            write_private(self.plan_path(order.name), plan)
            self.write(order)

    def check_none_is_open(self) -> None:
        """Check that all runs are over. Call within `changing`.

        Raises:
            ConfigError: One is not, or is damaged.
        """
        open_ones = [one.name for one in self.all() if not one.is_over]
        if open_ones:
            raise ConfigError("another run is not over yet", expected="one run at a time",
                              found=", ".join(open_ones),
                              fix="wait for it, or `braing3n server stop` it first")

    def write(self, order: Order) -> Order:
        """Write an order that has changed, and return it. Call within `changing`."""
        write_private(self.folder(order.name) / _FILE,
                      (order.model_dump_json(indent=1) + "\n").encode())
        return order

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other programs from changing orders meanwhile."""
        with locked(self._places.runs / ".lock", waits=True):
            yield

    def _read(self, path: Path) -> Order:
        what = f"{path} is damaged"
        expected, fix = "what `braing3n server submit` writes", "restore it, or move its folder away"
        try:
            order = Order.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise ConfigError(what, expected=expected, found="other content", fix=fix) from error
        if order.name != path.parent.name:  # a copy of a run's folder is no run
            raise ConfigError(what, expected=expected, found=f"the run {order.name}", fix=fix)
        return order
