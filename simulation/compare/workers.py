"""Processes that work for a comparison, and end with it however it ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait


@contextmanager
def workers(parallel: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes; where its block is left by an exception, they are ended at once.

    A worker also ends when its parent was killed: it would else go on with the arms that were
    handed out, and hold their folders against the call that goes on.

    Args:
        parallel: How many.
    """
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    pool = ProcessPoolExecutor(parallel, spawn, initializer=_follow_parent)
    before = set(multiprocessing.active_children())
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        raise
    finally:
        pool.shutdown(wait=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
