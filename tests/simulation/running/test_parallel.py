from pathlib import Path

import pytest

from braing3n.errors import ConfigError
from braing3n.plan import STAGE_NAMES, Plan, load_plan
from simulation.run import PLANS
from simulation.running.parallel import (
    BASE_MB,
    _limits_mb,
    available_cores,
    available_memory_mb,
    choose_parallel,
    footprint_mb,
)


def plan(sweep: str = "") -> Plan:
    return load_plan(PLANS / "demo.yaml", sweep)


def test_the_smallest_of_sites_cores_and_memory_decides() -> None:
    plenty = {"cores": 64, "available_mb": 500_000.0}
    assert choose_parallel(plan(), 5, **plenty).parallel == 5
    assert choose_parallel(plan(), 200, **{**plenty, "cores": 7}).parallel == 7
    chosen = choose_parallel(plan(), 200, cores=64, available_mb=6000.0)
    assert str(chosen) == "sites at once: 4 (200 sites, 64 cores, 5.9 GB of memory hold 4)"


def test_a_machine_on_which_not_one_site_fits_is_refused_unless_the_user_insists() -> None:
    with pytest.raises(ConfigError, match="not even one site fits") as refused:
        choose_parallel(plan("preset=full"), 4, cores=8, available_mb=8000.0)
    assert refused.value.exit_code == 2
    assert choose_parallel(plan("preset=full"), 4, 3, cores=8, available_mb=8000.0).parallel == 3


def test_larger_presets_and_batches_need_more() -> None:
    for stage in STAGE_NAMES:
        sizes = [footprint_mb(plan(f"preset={name}"), stage) for name in ("nano", "small", "base")]
        assert BASE_MB < sizes[0] < sizes[1] < sizes[2]
        larger = plan(f"stages.{stage}.batch_size=40")
        assert footprint_mb(larger, stage) > footprint_mb(plan(), stage)


def test_only_stages_that_the_plan_trains_take_memory() -> None:
    """The third stage's batches would need far more than this machine has."""
    large = "stages.diffusion.batch_size=20000"
    with pytest.raises(ConfigError, match="in stage diffusion"):
        choose_parallel(plan(large), 4, cores=4, available_mb=50_000.0)
    short = choose_parallel(plan(f"{large} last_stage=decoder"), 4, cores=4, available_mb=50_000.0)
    assert short.parallel == 4


def test_gpus_are_shared_by_as_many_sites_as_they_hold() -> None:
    chosen = choose_parallel(plan(), 5, cores=64, available_mb=500_000.0, gpus_mb=(80_000.0, 80_000.0))
    assert (chosen.parallel, chosen.gpus_each, chosen.num_gpus) == (5, 0.333, 2)
    assert chosen.as_federation_config() == (
        "client-resources-num-cpus=1 client-resources-num-gpus=0.333 init-args-num-cpus=5 "
        "init-args-num-gpus=2")
    with pytest.raises(ConfigError, match="not even one fits"):
        choose_parallel(plan(), 5, cores=4, available_mb=50_000.0, gpus_mb=())


def test_this_machine_has_cores_and_memory() -> None:
    assert available_cores() >= 1
    assert 100 < available_memory_mb() < 1e8


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_limits_of_both_kinds_of_cgroups_are_read_up_to_the_root(tmp_path: Path) -> None:
    write(tmp_path / "two" / "a", memory__max=str(4096 * 2**20), memory__current=str(1024 * 2**20),
          memory__stat=f"anon 5\ninactive_file {24 * 2**20}\n")
    write(tmp_path / "two" / "a" / "b", memory__max="max", memory__current="7", memory__stat="anon 1\n")
    assert _limits_mb("0::/a/b\n", tmp_path / "two") == [3096.0]
    write(tmp_path / "one" / "memory" / "c", memory__limit_in_bytes=str(2048 * 2**20),
          memory__usage_in_bytes=str(2**20), memory__stat=f"total_inactive_file {2**20}\n")
    assert _limits_mb("5:cpu:/c\n4:memory:/c\n0::/\n", tmp_path / "one") == [2048.0]
