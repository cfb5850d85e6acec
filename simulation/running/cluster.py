"""An existing Ray cluster: looked for by its address, never started or ended by us."""

import re
import subprocess

from braing3n.errors import ConfigError
from braing3n.service.programs import program

CLUSTER_TIMEOUT_S = 30.0


def check_cluster(address: str) -> None:
    """Check that a Ray cluster answers at HOST:PORT.

    Raises:
        ConfigError: It does not, or the address is of another kind.
    """
    expected = "HOST:PORT of a Ray head, as `ray start --head` prints it"
    if not re.fullmatch(r"[\w.-]+:\d{1,5}", address):
        raise ConfigError("--ray-address is no address", expected=expected, found=address,
                          fix="give it without ray:// or http://")
    try:
        done = subprocess.run([program("ray"), "status", "--address", address], text=True, check=False,
                              capture_output=True, timeout=CLUSTER_TIMEOUT_S, stdin=subprocess.DEVNULL)
        found = "" if done.returncode == 0 else _last_line(done.stderr or done.stdout)
    except subprocess.TimeoutExpired:
        found = f"no answer in {CLUSTER_TIMEOUT_S:.0f} s"
    if found:
        raise ConfigError(f"no Ray cluster answers at {address}", expected=expected, found=found,
                          fix="start one, with the same versions of Ray and Python, or correct the "
                              "address")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing"])[-1][-200:]
