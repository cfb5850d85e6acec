"""Flower's ServerApp: a plan in, the stages in order, a model out. Only wiring."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from braing3n.errors import BrainG3NError, ConfigError, RunFailedError
from braing3n.networks import moments_like
from braing3n.plan import Part, Plan, StageName, load_plan
from braing3n.protocol import Task
from braing3n.weights import State, Vector, digest_state, layout_digest, pack, unpack
from server.merge import AveragedWeights, ServerOptimizer
from server.messages import Member
from server.outcome import Frozen, Round, StageRecord
from server.roster import greet
from server.run_state import RunFolder, new_run_id
from server.stages import STAGES, Stage, initial_weights, statistics_from
from server.strategy import Strategy

CONNECT_TIMEOUT_S = 60.0

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all stages of the plan that the run config points to."""
    settings = {key: str(value) for key, value in context.run_config.items()}
    missing = [key for key in ("plan", "out") if not settings.get(key)]
    if missing:
        raise ConfigError("the run config lacks pointers", expected="absolute paths for plan, out",
                          found=f"no {' and no '.join(missing)}",
                          fix="""pass --run-config 'plan="/..." sites="/..." out="/..."'""")
    plan = load_plan(Path(settings["plan"]), settings.get("sweep", ""))
    run = RunFolder(Path(settings["out"]), plan, new_run_id())
    try:
        sites = settings.get("sites", "")
        expected = len(list(Path(sites).glob("*.yaml"))) if sites else plan.min_sites
        if expected == 0:
            raise ConfigError("the run config names no sites", expected="a folder of site files",
                              found=f"no *.yaml in {sites}", fix="correct `sites`")
        federate(grid, run, expected)
    except BrainG3NError as error:
        run.fail(f"{error.what}: expected {error.expected}, found {error.found}")
        raise
    except BaseException as error:
        run.fail(f"{type(error).__name__}; see the coordinator's log")
        raise


def federate(grid: Grid, run: RunFolder, expected: int) -> None:
    """Greet the sites, run every stage, and say in the run's folder how it ended."""
    roster = greet(grid, expected, CONNECT_TIMEOUT_S)
    run.sites = tuple(member.name for member in roster.members)
    run.strangers, run.code_digest = roster.strangers, roster.code_digest
    run.num_expected = expected
    run.write()
    if len(run.sites) < run.plan.min_sites:
        refused = ", ".join(f"{name}: {why}" for name, why in sorted(roster.strangers.items()))
        raise RunFailedError(
            "too few sites joined", expected=f"at least {run.plan.min_sites} (min_sites in the plan)",
            found=f"{len(run.sites)} of {expected} ({refused or 'no other node connected'})",
            fix="start the other sites' clients, with the same software version",
        )
    strategy = Strategy(grid, roster.members, run.plan.min_sites, run.plan.round_timeout_s)
    federation = Federation(strategy, run)
    for stage in STAGES:
        if stage.name in run.plan.stage_names:
            federation.run_stage(stage)
    run.finish()


@dataclass
class Federation:
    """The run as it goes: the frozen parts grow from stage to stage."""

    strategy: Strategy
    run: RunFolder
    frozen: dict[Part, Frozen] = field(default_factory=dict)

    def run_stage(self, stage: Stage) -> None:
        """Train one stage over its rounds, evaluate and freeze what came of it."""
        plan = self.run.plan
        record = StageRecord(stage.name, plan.stage(stage.name).rounds)
        self.run.records.append(record)
        self.run.write()
        like = initial_weights(plan, stage.name)
        weights = self._train(stage, record, like)
        self._evaluate(stage, record, like, weights)
        self._freeze(stage.freezes, stage.result(unpack(weights, like)), stage, record)
        if stage.gathers_statistics:
            self._gather_statistics(stage, record)
        self.run.write()

    def _train(self, stage: Stage, record: StageRecord, like: State) -> Vector:
        """Run the stage's rounds and return the weights that it ends with."""
        plan = self.run.plan
        stage_plan = plan.stage(stage.name)
        weights = pack(like)
        optimizer = ServerOptimizer(stage_plan.server)
        average = AveragedWeights(decay_per_round(plan)) if stage.is_averaged else None
        for index in range(record.rounds):
            task = self._task(stage, index, like)
            members = draw_members(self.strategy.members, plan, stage.name, index)
            outcome = replace(self.strategy, members=members).run_round(
                f"train.{stage.name}", task, weights, like, self.frozen
            )
            record.add(index + 1, "training", outcome)
            self.strategy.check_enough(task, outcome)
            if outcome.mean is not None:
                weights = optimizer.step(weights, outcome.mean)
            slots = dict(optimizer.slots)
            if average is not None:
                average.add(weights)
                slots["average"] = average.mean()
            self.run.write_metrics(stage.name, index + 1, outcome)
            self.run.write_round(stage.name, index + 1, outcome, unpack(weights, like), slots)
            self.run.write()
        return average.mean() if average is not None else weights

    def _task(self, stage: Stage, round_index: int, like: State) -> Task:
        plan = self.run.plan
        return Task(
            run=self.run.run_id, plan=plan.canonical(), plan_digest=plan.digest, stage=stage.name,
            round_index=round_index, layout=layout_digest(like),
            frozen={part: self.frozen[part].digest for part in stage.needs},
        )

    def _evaluate(
        self, stage: Stage, record: StageRecord, like: State, weights: Vector
    ) -> None:
        """Have every site measure the stage's result on its held-out subjects."""
        task = self._task(stage, record.rounds, like)
        outcome = self.strategy.run_round("evaluate", task, weights, None, self.frozen)
        record.add(None, "evaluation", outcome)
        self.strategy.check_enough(task, outcome)
        record.metrics = mean_metrics(outcome)
        self.run.write_metrics(stage.name, record.rounds + 1, outcome)

    def _freeze(self, part: Part, state: State, stage: Stage, record: StageRecord) -> None:
        """Fix a part by its digest, keep it, and send it to every site, once."""
        frozen = Frozen(state, digest_state(state))
        self.frozen[part] = frozen
        self.run.write_model(part, frozen)
        later = [stage for stage in STAGES if stage.name in self.run.plan.stage_names]
        if any(part in stage.needs for stage in later):
            task = self._task(stage, record.rounds, state)
            record.add_delivery(
                part, self.strategy.install(self.strategy.members, task, part, frozen)
            )

    def _gather_statistics(self, stage: Stage, record: StageRecord) -> None:
        """Fix the latent statistics of all sites together, from summed moments."""
        like = moments_like(self.run.plan)
        task = self._task(stage, record.rounds, like)
        needed: tuple[Part, ...] = ("encoder", "decoder")
        task = task.model_copy(update={"frozen": {p: self.frozen[p].digest for p in needed}})
        outcome = self.strategy.run_round("query.moments", task, None, like, self.frozen)
        record.add(None, "statistics", outcome)
        self.strategy.check_enough(task, outcome)
        if outcome.mean is not None:
            state = statistics_from(unpack(outcome.mean, like))
            self._freeze("statistics", state, stage, record)


def draw_members(
    members: Sequence[Member], plan: Plan, stage: StageName, round_index: int
) -> list[Member]:
    """Return who trains in a round: everybody, or the plan's number of sites, drawn evenly."""
    if plan.sites_per_round is None or plan.sites_per_round >= len(members):
        return list(members)
    # Not for secrecy: a draw that depends on the plan alone can be repeated.
    drawn = random.Random(f"{plan.seed} {stage} {round_index}")  # noqa: S311
    return sorted(drawn.sample(list(members), plan.sites_per_round), key=lambda member: member.name)


def decay_per_round(plan: Plan) -> float:
    """Return the moving average's decay over one round of the diffusion stage."""
    stage = plan.stages.diffusion
    return float(stage.ema_decay ** stage.steps(num_volumes=0))


def mean_metrics(outcome: Round) -> dict[str, float]:
    """Return each metric's plain mean over the sites that report it: every hospital counts alike."""
    reports = [reply.metrics for reply in outcome.replies.values() if reply.metrics]
    names = sorted({name for report in reports for name in report})
    values = {name: [report[name] for report in reports if name in report] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}
