"""Whether a table is of the cohort that it is said to be of, and of which it could be."""

from collections.abc import Iterable

from braing3n.data.people.names import column_name
from braing3n.data.people.tables import Table
from braing3n.errors import ConfigError
from braing3n.listing import first_of
from simulation.cohorts.definitions import MAPPED, CohortDefinition, shipped_definitions

_TELLING = ("subject", "site", "age_years", "sex")


def check_table(table: Table, definition: CohortDefinition, *, tells_site: bool = True) -> None:
    """Check that a table has the columns without which nobody is anywhere: of ids, and of sites.

    Args:
        table: Of people or scans.
        definition: What it is said to be.
        tells_site: Whether the table has to tell the site.

    Raises:
        ConfigError: It has not; the cohorts whose columns it has are named.
    """
    needed = ("subject", "site") if tells_site else ("subject",)
    lacking = _lacking(table, definition, needed)
    if not lacking:
        return
    name = definition.about.name
    columns = {variable: " or ".join(definition.variables[variable]["column"]) for variable in lacking}
    raise ConfigError(
        f"{table.path} does not look like a table of {name}" if name != MAPPED else
        f"the mapping names columns that {table.path} does not have",
        expected="these columns: " + "; ".join(f"{one}: {names}" for one, names in columns.items()),
        found="its columns: " + first_of(table.header, 20), fix=_advice(table, name))


def _advice(table: Table, name: str) -> str:
    if name == MAPPED:
        return "correct the mapping file"
    fits = fitting_cohorts(table)
    could = f"its columns fit {first_of(fits)}: name that cohort, if the table is of it" if fits else ""
    if name not in {one.about.name for one in shipped_definitions()}:
        return f"correct the columns in the definition of {name}" + (f"; or, {could}" if could else "")
    return could or ("no known cohort has such columns: give the cohort's own table, or tell by "
                     "--mapping FILE.yaml which columns are what")


def fitting_cohorts(table: Table) -> list[str]:
    """Return the names of the shipped cohorts whose ids, sites, ages and sexes a table tells.

    Those of which it has the most columns come first.
    """
    fits = {one.about.name: len(one.variables) - len(_lacking(table, one, one.variables))
            for one in shipped_definitions()
            if not _lacking(table, one, _TELLING) and _tells_sites(table, one)}
    return sorted(fits, key=lambda name: (-fits[name], name))


def _lacking(table: Table, definition: CohortDefinition, variables: Iterable[str]) -> list[str]:
    """Return the variables that are told by columns of which the table has none."""
    return [variable for variable in variables
            if (columns := definition.variables.get(variable, {}).get("column"))
            and not {column_name(column) for column in columns} & set(table.columns)]


def _tells_sites(table: Table, definition: CohortDefinition) -> bool:
    """Tell whether rows name a site: by a column, by their ids, or because the cohort has one alone."""
    mapping = definition.mapping(table.header)
    ids = [mapping.subject.id_of(row[column_name(mapping.subject.column)]) for row in table.rows]
    if definition.single_site is not None or (mapping.site and mapping.site.column):
        return any(ids)
    return mapping.site is not None and any(mapping.site.matched(one, None, "") for one in ids)
