"""What a site with a budget lets leave, how it is noised, and what a coordinator learns besides."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from braing3n.errors import ConfigError, PolicyError, ReplayError
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.ledger import load_history, open_ledger
from braing3n.protocol import Reply
from braing3n.weights import load_weights, unpack

Make = Callable[..., Any]

# A reply's fields that may differ between two sites that differ by one subject: computed from noised
# sums, or from the ledger's key and clock.
NOISED = {"train_loss", "losses", "head"}


def constants_of(reply: Reply) -> dict[str, Any]:
    content = reply.model_dump(mode="json", exclude=NOISED)
    content["privacy"] = {**content["privacy"], "signal_to_noise": None}
    return content


@pytest.mark.parametrize("subjects", [5, 7, 30])
def test_a_subject_more_or_less_changes_nothing_but_noised_numbers(
    clinic: Make, subjects: int
) -> None:
    replies = []
    for name, count in (("one", 6), ("other", subjects)):
        site = clinic(name=name, subjects=count)
        site.freeze()
        answers = [site.train(), site.train("decoder"), site.moments(), (site.evaluate(), None)]
        replies.append(answers)
    for (one, first), (other, second) in zip(*replies, strict=True):
        assert constants_of(one) == constants_of(other)
        assert len(one.losses) == len(other.losses)
        assert (one.train_loss is None) == (other.train_loss is None)
        assert one.head.seq == other.head.seq
        if first is not None:
            assert (first.shape, first.dtype) == (second.shape, second.dtype)


def test_a_reply_holds_the_plans_weight_and_no_count_metric_cost_or_exact_loss(clinic: Make) -> None:
    site = clinic(subjects=9, sweep="budget.num_subjects=77")
    reply, _ = site.train()
    assert (reply.weight, reply.metrics, reply.num_skipped) == (77, {}, 0)
    assert (reply.seconds, reply.peak_memory_mb, reply.missing) == (0.0, 0.0, ())
    assert reply.privacy.num_subjects == 77
    # One step at σ = 1.5, q = 0.4: the loss alone is noised by 1.5 · 2 · 10 √1.01 / (0.4 · 77).
    noise = [abs(site.train(run=f"n{number}")[0].train_loss) for number in range(4)]
    assert len(set(noise)) == 4


def test_the_loss_is_noised_as_widely_as_its_coordinate_is(clinic: Make) -> None:
    """With 0.1 of C for the loss, its noise is σ · bound · √1.01 / (0.1 q n)."""
    site = clinic(sweep="budget.num_subjects=50 stages.pretrain.local_steps=30 "
                        "stages.pretrain.rounds=1 last_stage=pretrain budget.epsilon=1e4", epsilon=1e4)
    losses = np.array(site.train()[0].losses)
    expected = 1.5 * 2.0 * math.sqrt(1.01) / (0.1 * 0.4 * 50)
    assert losses.std(ddof=1) == pytest.approx(expected, rel=4 / math.sqrt(2 * 29))


def released_gradient(site: Any, round_index: int) -> np.ndarray:
    """Return the gradient that a round of one step stepped on: AdamW's first moment goes on by it."""
    folder = site.state / "moments" / "r1" / "pretrain" / "dp"
    after = load_weights(folder / f"{round_index:05d}.safetensors")
    before = load_weights(folder / f"{round_index - 1:05d}.safetensors") if round_index else {}
    parts = [(moment - 0.9 * before.get(name, torch.zeros_like(moment))).flatten() / 0.1
             for name, moment in after.items() if name.startswith("exp_avg/")]
    return torch.cat(parts).double().numpy()


def test_a_site_restarted_at_round_k_still_trains_with_dp(clinic: Make) -> None:
    """Its noise is measured: as wide as σ C / (q n) in every round, and another one each time."""
    site = clinic()
    site.train()
    kept = site.site.config
    site.site = type(site.site)(kept)  # nothing of the first round is in memory: all is on the disk
    replies, gradients = [], []
    for number in (1, 2):  # a site keeps the moments of two rounds
        replies.append(site.train(round_index=number)[0])
        gradients.append(released_gradient(site, number))
    deviation = 1.5 * 0.1 / (0.4 * 5)
    for gradient in gradients:
        # Float32 moments are subtracted, and a sum of clipped gradients is below C = 0.1.
        assert gradient.std() == pytest.approx(deviation, rel=0.01)
    assert abs(np.corrcoef(*gradients)[0, 1]) < 0.01
    events = site.events()
    assert [one.privacy.epsilon_total for one in replies] == pytest.approx(
        [epsilon(events[:count], 1e-5) for count in (2, 3)])
    assert all(one.privacy.signal_to_noise < 0.2 for one in replies)
    assert site.kinds == ["reserve update", "settle update"] * 3


def test_training_is_over_after_the_plans_last_round(clinic: Make) -> None:
    site = clinic()
    with pytest.raises(PolicyError, match="asks for no update here"):
        site.train(round_index=3)
    assert site.kinds == []


@pytest.mark.parametrize(("stage", "round_index"), [("decoder", 0), ("pretrain", 3)])
def test_moments_are_given_after_the_decoders_last_round_alone(
    clinic: Make, stage: Any, round_index: int
) -> None:
    site = clinic()
    site.freeze()
    with pytest.raises(PolicyError, match="asks for no moments here"):
        site.moments(round_index, stage=stage)
    assert site.events() == []


def test_moments_are_charged_once_and_given_again_as_they_were(clinic: Make) -> None:
    site = clinic()
    site.freeze()
    first, vector = site.moments()
    again, same = site.moments()
    assert vector.tobytes() == same.tobytes()
    assert (first.weight, again.weight) == (5, 5)
    assert site.kinds == ["reserve moments", "settle moments"]
    (event,) = site.events()
    assert (event.mechanism, event.sample_rate, event.noise_multiplier, event.steps) == (
        "gaussian", 1.0, 4.0, 1)
    with pytest.raises(ReplayError):
        site.moments(layout="0" * 64)


def test_moments_that_are_withheld_are_not_computed(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = clinic(release={"moments": "withheld"})
    monkeypatch.setattr("client.opening.open_data", None)
    with pytest.raises(PolicyError, match="gives no latent moments"):
        site.moments()


def test_a_loss_that_is_withheld_is_not_in_the_reply(clinic: Make) -> None:
    reply, _ = clinic(release={"losses": "withheld"}).train()
    assert (reply.train_loss, reply.losses) == (None, ())
    assert reply.privacy.signal_to_noise is not None


@pytest.mark.parametrize("held_out", [0, 2])
def test_metrics_are_charged_for_and_name_nothing_of_how_many_were_measured(
    clinic: Make, held_out: int
) -> None:
    site = clinic(release={"metrics": "noised"}, held_out=held_out)
    reply, _ = site.train()
    assert reply.metrics.keys() == {"loss", "trivial_loss"}
    assert site.kinds == ["reserve update", "reserve metrics", "settle update", "settle metrics"]
    before = site.evaluate()
    assert before.metrics.keys() == {"loss", "trivial_loss"}
    assert before.privacy.epsilon_total > reply.privacy.epsilon_total
    assert site.evaluate().metrics == before.metrics  # the same question, the same answer
    assert [event.mechanism for event in site.events()] == [
        "poisson_gaussian", "gaussian", "gaussian"]


def test_a_decoders_noised_metrics_hold_none_that_depends_on_the_training_subjects(
    clinic: Make
) -> None:
    """The mean volume is of all of them: one more would move every held-out subject's number."""
    site = clinic(release={"metrics": "noised"})
    site.freeze()
    assert site.train("decoder")[0].metrics.keys() == {"psnr", "ssim"}


def test_a_site_that_took_no_part_in_a_stage_is_not_charged_for_its_metrics(clinic: Make) -> None:
    site = clinic(release={"metrics": "noised"}, sweep="stages.pretrain.rounds=2")
    assert site.evaluate().metrics == {}
    assert site.kinds == []
    site.train()
    assert site.evaluate(run="r2").metrics == {}  # what it did in another run does not count
    assert len(site.events()) == 2


def test_nor_is_one_whose_budget_ended_within_the_run(clinic: Make) -> None:
    site = clinic(release={"metrics": "noised"}, sweep="stages.pretrain.rounds=2")
    site.train()
    with open_ledger(site.state) as ledger:
        ledger.refuse("budget", run="r1", stage="pretrain", round_index=1, cohort="patients")
    assert site.evaluate().metrics == {}
    assert len(site.events()) == 2


def test_metrics_that_are_withheld_cost_nothing(clinic: Make) -> None:
    site = clinic()
    assert site.evaluate().metrics == {}
    assert site.kinds == []


def test_a_noised_count_is_charged_once_a_run_and_weighs_in_all_its_rounds(clinic: Make) -> None:
    site = clinic(release={"counts": "noised"}, subjects=6)
    weights = [site.train(round_index=number)[0].weight for number in (0, 1)]
    assert weights[0] == weights[1]
    assert site.kinds.count("reserve counts") == 1
    other = site.train(run="r2")[0].weight
    assert site.kinds.count("reserve counts") == 2
    assert min(weights[0], other) >= 1


def test_exact_numbers_stay_in_the_sites_own_log(clinic: Make) -> None:
    site = clinic()
    reply, _ = site.train()
    site.evaluate()
    log = (site.state / "site.log").read_text()
    assert "in this round, not sent" in log
    assert "subjects_drawn_a_step" in log
    assert "measured on held-out subjects, not sent as it is" in log
    assert "drawn" not in reply.model_dump_json()


def test_too_few_subjects_are_not_trained_on(clinic: Make) -> None:
    site = clinic(subjects=6, held_out=1, min_subjects=6)
    site.freeze()
    for ask in (site.train, site.moments):
        with pytest.raises(PolicyError, match="too few subjects") as refused:
            ask()
        assert refused.value.found == "fewer"
    assert site.events() == []


def test_a_delta_above_one_over_the_subjects_is_refused(clinic: Make) -> None:
    site = clinic(subjects=202, held_out=1, delta=5e-3)
    with pytest.raises(ConfigError, match="δ promises nothing"):
        site.train()
    assert site.events() == []


# --- stages that the site itself trains without ----------------------------------------------------

def test_a_stage_without_dp_takes_epsilon_from_all_that_follows(clinic: Make) -> None:
    site = clinic(without_dp=("pretrain",))
    site.freeze()
    first, _ = site.train()
    assert (first.weight, first.metrics.keys()) == (8, {"loss", "trivial_loss"})  # 5 subjects' volumes
    second, _ = site.train("decoder")
    for reply in (first, second):
        assert reply.privacy.void == "without_dp"
        assert (reply.privacy.epsilon_stage, reply.privacy.epsilon_run, reply.privacy.epsilon_total,
                reply.privacy.rdp_total) == (None,) * 4
    assert (second.weight, second.metrics, second.privacy.steps) == (5, {}, 2)  # trained with DP
    assert site.kinds == ["note without_dp", "reserve update", "settle update"]


def test_what_was_spent_before_a_stage_without_dp_stays_in_the_ledger(clinic: Make) -> None:
    site = clinic(without_dp=("decoder",))
    site.freeze()
    before, _ = site.train()
    assert before.privacy.epsilon_total > 0
    after, _ = site.train("decoder")
    assert after.privacy.void == "without_dp"
    assert len(site.events()) == 1


@pytest.mark.parametrize("ask", ["evaluate", "moments"])
def test_exact_numbers_of_a_stage_without_dp_are_noted_before_they_leave(
    clinic: Make, ask: str
) -> None:
    """Also where the site took no part in its rounds."""
    site = clinic(without_dp=("decoder",))
    site.freeze()
    answer = site.evaluate("decoder") if ask == "evaluate" else site.moments()[0]
    assert answer.privacy.void == "without_dp"
    assert site.kinds == ["note without_dp"]


def test_another_cohorts_stage_without_dp_is_no_reason(clinic: Make) -> None:
    site = clinic(without_dp=("pretrain",), cohort="first")
    site.train()
    site.allow(without_dp=(), cohort="second")
    assert site.train(run="r2")[0].privacy.epsilon_total > 0


# --- what is on the disk ---------------------------------------------------------------------------

def test_an_update_is_what_the_network_was_moved_by(clinic: Make) -> None:
    site = clinic()
    _, vector = site.train()
    like = unpack(vector, dict(initial_state(site)))
    assert all(torch.isfinite(tensor).all() for tensor in like.values())
    assert float(np.abs(vector).max()) < 0.01  # a step of AdamW at the warm-up's learning rate


def initial_state(site: Any) -> dict[str, torch.Tensor]:
    from server.stages import initial_weights

    return dict(initial_weights(site.plan(), "pretrain"))


def test_files_with_what_was_kept_are_for_their_owner_alone(clinic: Make, tmp_path: Path) -> None:
    site = clinic(release={"counts": "noised"})
    site.train()
    for pattern in ("outbox/*.npz", "ledger.key", "ledger.jsonl", "site.log"):
        (path,) = site.state.glob(pattern)
        assert path.stat().st_mode & 0o077 == 0, path
    assert load_history(site.state).findings == []
