"""On which line of a TOML file each key stands: the parser of the standard library does not say."""

from __future__ import annotations

import json
import re

Place = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
  | (?P<text>"{3}(?:\\.|[^\\])*?"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
  | (?P<bare>[A-Za-z0-9_-]+)
  | (?P<newline>\n)
  | (?P<space>[ \t\r]+)
  | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class _Scanner:
    """Walks over a file that is known to be TOML, and notes where keys and tables begin."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}  # of each [[table]], how many so far
        self._table: Place = ()
        self._keys: list[str] = []  # of the line that is being read
        self._brackets = 0  # [ before a table's name
        self._depth = 0  # of brackets within a value
        self._in_value = False

    def take(self, kind: str, text: str, line: int) -> None:
        if self._in_value:
            self._take_value(kind, text)
        elif kind in ("text", "bare"):
            self._keys.append(_key(text))
        elif text == "[":
            self._brackets += 1
        elif text == "=":
            self._note(self._place(self._table, self._keys), line)
            self._keys, self._in_value = [], True
        elif kind == "newline":
            if self._brackets:
                self._begin_table(line)
            self._keys, self._brackets = [], 0

    def _take_value(self, kind: str, text: str) -> None:
        if kind == "newline":
            self._in_value = self._depth > 0
        elif kind == "sign":
            self._depth += (text in "[{") - (text in "]}")

    def _begin_table(self, line: int) -> None:
        if self._brackets > 1:
            name = (*self._place((), self._keys[:-1]), *self._keys[-1:])
            self._counts[name] = self._counts.get(name, -1) + 1
        self._table = self._place((), self._keys)
        self._note(self._table, line)

    def _place(self, base: Place, keys: list[str]) -> Place:
        """The path of keys, with the position in each array of tables that it leads through."""
        place = base
        for key in keys:
            place = (*place, key)
            if place in self._counts:
                place = (*place, self._counts[place])
        return place

    def _note(self, place: Place, line: int) -> None:
        while place and place not in self.lines:  # what is around a dotted key, or an array of tables, begins here too
            self.lines[place] = line
            place = place[:-1]


def _key(text: str) -> str:
    if text[0] == "'":
        return text[1:-1]
    if text[0] == '"':
        try:
            return str(json.loads(text))
        except ValueError:  # an escape that TOML has and JSON has not
            return text[1:-1]
    return text


def lines_of_keys(text: str) -> dict[Place, int]:
    """The line (from 1) of each key and table of ``text``, which must be valid TOML, by its path. Within a list or an
    inline table nothing is noted: the line of the key before counts for all of it."""
    scanner = _Scanner()
    line = 1
    for found in _TOKEN.finditer(text + "\n"):
        scanner.take(found.lastgroup or "", found.group(), line)
        line += found.group().count("\n")
    return scanner.lines


def line_of(lines: dict[Place, int], place: Place) -> int | None:
    """The line of ``place``, or of the nearest thing around it that has one."""
    while place:
        if place in lines:
            return lines[place]
        place = place[:-1]
    return None
