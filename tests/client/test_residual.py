"""Updates in sixteen bits: what rounding takes from one goes into the next."""

from pathlib import Path

import numpy as np
import pytest

from braing3n.errors import DivergedError
from braing3n.payloads import BYTES
from braing3n.weights import read_payload, rounded, to_wire
from client.residual import round_update


def as_npy(array: np.ndarray, folder: Path) -> bytes:
    np.save(folder / "array.npy", array)
    return (folder / "array.npy").read_bytes()


@pytest.mark.parametrize("payload", ["float32", "bfloat16", "float16"])
def test_what_is_rounded_travels_without_loss(tmp_path: Path, payload: str) -> None:
    vector = np.random.default_rng(0).normal(scale=1e-2, size=1000).astype(np.float32)
    near = rounded(vector, payload)
    wire = to_wire(near, payload)
    assert wire.nbytes == BYTES[payload] * 1000
    back, kind = read_payload([as_npy(wire, tmp_path)])
    assert kind == payload
    assert (back == near).all()
    bits = {"float32": 24, "bfloat16": 8, "float16": 11}[payload]
    assert np.abs(near - vector).max() <= np.abs(vector).max() * 2.0**-bits


@pytest.mark.parametrize("payload", ["bfloat16", "float16"])
def test_over_rounds_nothing_is_lost_but_the_last_rounding(tmp_path: Path, payload: str) -> None:
    """Without feedback, equal updates are rounded the same way each time, and errors add up."""
    update = np.random.default_rng(1).normal(scale=1e-3, size=500).astype(np.float32)
    sent = [round_update(update, payload, tmp_path, number) for number in range(50)]
    one = np.abs(rounded(update, payload) - update).max()
    whole = 50 * update.astype(np.float64)
    assert np.abs(np.sum(sent, axis=0, dtype=np.float64) - whole).max() < 2 * one
    assert np.abs(50 * rounded(update, payload).astype(np.float64) - whole).max() > 40 * one
    assert len(list(tmp_path.glob("*.residual.npy"))) == 2


def test_a_round_that_is_asked_for_again_gives_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    updates = [rng.normal(size=100).astype(np.float32) for _ in range(3)]
    first = [round_update(update, "bfloat16", tmp_path, number)
             for number, update in enumerate(updates)]
    assert (round_update(updates[2], "bfloat16", tmp_path, 2) == first[2]).all()


def test_in_full_nothing_is_kept(tmp_path: Path) -> None:
    update = np.ones(3, np.float32)
    assert round_update(update, "float32", tmp_path, 0) is update
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_large_for_sixteen_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="does not fit its payload"):
        round_update(np.full(3, 1e6, np.float32), "float16", tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
