"""Nothing about a patient crosses: all that a site sends, recorded inside the TLS, at the proxy."""

import base64
import http.server
import json
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WRAPPER = """#!{python}
import os, re, sys
path = sys.argv[sys.argv.index("-c") + 1]
text = open(path).read()
text = text.replace("location / {{", "location = /record {{ internal; "
    "proxy_pass http://127.0.0.1:{port}$request_uri; }}\\n        location / {{")
text = re.sub(r"(location = /v1/fleet/[a-z-]+ \\{{)", r"\\1 mirror /record;", text)
open(path, "w").write(text)
os.execv("{nginx}", ["nginx", *sys.argv[1:]])
"""


class Recorder(http.server.BaseHTTPRequestHandler):
    """Keeps each request whole: its first line, its headers, its body."""

    protocol_version = "HTTP/1.1"
    kept: bytearray

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.kept += f"{self.requestline}\n{self.headers}\n".encode() + body
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[int, bytearray]]:
    """A port that records what is sent there."""
    kept = bytearray()
    handler = type("Kept", (Recorder,), {"kept": kept})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], kept
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def crossed(
    tmp_path_factory: pytest.TempPathFactory, test_data: Path, phantom_cohort: Path,
    new_consortium: Callable[[Path], Any], recorded: tuple[int, bytearray],
) -> Iterator[tuple[Any, bytearray]]:
    """A run with real scans, of which some are broken, and a site whose scans vanish on the way."""
    port, kept = recorded
    made = new_consortium(tmp_path_factory.mktemp("bytes"))
    names = made.make_real_and_phantom_sites(test_data, phantom_cohort)
    scans = sorted((made.folder / "data/site-hh").glob("sub-*"))
    broken = scans[0]
    copied = Path(shutil.copytree(broken.resolve(), made.folder / "copy"))
    broken.unlink()
    copied.rename(broken)
    for scan in broken.rglob("*_T1w.nii.gz"):
        scan.write_bytes(scan.read_bytes()[:2000])
    tool = made.folder / "bin" / "nginx"
    tool.parent.mkdir()
    real = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    tool.write_text(WRAPPER.format(python=sys.executable, port=port, nginx=real))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    made.environment["PATH"] = f"{tool.parent}:{made.environment['PATH']}"
    for name in names:
        made.enrol(name)
    made.start_server()
    for name in names:
        made.start_site(name)
    made.wait_online(*names)
    made.submit(made.write_plan(min_sites=2))
    made.wait("a finished round", lambda: any(
        run["last_round"] for run in made.status()["runs"]), timeout_s=180)
    # From here on every handler of this site fails, with the path in its text.
    (made.folder / "data/site-nsk").rename(made.folder / "data/gone")
    made.follow()
    yield made, kept
    made.end_all()


def names_of_patients(made: Any) -> set[str]:
    """Return all ids, names of files, and paths of the sites."""
    found = {str(made.folder)}
    for folder in (*(made.folder / "data").iterdir(), Path(made.site("phantom"))):
        for path in folder.rglob("*") if folder.is_dir() else ():
            found.add(path.name)
            found |= {part for part in path.parts if part.startswith("sub-")}
    found |= {name.removeprefix("sub-") for name in found if name.startswith("sub-")}
    return {name for name in found if len(name) > 3 and name not in ("anat", "derivatives")}


def test_there_is_something_to_look_for_and_something_was_sent(
    crossed: tuple[Any, bytearray],
) -> None:
    made, kept = crossed
    names = names_of_patients(made)
    assert len([name for name in names if name.startswith("sub-")]) >= 12
    assert len(kept) > 1_000_000
    assert b"push-object" in kept
    assert b"site-nsk" in kept  # the agreed name, which is meant to be seen
    assert "left out" in (made.folder / "site-hh/state/site.log").read_text()
    told = made.log("site-nsk") + (made.folder / "site-nsk/state/site.log").read_text()
    assert "answering with a refusal: config" in told
    assert str(made.folder / "data/site-nsk") in told  # the detail stays at the site
    record = json.loads((made.folder / "trial/run.json").read_text())
    assert any(entry["refused"] == {"site-nsk": "config"} for stage in record["stages"]
               for entry in stage["participation"])


def test_no_id_path_or_name_of_a_file_is_in_anything_that_was_sent(
    crossed: tuple[Any, bytearray],
) -> None:
    made, kept = crossed
    sent = bytes(kept)
    for name in names_of_patients(made):
        for how in (name.encode(), name.encode("utf-16-le"), base64.b64encode(name.encode())[:-4]):
            assert len(how) < 4 or how not in sent, name


def test_none_is_in_the_servers_log_or_folder(crossed: tuple[Any, bytearray]) -> None:
    made, _ = crossed
    ids = {name for name in names_of_patients(made) if name.startswith("sub-")}
    content = made.log("server").encode() + b"".join(
        path.read_bytes() for folder in (made.folder / "coordinator", made.folder / "trial")
        for path in folder.rglob("*") if path.is_file())
    assert [name for name in ids if name.encode() in content] == []
