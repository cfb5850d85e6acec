"""Weights as one flat array, as a file, and as a digest.

Packed into a single array, tensors cost the transport one object a message instead of one a
tensor. Names and shapes never travel: each side derives them from the network that it builds
itself, and a digest of the layout tells whether both built the same.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from braing3n.errors import DigestError, OutputError, ProtocolError
from braing3n.files import canonical_json, digest_bytes, replacing
from braing3n.payloads import PayloadType

# What `numpy.save` writes before a flat array of float32, float64, float16, or of bfloat16's bits.
# NumPy's own loader is not for bytes from strangers: it opens archives, evaluates the header, and
# makes room for any size that it claims.
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)(?P<text>\{'descr': '<(?P<kind>f4|f8|f2|u2)', "
    rb"'fortran_order': False, 'shape': \((?P<count>\d{1,15}),\), \} *\n)", re.DOTALL,
)

Vector = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
State = Mapping[str, Tensor]


def layout_digest(like: State) -> str:
    """Return the digest of the names and shapes in `like`, in packing order."""
    shapes = {name: list(like[name].shape) for name in sorted(like)}
    return digest_bytes(canonical_json(shapes))


def pack(state: State) -> Vector:
    """Return all tensors of `state` behind each other, in the order of their names.

    Raises:
        ProtocolError: A tensor is not float32; a cast would lose bits without saying so.
    """
    odd = [name for name, tensor in state.items() if tensor.dtype != torch.float32]
    if odd:
        raise ProtocolError("a tensor cannot travel", expected="float32 tensors only",
                            found=f"{odd[0]} as {state[odd[0]].dtype}",
                            fix="keep fixed buffers out of the state dict")
    flat = [state[name].detach().reshape(-1).cpu() for name in sorted(state)]
    return torch.cat(flat).numpy() if flat else np.zeros(0, np.float32)


def unpack(vector: Vector, like: State) -> dict[str, Tensor]:
    """Return the tensors in `vector`, named and shaped as those in `like`.

    Raises:
        ProtocolError: The vector's type or length does not fit, or a number is not finite.
    """
    names = sorted(like)
    sizes = [like[name].numel() for name in names]
    if vector.dtype != np.float32 or vector.shape != (sum(sizes),):
        raise ProtocolError("weights do not fit the network",
                            expected=f"{sum(sizes)} float32 numbers",
                            found=f"{vector.shape} of {vector.dtype}",
                            fix="run the same preset and software version on both sides")
    if not np.isfinite(vector).all():
        raise ProtocolError("weights cannot be used", expected="finite numbers",
                            found="NaN or infinity", fix="lower the learning rate of this stage")
    # The vector may lie in memory that the transport lends read-only.
    pieces = torch.split(torch.from_numpy(vector.copy()), sizes)
    return {name: piece.reshape(like[name].shape) for name, piece in zip(names, pieces, strict=True)}


def digest_state(state: State) -> str:
    """Return the digest of a model part: of its layout and of its packed bytes."""
    content = hashlib.sha256(layout_digest(state).encode())
    content.update(pack(state).data)
    return content.hexdigest()


def check_digest(state: State, expected: str, what: str) -> None:
    """Check that `state` is the model part that was agreed on.

    Raises:
        DigestError: It is another.
    """
    found = digest_state(state)
    if found != expected:
        raise DigestError(f"the {what} is not the one that was agreed on", expected=expected,
                          found=found, fix="remove the file, so that it is sent again")


def rounded(vector: Vector, payload: PayloadType) -> Vector:
    """Return the nearest numbers that a payload can carry; what is too large becomes infinite."""
    if payload == "float32":
        return vector
    kind = torch.bfloat16 if payload == "bfloat16" else torch.float16
    return torch.from_numpy(vector.copy()).to(kind).to(torch.float32).numpy()


def to_wire(vector: Vector, payload: PayloadType) -> npt.NDArray[Any]:
    """Return numbers that `rounded` gave in the type in which they travel; bfloat16 as its 16 bits."""
    if payload == "float16":
        return vector.astype(np.float16)
    if payload == "bfloat16":
        return (vector.view(np.uint32) >> 16).astype(np.uint16)
    return vector


def vector_from_npy(contents: Sequence[bytes]) -> Vector:
    """Read the one array of a message, in NumPy's file format, whatever payload it is.

    Raises:
        ProtocolError: There is not exactly one array, or it is not a flat array of a known type.
    """
    return read_payload(contents)[0]


def read_payload(contents: Sequence[bytes]) -> tuple[Vector, PayloadType]:
    """Return the numbers of the one array of a message, and the type in which they came.

    Raises:
        ProtocolError: As `vector_from_npy`.
    """
    payload, body = _body(contents, (b"f4", b"f2", b"u2"))
    if payload == b"f4":
        return np.frombuffer(body, np.dtype("<f4")), "float32"
    if payload == b"f2":
        return np.frombuffer(body, np.dtype("<f2")).astype(np.float32), "float16"
    bits = np.frombuffer(body, np.dtype("<u2")).astype(np.uint32) << 16
    return bits.view(np.float32), "bfloat16"


def doubles_from_npy(contents: Sequence[bytes]) -> Doubles:
    """Read the one array of a message about probes, in NumPy's file format.

    Raises:
        ProtocolError: There is not exactly one array, or it is not a flat float64 array.
    """
    return np.frombuffer(_body(contents, (b"f8",))[1], np.dtype("<f8"))


def _body(contents: Sequence[bytes], kinds: Sequence[bytes]) -> tuple[bytes, memoryview]:
    """Return the kind and the bytes of the one array, of one of these kinds."""
    expected = f"one flat array of {' or '.join(kind.decode() for kind in kinds)}"
    fix = "run the same software version on both sides"
    if len(contents) != 1:
        raise ProtocolError("weights cannot be read", expected=expected,
                            found=f"{len(contents)} arrays", fix=fix)
    header = _NPY_HEADER.match(contents[0])
    if (header is None or header["kind"] not in kinds
            or int.from_bytes(header["length"], "little") != len(header["text"])):
        raise ProtocolError("weights cannot be read", expected=expected,
                            found="bytes of another format or an array of another kind", fix=fix)
    body = memoryview(contents[0])[header.end():]
    if len(body) != int(header["kind"][1:]) * int(header["count"]):
        raise ProtocolError("weights cannot be read", expected=f"{int(header['count'])} numbers",
                            found=f"{len(body)} bytes", fix=fix)
    return header["kind"], body


def save_weights(path: Path, state: State) -> None:
    """Write `state` to a safetensors file, whole or not at all."""
    with replacing(path) as part:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, part)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        OutputError: The file is missing or damaged.
    """
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path} cannot be read", expected="a whole safetensors file",
                          found="no such file" if not path.exists() else "a damaged file",
                          fix="remove it, and run the stage that writes it again") from error
