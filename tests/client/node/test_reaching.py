"""Whatever keeps a site from its server is told in words, and what may pass is told from what stays."""

import contextlib
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from braing3n.enrolment.certificates import make_authority, make_server_certificate, new_key, to_pem
from braing3n.errors import BrainG3NError, ConfigError, ServiceError
from braing3n.service.ports import free_port
from client.node import reaching
from client.node.reaching import Server, check_reachable, fault_of

VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
             "HTTP_PROXY", "http_proxy")


@pytest.fixture(autouse=True)
def no_proxy_and_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reaching, "PAUSE_S", 0.1)


class Authority:
    """A CA, and certificates by it."""

    def __init__(self, folder: Path, name: str = "demo") -> None:
        self.folder, self.key, now = folder, new_key(), datetime.now(UTC)
        self.certificate = make_authority(name, self.key, now - timedelta(days=900))
        self.path = folder / f"{name}.crt"
        self.path.write_text(to_pem(self.certificate))

    def context(self, *names: str, days: int = 30, made: timedelta = timedelta()) -> ssl.SSLContext:
        key = new_key()
        shown = make_server_certificate(self.certificate, self.key, key.public_key(), names, days,
                                        datetime.now(UTC) + made)
        path = self.folder / "server.pem"
        path.write_text(to_pem(shown) + key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
        made_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made_context.load_cert_chain(path)
        return made_context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Start a server that answers everything alike; return its port."""
    servers: list[Any] = []

    def start(context: ssl.SSLContext | None, status: int = 200, date: str | None = None) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == "/health"
                self.send_response_only(status)
                self.send_header("Date", date or self.date_time_string())
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            made.socket = context.wrap_socket(made.socket, server_side=True)
        made.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=made.serve_forever, daemon=True).start()
        servers.append(made)
        return int(made.server_address[1])

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


def fault(server: Server, within_s: float = 0.5) -> BrainG3NError:
    with pytest.raises(BrainG3NError) as raised:
        check_reachable(server, within_s)
    return raised.value


def test_a_server_that_is_well_is_reached(authority, serve) -> None:
    port = serve(authority.context("127.0.0.1"))
    check_reachable(Server(f"127.0.0.1:{port}", authority.path))
    assert fault_of(Server(f"127.0.0.1:{port}", authority.path)) is None


def test_a_name_that_does_not_resolve_is_told(authority) -> None:
    found = fault(Server("no-such-host.invalid:9443", authority.path))
    assert isinstance(found, ServiceError)
    assert found.exit_code == 1
    assert "name is not known" in found.what


def test_a_port_where_nothing_listens_is_tried_again_and_then_told(authority, serve) -> None:
    began = time.monotonic()
    found = fault(Server(f"127.0.0.1:{free_port()}", authority.path), within_s=1.0)
    assert "nothing listens" in found.what
    assert 0.5 < time.monotonic() - began < 5


def test_a_server_that_comes_within_the_time_is_reached(authority, serve) -> None:
    port = free_port()
    context = authority.context("127.0.0.1")

    def begin() -> None:
        time.sleep(0.5)
        with socket.create_server(("127.0.0.1", port)) as listening:
            accepted, _ = listening.accept()
            with context.wrap_socket(accepted, server_side=True) as stream:
                stream.recv(4096)
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=begin)
    thread.start()
    check_reachable(Server(f"127.0.0.1:{port}", authority.path), within_s=10)
    thread.join()


def test_plain_http_in_place_of_tls_is_told(authority, serve) -> None:
    found = fault(Server(f"127.0.0.1:{serve(None)}", authority.path))
    assert "does not speak TLS" in found.what


def test_a_port_that_takes_connections_and_says_nothing_is_told(authority, monkeypatch) -> None:
    monkeypatch.setattr(reaching, "_ASK_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = fault(Server(f"127.0.0.1:{silent.getsockname()[1]}", authority.path))
    assert "does not speak TLS" in found.what


def test_a_port_that_hangs_up_is_told(authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    rude.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        found = fault(Server(f"127.0.0.1:{rude.getsockname()[1]}", authority.path))
    assert isinstance(found, ServiceError)


@pytest.mark.parametrize(("how", "word", "kind"), [
    ({"names": ("127.0.0.1",), "made": timedelta(days=-60)}, "has expired", ServiceError),
    ({"names": ("127.0.0.1",), "made": timedelta(days=2)}, "does not hold yet", ServiceError),
    ({"names": ("192.0.2.1",)}, "is for another address", ConfigError),
])
def test_a_certificate_that_is_wrong_is_told_by_what_is_wrong(
    authority, serve, how, word, kind,
) -> None:
    names = how.pop("names")
    found = fault(Server(f"127.0.0.1:{serve(authority.context(*names, **how))}", authority.path))
    assert word in found.what
    assert isinstance(found, kind)


def test_a_certificate_for_another_name_is_told(authority, serve) -> None:
    found = fault(Server(f"localhost:{serve(authority.context('fl.example.org'))}", authority.path))
    assert "is for another name" in found.what


def test_another_ca_is_told_at_once_and_is_for_a_person(authority, serve, tmp_path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    began = time.monotonic()
    found = fault(Server(f"127.0.0.1:{serve(other.context('127.0.0.1'))}", authority.path), 30)
    assert "by another CA" in found.what
    assert found.exit_code == 2
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("status", [302, 403, 404, 502])
def test_a_server_that_is_not_well_is_told_with_its_answer(authority, serve, status: int) -> None:
    found = fault(Server(f"127.0.0.1:{serve(authority.context('127.0.0.1'), status)}", authority.path))
    assert isinstance(found, ServiceError)
    assert str(status) in found.found


@pytest.mark.parametrize(("minutes", "word"), [(-10, "later"), (10, "earlier")])
def test_clocks_that_differ_are_told(authority, serve, minutes: int, word: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    found = fault(Server(f"127.0.0.1:{serve(authority.context('127.0.0.1'), date=date)}",
                         authority.path))
    assert "clocks" in found.what
    assert word in found.found


@pytest.mark.parametrize("date", ["no date", "Tue, 32 Dec 2026 10:00:00 GMT"])
def test_a_date_that_is_none_says_nothing_of_clocks(authority, serve, date: str) -> None:
    check_reachable(Server(f"127.0.0.1:{serve(authority.context('127.0.0.1'), date=date)}",
                           authority.path))


def test_a_date_without_a_zone_is_utc(authority, serve) -> None:
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S -0000")
    check_reachable(Server(f"127.0.0.1:{serve(authority.context('127.0.0.1'), date=date)}",
                           authority.path))


@contextlib.contextmanager
def proxying(answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Iterator[tuple[int, list[str]]]:
    """A proxy that takes one CONNECT at a time; yields its port and what it was asked."""
    asked: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def work() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                head = near.recv(4096).decode()
                asked.append(head)
                near.sendall(answer)
                if b" 200 " in answer:
                    host, _, port = head.split()[1].rpartition(":")
                    far = socket.create_connection((host, int(port)))
                    threading.Thread(target=copy, args=(far, near), daemon=True).start()
                    threading.Thread(target=copy, args=(near, far), daemon=True).start()
                else:
                    near.close()

    threading.Thread(target=work, daemon=True).start()
    yield listening.getsockname()[1], asked
    listening.close()


def test_a_proxy_is_used_and_tls_goes_through_it_whole(authority, serve, monkeypatch) -> None:
    port = serve(authority.context("localhost"))
    with proxying() as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        check_reachable(Server(f"localhost:{port}", authority.path))
    assert asked[0].startswith(f"CONNECT localhost:{port} ")


def test_a_proxy_is_named_in_what_went_wrong_without_its_password(authority, monkeypatch) -> None:
    with proxying(b"HTTP/1.1 403 Forbidden\r\n\r\n") as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hush@127.0.0.1:{proxy}")
        found = fault(Server("fl.example.org:9443", authority.path))
    assert asked
    assert f"the proxy 127.0.0.1:{proxy}" in found.what
    assert "does not let it through" in found.what
    assert "hush" not in str(found)


def test_a_proxy_that_is_not_there_is_not_taken_for_the_server(authority, monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    assert "nothing listens at the proxy" in fault(Server("fl.example.org:9443", authority.path)).what


def test_a_proxy_whose_name_is_not_known_is_not_taken_for_the_server(authority, monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://no-such-proxy.invalid:3128")
    found = fault(Server("fl.example.org:9443", authority.path))
    assert "the proxy's name is not known here" in found.what
    assert found.exit_code == 1


def test_a_proxy_that_says_nothing_is_told(authority, monkeypatch) -> None:
    monkeypatch.setattr(reaching, "_ASK_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        found = fault(Server("fl.example.org:9443", authority.path))
    assert "no answer comes" in found.what
    assert "through the proxy 127.0.0.1" in found.what


def test_a_proxy_that_looks_into_tls_is_taken_for_another_ca(authority, serve, monkeypatch, tmp_path,
                                                             ) -> None:
    (tmp_path / "proxy").mkdir()
    port = serve(Authority(tmp_path / "proxy", "proxy").context("localhost"))
    with proxying() as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        found = fault(Server(f"localhost:{port}", authority.path))
    assert "by another CA" in found.what
    assert found.exit_code == 2


def test_a_host_that_is_exempt_is_dialled_directly(authority, serve, monkeypatch) -> None:
    port = serve(authority.context("127.0.0.1"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(f"127.0.0.1:{port}", authority.path)
    check_reachable(server)
    assert server.proxy is None


@pytest.mark.parametrize("proxy", [
    "ftp://proxy.example.org", "http://u:hush@[::1", "socks5://127.0.0.1:1080"])
def test_a_proxy_that_is_none_is_a_mistake_in_the_settings(authority, monkeypatch, proxy) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    found = fault(Server("fl.example.org:9443", authority.path))
    assert found.exit_code == 2
    assert "hush" not in str(found)
