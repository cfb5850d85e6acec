"""Run a program that ends when whoever started it does: `python -I tether.py PARENT PROGRAM ...`.

A service that is killed cannot end what it runs. What was left would hold its ports and its place at
the server. Imports nothing of ours, so that it starts at once and needs no path.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # else it died before the kernel was told
        os.execvp(command[0], command)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
