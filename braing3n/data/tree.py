"""What a file's name and place say that it is."""

import re
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
    FOREIGN_TABLE = auto()  # the same of a table
    ARCHIVE = auto()   # several files in one, or compressed: not looked into
    PARTIAL = auto()   # a download or copy that was not finished, or a name that hides the format
    LITTER = auto()    # left behind by a system
    HIDDEN = auto()    # a hidden folder, which is not entered
    CLOSED = auto()    # what cannot be listed or reached
    AGAIN = auto()     # a link to a folder that is entered by another way
    LOST = auto()      # a link to nowhere, whose name says nothing of what should be there
    SPECIAL = auto()   # a pipe, a socket or a device, also behind a link: never opened
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
# What is no image, by its name in lower case; the first that fits.
_NAMED = tuple((re.compile(name, re.DOTALL), kind) for name, kind in (
    (r".*\.(tsv|csv|xlsx)", Kind.TABLE),
    (r".*\.json", Kind.SIDECAR),
    (r".*\.(mgz|mgh|mnc|nrrd|nhdr|mha|mhd|par|rec|nii\.(bz2|zip|xz|zst))", Kind.FOREIGN),
    (r".*\.(xls|xlsm|xlsb|ods|numbers|z?sav|por|dta|sas7bdat|xpt|rds|rda|rdata|parquet|feather"
     r"|mdb|accdb|sqlite)", Kind.FOREIGN_TABLE),
    (r".*\.(nii|hdr|img)\b.*", Kind.PARTIAL),  # `.nii.gz.part`, `T1w.nii (1).gz`, `T1w.nii.gz.1`
    # In BIDS, a compressed table of a recording is of no people.
    (r".*_(physio|physioevents|stim|eyetrack)\.tsv\.gz", Kind.OTHER),
    (r".*\.(zip|tar|7z|rar|t[gbxz]z|tbz2|tzst|gz|bz2|xz|zst|lz4|lzma|z|iso|dmg|cab)", Kind.ARCHIVE),
))
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
    if name.endswith(_IMAGE_ENDINGS):
        if suffix.lower() in _LABEL_SUFFIXES:
            return Kind.LABELS
        # A suffix follows an entity: a file that is called ASL.nii need not be perfusion.
        is_of_kind = "_" in name and suffix.lower() in _IMAGE_SUFFIXES
        is_aside = is_of_kind or _ASIDE & set(relative.parts[:-1])
        return Kind.IMAGE if is_aside else Kind.SCAN
    return next((kind for named, kind in _NAMED if named.fullmatch(name)), Kind.OTHER)
