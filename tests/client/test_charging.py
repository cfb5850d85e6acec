"""Reserve, work, keep, settle, answer: what is on the disk when, and what a failure costs."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braing3n.errors import BudgetError, LedgerError, PolicyError, ReplayError
from braing3n.privacy import ledger_file
from braing3n.privacy.accountant import epsilon, spent
from braing3n.privacy.ledger import load_history, open_ledger
from braing3n.privacy.ledger_history import Decided
from client import charging, dp_work, outbox
from client.charging import record_refusal

Make = Callable[..., Any]


def never(*_: object, **__: object) -> None:
    raise AssertionError("something was computed")


def test_what_a_round_costs_is_on_the_disk_before_its_first_gradient(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, inner, seen = clinic(), dp_work.train_round_with_dp, []

    def watched(*arguments: Any, **named: Any) -> Any:
        seen.append([(entry.kind, entry.what) for entry in load_history(site.state).open_reserves()])
        return inner(*arguments, **named)

    monkeypatch.setattr(dp_work, "train_round_with_dp", watched)
    site.train()
    assert seen == [[("reserve", "update")]]
    assert load_history(site.state).open_reserves() == []


def test_an_entry_says_all_that_is_needed_to_compute_its_epsilon_again(clinic: Make) -> None:
    site = clinic()
    reply, vector = site.train()
    decided, reserve, settle = load_history(site.state).entries[1:]
    assert (decided.code, decided.detail) == ("budget", "epsilon 100.0 delta 1e-05")
    for entry in (reserve, settle):
        how = entry.mechanism
        assert (how.name, how.sample_rate, how.noise_multiplier, how.steps) == (
            "poisson_gaussian", 0.4, 1.5, 1)
        assert (how.clip_norm, how.unit, how.views, how.engine) == (0.1, "subject", 2, "loop")
        assert how.num_subjects == 5  # the plan's number; the site has 5 in training and 6 in all
        assert (entry.run, entry.stage, entry.round_index, entry.cohort) == (
            "r1", "pretrain", 0, "patients")
        assert entry.plan_digest == site.plan().digest
        assert entry.weights_digest == outbox.weights_digest(site.weights())
    assert settle.released_digest == outbox.Kept(reply, vector, ()).digest
    cost = spent(site.events(), 1e-5)
    assert (settle.spent.pld, settle.spent.rdp, settle.spent.prv) == (cost.pld, cost.rdp, cost.prv)


@pytest.mark.parametrize("change", [{"epsilon": 100.5}, {"delta": 2e-5}, {"delta": 1e-6}])
def test_a_budget_that_was_changed_needs_a_signed_decision(clinic: Make, change: dict[str, float],
                                                           ) -> None:
    site = clinic()
    site.train()
    site.allow(**change)
    with pytest.raises(PolicyError, match="changed without a signed decision"):
        site.train(round_index=1)
    assert len(site.events()) == 1
    with open_ledger(site.state) as ledger:
        ledger.decide("patients", Decided(change.get("epsilon", 100.0), change.get("delta", 1e-5)))
    site.train(round_index=1)
    assert len(site.events()) == 2


def test_a_stricter_budget_needs_none(clinic: Make) -> None:
    site = clinic()
    site.train()
    site.allow(epsilon=50.0)
    site.train(round_index=1)
    assert len(site.events()) == 2


def test_the_account_goes_on_over_rounds_and_runs(clinic: Make) -> None:
    site = clinic()
    told = [site.train(round_index=number, run=run)[0].privacy
            for run, number in (("r1", 0), ("r1", 1), ("r2", 0))]
    events = site.events()
    assert [one.epsilon_total for one in told] == pytest.approx(
        [epsilon(events[:count], 1e-5) for count in (1, 2, 3)])
    assert [one.epsilon_run for one in told] == pytest.approx(
        [epsilon(events[:count], 1e-5) for count in (1, 2, 1)])
    assert all(one.rdp_total >= one.epsilon_total for one in told)


def test_two_rounds_of_the_same_are_noised_anew(clinic: Make) -> None:
    site = clinic()
    (_, first), (_, second) = (site.train(run=run) for run in ("r1", "r2"))
    # AdamW's first step is about the learning rate times each sign, and noise decides the signs.
    assert 0.4 < np.mean(np.sign(first) != np.sign(second)) < 0.6


def test_work_whose_failure_was_told_stays_spent_in_full(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, inner = clinic(), dp_work.train_round_with_dp

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the scanner is on fire")

    monkeypatch.setattr(dp_work, "train_round_with_dp", fail)
    with pytest.raises(RuntimeError):
        site.train()
    assert site.kinds == ["reserve update"]
    record_refusal(site.site, site.task().model_dump_json(), "internal")  # as the guard does
    monkeypatch.setattr(dp_work, "train_round_with_dp", inner)
    reply, _ = site.train()
    assert site.kinds == ["reserve update", "refuse internal", "reserve update", "settle update"]
    assert reply.privacy.epsilon_total == pytest.approx(epsilon(site.events(), 1e-5))
    assert len(site.events()) == 2


def test_a_round_that_a_kill_cut_off_is_done_again_on_the_reserve_that_it_left(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing left the site: an answer leaves only when it is kept and settled."""
    site, inner = clinic(), dp_work.train_round_with_dp

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dp_work, "train_round_with_dp", killed)
    with pytest.raises(KeyboardInterrupt):
        site.train()
    monkeypatch.setattr(dp_work, "train_round_with_dp", inner)
    reply, _ = site.train()
    assert site.kinds == ["reserve update", "settle update"]
    assert reply.privacy.epsilon_total == epsilon(site.events()[:1], 1e-5)


@pytest.mark.parametrize("other", [{"shift": 0.5}, {"run": "r2"}, {"round_index": 1}])
def test_a_reserve_that_was_left_open_pays_for_no_other_task(
    clinic: Make, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    """Other weights, another run, or another round are another release."""
    site, inner = clinic(), dp_work.train_round_with_dp

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dp_work, "train_round_with_dp", killed)
    with pytest.raises(KeyboardInterrupt):
        site.train()
    monkeypatch.setattr(dp_work, "train_round_with_dp", inner)
    site.train(**other)
    assert site.kinds == ["reserve update"] * 2 + ["settle update"]
    assert len(load_history(site.state).open_reserves()) == 1


def test_of_two_processes_at_one_task_one_releases_and_the_other_is_refused(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was started anew is asked again while the process of the old one still computes."""
    site, inner, other = clinic(), dp_work.train_round_with_dp, []

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(dp_work, "train_round_with_dp", inner)
        other.append(site.train())
        return inner(*arguments, **named)

    monkeypatch.setattr(dp_work, "train_round_with_dp", meanwhile)
    with pytest.raises(ReplayError, match="another process"):
        site.train()
    assert site.kinds == ["reserve update", "settle update"]
    assert load_history(site.state).entries[-1].released_digest == (
        outbox.Kept(None, other[0][1], ()).digest)
    assert site.train()[1].tobytes() == other[0][1].tobytes()


def test_an_answer_that_was_kept_but_not_settled_is_given_and_settled_when_asked_again(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, settle, kept = clinic(), charging._settle, []

    def killed(permit: Any, answer: outbox.Kept, ledger: Any) -> Any:
        kept.append(answer)
        raise KeyboardInterrupt

    monkeypatch.setattr(charging, "_settle", killed)
    with pytest.raises(KeyboardInterrupt):
        site.train()
    monkeypatch.setattr(charging, "_settle", settle)
    monkeypatch.setattr(dp_work, "train_round_with_dp", never)
    _, vector = site.train()
    assert vector.tobytes() == kept[0].vector.tobytes()
    assert site.kinds == ["reserve update", "settle update"]


def test_the_same_task_gets_the_same_bits_with_the_ledgers_head_of_now(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = clinic()
    first, vector = site.train()
    record_refusal(site.site, "no task", "protocol")  # the ledger goes on in between
    monkeypatch.setattr(dp_work, "train_round_with_dp", never)
    again, same = site.train()
    assert same.tobytes() == vector.tobytes()
    assert again.model_copy(update={"head": None}) == first.model_copy(update={"head": None})
    assert (first.head.seq, again.head.seq) == (3, 4)
    assert len(site.events()) == 1


def test_a_kept_answer_is_not_given_beyond_what_the_site_allows_by_now(clinic: Make) -> None:
    site = clinic()
    site.train()
    site.allow(min_noise_multiplier=3.0)
    with pytest.raises(PolicyError, match="too little noise"):
        site.train()


class FullDisk:
    """The system's functions, on a disk without room."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_on_a_full_disk_nothing_is_computed_and_nothing_is_spent(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = clinic()
    site.train()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_file, "os", FullDisk())
        patch.setattr(dp_work, "train_round_with_dp", never)
        with pytest.raises(LedgerError, match="cannot be written"):
            site.train(round_index=1)
    assert site.kinds == ["reserve update", "settle update"]
    site.train(round_index=1)  # there is room again
    assert len(site.events()) == 2


def test_an_answer_that_could_not_be_kept_does_not_leave_and_counts_as_spent(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = clinic()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(outbox, "keep", full)
    with pytest.raises(OSError, match="No space"):
        site.train()
    assert site.kinds == ["reserve update"]


def test_a_settle_that_could_not_be_written_keeps_the_answer_in(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is computed, kept and charged; it leaves once the settle is on the disk."""
    site, keep = clinic(), outbox.keep

    def kept_on_the_last_bytes(*arguments: Any) -> None:
        keep(*arguments)
        monkeypatch.setattr(ledger_file, "os", FullDisk())

    monkeypatch.setattr(outbox, "keep", kept_on_the_last_bytes)
    with pytest.raises(LedgerError, match="cannot be written"):
        site.train()
    monkeypatch.setattr(ledger_file, "os", os)
    monkeypatch.setattr(dp_work, "train_round_with_dp", never)
    _, vector = site.train()
    settle = load_history(site.state).entries[-1]
    assert settle.released_digest == outbox.Kept(None, vector, ()).digest


def test_a_budget_is_used_up_to_the_last_round_and_not_beyond(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = "last_stage=pretrain"
    probe = clinic(name="probe", sweep=sweep)
    for number in range(3):
        probe.train(round_index=number)
    exactly = epsilon(probe.events(), 1e-5)
    site = clinic(sweep=sweep, epsilon=exactly)
    for number in range(3):
        reply, _ = site.train(round_index=number)
    assert reply.privacy.epsilon_total == exactly
    monkeypatch.setattr(dp_work, "train_round_with_dp", never)
    with pytest.raises(BudgetError, match="does not fit the site's whole budget"):
        site.train(run="r2")
    assert len(site.events()) == 3


def test_a_lost_round_can_cost_the_last_one(clinic: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan fitted exactly; one reserve that came to nothing counts too."""
    sweep, inner = "last_stage=pretrain", dp_work.train_round_with_dp
    probe = clinic(name="probe", sweep=sweep)
    for number in range(3):
        probe.train(round_index=number)
    site = clinic(sweep=sweep, epsilon=epsilon(probe.events(), 1e-5))
    monkeypatch.setattr(dp_work, "train_round_with_dp", never)
    with pytest.raises(AssertionError):
        site.train()
    record_refusal(site.site, site.task().model_dump_json(), "internal")
    monkeypatch.setattr(dp_work, "train_round_with_dp", inner)
    site.train()
    site.train(round_index=1)
    with pytest.raises(BudgetError, match="this round does not fit"):
        site.train(round_index=2)


def test_a_run_whose_moments_would_not_fit_is_not_begun(clinic: Make) -> None:
    """What follows the first round counts, and what the site releases at the end of the decoder."""
    probe = clinic(name="probe", sweep="last_stage=decoder")
    probe.freeze()
    for number in range(3):
        probe.train(round_index=number)
    probe.train("decoder")
    without = epsilon(probe.events(), 1e-5)
    with pytest.raises(BudgetError, match="the run does not fit"):
        clinic(sweep="last_stage=decoder", epsilon=without).train()
    clinic(name="withholding", sweep="last_stage=decoder", epsilon=without,
           release={"moments": "withheld"}).train()


@pytest.mark.parametrize(("change", "error"), [
    ({"round_index": 3}, PolicyError), ({"sweep": "seed=9"}, PolicyError),
    ({"shift": 1.0}, ReplayError),
])
def test_an_order_against_the_runs_past_spends_nothing(
    clinic: Make, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], error: type[Exception]
) -> None:
    site = clinic()
    site.train()
    monkeypatch.setattr(dp_work, "train_round_with_dp", never)
    with pytest.raises(error):
        site.train(**change)
    assert len(site.events()) == 1


def test_refusals_of_anything_are_entries_that_cost_nothing(clinic: Make) -> None:
    site = clinic()
    task = site.task(round_index=2)
    for text, word in ((task.model_dump_json(), "budget"), ("", "protocol"), ("{}", "protocol"),
                       (json.dumps({**json.loads(task.model_dump_json()), "round_index": 2**70}),
                        "protocol")):
        record_refusal(site.site, text, word)
    assert site.kinds == ["refuse budget", "note refused_unread", "note refused_unread",
                          "note refused_unread"]
    entry = load_history(site.state).entries[1]
    assert (entry.run, entry.stage, entry.round_index, entry.plan_digest) == (
        "r1", "pretrain", 2, site.plan().digest)
    assert site.events() == []


def test_a_site_without_a_budget_keeps_no_ledger(clinic: Make, tmp_path: Path) -> None:
    site = clinic(has_budget=False)
    record_refusal(site.site, "", "protocol")
    reply, _ = site.train()
    assert (reply.privacy, reply.head) == (None, None)
    assert not list(tmp_path.rglob("ledger*"))


def test_noise_too_small_to_be_accounted_for_is_refused_whatever_the_budget(clinic: Make) -> None:
    site = clinic(sweep="stages.pretrain.privacy.noise_multiplier=0.05 budget.epsilon=1e300",
                  epsilon=1e300, min_noise_multiplier=0.01)
    with pytest.raises(BudgetError) as refused:
        site.train()
    assert refused.value.found == "more than can be accounted for"
    assert site.events() == []
