"""What a site does with a task: train, evaluate, measure latents, keep a frozen part."""

import json
import time

import numpy as np
import torch

from braing3n.embeddings import latent_moments
from braing3n.errors import PolicyError, ProtocolError
from braing3n.files import replacing
from braing3n.networks import open_decoder, part_like
from braing3n.objectives import MAX_HELD_OUT, StageObjective, pick
from braing3n.plan import STAGE_NAMES
from braing3n.privacy_messages import PrivacyReport
from braing3n.protocol import Reply, Task
from braing3n.training import seed_for, train_round
from braing3n.weights import Vector, layout_digest, pack, unpack
from client.charging import recall, report_only, with_head
from client.dp_work import metrics_with_dp, moments_with_dp, train_with_dp
from client.opening import (
    Opened,
    Progress,
    counted,
    is_measured,
    open_task,
    open_weights,
    report,
    weight_of,
)
from client.permit import Permit, note_without_dp, permit_of
from client.residual import round_update
from client.site import Site, check_task


def train(site: Site, task: Task, vector: Vector | None) -> tuple[Reply, Vector | None]:
    """Measure the global weights on held-out subjects, then train from them for one round.

    A site with a budget decides before that, and charges its ledger, or gives the answer that it
    has given to the same task already.

    Returns:
        The report and the update; or, where a frozen part is lacking, a report that says which.
    """
    began = time.monotonic()
    permit = permit_of(site, "train", task, check_task(task), vector)
    kept = None if permit is None else recall(permit)
    if kept is not None:
        return kept
    opened = open_task(site, task, began)
    if isinstance(opened, Reply):
        return opened, None
    if permit is not None and permit.privacy is not None:
        return train_with_dp(permit, permit.privacy, opened, vector, began)
    release = site.config.release
    if permit is not None:
        note_without_dp(permit)
    objective, start = open_weights(site, task, opened, vector)
    stage = opened.plan.stage(task.stage)
    measures = is_measured(opened.plan, task) and release.how("metrics", with_dp=False) == "exact"
    metrics = _held_out_metrics(site, opened, objective) if measures else {}
    trained = train_round(
        objective, stage, start, examples=opened.data.train, round_index=task.round_index,
        moments=site.moments(task), on_step=Progress(site, task),
        seed=seed_for(opened.plan.seed, site.config.name, task.stage, task.round_index),
    )
    says_loss = release.how("losses", with_dp=False) == "exact"
    reply = report(
        site, task, began, layout=layout_digest(trained.update), weight=weight_of(site, opened),
        metrics=metrics, train_loss=trained.train_loss if says_loss else None,
        losses=trained.losses if says_loss else (),
        num_skipped=counted(site, len(opened.data.skipped)),
        privacy=_spending(permit))
    return with_head(site, task.run, reply), round_update(
        pack(trained.update), stage.payload, site.moments(task), task.round_index)


def evaluate(site: Site, task: Task, vector: Vector | None) -> Reply:
    """Measure a stage's result on held-out subjects, and keep pictures of one at the site."""
    began = time.monotonic()
    permit = permit_of(site, "evaluate", task, check_task(task), vector)
    kept = None if permit is None else recall(permit)
    if kept is not None:
        return kept[0]
    opened = open_task(site, task, began)
    if isinstance(opened, Reply):
        return opened
    if permit is not None and permit.privacy is None:
        note_without_dp(permit)
    objective, _ = open_weights(site, task, opened, vector)
    metrics = _held_out_metrics(site, opened, objective)
    site.forget_moments(task)
    _keep_pictures(site, task, opened, objective)
    if permit is not None and permit.privacy is not None:
        site.log(f"measured on held-out subjects, not sent as it is: {json.dumps(metrics)}")
        return metrics_with_dp(permit, permit.privacy, opened, objective, began)
    if site.config.release.how("metrics", with_dp=False) != "exact":
        metrics = {}
    skipped = counted(site, len(opened.data.skipped))
    return with_head(site, task.run,
                     report(site, task, began, metrics=metrics, num_skipped=skipped,
                            privacy=_spending(permit)))


def moments(site: Site, task: Task) -> tuple[Reply, Vector | None]:
    """Return the latents' mean and mean square over the training volumes.

    They are exact ones at every place; with a budget, noised ones for all places together.

    Raises:
        PolicyError: The site's settings withhold them.
    """
    began = time.monotonic()
    permit = permit_of(site, "moments", task, check_task(task), None)
    kept = None if permit is None else recall(permit)
    if kept is not None:
        return kept
    with_dp = permit is not None and permit.privacy is not None
    if site.config.release.how("moments", with_dp=with_dp) == "withheld":
        raise PolicyError("the site gives no latent moments", expected="`release: moments:` of the "
                          "site that lets them leave", found="withheld",
                          fix="statistics are then of the other sites")
    opened = open_task(site, task, began, ("encoder", "decoder"))
    if isinstance(opened, Reply):
        return opened, None
    if permit is not None and permit.privacy is not None:
        return moments_with_dp(permit, permit.privacy, opened, began)
    if permit is not None:
        note_without_dp(permit)
    decoder = open_decoder(opened.plan, opened.frozen["decoder"], site.device)
    state = latent_moments(opened.plan, opened.data, opened.frozen["encoder"], decoder, site.device)
    reply = report(site, task, began, layout=layout_digest(state), weight=weight_of(site, opened),
                   privacy=_spending(permit))
    return with_head(site, task.run, reply), pack(state)


def install(site: Site, task: Task, vector: Vector | None) -> Reply:
    """Keep a frozen part, if it has the digest that was announced."""
    began = time.monotonic()
    plan = check_task(task)
    if task.part is None or task.part not in task.frozen or vector is None:
        raise ProtocolError("a frozen part cannot be kept", expected="a part, its digest, its weights",
                            found="less", fix="ask the coordinator")
    site.store(task.part, task.frozen[task.part], unpack(vector, part_like(plan, task.part)))
    return report(site, task, began)


def _spending(permit: Permit | None) -> PrivacyReport | None:
    """Return what a site with a budget tells of it where it works without DP."""
    return None if permit is None else report_only(permit)


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
