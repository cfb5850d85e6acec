"""What a site does with a task: train, evaluate, measure latents, keep a frozen part."""

import time

import numpy as np
import torch

from braing3n.embeddings import latent_moments
from braing3n.errors import ProtocolError
from braing3n.files import replacing
from braing3n.networks import open_decoder, part_like
from braing3n.objectives import MAX_HELD_OUT, StageObjective, open_objective, pick
from braing3n.plan import STAGE_NAMES
from braing3n.protocol import Reply, Task
from braing3n.training import seed_for, train_round
from braing3n.weights import State, Vector, layout_digest, pack, unpack
from client.opening import PROGRESS_EVERY_S, Opened, open_task, report
from client.site import Site, check_task


def train(site: Site, task: Task, vector: Vector | None) -> tuple[Reply, Vector | None]:
    """Measure the global weights on held-out subjects, then train from them for one round.

    Returns:
        The report and the update; or, where a frozen part is lacking, a report that says which.
    """
    began = time.monotonic()
    opened = open_task(site, task, began)
    if isinstance(opened, Reply):
        return opened, None
    plan, data = opened.plan, opened.data
    objective = open_objective(plan, task.stage, data, opened.frozen, site.device)
    start = _load_global_weights(vector, objective, task)
    measures = task.round_index % plan.stage(task.stage).measure_every == 0
    metrics = _held_out_metrics(site, opened, objective) if measures else {}
    trained = train_round(
        objective, plan.stage(task.stage), start, examples=data.train,
        round_index=task.round_index, moments=site.moments(task),
        seed=seed_for(plan.seed, site.config.name, task.stage, task.round_index),
        on_step=_Progress(site, task),
    )
    reply = report(
        site, task, began, layout=layout_digest(trained.update), weight=len(data.train),
        metrics=metrics, train_loss=trained.train_loss, losses=trained.losses,
        num_skipped=len(data.skipped),
    )
    return reply, pack(trained.update)


def evaluate(site: Site, task: Task, vector: Vector | None) -> Reply:
    """Measure a stage's result on held-out subjects, and keep pictures of one at the site."""
    began = time.monotonic()
    opened = open_task(site, task, began)
    if isinstance(opened, Reply):
        return opened
    objective = open_objective(opened.plan, task.stage, opened.data, opened.frozen, site.device)
    _load_global_weights(vector, objective, task)
    metrics = _held_out_metrics(site, opened, objective)
    site.forget_moments(task)
    _keep_pictures(site, task, opened, objective)
    return report(site, task, began, metrics=metrics, num_skipped=len(opened.data.skipped))


def moments(site: Site, task: Task) -> tuple[Reply, Vector | None]:
    """Return the latents' mean and mean square at every place over the training volumes."""
    began = time.monotonic()
    opened = open_task(site, task, began)
    if isinstance(opened, Reply):
        return opened, None
    decoder = open_decoder(opened.plan, opened.frozen["decoder"], site.device)
    state = latent_moments(opened.plan, opened.data, opened.frozen["encoder"], decoder, site.device)
    reply = report(site, task, began, layout=layout_digest(state), weight=len(opened.data.train))
    return reply, pack(state)


def install(site: Site, task: Task, vector: Vector | None) -> Reply:
    """Keep a frozen part, if it has the digest that was announced."""
    began = time.monotonic()
    plan = check_task(task)
    if task.part is None or task.part not in task.frozen or vector is None:
        raise ProtocolError("a frozen part cannot be kept", expected="a part, its digest, its weights",
                            found="less", fix="ask the coordinator")
    site.store(task.part, task.frozen[task.part], unpack(vector, part_like(plan, task.part)))
    return report(site, task, began)


class _Progress:
    """Writes the site's progress about once a second, and at the end of the round."""

    def __init__(self, site: Site, task: Task) -> None:
        self._site = site
        self._task = task
        self._last = 0.0

    def __call__(self, step: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if step < steps and now - self._last < PROGRESS_EVERY_S:
            return
        self._last = now
        self._site.show_progress(
            stage=self._task.stage, round=self._task.round_index + 1, doing="training",
            done=step, total=steps, loss=loss,
        )


def _load_global_weights(vector: Vector | None, objective: StageObjective, task: Task) -> State:
    """Give the network the weights that came with the task, and return them."""
    like = objective.network.state_dict()
    if vector is None or task.layout != layout_digest(like):
        raise ProtocolError("the task's weights are for another network",
                            expected=layout_digest(like), found=str(task.layout),
                            fix="run the same preset and software version on both sides")
    weights = unpack(vector, like)
    objective.network.load_state_dict(weights)
    return weights


def _held_out_metrics(site: Site, opened: Opened, objective: StageObjective) -> dict[str, float]:
    """Return the network's metrics; the same masks and noise every time, to be comparable."""
    held_out = pick(opened.data.held_out, MAX_HELD_OUT)
    if not held_out:
        return {}
    seed = seed_for(opened.plan.seed, site.config.name, "held out")
    return objective.evaluate(held_out, torch.Generator().manual_seed(seed))


def _keep_pictures(site: Site, task: Task, opened: Opened, objective: StageObjective) -> None:
    """Add this stage's pictures of one subject to the site's own file; they are never sent."""
    plan, data = opened.plan, opened.data
    example = (data.held_out or data.train)[0]
    generator = torch.Generator().manual_seed(seed_for(plan.seed, site.config.name, "picture"))
    path = site.config.state_dir / "pictures.npz"
    pictures = objective.pictures(example, generator)
    if not pictures:
        return
    if path.exists() and task.stage != STAGE_NAMES[0]:  # the first stage forgets earlier runs'
        with np.load(path) as kept:
            pictures = {**{name: kept[name] for name in kept.files}, **pictures}
    with replacing(path) as part:
        np.savez_compressed(part, allow_pickle=False, **pictures)
