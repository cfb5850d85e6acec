"""How names of columns and codes are compared: in one spelling."""

import re
import unicodedata
from functools import lru_cache

# Above it, floats do not tell whole numbers apart.
_MAX_WHOLE = 1e15


def column_name(text: str) -> str:
    """Return a column's name in one spelling: ` Age (years)` becomes `age_years`."""
    return re.sub(r"[\W_]+", "_", text.strip().casefold()).strip("_") or text.strip()


def base_name(header: str) -> str:
    """Return a column's name without what explains it: `SEX_ID (1=m, 2=f)` is `sex_id`."""
    return column_name(re.split(r"[(\[{:]|\b\w+\s*=", header[:1000])[0] or header)


def whole(value: object) -> object:
    """Return a whole number that a program has made a float as what it was; all else as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_WHOLE:
        return int(value)
    return value


def whole_number(text: str) -> str:
    """Return a text that is a whole number without a float's `.0`: `35343.0` is `35343`."""
    return text.partition(".")[0] if re.fullmatch(r"-?[0-9]+\.0+", text) else text


def without_float_end(name: str) -> str:
    """Return a name that ends in a number without a float's `.0`: `sub-07.0` is `sub-07`."""
    return re.sub(r"(?<=[0-9])\.0+$", "", name)


@lru_cache(maxsize=4096)  # tables say the same over and over
def code_of(text: str) -> str:
    """Return a code in one spelling: without blanks around, capitals and a float's `.0`."""
    return whole_number(text.strip().casefold())


def site_key(site: str) -> str:
    """Return a site's name without blanks, capitals, marks and a float's `.0`, to find it again."""
    text = without_float_end(unicodedata.normalize("NFKC", site).casefold().strip())
    return re.sub(r"(?<![0-9])[\W_]+|[\W_]+(?![0-9])", "", text) or text
