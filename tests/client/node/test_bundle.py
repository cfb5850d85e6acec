"""Of a server's bundle nothing is used, and code in it is refused, in whatever way it is packed."""

import contextlib
import io
import re
import stat
import struct
import time
import tracemalloc
import zipfile

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.common.config import get_fused_config_from_fab
from flwr.supercore.run import Run
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.errors import CodeError
from braing3n.protocol import software_version
from client.node.bundle import MAX_BYTES, MAX_DEFINITION_BYTES, check_bundle, is_refused, own_bundle
from server.network.bundle import copy_bundle

DEFINITION = f"""\
[project]
name = "braing3n"
version = "{software_version()}"
[tool.flwr.app]
publisher = "braing3n"
[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"
"""


def packed(definition: str = DEFINITION, *, compression: int = zipfile.ZIP_DEFLATED,
           **files: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, content in {"pyproject.toml": definition, **files}.items():
            made.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What Flower builds of the definition that our server starts runs with."""
    return build_fab_from_disk(copy_bundle(tmp_path_factory.mktemp("app") / "braing3n"))


def test_what_our_server_sends_is_a_definition_and_no_more(real: bytes) -> None:
    check_bundle(real, None)


def test_code_beside_the_definition_is_refused_and_named(real: bytes) -> None:
    buffer = io.BytesIO(real)
    with zipfile.ZipFile(buffer, "a") as made:
        made.writestr("client/app.py", "import os")
    with pytest.raises(CodeError, match=re.escape("client/app.py")):
        check_bundle(buffer.getvalue(), None)


@pytest.mark.parametrize("name", [
    "client.py", "../pyproject.toml", "/etc/passwd", "pyproject.toml/", "PYPROJECT.TOML", ".info/x",
    "./LICENSE", "sub\\LICENSE",
])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(CodeError, match="more than a definition"):
        check_bundle(packed(**{name: "x"}), None)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused() -> None:
    buffer = io.BytesIO(packed())
    with zipfile.ZipFile(buffer, "a") as made:
        made.writestr("pyproject.toml", DEFINITION)
    with pytest.raises(CodeError, match="a name twice"):
        check_bundle(buffer.getvalue(), None)


@pytest.mark.parametrize(("old", "new"), [
    ('clientapp = "client.app:app"', 'clientapp = "evil.app:app"'),
    ('clientapp = "client.app:app"', 'clientapp = "client.app:app"\nagentapp = "client.app:app"'),
    ('publisher = "braing3n"', 'publisher = "somebody"'),
    ('name = "braing3n"', 'name = "other"'),
    ("[tool.flwr.app.components]", "[tool.flwr.app.others]"),
    ("[project]", "[[project]]"),
    ('clientapp = "client.app:app"', 'clientapp = "client.app:app"\npublisher = "braing3n"'),
    ("[tool.flwr.app]", "[tool.flwr.other]"),
    ('clientapp = "client.app:app"', "clientapp = 2026-12-01"),
    ('clientapp = "client.app:app"', f"clientapp{'.a' * 4000} = 1"),
])
def test_another_app_is_refused(old: str, new: str) -> None:
    with pytest.raises(CodeError, match="of another app"):
        check_bundle(packed(DEFINITION.replace(old, new, 1)), None)


def test_a_component_does_not_stand_for_the_name_that_it_has() -> None:
    other = DEFINITION.replace('name = "braing3n"', 'name = "other"') + 'name = "braing3n"\n'
    with pytest.raises(CodeError, match="of another app"):
        check_bundle(packed(other), None)


@pytest.mark.parametrize(("version", "allowed", "fits"), [
    (software_version(), None, True), ("9.0", None, False), ("9.0", ">=9,<10", True),
    ("9.0rc1", ">=8,<10", True), (software_version(), ">=9", False), ("", None, False),
    ("new", ">=0", False), ("1!" * 60, ">=0", False),
])
def test_only_a_version_that_the_site_allows_is_taken(
    version: str, allowed: str | None, fits: bool,
) -> None:
    content = packed(DEFINITION.replace(f'"{software_version()}"', f'"{version}"'))
    if fits:
        check_bundle(content, allowed)
    else:
        with pytest.raises(CodeError, match="of another version"):
            check_bundle(content, allowed)


@pytest.mark.parametrize("version", ["1.0", "[1, 0]", "{a = 1}", "2026-12-01", "true"])
def test_a_version_that_is_no_text_is_refused(version: str) -> None:
    content = packed(DEFINITION.replace(f'"{software_version()}"', version))
    with pytest.raises(CodeError, match="of another version"):
        check_bundle(content, ">=0")


@pytest.mark.parametrize("content", [
    packed(LICENSE=b"\0" * (64 * MAX_BYTES)),  # some kilobytes that would unpack to 64 MB
    packed(LICENSE=b"\0" * (MAX_BYTES + 1), compression=zipfile.ZIP_STORED),
])
def test_a_bundle_that_is_large_or_unpacks_to_much_is_refused(content: bytes) -> None:
    with pytest.raises(CodeError, match="too large"):
        check_bundle(content, None)


def test_a_definition_that_would_take_the_parser_long_is_refused() -> None:
    began = time.monotonic()
    with pytest.raises(CodeError, match="too large"):
        check_bundle(packed(f"a{'.a' * 20_000} = 1"), None)
    with pytest.raises(CodeError, match="of another app"):
        check_bundle(packed("#" + " " * (MAX_DEFINITION_BYTES - 1)), None)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_a_bundle_that_lies_about_its_size_is_not_unpacked(method: int) -> None:
    content = bytearray(packed(" " * (32 << 20), compression=method))
    for header, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.rfind(header) + place
        content[start:start + 4] = struct.pack("<I", 100)
    tracemalloc.start()
    with pytest.raises(CodeError):
        check_bundle(bytes(content), None)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 << 20


def test_a_link_or_a_device_in_a_bundle_is_refused() -> None:
    for kind in (stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO):
        buffer = io.BytesIO(packed())
        with zipfile.ZipFile(buffer, "a") as made:
            entry = zipfile.ZipInfo("LICENSE")
            entry.external_attr = (kind | 0o777) << 16
            made.writestr(entry, "/etc/passwd")
        with pytest.raises(CodeError, match="packed in another way"):
            check_bundle(buffer.getvalue(), None)


@pytest.mark.parametrize("name", ["pyproject.toml", "LICENSE"])
def test_a_file_that_is_encrypted_is_refused(name: str) -> None:
    content = bytearray(packed(LICENSE="free"))
    for header, place, of_name in ((b"PK\x03\x04", 6, 30), (b"PK\x01\x02", 8, 46)):
        start = content.index(header)
        while bytes(content[start + of_name:start + of_name + len(name)]) != name.encode():
            start = content.index(header, start + 1)
        content[start + place] |= 1
    with pytest.raises(CodeError, match="packed in another way"):
        check_bundle(bytes(content), None)


def damaged_stream() -> bytes:
    """Return a zip file whose definition cannot be unpacked."""
    content = bytearray(packed())
    start = 30 + len("pyproject.toml")
    content[start:start + 20] = b"\xff" * 20
    return bytes(content)


@pytest.mark.parametrize("content", [
    b"", b"PK", b"no zip file", damaged_stream(), packed("no [ TOML"), packed("a = " + "[" * 5000),
    packed().replace(b"pyproject.toml", b"LICENSELICENSE"[:14]),
], ids=range(7))
def test_what_cannot_be_read_is_refused(content: bytes) -> None:
    with pytest.raises(CodeError):
        check_bundle(content, None)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_damage_to_a_bundle_is_more_than_a_refusal(data: st.DataObject) -> None:
    content = bytearray(packed(LICENSE="free", **{".info/CONTENT": "x"}))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CodeError):  # any other exception would end the SuperNode
        check_bundle(bytes(content), None)


TOML = st.recursive(
    st.sampled_from(["1", "1.5", "true", '"x"', "2026-12-01", "07:00:00", '"braing3n"']),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]"),
        st.dictionaries(st.sampled_from(["a", "name", "app"]), inner, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs.items()) + "}")),
    max_leaves=6)
KEYS = ["project", "project.name", "project.version", "tool", "tool.flwr", "tool.flwr.app",
        "tool.flwr.app.publisher", "tool.flwr.app.components", "tool.flwr.app.components.clientapp"]


@settings(max_examples=300, deadline=None)
@given(st.one_of(
    st.binary(max_size=200),
    st.dictionaries(st.sampled_from(KEYS), TOML, max_size=5).map(
        lambda pairs: packed("".join(f"{key} = {value}\n" for key, value in pairs.items())))))
def test_whatever_is_no_definition_of_ours_is_refused_and_nothing_else(content: bytes) -> None:
    with pytest.raises(CodeError):
        check_bundle(content, ">=0")


def test_flower_reads_what_the_site_shows_it_in_place_of_the_servers() -> None:
    for refused in (True, False):
        assert get_fused_config_from_fab(own_bundle(is_refused=refused), Run.create_empty(1)) == {}


def test_only_our_own_bundle_for_a_good_one_is_taken_as_such(real: bytes) -> None:
    assert not is_refused(own_bundle(is_refused=False))
    assert is_refused(own_bundle(is_refused=True))
    assert is_refused(real)
