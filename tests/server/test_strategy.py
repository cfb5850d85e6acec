"""What a run says that ends as too few sites answered."""

from typing import Any, cast

import pytest

from braing3n.errors import RunFailedError
from braing3n.plan import load_plan
from braing3n.protocol import Task
from server.outcome import Round
from server.strategy import Strategy
from simulation.run import PLANS

LOST = "a round that was lost stays charged"


def failure(**refused: str) -> RunFailedError:
    plan = load_plan(PLANS / "demo.yaml")
    task = Task(run="r1", plan=plan.canonical(), plan_digest=plan.digest, stage="pretrain",
                round_index=0)
    strategy = Strategy(grid=cast(Any, None), members=(), min_sites=1, timeout_s=1.0)
    with pytest.raises(RunFailedError) as failed:
        strategy.check_enough(task, Round(asked=tuple(refused), refused=refused))
    return failed.value


def test_where_a_budget_ended_the_run_it_says_that_lost_rounds_stay_charged() -> None:
    error = failure(a="budget", b="late")
    assert error.found == "0 (a: budget, b: late)"
    assert LOST in error.fix
    assert "logs of the sites" in error.fix


def test_where_no_budget_did_nothing_is_said_of_charges() -> None:
    assert LOST not in failure(a="policy", b="late").fix
