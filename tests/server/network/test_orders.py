"""Orders on the disk: one run at a time, and nothing else is taken for an order."""

import json
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braing3n.errors import ConfigError
from server.network.orders import Attempt, Order, OrderBook

DIGEST = "0" * 64


def order(name="one", **more):
    return Order(**{"name": name, "plan_digest": DIGEST, "out": "/runs/one",
                    "ordered": "2026-01-31T12:00:00Z", **more})


@pytest.fixture
def book(places):
    return OrderBook(places)


def file_of(book, name="one"):
    return book.folder(name) / "order.json"


def test_an_order_is_kept_with_its_plan_for_its_owner_alone(book):
    attempts = (Attempt(flower_run=1 << 62, at="2026-01-31T12:00:05Z", place="at its beginning"),)
    book.add(order(attempts=attempts, sweep="seed=3"), b"name: x\n")
    assert book.all() == [order(attempts=attempts, sweep="seed=3")]
    assert book.plan_path("one").read_bytes() == b"name: x\n"
    assert stat.S_IMODE(book.folder("one").stat().st_mode) == 0o700
    assert stat.S_IMODE(file_of(book).stat().st_mode) == 0o600


def test_where_nothing_was_ordered_there_is_nothing(book):
    assert book.all() == []
    with pytest.raises(ConfigError, match="none was ever submitted"):
        book.get(None)


def test_without_a_name_it_is_the_newest_and_a_wrong_name_is_told_with_those_that_there_are(book):
    book.add(order("b", ended="completed", ordered="2026-01-31T12:00:00Z"), b"")
    book.add(order("a", ordered="2026-01-31T12:00:01Z"), b"")
    assert [one.name for one in book.all()] == ["b", "a"]
    assert book.get(None).name == "a"
    assert book.get("b").ended == "completed"
    with pytest.raises(ConfigError, match="one of: b, a"):
        book.get("c")


def test_a_second_run_is_refused_while_one_is_not_over(book):
    book.add(order(), b"")
    with pytest.raises(ConfigError, match="another run is not over") as told:
        book.add(order("two"), b"")
    assert told.value.found == "one"
    assert not book.folder("two").exists()
    book.write(order(ended="completed"))
    book.add(order("two"), b"")


def test_a_name_is_taken_for_good(book):
    book.add(order(ended="completed"), b"first")
    with pytest.raises(ConfigError, match="there is a run one already"):
        book.add(order(), b"second")
    assert book.plan_path("one").read_bytes() == b"first"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"name": "one"}', "\x00", "[" * 100_000])
def test_a_damaged_order_is_told_with_its_place(book, content):
    book.add(order(), b"")
    file_of(book).write_text(content)
    with pytest.raises(ConfigError) as told:
        book.all()
    assert str(file_of(book)) in told.value.what
    assert "move its folder away" in told.value.fix


def test_a_copy_of_a_runs_folder_is_no_second_order_of_that_name(book):
    book.add(order(), b"")
    book.folder("one").rename(book.folder("one-backup"))
    with pytest.raises(ConfigError, match="the run one") as told:
        book.all()
    assert "one-backup" in told.value.what


KEYS = sorted(Order.model_fields)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from([DIGEST, "one", "run", "stop", "2026-01-31T12:00:00Z", "2026-02-31T12:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([*KEYS, "flower_run", "at", "place"]), inner, max_size=4), max_leaves=8)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode())
       | st.dictionaries(st.sampled_from(KEYS), VALUES).map(
           lambda change: json.dumps({**order().model_dump(mode="json"), **change}).encode()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_whatever_is_in_its_file_it_is_an_order_or_a_mistake_that_is_told(book, content):
    book.folder("one").mkdir(exist_ok=True)
    file_of(book).write_bytes(content)
    try:
        found, = book.all()
    except ConfigError:
        return
    assert found.name == "one"
    assert Order.model_validate_json(found.model_dump_json()) == found
