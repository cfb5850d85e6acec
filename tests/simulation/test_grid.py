import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Error, Message
from flwr.clientapp import ClientApp
from safetensors.numpy import load_file

from braing3n.errors import ConfigError, RunFailedError
from braing3n.protocol import Hello
from client.app import app as client_app
from server.app import app as server_app
from simulation.grid import run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, phantom_cohort: Path, short_plan: str) -> Run:
    """Run the short plan over the two phantom hospitals in this process."""

    def start(name: str = "out", sweep: str = "", **options: object) -> Path:
        out = tmp_path / name
        sites = write_site_files(find_site_folders(phantom_cohort), out)
        run_locally(PLANS / "demo.yaml", sites, out, sweep=f"{short_plan} {sweep}", **options)
        return out

    return start


def read(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path, short_plan: str
) -> Path:
    """One finished run that several tests read."""
    out = tmp_path_factory.mktemp("run") / "out"
    sites = write_site_files(find_site_folders(phantom_cohort), out)
    run_locally(PLANS / "demo.yaml", sites, out, sweep=short_plan)
    return out


def test_three_stages_end_in_three_models_and_a_complete_record(finished: Path) -> None:
    record = read(finished)
    assert record["status"] == "completed"
    assert [stage["name"] for stage in record["stages"]] == ["pretrain", "decoder", "diffusion"]
    assert [stage["rounds"] for stage in record["stages"]] == [2, 1, 2]
    assert all(stage["sites_asked"] == stage["sites_answered"] == 2 for stage in record["stages"])
    assert set(record["models"]) == {"encoder", "decoder", "statistics", "dit"}
    assert all((finished / model["file"]).exists() for model in record["models"].values())
    assert record["encoder_digest"] == record["models"]["encoder"]["digest"]
    assert "no differential privacy" in record["privacy"]


def digests(out: Path) -> dict[str, str]:
    return {part: model["digest"] for part, model in read(out)["models"].items()}


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    run: Run, finished: Path
) -> None:
    first, again, other = digests(finished), digests(run("again")), digests(run("other", "seed=1"))
    assert again == first
    assert all(other[part] != digest for part, digest in first.items())


def test_rounds_after_the_first_stage_carry_no_encoder(finished: Path) -> None:
    pretrain, decoder, diffusion = read(finished)["stages"]
    encoder = (finished / "model" / "encoder.safetensors").stat().st_size
    assert pretrain["bytes_frozen"] > 2 * encoder * 0.99  # once to each of two sites
    assert [(d["part"], d["asked"], d["refused"]) for d in pretrain["deliveries"]] == [
        ("encoder", ["site-a", "site-b"], {})]
    for stage in (decoder, diffusion):
        trained = finished / "model" / ("decoder" if stage is decoder else "dit")
        size = trained.with_suffix(".safetensors").stat().st_size
        for entry in stage["participation"]:
            assert entry["bytes_frozen"] == 0
            assert entry["bytes_down"] == pytest.approx(2 * size, rel=0.05)
            assert entry["bytes_up"] == pytest.approx(2 * size, rel=0.05)


def test_the_last_round_of_each_stage_is_kept_with_a_manifest(finished: Path) -> None:
    for stage in read(finished)["stages"]:
        folder = finished / "rounds" / stage["name"]
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["round"] == stage["rounds"]
        assert manifest["sites"] == ["site-a", "site-b"]
        assert (folder / manifest["file"]).exists()


def test_metrics_follow_the_global_weights_from_before_the_first_round(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    seen = {(line["stage"], line["round"]) for line in lines if line["phase"] == "evaluate"}
    assert {("pretrain", 0), ("pretrain", 1), ("pretrain", 2), ("decoder", 1)} <= seen
    assert all(np.isfinite(list(line["metrics"].values())).all() for line in lines)


def test_a_model_file_has_the_digests_of_the_record(finished: Path) -> None:
    for model in read(finished)["models"].values():
        path = finished / model["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == model["sha256"]
        assert digest_as_the_readme_says(load_file(path)) == model["digest"]


def digest_as_the_readme_says(tensors: dict[str, np.ndarray]) -> str:
    names = sorted(tensors)
    shapes = {name: list(tensors[name].shape) for name in names}
    layout = json.dumps(shapes, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    content = hashlib.sha256(layout.encode()).hexdigest().encode()
    return hashlib.sha256(
        content + b"".join(tensors[name].astype("<f4").tobytes() for name in names)
    ).hexdigest()


def test_a_sites_log_lists_every_answer_and_only_its_owner_may_look(finished: Path) -> None:
    stages = read(finished)["stages"]
    exchanges = sum(len(s["participation"]) + len(s["other_exchanges"]) for s in stages)
    for site in ("site-a", "site-b"):
        folder = finished / "sites" / site
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "site.log").stat().st_mode & 0o777 == 0o600
        lines = (folder / "site.log").read_text().splitlines()
        answers = [line for line in lines if " answering " in line]
        assert len(answers) == 1 + exchanges + 3  # hello first; three frozen parts were installed
        assert sum("float32 numbers of sha256" in line for line in answers) == 5 + 1  # and moments


def test_pictures_of_a_subject_stay_in_the_sites_own_folder(finished: Path) -> None:
    for site in ("site-a", "site-b"):
        with np.load(finished / "sites" / site / "pictures.npz") as pictures:
            assert set(pictures.files) == {"original", "masked", "mae", "decoder"}
            hidden = np.isnan(pictures["masked"])
            assert 0.6 < hidden.mean() < 0.8
            assert np.array_equal(pictures["masked"][~hidden], pictures["original"][~hidden])


def second_site_after_hello(message: Message) -> bool:
    return message.metadata.dst_node_id % 2 == 0 and message.metadata.message_type != "query.hello"


def test_a_site_that_never_answers_is_left_out_and_the_status_says_so(run: Run) -> None:
    out = run(sweep="min_sites=1 round_timeout_s=1", is_lost=second_site_after_hello)
    status = read(out)["status"]
    assert status.startswith("completed with 1 of 2 sites in pretrain rounds 1, 2")
    assert "in decoder round 1" in status


def test_too_few_sites_fail_the_run_and_the_record_says_why(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match="pretrain round 1 has too few usable replies"):
        run(sweep="round_timeout_s=1", is_lost=second_site_after_hello)
    record = read(tmp_path / "out")
    assert "too few usable replies" in record["status"]
    entry = record["stages"][0]["participation"][0]
    assert (entry["answered"], entry["refused"]) == (["site-a"], {"site-b": "late"})


def test_sites_that_never_connect_fail_the_run_before_anything_is_trained(
    run: Run, tmp_path: Path
) -> None:
    def lose_hello(message: Message) -> bool:
        return message.metadata.message_type == "query.hello"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.app.CONNECT_TIMEOUT_S", 0.5)
        with pytest.raises(RunFailedError, match="too few sites joined"):
            run(is_lost=lose_hello)
    assert read(tmp_path / "out")["stages"] == []


def test_an_answer_that_flower_gives_for_a_node_that_is_gone_does_not_stop_the_round(
    run: Run,
) -> None:
    def gone(message: Message, reply: Message) -> None:
        if message.metadata.message_type == "train.pretrain" and message.metadata.dst_node_id % 2 == 0:
            reply.metadata.__dict__["_src_node_id"] = 1
            reply.__dict__.update(_content=None, _error=Error(5, "node is unavailable"))

    out = run(sweep="min_sites=1 wait_for_lost_s=0", apps=(server_app, wrap(client_app, after=gone)))
    rounds = read(out)["stages"][0]["participation"]
    assert [entry["refused"] for entry in rounds] == [{"site-b": "unreachable"}] * 2


def test_a_scan_that_cannot_be_read_is_left_out_and_the_run_says_so(
    tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(phantom_cohort, cohort)
    scan = sorted((cohort / "site-a").rglob("*_T1w.nii.gz"))[0]
    scan.write_bytes(scan.read_bytes()[:2000])
    out = tmp_path / "out"
    sites = write_site_files(find_site_folders(cohort), out)
    run_locally(PLANS / "demo.yaml", sites, out, sweep=short_plan)
    assert read(out)["status"] == "completed without unreadable scans (site-a: 1)"
    log = (out / "sites" / "site-a" / "site.log").read_text()
    assert log.count("left out") == 1  # once, not for every message
    assert scan.name in log
    assert scan.name not in (out / "run.json").read_text()


def test_a_site_that_lost_the_encoder_asks_for_it_and_goes_on(run: Run, finished: Path) -> None:
    forgetful = wrap(client_app, before=lambda message, out: forget(message, out, "site-b"))
    out = run("forgetful", apps=(server_app, forgetful))
    stage = read(out)["stages"][1]
    encoder = (out / "model" / "encoder.safetensors").stat().st_size
    assert stage["participation"][0]["bytes_frozen"] == pytest.approx(encoder, rel=0.05)
    assert stage["sites_answered"] == 2
    assert read(out)["models"]["dit"]["digest"] == read(finished)["models"]["dit"]["digest"]


def forget(message: Message, out: Path, site: str) -> None:
    """Remove a site's frozen parts just before it is asked to train the decoder."""
    if message.metadata.message_type == "train.decoder" and not (out / "forgot").exists():
        (out / "forgot").touch()
        shutil.rmtree(out / "sites" / site / "frozen")


def test_a_site_that_could_not_take_the_encoder_is_named_where_it_was_sent(run: Run) -> None:
    def stand_in_the_way(message: Message, out: Path) -> None:
        frozen = out / "sites" / "site-b" / "frozen"  # a file there keeps the folder from being made
        if message.metadata.message_type == "query.install" and not (out / "once").exists():
            (out / "once").touch()
            frozen.touch()
        elif message.metadata.message_type == "train.decoder" and frozen.is_file():
            frozen.unlink()

    record = read(run("full", apps=(server_app, wrap(client_app, before=stand_in_the_way))))
    assert record["stages"][0]["deliveries"][0]["refused"] == {"site-b": "internal"}
    assert record["status"] == "completed"  # it asked for the encoder when a task named it


def test_a_folder_without_site_files_is_no_federation(tmp_path: Path, short_plan: str) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="names no sites"):
        run_locally(PLANS / "demo.yaml", tmp_path / "none", tmp_path / "out", sweep=short_plan)


def test_a_client_with_other_code_is_a_stranger(run: Run) -> None:
    out = run(sweep="min_sites=1", apps=(server_app, wrap(client_app, after=tamper_with_hello)))
    record = read(out)
    assert list(record["strangers"].values()) == ["stranger"]
    assert record["status"].startswith("completed with 1 of 2 sites admitted (site-b (node ")


def tamper_with_hello(message: Message, reply: Message) -> None:
    """Let the second site say that it runs other code."""
    if message.metadata.message_type == "query.hello" and message.metadata.dst_node_id % 2 == 0:
        record = reply.content.config_records["message"]
        hello = Hello.model_validate_json(record["json"])
        record["json"] = hello.model_copy(update={"code_digest": "0" * 64}).model_dump_json()


def poison(message: Message, reply: Message) -> None:
    """Let the second site send NaN in its first update."""
    if message.metadata.message_type == "train.pretrain" and message.metadata.dst_node_id % 2 == 0:
        vector = next(iter(reply.content.array_records["arrays"].values())).numpy().copy()
        vector[7] = np.nan
        reply.content["arrays"] = ArrayRecord([vector])


def test_an_update_with_nan_is_refused_and_named(run: Run) -> None:
    out = run(sweep="min_sites=1", apps=(server_app, wrap(client_app, after=poison)))
    rounds = read(out)["stages"][0]["participation"]
    assert [entry["refused"] for entry in rounds] == [{"site-b": "protocol"}] * 2
    assert "with 1 of 2 sites in pretrain rounds 1, 2" in read(out)["status"]


def test_an_exception_at_a_site_reaches_the_coordinator_as_a_word_without_detail(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("cannot read /data/sub-secret/anat/sub-secret_T1w.nii.gz")

    monkeypatch.setattr("client.opening.open_objective", fail)
    with pytest.raises(RunFailedError):
        run()
    assert "sub-secret" in (tmp_path / "out" / "sites" / "site-a" / "site.log").read_text()
    assert (tmp_path / "out" / "sites" / "site-a" / "site.log").stat().st_mode & 0o777 == 0o600
    assert "site-a: internal" in read(tmp_path / "out")["status"]
    assert "secret" not in (tmp_path / "out" / "run.json").read_text()


def wrap(
    inner: ClientApp,
    before: Callable[[Message, Path], None] | None = None,
    after: Callable[[Message, Message], None] | None = None,
) -> ClientApp:
    """Return a ClientApp that runs `inner` with something done before or after."""

    def call(message: Message, context: Context) -> Message:
        if before:
            before(message, Path(str(context.run_config["out"])))
        reply = inner(message, context)
        if after:
            after(message, reply)
        return reply

    return call  # type: ignore[return-value]


def test_a_plan_may_end_with_an_earlier_stage(run: Run) -> None:
    out = run(sweep="last_stage=pretrain")
    record = read(out)
    assert record["status"] == "completed"
    assert [stage["name"] for stage in record["stages"]] == record["stage_names"] == ["pretrain"]
    assert set(record["models"]) == {"encoder"}
    assert record["stages"][0]["deliveries"] == []  # no later stage needs it


def test_a_round_asks_as_many_sites_as_the_plan_draws_and_all_are_measured(run: Run) -> None:
    sweep = ("min_sites=1 sites_per_round=1 last_stage=pretrain stages.pretrain.rounds=6 "
             "stages.pretrain.local_steps=1")
    (stage,), again = (read(run(name, sweep))["stages"] for name in ("out", "again"))
    drawn = [entry["asked"] for entry in stage["participation"]]
    assert all(len(names) == 1 for names in drawn)
    assert {name for names in drawn for name in names} == {"site-a", "site-b"}
    assert drawn == [entry["asked"] for entry in again[0]["participation"]]
    assert stage["sites_asked"] == stage["sites_answered"] == 2
    assert stage["other_exchanges"][0]["answered"] == ["site-a", "site-b"]


def test_sites_measure_the_global_weights_as_often_as_the_plan_says(run: Run) -> None:
    out = run(sweep="last_stage=pretrain stages.pretrain.rounds=4 stages.pretrain.measure_every=3")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    measured = {line["round"] for line in lines if line["phase"] == "evaluate"}
    assert measured == {0, 3, 4}
