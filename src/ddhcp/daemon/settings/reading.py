"""The configuration file: from text to settings, with everything that is wrong in it told at once, by line and key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import SettingsError, StartError
from .kinds import BadValue, near, shown, toml_key
from .lines import line_of, lines_of_keys
from .schema import CHECKS, ENTRIES, SETTINGS, TABLES
from .setting import Entries, Entry, Problem, Setting, Settings, problems_of

DEFAULT_PATH = Path("/etc/ddhcp/ddhcp.toml")
MAX_FILE_BYTES = 16 << 20  # 100,000 reservations fit; a device or a wrong file does not fill the memory
MAX_PROBLEMS = 50  # told of one file: whoever has more repairs these first
_BY_KEY = {setting.key: setting for setting in SETTINGS}
_ENTRIES_BY_NAME = {entries.name: entries for entries in ENTRIES}
_AT_END = " (at end of document)"
_AT_LINE = re.compile(r"(.*) \(at line ([0-9]+), column [0-9]+\)")

Place = tuple[str | int, ...]
T = TypeVar("T")


class _Reader:
    """Reads the tables of one file. What is wrong gathers in ``problems``."""

    def __init__(self, source: str, lines: Mapping[Place, int]) -> None:
        self._source = source
        self._lines = dict(lines)
        self.settings = Settings()
        self.problems: list[Problem] = []

    def table(self, table: Mapping[str, object], place: tuple[str, ...] = ()) -> None:
        """Read a table and those within it."""
        for name, value in table.items():
            at = (*place, name)
            key = ".".join(at)
            if key in _BY_KEY:
                self._setting(_BY_KEY[key], value, at)
            elif key in _ENTRIES_BY_NAME:
                self._entries(_ENTRIES_BY_NAME[key], value)
            elif key not in TABLES:
                self.problems.append(Problem(_unknown(at), at))
            elif isinstance(value, dict):
                self.table(value, at)
            else:
                self.problems.append(Problem(f"{shown(value)} is not a table; write [{key}]", at))

    def _setting(self, setting: Setting[object], value: object, at: Place) -> None:
        try:
            self.settings.given[setting.key] = setting.kind.read(value)
        except BadValue as error:
            self.problems += problems_of(error, at)
        self.settings.sources[setting.key] = f"{self._source}:{line_of(self._lines, at)}"

    def _entries(self, entries: Entries, value: object) -> None:
        place: Place = (entries.name,)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.problems.append(Problem(f"write [[{entries.name}]] before each of them", place))
            return
        if len(value) > entries.most:
            self.problems.append(Problem(f"there are {len(value)}; at most {entries.most} are possible", place))
            return
        read = [self._entry(entries, item, (*place, position)) for position, item in enumerate(value)]
        self.settings.entries[entries.name] = tuple(read)

    def _entry(self, entries: Entries, table: Mapping[str, object], place: Place) -> Entry:
        known = {setting.name: setting for setting in (*entries.settings, *entries.profile)}
        values: dict[str, object] = {}
        for name, value in table.items():
            if name not in known:
                self.problems.append(Problem(f"unknown key{near(name, list(known))}", (*place, name)))
                continue
            try:
                values[name] = known[name].kind.read(value)
            except BadValue as error:
                self.problems += problems_of(error, (*place, name))
        missing = [name for name in entries.required if name not in table]
        if missing:
            self.problems.append(Problem(f"lacks {' and '.join(missing)}", place))
        return Entry(values, place)


def _unknown(at: tuple[str, ...]) -> str:
    """That a key is unknown, with what it might have been."""
    table = ".".join(at[:-1])
    siblings = [setting.name for setting in SETTINGS if setting.table == table]
    if not table:
        siblings += [name for name in TABLES if name] + list(_ENTRIES_BY_NAME)
    hint = near(at[-1], siblings)
    if not hint:  # perhaps it stands in the wrong table
        by_name = {setting.name: setting.key for setting in SETTINGS}
        hint = near(at[-1], list(by_name))
        for name in sorted(by_name, key=len, reverse=True):
            if hint and f" {name}?" in hint:
                hint = hint.replace(f" {name}?", f" {by_name[name]}?")
                break
    return f"unknown key{hint}"


def load(path: Path) -> Settings:
    """The settings in the file at ``path``. Raises :class:`~ddhcp.daemon.errors.StartError`, with a line for each thing
    that is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise StartError(f"configuration file {path}: {error.strerror}; check the path and its mode") from None
    if len(data) > MAX_FILE_BYTES:
        raise StartError(f"configuration file {path} is larger than {MAX_FILE_BYTES >> 20} MiB; is it the right file?")
    return parse(data, str(path))


def parse(data: bytes, source: str) -> Settings:
    """The settings in the text of a file called ``source``. Raises :class:`~ddhcp.daemon.errors.SettingsError`."""
    import tomllib  # only now: a start without a file is the faster for it

    try:
        text = data.decode()
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError([f"{source}:{line}: this is not UTF-8 text"]) from None
    except (ValueError, RecursionError) as error:
        raise SettingsError([_syntax(error, source, data)]) from None
    lines = lines_of_keys(text)
    reader = _Reader(source, lines)
    reader.table(table)
    if reader.problems:
        raise SettingsError(_told(reader.problems, source, lines))
    reader.settings.lines = lines
    reader.settings.file = source
    return reader.settings


def combine(from_file: Settings, from_flags: Settings) -> Settings:
    """All settings together: flags go before the file. Raises :class:`~ddhcp.daemon.errors.SettingsError` if they do
    not fit together."""
    settings = from_file.overridden_by(from_flags, [setting for setting in SETTINGS if setting.merges])
    problems = [problem for check in CHECKS for problem in check(settings)]
    settings.file, settings.lines = from_file.file, from_file.lines
    refuse(settings, problems)
    return settings


def refuse(settings: Settings, problems: Sequence[Problem]) -> None:
    """Raise :class:`~ddhcp.daemon.errors.SettingsError` if there are problems, each told with where it comes from: the
    flag, or file and line."""
    if problems:
        raise _refusal(settings, problems)


def blaming(settings: Settings, setting: Setting[object], make: Callable[[], T]) -> T:
    """What ``make`` makes of ``setting``. If it raises :class:`~ddhcp.daemon.errors.StartError`, that is told with
    where the setting comes from."""
    try:
        return make()
    except StartError as error:
        raise _refusal(settings, [Problem(str(error), setting.place)]) from None


def _refusal(settings: Settings, problems: Sequence[Problem]) -> SettingsError:
    by_flag: list[str] = []
    in_file: list[Problem] = []
    for problem in problems:
        source = settings.sources.get(name_of(problem.place), "")
        if source.startswith("-"):
            by_flag.append(f"{source}: {problem}")
        else:
            in_file.append(problem)
    return SettingsError(by_flag + _told(in_file, settings.file, settings.lines))


def _syntax(error: Exception, source: str, data: bytes) -> str:
    text = "values are nested too deeply" if isinstance(error, RecursionError) else str(error)
    if found := _AT_LINE.fullmatch(text):
        return f"{source}:{found[2]}: {_one_line(found[1])}"
    if text.endswith(_AT_END):
        last = data.count(b"\n") + 1
        return f"{source}:{last}: {_one_line(text.removesuffix(_AT_END))}"
    return f"{source}: {_one_line(text)}"


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


def _told(problems: Iterable[Problem], source: str, lines: Mapping[Place, int]) -> list[str]:
    placed = [(line_of(dict(lines), problem.place) or 0, problem) for problem in problems]
    placed.sort(key=lambda each: each[0])
    told = []
    for line, problem in placed[:MAX_PROBLEMS]:
        where = f"{source}:{line}: " if line else f"{source}: " if source else ""
        key = f"{name_of(problem.place)}: " if problem.place else ""
        told.append(f"{where}{key}{_one_line(str(problem))}")
    if len(placed) > MAX_PROBLEMS:
        told.append(f"{source}: {len(placed) - MAX_PROBLEMS} more")
    return told


def name_of(place: Place) -> str:
    """The path of keys as people write it: ``reservation[2].mac``, counted from 1."""
    name = ""
    for part in place:
        if isinstance(part, int):
            name += f"[{part + 1}]"
        else:
            name += ("." if name else "") + toml_key(_one_line(part)[:60])
    return name
