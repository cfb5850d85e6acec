"""Starts a process for each task of the SuperNode, forked from one that has imported everything.

    python -m client.node.executor SITE.yaml ARGUMENTS OF flower-superexec

Flower's own executor starts Python anew for each message, some six seconds of imports, with the task's
token in the command line, where every user of the machine can read it.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext
from typing import Any

from client.node import flower


class ForkedTasks:
    """Flower's Executor, by a server of processes.

    Args:
        context: Of multiprocessing.
        work: What a process does, given the SuperNode's address, the task's token, and this process.
    """

    def __init__(self, context: ForkServerContext, work: Callable[[str, str, int], None]) -> None:
        self._context = context
        self._work = work

    def get_eligible_capacity(self, supported_task_types: set[Any], **_: object,
                              ) -> tuple[set[Any], set[str]]:
        """All kinds of tasks can be started at once."""
        return supported_task_types, set()

    def wait_for_capacity(self, *_: object, **__: object) -> None:
        """There is no limit to wait for: a SuperNode gives one task at a time."""

    def launch(self, spec: flower.ExecutionSpec) -> flower.LaunchResult:
        """Fork a process for a task."""
        self._context.Process(
            target=self._work, args=(spec.runtime_api_address, spec.token, os.getpid())).start()
        return flower.LaunchResult.accepted()

    def reconcile(self) -> None:
        """Let go of processes that have ended."""
        multiprocessing.active_children()

    def close(self) -> None:
        """End what is at work."""
        for process in multiprocessing.active_children():
            process.terminate()


def work(site: str, runtime_address: str, token: str, parent: int) -> None:
    """Do one task, in a process of its own."""
    from client.node.task import run_task  # noqa: PLC0415  # PyTorch: there in the process, not here

    run_task(site, runtime_address, token, parent)


def nothing() -> None:
    """Do nothing: the first process that is forked has the server import everything."""


def main(site: str, arguments: list[str]) -> None:
    """Run the executor."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["client.node.task"])
    first = context.Process(target=nothing)
    first.start()
    first.join()
    loop: Any = flower.executor_loop  # Flower has no other place for it
    loop.get_executor = lambda *_, **__: ForkedTasks(context, partial(work, site))
    sys.argv = ["flower-superexec", *arguments]
    flower.flower_superexec()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
