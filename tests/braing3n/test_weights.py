from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from braing3n.errors import DigestError, OutputError, ProtocolError
from braing3n.weights import (
    check_digest,
    digest_state,
    doubles_from_npy,
    layout_digest,
    load_weights,
    pack,
    save_weights,
    unpack,
    vector_from_npy,
)

states = st.dictionaries(
    st.text("abc.", min_size=1, max_size=4), st.lists(st.integers(0, 4), max_size=3), max_size=5
).map(lambda shapes: {name: torch.randn(shape) for name, shape in shapes.items()})


@given(states)
def test_unpacking_what_was_packed_gives_the_same_tensors(state: dict[str, Tensor]) -> None:
    back = unpack(pack(state), state)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_packing_follows_names_and_not_the_order_of_insertion() -> None:
    a, b = torch.zeros(2), torch.ones(1)
    assert pack({"b": b, "a": a}).tolist() == pack({"a": a, "b": b}).tolist() == [0, 0, 1]


def test_a_tensor_that_would_lose_bits_does_not_travel() -> None:
    with pytest.raises(ProtocolError, match="cannot travel"):
        pack({"steps": torch.tensor([1, 2])})


@pytest.mark.parametrize("vector", [
    np.zeros(3, np.float32), np.zeros(4, np.float64), np.zeros((2, 2), np.float32),
    np.array([0, np.nan, 0, 0], np.float32), np.array([0, np.inf, 0, 0], np.float32),
])
def test_a_vector_that_does_not_fit_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(ProtocolError):
        unpack(vector, {"w": torch.zeros(2, 2)})


def test_the_digest_tells_values_names_and_shapes_apart() -> None:
    base = {"w": torch.zeros(2, 2)}
    others = [{"v": torch.zeros(2, 2)}, {"w": torch.zeros(4)}, {"w": torch.ones(2, 2)}]
    assert len({digest_state(state) for state in [base, *others]}) == 4
    assert layout_digest(base) == layout_digest({"w": torch.ones(2, 2)})
    check_digest(base, digest_state(base), "encoder")
    with pytest.raises(DigestError, match="encoder"):
        check_digest(others[2], digest_state(base), "encoder")


def test_weights_come_back_from_a_file_bit_for_bit(tmp_path: Path) -> None:
    state = {"w": torch.randn(3, 2), "s": torch.tensor(4.0)}
    save_weights(tmp_path / "a" / "w.safetensors", state)
    assert digest_state(load_weights(tmp_path / "a" / "w.safetensors")) == digest_state(state)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"w\.safetensors"):
        load_weights(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    with pytest.raises(OutputError, match=r"w\.safetensors"):
        load_weights(tmp_path / "w.safetensors")


def npy(array: np.ndarray, **options: bool) -> bytes:
    stream = BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def claiming(shape: str) -> bytes:
    """Return a file whose header claims a shape, and a few numbers."""
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }"
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(12)


def test_an_array_is_read_from_numpys_format() -> None:
    vector = np.arange(5, dtype=np.float32)
    assert vector_from_npy([npy(vector)]).tolist() == vector.tolist()


@pytest.mark.parametrize("contents", [
    [], [npy(np.zeros(1, np.float32))] * 2, [b""], [b"\x93NUMPY"], [npy(np.zeros(2))],
    [npy(np.zeros((2, 2), np.float32))], [npy(np.array([{}], object), allow_pickle=True)],
    [npy(np.zeros(100, np.float32))[:-5]], [npy(np.zeros(3, np.float32)) + b"x"],
    [npy(np.zeros(3, ">f4"))], [b"PK\x03\x04 not an archive"], [claiming("(999999999999999,)")],
    [claiming("(-1,)")], [claiming("(10**9,)")], [claiming("(True,)")],
])
def test_other_bytes_than_one_flat_float32_array_are_refused(contents: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        vector_from_npy(contents)


@given(st.binary(max_size=200) | st.builds(
    lambda at, byte: claiming("(3,)")[:at] + byte + claiming("(3,)")[at + 1:],
    st.integers(0, 130), st.binary(max_size=2),
))
def test_no_bytes_end_in_anything_but_a_vector_or_a_protocol_error(content: bytes) -> None:
    try:
        vector_from_npy([content])
    except ProtocolError as error:
        assert error.code == "protocol"


def test_doubles_arrive_as_they_were_sent_and_are_not_taken_for_weights() -> None:
    numbers = np.array([0.1, -1e30, np.pi])
    assert doubles_from_npy([npy(numbers)]).tolist() == numbers.tolist()
    with pytest.raises(ProtocolError, match="cannot be read"):
        vector_from_npy([npy(numbers)])
    with pytest.raises(ProtocolError, match="cannot be read"):
        doubles_from_npy([npy(numbers.astype(np.float32))])
