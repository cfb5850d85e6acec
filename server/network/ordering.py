"""What a person orders of the server: a run, its stop, that it goes on."""

import re
from datetime import datetime
from pathlib import Path

from braing3n.errors import ConfigError, OutputError
from braing3n.evaluation.tasks import probed_tasks
from braing3n.moments import to_text, utc_now
from braing3n.plan import load_plan
from server.consortium import ConsortiumConfig
from server.network.orders import RUN_NAME, Order, OrderBook
from server.network.places import Places
from server.network.run_record import mark_running, status_of
from server.starts import check_starts


def order_run(
    config: ConsortiumConfig, plan_path: Path, *, name: str | None, out: Path | None, sweep: str,
    start: Path | None,
) -> Order:
    """Order a run.

    Args:
        config: The consortium.
        plan_path: The plan's YAML.
        name: The run's; None makes one of the plan's and the time.
        out: The run's folder; None is one in the state folder.
        sweep: Replacements in the plan.
        start: Folder of the weights that stages start from.

    Raises:
        ConfigError: The plan is wrong, lacks weights to start from, or another run is not over; or it
            can be no name.
        OutputError: The folder is not new.
    """
    places, now = Places.of(config), utc_now()
    if name is not None and not re.fullmatch(RUN_NAME, name):
        raise ConfigError("this can be no run's name", found=name, fix="give another --name",
                          expected="up to 120 letters, digits, ., - and _, of which the first is a "
                          "letter or digit")
    places.make()
    plan = load_plan(plan_path, sweep)
    probed_tasks(plan.probes)
    check_starts(plan, start)
    book = OrderBook(places)
    name = name or _new_name(plan.name, now)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is taken", expected="a folder that is new or empty",
                          found="a file" if out.is_file() else "files",
                          fix="choose another --out; to go on with a run, `braing3n server resume`")
    order = Order(
        name=name, plan_digest=plan.digest, sweep=sweep, ordered=to_text(now),
        out=str(out.resolve() if out is not None else book.folder(name) / "out"),
        start="" if start is None else str(start.resolve()))
    book.add(order, plan_path.read_bytes())
    return order


def order_stop(config: ConsortiumConfig, name: str | None) -> Order:
    """Order that a run stops.

    Raises:
        ConfigError: There is none, or it is over.
    """
    book = OrderBook(Places.of(config))
    order = book.get(name)
    with book.changing():
        order = book.get(order.name)
        if order.is_over:
            raise ConfigError(f"run {order.name} is over", expected="a run that is at work",
                              found=order.ended, fix="nothing is left to stop")
        return book.write(order.model_copy(update={"wanted": "stop"}))


def order_resume(config: ConsortiumConfig, name: str | None) -> Order:
    """Order that a run goes on after its last finished round.

    Raises:
        ConfigError: There is none, it is complete, it is at work, or another one is.
    """
    book = OrderBook(Places.of(config))
    order = book.get(name)
    with book.changing():
        order = book.get(order.name)
        if not order.is_over:
            is_stopping = order.wanted == "stop"
            raise ConfigError(f"run {order.name} is not over",
                              expected="a run that failed or was stopped",
                              found="one that is being stopped" if is_stopping else "one at work",
                              fix="wait; a run whose programs were killed goes on by itself")
        if status_of(Path(order.out)).startswith("completed"):
            raise ConfigError(f"run {order.name} is complete", found=order.ended,
                              expected="a run that failed or was stopped", fix="submit another run")
        book.check_none_is_open()
        mark_running(Path(order.out))
        return book.write(order.model_copy(update={
            "wanted": "run", "ended": "", "resumed_after": len(order.attempts)}))


def _new_name(plan_name: str, now: datetime) -> str:
    return f"{plan_name}-{now:%Y%m%d-%H%M%S}"
