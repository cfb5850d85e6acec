import json
from pathlib import Path

import pytest

from braing3n.errors import OutputError
from braing3n.protocol import REFUSALS as WORDS
from braing3n.report.page import write_report
from braing3n.report.privacy_table import (
    REFUSALS,
    SILENT,
    SiteAccount,
    Start,
    privacy_rows,
    refusals,
    sites_with_dp,
    starts_in_words,
    statements,
    unprotected,
)

NO_DP = "no differential privacy; updates can reveal training data"
VOID = ("no ε can be given: the same patients were also trained on without differential privacy, on "
        "which the later work builds")
SPENT = ("(4.37, 1e-05)-differential privacy for one patient of this site, over all that this site "
         "has released for this cohort up to its last answer (this run by itself: ε = 3.51)")
REFUSED = "refused: took no part, nothing spent in this run"
STAGES = ("pretrain", "decoder")


def _told(**changes):
    return {"epsilon_stage": 2.8146, "epsilon_run": 3.5052, "epsilon_total": 4.3674,
            "rdp_total": 4.8781, "delta": 1e-5, "void": None, "noise_multiplier": 1.5,
            "sample_rate": 0.25, "steps": 1200, "clip_norm": 1.0, "views": 4, "num_subjects": 16,
            "engine": "loop", "signal_to_noise": 0.0274, **changes}


_NO_EPSILON = dict.fromkeys(("epsilon_stage", "epsilon_run", "epsilon_total", "rdp_total"))
_PLAIN = {**_NO_EPSILON, **dict.fromkeys(("noise_multiplier", "sample_rate", "clip_norm", "views",
                                          "num_subjects", "engine", "signal_to_noise")),
          "steps": 0, "void": "without_dp"}


# A site that refused to train and answered the evaluation.
_UNSPENT = {**dict.fromkeys(("epsilon_stage", "epsilon_run", "epsilon_total", "rdp_total"), 0.0),
            "steps": 0, "signal_to_noise": None}


def _account(statement=SPENT, refused=None, **stages):
    return {"statement": statement, "stages": stages, **({"refused": refused} if refused else {})}


def _accounts(**sites):
    return {site: SiteAccount.model_validate(account) for site, account in sites.items()}


def test_a_row_holds_what_the_site_said_of_the_stage() -> None:
    (row,) = privacy_rows(_accounts(a=_account(pretrain=_told())), {"a"})
    assert (row.site, row.stage, row.reason) == ("a", "pretrain", None)
    assert (row.epsilon_stage, row.epsilon_run, row.epsilon_total, row.rdp_total) == (
        "2.81", "3.51", "4.37", "4.88")
    assert (row.delta, row.noise_multiplier, row.sample_rate, row.steps, row.clip_norm) == (
        "1e-05", "1.5", "0.25", "1,200", "1")
    assert (row.views, row.num_subjects, row.engine, row.signal_to_noise) == (
        "4", "16", "loop", "0.0274")


def test_a_signal_of_nothing_is_told_from_one_that_is_not_known() -> None:
    none, unknown = privacy_rows(_accounts(a=_account(
        pretrain=_told(signal_to_noise=0.0), decoder=_told(signal_to_noise=None))), {"a"})
    assert (none.signal_to_noise, unknown.signal_to_noise) == ("0", "-")


def test_a_site_without_a_budget_has_one_row_in_words() -> None:
    (row,) = privacy_rows(_accounts(b=_account(NO_DP)), {"b"})
    assert (row.site, row.stage, row.reason, row.epsilon_total) == ("b", "-", NO_DP, "-")


def test_where_epsilon_is_void_the_sites_statement_stands_in_its_place() -> None:
    (row,) = privacy_rows(_accounts(a=_account(
        VOID, diffusion=_told(**_NO_EPSILON, void="without_dp"))), {"a"})
    assert row.reason == VOID
    assert (row.noise_multiplier, row.steps) == ("1.5", "1,200")


def test_a_stage_without_noise_voids_what_earlier_stages_said_of_the_cohort() -> None:
    pretrain, decoder = privacy_rows(_accounts(a=_account(
        VOID, pretrain=_told(), decoder=_told(**_PLAIN))), {"a"})
    assert (pretrain.reason, pretrain.epsilon_stage) == (None, "2.81")
    assert pretrain.void_since == "decoder"
    assert {pretrain.epsilon_run, pretrain.epsilon_total, pretrain.rdp_total} == {"-"}
    assert decoder.void_since is None
    assert decoder.reason == f"trained without differential privacy; {VOID}"
    assert (decoder.noise_multiplier, decoder.steps, decoder.engine) == ("-", "-", "-")


def test_sites_that_spent_alike_are_named_together_and_silent_ones_are_told() -> None:
    accounts = _accounts(a=_account(pretrain=_told()), b=_account(NO_DP), c=_account(pretrain=_told()),
                         d=_account(NO_DP))
    assert statements(accounts, {"a", "b", "c"}) == [
        (("a", "c"), SPENT), (("b",), NO_DP), (("d",), SILENT)]
    assert unprotected(accounts, {"a", "b", "c"}) == ("b",)
    assert privacy_rows(accounts, {"a", "b", "c"})[-1].reason == SILENT


def test_a_site_is_with_dp_only_in_the_stages_that_it_noised() -> None:
    accounts = _accounts(a=_account(VOID, pretrain=_told(), decoder=_told(**_PLAIN)), b=_account(NO_DP))
    assert [sites_with_dp(accounts, stage) for stage in STAGES] == [("a",), ()]
    assert unprotected(accounts, {"a", "b"}) == ("a", "b")


def test_a_stage_that_a_site_refused_is_no_row_of_noughts() -> None:
    trained, refused = privacy_rows(_accounts(a=_account(
        pretrain=_told(), decoder=_told(**_UNSPENT), refused={"budget": ["decoder"]})), {"a"})
    assert (trained.is_bare, trained.epsilon_stage) == (False, "2.81")
    assert refused.is_bare
    assert refused.reason == "refused: took no part, nothing spent"
    assert {refused.epsilon_stage, refused.noise_multiplier, refused.delta} == {"-"}


def test_a_stage_that_a_site_was_not_asked_for_is_not_said_to_be_refused() -> None:
    (row,) = privacy_rows(_accounts(a=_account(
        pretrain=_told(**_UNSPENT), refused={"late": ["pretrain"], "budget": ["decoder"]})), {"a"})
    assert row.reason == "took no part, nothing spent"


def test_why_a_site_is_missing_is_told_in_words_with_the_stages() -> None:
    accounts = _accounts(a=_account(), b=_account(
        REFUSED, {"ledger": ["pretrain", "decoder"], "colour": ["decoder"]}))
    assert refusals(accounts) == [("b", (f"{REFUSALS['ledger']} (pretrain, decoder)",
                                         "colour (decoder)"))]


@pytest.mark.parametrize("word", [*WORDS, "late"])
def test_every_word_for_a_missing_site_has_words_for_people(word: str, tmp_path: Path) -> None:
    assert len(REFUSALS[word]) > len(word)
    text = _page(tmp_path, {"a": _both(), "b": _account("refused", {word: ["decoder"]})})
    assert f"<li><b>b</b>: {REFUSALS[word]} (decoder).</li>" in text


def test_first_weights_are_told_in_words() -> None:
    starts = {"pretrain": Start(source="phantom", digest="ab"),
              "decoder": Start(source="x", digest="cd")}
    (_, words, digest), unknown = starts_in_words(starts)
    assert "synthetic phantom" in words
    assert (digest, unknown[1]) == ("ab", "x")


def test_keys_of_a_later_version_are_passed_over() -> None:
    (row,) = privacy_rows(_accounts(a=_account(pretrain=_told(colour="blue"))), {"a"})
    assert row.epsilon_total == "4.37"


# The page.

def _stage(name, sites, **more):
    rounds = [{"round": 1, "asked": sites, "answered": sites, "bytes_down": 10, "bytes_up": 10}]
    return {"name": name, "rounds": 1, "sites_asked": len(sites), "sites_answered": len(sites),
            "seconds": 1.0, "bytes_down": 10, "bytes_up": 10, "peak_memory_mb": 700.0,
            "site_peak_memory_mb": 0.0, "participation": rounds, **more}


def _page(folder: Path, by_site, lines=(), stage=None, **more) -> str:
    sites = list(by_site)
    run = {"id": "r", "name": "demo", "status": "completed", "plan_digest": "ab", "privacy": "as told",
           "versions": {}, "sites": sites, "privacy_by_site": by_site,
           "stages": [_stage(name, sites, **(stage or {})) for name in STAGES], **more}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "plan.yaml").write_text("name: demo\nbudget: {epsilon: 8.0, delta: 1e-6}\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return write_report(folder).read_text(encoding="utf-8")


def _line(site, phase, stage="pretrain", **metrics):
    return {"stage": stage, "site": site, "round": 1, "phase": phase, "metrics": metrics}


def _both():
    return _account(pretrain=_told(), decoder=_told())


def test_a_run_in_which_all_withhold_says_so_and_not_that_it_measured_nothing(tmp_path: Path) -> None:
    text = _page(tmp_path, {"a": _both(), "b": _both()},
                 [_line(site, "privacy", epsilon_total=4.37) for site in "ab"])
    assert "not measured" not in text
    assert text.count("withheld by sites with differential privacy") == 4  # in two rows, for two curves
    assert text.count("coordinator 700 MB, withheld by the sites") == 2
    assert "sites with differential\nprivacy withheld their held-out metrics" in text
    assert f"<b>a, b</b>: {SPENT}." in text
    assert "how many training scans" not in text
    assert "No exact counts, losses or metrics leave" in text
    assert "training losses with noise" not in text
    assert "this run may cost each site at most ε = 8 at δ = 1e-06." in text
    assert "ε spent in this run so far (the plan: at most 8)" in text
    assert "the plan's budget for this run alone, ε = 8" in text
    assert "it is not sent to the coordinator, so this page cannot show it" in text
    assert 'class="spending" src="data:image/png;base64,' in text


def test_losses_and_metrics_with_noise_are_labelled(tmp_path: Path) -> None:
    text = _page(tmp_path, {"a": _both()}, [
        _line("a", "train", loss=-3.0), _line("a", "evaluate", loss=0.5)],
        stage={"metrics": {"loss": 0.5, "trivial_loss": 1.0}})
    assert "training losses with noise, " in text
    assert "training losses left a with the noise" in text
    assert "Held-out metrics left with noise, and were charged, at a." in text
    assert "0.50 times that of predicting the mean (below 1 is better). With noise" in text
    assert "training loss with noise (no unit)" in text


def test_in_a_mixed_federation_each_site_gets_its_own_words(tmp_path: Path) -> None:
    lines = [_line("b", "evaluate", loss=0.5), _line("b", "train", loss=0.6)]
    text = _page(tmp_path, {"a": _both(), "b": _account(NO_DP)}, lines,
                 stage={"metrics": {"loss": 0.5, "trivial_loss": 1.0}, "site_peak_memory_mb": 650.0})
    assert "with noise" not in text.replace("of latents with noise", "")
    assert f"<b>a</b>: {SPENT}." in text
    assert f"<b>b</b>: {NO_DP}." in text
    assert "<b>b</b> (no differential privacy): Its name" in text
    assert "<b>a</b> (with differential privacy): Its name" in text
    assert "Not counting a (withheld)." in text
    assert "largest site 650 MB, not counting a (withheld)" in text
    assert "Patients of b. The models hold" in text
    assert f'<td colspan="13">{NO_DP}</td>' in text


def test_a_site_that_leaves_dp_out_of_a_stage_gives_no_epsilon_on_the_page(tmp_path: Path) -> None:
    told = _told(**_NO_EPSILON, void="without_dp")
    text = _page(tmp_path, {"a": _account(VOID, pretrain={**told, **_PLAIN}, decoder=told)},
                 stage={"start": {"source": "public", "digest": "ee" * 32}})
    assert f'<td colspan="4">{VOID}</td>' in text
    assert f"trained without differential privacy; {VOID}" in text
    assert "<b>a (pretrain)</b>: in these stages" in text
    assert "No site names an ε, so there is no picture" in text
    assert "a public checkpoint" in text
    assert "ee" * 32 in text


def test_an_earlier_stage_is_said_to_be_void_since_a_later_one(tmp_path: Path) -> None:
    text = _page(tmp_path, {"a": _account(VOID, pretrain=_told(), decoder=_told(**_PLAIN))})
    assert '<td class="number">2.81</td><td colspan="3" class="number">void since decoder</td>' in text
    assert "4.37" not in text


def test_a_site_that_refused_everything_has_no_epsilon_and_is_no_source_of_updates(
    tmp_path: Path
) -> None:
    lost = [{"round": 1, "asked": ["a", "b"], "answered": ["a"], "refused": {"b": "budget"}}]
    refusing = _account(REFUSED, {"budget": list(STAGES)}, pretrain=_told(**_UNSPENT),
                        decoder=_told(**_UNSPENT))
    text = _page(tmp_path, {"a": _both(), "b": refusing}, stage={"participation": lost})
    assert f"<b>b</b>: {REFUSED}." in text
    assert text.count('<td colspan="13">refused: took no part, nothing spent</td>') == 2
    assert "<b>b</b>: refused: more than its privacy budget allows (pretrain, decoder)." in text
    assert "b: refused: more than its privacy budget allows" in text
    assert "<b>a</b> (with differential privacy): Its name" in text
    assert "<b>b</b> (released nothing of its patients): its name" in text
    assert "(no differential privacy): Its name" not in text
    assert "(0, 1e-05)" not in text


def test_a_site_of_which_nothing_is_known_is_said_to_have_given_nothing(tmp_path: Path) -> None:
    gone = [{"round": 1, "asked": ["a", "b"], "answered": ["a"]}]
    text = _page(tmp_path, {"a": _both(), "b": _account(NO_DP)}, stage={"participation": gone})
    assert f"<b>b</b>: {SILENT}." in text
    assert "(no differential privacy): Its name" not in text


def test_a_run_whose_stage_has_no_first_weights_yet_has_a_report(tmp_path: Path) -> None:
    text = _page(tmp_path, {"a": _both()}, stage={"start": {}})
    assert "Where the weights began" not in text


@pytest.mark.parametrize("by_site", [None, {}])
def test_a_run_of_before_there_were_accounts_has_a_report(by_site, tmp_path: Path) -> None:
    run = {"id": "r", "name": "demo", "status": "completed", "plan_digest": "ab", "privacy": NO_DP,
           "versions": {}, "sites": ["a"], "stages": [_stage("pretrain", ["a"])]}
    (tmp_path / "run.json").write_text(
        json.dumps(run if by_site is None else {**run, "privacy_by_site": by_site}))
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert f"<p>{NO_DP}</p>" in text
    assert "holds no account of privacy by site" in text
    assert "how many training scans" in text
    assert "ε" not in text


def test_names_of_sites_and_their_words_are_text_on_the_page(tmp_path: Path) -> None:
    site = "<script>alert(1)</script>$\\frac$"
    account = _account("<img src=x>", pretrain=_told(), decoder=_told(**_NO_EPSILON, void="beyond"))
    text = _page(tmp_path, {site: account, "b": _account("<i>none</i>")},
                 [_line(site, "privacy", epsilon_total=2.0), _line(site, "train", loss=1.0)],
                 stage={"start": {"source": "<u>x", "digest": "<u>y"}})
    assert all(tag not in text for tag in ("<script", "<img src=x", "<i>none", "<u>"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$\\frac$" in text
    assert "&lt;img src=x&gt;" in text
    assert "&lt;i&gt;none" in text


def test_many_sites_are_counted_in_a_cell_and_named_in_the_list(tmp_path: Path) -> None:
    sites = [f"s{i}" for i in range(6)]
    text = _page(tmp_path, {**dict.fromkeys(sites, _both()), "b": _account(NO_DP)},
                 [_line("b", "evaluate", loss=0.5)], stage={"metrics": {"loss": 0.5}})
    assert "held-out loss: 0.5; not counting 6 sites (withheld)" in text
    assert f"<b>{', '.join(sites)}</b>: {SPENT}." in text


def test_a_malformed_account_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        _page(tmp_path, {"a": _account(pretrain=_told(epsilon_total=-1.0))})
    assert "privacy_by_site.a.stages.pretrain.epsilon_total" in caught.value.found


@pytest.mark.parametrize("by_site", [{"a": _both(), "b": _account(NO_DP)}, {"a": _both()},
                                     {"b": _account(NO_DP)}])
def test_the_page_says_no_more_than_the_definition(by_site, tmp_path: Path) -> None:
    words = _page(tmp_path, by_site, [_line("a", "privacy", epsilon_total=2.0)]).lower()
    assert all(word not in words for word in ("private", "anonym", "promise", "guarantee"))
