"""Who may not connect is told why, and ends with the exit code that a service manager needs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path,
    new_consortium: Callable[[Path], Any],
) -> Iterator[Any]:
    """A server at work, with one site enrolled."""
    made = new_consortium(tmp_path_factory.mktemp("served"))
    made.make_site("site-a", phantom_cohort / "site-a")
    made.enrol("site-a")
    made.start_server()
    yield made
    made.end_all()


def test_a_site_without_a_key_is_told_to_make_one(served: Any) -> None:
    key = served.folder / "site-a/state/network/supernode.key"
    kept = key.read_bytes()
    key.unlink()
    try:
        done = served.run("site", "run", served.site("site-a"), code=2)
    finally:
        key.write_bytes(kept)
        key.chmod(0o600)
    assert "keygen" in done.stderr


def test_a_site_that_has_not_joined_is_told_so(served: Any, phantom_cohort: Path) -> None:
    served.make_site("stranger", phantom_cohort / "site-b")
    done = served.run("site", "run", served.site("stranger"), code=2)
    assert "has joined no consortium" in done.stderr


def test_a_revoked_site_is_refused_and_told_so(served: Any, phantom_cohort: Path) -> None:
    served.make_site("site-b", phantom_cohort / "site-b")
    served.enrol("site-b")
    served.start_site("site-b")
    served.wait_online("site-b")
    served.run("server", "revoke", served.settings, "site-b", "--yes")
    process = served.started["site-b"]
    assert process.wait(120) == 3, served.log("site-b")
    assert "revoked" in served.log("site-b")
    done = served.run("site", "run", served.site("site-b"), code=3, timeout_s=60)
    assert "revoked" in done.stderr


def test_a_server_with_another_ca_is_refused(served: Any) -> None:
    answer = served.folder / "site-a/state/network/answer.json"
    assert json.loads(answer.read_text())["addresses"] == [f"127.0.0.1:{served.port}"]
    other = type(served)(served.folder / "other", port=served.port)
    other.folder.mkdir()
    other.init()
    served.end("server")
    try:
        other.start_server()
        done = served.run("site", "run", served.site("site-a"), code=None, timeout_s=60)
    finally:
        other.end_all()
        served.start_server()
    assert done.returncode in (1, 2)
    assert "another CA" in done.stderr


def test_a_port_without_tls_is_refused(served: Any) -> None:
    import http.server
    import threading

    served.end("server")
    plain = http.server.HTTPServer(("127.0.0.1", served.port), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    try:
        done = served.run("site", "run", served.site("site-a"), code=None, timeout_s=60)
    finally:
        plain.shutdown()
        plain.server_close()
        served.start_server()
    assert done.returncode in (1, 2)
    assert "TLS" in done.stderr


def test_a_server_that_is_not_there_is_told_within_half_a_minute(served: Any) -> None:
    served.end("server")
    try:
        done = served.run("site", "run", served.site("site-a"), code=1, timeout_s=45)
    finally:
        served.start_server()
    assert f"127.0.0.1:{served.port}" in done.stderr
