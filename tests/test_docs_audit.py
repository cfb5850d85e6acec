"""What docs/audit.md says is what the program does."""

import re
from pathlib import Path

from braing3n.audit.findings import CLAIM_AFTER

PAGE = (Path(__file__).parents[1] / "docs" / "audit.md").read_text(encoding="utf-8")


def test_every_code_of_a_finding_is_in_the_table_and_no_other() -> None:
    table = PAGE[PAGE.index("| code | found when |"):].split("\n\n")[0]
    codes = {code for row in table.splitlines()[2:] for code in re.findall(r"`([a-z_]+)`",
                                                                          row.split("|")[1])}
    assert codes == CLAIM_AFTER.keys()


def test_its_links_and_those_of_its_neighbours_lead_somewhere() -> None:
    docs = Path(__file__).parents[1] / "docs"
    for name in ("audit.md", "privacy.md", "threat-model.md"):
        for page, anchor in re.findall(r"\]\(([^)#:]+\.md)?(#[^)]+)?\)", (docs / name).read_text()):
            path = docs / (page or name)
            assert path.exists(), page
            assert not anchor or anchor in _anchors(path), (name, anchor)


def _anchors(path: Path) -> set[str]:
    """Return the anchors that a page's headings have, as GitHub makes them."""
    headings = (line.lstrip("# ").lower() for line in path.read_text().splitlines()
                if line.startswith("#"))
    return {"#" + re.sub(r"[^a-z0-9 -]", "", heading).replace(" ", "-") for heading in headings}
