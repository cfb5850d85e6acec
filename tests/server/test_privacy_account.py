import pytest

from braing3n.privacy_messages import PrivacyReport
from braing3n.privacy_plan import PlanBudget
from braing3n.protocol import REFUSALS, Reply
from server.outcome import Round, StageRecord
from server.privacy_account import NO_PRIVACY, NOTHING_GIVEN, account_of, statement_of, summary_of

LIMITS = PlanBudget(epsilon=8.0, delta=1e-6)
SPENT = PrivacyReport(delta=1e-5, epsilon_stage=2.0, epsilon_run=2.0, epsilon_total=2.345)
UNSPENT = PrivacyReport(delta=1e-5, epsilon_stage=0.0, epsilon_run=0.0, epsilon_total=0.0)


def reply(site: str, privacy: PrivacyReport | None = None) -> Reply:
    return Reply(site=site, stage="pretrain", round_index=0, plan_digest="0" * 64, privacy=privacy)


def report(**change: object) -> PrivacyReport:
    return PrivacyReport(**{"delta": 1e-5, "epsilon_total": 2.345, "steps": 20,
                            "signal_to_noise": 0.5, **change})


def record(*rounds: list[Reply]) -> StageRecord:
    stage = StageRecord("pretrain", len(rounds))
    for number, replies in enumerate(rounds, start=1):
        stage.add(number, "training", Round(("a", "b"), {each.site: each for each in replies}))
    return stage


def test_each_site_is_told_what_holds_for_it() -> None:
    account = account_of([record([reply("a", report()), reply("b")])], ["a", "b", "c"])
    assert account["a"]["statement"] == (
        "(2.35, 1e-05)-differential privacy for one patient of this site, over all that this site has "
        "released for this cohort up to its last answer")
    assert account["b"]["statement"] == "no differential privacy; updates can reveal training data"
    assert account["c"]["statement"] == NOTHING_GIVEN
    summary = summary_of(account)
    assert "No differential privacy at b:" in summary
    assert "at b, c" not in summary


def test_a_run_in_which_no_site_has_a_budget_says_so_in_words() -> None:
    assert summary_of(account_of([record([reply("a"), reply("b")])], ["a", "b"])) == NO_PRIVACY


def test_steps_add_up_over_rounds_and_the_last_word_on_epsilon_counts() -> None:
    stage = record([reply("a", report())], [reply("a", report(epsilon_total=3.0, steps=20))],
                   [reply("a", report(epsilon_total=3.0, steps=0, signal_to_noise=None))])
    told = account_of([stage], ["a"])["a"]["stages"]["pretrain"]
    assert (told["steps"], told["epsilon_total"], told["signal_to_noise"]) == (40, 3.0, 0.5)


@pytest.mark.parametrize(("void", "words"), [
    ("without_dp", "also trained on without differential privacy"), ("beyond", "beyond")])
def test_where_no_epsilon_holds_the_reason_stands_in_its_place(void: str, words: str) -> None:
    statement = statement_of(report(void=void, epsilon_total=None))
    assert words in statement
    assert "no ε can be given" in statement


def refusing(word: str, evaluated: PrivacyReport | None, before: PrivacyReport | None = None
             ) -> StageRecord:
    """Return a stage in which b refuses round 2, and round 1 as well where it said nothing before."""
    stage = StageRecord("pretrain", 2)
    for number, told in ((1, before), (2, None)):
        replies = {"a": reply("a", SPENT), **({"b": reply("b", told)} if told else {})}
        stage.add(number, "training", Round(("a", "b"), replies, {} if told else {"b": word}))
    replies = {"a": reply("a", SPENT), **({"b": reply("b", evaluated)} if evaluated else {})}
    stage.add(None, "evaluation", Round(("a", "b"), replies, {} if evaluated else {"b": word}))
    return stage


def test_what_was_spent_is_told_in_all_and_in_this_run() -> None:
    assert statement_of(SPENT) == (
        "(2.35, 1e-05)-differential privacy for one patient of this site, over all that this site has "
        "released for this cohort up to its last answer (this run by itself: ε = 2)")


def test_sites_that_spent_the_same_share_a_sentence_beside_the_plans_budget() -> None:
    account = account_of([record([reply("a", SPENT), reply("b", SPENT)])], ["a", "b"])
    summary = summary_of(account, LIMITS)
    assert summary.startswith("Spent so far: a, b: (2.35, 1e-05)-differential privacy")
    assert "The plan lets this run cost a site at most ε = 8 at δ = 1e-06." in summary
    assert "Each site's own limit on ε stays at the site and is not known here." in summary
    assert summary.count("differential privacy for one patient") == 1


def test_a_site_that_refused_everything_and_measured_spent_nothing() -> None:
    told = account_of([refusing("budget", UNSPENT)], ["a", "b"])["b"]
    assert told["statement"] == "refused: took no part, nothing spent in this run"
    assert told["refused"] == {"budget": ["pretrain"]}


@pytest.mark.parametrize(("word", "statement"), [
    ("budget", "refused: took no part, nothing spent in this run"),
    ("policy", "refused: took no part, nothing spent in this run"),
    ("ledger", f"refused: {NOTHING_GIVEN}"), ("replay", f"refused: {NOTHING_GIVEN}"),
    ("diverged", f"refused: {NOTHING_GIVEN}"), ("late", f"no answer in time: {NOTHING_GIVEN}"),
])
def test_a_site_that_never_answered_is_said_to_have_spent_nothing_only_where_that_is_sure(
    word: str, statement: str
) -> None:
    assert account_of([refusing(word, None)], ["a", "b"])["b"]["statement"] == statement


def test_what_a_refusing_site_spent_before_the_run_is_told_as_such() -> None:
    earlier = UNSPENT.model_copy(update={"epsilon_total": 1.5})
    assert account_of([refusing("budget", earlier)], ["b"])["b"]["statement"] == (
        "refused: took no part, nothing spent in this run; before it: (1.5, 1e-05)-differential "
        "privacy for one patient of this site, over all that this site had released for this cohort")
    lost = account_of([refusing("diverged", UNSPENT)], ["b"])["b"]["statement"]
    assert lost == "refused: took no part, nothing spent in this run up to its last answer"


def test_a_site_that_refused_after_it_had_worked_keeps_what_it_spent() -> None:
    told = account_of([refusing("budget", SPENT, before=SPENT)], ["b"])["b"]
    assert told["statement"] == statement_of(SPENT)
    assert told["refused"] == {"budget": ["pretrain"]}


def test_work_whose_cost_is_within_delta_is_work_all_the_same() -> None:
    told = account_of([record([reply("a", UNSPENT)])], ["a"])["a"]
    assert told["statement"].startswith("(0, 1e-05)-differential privacy for one patient")


@pytest.mark.parametrize("word", [*REFUSALS, "late"])
def test_every_word_of_a_refusal_is_in_the_summary(word: str) -> None:
    account = account_of([refusing(word, None)], ["a", "b"])
    assert f"Asked, and not in the result: b: {word} (pretrain)." in summary_of(account, LIMITS)


def test_refusals_are_told_where_no_site_has_a_budget() -> None:
    stage = StageRecord("decoder", 1)
    stage.add(1, "training", Round(("a", "b"), {"a": reply("a")}, {"b": "ledger"}))
    assert summary_of(account_of([stage], ["a", "b"])) == (
        f"{NO_PRIVACY}. Asked, and not in the result: b: ledger (decoder).")
