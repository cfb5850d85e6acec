"""The coordinator's memory must not depend on how many sites there are."""

import subprocess
import sys

import pytest

# One process a measurement, because a peak never goes down. The sites are fakes that answer with
# updates of the right size; what is measured is the coordinator's own code and what it keeps.
PROGRAM = """
import resource, sys
import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from braing3n.protocol import Reply, Task
from braing3n.weights import layout_digest
from server.roster import Member
from server.strategy import Strategy
from simulation.grid import FIRST_SITE_NODE, LocalGrid

SIZE = 16 * 2**20 // 4
like = {"w": torch.zeros(SIZE)}

def client(message, context):
    task = Task.model_validate_json(message.content.config_records["message"]["json"])
    site = f"site-{message.metadata.dst_node_id}"
    reply = Reply(site=site, stage=task.stage, round_index=task.round_index, weight=3,
                  plan_digest=task.plan_digest, layout=layout_digest(like))
    update = np.full(SIZE, message.metadata.dst_node_id, np.float32)
    return Message(RecordDict({"message": ConfigRecord({"json": reply.model_dump_json()}),
                               "arrays": ArrayRecord({"weights": Array(update)})}), reply_to=message)

sites = int(sys.argv[1])
grid = LocalGrid(client, sites, {})
members = [Member(f"site-{node}", node) for node in grid.get_node_ids()]
task = Task(run="r", plan="{}", plan_digest="0" * 64, stage="pretrain", round_index=0)
outcome = Strategy(grid, members, sites, 60.0).run_round(
    "train.pretrain", task, np.zeros(SIZE, np.float32), like, {})
assert np.allclose(outcome.mean, FIRST_SITE_NODE + (sites - 1) / 2), outcome.mean
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
MODEL_MB = 16.0


def peak_mb(sites: int) -> float:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(sites)], text=True, capture_output=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_the_coordinators_peak_with_32_sites_is_that_with_4_within_one_model() -> None:
    assert peak_mb(32) - peak_mb(4) == pytest.approx(0, abs=MODEL_MB)
