"""docs/support.md held against the rules and the tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUPPORT = (ROOT / "docs" / "support.md").read_text()
LAST = {"A": 18, "B": 11, "C": 19, "D": 13, "E": 10, "F": 9, "G": 5, "H": 3, "Q": 24, "I": 36, "W": 13, "M": 11}


def test_every_rule_has_one_verdict() -> None:
    rows = re.findall(r"^\| ([A-Z]\d+) \| (.+) \|$", SUPPORT, re.MULTILINE)
    expected = [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)]
    assert sorted(name for name, _ in rows) == sorted(expected)
    assert all(cells.strip(" |") for _, cells in rows)


def test_every_test_that_is_named_exists() -> None:
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        defined.update(re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", SUPPORT))
    assert named
    assert named - defined == set()
