"""The coordinator's copy of what sites say that they have sent: one manifest for each reply."""

from pathlib import Path

from flwr.app import Message

from braing3n.errors import ProtocolError
from braing3n.files import append_text, cut_unfinished, digest_bytes
from braing3n.manifests import (
    FILE_NAME,
    Manifest,
    load_run_manifests,
    manifest_line,
    read_manifest,
)
from braing3n.protocol import RecordSeen
from server.messages import read_doubles, read_text, read_vector


class ManifestBook:
    """Manifests of a run, held to the replies that they came with. Goes on after a crash.

    Args:
        folder: The run's folder.

    Raises:
        OutputError: The manifests there are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._last = {manifest.site: manifest for manifest in load_run_manifests(folder)}
        cut_unfinished(self._path)

    def take(
        self, site: str, kind: str, reply: Message, seen: RecordSeen | None = None,
    ) -> None:
        """Keep the manifest of a reply, if it is this reply's.

        Args:
            site: Who answered.
            kind: To what kind of message.
            reply: The answer.
            seen: The newest round record that its report says the site has seen.

        Raises:
            ProtocolError: There is none, or it is of another reply, site, key or time.
        """
        manifest = _read(reply)
        before = self._last.get(site)
        expected = (site, kind, digest_bytes(read_text(reply).encode()), _array_digest(kind, reply),
                    seen)
        found = (manifest.site, manifest.kind, manifest.report_digest, manifest.array_digest,
                 manifest.seen)
        if found != expected:
            raise _refuse("of this reply", "of another")
        if before is not None and manifest.public_key != before.public_key:
            raise _refuse("by the key that the site began with", "by another")
        if before is not None and manifest.seq <= before.seq:
            raise _refuse(f"number {before.seq + 1} or later", f"number {manifest.seq}: sent before")
        append_text(self._path, manifest_line(manifest).decode() + "\n")
        self._last[site] = manifest


def _read(reply: Message) -> Manifest:
    try:
        return read_manifest(str(reply.content.config_records["manifest"]["json"]).encode())
    except KeyError as error:
        raise _refuse("with each reply", "none") from error


def _array_digest(kind: str, reply: Message) -> str | None:
    """Return the sha256 of a reply's numbers; None where it has none.

    Raises:
        ProtocolError: They cannot be read.
    """
    if not reply.content.array_records:
        return None
    numbers = read_doubles(reply) if kind == "query.probe" else read_vector(reply)
    return digest_bytes(numbers.tobytes())


def _refuse(expected: str, found: str) -> ProtocolError:
    return ProtocolError("a reply's manifest is not what it should be", expected=f"one {expected}",
                         found=found, fix="look into that site's log and its egress.jsonl")
