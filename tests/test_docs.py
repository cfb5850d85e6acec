"""The documentation says what the code does."""

from pathlib import Path

from braing3n.preflight.output import rules_table

ROOT = Path(__file__).resolve().parents[1]


def test_the_list_of_rules_is_the_one_that_the_code_checks_by():
    text = (ROOT / "docs" / "data-checks.md").read_text(encoding="utf-8")
    assert text.partition("As printed by `braing3n check --rules`.\n\n")[2] == rules_table()
