"""Regular expressions for ids and names of files, as a site writes them: checked, and never slow."""

import re
from typing import Annotated

from pydantic import Field

# A pattern is tried on ids and names of files. One that repeats a group, or has many parts of open
# length, could take hours on them; within these bounds the worst takes about a second.
_MAX_PATTERN = 200
_MAX_OPEN_PARTS, _MAX_OPTIONAL = 3, 4
_MAX_NAME = 100


def check_pattern(pattern: str, group: str) -> str:
    """Return a pattern as it is.

    Raises:
        ValueError: It is no regular expression, lacks the group, or could take hours.
    """
    try:
        groups = re.compile(pattern).groupindex
    except (re.error, OverflowError) as error:
        raise ValueError(f"a regular expression ({error})") from error
    if group not in groups:
        raise ValueError(f"a regular expression with a group (?P<{group}>...)")
    bare = re.sub(r"\[\^?\]?[^\]]*\]", "x", re.sub(r"\\.", "x", pattern))  # no escapes, no classes
    bare = re.sub(r"\{[0-9]+\}", "", bare.replace("(?", "("))              # nor fixed lengths
    if (re.search(r"\)[*+{]", bare) or len(re.findall(r"[*+{]", bare)) > _MAX_OPEN_PARTS
            or bare.count("?") > _MAX_OPTIONAL):
        raise ValueError(f"a regular expression that repeats no group and has at most "
                         f"{_MAX_OPEN_PARTS} of * + {{m,n}} and {_MAX_OPTIONAL} of ?")
    return pattern


Pattern = Annotated[str, Field(max_length=_MAX_PATTERN)]


def match_of(pattern: str | None, text: str) -> re.Match[str] | None:
    """Return what a pattern finds in an id or a name of a file, unless that is too long for one."""
    return None if pattern is None or len(text) > _MAX_NAME else re.search(pattern, text)
