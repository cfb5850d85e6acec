"""What a site mails: whole, or refused."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.enrolment.node_keys import node_key_text, prove
from braing3n.enrolment.request import SiteRequest, read_request
from braing3n.enrolment.signed_files import render, sign
from braing3n.errors import BrainG3NError, ConfigError, ProtocolError
from braing3n.files import canonical_json

from .conftest import NOW, MadeSite, made_site


def test_a_request_comes_through_the_mail_as_it_was_made(site, mailed, now):
    request = site.request()
    text = render(request).encode()
    assert len(text) < 1024
    for content in (text, text.replace(b"\n", b"\r\n"), text + b"\n \n", text.rstrip()):
        assert read_request(mailed(content), now) == request
    assert len(request.words.split()) == 12
    assert "PRIVATE" not in text.decode()


def test_every_edited_byte_is_found(site, mailed, now):
    text = render(site.request()).encode()
    for place in range(len(text) - 1):  # the last line's end means nothing
        edited = text[:place] + bytes([text[place] ^ 1]) + text[place + 1:]
        with pytest.raises(ProtocolError):
            read_request(mailed(edited), now)


def test_who_puts_his_own_keys_in_has_other_words(site, other, mailed, now):
    forged = MadeSite(site.name, other.node_key, other.ledger_key).request()
    assert read_request(mailed(forged), now) == forged  # nothing in it is wrong but the sender
    assert forged.words != site.request().words


@pytest.mark.parametrize("whose", ["node_key", "ledger_key"])
def test_a_key_that_the_sender_does_not_have_is_refused(whose, site, other, mailed, now):
    stolen = getattr(other.request(), whose)
    edited = site.request().model_copy(update={whose: stolen})
    with pytest.raises(ProtocolError, match="was edited"):
        read_request(mailed(edited), now)
    with pytest.raises(ProtocolError, match="does not have" if whose == "node_key" else "was edited"):
        read_request(mailed(sign(edited, site.ledger_key)), now)


def test_a_proof_of_another_request_does_not_do(site, other, mailed, now):
    """Hospital B enrols hospital A's SuperNode key under its own name, with A's own proof."""
    theirs = site.request()
    mine = sign(other.request().model_copy(update={"node_key": theirs.node_key, "proof": theirs.proof}),
                other.ledger_key)
    with pytest.raises(ProtocolError, match="does not have"):
        read_request(mailed(mine), now)
    unsigned = mine.model_dump(mode="json", exclude={"proof", "signature"})
    proven = mine.model_copy(update={"proof": prove(site.node_key, canonical_json(unsigned))})
    assert read_request(mailed(sign(proven, other.ledger_key)), now).site == other.name


def test_an_old_request_and_one_from_the_future_are_refused(site, mailed, now):
    path = mailed(site.request())
    assert read_request(path, now + timedelta(days=30)).site == site.name
    with pytest.raises(ProtocolError, match="too old"):
        read_request(path, now + timedelta(days=30, seconds=1))
    assert read_request(path, now - timedelta(seconds=300)).site == site.name
    with pytest.raises(ConfigError, match="in the future") as error:
        read_request(path, now - timedelta(seconds=301))
    assert "set the clocks" in error.value.fix


def test_another_kind_of_file_is_named(site, answer, mailed, tmp_path, now):
    for content, found in (
        (answer, "a coordinator's answer"), (b"", "no such file of braing3n"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----", "must never leave"),
        (b"-----BEGIN CERTIFICATE-----", "a certificate"), (b"\xff\xfe\x00", "no such file"),
        (b'{\n "kind": "braing3n-site-request-2"\n}', "which this version does not know"),
    ):
        with pytest.raises(ProtocolError, match="another kind of file") as error:
            read_request(mailed(content), now)
        assert found in error.value.found
    with pytest.raises(ProtocolError, match="too long"):
        read_request(mailed(render(site.request()).encode() + b"x" * 4096), now)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_request(path, now)


def test_a_key_given_twice_and_another_order_are_refused(site, mailed, now):
    text = render(site.request())
    lines = text.splitlines(keepends=True)
    twice = "".join([lines[0], ' "site": "hospital-b",\n', *lines[1:]])
    other_order = "".join([lines[0], lines[2], lines[1], *lines[3:]])
    for edited in (twice, other_order, json.dumps(json.loads(text))):
        with pytest.raises(ProtocolError, match=r"not as it was made|another kind"):
            read_request(mailed(edited.encode()), now)


SITE = made_site()
REQUEST = SITE.request()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(sorted(str(value) for value in REQUEST.model_dump().values())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6)


@given(st.sampled_from([*SiteRequest.model_fields, "more"]), VALUES)
def test_any_value_in_any_place_is_refused_and_never_a_crash(tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "request.json"
    content = {**REQUEST.model_dump(mode="json"), key: value}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
    if content == REQUEST.model_dump(mode="json"):
        return
    with pytest.raises(BrainG3NError):
        read_request(path, NOW)


@given(st.binary(max_size=300) | st.integers(1, 1500).map(lambda depth: b"[" * depth)
       | st.integers(1, 200).map(lambda depth: b'{"kind": "braing3n-site-request-1", "a":' * depth))
def test_any_bytes_are_refused_and_never_a_crash(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(content)
    with pytest.raises(BrainG3NError):
        read_request(path, NOW)


def test_the_key_is_the_line_that_flower_registers(site):
    assert site.request().node_key == node_key_text(site.node_key.public_key())
