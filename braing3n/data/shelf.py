"""Preprocessed scans of one preset, kept so that an unchanged scan is read once only."""

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.data.cache import ArrayCache, entry_key
from braing3n.data.preprocess import preprocess, preprocessing_digest
from braing3n.data.reading import load_scan, scan_files
from braing3n.data.tools.chain import PLAIN, Chain
from braing3n.errors import ScanError
from braing3n.presets import Preset


class Shelf:
    """Puts scans into the cache, and remembers by path, size and time which it has seen.

    Attributes:
        cache: The arrays; other things that are made from the volumes may be kept there too.
        preset: Fixes the preprocessing and the volumes' shape.
        chain: What is done to a scan before it is resampled.
        volume_bytes: What a volume takes in the cache.
    """

    def __init__(self, cache: ArrayCache, preset: Preset, chain: Chain = PLAIN) -> None:
        self.cache = cache
        self.preset = preset
        self.chain = chain
        self.volume_bytes = prod(preset.shape) * np.dtype(np.float16).itemsize
        self._preprocessing = preprocessing_digest(preset, chain)
        self._index = f"index-{self._preprocessing[:16]}"
        self._seen = _parse_index(cache.load_record(self._index))
        self._changed = False

    def place(self, path: Path) -> str:
        """Make sure that a scan can be used, and return its volume's key.

        Its volume is in the cache then, unless the cache's limit leaves no room for it.

        Raises:
            ScanError: The scan cannot be used. This is remembered as well.
        """
        stamp = _stamp(path)
        seen = self._seen.get(str(path))
        if seen is None or stamp is None or seen["stamp"] != stamp:
            return self._read(path, stamp)
        if "refusal" in seen:
            raise ScanError(**seen["refusal"])
        key: str = seen["key"]
        if self.cache.has(key) or not self.cache.has_room(self.volume_bytes):
            return key
        return self._read(path, stamp)

    def volume(self, key: str, path: Path) -> NDArray[np.float16]:
        """Return `preset.shape` voxels; where the cache has lost them, from the scan at `path`.

        Raises:
            ScanError: The cache has lost them, and the scan has changed or is gone.
        """
        array = self.cache.load(key)
        if array is None:
            scan = load_scan(path)
            found = entry_key(scan.digest, self._preprocessing)
            if found != key:
                raise ScanError(f"{path} has changed during the run",
                                expected=f"volume {key[:12]}", found=f"volume {found[:12]}",
                                fix="start the run again")
            array = preprocess(scan, self.preset, self.chain)
            self.cache.store(key, array)
        return array

    def save(self) -> None:
        """Write down what is remembered, if anything is new."""
        if self._changed:
            self.cache.store_record(self._index, json.dumps(self._seen).encode())
            self._changed = False

    def _read(self, path: Path, stamp: list[int] | None) -> str:
        """Read and preprocess a scan whatever is remembered, and remember the outcome."""
        seen: dict[str, Any] = {"stamp": stamp}
        try:
            scan = load_scan(path)
            key = entry_key(scan.digest, self._preprocessing)
            if not self.cache.has(key):
                self.cache.store(key, preprocess(scan, self.preset, self.chain))
            seen["key"] = key
        except ScanError as error:
            seen["refusal"] = {"what": error.what, "expected": error.expected,
                               "found": error.found, "fix": error.fix}
            raise
        finally:
            if len(seen) > 1:  # an interruption is no outcome
                self._seen[str(path)] = seen
                self._changed = True
        return key


def _stamp(path: Path) -> list[int] | None:
    """Return sizes and times of the scan's files; None where one is not there."""
    try:
        stats = [file.stat() for file in scan_files(path)]
    except OSError:
        return None
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]


def _parse_index(content: bytes | None) -> dict[str, dict[str, Any]]:
    """Return what is remembered; nothing where the record was missing or damaged."""
    index = json.loads(content or b"{}")
    return index if isinstance(index, dict) else {}
