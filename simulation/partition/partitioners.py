"""Who is in which part, by the partitioners of flwr-datasets: the unit is the subject.

They come with Hugging Face's `datasets`, which takes seconds to import and is kept off the network
and the disk: tables live in memory alone.
"""

import contextlib
import io
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from braing3n.errors import CohortError, ConfigError

By = Literal["site", "site-groups", "dirichlet", "iid"]
LabelName = Literal["diagnosis", "sex", "site", "modality"]

_NEEDED: Mapping[By, tuple[str, ...]] = {
    "site": (), "site-groups": ("group_size",), "dirichlet": ("parts", "alpha", "variable"),
    "iid": ("parts",)}
_DRAWN = ("dirichlet", "iid")
# Outside of these numpy's draws of a Dirichlet distribution are all of one part, or all equal.
_ALPHAS = (1e-3, 1e6)
_MAX_NAME = 60
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Scheme:
    """How people are divided.

    Attributes:
        by: `site`: each site is a part. `site-groups`: several sites together, in order of their
            names. `dirichlet`: parts that differ in a variable, more so the smaller alpha is (Hsu et
            al. 2019, https://arxiv.org/abs/1909.06335). `iid`: at random.
        group_size: Sites of a group; the last may have fewer.
        parts: How many.
        alpha: The concentration of the Dirichlet distribution, 0.001 to 1e6.
        variable: What the parts differ in.
        seed: Of dirichlet and iid; None is 0.
    """

    by: By = "site"
    group_size: int | None = None
    parts: int | None = None
    alpha: float | None = None
    variable: LabelName | None = None
    seed: int | None = None

    def check(self) -> None:
        """Check that what the scheme needs is given, and nothing else.

        Raises:
            ConfigError: It is not.
        """
        given = {name for name in ("group_size", "parts", "alpha", "variable")
                 if getattr(self, name) is not None}
        needed = set(_NEEDED[self.by])
        if given != needed:
            raise ConfigError(
                f"--by {self.by} does not go with these options",
                expected=_options(needed) or "no other option",
                found=_options(given) or "none of them", fix="correct them")
        if self.seed is not None and (self.by not in _DRAWN or self.seed < 0):
            raise ConfigError("the seed is of no use", expected="0 or more, with --by dirichlet or iid",
                              found=f"--by {self.by} --seed {self.seed}", fix="leave it out")
        for name, least in (("group_size", 1), ("parts", 2)):
            number = getattr(self, name)
            if number is not None and number < least:
                raise ConfigError(f"{_options([name])} is too small", expected=f"{least} or more",
                                  found=str(number), fix="give a larger one")
        low, high = _ALPHAS
        if self.alpha is not None and not (math.isfinite(self.alpha) and low <= self.alpha <= high):
            raise ConfigError("--alpha is out of range", expected=f"{low:g} to {high:g}",
                              found=f"{self.alpha:g}", fix="use 0.1 to 1 for parts that differ, "
                              "100 for parts that are alike")

    def as_dict(self) -> dict[str, Any]:
        """Return what says how it was done, for a record."""
        known = {"by": self.by, "group_size": self.group_size, "parts": self.parts,
                 "alpha": self.alpha, "variable": self.variable,
                 "seed": self.seed or 0 if self.by in _DRAWN else None}
        return {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True)
class Member:
    """A subject that is to be put into a part.

    Attributes:
        subject: The id.
        site: Where it is at home.
        label: Its class of the scheme's variable.
    """

    subject: str
    site: str
    label: str


def assign(members: Sequence[Member], scheme: Scheme) -> dict[str, list[str]]:
    """Return the subjects of each part, by the part's name; each subject is in one.

    The same members give the same parts, in whatever order they come.

    Raises:
        CohortError: There are fewer subjects than parts, or no draw gives every part a subject.
        ConfigError: flwr-datasets is not installed.
    """
    ordered = sorted(members, key=lambda member: member.subject)
    if not ordered and scheme.by == "site":
        return {}
    if len(ordered) < (scheme.parts or 1):
        raise CohortError("there are fewer subjects than parts",
                          expected=f"{scheme.parts or 1} or more",
                          found=f"{len(ordered)} subjects with a site",
                          fix="ask for fewer parts" if ordered else
                          "say in the definition where the site is told, or `site: {single: NAME}`")
    datasets, partitioners = _libraries()
    table = datasets.Dataset.from_dict({
        "subject": [member.subject for member in ordered],
        "site": [member.site for member in ordered], "label": [member.label for member in ordered]})
    if scheme.by == "iid":  # it takes the rows as they come
        table = table.shuffle(seed=scheme.seed or 0, keep_in_memory=True)
    partitioner = _partitioner(partitioners, scheme)
    partitioner.dataset = table
    members_of = _filled(partitioner, scheme)
    return dict(zip(_names(partitioner, scheme, len(members_of)), members_of, strict=True))


def _libraries() -> tuple[ModuleType, ModuleType]:
    os.environ.update(_OFFLINE)
    try:
        import datasets  # noqa: PLC0415  # seconds, which no other command pays
        from flwr_datasets import partitioner  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("flwr-datasets is not installed", expected="the packages of simulations",
                          found=str(error), fix='pip install "braing3n[simulation]"') from error
    return datasets, partitioner


def _partitioner(library: ModuleType, scheme: Scheme) -> Any:
    if scheme.by == "site":
        return library.NaturalIdPartitioner("site")
    if scheme.by == "site-groups":
        return library.GroupedNaturalIdPartitioner("site", scheme.group_size, sort_unique_ids=True)
    if scheme.by == "iid":
        return library.IidPartitioner(scheme.parts)
    return library.DirichletPartitioner(scheme.parts, "label", float(scheme.alpha or 0),
                                        min_partition_size=1, seed=scheme.seed or 0)


def _filled(partitioner: Any, scheme: Scheme) -> list[list[str]]:
    """Return the subjects of each part, sorted; what the library prints is not for our user."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [sorted(partitioner.load_partition(number)["subject"])
                    for number in range(partitioner.num_partitions)]
    except ValueError as error:
        if scheme.by != "dirichlet":
            raise
        raise CohortError(f"no draw gave each of {scheme.parts} parts a subject",
                          expected="a subject in every part after eleven draws", found="empty parts",
                          fix="ask for fewer --parts, a larger --alpha or another --seed") from error


def _names(partitioner: Any, scheme: Scheme, count: int) -> list[str]:
    if scheme.by == "site":
        return [str(partitioner.partition_id_to_natural_id[number]) for number in range(count)]
    if scheme.by == "site-groups":
        groups = partitioner.partition_id_to_natural_ids
        joined = [_joined([str(site) for site in groups[number]]) for number in range(count)]
        # A site's own name may have a plus in it.
        return [name if joined.count(name) == 1 else f"{name} ({number})"
                for number, name in enumerate(joined, start=1)]
    width = max(2, len(str(count)))
    return [f"part-{number:0{width}}" for number in range(1, count + 1)]


def _joined(sites: Sequence[str]) -> str:
    """Return the names of sites as one, such as `NYU+UCLA`; of many, the first and how many more."""
    shown = 1
    while shown < len(sites) and len("+".join(sites[: shown + 1])) <= _MAX_NAME:
        shown += 1
    more = [f"{len(sites) - shown} more"] if shown < len(sites) else []
    return "+".join([*sites[:shown], *more])


def _options(names: Sequence[str] | set[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
