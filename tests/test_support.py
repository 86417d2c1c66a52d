"""docs/support.md held against the rules and the tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUPPORT = (ROOT / "docs" / "support.md").read_text()
LAST = {"A": 18, "B": 11, "C": 19, "D": 13, "E": 10, "F": 9, "G": 5, "H": 3, "Q": 24, "I": 36, "W": 13, "M": 11}
ROWS = dict(re.findall(r"^\| ([A-Z]\d+) \| (.+) \|$", SUPPORT, re.MULTILINE))
# What an RFC demands of a server (MUST, SHALL), by the rule that is about it.
DEMANDED = {
    "A1": "RFC 2131 2, RFC 2131 3", "A3": "RFC 2132 3.1, RFC 2132 3.2", "A5": "RFC 2131 4.1, RFC 3396 5, RFC 3396 7",
    "A6": "RFC 2131 4.1, RFC 2132 9.3", "A11": "RFC 2132 2", "B11": "RFC 3011 2, RFC 3527 3", "C2": "RFC 2131 4.3.1",
    "C3": "RFC 2131 4.1", "C4": "RFC 6842 3", "C5": "RFC 2131 4.3.1, RFC 2132 3.3, RFC 2132 9.8",
    "C8": "RFC 2131 4.4.5", "C11": "RFC 2131 4.1", "C12": "RFC 3396 6", "C14": "RFC 3046 2.2", "C16": "RFC 8925 3.3",
    "C17": "RFC 4039 4", "C18": "RFC 4702 4", "D7": "RFC 2131 4.3.2", "E1": "RFC 2131 4.1, RFC 2131 4.3.2",
    "E2": "RFC 2131 4.1, RFC 2131 4.3.2", "E7": "RFC 2131 4.3.1", "F3": "RFC 2131 4.3.3", "F6": "RFC 2131 4.3.5",
    "F8": "RFC 4388 6.4.2, RFC 4388 6.4.3", "G1": "RFC 2131 4.2", "H1": "RFC 2131 2.1, RFC 2131 3.1",
}  # fmt: skip
# Rules that are answered with "no" have no test.
UNTESTED = {"F7"}
# The names of Kea's unit tests, families of them by what they have in common.
KEA = """
    selectingRequestNonMatchingAddress initRebootRequest authoritative notAuthoritative
    authoritativeSubnetSelectionFail notAuthoritativeSubnetSelectionFail ciaddr twoAllocationsOverlap
    oneAllocationOverlap1 oneAllocationOverlap2 ignoreChangingClientId changingHWAddress reservationsWithConflicts
    releaseNonMatchingClientId releaseNonMatchingHWAddress releaseNonMatchingIPAddress releaseAlreadyReleased
    declineAfterRelease declineAfterExpire declineAfterReclamation directClientNoCiaddr emptyClientId
    tooLongClientId relayAgentInfoEcho badRelayAgentInfoEcho v6OnlyPreferred DiscoverInvalidHint ManyDiscovers dora
    inform release decline out_of_range shared_network fqdn host vendor_opts
"""


def _tests() -> dict[str, str]:
    """Every test's source, by its name."""
    found: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                found[node.name] = found.get(node.name, "") + source
    return found


TESTS = _tests()


def named(cells: str) -> list[str]:
    return re.findall(r"`(test_\w+)`", cells)


def test_every_rule_has_one_verdict() -> None:
    rows = re.findall(r"^\| ([A-Z]\d+) \| (.+) \|$", SUPPORT, re.MULTILINE)
    expected = [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)]
    assert sorted(name for name, _ in rows) == sorted(expected)
    assert all(cells.strip(" |") for _, cells in rows)


def test_every_test_that_is_named_exists() -> None:
    assert named(SUPPORT)
    assert set(named(SUPPORT)) - TESTS.keys() == set()


def test_every_rule_of_the_protocol_every_quirk_and_every_bad_input_has_a_test() -> None:
    without = {rule for rule, cells in ROWS.items() if rule[0] in "ABCDEFGHQI" and not named(cells)}
    assert without == UNTESTED


@pytest.mark.parametrize("rule", ROWS)
def test_a_test_says_which_rule_it_shows(rule: str) -> None:
    """In its name (test_a1_...) or its text."""
    by_name = re.compile(rf"_{rule.lower()}(_|$)")
    by_text = re.compile(rf"\b{rule}\b")
    silent = [name for name in named(ROWS[rule]) if not (by_name.search(name) or by_text.search(TESTS[name]))]
    assert silent == []


def test_what_rfcs_demand_is_marked() -> None:
    marked = {rule: match[1] for rule, cells in ROWS.items() if (match := re.search(r"\(MUST: ([^)]*)\)", cells))}
    assert marked == DEMANDED


@pytest.mark.parametrize("rule", DEMANDED)
def test_each_section_that_demands_it_is_cited_by_a_test(rule: str) -> None:
    text = "\n".join(TESTS[name] for name in named(ROWS[rule]))
    sections = DEMANDED[rule].split(", ")
    assert [each for each in sections if not re.search(rf"{re.escape(each)}(?!\d|\.\d)", text)] == []


def test_each_case_of_keas_has_a_counterpart_or_a_reason() -> None:
    table = SUPPORT.partition("## Cases of Kea's unit tests")[2]
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", table, re.MULTILINE))
    rows.pop("case")
    assert sorted(rows) == sorted(KEA.split())
    assert all(named(cells) or cells.startswith(("none: ", "the same: ")) for cells in rows.values())
