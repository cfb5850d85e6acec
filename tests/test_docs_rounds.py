"""What docs/egress.md and docs/audit.md say of round records is what the code does."""

import re
from pathlib import Path

from braing3n.audit.report import round_agreement
from braing3n.protocol import RecordSeen, RoundRecord

DOCS = Path(__file__).parents[1] / "docs"


def codes(row: str) -> set[str]:
    """Return the words that stand as code in the first cell of a table's row."""
    return set(re.findall(r"`([a-z_]+)`", row.split("|")[1]))


def test_every_field_of_a_round_record_is_in_the_table() -> None:
    section = (DOCS / "egress.md").read_text(encoding="utf-8").partition("## Round records\n")[2]
    table = section[section.index("| field |"):].split("\n\n")[0].splitlines()[2:]
    assert set().union(*map(codes, table)) == RoundRecord.model_fields.keys()
    assert all(name in section for name in RecordSeen.model_fields)


def test_every_code_of_what_an_audit_finds_in_them_is_in_the_table() -> None:
    page = (DOCS / "audit.md").read_text(encoding="utf-8").partition("signed round records")[2]
    table = page[page.index("| code |"):].split("\n\n")[0].splitlines()[2:]
    source = Path(round_agreement.__file__).read_text(encoding="utf-8")
    assert set().union(*map(codes, table)) == set(re.findall(r'Disagreement\("([a-z_]+)"', source))
