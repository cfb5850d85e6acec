"""Flower's SuperNode, with what a hospital needs of it besides.

    python -m client.node.supernode NETWORK_FOLDER APP_VERSION ARGUMENTS OF flower-supernode

It asks for work once a second or more often, where Flower's own waits three; it shows Flower no bundle
of the server's; it gives back the place of a node that was killed; it looks at what comes (see
`incoming`); it ends where it would wait for ever; and it marks when the server last answered.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from braing3n.errors import CodeError
from braing3n.files import digest_bytes
from braing3n.service.pieces import ask_sooner
from client.node import flower
from client.node.bundle import check_bundle, own_bundle
from client.node.incoming import BoundedClient, Incoming
from client.node.losses import Losses, LostError, may_hold_a_message
from client.node.place import NotKnownError, Place
from client.node.running import NODE, NOT_KNOWN, REACHED

# Pauses between two questions for work: while a run goes on, and else.
BUSY_POLL_S, IDLE_POLL_S = 0.2, 1.0
# While a reply is waited for, pauses are this part of the time that it took so far.
WAITING_PART, SHORTEST_S = 0.1, 0.02
BUSY_FOR_S = 60.0  # after the last message
MARK_EVERY_S = 2.0
_NOT_HEARD = "an answer of the server's, which may have held a message"
_NOT_WHOLE, _NOT_SENT = "a message, of which a part did not come", "an answer, which was not taken"


class Clock:
    """Stands for the module `time` in Flower's loop, whose pauses are shorter with it."""

    def __init__(self) -> None:
        self._heard_s = -BUSY_FOR_S
        self._count_tasks: Callable[[], int] | None = None
        self._was_idle = False
        self._waits_since_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def hearing(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        """Return Flower's connection, of which this notices when a message came: more may follow."""

        @contextmanager
        def connected(*arguments: Any, **named: Any) -> Iterator[Any]:
            with connect(*arguments, **named) as (node_id, receive, *others):
                def heard() -> Any:
                    message = receive()
                    if message is not None:
                        self._heard_s = time.monotonic()
                    return message

                yield (node_id, heard, *others)

        return connected

    def waiting(self, push: Callable[..., None]) -> Callable[..., None]:
        """Return Flower's function that waits for a reply and sends it, which does not wait for ever.

        Where a task was killed before it had its message, or before it had handed over all of its
        reply, Flower waits for more until the SuperNode is ended.
        """

        def pushed(*, state: Any, **others: Any) -> None:
            self._was_idle, self._waits_since_s = False, time.monotonic()
            self._count_tasks = lambda: len(state.get_tasks(statuses=(
                flower.Status.PENDING, flower.Status.STARTING, flower.Status.RUNNING)))
            try:
                push(state=state, **others)
            finally:
                self._count_tasks = None

        return pushed

    def sleep(self, seconds: float) -> None:
        """Pause, but not for long.

        Raises:
            LostError: A reply is waited for, and the last pause began without a task already.
        """
        if self._count_tasks is not None:
            is_idle = self._count_tasks() == 0
            if is_idle and self._was_idle:
                raise LostError("a task has ended without its whole answer")
            self._was_idle = is_idle
            waited_s = time.monotonic() - self._waits_since_s
            time.sleep(min(seconds, max(WAITING_PART * waited_s, SHORTEST_S)))
            return
        is_busy = time.monotonic() - self._heard_s < BUSY_FOR_S
        time.sleep(min(seconds, BUSY_POLL_S if is_busy else IDLE_POLL_S))


def marking(mark: Path, losses: Losses) -> type[flower.FleetHttpClient]:
    """Return Flower's client of the server, which marks by a file's time when that answered.

    Args:
        mark: The file.
        losses: Told where the answer to a question for work has not come: there may be a message in it.
    """
    marked_s = -MARK_EVERY_S

    class Marking(BoundedClient):
        def _unary_unary(self, **asked: Any) -> Any:
            nonlocal marked_s
            ask = super()._unary_unary
            if asked["rpc_method"].endswith("/PullMessages"):
                ask = losses.watched(ask, _NOT_HEARD, may_hold_a_message)
            answer = ask(**asked)
            if time.monotonic() - marked_s >= MARK_EVERY_S:
                marked_s = time.monotonic()
                with contextlib.suppress(OSError):  # a full disk does not end the connection
                    mark.touch(mode=0o600)
            return answer

    return Marking


def guarded(
    connect: Callable[..., Any], place: Place, allowed: str | None, losses: Losses,
) -> Callable[..., Any]:
    """Return Flower's connection with our bundle in place of the server's.

    Args:
        connect: Flower's: gives node id and the calls of its loop.
        place: The site's at the server.
        allowed: See `check_bundle`.
        losses: Told what did not get through.
    """

    @contextmanager
    def connected(
        server_address: str, insecure: bool, root_certificates: bytes,
        authentication_keys: tuple[Any, Any], *others: Any, **named: Any,
    ) -> Iterator[Any]:
        key = authentication_keys[0]
        is_known = True
        try:
            place.give_back(server_address, root_certificates, key)
        except NotKnownError:  # or known by another number, where SuperLink began anew
            is_known = False
        try:
            with connect(server_address, insecure, root_certificates, authentication_keys, *others,
                         **named) as (node_id, receive, send, get_run, get_fab, pull, push, confirm):
                is_known = True
                place.remember(node_id, key)
                incoming = Incoming(receive, losses.watched(pull, _NOT_WHOLE))
                bundles = Bundles(get_run, get_fab, allowed)
                yield (node_id, losses.checked(incoming.receive), losses.watched(send, _NOT_SENT),
                       bundles.get_run, bundles.get_fab, incoming.pull,
                       losses.watched(push, _NOT_SENT), losses.watched(confirm, _NOT_WHOLE))
        except SystemExit:
            if not is_known:
                sys.stderr.write(f"{NOT_KNOWN}\n")
            raise

    return connected


class Bundles:
    """Stands between Flower's loop and the server's bundles: the loop is shown ours.

    Of a run's configuration nothing counts at a site, and a key that the definition does not have would
    end Flower's loop.

    Args:
        get_run: Flower's.
        get_fab: Flower's.
        allowed: See `check_bundle`.
    """

    def __init__(
        self, get_run: Callable[[int], flower.Run], get_fab: Callable[[str, int], flower.Fab],
        allowed: str | None,
    ) -> None:
        self._get_run = get_run
        self._get_fab = get_fab
        self._allowed = allowed
        self._own: dict[str, bytes] = {}

    def get_run(self, run_id: int) -> flower.Run:
        """Give a run, with our bundle's digest in place of the server's, which is looked at here."""
        run = self._get_run(run_id)
        try:
            check_bundle(self._get_fab(run.fab_hash, run_id).content, self._allowed)
            own = own_bundle(is_refused=False)
        except (CodeError, ValueError) as error:  # or an answer that was too large to be read
            sys.stderr.write("".join(f"ERROR: {line}\n" for line in str(error).splitlines()))
            own = own_bundle(is_refused=True)
        digest = digest_bytes(own)
        self._own[digest] = own
        return replace(run, run_id=run_id, fab_id="braing3n/braing3n", fab_version="0", fab_hash=digest,
                       override_config={})

    def get_fab(self, digest: str, _: int) -> flower.Fab:
        """Give our bundle."""
        return flower.Fab(digest, self._own[digest], {})


def main(folder: Path, allowed: str, arguments: list[str]) -> None:
    """Run the SuperNode; `allowed` is "" for the installed version alone."""
    # Flower has no other place for any of this.
    loop: Any = flower.node_loop
    connection: Any = flower.node_connection
    loop.time = clock = Clock()
    losses = Losses()
    loop._push_messages = clock.waiting(loop._push_messages)
    loop._init_connection = guarded(clock.hearing(loop._init_connection), Place(folder / NODE),
                                    allowed or None, losses)
    connection.FleetHttpClient = marking(folder / REACHED, losses)
    ask_sooner(flower.pull_objects)
    sys.argv = ["flower-supernode", *arguments]
    try:
        flower.flower_supernode()
    finally:
        # However that came back, Flower's HTTP server of this process would go on in its thread.
        for is_early in (True, False):
            flower.trigger_exit_handlers(run_before_force_exit=is_early)
    sys.stderr.write("ERROR: the connection to the server broke\n")
    sys.stderr.flush()
    os._exit(1)  # a thread that hangs must not keep what is to be started again


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
