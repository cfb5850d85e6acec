"""Who is let into a run: by name, code and enrolment, at the beginning and before any later round."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict

from braing3n.errors import ConfigError
from braing3n.protocol import PROTOCOL_VERSION, Hello
from server.enrolled_nodes import load_nodes
from server.messages import Member
from server.roster import Changes, Roster
from simulation.grid import FIRST_SITE_NODE

A, B, C, D = range(FIRST_SITE_NODE, FIRST_SITE_NODE + 4)
CODE = "c" * 64


class Sites:
    """Nodes that say hello; by node: another name, another code, a refusal in place of a hello."""

    def __init__(self) -> None:
        self.names = {A: "a", B: "b", C: "c", D: "d"}
        self.codes: dict[int, str] = {}
        self.refusing: dict[int, str] = {}
        self.garbled: set[int] = set()
        self.asked: list[int] = []

    def __call__(self, message: Message, context: Context) -> Message:
        node = message.metadata.dst_node_id
        assert message.metadata.message_type == "query.hello"
        self.asked.append(node)
        if node in self.refusing:
            return Message(Error(1000, self.refusing[node]), reply_to=message)
        text = Hello(site=self.names[node], protocol=PROTOCOL_VERSION, version="0",
                     code_digest=self.codes.get(node, CODE)).model_dump_json()
        text = "{}" if node in self.garbled else text
        return Message(RecordDict({"message": ConfigRecord({"json": text})}), reply_to=message)


@pytest.fixture
def sites() -> Sites:
    return Sites()


@pytest.fixture
def grid(sites: Sites, flaky_grid: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("server.roster.expected_code_digest", lambda: CODE)
    return flaky_grid(sites, 4)


def gathered(grid: Any, nodes: Path | None = None, expected: int = 4) -> Roster:
    roster = Roster(grid, nodes)
    roster.gather(expected, 0.5)
    return roster


def names(roster: Roster) -> list[str]:
    return [member.name for member in roster.members]


def enrol(path: Path, **names: int) -> Path:
    path.write_text(json.dumps({str(node): name for name, node in names.items()}))
    return path


def test_a_node_that_comes_late_is_a_member_from_the_next_look_on(grid: Any, sites: Sites) -> None:
    grid.away = {C: 7, D: math.inf}
    roster = gathered(grid, expected=2)
    assert roster.members == (Member("a", A), Member("b", B))
    looks = [roster.look() for _ in range(6)]
    assert Changes(("c",)) in looks
    assert [look for look in looks if look.joined != ("c",)] == [Changes()] * 5
    assert names(roster) == ["a", "b", "c"]
    assert sites.asked == [A, B, C]  # each once


def test_waiting_ends_when_all_are_there_and_else_with_the_time(grid: Any) -> None:
    grid.away = {D: 3}
    assert names(gathered(grid)) == ["a", "b", "c", "d"]
    grid.away = {D: math.inf}
    assert names(gathered(grid)) == ["a", "b", "c"]


@pytest.mark.parametrize(("make", "label", "why"), [
    (lambda sites: sites.codes.update({D: "0" * 64}), f"d (node {D})", "stranger"),
    (lambda sites: sites.garbled.add(D), f"node {D}", "protocol")])
def test_a_stranger_is_recorded_and_not_asked_again(
    grid: Any, sites: Sites, make: Any, label: str, why: str
) -> None:
    make(sites)
    roster = gathered(grid)
    assert (names(roster), roster.strangers) == (["a", "b", "c"], {label: why})
    assert [roster.look() for _ in range(3)] == [Changes()] * 3
    assert sites.asked.count(D) == 1
    assert roster.strangers == {label: why}


def test_who_comes_late_with_a_name_that_is_taken_is_a_stranger_and_the_member_stays(
    grid: Any, sites: Sites
) -> None:
    grid.away = {D: 5}
    sites.names[D] = "a"
    roster = gathered(grid, expected=3)
    for _ in range(5):
        assert roster.look() == Changes()
    assert (names(roster), roster.strangers) == (["a", "b", "c"], {f"a (node {D})": "name_taken"})
    assert sites.asked.count(D) == 1


def test_a_site_that_could_not_say_hello_is_asked_again_once_a_round(grid: Any, sites: Sites) -> None:
    sites.refusing[D] = "config"
    roster = gathered(grid)
    assert roster.look() == Changes()
    assert sites.asked.count(D) == 2
    assert roster.strangers == {f"node {D}": "config"}
    sites.refusing.clear()
    assert roster.look() == Changes(("d",))
    assert (names(roster), roster.strangers) == (["a", "b", "c", "d"], {})
    assert roster.look() == Changes()
    assert sites.asked.count(D) == 3


def test_a_member_that_is_gone_stays_a_member(grid: Any) -> None:
    roster = gathered(grid)
    grid.away = {B: math.inf}
    assert roster.look() == Changes()
    assert Member("b", B) in roster.members


def test_a_site_of_an_earlier_start_is_asked_nothing_before_it_has_said_hello(
    grid: Any, sites: Sites
) -> None:
    grid.away = {C: 6, D: math.inf}
    roster = gathered(grid, expected=2)
    roster.expect(["a", "c", "d"])
    assert roster.members == (Member("a", A), Member("b", B), Member("c", None, "unreachable"),
                              Member("d", None, "unreachable"))
    for _ in range(6):
        assert roster.look() == Changes()
    assert roster.members == (Member("a", A), Member("b", B), Member("c", C),
                              Member("d", None, "unreachable"))


def test_a_node_speaks_only_for_the_site_that_it_was_enrolled_as(
    grid: Any, sites: Sites, tmp_path: Path
) -> None:
    sites.names[C] = "a"  # as a hospital would that wants to be another
    roster = gathered(grid, enrol(tmp_path / "nodes.json", a=A, b=B, c=C), expected=3)
    assert names(roster) == ["a", "b"]
    assert roster.strangers == {f"a (node {C})": "impostor", f"node {D}": "unknown_node"}
    assert [roster.look() for _ in range(2)] == [Changes()] * 2
    assert sites.asked == [A, B, C]  # the unknown node never


def test_a_node_that_is_enrolled_during_the_run_joins(grid: Any, sites: Sites, tmp_path: Path) -> None:
    nodes = enrol(tmp_path / "nodes.json", a=A, b=B)
    roster = gathered(grid, nodes, expected=2)
    assert names(roster) == ["a", "b"]
    enrol(nodes, a=A, b=B, d=D)
    assert roster.look() == Changes(("d",))
    assert (names(roster), roster.strangers) == (["a", "b", "d"], {f"node {C}": "unknown_node"})


def test_only_enrolled_nodes_are_waited_for(grid: Any, tmp_path: Path) -> None:
    grid.away = {A: 4}
    roster = gathered(grid, enrol(tmp_path / "nodes.json", a=A, b=B), expected=2)
    assert names(roster) == ["a", "b"]


def test_a_site_that_is_revoked_is_told_once_and_asked_nothing(
    grid: Any, sites: Sites, tmp_path: Path
) -> None:
    nodes = enrol(tmp_path / "nodes.json", a=A, b=B, c=C, d=D)
    roster = gathered(grid, nodes)
    enrol(nodes, a=A, c=C, d=D)
    assert roster.look() == Changes((), ("b",))
    assert Member("b", None, "revoked") in roster.members
    assert roster.look() == Changes()
    assert (names(roster), roster.strangers) == (["a", "c", "d"], {})
    assert sites.asked == [A, B, C, D]


def test_a_revoked_site_of_an_earlier_start_is_told_as_well(grid: Any, tmp_path: Path) -> None:
    grid.away = {C: math.inf, D: math.inf}
    roster = gathered(grid, enrol(tmp_path / "nodes.json", a=A, b=B, c=C), expected=2)
    roster.expect(["a", "b", "c", "d"])
    assert roster.look() == Changes((), ("d",))
    assert Member("c", None, "unreachable") in roster.members
    assert Member("d", None, "revoked") in roster.members


@pytest.mark.parametrize("is_back", [True, False])
def test_a_site_that_changes_its_key_goes_on_as_its_new_node(
    grid: Any, sites: Sites, tmp_path: Path, is_back: bool
) -> None:
    grid.away = {} if is_back else {D: math.inf}
    nodes = enrol(tmp_path / "nodes.json", a=A, b=B, c=C)
    roster = gathered(grid, nodes, expected=3)
    sites.names[D] = "b"
    enrol(nodes, a=A, c=C, b=D)
    assert roster.look() == (Changes() if is_back else Changes((), ("b",)))
    assert Member("b", *((D, None) if is_back else (None, "revoked"))) in roster.members
    grid.away = {}
    assert roster.look() == (Changes() if is_back else Changes(("b",)))
    assert Member("b", D) in roster.members
    assert (names(roster), roster.strangers) == (["a", "b", "c"], {})


@pytest.mark.parametrize("content", [None, "", "[]", '{"1": 2}', '{"a": "b"}', '{"1": "No Name"}',
                                     '{"01": "a"}'])
def test_a_file_of_nodes_that_cannot_be_read_shuts_nobody_out(
    grid: Any, tmp_path: Path, content: str | None
) -> None:
    nodes = enrol(tmp_path / "nodes.json", a=A, b=B, c=C, d=D)
    roster = gathered(grid, nodes)
    nodes.unlink()
    if content is not None:
        nodes.write_text(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        roster.look()
    assert names(roster) == ["a", "b", "c", "d"]


def test_the_file_of_nodes_is_read_as_the_server_writes_it(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.json"
    nodes.write_text(json.dumps({"18446744073709551615": "hospital-a"}, indent=1) + "\n")
    assert load_nodes(nodes) == {2**64 - 1: "hospital-a"}
