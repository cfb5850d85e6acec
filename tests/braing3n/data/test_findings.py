import re
from pathlib import Path

import pytest

import braing3n
from braing3n.data.findings import RULES, Severity, finding

SOURCES = [path for path in Path(braing3n.__file__).parent.rglob("*.py") if path.name != "catalogue.py"]


def test_every_rule_is_used_and_every_code_in_use_is_a_rule():
    text = "\n".join(path.read_text() for path in SOURCES)
    used = set(re.findall(r"\b(?:finding|refusal)\(\s*\"([a-z0-9-]+)\"", text))
    assert used <= set(RULES)
    assert {code for code in RULES if f'"{code}"' not in text} == set()


def test_every_rule_says_what_it_is_and_what_to_do():
    for code, rule in RULES.items():
        assert rule.code == code
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)
        assert all((rule.defect, rule.expected, rule.fix))
        assert not rule.fix.endswith(".")


def test_what_needs_a_hand_is_not_information():
    handled = [rule for rule in RULES.values() if rule.fix.startswith("nothing needs to be done")]
    assert all(rule.severity in (Severity.INFO, Severity.WARN) for rule in handled)


def test_a_finding_may_say_more_than_its_rule_but_not_break_another():
    more = finding("oblique", Path("a.nii"), "30 degrees", fix="turn it")
    assert (more.rule.code, more.found, more.fix) == ("oblique", "30 degrees", "turn it")
    assert more.expected == RULES["oblique"].expected
    with pytest.raises(KeyError):
        finding("no-such-rule", Path("a.nii"), "")
