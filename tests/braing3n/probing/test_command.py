import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from braing3n.cli import app
from braing3n.errors import CohortError, ConfigError, OutputError
from braing3n.models.mae import Encoder
from braing3n.presets import PRESETS
from braing3n.weights import save_weights

DEMO = Path(__file__).resolve().parents[3] / "simulation" / "plans" / "demo.yaml"
RUNNER = CliRunner()


@pytest.fixture
def sites(write_scan, tmp_path):
    """Two sites of 14 subjects each; the size of a brain says its sex."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in (30, 34, 28)), indexing="ij")
    for name in ("north", "south"):
        root, rows = tmp_path / name, ["participant_id\tage\tsex"]
        for number in range(14):
            sex = "FM"[number % 2]
            edge = 0.75 + 0.3 * (number % 2)
            inside = sum(axis**2 for axis in axes) < edge**2
            waves = 400 + 100 * np.sin(3 * axes[0]) + 9 * rng.normal(size=inside.shape)
            brain = np.where(inside, waves, 0)
            write_scan(root / f"sub-{number}/anat/sub-{number}_T1w.nii.gz", brain.astype(np.int16))
            rows.append(f"sub-{number}\t{rng.integers(20, 80)}\t{sex}")
        (root / "participants.tsv").write_text("\n".join(rows) + "\n")
        (tmp_path / "sites").mkdir(exist_ok=True)
        (tmp_path / "sites" / f"{name}.yaml").write_text(yaml.safe_dump({
            "name": name, "state_dir": f"{name}-state", "data": {"folder": f"../{name}"}}))
    return tmp_path / "sites"


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    save_weights(tmp_path / "first/model/encoder.safetensors", Encoder(PRESETS["nano"]).state_dict())
    (tmp_path / "first/plan.yaml").write_text(DEMO.read_text())
    return tmp_path / "first"


def _probe(*arguments):
    outcome = RUNNER.invoke(app, ["probe", *map(str, arguments)])
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome


def test_a_table_names_every_encoder_and_gives_none_without_weights_a_number(sites, run, tmp_path):
    out = tmp_path / "table"
    outcome = _probe("--model", run, "--encoder", f"brainiac={tmp_path / 'gone.ckpt'}",
                     "--sites", sites, "--cross-validate", "--out", out, "--json")
    assert outcome.exit_code == 0
    found = json.loads(outcome.stdout)
    assert found == json.loads((out / "probes.json").read_text())
    assert [(row["name"], row["status"]) for row in found["encoders"]] == [
        ("first", "ok"), ("brainiac", "no weights"), ("random", "ok"), ("thumbnail", "ok")]
    assert {row["encoder"] for row in found["results"]} == {"first", "random", "thumbnail"}
    assert {row["task"] for row in found["results"]} == {"age", "age-t1w", "sex", "site"}
    sex = next(row for row in found["results"] if (row["task"], row["encoder"]) == ("sex", "thumbnail"))
    assert sex["metrics"]["auc"]["value"] > 0.9
    assert (sex["num_test"], sex["num_test_subjects"]) == (28, 28)
    assert set(sex["by_site"]) == {"north", "south"}
    reasons = {row["name"]: row["reason"] for row in found["impossible"]}
    assert reasons["ad-vs-hc"].endswith("found 0")
    assert (out / "probes.png").read_bytes().startswith(b"\x89PNG")
    lines = [line.split("\t") for line in (out / "probes.tsv").read_text().splitlines()]
    assert all(len(line) == len(lines[0]) for line in lines)
    assert ["age", "brainiac", "all", "", "", "", "", "no weights"] in lines
    assert not any(f"sub-{n}" in (out / name).read_text() for n in range(14)
                   for name in ("probes.json", "probes.tsv"))


def test_without_cross_validation_held_out_subjects_are_measured(sites, run):
    outcome = _probe("--model", run, "--sites", sites, "--task", "age", "--json")
    found = json.loads(outcome.stdout)
    result = found["results"][0]
    assert result["num_train_subjects"] + result["num_test_subjects"] == 28
    assert 2 <= result["num_test_subjects"] <= 8
    assert "validation and test subjects" in found["split"]
    warning = next(one for one in found["warnings"] if one["code"] == "few-measured")
    assert f"{result['num_test_subjects']} (age)" in warning["detail"]


def test_the_same_seed_prints_the_same_table_and_every_encoder_says_how_it_pools(sites, run):
    arguments = ("--model", run, "--sites", sites, "--task", "sex", "--cross-validate", "--seed", 3)
    first, again = _probe(*arguments), _probe(*arguments)
    assert first.stdout == again.stdout
    assert "first: mean of the patch tokens, then the CLS token" in first.stdout
    assert "fresh weights of seed 3" in first.stdout
    assert "warning" not in first.stdout  # measured and fitted on 28


def test_weights_alone_need_a_preset(sites, run):
    weights = run / "model/encoder.safetensors"
    arguments = ("--encoder", f"mine={weights}", "--sites", sites, "--task", "age", "--json")
    with pytest.raises(ConfigError, match=r"--model or --preset"):
        _probe(*arguments)
    found = json.loads(_probe(*arguments, "--preset", "nano").stdout)
    assert [row["name"] for row in found["encoders"]] == ["mine", "random", "thumbnail"]
    assert len(found["encoders"][0]["weights"]) == 64


@pytest.mark.parametrize(("arguments", "kind", "match"), [
    (("--task", "agee"), ConfigError, "there is no task agee"),
    (("--encoder", "brainiac"), ConfigError, "names no encoder"),
    (("--encoder", "odd=weights.pth"), ConfigError, "names no encoder"),
    (("--preset", "small"), ConfigError, "on one grid"),
    (("--encoder", "random=gone.safetensors"), ConfigError, "the same name"),
    (("--task", "mgmt"), CohortError, "no task can be probed"),
])
def test_a_command_that_cannot_be_followed_says_why(sites, run, arguments, kind, match):
    with pytest.raises(kind, match=match) as error:
        _probe("--model", run, "--sites", sites, *arguments)
    assert error.value.exit_code == 2


def test_a_folder_with_something_else_is_left_as_it_is(sites, run, tmp_path):
    with pytest.raises(OutputError, match="no place for a table"):
        _probe("--model", run, "--sites", sites, "--out", tmp_path / "north")
    with pytest.raises(ConfigError, match="no site to probe"):
        _probe("--model", run)
