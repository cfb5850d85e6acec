"""`braing3n server start`: SuperLink, its SuperExec and nginx, in the foreground until told to stop."""

import os
import re
import shutil
import time

from braing3n.enrolment.certificates import check_current, validity_line
from braing3n.enrolment.private_files import read_private
from braing3n.errors import ConfigError, RunFailedError
from braing3n.files import locked
from braing3n.moments import utc_now
from braing3n.service.log import ServiceLog
from braing3n.service.ports import free_port, is_taken
from braing3n.service.processes import end_left_over
from braing3n.service.programs import environment, program
from braing3n.service.supervisor import Ended, Program, Supervisor
from server.authority import load_authority, load_server_certificate
from server.consortium import ConsortiumConfig
from server.enrolling import load_roster
from server.network.bundle import copy_bundle
from server.network.loopback import write_loopback_certificate
from server.network.nginx import write_nginx_config
from server.network.places import LOOPBACK, Places
from server.network.watching import Watch

# Sites and the watch ask every few seconds; only what is refused is worth a line.
_ROUTINE = re.compile(r"uvicorn\.access.*\" [23]\d\d|Servicer\.(List|Pull|Send|Acquire)")
# How often SuperExec asks for a ServerApp to start; Flower's own is a second.
TASK_POLL_S = "0.5"
RESTART_S = 5.0
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")
MIN_FREE_BYTES = 10**9
# A program that ended so often in as many minutes is not started again.
MAX_QUICK_ENDS = 5


def serve(config: ConsortiumConfig, log: ServiceLog, health: str | None = None) -> None:
    """Run the server until SIGTERM or SIGINT.

    Args:
        config: The consortium.
        log: Where to say what happens.
        health: HOST:PORT for the standard gRPC health service of SuperLink; None is none.

    Raises:
        ConfigError: A certificate does not hold now, the port is taken, nginx is missing, the disk is
            full, or the folder cannot be used.
        RunFailedError: A program does not stay up.
    """
    places = Places.of(config)
    try:
        with locked(config.state_dir / places.lock):
            # A ServerApp outlives a server that was killed: it would hold its run's folder for ever.
            if left := end_left_over(places.flower_home):
                log.say("server", f"ended {left} processes that a killed server had left", "warning")
            _check(config, log)
            _check_health(health)
            port = _prepare(places)
            ends = QuickEnds()
            log.say("server", f"consortium {config.name} at {', '.join(config.addresses)}")
            Supervisor(programs(config, places, port, health), log, ends.judge).run(
                Watch(config, environment(places.flower_home), log))
    except BlockingIOError as error:
        raise ConfigError("a server is at work already", expected=f"one server for {config.state_dir}",
                          found="another process that holds its lock",
                          fix="stop that one first") from error


def programs(
    config: ConsortiumConfig, places: Places, port: int, health: str | None,
) -> list[Program]:
    """Return what makes up the server: SuperLink, its SuperExec, nginx."""
    flower = {**environment(places.flower_home), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": TASK_POLL_S}
    secret = ("--superexec-auth-secret-file", str(config.superexec_secret))
    superlink = (
        program("flower-superlink"), "--host", LOOPBACK, "--port", str(port),
        "--ssl-ca-certfile", str(places.authority), "--ssl-certfile", str(places.certificate),
        "--ssl-keyfile", str(places.key), "--enable-supernode-auth", "--isolation", "process",
        "--database", str(places.database), "--disable-runtime-dependency-installation", *secret,
        *(() if health is None else ("--health-server-address", health)))
    superexec = (
        program("flower-superexec"), "--runtime-api-address", f"{LOOPBACK}:{port}",
        "--root-certificates", str(places.authority), *secret)
    nginx = (_nginx(), "-e", "stderr", "-p", str(places.nginx), "-c",
             str(write_nginx_config(config, places, port)))
    return [Program("superlink", superlink, flower, places.superlink, _ROUTINE),
            Program("superexec", superexec, flower, places.superlink),
            Program("nginx", nginx, flower, places.superlink)]


class QuickEnds:
    """Restarts programs, but not for ever one that ends as soon as it starts."""

    def __init__(self) -> None:
        self._ends: dict[str, list[float]] = {}

    def judge(self, ended: Ended) -> float:
        """Return after how many seconds a program is started again.

        Raises:
            RunFailedError: It ended too often.
        """
        now = time.monotonic()
        recent = [at for at in self._ends.get(ended.name, []) if now - at < 60 * MAX_QUICK_ENDS]
        self._ends[ended.name] = [*recent, now]
        if len(recent) + 1 >= MAX_QUICK_ENDS:
            said = " | ".join(ended.lines[-5:])
            raise RunFailedError(f"{ended.name} does not stay up", expected="a program that runs",
                                 found=f"{MAX_QUICK_ENDS} ends in {MAX_QUICK_ENDS} minutes; the last "
                                 f"one said: {said or 'nothing'}", fix="mend what it says, start anew")
        return RESTART_S


def _check(config: ConsortiumConfig, log: ServiceLog) -> None:
    """Check what would only fail later, and in other words."""
    now = utc_now()
    load_roster(config)  # damaged, or another consortium's: told before anything listens
    for secret in (config.server_key, config.superexec_secret):
        read_private(secret)
    for certificate, what, fix in (
            (load_server_certificate(config), "the server's certificate",
             "run `braing3n server renew`"),
            (load_authority(config), "the CA's certificate", "docs/network.md")):
        check_current(certificate, what, now)
        line = validity_line(certificate, what, now, fix)
        log.say("server", line, "warning" if line.startswith("warning") else "info")
    if is_taken(config.port):
        raise ConfigError(f"port {config.port} is taken", expected="a port that nothing listens on",
                          found="another program, or a port that this user may not take",
                          fix="end that program, or change `port:` (ports below 1024 need root)")
    free = shutil.disk_usage(config.state_dir).free
    if free < MIN_FREE_BYTES:
        raise ConfigError(f"the disk of {config.state_dir} is nearly full", expected="1 GB at least",
                          found=f"{free / 10**9:.2f} GB", fix="make room")


def _check_health(health: str | None) -> None:
    if health is None:
        return
    host, _, port = health.rpartition(":")
    is_address = bool(host) and port.isdecimal() and 0 < int(port) < 1 << 16
    if not is_address or is_taken(int(port), host.strip("[]")):
        raise ConfigError("health cannot be served there", found=health, fix="give another --health",
                          expected="HOST:PORT of this machine's, as 127.0.0.1:9444, that nothing "
                          "listens on")


def _prepare(places: Places) -> int:
    """Make what the programs need, and return SuperLink's port."""
    places.make()
    write_loopback_certificate(places, utc_now())
    shutil.rmtree(places.app, ignore_errors=True)  # another version may have written it
    copy_bundle(places.app)
    port = free_port()
    places.write_port(port)
    return port


def _nginx() -> str:
    """Return nginx's place; that of distributions is often not in PATH of users.

    Raises:
        ConfigError: It is not installed.
    """
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), *_SBIN]))
    if found is None:
        raise ConfigError("nginx is not installed", expected="a program nginx", found="none",
                          fix="`apt install nginx-light`, or your system's package")
    return found
