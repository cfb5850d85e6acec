"""What a server may send as a run's bundle: a definition of the app that is installed here, no code.

Nothing of it is ever installed or loaded. A server that sends code is refused all the same: it does not
do what was agreed on.
"""

import io
import stat
import tomllib
import zipfile
from collections.abc import Mapping
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from braing3n.errors import CodeError
from braing3n.protocol import software_version

FILES = frozenset({"pyproject.toml", "LICENSE"})
_OWN = frozenset({".info/CONTENT"})  # what Flower adds: the digests of the others
MAX_BYTES = 1 << 20
# Ours has 6 kB. Of keys with many dots, Python's parser takes a time that grows with their square.
MAX_DEFINITION_BYTES = 1 << 14
_ENCRYPTED = 1  # of a zip entry's flags
# The least that Flower reads a definition in.
_DEFINITION = """\
[project]
name = "braing3n"
version = "0"
description = "in place of the server's"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "braing3n"
[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"
[tool.flwr.app.config]
"""
# By what a definition is ours, of whichever version.
APP = {"publisher": "braing3n", "name": "braing3n",
       "components.serverapp": "server.app:app", "components.clientapp": "client.app:app"}


def check_bundle(content: bytes, allowed: str | None) -> None:
    """Check a bundle as the server has sent it.

    Args:
        content: A zip file.
        allowed: Versions of the app, as PEP 440 writes them; None is the installed one alone.

    Raises:
        CodeError: It holds more than the definition, defines another app, or one of another version.
    """
    definition = _read(content)
    project = _table(definition, "project")
    app = _table(_table(_table(definition, "tool"), "flwr"), "app")
    parts = {f"components.{key}": value for key, value in _table(app, "components").items()}
    named = {key: value if isinstance(value, str) else type(value).__name__ for key, value in {
        "publisher": app.get("publisher"), "name": project.get("name"), **parts}.items()}
    if named != APP:
        raise _refused("of another app", str(APP), str(named)[:300])
    version = project.get("version")
    version = version[:100] if isinstance(version, str) else ""
    wanted = f"=={software_version()}" if allowed is None else allowed
    try:
        is_allowed = SpecifierSet(wanted).contains(Version(version), prereleases=True)
    except InvalidVersion:
        is_allowed = False
    if not is_allowed:
        raise _refused("of another version of the app", f"{wanted} (`plans: app_version:`)", version)


def own_bundle(*, is_refused: bool) -> bytes:
    """Return the bundle that the site's own processes are given in place of the server's.

    Flower's SuperNode reads the definition; what the server sent is not shown to it.

    Args:
        is_refused: Whether the server's was not as it should be.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, text in (("pyproject.toml", _DEFINITION), ("verdict", str(is_refused))):
            made.writestr(zipfile.ZipInfo(name), text)  # without a time: equal bytes are compared
    return buffer.getvalue()


def is_refused(content: bytes) -> bool:
    """Return whether `own_bundle` was made for a refusal; true for any other bundle."""
    return content != own_bundle(is_refused=False)


def _read(content: bytes) -> dict[str, Any]:
    """Return the definition in a bundle, which holds nothing else to speak of."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            entries = bundle.infolist()
            names = [one.filename for one in entries]
            other = sorted(set(names) - FILES - _OWN)
            if other or len(names) != len(set(names)):
                raise _refused("more than a definition", ", ".join(sorted(FILES)),
                               ", ".join(other)[:200] or "a name twice")
            if not all(map(_is_plain, entries)):
                raise _refused("packed in another way than Flower packs it", "plain files", "others")
            if len(content) > MAX_BYTES or sum(one.file_size for one in entries) > MAX_BYTES:
                raise _refused("too large", f"at most {MAX_BYTES} bytes", "more")
            with bundle.open("pyproject.toml") as stream:
                text = stream.read(MAX_DEFINITION_BYTES + 1)
            if len(text) > MAX_DEFINITION_BYTES:
                raise _refused("too large", f"a definition of {MAX_DEFINITION_BYTES} bytes", "more")
            return tomllib.loads(text.decode())
    except CodeError:
        raise
    except Exception as error:  # parsers raise all kinds, and any would end the SuperNode
        raise _refused("unreadable", "a zip file with pyproject.toml", type(error).__name__) from error


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry is a file, not encrypted, and unpacked no further than is asked for.

    Of what bzip2 and LZMA have packed, Python unpacks all at once: 400 bytes become 300 MB.
    """
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return (entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            and not entry.flag_bits & _ENCRYPTED and kind in (0, stat.S_IFREG))


def _table(above: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = above.get(key, {})
    return found if isinstance(found, dict) else {}


def _refused(how: str, expected: str, found: str) -> CodeError:
    return CodeError(f"the server's bundle is {how}", expected=expected, found=found,
                     fix="nothing of it was installed or run; ask the coordinator what it wants")
