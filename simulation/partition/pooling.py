"""One cohort or several at once: what is named on the command line, and the rows of all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from braing3n.errors import CohortError, ConfigError
from simulation.cohorts.definitions import CohortDefinition, find_definition, load_definition_of_mapping
from simulation.cohorts.row import CohortRow, CohortRows
from simulation.cohorts.rows import read_cohort, read_site_folders
from simulation.site_folders import find_site_folders


@dataclass(frozen=True)
class Source:
    """Where a cohort is and how it is read.

    Attributes:
        path: A folder or a table.
        definition: The cohort's; None for a folder that holds one BIDS folder a site.
        is_named: Whether sites and subjects bear the cohort's name, as where several are pooled.
    """

    path: Path
    definition: CohortDefinition | None
    is_named: bool = False


def find_sources(given: Sequence[str], cohort: str | None, mapping: Path | None) -> list[Source]:
    """Return what a user names: a path with --cohort or --mapping, or NAME=PATH once or more.

    Raises:
        ConfigError: It is not said how a source is read, or it is said twice.
    """
    if cohort is not None and mapping is not None:
        raise _unclear("--cohort or --mapping", "both")
    if cohort is not None or mapping is not None:
        if len(given) > 1:
            raise _unclear("one SOURCE with --cohort or --mapping", f"{len(given)} of them")
        definition = (find_definition(cohort) if cohort is not None
                      else load_definition_of_mapping(Path(str(mapping))))
        return [Source(Path(given[0]), definition)]
    if len(given) == 1 and "=" not in given[0]:
        return [Source(Path(given[0]), None)]
    named = [one.partition("=") for one in given]
    bad = [one for one, (name, _, path) in zip(given, named, strict=True) if not name or not path]
    if bad:
        raise _unclear("NAME=PATH for each of several sources", ", ".join(bad))
    sources = [Source(Path(path).expanduser(), find_definition(name), is_named=True)
               for name, _, path in named]
    names = [source.definition.about.name for source in sources if source.definition is not None]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError("a cohort is named twice", expected="each cohort once",
                          found=", ".join(twice), fix="put its folders into one, or give a part of it "
                          "a name of its own in a YAML file")
    return sources


def _unclear(expected: str, found: str) -> ConfigError:
    return ConfigError("it is not said how the cohort is read", expected=expected, found=found,
                       fix="see `braing3n sim cohorts` and `braing3n sim partition --help`")


def read_sources(sources: Sequence[Source]) -> CohortRows:
    """Read all sources as one cohort.

    Where several are pooled, sites and subjects are called `abide1:NYU` and `abide1:0050002`, so that
    one id in two cohorts is two people. That somebody took part in both cannot be told.

    Raises:
        CohortError: A source holds nothing to read, or cannot be read.
        ConfigError: A definition does not fit its table, or there is none.
    """
    read = [_read(source) for source in sources]
    return CohortRows(
        tuple(row for one in read for row in one.rows),
        tuple(note for one in read for note in one.notes),
        tuple(name for one in read for name in one.repeated),
        tuple(row for one in read for row in one.excluded))


def _read(source: Source) -> CohortRows:
    if source.definition is None:
        try:
            folders = find_site_folders(source.path)
        except CohortError as error:
            raise _unclear("--cohort or --mapping, or NAME=PATH, or a folder that holds one BIDS "
                           "folder a site", error.what) from error
        return read_site_folders(folders)
    read = read_cohort(source.path, source.definition)
    if not source.is_named:
        return read
    name = source.definition.about.name
    return CohortRows(
        tuple(_named(row, name) for row in read.rows),
        tuple(f"{name}: {note}" for note in read.notes),
        tuple(f"{name}:{one}" for one in read.repeated),
        tuple(_named(row, name) for row in read.excluded))


def _named(row: CohortRow, cohort: str) -> CohortRow:
    return replace(row, subject=f"{cohort}:{row.subject}", cohort=cohort,
                   site=None if row.site is None else f"{cohort}:{row.site}")
