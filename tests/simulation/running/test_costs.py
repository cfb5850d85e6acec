from io import StringIO
from pathlib import Path

from rich.console import Console

from simulation.running.costs import Memory, costs_table


def shown(record: dict) -> str:
    stream = StringIO()
    Console(file=stream, width=120).print(costs_table(record))
    return stream.getvalue()


def test_the_table_has_the_mean_time_of_a_round_and_the_peak_of_a_stage() -> None:
    stages = [{"name": "pretrain", "participation": [{"seconds": 2.0}, {"seconds": 3.0}]},
              {"name": "decoder", "participation": []}]
    text = shown({"stages": stages,
                  "simulation": {"parallel": 2, "peak_memory_mb": {"pretrain": 2345.6}}})
    assert "2.5" in text
    assert "2,346 MB" in text
    assert "not measured" in text
    assert "cluster" not in text
    assert "without the cluster" in shown({"stages": [], "simulation": {"parallel": None}})


def test_memory_is_kept_as_the_largest_of_a_stage() -> None:
    memory = Memory(Path("/no/such/home"))
    memory.look("pretrain")
    first = memory.peaks_mb["pretrain"]
    memory.look("decoder")  # too soon after the first look
    assert first > 5
    assert set(memory.peaks_mb) == {"pretrain"}
