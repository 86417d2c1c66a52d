"""Every log call of the program uses a registered event, at its level and with its fields."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ddhcp.core.log_events import BY_NAME, EVENTS

SOURCE = Path(__file__).resolve().parent.parent / "src" / "ddhcp"
PACKAGES = ("core", "daemon")


@dataclass(frozen=True)
class Call:
    """A call that logs: where, at which level (None: not known before it runs), a pattern of names, its fields."""

    where: str
    level: int | None
    pattern: str
    fields: frozenset[str]


def pattern_of(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [re.escape(str(p.value)) if isinstance(p, ast.Constant) else "[a-z]+" for p in node.values]
        return "".join(parts)
    return None


def level_of(node: ast.expr) -> int | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "logging":
        return int(getattr(logging, node.attr))
    return None


def fields_of(call: ast.Call) -> frozenset[str]:
    names = [keyword.arg for keyword in call.keywords if keyword.arg not in (None, "traceback", "extra", "exc_info")]
    for argument in call.args[2:]:
        if isinstance(argument, ast.Dict):
            names += [key.value for key in argument.keys if isinstance(key, ast.Constant)]
    return frozenset(str(name) for name in names)


def calls_in(path: Path) -> Iterator[Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in ("log", "write", "Log"):
            continue
        level, pattern = level_of(node.args[0]), pattern_of(node.args[1])
        is_level = level is not None or (isinstance(node.args[0], ast.Name) and node.args[0].id == "level")
        if is_level and pattern is not None:
            yield Call(f"{path.name}:{node.lineno}", level, pattern, fields_of(node))


CALLS = [call for package in PACKAGES for path in sorted((SOURCE / package).rglob("*.py")) for call in calls_in(path)]


def test_log_calls_are_found() -> None:
    assert len(CALLS) > 30


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.where)
def test_a_log_call_is_registered(call: Call) -> None:
    events = [event for event in EVENTS if re.fullmatch(call.pattern, event.name)]
    assert events, f"{call.where}: add {call.pattern} to core/log_events.py"
    for event in events:
        assert call.level is None or call.level in event.levels, f"{call.where}: {event.name} has another level"
        assert call.fields <= set(event.fields), f"{call.where}: {event.name} has fields that are not registered"


def test_names_are_words_with_hyphens_and_meanings_are_sentences() -> None:
    assert len(BY_NAME) == len(EVENTS), "each name once"
    for event in EVENTS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", event.name)
        assert event.meaning.endswith(".")
        assert not event.action or event.action[-1] in ".?"
        assert all(re.fullmatch(r"[a-z_]+", name) for name in event.fields)


def test_every_registered_event_is_used() -> None:
    texts = "".join(path.read_text() for package in PACKAGES for path in (SOURCE / package).rglob("*.py"))
    once = [event.name for event in EVENTS if texts.count(f'"{event.name}"') < 2]  # one of them is the registration
    unused = [name for name in once if not any(re.fullmatch(call.pattern, name) for call in CALLS)]
    assert not unused
