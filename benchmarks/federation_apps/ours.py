"""Our strategy and our wire format, with a client that changes a little what it was sent.

Flower names what it sends by its content and sends nothing twice: equal numbers would not travel.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from braing3n.plan import load_plan
from braing3n.protocol import Reply, Task
from braing3n.weights import layout_digest
from server.messages import Member
from server.pieces import fetch_soon
from server.strategy import Strategy

server_app = ServerApp()
client_app = ClientApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    fetch_soon()
    config = context.run_config
    like = {"weights": torch.zeros(int(float(str(config["mb"])) * 1e6 / 4))}
    sites, out = int(str(config["sites"])), Path(str(config["out"]))
    while len(nodes := sorted(grid.get_node_ids())) < sites:
        time.sleep(0.2)
    members = [Member(f"site-{node}", node) for node in nodes]
    plan = load_plan(Path(str(config["plan"])), "")
    strategy = Strategy(grid, members, sites, 3600.0)
    vector = np.random.default_rng(0).normal(size=like["weights"].numel()).astype(np.float32)
    for number in range(int(str(config["rounds"]))):
        task = Task(run="bench", plan=plan.canonical(), plan_digest=plan.digest, stage="pretrain",
                    round_index=number, layout=layout_digest(like))
        began = time.monotonic()
        outcome = strategy.run_round("train.pretrain", task, vector, like, {})
        strategy.check_enough(task, outcome)
        vector = outcome.mean
        with out.open("a") as stream:
            stream.write(json.dumps(time.monotonic() - began) + "\n")


@client_app.train("pretrain")
def train(message: Message, context: Context) -> Message:
    task = Task.model_validate_json(str(message.content.config_records["message"]["json"]))
    array = next(iter(message.content.array_records.values()))["weights"].numpy()
    own = np.float32(context.node_id % 997 / 1000)
    reply = Reply(site=f"site-{context.node_id}", stage=task.stage, round_index=task.round_index,
                  plan_digest=task.plan_digest, layout=task.layout, weight=1)
    return Message(RecordDict({
        "message": ConfigRecord({"json": reply.model_dump_json()}),
        "arrays": ArrayRecord({"weights": Array(array + own)})}), reply_to=message)
