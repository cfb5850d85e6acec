"""Every file of a folder, and what its name and place say that it is."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from braing3n.data.people.covariates import modality_of


class Kind(Enum):
    """What a file is taken for."""

    SCAN = auto()      # may be trained on, if it is sound
    LABELS = auto()    # a segmentation or a mask
    IMAGE = auto()     # a NIfTI file of another kind, such as a time series
    TABLE = auto()
    SIDECAR = auto()   # JSON
    FOREIGN = auto()   # an image in a format that is not read
    PARTIAL = auto()   # a download or copy that was not finished, or a name that hides the format
    LITTER = auto()    # left behind by a system; hidden folders
    CLOSED = auto()    # a folder that cannot be listed
    OTHER = auto()     # anything else


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes:
        path: Where it is.
        kind: What it is taken for.
        subject: From `sub-*` in its name or in a folder's, or None.
        session: From `ses-*`, or None.
        modality: `T1w`, `T2w`, `FLAIR`, `T1c`, or None where the name says nothing.
    """

    path: Path
    kind: Kind
    subject: str | None
    session: str | None
    modality: str | None


_IMAGE_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
_FOREIGN_ENDINGS = (".mgz", ".mgh", ".mnc", ".nrrd", ".nhdr", ".mha", ".mhd", ".par", ".rec", ".xls",
                    ".nii.bz2", ".nii.zip", ".nii.xz", ".nii.zst")
_TABLE_ENDINGS = (".tsv", ".csv", ".xlsx")
_LITTER = re.compile(r"\..*|~.*|.*~|thumbs\.db|desktop\.ini|__macosx|icon\r", re.IGNORECASE)
_KEPT_HIDDEN = {".bidsignore"}
_LABEL_SUFFIXES = {"dseg", "mask", "seg", "segmentation", "label", "labels", "aseg", "aparc+aseg",
                   "roi", "lesion", "lesions"}
# Suffixes of BIDS that are neither a scan to train on nor labels.
_IMAGE_SUFFIXES = {"bold", "sbref", "cbv", "phase", "dwi", "epi", "fieldmap", "phasediff", "phase1",
                   "phase2", "magnitude", "magnitude1", "magnitude2", "asl", "m0scan", "pet", "probseg",
                   "defacemask", "t2starw", "t2star", "pdw", "pdt2", "inplanet1", "inplanet2",
                   "unit1", "mp2rage", "megre", "mese", "vfa", "irt1", "tb1dam", "tb1map", "angio",
                   "t1map", "t2map", "r1map", "r2map", "r2starmap", "pdmap", "swi", "boldref", "xfm",
                   "mrsi", "svs", "mrsref", "tedana", "adc", "fa", "md", "trace", "inv1", "inv2"}
# Folders of BIDS whose images are not trained on.
_ASIDE = {"derivatives", "sourcedata", "code", "func", "dwi", "fmap", "perf", "pet", "meg", "eeg",
          "ieeg", "mrs", "stimuli", "phenotype"}
_LABEL = re.compile(r"(?:^|[_/.\s])(?P<key>sub|ses)-(?P<label>[A-Za-z0-9+]+)")


def walk(root: Path, aside: frozenset[Path] = frozenset()) -> Iterator[Entry]:
    """Give every file below `root`, in order; links to folders are followed, but not in circles.

    Args:
        root: A folder.
        aside: Folders that are left out, such as a site's own cache.

    Raises:
        OSError: The root itself cannot be listed.
    """
    with os.scandir(root):
        pass
    yield from _walk(root, root, aside, frozenset())


def _walk(root: Path, folder: Path, aside: frozenset[Path],
          above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    stat = folder.stat()
    here = (stat.st_dev, stat.st_ino)
    if here in above or folder in aside:
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        yield Entry(folder, Kind.CLOSED, None, None, None)
        return
    for entry in entries:
        path = folder / entry.name
        if _LITTER.fullmatch(entry.name) and entry.name not in _KEPT_HIDDEN:
            yield Entry(path, Kind.LITTER, None, None, None)
        elif path.is_dir():
            yield from _walk(root, path, aside, above | {here})
        elif path.exists() and not path.is_file():
            # A pipe, a socket or a device, also behind a link: opening one may wait for ever.
            yield Entry(path, Kind.LITTER, None, None, None)
        elif not _is_second_half(path):
            yield describe(path, root)


def _is_second_half(path: Path) -> bool:
    """Tell whether a file is the .img of a pair, which its .hdr stands for."""
    name = path.name
    for image, header in ((".img", ".hdr"), (".img.gz", ".hdr.gz")):
        if name.lower().endswith(image):
            return path.with_name(name[: -len(image)] + header).exists()
    return False


def describe(path: Path, root: Path) -> Entry:
    """Return what a file's name and place below `root` say of it."""
    relative = path.relative_to(root)
    found = dict(reversed([(match["key"], match["label"])
                           for match in _LABEL.finditer(relative.as_posix())]))
    subject = f"sub-{found['sub']}" if "sub" in found else None
    session = f"ses-{found['ses']}" if "ses" in found else None
    suffix = stem_of(path.name).rpartition("_")[2]
    return Entry(path, _kind(relative, suffix), subject, session,
                 modality_of(suffix, contrast="_ce-" in path.name))


def stem_of(name: str) -> str:
    """Return a file's name without its ending, such as .nii.gz."""
    return re.sub(r"\.(nii|hdr|img|tsv)(\.gz)?$|\.[^.]*$", "", name, flags=re.IGNORECASE)


def _kind(relative: Path, suffix: str) -> Kind:
    name = relative.name.lower()
    if name.endswith(_FOREIGN_ENDINGS):
        return Kind.FOREIGN
    if name.endswith(_IMAGE_ENDINGS):
        if suffix.lower() in _LABEL_SUFFIXES:
            return Kind.LABELS
        # A suffix follows an entity: a file that is called ASL.nii need not be perfusion.
        is_of_kind = "_" in name and suffix.lower() in _IMAGE_SUFFIXES
        is_aside = is_of_kind or _ASIDE & set(relative.parts[:-1])
        return Kind.IMAGE if is_aside else Kind.SCAN
    if name.endswith(_TABLE_ENDINGS):
        return Kind.TABLE
    if name.endswith(".json"):
        return Kind.SIDECAR
    # `.nii.gz.part`, `T1w.nii (1).gz`, `T1w.nii.gz.1`
    return Kind.PARTIAL if re.search(r"\.(nii|hdr|img)\b", name) else Kind.OTHER
