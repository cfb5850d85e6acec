"""SuperLink's nodes follow the roster: enrolled sites may connect, others may not."""

import json

import pytest

from server.enrolling import load_roster
from server.network.control import Node
from server.network.registering import Registrar


@pytest.fixture
def bring_in_line(config, places, control, kept):
    registrar = Registrar(places, kept.log)
    return lambda: registrar.bring_in_line(control, load_roster(config))


def names_in(places):
    return json.loads(places.nodes.read_text())


def test_an_enrolled_site_may_connect_and_is_in_the_list_for_the_run(
        bring_in_line, sites, control, places, kept):
    key = sites.enrol("hospital-a")
    assert bring_in_line() == {"hospital-a": "registered"}
    assert control.known == [Node(1000, key, "registered")]
    assert names_in(places) == {"1000": "hospital-a"}
    assert "hospital-a may connect now, as node 1000" in kept.text


def test_without_sites_nobody_may_connect(bring_in_line, control, places):
    assert bring_in_line() == {}
    assert control.known == []
    assert names_in(places) == {}


def test_what_is_in_line_is_asked_of_flower_no_second_time_and_said_no_second_time(
        bring_in_line, sites, control, kept):
    sites.enrol("hospital-a")
    bring_in_line()
    said = kept.text
    bring_in_line()
    assert control.asked == ["hospital-a"]
    assert kept.text == said


def test_a_revoked_site_is_shut_out(bring_in_line, sites, control, places, kept):
    key = sites.enrol("hospital-a")
    sites.enrol("hospital-b")
    bring_in_line()
    sites.revoke("hospital-a")
    assert bring_in_line() == {"hospital-b": "registered"}
    assert control.node(key).status == "unregistered"
    assert names_in(places) == {"1001": "hospital-b"}
    assert "node 1000 may not connect any more" in kept.text


def test_of_a_site_with_a_new_key_only_that_key_may_connect(bring_in_line, sites, control, places):
    old = sites.enrol("hospital-a")
    bring_in_line()
    new = sites.enrol("hospital-a", replaces_key=True)
    assert bring_in_line() == {"hospital-a": "registered"}
    assert (control.node(old).status, control.node(new).status) == ("unregistered", "registered")
    assert names_in(places) == {"1001": "hospital-a"}


def test_a_key_that_flower_refuses_is_said_once_and_is_no_member(
        bring_in_line, sites, control, places, kept):
    control.known.append(Node(1000, sites.enrol("hospital-a"), "unregistered"))
    for _ in range(3):
        assert bring_in_line() == {"hospital-a": "refused"}
    assert names_in(places) == {}
    refusals = [one for one in kept.events if "refuses the key of hospital-a" in one["text"]]
    assert len(refusals) == 1
    assert refusals[0]["level"] == "error"
    assert "HTTP 409" in refusals[0]["text"]
    assert "needs a new SuperNode key" in refusals[0]["text"]


def test_a_node_that_somebody_else_registered_is_shut_out(bring_in_line, sites, control, places):
    sites.enrol("hospital-a")
    control.known.append(Node(1000, "another key", "online"))
    bring_in_line()
    assert control.node("another key").status == "unregistered"
    assert names_in(places) == {"1001": "hospital-a"}


def test_who_comes_and_goes_is_said_once(bring_in_line, sites, control, kept):
    key = sites.enrol("hospital-a")
    bring_in_line()
    for status in ("online", "online", "offline", "offline", "online"):
        control.set_status(key, status)
        assert bring_in_line() == {"hospital-a": status}
    assert [one["text"] for one in kept.events if " is o" in one["text"]] == [
        "hospital-a is online", "hospital-a is offline", "hospital-a is online"]
