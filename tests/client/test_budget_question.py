"""What `budget plan` and `cost` find out of a site first: its patients, its past, what it releases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from braing3n.config import DataConfig
from braing3n.data.splits import open_split
from braing3n.errors import ConfigError, LedgerError
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.ledger import FILE_NAME, KEY_NAME, open_ledger
from braing3n.privacy.ledger_entry import MechanismRecord, SpentRecord
from braing3n.privacy.ledger_history import Decided
from client.budget_answer import answer_cost, answer_plan
from client.budget_page import plan_lines, up
from client.budget_question import Question, ask
from simulation.run import PLANS

Write = Callable[..., Path]


@pytest.fixture
def plan(tmp_path: Path) -> Write:
    """Write the demo's plan with DP, with other content of its budget."""

    def write(**budget: Any) -> Path:
        content = yaml.safe_load((PLANS / "demo-dp.yaml").read_text())
        content["budget"] = {"epsilon": 9.0, "num_subjects": 70, **budget}
        for stage in content["stages"].values():
            stage["optimizer"]["learning_rate"] = 0.01  # `2e-4` is a text in plain YAML
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def site(tmp_path: Path) -> Write:
    """Write a site's settings and the table of its patients, none of whom is held out."""

    def write(subjects: int = 70, has_table: bool = True, release: dict[str, str] | None = None,
              **budget: Any) -> Path:
        if has_table:
            (tmp_path / "scans.csv").write_text("subject,path\n" + "".join(
                f"p{number},{number}.nii.gz\n" for number in range(subjects)))
            for number in range(subjects):
                (tmp_path / f"{number}.nii.gz").touch()
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump({
            "name": "a", "state_dir": "state", "budget": {"epsilon": 9.0, **budget},
            "data": {"table": "scans.csv", "draw": "alone", "held_out": 0}, "release": release or {}}))
        return path

    return write


def asked(plan: Path, site: Path) -> Question:
    return ask(plan, None, None, site)


def spend(state: Path, cohort: str = "patients", run: str = "old") -> None:
    record = MechanismRecord(name="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.5, steps=60,
                             clip_norm=1.0, views=4, engine="loop", num_subjects=70)
    with open_ledger(state) as ledger:
        ledger.reserve(run=run, stage="pretrain", round_index=0, cohort=cohort, what="update",
                       mechanism=record, spent=SpentRecord(pld=1.0, rdp=1.0, delta=1e-5),
                       plan_digest="d" * 64)


def test_a_site_with_fewer_patients_than_it_wants_is_told_before_it_refuses(
    plan: Write, site: Write
) -> None:
    assert asked(plan(), site(50)).hindrances == ()
    question = asked(plan(), site(49))
    answer = answer_plan(question)
    assert not answer["fits"]
    (reason,) = answer["reasons"]
    assert "49 (not held out) instead of at least 50 (min_subjects)" in reason
    assert "use the encoder as it is, without training it here; or lower" in reason
    assert answer["still_refused"] == answer["reasons"]  # noise does not help
    assert "  it would be refused even so, for the other reasons above" in plan_lines(answer)
    assert not answer_cost(question, "decoder", 1)["fits"]


@pytest.mark.parametrize(("found", "assumed", "said"), [
    (50, 76, "too large: gradients are scaled down 1.5 times"),
    (60, 300, "too large: gradients are scaled down 5.0 times"),
    (120, 60, "too small: gradients are scaled up 2.0 times")])
def test_a_plans_number_of_subjects_that_is_far_off_is_a_warning_and_no_reason(
    plan: Write, site: Write, found: int, assumed: int, said: str
) -> None:
    answer = answer_plan(asked(plan(site_subjects={"a": assumed}), site(found)))
    assert answer["fits"]
    (warning,) = answer["warnings"]
    assert said in warning
    assert "weigh as if it had" in warning
    assert "The guarantee holds either way" in warning
    assert f"warning: {warning}" in plan_lines(answer)


@pytest.mark.parametrize("found", [50, 75, 105])
def test_a_number_of_subjects_that_is_near_enough_is_not_mentioned(
    plan: Write, site: Write, found: int
) -> None:
    assert asked(plan(num_subjects=75, site_subjects={"b": 900}), site(found)).warnings == ()


def test_a_site_that_noises_its_count_does_not_weigh_by_the_plans_number(
    plan: Write, site: Write
) -> None:
    (warning,) = asked(plan(), site(300, release={"counts": "noised"})).warnings
    assert "weigh" not in warning


def test_where_scans_cannot_be_seen_it_cannot_be_told_whether_a_plan_fits(
    plan: Write, site: Write
) -> None:
    answer = answer_plan(asked(plan(), site(has_table=False)))
    assert answer["fits"] is None
    assert answer["reasons"] == []
    (unknown,) = answer["unknown"]
    assert "patients could not be counted" in unknown
    assert "nothing at" in unknown
    lines = plan_lines(answer)
    assert lines[lines.index("whether it fits cannot be told") + 1] == f"  {unknown}"
    # What is known to be refused stays so.
    assert answer_plan(asked(plan(epsilon=2.0), site(has_table=False)))["fits"] is False
    assert answer_cost(asked(plan(), site(has_table=False)), "decoder", 1)["fits"] is None


def test_a_split_that_was_drawn_evenly_is_refused_and_left_as_it_is(
    plan: Write, site: Write, tmp_path: Path
) -> None:
    path, record = site(), tmp_path / "state" / "split.json"
    shares = DataConfig(folder=tmp_path, held_out=0.5)
    open_split(record, {f"p{number}": ("d", "s", "a") for number in range(70)}, shares)
    before = record.read_bytes()
    answer = answer_plan(asked(plan(), path))
    assert answer["fits"] is False
    (reason,) = answer["reasons"]
    assert "remembered on other sides" in reason
    assert "remove split.json and the cache" in reason
    assert record.read_bytes() == before


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_split_that_is_gone_or_damaged_at_a_site_in_use_is_refused(
    plan: Write, site: Write, tmp_path: Path, content: str | None
) -> None:
    (tmp_path / "state" / "cache").mkdir(parents=True)
    path, record = site(), tmp_path / "state" / "split.json"
    assert answer_plan(asked(plan(), path))["fits"]
    (tmp_path / "state" / "cache" / "index-nano.json").touch()
    if content is not None:
        record.write_text(content)
    answer = answer_plan(asked(plan(), path))
    assert answer["fits"] is False
    (reason,) = answer["reasons"]
    assert f"{record} is {'gone' if content is None else 'damaged'}" in reason
    assert "restore it from a backup" in reason
    assert str(record.parent / "cache") in reason or content is not None
    assert record.exists() == (content is not None)


def test_stages_that_the_site_has_no_part_in_do_not_vanish_without_a_word(
    plan: Write, site: Write
) -> None:
    answer = answer_plan(asked(plan(), site(stages=["pretrain"])))
    assert answer["fits"]
    assert "it fits, in pretrain alone" in plan_lines(answer)
    assert "it fits" in plan_lines(answer_plan(asked(plan(), site())))
    assert answer["notes"] == ["the site takes no part in decoder and diffusion (`stages:` of its "
                               "budget) and refuses them (`policy`)"]
    answer = answer_plan(asked(plan(), site(stages=[])))
    assert answer["fits"] is False
    assert answer["reasons"] == ["the site takes no part in any stage (`stages:` of its budget)"]


def test_a_plan_without_privacy_is_refused_by_a_site_with_a_budget(site: Write, tmp_path: Path) -> None:
    answer = answer_plan(ask(PLANS / "demo.yaml", None, None, site()))
    assert (answer["fits"], answer["rows"]) == (False, [])
    (reason,) = answer["reasons"]
    assert reason.startswith("pretrain, decoder and diffusion are without differential privacy")
    assert "refuses them (`policy`): ask the coordinator" in reason
    assert answer_plan(ask(PLANS / "demo.yaml", None, None, site(without_dp=[
        "pretrain", "decoder", "diffusion"])))["reasons"][0].startswith("no epsilon holds")


def test_a_stage_without_privacy_is_refused_and_the_others_have_their_cost(
    plan: Write, site: Write
) -> None:
    path = plan()
    content = yaml.safe_load(path.read_text())
    del content["stages"]["decoder"]["privacy"]
    path.write_text(yaml.safe_dump(content))
    answer = answer_plan(asked(path, site()))
    assert {row["stage"] for row in answer["rows"]} == {"pretrain", "diffusion"}
    assert [reason.split(" is ")[0] for reason in answer["reasons"]] == ["decoder"]
    assert [row["stage"] for row in answer_cost(asked(path, site()), None, 1)["stages"]] == [
        "pretrain", "diffusion", "all stages"]


def test_a_raised_budget_counts_only_once_it_is_signed(
    plan: Write, site: Write, tmp_path: Path
) -> None:
    with open_ledger(tmp_path / "state") as ledger:
        ledger.decide("patients", Decided(8.0, 1e-5))
    path = site(epsilon=10.0, delta=1e-6)
    answer = answer_plan(asked(plan(), path))
    assert answer["fits"] is False
    (reason,) = answer["reasons"]
    assert "an epsilon of 10 at delta 1e-06 instead of an epsilon of at most 8 at delta 1e-05" in reason
    assert f"everything is refused (`policy`) until `braing3n site budget sign {path}`" in reason
    assert (answer["delta"], answer["left_after_plan"]["of"]) == (1e-5, 8.0)
    with open_ledger(tmp_path / "state") as ledger:
        ledger.decide("patients", Decided(10.0, 1e-6))
    answer = answer_plan(asked(plan(), path))
    assert answer["fits"]
    assert (answer["delta"], answer["left_after_plan"]["of"]) == (1e-6, 10.0)


def test_what_each_stage_would_need_apart_is_of_the_tightest_limit(plan: Write, site: Write) -> None:
    path, limits = plan(epsilon=50.0), site(epsilon=3.0)
    tight, loose = (answer_plan(ask(path, epsilon, None, limits)) for epsilon in (None, 12.0))
    assert loose["split_noise_multipliers"] == tight["split_noise_multipliers"]
    assert loose["noise_multiplier"] == tight["noise_multiplier"]
    assert all(each is None or each > loose["noise_multiplier"]
               for each in loose["split_noise_multipliers"].values())


def test_nothing_is_planned_apart_after_something_was_spent(
    plan: Write, site: Write, tmp_path: Path
) -> None:
    spend(tmp_path / "state")
    answer = answer_plan(asked(plan(), site(epsilon=20.0)))
    assert answer["split_noise_multipliers"] is None
    assert "      noise_multiplier: " in "\n".join(plan_lines(answer))


def test_a_delta_is_held_to_the_patients_that_the_site_has(plan: Write, site: Write) -> None:
    path = plan(num_subjects=10)
    asked(path, site(120, delta=0.008))
    with pytest.raises(ConfigError, match="δ promises nothing") as told:
        asked(path, site(130, delta=0.008))
    assert "130 subjects" in told.value.found
    for asks in (lambda: ask(plan(num_subjects=70, site_subjects={"b": 130}), None, 0.008, None),
                 lambda: ask(plan(), None, 0.008, site(130))):
        with pytest.raises(ConfigError, match=r"--delta 0\.008 cannot be used") as told:
            asks()
        assert "130 subjects" in told.value.found


def test_what_the_site_releases_with_noise_has_rows_and_counts(plan: Write, site: Write) -> None:
    plain = answer_plan(asked(plan(), site(release={"moments": "withheld"})))
    noised = answer_plan(asked(plan(), site(release={"metrics": "noised", "counts": "noised"})))
    assert {row["what"] for row in plain["rows"]} == {"update"}
    assert {row["what"] for row in noised["rows"]} >= {"update", "metrics", "counts"}
    assert noised["as_written"]["pld"] > plain["as_written"]["pld"]
    assert noised["left_after_plan"]["epsilon"] == pytest.approx(9.0 - noised["as_written"]["pld"])
    table = "\n".join(plan_lines(noised))
    assert "pretrain   metrics" in table
    assert "pretrain   counts" in table


def test_rounds_cost_the_metrics_that_are_measured_before_them(plan: Write, site: Write) -> None:
    quiet, told = (answer_cost(asked(plan(), site(release=release)), "pretrain", 4)["stages"][0]
                   for release in ({}, {"metrics": "noised"}))
    assert told["steps"] == quiet["steps"] == 60
    assert told["alone"] > quiet["alone"]


def test_a_stage_cap_and_the_least_noise_of_the_site_decide(plan: Write, site: Write) -> None:
    capped = answer_plan(asked(plan(), site(stage_epsilon={"decoder": 2.0})))
    assert capped["reasons"] == ["more than the site's cap for decoder: an epsilon of 3.259, where 2 "
                                 "is allowed at delta 1e-05"]
    assert capped["decided_by"].startswith("the site's cap for decoder")
    assert capped["still_refused"] == []
    strict = answer_plan(asked(plan(), site(min_noise_multiplier=3.5)))
    assert (strict["noise_multiplier"], strict["decided_by"]) == (
        3.5, "the site's min_noise_multiplier")
    cheap = answer_plan(asked(plan(epsilon=2.5), site()))
    assert cheap["decided_by"].startswith("the plan's own budget, an epsilon of 2.5")


def test_an_account_under_another_cohort_name_is_a_warning_with_its_epsilon(
    plan: Write, site: Write, tmp_path: Path
) -> None:
    spend(tmp_path / "state")
    under_its_name = asked(plan(), site())
    assert under_its_name.warnings == ()
    question = asked(plan(), site(cohort="patients-2027"))
    assert question.before == ()
    (warning,) = question.warnings
    assert "another cohort name, patients," in warning
    assert f"an epsilon of {up(epsilon(under_its_name.before, 1e-5))} at delta 1e-05" in warning
    assert "the name must stay: write `cohort: patients` again" in warning


def test_a_name_that_was_only_signed_for_is_a_warning_too(
    plan: Write, site: Write, tmp_path: Path
) -> None:
    with open_ledger(tmp_path / "state") as ledger:
        ledger.decide("patients", Decided(8.0, 1e-5))
    (warning,) = asked(plan(), site(cohort="patients-2027")).warnings
    assert "a signed epsilon of 8 at delta 1e-05, and nothing spent, under another cohort" in warning


@pytest.mark.parametrize("lost", [FILE_NAME, KEY_NAME])
def test_a_ledger_or_key_that_is_gone_stops_the_planning(
    plan: Write, site: Write, tmp_path: Path, lost: str
) -> None:
    spend(tmp_path / "state")
    (tmp_path / "state" / lost).unlink()
    with pytest.raises(LedgerError, match="is gone"):
        asked(plan(), site())


def test_an_outbox_without_a_ledger_stops_the_planning(
    plan: Write, site: Write, tmp_path: Path
) -> None:
    (tmp_path / "state" / "outbox").mkdir(parents=True)
    (tmp_path / "state" / "outbox" / "train-0.npz").touch()
    with pytest.raises(LedgerError, match="is gone") as told:
        asked(plan(), site())
    assert "restore" in told.value.fix


def test_patients_who_were_trained_on_before_there_was_a_budget_have_no_epsilon(
    plan: Write, site: Write, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "without_dp.jsonl").write_text('["r0", "pretrain"]\n')
    answer = answer_plan(asked(plan(), site()))
    assert not answer["fits"]
    assert answer["rows"] == []
    assert "before it had a budget" in answer["reasons"][0]


def test_a_stage_that_the_site_has_no_part_in_is_none_to_ask_about(plan: Write, site: Write) -> None:
    with pytest.raises(ConfigError, match="no such stage"):
        answer_cost(asked(plan(), site(stages=[])), None, 2)
