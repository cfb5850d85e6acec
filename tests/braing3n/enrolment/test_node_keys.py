"""The SuperNode's key, held to the functions of the installed Flower that read it."""

import stat
from argparse import Namespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_public_key,
)
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, sign_message, verify_signature
from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from braing3n.enrolment.certificates import new_key
from braing3n.enrolment.node_keys import (
    NodeKey,
    is_proof,
    load_node_key,
    node_key_text,
    prove,
    write_node_key,
)
from braing3n.errors import ConfigError


def test_flower_takes_both_halves_and_verifies_one_by_the_other(tmp_path):
    write_node_key(tmp_path / "key")
    ours = load_node_key(tmp_path / "key")
    (tmp_path / "pub").write_text(node_key_text(ours.public_key()) + "\n")
    pair = _try_setup_client_authentication(Namespace(
        auth_supernode_private_key=str(tmp_path / "key"), auth_supernode_public_key=None))
    assert isinstance(pair[0], EllipticCurvePrivateKey)
    registered = bytes_to_public_key(try_load_public_key(tmp_path / "pub"))
    assert registered == pair[1] == ours.public_key()
    assert verify_signature(registered, b"now", sign_message(pair[0], b"now"))


def test_a_key_is_its_owners_alone_and_another_each_time(tmp_path):
    write_node_key(tmp_path / "a")
    write_node_key(tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()
    (tmp_path / "a").chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        load_node_key(tmp_path / "a")


@pytest.mark.parametrize("content", [
    b"", b"\xff" * 30, b"x" * 70000,
    new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
    Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
], ids=["empty", "bytes", "long", "pkcs8", "p256", "ed25519"])
def test_what_is_no_such_key_is_refused_without_a_word_of_it(tmp_path, content):
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"holds no key of a SuperNode|is too long") as error:
        load_node_key(path)
    assert error.value.__cause__ is None
    assert path.read_bytes() == content


def test_a_proof_is_of_one_key_and_one_content():
    key = new_key()
    mine, others = (node_key_text(one.public_key()) for one in (key, new_key()))
    proof = prove(key, b"x")
    assert is_proof(mine, b"x", proof)
    assert not is_proof(mine, b"y", proof)
    assert not is_proof(others, b"x", proof)
    assert not is_proof(mine, b"x", "00")


LINE = node_key_text(new_key().public_key())


@given(st.integers(0, len(LINE)), st.text(max_size=3), st.integers(0, 4))
def test_a_public_line_has_one_form(place, put, dropped):
    read = TypeAdapter(NodeKey).validate_python
    edited = LINE[:place] + put + LINE[place + dropped:]
    try:
        assert read(edited) == edited
    except ValidationError:
        return
    assert node_key_text(load_ssh_public_key(edited.encode())) == edited


def test_a_public_line_with_a_comment_or_of_another_kind_is_refused():
    same_bytes = LINE[:-3] + chr(ord(LINE[-3]) + 1) + "=="  # only bits that base64 leaves over differ
    assert load_ssh_public_key(same_bytes.encode()) == load_ssh_public_key(LINE.encode())
    for wrong in (LINE + " me@hospital", LINE + "\n", same_bytes, node_key_text(
            generate_private_key(SECP256R1()).public_key())):
        with pytest.raises(ValidationError):
            TypeAdapter(NodeKey).validate_python(wrong)
    assert TypeAdapter(NodeKey).validate_python(LINE) == LINE
