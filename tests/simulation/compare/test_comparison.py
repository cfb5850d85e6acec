"""The whole command on two tiny hospitals, where no probe but the decoder can be measured."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from markupsafe import escape
from typer.testing import CliRunner

from braing3n.errors import CohortError, ConfigError, OutputError
from braing3n.files import locked
from simulation.cli import app
from simulation.run import PLANS


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path, short_plan: str) -> Path:
    """A comparison with all kinds of arms."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    done = run(out, phantom_cohort, short_plan, "--leave-one-site-out", "--optimizer", "fedadam",
               "--drawn", "1", "--pooled-long", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((out / "compare.json").read_text())
    return out


def run(out: Path, cohort: Path, sweep: str, *more: str) -> Result:
    return CliRunner().invoke(app, [
        "compare", str(PLANS / "compare.yaml"), "--out", str(out), "--cohort", str(cohort), "--sweep",
        sweep, "--held-out", "0.4", "--parallel", "1", *more], catch_exceptions=True)


def test_all_kinds_of_arms_are_trained_and_measured_on_everybody_held_out(compared: Path) -> None:
    done = json.loads((compared / "compare.json").read_text())
    assert [arm["name"] for arm in done["arms"]] == [
        "pooled", "pooled-long", "federated", "federated-fedadam", "drawn-1", "without-site-a",
        "without-site-b", "local-site-a", "local-site-b"]
    psnr = {one["contestant"]: one for one in done["results"]
            if one["metric"] == "psnr" and one["site"] is None}
    assert set(psnr) == {
        "pooled", "pooled-long", "federated", "federated-fedadam", "drawn-1", "only site-a",
        "only site-b", "each site alone", "federated, without the site"}
    for one in psnr.values():
        assert one["num_subjects"] == 4  # 40 % of five at each of two hospitals
        assert one["low"] <= one["value"] <= one["high"]
    assert "4 held-out subjects" in done["verdict"][0]
    assert done["num_held_out"] == 4
    assert [main["measure"] for main in done["measures"]] == ["decoder"]
    assert [(site["num_train_subjects"], site["num_test_subjects"]) for site in done["sites"]] == [
        (3, 2), (3, 2)]
    assert done["about"]["scans"].startswith("the cohort in ")
    assert "no differential privacy" in done["about"]["privacy"]
    assert all("too few" in why or "not enough" in why for why in done["left_out"].values())


def test_what_was_not_asked_for_is_not_trained(compared: Path) -> None:
    record = json.loads((compared / "arms" / "federated" / "run.json").read_text())
    assert [stage["name"] for stage in record["stages"]] == ["pretrain", "decoder"]


def test_the_page_is_one_file_with_the_verdict_and_every_contestant(compared: Path) -> None:
    page = (compared / "compare.html").read_text()
    done = json.loads((compared / "compare.json").read_text())
    assert all(str(escape(part.strip(". "))) in page for part in done["verdict"][0].split(". "))
    assert "http" not in page.replace("http-equiv", "")
    for name in ("each site alone", "best single site", "federated", "pooled", "drawn-1"):
        assert f">{name}</th>" in page
    assert page.count("data:image/png") == 3


def test_the_same_command_again_trains_nothing_and_finds_the_same(
    compared: Path, phantom_cohort: Path, short_plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((compared / "compare.json").read_text())
    monkeypatch.setattr("simulation.compare.training._train", None)  # nothing may call it
    again = run(compared, phantom_cohort, short_plan, "--leave-one-site-out", "--optimizer", "fedadam",
                "--drawn", "1", "--pooled-long")
    assert again.exit_code == 0, again.output
    after = json.loads((compared / "compare.json").read_text())
    assert after["results"] == before["results"]


def test_a_folder_with_another_comparison_is_refused(
    compared: Path, phantom_cohort: Path, short_plan: str
) -> None:
    done = run(compared, phantom_cohort, f"{short_plan} seed=9")
    assert isinstance(done.exception, OutputError)
    assert done.exception.found == "another plan_digest"


def test_damaged_settings_and_arms_of_an_earlier_call_are_told(
    compared: Path, phantom_cohort: Path, short_plan: str
) -> None:
    fewer = run(compared, phantom_cohort, short_plan)
    assert fewer.exit_code == 0, fewer.output
    assert "trained already: pooled, federated, local-site-a, local-site-b" in fewer.output
    notes = json.loads((compared / "compare.json").read_text())["notes"]
    assert sum("of an earlier call" in note for note in notes) == 5
    settings = compared / "settings.json"
    kept = settings.read_text()
    settings.write_text(kept[:20])
    done = run(compared, phantom_cohort, short_plan)
    settings.write_text(kept)
    assert isinstance(done.exception, OutputError)
    assert "settings.json" in done.exception.what


def test_a_second_comparison_in_one_folder_is_refused(
    compared: Path, phantom_cohort: Path, short_plan: str
) -> None:
    with locked(compared / ".compare.lock"):
        done = run(compared, phantom_cohort, short_plan)
    assert isinstance(done.exception, OutputError)
    assert "another comparison" in done.exception.found


def test_an_interrupted_comparison_says_how_to_go_on(
    compared: Path, phantom_cohort: Path, short_plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simulation.compare.comparison.train_arms", interrupted)
    done = run(compared, phantom_cohort, short_plan)
    assert done.exit_code == 130
    assert "the same command goes on" in done.output


def test_a_cohort_and_a_partition_together_are_refused(
    tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    done = run(tmp_path / "out", phantom_cohort, short_plan, "--partition", str(tmp_path))
    assert isinstance(done.exception, ConfigError)


def test_a_probe_that_a_comparison_cannot_ask_is_named_with_those_it_can(
    tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    done = run(tmp_path / "out", phantom_cohort, short_plan, "--task", "idh")
    assert isinstance(done.exception, ConfigError)
    assert done.exception.found == "idh"
    assert "age" in done.exception.expected


def test_sites_without_enough_subjects_are_refused_before_anything_is_trained(
    tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    done = run(tmp_path / "out", phantom_cohort, short_plan, "--held-out", "0.8")
    assert isinstance(done.exception, CohortError)
    assert not (tmp_path / "out" / "arms").exists()


@pytest.mark.parametrize(("option", "value"), [("--optimizer", "adam"), ("--drawn", "2")])
def test_arms_that_cannot_be_trained_are_refused_before_anything_is_written(
    tmp_path: Path, phantom_cohort: Path, short_plan: str, option: str, value: str
) -> None:
    done = run(tmp_path / "out", phantom_cohort, short_plan, option, value)
    assert isinstance(done.exception, ConfigError)
    assert value in done.exception.found
    assert not (tmp_path / "out" / "scans").exists()


def test_a_folder_with_other_things_in_it_is_no_place_for_a_comparison(
    tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    (tmp_path / "sub-01").mkdir()
    done = run(tmp_path, phantom_cohort, short_plan)
    assert isinstance(done.exception, OutputError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub-01"]
