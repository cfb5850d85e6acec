"""What a site with a budget does with a task, once it is allowed: charge, work, and release."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from braing3n.data.examples import by_subject
from braing3n.dp_moments import latent_moments_with_dp
from braing3n.dp_training import Mechanism, train_round_with_dp
from braing3n.files import write_text
from braing3n.networks import open_decoder
from braing3n.objectives import StageObjective
from braing3n.plan import StageName
from braing3n.privacy.ledger_entry import What
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy.releases import noised_count, noised_metrics
from braing3n.privacy_messages import PrivacyReport
from braing3n.privacy_plan import StagePrivacy
from braing3n.protocol import Reply
from braing3n.training import seed_for
from braing3n.weights import Vector, layout_digest, pack
from client.charging import Answer, charged, report_only, takes_part, with_head
from client.opening import Opened, Progress, is_measured, open_weights, report
from client.permit import Permit, check_subjects
from client.residual import round_update

# What each stage's `evaluate` measures: known before anything is measured. Not `mean_volume_psnr`:
# it compares with a mean over all training subjects, so that one of them would move every number.
METRICS: Mapping[StageName, tuple[str, ...]] = {
    "pretrain": ("loss", "trivial_loss"), "decoder": ("psnr", "ssim"), "diffusion": ("loss",)}


def train_with_dp(
    permit: Permit, privacy: StagePrivacy, opened: Opened, vector: Vector | None, began: float
) -> Answer:
    """Train for one round by DP-SGD, after charging for it and for all else that the reply holds."""
    site, task, release = permit.site, permit.task, permit.site.config.release
    check_subjects(permit, len({example.subject for example in opened.data.train}))
    objective, start = open_weights(site, task, opened, vector)
    stage = opened.plan.stage(task.stage)
    measures = release.how("metrics", with_dp=True) == "noised" and is_measured(opened.plan, task)
    counts = release.how("counts", with_dp=True) == "noised" and _known_count(permit) is None
    wanted: tuple[tuple[What, bool], ...] = (
        ("update", True), ("metrics", measures), ("counts", counts))
    randomness = SecureRandom()

    def work(spending: PrivacyReport) -> Answer:
        metrics = _metrics(permit, privacy, opened, objective, randomness) if measures else {}
        if counts:
            _count(permit, privacy, opened, randomness)
        mechanism = Mechanism(privacy, permit.num_subjects, permit.budget.engine,
                              permit.budget.microbatch, randomness)
        trained = train_round_with_dp(
            objective, stage, start, mechanism, examples=opened.data.train,
            round_index=task.round_index, moments=site.moments(task, with_dp=True),
            on_step=Progress(site, task))
        # Exact numbers on patients: for whoever runs this site, and nobody else.
        site.log(f"in this round, not sent: {json.dumps(trained.in_house)}")
        says_loss = release.how("losses", with_dp=True) == "noised"
        reply = report(
            site, task, began, layout=layout_digest(trained.update),
            weight=_weight(permit), metrics=metrics,
            train_loss=trained.train_loss if says_loss else None,
            losses=trained.losses if says_loss else (),
            privacy=spending.model_copy(update={
                "steps": stage.steps(0), "signal_to_noise": trained.signal_to_noise}))
        return reply, round_update(pack(trained.update), stage.payload,
                                   site.moments(task, with_dp=True), task.round_index)

    return charged(permit, [what for what, is_wanted in wanted if is_wanted], work)


def metrics_with_dp(
    permit: Permit, privacy: StagePrivacy, opened: Opened, objective: StageObjective, began: float
) -> Reply:
    """Return a report with noised metrics, charged for.

    It is without any where the site withholds them, or has no part in the stage.
    """
    site, task = permit.site, permit.task
    if site.config.release.how("metrics", with_dp=True) != "noised" or not takes_part(permit):
        return with_head(site, task.run, report(site, task, began, privacy=report_only(permit)))

    def work(spending: PrivacyReport) -> Answer:
        metrics = _metrics(permit, privacy, opened, objective, SecureRandom())
        return report(site, task, began, metrics=metrics, privacy=spending), None

    return charged(permit, ["metrics"], work)[0]


def moments_with_dp(
    permit: Permit, privacy: StagePrivacy, opened: Opened, began: float
) -> Answer:
    """Return noised latent moments, charged for."""
    site, task = permit.site, permit.task
    check_subjects(permit, len({example.subject for example in opened.data.train}))

    def work(spending: PrivacyReport) -> Answer:
        decoder = open_decoder(opened.plan, opened.frozen["decoder"], site.device)
        state = latent_moments_with_dp(
            opened.plan, opened.data, opened.frozen["encoder"], decoder, site.device, privacy,
            permit.num_subjects, SecureRandom())
        reply = report(site, task, began, layout=layout_digest(state),
                       weight=_weight(permit), privacy=spending)
        return reply, pack(state)

    return charged(permit, ["moments"], work)


def _metrics(
    permit: Permit, privacy: StagePrivacy, opened: Opened, objective: StageObjective,
    randomness: SecureRandom,
) -> dict[str, float]:
    """Return noised means over held-out subjects, each measured on its own."""
    seed = seed_for(opened.plan.seed, permit.site.config.name, "held out")

    def measured() -> Iterator[Mapping[str, float]]:
        for examples in by_subject(opened.data.held_out):
            yield objective.evaluate(examples, torch.Generator().manual_seed(seed))

    return noised_metrics(measured(), METRICS[permit.task.stage],
                          privacy.release_noise_multiplier, randomness)


def _weight(permit: Permit) -> int:
    """Return the weight of an answer: the plan's, or the noised count that was charged for."""
    return _known_count(permit) or permit.num_subjects


def _count(permit: Permit, privacy: StagePrivacy, opened: Opened, randomness: SecureRandom) -> None:
    """Noise the number of training subjects, and keep the result for the rest of the run."""
    number = noised_count(len({example.subject for example in opened.data.train}),
                          privacy.release_noise_multiplier, randomness)
    write_text(_counts(permit), json.dumps({"run": permit.task.run, "num_subjects": number}))


def _known_count(permit: Permit) -> int | None:
    """Return the noised count of this run, where there is one."""
    path = _counts(permit)
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return int(kept["num_subjects"]) if kept.get("run") == permit.task.run else None


def _counts(permit: Permit) -> Path:
    return permit.site.config.state_dir / "noised_count.json"
