"""What training sees of a site: examples, and tensors from the site's own cache."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from braing3n.conditions import VARIABLES
from braing3n.config import SiteConfig
from braing3n.data.cache import ArrayCache, entry_key
from braing3n.data.cohort import open_cohort
from braing3n.data.envelope import open_envelope
from braing3n.data.examples import Example, chunks
from braing3n.data.shelf import Shelf
from braing3n.data.splits import (
    FILE_NAME,
    SIDES,
    begin_split,
    describe,
    open_split,
    strata_of,
    was_begun,
)
from braing3n.data.tools.toolbox import open_chain
from braing3n.data.visits import choose
from braing3n.data.volumes import Volume
from braing3n.errors import CohortError, ScanError
from braing3n.presets import Preset

Encode = Callable[[Tensor], Tensor]


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
        held_out: All volumes of the validation subjects; may be empty at a small site.
        test: All volumes of the test subjects; neither training nor its measurements touch them.
        skipped: Scans that cannot be used.
        notes: What was left aside or not understood. They name subjects: for this site only.
        paths: The file behind each example's key.
        shelf: Where preprocessed volumes and tokens are kept.
        encoders: What makes the tokens that are named by an encoder's digest, once it is known.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    test: tuple[Example, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    paths: Mapping[str, Path]
    shelf: Shelf
    encoders: dict[str, Encode] = field(default_factory=dict, compare=False, repr=False)

    def volumes(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, 1, X, Y, Z) float32 z-scores; a lost or damaged entry is made again.

        Raises:
            ScanError: An entry has to be made again, and its scan has changed or is gone.
        """
        batch = torch.empty((len(examples), 1, *self.shelf.preset.shape))  # (B, 1, X, Y, Z)
        for row, example in zip(batch, examples, strict=True):
            row[0] = torch.from_numpy(self._volume(example))               # (X, Y, Z)
        return batch

    def conditions(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, 6) float32; NaN is unknown."""
        rows = [example.conditions for example in examples]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(VARIABLES))

    def tokens(self, examples: Sequence[Example], encoder_digest: str) -> Tensor:
        """Return (B, N, E) float32: what `cache_tokens` has kept; (0, 0, 0) for no examples.

        A lost or damaged entry is computed again by the encoder that `cache_tokens` was given.

        Raises:
            ScanError: They are not in the cache or damaged, and there is no such encoder here.
        """
        rows = [torch.from_numpy(self._tokens(e, encoder_digest)).float() for e in examples]
        return torch.stack(rows) if rows else torch.empty(0, 0, 0)

    def cache_tokens(self, encoder_digest: str, encode: Encode, batch_size: int) -> None:
        """Keep the tokens of all examples, computing only what is missing; see `Examples`.

        Where the cache's limit leaves no room, the rest is computed whenever it is asked for.
        """
        self.encoders[encoder_digest] = encode
        examples = list({e.key: e for e in self.train + self.held_out}.values())
        for batch in chunks(examples, batch_size):
            # All of a batch or nothing: in another batch, the last bits of a product may differ, and
            # a site that was interrupted here would not come to what it would have come to.
            if all(self.shelf.cache.has(entry_key(e.key, encoder_digest)) for e in batch):
                continue
            tokens = encode(self.volumes(batch)).detach().float().cpu()  # (B, N, E)
            kept = [self.shelf.cache.store(entry_key(example.key, encoder_digest), row.numpy())
                    for example, row in zip(batch, tokens, strict=True)]
            if not all(kept):
                break

    def _volume(self, example: Example) -> NDArray[np.float16]:
        return self.shelf.volume(example.key, self.paths[example.key])

    def _tokens(self, example: Example, encoder_digest: str) -> NDArray[np.float16]:
        """Return (N, E) from the cache, or by the encoder where that has lost them."""
        key = entry_key(example.key, encoder_digest)
        array = self.shelf.cache.load(key)
        if array is None:
            if encoder_digest not in self.encoders:
                raise ScanError(f"tokens of {self.paths[example.key]} are not in the cache",
                                expected=f"tokens by encoder {encoder_digest[:12]}",
                                found="none, or a damaged file",
                                fix="run the stage again; it computes what is missing")
            tokens = self.encoders[encoder_digest](self.volumes([example]))  # (1, N, E)
            array = tokens[0].detach().float().cpu().numpy().astype(np.float16)
            self.shelf.cache.store(key, array)
        return array


def open_site_data(config: SiteConfig, preset: Preset,
                   progress: Callable[[int, int], None] | None = None) -> SiteData:
    """Find a site's scans, preprocess those that are not cached, and split them by subject.

    Scans that did not change since the last time are not read again, nor are their refusals
    looked into again: a second opening takes milliseconds.

    Args:
        config: The site's settings; cache and split are in its `state_dir`.
        preset: Fixes voxel size and shape.
        progress: Called with (done, all) after each volume.

    Raises:
        CohortError: There is no cohort, no scan of it can be used, every usable subject is held
            out, or the record of the split is damaged.
        ConfigError: The cache is encrypted with another key, or is not as the settings say; or a
            tool, a model or a template for preprocessing is not there.
    """
    cohort = open_cohort(config.data)
    record = config.state_dir / FILE_NAME
    begin_split(record, is_in_use=was_begun(config.state_dir))
    shelf = Shelf(open_cache(config), preset, open_chain(config.preprocessing, config.device))
    volumes, left_aside = choose(cohort.volumes, config.data)
    keys, skipped = _place(volumes, shelf, progress)
    usable = [volume for volume in volumes if volume.path in keys]
    strata = strata_of((volume.subject, volume.conditions) for volume in usable)
    split = open_split(record, strata, config.data)
    sides = {side: tuple(_example(volume, keys[volume.path]) for volume in usable
                         if split[volume.subject] == side)
             for side in SIDES}
    if not sides["train"]:
        raise _nothing_to_train(config, set(split), skipped)
    return SiteData(
        train=sides["train"], held_out=sides["validation"], test=sides["test"],
        skipped=tuple(skipped), paths={key: path for path, key in keys.items()}, shelf=shelf,
        notes=(shelf.chain.note(), *cohort.notes, *left_aside,
               *describe(strata, split, config.data, [volume.subject for volume in usable]),
               *_tight(config.cache.limit_gb, shelf, len(usable))),
    )


def open_cache(config: SiteConfig) -> ArrayCache:
    """Return the cache in a site's state folder, as its settings want it.

    Raises:
        ConfigError: It is encrypted and shall not be, or the reverse, or with another key.
    """
    folder, limit_gb = config.state_dir / "cache", config.cache.limit_gb
    return ArrayCache(folder, open_envelope(folder, config.cache.key_file),
                      None if limit_gb is None else round(limit_gb * 1e9))


def _place(volumes: Sequence[Volume], shelf: Shelf, progress: Callable[[int, int], None] | None,
           ) -> tuple[dict[Path, str], list[Skipped]]:
    """Return the keys of the usable scans, which are cached now, and the others."""
    keys: dict[Path, str] = {}
    skipped = []
    try:
        for done, volume in enumerate(volumes, start=1):
            try:
                keys[volume.path] = shelf.place(volume.path)
            except ScanError as error:
                skipped.append(Skipped(volume.path, str(error)))
            if progress is not None:
                progress(done, len(volumes))
    finally:
        shelf.save()  # an interrupted first time goes on where it stopped
    return keys, skipped


def _example(volume: Volume, key: str) -> Example:
    return Example(volume.subject, volume.session, volume.modality, key,
                   volume.conditions.encode())


def _tight(limit_gb: float | None, shelf: Shelf, num_volumes: int) -> tuple[str, ...]:
    """Return what to log where the cache's limit is below what a run needs."""
    tokens = shelf.preset.num_patches * shelf.preset.encoder.width * np.dtype(np.float16).itemsize
    needed_gb = num_volumes * (shelf.volume_bytes + tokens) / 1e9
    if limit_gb is None or needed_gb <= limit_gb:
        return ()
    return (f"cache.limit_gb is {limit_gb:g}, and {num_volumes} volumes and their embeddings take "
            f"{needed_gb:.2g}: what does not fit is made again whenever it is read, which is slow",)


def _nothing_to_train(config: SiteConfig, subjects: set[str],
                      skipped: list[Skipped]) -> CohortError:
    source = config.data.folder or config.data.table
    if subjects:
        return CohortError(f"{source} has nothing to train on", expected="a subject to train on",
                           found=f"{len(subjects)} subjects, all held out",
                           fix="add subjects; those that were held out once stay so")
    return CohortError(f"no scan of {source} can be used", expected="at least one good scan",
                       found=f"{len(skipped)} scans that were refused, the first as: "
                             f"{skipped[0].reason}",
                       fix="mend the scans and start again")
