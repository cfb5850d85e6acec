"""How names of columns and codes are compared: in one spelling."""

import re
import unicodedata
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


def site_key(site: str) -> str:
    """Return a site's name without blanks, capitals, marks and a float's `.0`, to find it again."""
    text = unicodedata.normalize("NFKC", site).casefold().strip()
    text = re.sub(r"(?<=[0-9])\.0+$", "", text)
    return re.sub(r"(?<![0-9])[\W_]+|[\W_]+(?![0-9])", "", text) or text
