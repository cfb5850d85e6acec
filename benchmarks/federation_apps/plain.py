"""Plain Flower: FedAvg over one array for each tensor, as its quickstarts send models.

Its client imports nothing but NumPy, which is kind to it: a client that trains a network imports for
seconds more in each round.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

server_app = ServerApp()
client_app = ClientApp()


class Timed(FedAvg):
    """FedAvg that writes down when each round was merged."""

    def __init__(self, out: Path, **named: Any) -> None:
        super().__init__(**named)
        self._out, self._last = out, time.monotonic()

    def configure_train(self, *arguments: Any, **named: Any) -> Any:
        self._last = time.monotonic()
        return super().configure_train(*arguments, **named)

    def aggregate_train(self, *arguments: Any, **named: Any) -> Any:
        merged = super().aggregate_train(*arguments, **named)
        with self._out.open("a") as stream:
            stream.write(json.dumps(time.monotonic() - self._last) + "\n")
        return merged


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    each = max(1, int(float(str(config["mb"])) * 1e6 / 4 / int(str(config["arrays"]))))
    draws = np.random.default_rng(0)
    arrays = ArrayRecord({f"layer{number}": Array(draws.normal(size=each).astype(np.float32))
                          for number in range(int(str(config["arrays"])))})
    sites = int(str(config["sites"]))
    while len(list(grid.get_node_ids())) < sites:
        time.sleep(0.2)
    strategy = Timed(Path(str(config["out"])), fraction_evaluate=0.0, min_train_nodes=sites,
                     min_available_nodes=sites, min_evaluate_nodes=0)
    strategy.start(grid, arrays, num_rounds=int(str(config["rounds"])))


@client_app.train()
def train(message: Message, context: Context) -> Message:
    own = np.float32(context.node_id % 997 / 1000)  # equal numbers would not travel: see `ours`
    record = ArrayRecord({name: Array(array.numpy() + own) for name, array in
                          next(iter(message.content.array_records.values())).items()})
    return Message(RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": 1})}),
                   reply_to=message)
