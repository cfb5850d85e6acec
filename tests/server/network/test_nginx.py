"""What nginx lets through to SuperLink, by its configuration and by trying."""

import http.client
import itertools
import socket
import ssl
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from braing3n.errors import ConfigError
from braing3n.service.ports import answers, free_port
from server.network.nginx import FLEET_CALLS, nginx_config, write_nginx_config
from server.network.places import Places

CALLS = [f"/v1/fleet/{call}" for call in FLEET_CALLS]
ALLOWED = {("POST", call) for call in CALLS} | {("GET", "/health"), ("HEAD", "/health")}
OTHERS = ["/", "/v1", "/v1/fleet", "/v1/fleet/", "/v1/fleet/register-node", "/v1/fleet/unregister-node",
          "/v1/control/list-runs", "/v1/control/start-run", "/v1/control/register-node",
          "/v1/runtime/acquire-task", "/v1/runtime/push-object", "/v1/responses", "/docs",
          "/openapi.json", "/V1/FLEET/GET-RUN", "/HEALTH", "/health/", "/v1/fleet/get-run/"]
DISGUISED = [
    "/v1/fleet/../control/list-runs", "/v1/fleet/get-run/../../control/list-runs",
    "/v1/fleet/%2e%2e/control/list-runs", "/v1/fleet/..%2fcontrol/list-runs",
    "/v1/fleet/%2E%2E%2Fcontrol%2Flist-runs", "/v1/fleet/get-run%2f..%2f..%2fcontrol%2flist-runs",
    "//v1/control/list-runs", "/v1//control/list-runs", "/./v1/control/list-runs",
    "/health/../v1/control/list-runs", "/health%2f..%2fv1/control/list-runs", "/health;/../v1",
    "/v1/fleet/get-run;/../../control/list-runs", "/v1/fleet/get-run%00", "/v1/fleet/get-run%20",
    "/v1/fleet/get-run%3f/../../control/list-runs", "/v1/fleet/get-run%23", "/v1\\fleet\\get-run",
    "/v1/fleet/..\\control/list-runs", "/v1/fleet/%252e%252e/control/list-runs", "/../../etc/passwd",
    "https://127.0.0.1/v1/control/list-runs", "/v1/control/list-runs?/v1/fleet/get-run",
    "/v1/control/list-runs%3f/../fleet/get-run/.."]


class Proxy:
    """A real nginx with our configuration."""

    def __init__(self, program, config, places, upstream):
        self.config, self.upstream = config, upstream
        path = write_nginx_config(config, places, upstream.port)
        self.log = places.state_dir / "nginx.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "-e", "stderr", "-p", places.nginx, "-c", path], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not answers(config.port):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def context(self):
        return ssl.create_default_context(cafile=str(self.config.ca_certificate))

    def connect(self):
        return http.client.HTTPSConnection("127.0.0.1", self.config.port, timeout=10,
                                           context=self.context())

    def ask(self, method, path, body=b""):
        connection = self.connect()
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return connection.getresponse().status
        finally:
            connection.close()

    def send(self, content, *, tls=True):
        """Send bytes as they are, and return the answer's first line."""
        plain = socket.create_connection(("127.0.0.1", self.config.port), 10)
        with self.context().wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain as line:
            line.sendall(content)
            return line.makefile("rb").readline().decode()

    def end(self):
        self.process.terminate()
        self.process.wait(10)
        return self.log.read_text()


@pytest.fixture
def start(nginx, config, places):
    """Start nginx in front of an upstream."""
    made = []

    def run(upstream):
        made.append(Proxy(nginx, config, places, upstream))
        return made[-1]

    yield run
    for one in made:
        one.end()


@pytest.fixture
def proxy(start, serve_upstream):
    return start(serve_upstream())


def test_nginx_accepts_the_configuration(nginx, config, places):
    path = write_nginx_config(config, places, 9091)
    done = subprocess.run([nginx, "-t", "-e", "stderr", "-p", places.nginx, "-c", path], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "syntax is ok" in done.stderr
    assert "warn" not in done.stderr


def test_it_listens_on_the_consortiums_port_and_asks_superlink_on_loopback_alone(config, places):
    text = nginx_config(config, places, 9091)
    assert f"listen {config.port} ssl;" in text
    assert "server 127.0.0.1:9091;" in text
    assert text.count("proxy_pass https://superlink/") == len(FLEET_CALLS) + 1
    assert "proxy_pass http:" not in text


def test_every_call_of_a_supernode_gets_through_and_health(proxy):
    for method, path in sorted(ALLOWED):
        assert proxy.ask(method, path) == 200, path
    assert set(proxy.upstream.seen) == ALLOWED


def test_every_call_that_flowers_supernode_makes_is_in_the_list():
    from pathlib import Path

    import flwr

    client = (Path(flwr.__file__).parent / "supernode").rglob("*.py")
    named = {part for path in client for part in path.read_text().split('"')
             if part.startswith("/v1/fleet/")}
    unused = {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}  # of nodes without a key
    assert named - unused == set(CALLS)


@pytest.mark.parametrize("paths", [OTHERS, DISGUISED], ids=["others", "disguised"])
def test_nothing_else_gets_through(proxy, paths):
    for path, method in itertools.product(paths, ("POST", "GET")):
        assert proxy.ask(method, path) in (400, 403), (method, path)
    assert proxy.upstream.seen == []


def test_other_methods_do_not_get_through(proxy):
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        assert proxy.ask(method, "/v1/fleet/get-run") in (400, 403, 405), method
    for method in ("POST", "PUT", "DELETE"):
        assert proxy.ask(method, "/health") == 403, method
    assert proxy.upstream.seen == []


PIECES = ["v1", "fleet", "control", "runtime", "get-run", "list-runs", "register-node", "health", ".",
          "..", "%2e", "%2e%2e", "..%2f", "%2f", "/", "//", ";", "?", "%3f", "#", "%00", "\\", "%5c",
          "%252e"]


def test_whatever_path_is_asked_for_only_what_is_listed_arrives(proxy):
    connection = proxy.connect()

    @given(st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from(["GET", "POST", "DELETE"]))
    @hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(pieces, method):
        connection.putrequest(method, "/" + "/".join(pieces))
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        connection.getresponse().read()

    ask()
    connection.close()
    assert {(method, path.partition("?")[0]) for method, path in proxy.upstream.seen} <= ALLOWED


def test_what_is_said_to_be_inside_of_a_request_is_no_second_one(proxy):
    inner = b"POST /v1/control/list-runs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    both = (b"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (len(inner) + 5))
    assert " 400 " in proxy.send(both + inner)
    assert set(proxy.upstream.seen) <= {("POST", "/v1/fleet/get-run")}


def test_a_large_request_is_refused_and_one_of_flowers_size_is_not(proxy):
    assert proxy.ask("POST", "/v1/fleet/push-object", bytes(8 << 20)) == 200
    header = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (9 << 20)
    assert " 413 " in proxy.send(header)
    chunk = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
    header = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert " 413 " in proxy.send(header + 9 * chunk)
    assert len(proxy.upstream.seen) == 1


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/v1/control/list-runs", 403)])
def test_one_address_that_asks_without_end_is_told_to_slow_down_and_does_not_fill_the_log(
        proxy, path, status):
    connection = proxy.connect()
    found = []
    for _ in range(1500):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        found.append(answer.status)
    connection.close()
    assert set(found) == {status, 429}
    assert found.count(429) > 100
    assert proxy.end().count(" 429") < found.count(429) / 10


def test_plain_http_is_refused(proxy):
    assert " 400 " in proxy.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", tls=False)
    assert proxy.upstream.seen == []


def test_old_tls_is_refused_and_new_is_not(proxy):
    def handshake(version):
        context = proxy.context()
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with (socket.create_connection(("127.0.0.1", proxy.config.port), 10) as plain,
              context.wrap_socket(plain, server_hostname="127.0.0.1") as line):
            return line.version()

    assert handshake(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert handshake(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with (pytest.warns(DeprecationWarning, match="TLSv1_1"),
          pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION")):
        handshake(ssl.TLSVersion.TLSv1_1)


def test_another_program_on_superlinks_port_gets_nothing(start, serve_upstream, tmp_path):
    from datetime import UTC, datetime

    from server.network.loopback import write_loopback_certificate

    other = Places(tmp_path / "other")
    other.make()
    write_loopback_certificate(other, datetime.now(UTC))
    proxy = start(serve_upstream(own=other))
    assert proxy.ask("POST", "/v1/fleet/push-object", b"weights") == 502
    assert proxy.upstream.seen == []


def test_only_refusals_are_in_the_log(proxy):
    proxy.ask("POST", "/v1/fleet/get-run")
    proxy.ask("POST", "/v1/control/list-runs")
    said = proxy.end()
    assert "127.0.0.1 POST /v1/control/list-runs 403" in said
    assert "get-run" not in said


@pytest.mark.parametrize("mark", [" ", ";", "{", "}", '"', "'", "$", "#", "\\", "\n", "\t", "\x7f"])
def test_a_path_that_nginx_would_read_otherwise_is_refused(config, mark):
    odd = config.model_copy(update={"state_dir": config.state_dir.with_name(f"a{mark}b")})
    with pytest.raises(ConfigError, match="state_dir"):
        nginx_config(odd, Places.of(odd), free_port())


def test_a_path_with_other_letters_is_taken_by_nginx_too(nginx, config, places):
    moved = config.model_copy(update={"state_dir": config.state_dir.with_name("Überwachung-1.2_a~b")})
    config.state_dir.rename(moved.state_dir)
    path = write_nginx_config(moved, Places.of(moved), 9091)
    subprocess.run([nginx, "-t", "-q", "-e", "stderr", "-c", path], check=True)
