"""A plan's probes from plan to record, over real volumes of small sites."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from braing3n.config import load_site_config
from braing3n.data.site_data import open_cache
from braing3n.errors import ConfigError
from braing3n.evaluation.encoders import open_own
from braing3n.evaluation.probes import NUM_INNER_FOLDS
from braing3n.evaluation.roster import open_roster
from braing3n.evaluation.site_statistics import cells_of, fit_sums, sum_sites
from braing3n.evaluation.tasks import load_tasks
from braing3n.presets import PRESETS
from simulation.grid import run_locally
from simulation.phantom.write import write_phantom
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

SWEEP = "last_stage=pretrain stages.pretrain.rounds=1 probes=[age,sex]"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("cohort") / "phantom", sites=2, subjects=36, seed=3)


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory, short_plan: str) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    run_locally(PLANS / "demo.yaml", write_site_files(find_site_folders(cohort), out), out,
                sweep=f"{short_plan} {SWEEP}")
    return out


def read(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def test_the_fit_is_that_of_the_volumes_by_the_encoder_on_one_machine(finished: Path) -> None:
    told = read(finished)["probes"]["tasks"]
    preset = PRESETS["nano"]
    roster = open_roster(sorted((finished / "sites").glob("*.yaml")), preset)
    encoder = open_own("own", finished / "model" / "encoder.safetensors", preset)
    features = roster.features(encoder)
    for name in ("age", "sex"):
        task = load_tasks()[name]
        known, to_fit = roster.labelled(roster.labels(task), features)
        train = known.only(to_fit)
        folds = [cells_of(task, train.only(rows), np.full(int(rows.sum()), number))
                 for number, rows in enumerate(train.by_site())]
        expected = fit_sums(task, sum_sites(folds, NUM_INNER_FOLDS)[:2], task.class_names or ())
        assert told[name]["strength"] == expected.strength
        assert {site: counts["volumes"] for site, counts in told[name]["train"].items()} == {
            f"site-{letter}": int(rows.sum()) for letter, rows in zip("ab", train.by_site(),
                                                                      strict=True)}


def test_the_encoder_is_delivered_for_probes_also_where_the_run_ends_with_it(finished: Path) -> None:
    record = read(finished)
    assert record["status"] == "completed"
    assert [d["part"] for d in record["stages"][0]["deliveries"]] == ["encoder"]
    assert record["probes"]["bytes_frozen"] == 0
    assert record["probes"]["exchanges"] == 2
    assert "probe" not in json.dumps(record["stages"])


def test_volumes_are_embedded_once_and_kept_at_the_site(finished: Path) -> None:
    for path in sorted((finished / "sites").glob("*.yaml")):
        kept = open_cache(load_site_config(path)).load_record("probe-features")
        assert kept is not None
        header, _, body = kept.partition(b"\n")
        names = json.loads(header)
        assert names["encoder"] == read(finished)["encoder_digest"]
        assert len(body) == len(names["keys"]) * 288 * 4


def test_probes_change_nothing_of_the_model(
    finished: Path, cohort: Path, tmp_path: Path, short_plan: str
) -> None:
    out = tmp_path / "out"
    run_locally(PLANS / "demo.yaml", write_site_files(find_site_folders(cohort), out), out,
                sweep=f"{short_plan} {SWEEP.replace('[age,sex]', '[]')}")
    plain = read(out)
    assert plain["encoder_digest"] == read(finished)["encoder_digest"]
    assert plain["probes"] == {}
    shutil.rmtree(out)


def test_a_task_that_there_is_not_ends_the_run_before_it_begins(
    cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sites = write_site_files(find_site_folders(cohort), out)
    with pytest.raises(ConfigError, match="names tasks that there are not") as error:
        run_locally(PLANS / "demo.yaml", sites, out, sweep="probes=[agee]")
    assert "age-t1w" in error.value.expected
    assert not (out / "run.json").exists()
