"""A site's own words for its columns, codes and sites: the mapping file that goes with a table."""

from pathlib import Path
from typing import Annotated, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from braing3n.data.people.covariates import (
    AgeUnit,
    Cell,
    SeverityScale,
    is_missing,
    modality_of,
    value_of,
)
from braing3n.data.people.names import base_name, code_of, column_name, whole_number
from braing3n.data.people.patterns import Pattern, check_pattern, match_of
from braing3n.yaml_files import StrictModel, load_yaml, parse

Codes = dict[str, str]
ColumnName = Annotated[str, Field(min_length=1)]

_SCALES: dict[str, SeverityScale] = {"severity": "severity", "mmse": "mmse", "cdr": "cdr",
                                     "who_grade": "who_grade", "who_cns_grade": "who_grade"}


def scale_of(header: str) -> SeverityScale | None:
    """Return the scale of severity that a column's name says, or None."""
    return _SCALES.get(column_name(header)) or _SCALES.get(base_name(header))


def _by_name(given: object) -> object:
    """Let a column be given by its name alone."""
    return {"column": given} if isinstance(given, str) else given


def _check_codes(codes: Codes) -> Codes:
    if codes.keys() & {"true", "false"}:
        raise ValueError("yes, no, on, off, true and false in quotes, as YAML gives them a meaning "
                         "of its own")
    if len({code_of(code) for code in codes}) < len(codes):
        raise ValueError("codes that differ in more than blanks, capitals and `.0`")
    return {code_of(code): meaning for code, meaning in codes.items()}


class SubjectSource(StrictModel):
    """The column of the subjects' ids, and what these lack to be the names of the folders.

    Attributes:
        column: Its name; blanks, capitals and marks in it do not matter.
        prefix: Put before an id that does not begin with it, such as `sub-`.
        zeros: To how many digits the number at the end of an id is filled up with zeros.
        pattern: A regular expression for cells that name a scan rather than a person, with a group
            `subject`, and perhaps a group `visit`. A cell that it does not fit names no subject.
    """

    column: ColumnName
    prefix: Annotated[str, Field(max_length=40)] = ""
    zeros: Annotated[int, Field(ge=0, le=20)] = 0
    pattern: Pattern | None = None

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, pattern: str | None) -> str | None:
        return None if pattern is None else check_pattern(pattern, "subject")

    def visit_of(self, text: str) -> str | None:
        """Return the visit that the pattern finds in a cell of ids, or None."""
        match = match_of(self.pattern, text.strip())
        return None if match is None else match.groupdict().get("visit") or None

    def id_of(self, text: str) -> str:
        """Return the id that a cell gives; empty where it gives none."""
        bare = text.strip()
        if self.pattern is not None:
            match = match_of(self.pattern, bare)
            bare = "" if match is None else match["subject"] or ""
        if is_missing(bare):
            return ""
        bare = whole_number(bare)  # a number that a program has made of the id
        if bare.casefold().startswith(self.prefix.casefold()):
            bare = bare[len(self.prefix):]
        head = bare.rstrip("0123456789")
        number = bare[len(head):]
        return self.prefix + head + (number.zfill(self.zeros) if number else "")


class ColumnSource(StrictModel):
    """A column of the table.

    Attributes:
        column: Its name; blanks, capitals and marks in it do not matter.
        codes: What its codes mean, such as `{"1": M, "2": F}`; `n/a` for a code of not known.
        unit: For age alone: what its numbers count; by default what its name says, or years.
        scale: For severity alone: which it is; by default what its name says.
    """

    column: ColumnName
    codes: Codes = Field(default_factory=dict)
    unit: AgeUnit | None = None
    scale: SeverityScale | None = None

    _codes = field_validator("codes")(_check_codes)


class SiteSource(StrictModel):
    """Where a scan's site is told: in exactly one of five places.

    Attributes:
        column: A column of the table.
        id_pattern: A regular expression with a group `site`, looked for in the subject's id.
        file_pattern: The same, in the name of the scan's file.
        session_pattern: The same, in the session, such as `ses-THP0001CCF1`.
        sidecar: Fields of the scan's sidecar, the best first.
        codes: Names for what is found there; nothing else makes one site of two spellings.
    """

    column: ColumnName | None = None
    id_pattern: Pattern | None = None
    file_pattern: Pattern | None = None
    session_pattern: Pattern | None = None
    sidecar: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] | None = None
    codes: Codes = Field(default_factory=dict)

    _codes = field_validator("codes")(_check_codes)

    @field_validator("id_pattern", "file_pattern", "session_pattern")
    @classmethod
    def _patterns(cls, pattern: str | None) -> str | None:
        return None if pattern is None else check_pattern(pattern, "site")

    @model_validator(mode="after")
    def _one_place(self) -> "SiteSource":
        places = (self.column, self.id_pattern, self.file_pattern, self.session_pattern, self.sidecar)
        if sum(place is not None for place in places) != 1:
            raise ValueError("exactly one of column, id_pattern, file_pattern, session_pattern, "
                             "sidecar")
        return self

    def named(self, text: str) -> str | None:
        """Return the site that a text stands for; None where it says that nothing is known."""
        name = self.codes.get(code_of(text), text)
        return None if is_missing(name) else name

    def matched(self, subject: str, session: str | None, file_name: str) -> str | None:
        """Return what the pattern finds; None where it finds nothing, or there is no pattern."""
        for pattern, text in ((self.id_pattern, subject), (self.session_pattern, session or ""),
                              (self.file_pattern, file_name)):
            if pattern is not None:
                match = match_of(pattern, text)
                return self.named(match["site"]) if match and match["site"] else None
        return None


OptionalColumn = Annotated[ColumnSource | None, BeforeValidator(_by_name)]


class ColumnMapping(StrictModel):
    """Which columns of a table say what; a variable that is not named is found by its usual name.

    Attributes:
        subject: The subject's pseudonym.
        visit: The session.
        path: The scan's file, relative to the table; for a table of scans.
        modality: `T1w`, `T2w`, `FLAIR` or `T1c`, by name or by codes.
        age_years: The age at the scan.
        sex: `M` or `F`, by name or by codes.
        diagnosis: One of the codes of `braing3n.conditions`, by name or by codes.
        severity: A scale.
        field_strength: In tesla.
        site: The site of a scan.
    """

    subject: Annotated[SubjectSource, BeforeValidator(_by_name)]
    visit: OptionalColumn = None
    path: OptionalColumn = None
    modality: OptionalColumn = None
    age_years: OptionalColumn = None
    sex: OptionalColumn = None
    diagnosis: OptionalColumn = None
    severity: OptionalColumn = None
    field_strength: OptionalColumn = None
    site: Annotated[SiteSource | None, BeforeValidator(_by_name)] = None

    @field_validator("visit", "path", "modality", "sex", "diagnosis", "severity", "field_strength")
    @classmethod
    def _no_unit(cls, source: ColumnSource | None) -> ColumnSource | None:
        if source is not None and source.unit is not None:
            raise ValueError("no `unit`, which is for age_years alone")
        return source

    @field_validator("visit", "path", "modality", "sex", "diagnosis", "age_years", "field_strength")
    @classmethod
    def _no_scale(cls, source: ColumnSource | None) -> ColumnSource | None:
        if source is not None and source.scale is not None:
            raise ValueError("no `scale`, which is for severity alone")
        return source

    @field_validator("severity")
    @classmethod
    def _has_scale(cls, source: ColumnSource | None) -> ColumnSource | None:
        if source is not None and not (source.scale or scale_of(source.column)):
            raise ValueError(f"a column with a `scale`: {', '.join(get_args(SeverityScale))}")
        return source

    @field_validator("sex", "diagnosis", "modality")
    @classmethod
    def _has_meanings(cls, source: ColumnSource | None, info: ValidationInfo) -> ColumnSource | None:
        for code, meaning in source.codes.items() if source is not None else ():
            known = modality_of(meaning) if info.field_name == "modality" else value_of(
                str(info.field_name), Cell("", code, meaning))
            if known is None and not is_missing(meaning):
                raise ValueError(f"codes for what a {info.field_name} may be, or n/a; not {meaning!r}")
        return source

    def columns(self) -> dict[str, ColumnSource]:
        """Return the sources that are columns with codes, by what they tell, without the site."""
        names = ("visit", "path", "modality", "age_years", "sex", "diagnosis", "severity",
                 "field_strength")
        return {name: source for name in names if (source := getattr(self, name)) is not None}


def load_mapping(path: Path) -> ColumnMapping:
    """Read a mapping file.

    Raises:
        ConfigError: It is missing or wrong; every mistake is told.
    """
    return parse(ColumnMapping, load_yaml(path), str(path))
