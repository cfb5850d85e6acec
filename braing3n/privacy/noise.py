"""Chance that nobody outside of a site can guess or repeat: noise, draws of subjects, seeds."""

import hashlib
import math
import os

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Wide = npt.NDArray[np.float64]

_DRAWS = 4           # normal numbers in each one that is given
_CHUNK = 1 << 14     # numbers made at once: what is in between then fits a core's cache
_STEP = 2.0**-53     # between neighbouring uniform numbers


class SecureRandom:
    """A keystream of AES-256 in counter mode, read as random numbers.

    What of the attacks of Mironov 2012, "On significance of the least significant bits for
    differential privacy", https://doi.org/10.1145/2382196.2382264, is closed, and what is not:

    - Closed: no output tells the generator's state, as AES is not known to be invertible without
      its key. With the usual generators, the state follows from some noise that is known, and the
      rest of the noise from the state.
    - Closed as far as is known: that floating-point noise hits some numbers and not others, so that a
      noised number excludes some values of the number below. Each normal number is the scaled
      sum of four in float64, and is rounded to float32 after it was added: to find what could
      give an output, one has to try 2^159 combinations. Holohan and Braghin 2021, "Secure random
      sampling in differential privacy", section 5.1, https://arxiv.org/abs/2107.10138
    - Not closed: this is an argument on cost and no proof. What is released is a rounded number and
      not a real one, and the theorem is on real ones; a discrete Gaussian (Canonne et al. 2020,
      https://arxiv.org/abs/2004.00010) would prove it. Sums of floating-point numbers are rounded
      too, so that a subject can move the last bits of a sum by more than its own gradient
      (Casacuberta et al. 2022, https://arxiv.org/abs/2207.10635). How long a draw takes is not
      hidden.

    One object is for one process: a fork would go on with the same numbers.

    Args:
        seed: None takes a key from the operating system. A number is for tests and benchmarks
            only: whoever knows it can subtract the noise, so nobody's data is protected.
    """

    def __init__(self, seed: int | None = None) -> None:
        key = os.urandom(32) if seed is None else hashlib.sha256(f"seed {seed}".encode()).digest()
        # A key is used once, so the counter may start anywhere.
        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self._zeros = bytes(8 * 2 * _DRAWS * _CHUNK)

    def uniforms(self, count: int) -> Wide:
        """Return (count,) float64 numbers in (0, 1), multiples of 2^-53; 0 is given as 2^-54."""
        numbers = (self._words(count) >> np.uint64(11)).astype(np.float64) * _STEP
        np.maximum(numbers, _STEP / 2, out=numbers)
        return numbers

    def gaussians(self, count: int) -> Wide:
        """Return (count,) float64 standard normal numbers.

        Each is half the sum of four. These come in pairs by Box and Muller 1958,
        https://doi.org/10.1214/aoms/1177706645, and no two of a pair are in the same sum.
        """
        numbers = np.empty(count, np.float64)
        for start in range(0, count, _CHUNK):
            piece = numbers[start : start + _CHUNK]
            piece[:] = self._sums_of_normals((len(piece) + 1) // 2)[: len(piece)]
        return numbers

    def poisson_draw(self, count: int, sample_rate: float) -> list[int]:
        """Return which of `count` subjects are drawn, each on its own with `sample_rate`, in order."""
        drawn: list[int] = np.flatnonzero(self.uniforms(count) < sample_rate).tolist()
        return drawn

    def seed63(self) -> int:
        """Return a number below 2^63, to seed the generator of one subject's masks with."""
        return int(self._words(1)[0] >> np.uint64(1))

    def _words(self, count: int) -> npt.NDArray[np.uint64]:
        size = 8 * count
        zeros = self._zeros[:size] if size <= len(self._zeros) else bytes(size)
        return np.frombuffer(self._stream.update(zeros), np.uint64)

    def _sums_of_normals(self, pairs: int) -> Wide:
        """Return (2 · pairs,) normal numbers, each the scaled sum of `_DRAWS`."""
        # PyTorch's float64 functions are vectorised, three times as fast as NumPy's.
        uniform = torch.from_numpy(self.uniforms(_DRAWS * 2 * pairs)).view(_DRAWS, 2, pairs)
        radius = uniform[:, 0].log().mul_(-2).sqrt_()                      # (4, pairs)
        angle = uniform[:, 1].mul(2 * math.pi)                             # (4, pairs)
        sums = torch.stack([(radius * angle.cos()).sum(0), (radius * angle.sin()).sum(0)])
        result: Wide = sums.div_(math.sqrt(_DRAWS)).flatten().numpy()
        return result
