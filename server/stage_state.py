"""What the coordinator carries from round to round of a stage, and takes up again after a crash."""

from dataclasses import dataclass

from braing3n.plan import Plan
from braing3n.weights import State, Vector, pack, unpack
from server.merge import AveragedWeights, ServerOptimizer
from server.stages import Stage

_AVERAGE = "average_sum"


@dataclass
class StageState:
    """The global weights with all that the next round's weights depend on.

    Attributes:
        weights: Flat global weights.
        like: Their names and shapes.
        optimizer: The server optimiser with its slots.
        average: The moving average, where the stage has one.
        rounds: Rounds that are done.
    """

    weights: Vector
    like: State
    optimizer: ServerOptimizer
    average: AveragedWeights | None
    rounds: int = 0

    def take(self, update: Vector | None) -> None:
        """Go one round on, by the sites' mean update where there is one."""
        if update is not None:
            self.weights = self.optimizer.step(self.weights, update)
        if self.average is not None:
            self.average.add(self.weights)
        self.rounds += 1

    def slots(self) -> dict[str, Vector]:
        """Return the coordinator's own vectors: as they are, so that a run goes on bit for bit."""
        slots = dict(self.optimizer.slots)
        if self.average is not None and self.average.slot is not None:
            slots[_AVERAGE] = self.average.slot
        return slots

    def result(self) -> Vector:
        """Return the weights that the stage has come to."""
        return self.weights if self.average is None else self.average.mean()

    def restore(
        self, weights: State, slots: dict[str, Vector], rounds: int, average_rounds: int
    ) -> None:
        """Take up what was kept after a round.

        Raises:
            ProtocolError: The weights are another network's.
        """
        self.weights = pack(unpack(pack(weights), self.like))
        self.rounds = rounds
        if self.average is not None:
            self.average.slot, self.average.rounds = slots.get(_AVERAGE), average_rounds
        self.optimizer.slots = {name: slot for name, slot in slots.items() if name != _AVERAGE}


def begin_stage(plan: Plan, stage: Stage, like: State) -> StageState:
    """Return the state that a stage begins with."""
    average = AveragedWeights(decay_per_round(plan)) if stage.is_averaged else None
    return StageState(pack(like), like, ServerOptimizer(plan.stage(stage.name).server), average)


def decay_per_round(plan: Plan) -> float:
    """Return the moving average's decay over one round of the diffusion stage."""
    stage = plan.stages.diffusion
    return float(stage.ema_decay ** stage.steps(num_volumes=0))
