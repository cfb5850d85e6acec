"""Flower's ServerApp: a plan in, the stages in order, a model out. Only wiring."""

import contextlib
import errno
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from braing3n.errors import BrainG3NError, ConfigError, OutputError, RunFailedError
from braing3n.evaluation.tasks import probed_tasks
from braing3n.files import alone_in
from braing3n.networks import moments_like, num_features
from braing3n.plan import Part, Plan, StageName, load_plan
from braing3n.presets import PRESETS
from braing3n.protocol import Task
from braing3n.weights import State, Vector, digest_state, layout_digest, unpack
from server.checkpoint import load_model, load_round
from server.enrolled_nodes import load_nodes
from server.manifests import ManifestBook
from server.messages import Member
from server.outcome import Frozen, Round, StageRecord
from server.pieces import fetch_soon
from server.probe_asking import Asking
from server.probing import run_probes
from server.receipts import ReceiptBook
from server.roster import Roster
from server.round_records import RoundBook
from server.run_state import RunFolder, new_run_id
from server.stage_state import StageState, begin_stage
from server.stages import Stage, stages_of, statistics_from
from server.starts import check_starts, start_of, start_statistics
from server.strategy import Strategy

# A busy machine takes a minute until simulated sites have imported what they need.
CONNECT_TIMEOUT_S = 180.0

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all stages of the plan that the run config points to."""
    fetch_soon()
    settings = {key: str(value) for key, value in context.run_config.items()}
    missing = [key for key in ("plan", "out") if not settings.get(key)]
    if missing:
        raise ConfigError("the run config lacks pointers", expected="absolute paths for plan, out",
                          found=f"no {' and no '.join(missing)}",
                          fix="""pass --run-config 'plan="/..." sites="/..." out="/..."'""")
    plan = load_plan(Path(settings["plan"]), settings.get("sweep", ""))
    probed_tasks(plan.probes)  # a task that there is not ends the run before it begins
    start = Path(settings["start"]) if settings.get("start") else None
    check_starts(plan, start)
    out = Path(settings["out"])
    with alone_in(out, ".run.lock", "coordinator"):
        run = RunFolder(out, plan, new_run_id())
        try:
            nodes = Path(settings["nodes"]) if settings.get("nodes") else None
            expected = _num_expected(settings.get("sites", ""), nodes, plan)
            federate(Roster(grid, nodes), run, expected, start)
        except BrainG3NError as error:
            run.fail(f"{error.what}: expected {error.expected}, found {error.found}")
            raise
        except BaseException as error:
            if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                run.fail(f"{type(error).__name__}; see the coordinator's log")
                raise
            with contextlib.suppress(OSError):  # there may be no room to say that there is none
                run.fail(f"the disk of {out} is full")
            raise OutputError(
                f"the disk of {out} is full", expected="room for a few models",
                found=error.strerror or "no room",
                fix="make room, then go on with `braing3n server resume`, or the same `sim run`: "
                "finished rounds are kept") from error


def _num_expected(sites: str, nodes: Path | None, plan: Plan) -> int:
    """Return how many sites to wait for: those that are enrolled, those with a file, or `min_sites`."""
    if nodes is not None:
        expected, found = len(load_nodes(nodes)), f"no site in {nodes}"
    elif sites:
        expected, found = len(list(Path(sites).glob("*.yaml"))), f"no *.yaml in {sites}"
    else:
        return plan.min_sites
    if expected == 0:
        raise ConfigError("the run config names no sites", found=found,
                          expected="a folder of site files, or nodes that sites are enrolled as",
                          fix="correct `sites`; or enrol sites, and let `server start` be at work")
    return expected


def federate(roster: Roster, run: RunFolder, expected: int, start: Path | None = None) -> None:
    """Greet the sites, run every stage, and say in the run's folder how it ended."""
    roster.gather(expected, CONNECT_TIMEOUT_S)
    there = tuple(member.name for member in roster.members)
    run.begin(there, roster.strangers, roster.code_digest, expected)
    if len(there) < run.plan.min_sites:
        refused = ", ".join(f"{name}: {why}" for name, why in sorted(roster.strangers.items()))
        raise RunFailedError(
            "too few sites joined", expected=f"at least {run.plan.min_sites} (min_sites in the plan)",
            found=f"{len(there)} of {expected} ({refused or 'no other node connected'})",
            fix="start the other sites' clients, with the same software version",
        )
    roster.expect(run.attendance.current)
    strategy = Strategy(roster.grid, roster.members, run.plan.min_sites, run.plan.round_timeout_s,
                        ReceiptBook(run.path, run.run_id), ManifestBook(run.path), run.path,
                        run.plan.wait_for_lost_s)
    federation = Federation(strategy, run, RoundBook(run.path, run.run_id), roster, start)
    for stage in stages_of(run.plan):
        federation.run_stage(stage)
        if stage.freezes == "encoder":
            federation.run_probes(stage)
    run.finish()


@dataclass
class Federation:
    """The run as it goes: the frozen parts grow from stage to stage."""

    strategy: Strategy
    run: RunFolder
    records: RoundBook
    roster: Roster
    start: Path | None = None
    frozen: dict[Part, Frozen] = field(default_factory=dict)

    def run_stage(self, stage: Stage) -> None:
        """Train one stage over its rounds, evaluate and freeze what came of it.

        A stage that was over before the run was interrupted is only read.
        """
        kept = self.run.checkpoint(stage.name)
        if kept is not None and kept.is_finished:
            self.frozen.update({part: Frozen(load_model(self.run.path, model), model.digest)
                                for part, model in kept.models.items()})
            return
        record = self.run.open_record(stage.name)
        first = start_of(self.run.plan, stage.name, self.start)
        record.start, like = first.as_json(), first.weights
        state = begin_stage(self.run.plan, stage, like)
        if kept is not None:
            state.restore(*load_round(self.run.path, kept), kept.round, kept.average_rounds)
        self._train(stage, record, state)
        weights = state.result()
        self._evaluate(stage, record, like, weights)
        self._freeze(stage.freezes, stage.result(unpack(weights, like)), stage, record)
        if stage.gathers_statistics:
            self._fix_statistics(stage, record)
        self.run.finish_stage(record, stage.frozen_parts)

    def run_probes(self, stage: Stage) -> None:
        """Probe the encoder that the stage froze, if the plan wants that and it was not done yet."""
        plan = self.run.plan
        if not plan.probes or self.run.probes:
            return
        asking = Asking(self.strategy, self._task(stage, plan.stage(stage.name).rounds, {}).model_copy(
            update={"frozen": {"encoder": self.frozen["encoder"].digest}}), self.frozen)
        self.run.finish_probes(stage.name, run_probes(
            asking, probed_tasks(plan.probes), num_features(PRESETS[plan.preset]), plan.min_sites))

    def _train(self, stage: Stage, record: StageRecord, state: StageState) -> None:
        """Run the rounds of the stage that are not done; after each, the run could go on from it."""
        while state.rounds < record.rounds:
            self._look_for_sites(stage.name, state.rounds + 1)
            task = self._task(stage, state.rounds, state.like)
            members = draw_members(self.strategy.members, self.run.plan, stage.name, state.rounds)
            outcome = replace(self.strategy, members=members).run_round(
                f"train.{stage.name}", task, state.weights, state.like, self.frozen,
                self.run.plan.stage(stage.name).merge)
            record.add(state.rounds + 1, "training", outcome)
            self.strategy.check_enough(task, outcome)
            state.take(outcome.mean)
            weights = unpack(state.weights, state.like)
            self.records.add("training", task, outcome, weights)
            self.run.write_metrics(stage.name, state.rounds, outcome)
            self.run.write_round(
                record, state.rounds, outcome, weights, state.slots(),
                average_rounds=0 if state.average is None else state.average.rounds)
            self.run.write()

    def _look_for_sites(self, stage: StageName, number: int) -> None:
        """Before a round, take up sites that are new, and shut out those that are enrolled no more."""
        changes = self.roster.look()
        self.strategy = replace(self.strategy, members=self.roster.members)
        self.run.note_sites(changes.joined, changes.revoked, self.roster.strangers, stage, number)

    def _task(self, stage: Stage, round_index: int, like: State) -> Task:
        plan = self.run.plan
        return Task(
            run=self.run.run_id, plan=plan.canonical(), plan_digest=plan.digest, stage=stage.name,
            round_index=round_index, layout=layout_digest(like),
            frozen={part: self.frozen[part].digest for part in stage.needs},
            receipts=() if self.strategy.book is None else self.strategy.book.latest,
            record=self.records.latest,
        )

    def _evaluate(
        self, stage: Stage, record: StageRecord, like: State, weights: Vector
    ) -> None:
        """Have every site measure the stage's result on its held-out subjects."""
        task = self._task(stage, record.rounds, like)
        outcome = self.strategy.run_round("evaluate", task, weights, None, self.frozen)
        record.add(None, "evaluation", outcome)
        self.strategy.check_enough(task, outcome)
        self.records.add("evaluation", task, outcome, unpack(weights, like))
        record.metrics = mean_metrics(outcome)
        self.run.write_metrics(stage.name, record.rounds + 1, outcome)

    def _freeze(self, part: Part, state: State, stage: Stage, record: StageRecord) -> None:
        """Fix a part by its digest, keep it, and send it to every site, once."""
        frozen = Frozen(state, digest_state(state))
        self.frozen[part] = frozen
        self.run.write_model(part, frozen)
        if (any(part in other.needs for other in stages_of(self.run.plan))
                or (part == "encoder" and self.run.plan.probes)):
            task = self._task(stage, record.rounds, state)
            record.add_delivery(
                part, self.strategy.install(self.strategy.members, task, part, frozen)
            )

    def _fix_statistics(self, stage: Stage, record: StageRecord) -> None:
        """Fix the latent statistics: of all sites together, or those that diffusion's weights need."""
        if "diffusion" in self.run.plan.stage_names and not self.run.plan.gathers_moments:
            self._freeze("statistics", start_statistics(self.run.plan, self.start), stage, record)
            return
        like = moments_like(self.run.plan)
        task = self._task(stage, record.rounds, like)
        needed: tuple[Part, ...] = ("encoder", "decoder")
        task = task.model_copy(update={"frozen": {p: self.frozen[p].digest for p in needed}})
        outcome = self.strategy.run_round("query.moments", task, None, like, self.frozen)
        record.add(None, "statistics", outcome)
        self.strategy.check_enough(task, outcome)
        moments = None if outcome.mean is None else unpack(outcome.mean, like)
        self.records.add("statistics", task, outcome, moments)
        if moments is not None:
            self._freeze("statistics", statistics_from(moments), stage, record)


def draw_members(
    members: Sequence[Member], plan: Plan, stage: StageName, round_index: int
) -> list[Member]:
    """Return who trains in a round: everybody, or the plan's number of sites, drawn evenly."""
    if plan.sites_per_round is None or plan.sites_per_round >= len(members):
        return list(members)
    # Not for secrecy: a draw that depends on the plan alone can be repeated.
    drawn = random.Random(f"{plan.seed} {stage} {round_index}")  # noqa: S311
    return sorted(drawn.sample(list(members), plan.sites_per_round), key=lambda member: member.name)


def mean_metrics(outcome: Round) -> dict[str, float]:
    """Return each metric's plain mean over the sites that report it: every hospital counts alike."""
    reports = [outcome.replies[site].metrics for site in outcome.answered]
    names = sorted({name for report in reports for name in report})
    values = {name: [report[name] for report in reports if name in report] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}
