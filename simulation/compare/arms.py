"""The arms of a comparison: who trains on whose scans, for the same number of steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from braing3n.errors import ConfigError
from braing3n.optimizer_plan import ServerOptimizerPlan
from braing3n.plan import Plan

Kind = Literal["local", "federated", "pooled", "without", "drawn"]
OPTIMIZERS = ("fedavg", "fedavgm", "fedadam")

# What contestants are called, in figures and texts.
POOLED, FEDERATED = "pooled", "federated"
LOCAL = "each site alone"
UNSEEN = "federated, without the site"
SINGLE = "only "


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: Also its folder.
        kind: `local`: a site alone; `federated`; `pooled`: all scans at one place; `without`: the
            federation of all other sites; `drawn`: some sites a round.
        sites: Whose scans it trains on.
        sweep: What it replaces in the plan.
        drawn: How many of the sites train in each round; None is all.
    """

    name: str
    kind: Kind
    sites: tuple[str, ...]
    sweep: str = ""
    drawn: int | None = None

    @property
    def num_at_work(self) -> int:
        """How many sites' work a round of it is."""
        return len(self.sites) if self.drawn is None else min(self.drawn, len(self.sites))


@dataclass(frozen=True)
class Asked:
    """Which arms beside the three that are always there.

    Attributes:
        optimizers: Further server optimisers of the federation, with their own defaults.
        leave_one_out: A federation without each of the sites.
        drawn: Federations of so many sites a round.
        is_pooled_long: Pooled training with as many small steps as all sites take together.
    """

    optimizers: tuple[str, ...] = ()
    leave_one_out: bool = False
    drawn: tuple[int, ...] = ()
    is_pooled_long: bool = False


def check_optimizers(names: Sequence[str]) -> None:
    """Check that the server optimisers that are asked for are known.

    Raises:
        ConfigError: One is not.
    """
    odd = [name for name in names if name not in OPTIMIZERS]
    if odd:
        raise ConfigError("a server optimiser is not known", expected=", ".join(OPTIMIZERS),
                          found=", ".join(odd), fix="correct --optimizer")


def check_drawn(counts: Sequence[int], num_sites: int) -> None:
    """Check that fewer sites are to be drawn in a round than there are.

    Raises:
        ConfigError: As many are, or more.
    """
    many = [str(count) for count in counts if count >= num_sites]
    if many:
        raise ConfigError("too many sites would be drawn in a round", found=", ".join(many),
                          expected=f"fewer than the {num_sites} sites there are",
                          fix="correct --drawn")


def choose_arms(plan: Plan, sites: Sequence[str], asked: Asked) -> tuple[Arm, ...]:
    """Return the arms, those that take longest first.

    All take the plan's number of optimiser steps one after another. A step of the federation is one
    of each site, so a pooled step sees as many scans at once as all sites' batches have together; a
    site alone sees its own batch.

    Args:
        plan: The federation's plan.
        sites: All sites.
        asked: What else is compared.
    """
    everybody = tuple(sites)
    alone = _one_place(plan)
    arms = [Arm(POOLED, "pooled", everybody, f"{alone} {_batches(plan, len(everybody))}")]
    if asked.is_pooled_long:
        arms.append(Arm("pooled-long", "pooled", everybody, f"{alone} {_steps(plan, len(everybody))}"))
    arms.append(Arm(FEDERATED, "federated", everybody))
    arms += [Arm(f"federated-{name}", "federated", everybody, _optimizer(plan, name))
             for name in asked.optimizers]
    arms += [Arm(f"drawn-{count}", "drawn", everybody,
                 f"sites_per_round={count} min_sites={min(count, plan.min_sites)}", drawn=count)
             for count in asked.drawn]
    if asked.leave_one_out:
        arms += [Arm(f"without-{left}", "without", tuple(s for s in everybody if s != left),
                     f"min_sites={min(plan.min_sites, len(everybody) - 1)}") for left in everybody]
    arms += [Arm(f"local-{name}", "local", (name,), alone) for name in everybody]
    return tuple(arms)


def arm_folder(out: Path, arm: Arm) -> Path:
    """Return where an arm's run is in a comparison's folder."""
    return out / "arms" / arm.name


def _one_place(plan: Plan) -> str:
    """Return what training at one place replaces: there is nothing to merge, or to measure often."""
    parts = ["min_sites=1", "sites_per_round=null"]
    for name in plan.stage_names:
        parts += [f'stages.{name}.server={{"name":"fedavg"}}',
                  f"stages.{name}.measure_every={plan.stage(name).rounds}"]
    return " ".join(parts)


def _batches(plan: Plan, num_sites: int) -> str:
    return " ".join(f"stages.{name}.batch_size={plan.stage(name).batch_size * num_sites}"
                    for name in plan.stage_names)


def _steps(plan: Plan, num_sites: int) -> str:
    """Return what lets one place take all sites' steps; epochs over all scans are that already."""
    steps = {name: plan.stage(name).local_steps for name in plan.stage_names}
    return " ".join(f"stages.{name}.local_steps={count * num_sites}"
                    for name, count in steps.items() if count is not None)


def _optimizer(plan: Plan, name: str) -> str:
    default = ServerOptimizerPlan(name=name)  # type: ignore[arg-type]  # pydantic checks it
    return " ".join(f'stages.{stage}.server={{"name":"{default.name}"}}'
                    for stage in plan.stage_names)
