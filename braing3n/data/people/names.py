"""How names of columns and codes are compared: in one spelling."""

import re
from functools import lru_cache


def column_name(text: str) -> str:
    """Return a column's name in one spelling: ` Age (years)` becomes `age_years`."""
    return re.sub(r"[\W_]+", "_", text.strip().casefold()).strip("_") or text.strip()


def base_name(header: str) -> str:
    """Return a column's name without what explains it: `SEX_ID (1=m, 2=f)` is `sex_id`."""
    return column_name(re.split(r"[(\[{:]|\b\w+\s*=", header[:1000])[0] or header)


@lru_cache(maxsize=4096)  # tables say the same over and over
def code_of(text: str) -> str:
    """Return a code in one spelling: without blanks around, capitals and a float's `.0`."""
    bare = text.strip().casefold()
    return bare.partition(".")[0] if re.fullmatch(r"-?[0-9]+\.0+", bare) else bare
