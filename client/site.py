"""A site as one message finds it: its settings, its frozen parts, its own files."""

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from flwr.app import Context

from braing3n.config import SiteConfig, load_site_config
from braing3n.errors import ConfigError, ProtocolError
from braing3n.files import digest_bytes, whole_lines, write_text
from braing3n.plan import Part, Plan, StageName
from braing3n.protocol import PROTOCOL_VERSION, Task
from braing3n.weights import State, check_digest, load_weights, save_weights
from braing3n.yaml_files import parse
from client.state_folder import open_state_folder

_LONGEST_PLAN = 1 << 16


@dataclass(frozen=True)
class Site:
    """One hospital's client while it works on one message."""

    config: SiteConfig

    @property
    def device(self) -> torch.device:
        """What to compute on.

        Raises:
            ConfigError: The settings ask for a GPU that is not there.
        """
        if self.config.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("the site's device is not there", expected="a CUDA GPU",
                              found="none that PyTorch can see", fix="set `device: cpu`")
        return torch.device(self.config.device)

    def moments(self, task: Task, *, with_dp: bool = False) -> Path:
        """Return the folder of AdamW's moments for the task's run and stage.

        Those of exact gradients must not get into what is released with DP.
        """
        folder = self.config.state_dir / "moments" / task.run / task.stage
        return folder / "dp" if with_dp else folder

    def store(self, part: Part, digest: str, state: State) -> None:
        """Keep a frozen part, after checking that it is the one that was announced."""
        check_digest(state, digest, part)
        save_weights(self._frozen_path(part, digest), state)

    def frozen(self, wanted: Mapping[Part, str]) -> tuple[dict[Part, State], tuple[Part, ...]]:
        """Return the frozen parts that are here, checked, and the names of those that are not."""
        found: dict[Part, State] = {}
        for part, digest in wanted.items():
            path = self._frozen_path(part, digest)
            if path.exists():
                state = load_weights(path)
                check_digest(state, digest, part)
                found[part] = state
        return found, tuple(sorted(set(wanted) - set(found)))

    def _frozen_path(self, part: Part, digest: str) -> Path:
        return self.config.state_dir / "frozen" / f"{part}-{digest}.safetensors"

    def count_exchange(self, run: str, tasks: Iterable[str]) -> dict[str, int]:
        """Return how often a run has asked about each task with numbers of its own choice.

        This time is counted, before anything is answered.
        """
        path = self.config.state_dir / "probes" / f"{run}.json"
        counts: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        counts.update({name: counts.get(name, 0) + 1 for name in tasks})
        write_text(path, json.dumps(counts))
        return counts

    def mark_without_dp(self, task: Task) -> None:
        """Write down, before the work, that these patients are trained on without DP.

        A site that gets a budget later must not claim an ε for them; see `marked_without_dp`.
        """
        place = (task.run, task.stage)
        marked = self.marked_without_dp()
        if place not in marked:  # written anew, as half a line of a killed site would spoil the next
            write_text(self.config.state_dir / "without_dp.jsonl",
                       "".join(json.dumps(each) + "\n" for each in [*marked, place]))

    def marked_without_dp(self) -> list[tuple[str, StageName]]:
        """Return the runs and stages that were trained on here while there was no budget."""
        lines = whole_lines(self.config.state_dir / "without_dp.jsonl")
        return [(str(run), stage) for run, stage in map(json.loads, lines)]

    def show_progress(self, **what: str | int | float) -> None:
        """Say what the site is doing, in a file that its own people and tools may read."""
        text = json.dumps({**what, "time": time.time()})
        write_text(self.config.state_dir / "progress.json", text, is_durable=False)

    def forget_moments(self, task: Task) -> None:
        """Remove AdamW's moments of a stage that is over; they are as large as two models."""
        shutil.rmtree(self.moments(task), ignore_errors=True)

    def log_data(self, remarks: Sequence[str]) -> None:
        """Log what was left out or not understood in the data, once as long as it stays the same."""
        digest = digest_bytes("\n".join(remarks).encode())
        path = self.config.state_dir / "data_remarks.sha256"
        if path.exists() and path.read_text() == digest:
            return
        write_text(path, digest)
        for remark in remarks:
            self.log(remark)

    def log(self, text: str) -> None:
        """Append to the site's own log, which nobody else may read and which is never sent."""
        path = self.config.state_dir / "site.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        # What came from elsewhere must not look like an entry of its own.
        lines = "\n    ".join(text.rstrip().splitlines())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as stream:
            stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {lines}\n")


def open_site(context: Context) -> Site:
    """Return the site that this client stands for.

    In a hospital the node's own configuration names the site's file, and nothing that the
    coordinator sends can name another. A simulated node has no configuration but a number; its
    site is the file of that number in the run config's folder.

    Raises:
        ConfigError: There is no such file, or it is wrong, or its state folder cannot be used.
    """
    config = load_site_config(_settings(context))
    open_state_folder(config)
    return Site(config)


def _settings(context: Context) -> Path:
    """Return the site's file; see `open_site`."""
    own = context.node_config.get("site-config")
    if own is not None:
        return Path(str(own))
    number = context.node_config.get("partition-id")
    folder = str(context.run_config.get("sites", ""))
    if number is None or not folder:
        raise ConfigError("this client does not know its site", expected="site-config",
                          found="none in the node's configuration",
                          fix="""start the node with --node-config 'site-config="/.../site.yaml"'""")
    paths = sorted(Path(folder).glob("*.yaml"))
    if int(number) >= len(paths):
        raise ConfigError("there are more simulated nodes than sites", expected=f"{len(paths)} nodes",
                          found=f"node number {number}",
                          fix="start as many simulated nodes as there are files in `sites`")
    return paths[int(number)]


def check_task(task: Task) -> Plan:
    """Return the task's plan, after checking that the task is one that this software may do.

    Raises:
        ProtocolError: Another protocol version, a plan that does not have its digest or is not
            written as plans are, or a round that the plan does not have.
        ConfigError: The plan has a mistake.
    """
    if task.protocol != PROTOCOL_VERSION:
        raise ProtocolError("the coordinator speaks another protocol",
                            expected=str(PROTOCOL_VERSION), found=str(task.protocol),
                            fix="install the version that the consortium agreed on")
    if digest_bytes(task.plan.encode()) != task.plan_digest:
        raise ProtocolError("the plan is not the one that its digest names",
                            expected=task.plan_digest, found="another digest",
                            fix="ask the coordinator")
    plan = _read_plan(task.plan)
    if task.stage not in plan.stage_names:
        raise ProtocolError("the plan has no such stage", expected=", ".join(plan.stage_names),
                            found=task.stage, fix="ask the coordinator")
    if task.round_index > plan.stage(task.stage).rounds:
        raise ProtocolError("the plan has no such round",
                            expected=f"at most {plan.stage(task.stage).rounds}",
                            found=str(task.round_index), fix="ask the coordinator")
    return plan


def _read_plan(text: str) -> Plan:
    """Return the plan that a text is, in the one way in which it can be written.

    Its digest is then the one that people approve, and that the ledger and the log of what left name.
    """
    expected = f"a plan's canonical JSON of at most {_LONGEST_PLAN} characters"
    if len(text) > _LONGEST_PLAN:  # each mistake of a plan costs time to describe
        raise ProtocolError("the plan is too long", expected=expected, found=f"{len(text)}",
                            fix="ask the coordinator")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the plan cannot be read", expected=expected, found="other content",
                            fix="ask the coordinator") from error
    plan = parse(Plan, content, "the coordinator's plan")
    if plan.canonical() != text:
        raise ProtocolError("the plan is not written as plans are", expected=expected,
                            found="another text", fix="ask the coordinator")
    return plan
