"""A place that a killed node left is given back, and only by who had it."""

import time
from pathlib import Path

import httpx
import pytest
from flwr.supercore.primitives.asymmetric import generate_key_pairs

from client.node import flower, place
from client.node.place import NotKnownError, Place

KEY = generate_key_pairs()[0]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the server answers to the next call, and what it was asked."""
    told: dict[str, object] = {"status": 200, "asked": []}

    def send(self, request):
        told["asked"].append(request.node_id)  # type: ignore[attr-defined]
        status = told["status"]
        if status is None:
            raise httpx.ConnectError("away")
        asked = httpx.Request("POST", "https://127.0.0.1:9/v1/fleet/deactivate-node")
        httpx.Response(int(str(status)), request=asked).raise_for_status()

    monkeypatch.setattr(flower.FleetHttpClient, "DeactivateNode", send)
    monkeypatch.setattr(place, "EMPTY_S", 0.0)
    monkeypatch.setattr(flower.FleetHttpClient, "from_server_address", classmethod(
        lambda cls, *_, **__: cls("https://127.0.0.1:9")))
    return told


@pytest.fixture
def kept(tmp_path: Path) -> Place:
    made = Place(tmp_path / "node.json")
    made.remember(2**64 - 5, KEY)
    return made


def test_a_place_that_is_held_is_given_back_by_its_number(server, kept) -> None:
    assert kept.give_back("127.0.0.1:9", b"", KEY) is True
    assert server["asked"] == [2**64 - 5]


def test_a_place_that_was_given_back_stays_empty_for_a_while(server, kept, monkeypatch) -> None:
    monkeypatch.setattr(place, "EMPTY_S", 0.4)  # for the coordinator to notice
    began = time.monotonic()
    kept.give_back("127.0.0.1:9", b"", KEY)
    assert time.monotonic() - began >= 0.4
    server["status"] = 412
    began = time.monotonic()
    kept.give_back("127.0.0.1:9", b"", KEY)
    assert time.monotonic() - began < 0.4


def test_a_server_that_answers_with_too_much_is_as_one_that_is_away(server, kept, monkeypatch) -> None:
    def send(self, request):
        raise ValueError("the server's answer is larger")

    monkeypatch.setattr(flower.FleetHttpClient, "DeactivateNode", send)
    assert kept.give_back("127.0.0.1:9", b"", KEY) is False


@pytest.mark.parametrize("status", [412, 502, None])
def test_a_place_that_is_free_or_a_server_that_is_away_costs_no_wait(server, kept, status) -> None:
    server["status"] = status
    assert kept.give_back("127.0.0.1:9", b"", KEY) is False


def test_a_server_that_does_not_know_the_key_by_this_number_is_told_apart(server, kept) -> None:
    server["status"] = 401
    with pytest.raises(NotKnownError):
        kept.give_back("127.0.0.1:9", b"", KEY)


def test_the_number_of_another_key_is_not_used(server, kept) -> None:
    assert kept.give_back("127.0.0.1:9", b"", generate_key_pairs()[0]) is False
    assert server["asked"] == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"node_id": "x"}', None])
def test_a_file_that_is_damaged_or_gone_is_as_none(server, kept, content: str | None) -> None:
    kept.path.unlink()
    if content is not None:
        kept.path.write_text(content)
    assert kept.give_back("127.0.0.1:9", b"", KEY) is False
    assert server["asked"] == []
