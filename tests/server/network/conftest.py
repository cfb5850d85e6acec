"""A consortium's folder, sites that are enrolled, and stands-in for Flower's SuperLink and `flwr`."""

import io
import json
import shutil
import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from braing3n.enrolment.certificates import new_key
from braing3n.enrolment.node_keys import node_key_text
from braing3n.enrolment.request import make_request
from braing3n.service.log import ServiceLog
from braing3n.service.ports import free_port
from braing3n.signing import SigningKey
from server import enrolling
from server.authority import initialise
from server.consortium import load_consortium
from server.network.control import FlowerRun, Node
from server.network.loopback import write_loopback_certificate
from server.network.places import Places

# As `starting` looks for it.
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/usr/local/bin")


@pytest.fixture
def nginx():
    """Where nginx is."""
    if NGINX is None:
        pytest.skip("nginx is not installed: `apt install nginx-light`")
    return NGINX


@pytest.fixture
def settings(tmp_path):
    """The YAML of a consortium that was begun."""
    path = tmp_path / "consortium.yaml"
    path.write_text(f"name: demo\nnames: [127.0.0.1]\nport: {free_port()}\nstate_dir: state\n")
    initialise(load_consortium(path), datetime.now(UTC))
    return path


@pytest.fixture
def config(settings):
    return load_consortium(settings)


@pytest.fixture
def places(config):
    made = Places.of(config)
    made.make()
    write_loopback_certificate(made, datetime.now(UTC))
    return made


class Sites:
    """Enrols sites and revokes them, as `braing3n server` does."""

    def __init__(self, config, folder):
        self.config, self.folder = config, folder
        self.ledgers = {}
        self.now = datetime.now(UTC)

    def enrol(self, name, *, replaces_key=False):
        """Enrol a site with a new SuperNode key, and return that as the roster has it."""
        key = new_key()
        ledger = self.ledgers.setdefault(name, SigningKey(Ed25519PrivateKey.generate()))
        self.now += timedelta(seconds=1)  # an enrolment is later than the one before
        asked = make_request(name, node_key=key, ledger_key=ledger, version="0.1.0", now=self.now)
        entry = enrolling.check_enrolment(self.config, asked, replaces_key=replaces_key)
        answer = self.folder / f"{name}.{len(list(self.folder.iterdir()))}.json"
        enrolling.enrol(self.config, entry, answer, self.now, replaces_key=replaces_key)
        return node_key_text(key.public_key())

    def revoke(self, name):
        enrolling.revoke(self.config, name, self.now)


@pytest.fixture
def sites(config, tmp_path):
    return Sites(config, tmp_path)


class Log:
    """A service's log that is kept."""

    def __init__(self):
        self._stream = io.StringIO()
        self.log = ServiceLog("json", self._stream)

    @property
    def events(self):
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    @property
    def text(self):
        return "\n".join(one["text"] for one in self.events)


@pytest.fixture
def kept():
    return Log()


class FakeControl:
    """SuperLink as far as the coordinator asks it; a key that was shut out is refused, as by Flower."""

    def __init__(self):
        self.known = []
        self.flower = {}
        self.asked = []
        self.stopped = []
        self.trouble = None

    @contextmanager
    def connect(self, places):
        if self.trouble is not None:
            raise self.trouble
        yield self

    def nodes(self):
        return list(self.known)

    def node(self, key):
        return next(one for one in self.known if one.key == key)

    def set_status(self, key, status):
        self.known = [Node(one.node_id, one.key, status) if one.key == key else one
                      for one in self.known]

    def register(self, key, site):
        self.asked.append(site)
        if any(one.key == key for one in self.known):
            request = httpx.Request("POST", "https://127.0.0.1/v1/control/register-node")
            raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(409))
        self.known.append(Node(1000 + len(self.known), key, "registered"))
        return self.known[-1].node_id

    def unregister(self, node_id):
        self.set_status(next(one.key for one in self.known if one.node_id == node_id), "unregistered")

    def runs(self):
        return dict(self.flower)

    def stop(self, run_id):
        self.stopped.append(run_id)

    def end_run(self, run_id, why=""):
        self.flower[run_id] = FlowerRun(is_alive=False, why=why)

    def start_run(self):
        number = 1 << 60 | len(self.flower)
        self.flower[number] = FlowerRun(is_alive=True, why="")
        return number


@pytest.fixture
def control():
    return FakeControl()


class Upstream:
    """What stands behind nginx: takes all that comes by HTTPS, and keeps what was asked."""

    def __init__(self, places, status=200):
        self.seen = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen.append((self.command, self.path))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            setattr(Handler, f"do_{method}", Handler.answer)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(places.certificate, places.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve_upstream(places):
    """Start upstreams; all are ended with the test."""
    made = []

    def serve(*, own=places, **more):
        made.append(Upstream(own, **more))
        return made[-1]

    yield serve
    for one in made:
        one.close()


@pytest.fixture
def listening():
    """A port on loopback that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
