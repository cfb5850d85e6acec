"""The coordinator holds each manifest to the reply that it came with, and keeps it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from braing3n.errors import OutputError, ProtocolError
from braing3n.files import digest_bytes
from braing3n.manifests import FILE_NAME, Content, manifest_line, read_manifest, sign_manifest
from braing3n.plan import load_plan
from braing3n.protocol import RecordSeen
from braing3n.signing import SigningKey
from client.app import app
from server.manifests import ManifestBook
from simulation.grid import LocalGrid, run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(b"o" * 32))
VECTOR = np.arange(5, dtype=np.float32)


@pytest.fixture
def book(tmp_path: Path) -> ManifestBook:
    LocalGrid(app, 1, {})  # lets messages be made, as a grid does
    return ManifestBook(tmp_path)


def reply(seq: int = 0, key: SigningKey = KEY, *, manifest: bytes | None = None, **changes: Any,
          ) -> Message:
    text = '{"a":1}'
    fields = {"site": "a", "kind": "evaluate", "num_bytes": 9,
              "report_digest": digest_bytes(text.encode()),
              "array_digest": digest_bytes(VECTOR.tobytes())}
    made = manifest_line(sign_manifest(key, Content(**(fields | changes)), seq=seq, prev="0" * 64,
                                       time="2026-12-01T00:00:00Z"))
    return Message(RecordDict({
        "message": ConfigRecord({"json": text}), "arrays": ArrayRecord({"weights": Array(VECTOR)}),
        "manifest": ConfigRecord({"json": (made if manifest is None else manifest).decode()})}),
        7, "evaluate")


def test_manifests_are_kept_and_gone_on_with(book: ManifestBook, tmp_path: Path) -> None:
    book.take("a", "evaluate", reply(0))
    book.take("a", "evaluate", reply(3))
    path = tmp_path / FILE_NAME
    assert [read_manifest(line).seq for line in path.read_bytes().splitlines()] == [0, 3]
    with path.open("ab") as stream:
        stream.write(b'{"half')
    again = ManifestBook(tmp_path)
    with pytest.raises(ProtocolError, match="manifest") as refused:
        again.take("a", "evaluate", reply(3))
    assert "sent before" in refused.value.found
    again.take("a", "evaluate", reply(4))
    assert len(path.read_bytes().splitlines()) == 3
    assert read_manifest(path.read_bytes().splitlines()[-1]).seq == 4  # not behind what was cut short
    path.write_bytes(b"nothing\n")
    with pytest.raises(OutputError, match="is damaged"):
        ManifestBook(tmp_path)


@pytest.mark.parametrize("other", [
    {"site": "b"}, {"kind": "train.pretrain"}, {"report_digest": "0" * 64}, {"array_digest": "0" * 64},
    {"array_digest": None}, {"key": OTHER, "seq": 1}, {"manifest": b"{}"}, {"manifest": b""}])
def test_a_manifest_of_something_else_is_refused(book: ManifestBook, other: dict[str, Any]) -> None:
    book.take("a", "evaluate", reply(0))
    with pytest.raises(ProtocolError, match="manifest"):
        book.take("a", "evaluate", reply(**({"seq": 1} | other)))


def test_a_changed_manifest_and_none_at_all_are_refused(book: ManifestBook) -> None:
    good = reply(0)
    line = str(good.content.config_records["manifest"]["json"]).encode()
    other = line.replace(b'"num_bytes":9', b'"num_bytes":8')
    with pytest.raises(ProtocolError, match="wrong signature"):
        book.take("a", "evaluate", reply(0, manifest=other))
    del good.content["manifest"]
    with pytest.raises(ProtocolError, match="manifest"):
        book.take("a", "evaluate", good)


def test_after_a_run_both_sides_have_the_same_manifests(tmp_path: Path, phantom_cohort: Path,
                                                        short_plan: str) -> None:
    plan = load_plan(PLANS / "demo.yaml", short_plan)
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path / "out", plan)
    run_locally(PLANS / "demo.yaml", sites, tmp_path / "out", sweep=short_plan)
    kept = (tmp_path / "out" / FILE_NAME).read_bytes().splitlines()
    own = [line for site in ("site-a", "site-b")
           for line in (tmp_path / "out" / "sites" / site / "egress.jsonl").read_bytes().splitlines()]
    assert set(kept) <= set(own)
    kinds = {read_manifest(line).kind for line in own} - {read_manifest(line).kind for line in kept}
    assert kinds == {"query.hello", "query.install"}  # which bring no numbers of patients
    assert len(kept) > 10


def test_a_manifest_that_signs_for_another_round_record_than_its_report_is_refused(
    book: ManifestBook,
) -> None:
    with pytest.raises(ProtocolError, match="manifest"):
        book.take("a", "evaluate", reply(), RecordSeen(number=3, digest="a" * 64))
    book.take("a", "evaluate", reply())
