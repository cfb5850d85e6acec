import pytest

from braing3n.privacy_messages import PrivacyReport
from braing3n.protocol import Reply
from server.outcome import Round, StageRecord
from server.privacy_account import NO_PRIVACY, NOTHING_GIVEN, account_of, statement_of, summary_of


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
    assert account["a"]["statement"].startswith("(2.35, 1e-05)-differential privacy for one patient")
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
