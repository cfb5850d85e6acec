"""What rounding takes from an update and gives to the next: error feedback.

Source: Karimireddy et al. 2019, "Error feedback fixes SignSGD and other gradient compression schemes",
https://arxiv.org/abs/1901.09847: what was not sent is added to what is sent next, so that nothing is
lost, but late.
"""

from pathlib import Path

import numpy as np

from braing3n.errors import DivergedError
from braing3n.files import replacing
from braing3n.payloads import PayloadType
from braing3n.weights import Vector, rounded


def round_update(update: Vector, payload: PayloadType, folder: Path, round_index: int) -> Vector:
    """Return an update as its payload can carry it, and keep what that leaves over.

    Two rounds are kept, so that a round that is asked for again starts from what it started from.

    Args:
        update: As it was computed; with DP, with its noise: what is left over is then computed from
            what was noised.
        payload: The plan's.
        folder: Where the stage's moments are kept; those with DP and without have their own.
        round_index: The round.

    Raises:
        DivergedError: A number is too large for the payload.
    """
    if payload == "float32":
        return update
    earlier = [path for path in _kept(folder) if int(path.name[:5]) < round_index]
    wanted = update + np.load(earlier[-1], allow_pickle=False) if earlier else update
    sent = rounded(wanted, payload)
    if not np.isfinite(sent).all():
        raise DivergedError("an update does not fit its payload", expected=f"numbers of {payload}",
                            found=f"up to {np.abs(wanted).max():.3g}",
                            fix="plan `payload: bfloat16` or float32, or a lower learning rate")
    with replacing(folder / f"{round_index:05d}.residual.npy") as part:
        np.save(part, wanted - sent, allow_pickle=False)
    for old in _kept(folder)[:-2]:
        old.unlink()
    return sent


def _kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.residual.npy"))
