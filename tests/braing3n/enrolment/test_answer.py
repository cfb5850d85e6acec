"""What a coordinator mails back: whole, for this site's keys, or refused."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.enrolment.answer import SiteAnswer, check_is_for, read_answer
from braing3n.enrolment.certificates import make_authority, make_server_certificate, new_key, to_pem
from braing3n.enrolment.signed_files import render, sign
from braing3n.errors import BrainG3NError, ConfigError, ProtocolError

from .conftest import NOW, ed25519, made_answer, made_site
from .test_request import VALUES


def check(answer: SiteAnswer, site) -> None:
    request = site.request()
    check_is_for(answer, site=site.name, node_key=request.node_key, ledger_key=request.ledger_key)


def test_an_answer_comes_through_the_mail_as_it_was_made(answer, site, mailed, now):
    read = read_answer(mailed(answer), now)
    assert read == answer
    check(read, site)
    assert len(render(answer)) < 2048


def test_every_edited_byte_is_found(answer, mailed, now):
    text = render(answer).encode()
    for place in range(len(text) - 1):
        edited = text[:place] + bytes([text[place] ^ 1]) + text[place + 1:]
        with pytest.raises(ProtocolError):
            read_answer(mailed(edited), now)


def test_another_ca_or_coordinator_shows_in_the_words_alone_and_does(answer, site, coordinator, mailed,
                                                                    now):
    """Who has the mail in his hands can sign an answer of his own: people have to compare."""
    swapped = to_pem(make_authority("demo", new_key(), now))
    edited = answer.model_copy(update={"authority": swapped})
    with pytest.raises(ProtocolError, match="was edited"):
        read_answer(mailed(edited), now)
    thief = ed25519()
    forged = sign(edited.model_copy(update={"coordinator_key": thief.public.text}), thief)
    check(read_answer(mailed(forged), now), site)
    words = {answer.words, forged.words, sign(edited, coordinator).words,
             made_answer(site.request(), coordinator, "other").words}
    assert len(words) == 4


def test_the_words_are_the_same_for_every_site_and_address(answer, other, coordinator):
    moved = answer.model_copy(update={"addresses": ("elsewhere:1",), "entry": answer.entry.model_copy(
        update={"site": "hospital-b"}), "seq": 7})
    assert moved.words == answer.words


def test_an_answer_for_another_site_or_for_other_keys_is_refused(answer, site, other):
    check(answer, site)
    for wrong, what in (
        (made_site("hospital-c"), "another site"), (made_site(site.name), "another SuperNode key"),
        (type(site)(site.name, site.node_key, other.ledger_key), "another ledger"),
        (type(site)(site.name, other.node_key, site.ledger_key), "another SuperNode key"),
    ):
        with pytest.raises(ProtocolError, match=f"for {what}"):
            check(answer, wrong)


def test_what_is_no_ca_is_refused_though_the_coordinator_signed_it(answer, coordinator, mailed, now):
    key = new_key()
    authority = make_authority("demo", key, now)
    server = make_server_certificate(authority, key, new_key().public_key(), ["a.org"], 90, now)
    for pem in ("", to_pem(server), to_pem(authority) * 2):
        wrong = sign(answer.model_copy(update={"authority": pem}), coordinator)
        with pytest.raises(ProtocolError):
            read_answer(mailed(wrong), now)


def test_an_expired_ca_and_a_clock_that_is_wrong_are_told(answer, mailed, now):
    path = mailed(answer)
    with pytest.raises(ConfigError, match="has expired"):
        read_answer(path, now + timedelta(days=3651))
    with pytest.raises(ConfigError, match="in the future"):
        read_answer(path, now - timedelta(minutes=6))


SITE_ANSWER = made_answer(made_site().request(), ed25519())


@given(st.sampled_from([*SiteAnswer.model_fields, "more", "entry.site", "entry.node_key"]), VALUES)
def test_any_value_in_any_place_is_refused_and_never_a_crash(tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "answer.json"
    original = SITE_ANSWER.model_dump(mode="json")
    content = json.loads(json.dumps(original))
    outer, _, inner = key.partition(".")
    (content[outer] if inner else content)[inner or outer] = value
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
    if content == original:
        return
    with pytest.raises(BrainG3NError):
        read_answer(path, NOW)
