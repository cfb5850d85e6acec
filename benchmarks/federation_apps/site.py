"""Our node and our executor, with the benchmark's app: `site.py supernode|executor ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def work(site: str, runtime_address: str, token: str, parent: int) -> None:
    import ours

    from client.node import task

    task.app = ours.client_app
    task.run_task(site, runtime_address, token, parent)


def main(what: str, arguments: list[str]) -> None:
    from client.node import executor, supernode

    if what == "supernode":
        supernode.check_bundle = lambda *_: None  # the benchmark's bundle carries its ServerApp
        supernode.main(Path(arguments[0]), "", arguments[1:])
    else:
        executor.work = work
        executor.main("none", arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
