from pathlib import Path
from typing import Any

import pytest

from braing3n.config import load_site_config
from braing3n.plan import load_plan
from braing3n.protocol import Task
from client.opening import open_data
from client.site import Site
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files


def test_cached_scans_pass_by_without_a_file_written_for_each(
    tmp_path: Path, phantom_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eighty small files took a third of a short round."""
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path)
    site = Site(load_site_config(next(iter(sorted(sites.glob("*.yaml"))))))
    plan = load_plan(PLANS / "demo.yaml")
    task = Task(run="r", plan=plan.canonical(), plan_digest=plan.digest, stage="pretrain",
                round_index=0)
    data = open_data(site, plan, task)
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(Site, "show_progress", lambda _, **what: shown.append(what))
    monkeypatch.setattr("client.opening.time.monotonic", iter(i * 0.01 for i in range(1000)).__next__)
    again = open_data(site, plan, task)
    assert len(again.train) == len(data.train) > 3
    assert shown == []
