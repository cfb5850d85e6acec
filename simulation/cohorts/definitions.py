"""Definitions of public cohorts: where a user gets one, how its table is read, what its sites are."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from braing3n.data.people.mapping import ColumnMapping
from braing3n.data.people.names import column_name
from braing3n.errors import ConfigError
from braing3n.yaml_files import StrictModel, load_yaml, parse

SHIPPED = Path(__file__).parent
VARIABLES = ("subject", "visit", "age_years", "sex", "diagnosis", "severity", "modality",
             "field_strength", "site", "path")
# The name of a definition that is a hospital's mapping file.
MAPPED = "mapped"


class Exclusion(StrictModel):
    """Who is no subject of the cohort, such as a phantom.

    Attributes:
        subject: A regular expression that is looked for in ids.
    """

    subject: Annotated[str, Field(max_length=200)]

    @field_validator("subject")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except (re.error, OverflowError) as error:
            raise ValueError(f"a regular expression ({error})") from error
        return pattern


class About(StrictModel):
    """What a definition says of a cohort besides its columns.

    Attributes:
        name: What it is called on the command line.
        title: Its full name.
        terms: Under which terms it may be used.
        source: Where a user gets it.
        files: How its files are named, by one example.
        volumes: How many scans the authors of BrainG3N used of it.
        exclude: Who is left out.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description=(
        "1 to 40 small letters, digits and hyphens"))]
    title: str = ""
    terms: str = ""
    source: str = ""
    files: str = ""
    volumes: Annotated[int, Field(ge=1)] | None = None
    exclude: Exclusion | None = None


@dataclass(frozen=True)
class CohortDefinition:
    """A cohort as a YAML file defines it.

    Attributes:
        about: Name, terms, source and the like.
        variables: By variable, what the file says of it, without `confirm`; a column that is named
            differently in several tables has several names.
        single_site: The site's name, where the cohort has one alone.
        unconfirmed: What is from memory, and was not compared with the cohort's own tables.
    """

    about: About
    variables: Mapping[str, Mapping[str, Any]]
    single_site: str | None
    unconfirmed: tuple[str, ...]

    def mapping(self, columns: Iterable[str] | None = None) -> ColumnMapping:
        """Return how a table of this cohort is read.

        Args:
            columns: The table's own. Of several names for a column the one that is there is taken,
                and variables without a column there are left out; None takes the first names.

        Raises:
            ConfigError: The definition is wrong.
        """
        there = None if columns is None else {column_name(column) for column in columns}
        chosen = {}
        for variable, said in self.variables.items():
            names = said.get("column")
            if names is None:
                chosen[variable] = dict(said)
                continue
            found = [name for name in names if there is None or column_name(name) in there]
            if found or variable == "subject":
                chosen[variable] = {**said, "column": (found or names)[0]}
        return parse(ColumnMapping, chosen, f"the definition of {self.about.name}")


def load_definition(path: Path, name: str | None = None) -> CohortDefinition:
    """Read a cohort's definition.

    Args:
        path: The YAML file.
        name: The cohort's name, where the file says none.

    Raises:
        ConfigError: It is missing or wrong; what is expected is said.
    """
    content = load_yaml(path)
    unconfirmed = [key for key, said in content.items()
                   if isinstance(said, dict) and said.get("confirm")]
    plain = {key: _without_mark(said) for key, said in content.items()}
    about = parse(About, {**({} if name is None else {"name": name}), **{
        key: said for key, said in plain.items() if key not in VARIABLES}}, str(path))
    variables = {key: _source(plain[key]) for key in VARIABLES if key in plain}
    if "site" not in variables:
        raise ConfigError(f"{path} does not say what a site is", found="no `site`", fix="add it",
                          expected="`site:` with column, id_pattern, file_pattern, session_pattern, "
                                   "sidecar or single")
    single = variables["site"].get("single")
    if single is not None and (variables.pop("site").keys() != {"single"}
                               or not isinstance(single, str)):
        raise ConfigError(f"{path} tells the site twice", expected="`site: {single: NAME}` alone",
                          found="other keys beside it", fix="keep one of them")
    definition = CohortDefinition(about, variables, single, tuple(unconfirmed))
    definition.mapping()  # every mistake in a column shows now
    return definition


def _without_mark(said: object) -> object:
    """Return what is said without `confirm`; a marked text is `{value: TEXT, confirm: true}`."""
    if not isinstance(said, dict):
        return said
    rest = {key: value for key, value in said.items() if key != "confirm"}
    return rest["value"] if rest.keys() == {"value"} else rest


def _source(said: object) -> dict[str, Any]:
    """Return a variable's source with a list of names for its column."""
    source: dict[str, Any] = dict(said) if isinstance(said, dict) else {"column": said}
    if "column" in source and not isinstance(source["column"], list):
        source["column"] = [source["column"]]
    return source


def load_definition_of_mapping(path: Path) -> CohortDefinition:
    """Read a mapping file, as a hospital writes it for its own table, as a definition.

    Raises:
        ConfigError: It is missing or wrong, or does not say what a site is.
    """
    content = load_yaml(path)
    parse(ColumnMapping, {key: _without_mark(said) for key, said in content.items()
                          if key in VARIABLES}, str(path))
    return load_definition(path, name=MAPPED)


def shipped_definitions() -> list[CohortDefinition]:
    """Return all definitions that come with the program, by name."""
    return [load_definition(path) for path in sorted(SHIPPED.glob("*.yaml"))]


def find_definition(name: str) -> CohortDefinition:
    """Return a definition by its shipped name, or from a YAML file.

    Raises:
        ConfigError: There is none of this name, or the file is wrong.
    """
    if name.lower().endswith((".yaml", ".yml")):
        return load_definition(Path(name))
    path = SHIPPED / f"{name.casefold()}.yaml"
    if not re.fullmatch(r"[a-z0-9-]+", name.casefold()) or not path.is_file():
        known = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
        close = difflib.get_close_matches(name.casefold(), known, n=1)
        raise ConfigError(f"no cohort is called {name}", expected=f"one of {', '.join(known)}",
                          found=name, fix=f"use {close[0]}" if close else
                          "name one of them, or a YAML file of your own")
    return load_definition(path)
