"""What training sees of a site: examples, and tensors from the site's own cache."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from braing3n.conditions import VARIABLES
from braing3n.config import SiteConfig
from braing3n.data.cache import entry_key
from braing3n.data.cohort import Volume, is_held_out, open_cohort
from braing3n.data.examples import Example, chunks
from braing3n.data.shelf import Shelf
from braing3n.errors import CohortError, ScanError
from braing3n.presets import Preset


@dataclass(frozen=True)
class Skipped:
    """A scan that the run goes on without.

    Attributes:
        path: The file.
        reason: What was expected, what was found, what to do.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class SiteData:
    """A site's examples, split by subject, and their tensors.

    Attributes:
        train: What may be trained on.
        held_out: All volumes of the held-out subjects; may be empty at a small site.
        skipped: Scans that cannot be used.
        notes: What was left aside or not understood. They name subjects: for this site only.
        paths: The file behind each example's key.
        shelf: Where preprocessed volumes and tokens are kept.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    paths: Mapping[str, Path]
    shelf: Shelf

    def volumes(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, 1, X, Y, Z) float32 z-scores; a damaged cache entry is made again.

        Raises:
            ScanError: An entry has to be made again, and its scan has changed or is gone.
        """
        batch = torch.empty((len(examples), 1, *self.shelf.preset.shape))  # (B, 1, X, Y, Z)
        for row, example in zip(batch, examples, strict=True):
            voxels = self.shelf.volume(example.key, self.paths[example.key])
            row[0] = torch.from_numpy(voxels.astype(np.float32))     # (X, Y, Z)
        return batch

    def conditions(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, 6) float32; NaN is unknown."""
        rows = [example.conditions for example in examples]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(VARIABLES))

    def tokens(self, examples: Sequence[Example], encoder_digest: str) -> Tensor:
        """Return (B, N, E) float32: what `cache_tokens` has kept; (0, 0, 0) for no examples.

        Raises:
            ScanError: They are not in the cache, or were damaged there.
        """
        rows = []
        for example in examples:
            array = self.shelf.cache.load(entry_key(example.key, encoder_digest))
            if array is None:
                raise ScanError(f"tokens of {self.paths[example.key]} are not in the cache",
                                expected=f"tokens by encoder {encoder_digest[:12]}",
                                found="none, or a damaged file",
                                fix="run the stage again; it computes what is missing")
            rows.append(torch.from_numpy(array.astype(np.float32)))  # (N, E)
        return torch.stack(rows) if rows else torch.empty(0, 0, 0)

    def cache_tokens(self, encoder_digest: str, encode: Callable[[Tensor], Tensor],
                     batch_size: int) -> None:
        """Keep the tokens of all examples, computing only what is missing; see `Examples`."""
        keys = {e.key: e for e in self.train + self.held_out}
        missing = [e for key, e in keys.items()
                   if not self.shelf.cache.has(entry_key(key, encoder_digest))]
        for batch in chunks(missing, batch_size):
            tokens = encode(self.volumes(batch)).detach().float().cpu()  # (B, N, E)
            for example, row in zip(batch, tokens, strict=True):
                self.shelf.cache.store(entry_key(example.key, encoder_digest), row.numpy())


def open_site_data(config: SiteConfig, preset: Preset,
                   progress: Callable[[int, int], None] | None = None) -> SiteData:
    """Find a site's scans, preprocess those that are not cached, and split them by subject.

    Scans that did not change since the last time are not read again, nor are their refusals
    looked into again: a second opening takes milliseconds.

    Args:
        config: The site's settings; the cache is in its `state_dir`.
        preset: Fixes voxel size and shape.
        progress: Called with (done, all) after each volume.

    Raises:
        CohortError: There is no cohort, no scan of it can be used, or every usable subject is
            held out.
    """
    cohort = open_cohort(config.data)
    shelf = Shelf(config.state_dir / "cache", preset)
    train, held_out, skipped, paths = list[Example](), list[Example](), list[Skipped](), {}
    for done, volume in enumerate(cohort.volumes, start=1):
        try:
            key = shelf.place(volume.path)
        except ScanError as error:
            skipped.append(Skipped(volume.path, str(error)))
        else:
            paths[key] = volume.path
            side = held_out if is_held_out(volume.subject, config.data.held_out) else train
            side.append(_example(volume, key))
        if progress is not None:
            progress(done, len(cohort.volumes))
    shelf.save()
    if not train:
        raise _nothing_to_train(config, held_out, skipped)
    return SiteData(tuple(train), tuple(held_out), tuple(skipped), cohort.notes, paths, shelf)


def _example(volume: Volume, key: str) -> Example:
    return Example(volume.subject, volume.session, volume.modality, key,
                   volume.conditions.encode())


def _nothing_to_train(config: SiteConfig, held_out: list[Example],
                      skipped: list[Skipped]) -> CohortError:
    source = config.data.folder or config.data.table
    if held_out:
        subjects = len({example.subject for example in held_out})
        return CohortError(f"{source} has nothing to train on", expected="a subject to train on",
                           found=f"{subjects} subjects, all held out",
                           fix="lower data.held_out in the site's settings, or add subjects")
    return CohortError(f"no scan of {source} can be used", expected="at least one good scan",
                       found=f"{len(skipped)} scans that were refused, the first as: "
                             f"{skipped[0].reason}",
                       fix="mend the scans and start again")
