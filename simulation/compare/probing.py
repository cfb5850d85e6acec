"""The probes of a comparison, several at a time, each task in a process of its own."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, as_completed

from braing3n.errors import CohortError, DivergedError
from braing3n.evaluation.tasks import Task
from simulation.compare.contest import Contest, measure_task
from simulation.compare.results import Measure
from simulation.compare.workers import workers


def measure_tasks(tasks: Mapping[str, Task], contest: Contest, parallel: int,
                  progress: Callable[[int, int], None]) -> tuple[list[Measure], dict[str, str]]:
    """Fit every task's probes for all contestants.

    Args:
        tasks: By name.
        contest: Who is compared.
        parallel: Tasks at a time.
        progress: Called with (tasks done, tasks in all).

    Returns:
        A measure for each task that the cohort allows; why it does not allow the others, by name.
    """
    with workers(parallel) as pool:
        jobs: dict[str, Future[Measure | str]] = {
            name: pool.submit(_measure, name, task, contest) for name, task in tasks.items()}
        for number, _ in enumerate(as_completed(jobs.values()), start=1):
            progress(number, len(jobs))
    found = {name: job.result() for name, job in jobs.items()}
    return ([one for one in found.values() if isinstance(one, Measure)],
            {name: one for name, one in found.items() if isinstance(one, str)})


def _measure(name: str, task: Task, contest: Contest) -> Measure | str:
    """Return a task's measure, or why the cohort does not allow it."""
    try:
        return measure_task(name, task, contest)
    except (CohortError, DivergedError) as error:
        return f"{error.what}: expected {error.expected}, found {error.found}"
