"""Can the server be reached, and is it the server? Said in words before a SuperNode is started.

Flower's SuperNode tries for ever, without a cause.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from braing3n.errors import BrainG3NError, ConfigError, ServiceError

WITHIN_S = 30.0
PAUSE_S = 3.0
# Flower takes a node's signature for this long before and after its own time.
MAX_SKEW_S = 300.0
# OpenSSL's words for what is wrong with a certificate (X509_V_ERR_*).
_NOT_YET, _EXPIRED, _NAME, _ADDRESS = 9, 10, 62, 64
_ASK_TIMEOUT_S = 8.0
_LOOK_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Server:
    """What a site dials.

    Attributes:
        address: HOST:PORT.
        authority: The file with the CA's certificate.
    """

    address: str
    authority: Path

    @property
    def proxy(self) -> str | None:
        """The proxy that leads there, without its password; None is none."""
        proxies = getproxies()
        found = proxies.get("https") or proxies.get("all")
        if not found or proxy_bypass(self.address):
            return None
        return urlsplit(found if "://" in found else f"//{found}").netloc.rpartition("@")[2]


def check_reachable(server: Server, within_s: float = WITHIN_S) -> None:
    """Check that the server answers, for some time.

    Args:
        server: What to dial.
        within_s: How long to try, where it may only be away for a moment.

    Raises:
        ServiceError: It does not answer, or not as the server does, or a time is wrong.
        ConfigError: What answers is another server, by its certificate.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            return _ask(server, max(min(_ASK_TIMEOUT_S, deadline - time.monotonic()), 1.0))
        except ServiceError:
            if time.monotonic() + PAUSE_S >= deadline:
                raise
            time.sleep(PAUSE_S)


def fault_of(server: Server) -> BrainG3NError | None:
    """Ask once, and return what is wrong; None is nothing."""
    try:
        _ask(server, _LOOK_TIMEOUT_S)
    except BrainG3NError as error:
        return error
    return None


def _ask(server: Server, timeout_s: float) -> None:
    """Ask for /health once."""
    context = ssl.create_default_context(cafile=str(server.authority))
    steps: list[str] = []
    try:
        with httpx.Client(verify=context, timeout=timeout_s) as client:
            answer = client.get(f"https://{server.address}/health",
                                extensions={"trace": lambda step, _: steps.append(step)})
    except httpx.HTTPError as error:
        raise _explained(server, error, steps, timeout_s) from error
    except (ValueError, ImportError, httpx.InvalidURL) as error:  # its text may have a password
        raise ConfigError("the proxy cannot be used", expected="an HTTP proxy, as http://HOST:PORT",
                          found="another in the environment, or none that can be read",
                          fix="correct HTTPS_PROXY or ALL_PROXY") from error
    _check_clock(server, answer.headers.get("date"))
    if answer.status_code != httpx.codes.OK:
        raise _cannot(server, "it answers, but does not serve", "HTTP 200 at /health",
                      f"HTTP {answer.status_code}", "the coordinator has to look: SuperLink may be "
                      "starting, or something else is at this address")


def _check_clock(server: Server, date: str | None) -> None:
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return  # a proxy may have left it out; SuperLink itself checks each signature's time
    there = there if there.tzinfo else there.replace(tzinfo=UTC)
    skew_s = (datetime.now(UTC) - there).total_seconds()
    if abs(skew_s) > MAX_SKEW_S:
        raise ServiceError(f"the clocks here and at {server.address} differ",
                           expected=f"at most {MAX_SKEW_S:.0f} s",
                           found=f"{abs(skew_s):.0f} s, here {'later' if skew_s > 0 else 'earlier'}",
                           fix="set the clock right (NTP), here or there: Flower refuses signatures of "
                           "another time")


def _explained(
    server: Server, error: httpx.HTTPError, steps: list[str], timeout_s: float,
) -> BrainG3NError:
    """Return what went wrong in words: name, line, proxy, TLS, certificate."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _wrong_certificate(server, cause)
    tls = [step for step in steps if step.endswith((".start_tls.started", ".start_tls.complete"))]
    if isinstance(error, httpx.TimeoutException) and tls and tls[-1].endswith(".started"):
        return _no_tls(server, "nothing, though it takes connections")
    its, there = ("its", "there") if server.proxy is None else ("the proxy's", "at the proxy")
    said = (
        (socket.gaierror, f"{its} name is not known here", "a name that resolves",
         "correct the name, or this machine's DNS"),
        (ConnectionRefusedError, f"nothing listens {there}", "a server",
         "is it started? Is the port right, and does a firewall let it through?"),
        (httpx.ProxyError, "the proxy does not let it through", "a tunnel",
         "have the proxy allow CONNECT to this address, or set NO_PROXY"),
        (httpx.TimeoutException, "no answer comes", f"one within {timeout_s:.0f} s",
         "is the address right, and does a firewall let it through?"),
        (Exception, "the connection breaks", "an answer", "what answers there may not be this server"),
    )
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _no_tls(server, _found(cause))
    return next(_cannot(server, what, expected, _found(cause), fix)
                for kind, what, expected, fix in said for cause in causes if isinstance(cause, kind))


def _wrong_certificate(server: Server, cause: ssl.SSLCertVerificationError) -> BrainG3NError:
    """Return what is wrong with the certificate that was shown."""
    what, fix = {
        _NOT_YET: ("does not hold yet", "is the clock of this machine right (NTP)?"),
        _EXPIRED: ("has expired", "is the clock of this machine right (NTP)? Else the coordinator runs "
                                  "`braing3n server renew`"),
        _NAME: ("is for another name", "ask the coordinator for a new answer: the server's names "
                                       "may have changed"),
        _ADDRESS: ("is for another address", "ask the coordinator for a new answer: the server's "
                                             "addresses may have changed"),
    }.get(cause.verify_code, (
        "is by another CA", "stop, and telephone the coordinator: it is another server, or somebody is "
        "in between. A proxy that looks into TLS is not let through"))
    # A time is set right elsewhere, without anybody here: a service manager may start again.
    kind = ServiceError if cause.verify_code in (_NOT_YET, _EXPIRED) else ConfigError
    return kind(f"the certificate at {server.address} {what}",
                expected="one by the consortium's CA, for this name, that holds now",
                found=cause.verify_message, fix=fix)


def _no_tls(server: Server, found: str) -> ServiceError:
    return _cannot(server, "what answers there does not speak TLS", "TLS", found,
                   "correct the address or the port; a server without TLS is not talked to")


def _cannot(server: Server, what: str, expected: str, found: str, fix: str) -> ServiceError:
    used = f" (through the proxy {server.proxy}, by HTTPS_PROXY or ALL_PROXY)" if server.proxy else ""
    return ServiceError(f"the server at {server.address} cannot be reached: {what}{used}",
                        expected=expected, found=found, fix=fix)


def _found(cause: BaseException) -> str:
    return str(cause)[:200] or type(cause).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what caused it."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__
