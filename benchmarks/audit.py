"""How long an audit takes, and how much memory: a ledger of 100,000 entries, a history of 500 rounds.

The reference is what a site itself does when it opens its ledger (`load_history`), which checks the
same signatures one after the other and keeps all entries. Each runs in a process of its own, in turn.

    python benchmarks/audit.py            # some minutes, mostly making the ledger
    python benchmarks/audit.py --entries 20000 --json
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from braing3n.files import canonical_json, digest_bytes
from braing3n.signing import open_key

STAGES = ("pretrain", "decoder", "diffusion")


def make(folder: Path, entries: int, *, rounds: int) -> Path:
    """Write a ledger that holds: a reserve and a settle for each round of three stages in turn."""
    key = open_key(folder / "ledger.key", folder / "ledger.pub")
    previous, number = "0" * 64, 0
    with (folder / "ledger.jsonl").open("wb") as stream:
        for entry in entries_of(entries, rounds):
            unsigned = {**entry, "seq": number, "prev": previous, "time": "2026-11-23T16:54:21Z",
                        "key_id": key.public.key_id}
            line = canonical_json({**unsigned, "signature": key.sign(canonical_json(unsigned))})
            stream.write(line + b"\n")
            previous, number = digest_bytes(line), number + 1
    return folder / "ledger.jsonl"


def entries_of(entries: int, rounds: int):
    yield {"kind": "note", "code": "begun"}
    yield {"kind": "note", "code": "budget", "cohort": "patients",
           "detail": "epsilon 1000.0 delta 1e-05"}
    for count in range((entries - 2) // 2):
        run, place = divmod(count, 3 * rounds)
        fields = {
            "run": f"run-{run}", "stage": STAGES[place // rounds], "round_index": place % rounds,
            "cohort": "patients", "what": "update", "plan_digest": "d" * 64,
            "spent": {"pld": 900.0, "rdp": 990.0, "delta": 1e-5},
            "mechanism": {"name": "poisson_gaussian", "sample_rate": 0.05, "steps": 4,
                          "noise_multiplier": 4.0 + place // rounds, "clip_norm": 0.1, "views": 4,
                          "unit": "subject", "engine": "loop", "num_subjects": 100}}
        yield {**fields, "kind": "reserve"}
        yield {**fields, "kind": "settle", "reserves": 2 + 2 * count, "released_digest": "e" * 64}


def timed(action: str, ledger: Path) -> tuple[float, float]:
    """Return seconds and peak MB of a process, with its children, that does only this."""
    done = subprocess.run([sys.executable, __file__, "--do", action, str(ledger)], capture_output=True,
                          text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def do(action: str, ledger: Path) -> None:
    began = time.perf_counter()
    if action == "verify":
        from braing3n.audit.verify import verify  # memory is of what is used

        assert verify([ledger]).holds
    elif action == "recompute":
        from braing3n.audit.account import accounts_of

        assert not accounts_of(ledger, None)[0].is_understated
    else:
        from braing3n.privacy.ledger import load_history

        assert not load_history(ledger.parent).findings
    seconds = time.perf_counter() - began
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
    print(seconds, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.do:
        do(arguments.do[0], Path(arguments.do[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        long, history = Path(folder) / "long", Path(folder) / "history"
        long.mkdir()
        history.mkdir()
        ledger = make(long, arguments.entries, rounds=500)
        found = {"verify": timed("verify", ledger), "load_history": timed("load_history", ledger),
                 "recompute_500_rounds": timed("recompute", make(history, 3002, rounds=500))}
    figures = {name: {"seconds": round(seconds, 2), "peak_mb": round(peak)}
               for name, (seconds, peak) in found.items()}
    figures["verify_over_load_history"] = round(found["verify"][0] / found["load_history"][0], 3)
    print(json.dumps(figures) if arguments.json else "\n".join(
        f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
