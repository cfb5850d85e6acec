"""`braing3n site run`: the SuperNode and its executor, in the foreground until told to stop."""

import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from braing3n.config import SiteConfig, load_site_config
from braing3n.enrolment.private_files import make_private_folder, write_private
from braing3n.errors import ConfigError, RefusedError, ServiceError
from braing3n.files import locked
from braing3n.moments import utc_now
from braing3n.service.log import ServiceLog
from braing3n.service.ports import free_port, is_taken
from braing3n.service.programs import environment
from braing3n.service.supervisor import Ended, Program, Supervisor
from client.network_folder import NetworkFolder, enrolment_line, load_enrolled
from client.node.reaching import Server, check_reachable, fault_of
from client.state_folder import open_state_folder

# Files in the network folder: held while this is at work; the site's number at the server; one whose
# time says when the server last answered.
LOCK, NODE, REACHED = ".run.lock", "node.json", "reached"
PAUSE_S = 5.0
MAX_PAUSE_S = 60.0
# So many ends of a program within so long are borne with.
MAX_ENDS, RECENT_S = 3, 600.0
NOT_KNOWN = "REFUSED: the server does not know this site's key"
_NOT_ACTIVATED = "[code: 2004]"  # SuperLink holds the place for another process, or knows no such key
TASK_POLL_S = "0.1"
_LOCK_TRIES = 5


def run_site(
    path: Path, log: ServiceLog, *, health: str | None = None, wanted: str | None = None,
) -> None:
    """Run a site's client until SIGTERM or SIGINT.

    Args:
        path: The site's YAML.
        log: Where to say what happens.
        health: HOST:PORT for the SuperNode's health by the standard gRPC protocol; None is none.
        wanted: Which of the server's addresses to dial; None is the first.

    Raises:
        ConfigError: The settings, the enrolment or the certificate that the server shows are wrong.
        ServiceError: The server cannot be reached now, or a program does not stay up.
        RefusedError: The server does not take this site.
    """
    config = load_site_config(path)
    open_state_folder(config)
    answer = load_enrolled(config, utc_now())
    folder = NetworkFolder.of(config)
    address = _choose(answer.addresses, wanted)
    server = Server(address, folder.authority)
    with _alone(folder.path / LOCK, config.name):
        if health is not None:
            _check_health(health)
        line = enrolment_line(config, utc_now()) or ""
        log.say("site", line, "warning" if line.startswith("warning") else "info")
        check_reachable(server)
        log.say("site", f"{config.name}: consortium {answer.consortium} at {address}")
        ends = Ends(server, log)
        Supervisor(programs(config, path, address, health), log, ends.judge).run()


def programs(config: SiteConfig, path: Path, address: str, health: str | None) -> list[Program]:
    """Return what makes up a site's client, with a secret between the two made for this start."""
    folder = NetworkFolder.of(config)
    home, secret = folder.path / "flwr", folder.path / "superexec.secret"
    make_private_folder(home)
    write_private(secret, secrets.token_hex(32).encode())
    port = free_port()
    between = ("--superexec-auth-secret-file", str(secret))
    settings = f'site-config="{_quoted(str(path.resolve()))}"'
    # -P: else Python would look for modules in the state folder first.
    python = (sys.executable, "-P", "-m")
    node = (*python, "client.node.supernode", str(folder.path), config.plans.app_version or "",
            "--superlink", address, "--root-certificates", str(folder.authority),
            "--auth-supernode-private-key", str(folder.node_key), "--isolation", "process",
            "--host", "127.0.0.1", "--port", str(port), "--node-config", settings, *between,
            *(() if health is None else ("--health-server-address", health)))
    tasks = (*python, "client.node.executor", str(path.resolve()), "--insecure",
             "--runtime-api-address", f"127.0.0.1:{port}", *between)
    own = {**environment(home), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": TASK_POLL_S}
    return [Program("supernode", node, own, folder.path), Program("executor", tasks, own, folder.path)]


@dataclass
class Ends:
    """Says what to do when a program ends.

    Attributes:
        server: Which is asked what is wrong, where the SuperNode does not say.
        log: The service's.
    """

    server: Server
    log: ServiceLog
    _ends: dict[str, list[float]] = field(default_factory=dict)

    def judge(self, ended: Ended) -> float:
        """Return after how many seconds a program is started again.

        Raises:
            RefusedError: The server does not take this site.
            ServiceError: The executor does not stay up.
        """
        now = time.monotonic()
        recent = [at for at in self._ends.get(ended.name, []) if now - at < RECENT_S]
        self._ends[ended.name] = [*recent, now]
        if ended.name == "supernode":
            self._look(ended, is_last=len(recent) >= MAX_ENDS)
        elif len(recent) >= MAX_ENDS:
            raise ServiceError(f"the {ended.name} does not stay up", expected="a program that runs",
                               found=" | ".join(ended.lines[-5:]) or "nothing in its log",
                               fix="mend what it says")
        return min(PAUSE_S * 2.0**len(recent), MAX_PAUSE_S)

    def _look(self, ended: Ended, *, is_last: bool) -> None:
        """Say why the SuperNode ended, as far as anybody can tell.

        Raises:
            RefusedError: The server does not take this site.
        """
        said = "\n".join(ended.lines)
        if NOT_KNOWN in said or (_NOT_ACTIVATED in said and is_last):
            raise RefusedError(
                "the server does not take this site's key", found="a key that it does not know",
                expected="the key of a site that the server has as enrolled",
                fix="ask the coordinator: the site was revoked, is enrolled with another key, or the "
                "server was not started since; or another machine is connected with this key "
                "(docs/network.md, When a site does not connect)")
        if _NOT_ACTIVATED in said:
            self.log.say("site", "the server has not taken this site's key yet; it is asked again",
                         "warning")
        elif (fault := fault_of(self.server)) is not None:
            self.log.say("site", str(fault), "warning")


@contextmanager
def _alone(lock: Path, site: str) -> Iterator[None]:
    """Be the only client of a state folder. The lock's time says since when.

    Raises:
        ConfigError: Another one is at work.
    """
    with ExitStack() as held:
        for _ in range(_LOCK_TRIES):
            with suppress(BlockingIOError):
                held.enter_context(locked(lock))
                break
            time.sleep(0.2)  # `site status` holds it too, for an instant, to find out
        else:
            raise ConfigError(f"{site} is at work already", expected="one client for a state folder",
                              found="another process that holds its lock", fix="stop that one first")
        lock.touch()
        yield


def _check_health(health: str) -> None:
    host, _, port = health.rpartition(":")
    is_address = bool(host) and port.isdecimal() and 0 < int(port) < 1 << 16
    if not is_address or is_taken(int(port), host.strip("[]")):
        raise ConfigError("health cannot be served there", found=health, fix="give another --health",
                          expected="HOST:PORT of this machine's, as 127.0.0.1:9445, that nothing "
                          "listens on")


def _choose(addresses: tuple[str, ...], wanted: str | None) -> str:
    """Return the address to dial.

    Raises:
        ConfigError: It is none of the server's.
    """
    if wanted is None:
        return addresses[0]
    if wanted not in addresses:
        raise ConfigError("--server is none of the consortium's addresses",
                          expected=" or ".join(addresses), found=wanted,
                          fix="name one of them, or ask the coordinator for a new answer")
    return wanted


def _quoted(text: str) -> str:
    """Return a text as TOML has it between quotation marks, without any in it: Flower ends it there."""
    return r"\u0022".join(json.dumps(part, ensure_ascii=False)[1:-1] for part in text.split('"'))
