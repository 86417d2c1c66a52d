"""What a setting is, and the values of all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar, cast

from ...values import dataclass, field, replace
from .kinds import BadValue, Kind

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Setting(Generic[T_co]):
    """One thing that can be set. Everything known about it stands here: the file's reader, the flags, the example, the
    documentation and reloading all go by these definitions.

    ``key``: its place in the file, tables before the last dot. ``help``: a sentence or two for people, without a final
    full stop. ``default``: the value if nobody sets it; ``default_text`` says it in words where the value alone does
    not. ``example``: what the commented example shows, as TOML reads it, where the default would not tell much.
    ``flags``: on the command line; ``flag_value`` makes it a flag without argument that means this value.
    ``reloadable``: whether a running daemon can take a change. ``merges``: a flag adds to the file's table instead of
    replacing it.
    """

    key: str
    kind: Kind[T_co]
    default: T_co
    help: str
    default_text: str = ""
    example: object = None
    flags: tuple[str, ...] = ()
    flag_value: T_co | None = None
    flag_help: str = ""
    reloadable: bool = False
    merges: bool = False

    @property
    def table(self) -> str:
        """The table it stands in, "" for the top of the file."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its key within its table."""
        return self.key.rpartition(".")[2]

    @property
    def place(self) -> tuple[str, ...]:
        """Its key, part by part."""
        return tuple(self.key.split("."))

    def within(self, table: str) -> Setting[T_co]:
        """The same setting in a table."""
        return replace(self, key=f"{table}.{self.key}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``[[table]]`` of the file: its settings by name, and where it stands (table and position)."""

    values: Mapping[str, object]
    place: tuple[str | int, ...]

    def get(self, setting: Setting[T]) -> T:
        """The value of one of its settings."""
        return cast(T, self.values.get(setting.name, setting.default))

    def has(self, setting: Setting[T]) -> bool:
        """Whether it was given."""
        return setting.name in self.values


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """A kind of table that may stand several times: ``[[name]]``. ``settings`` have their bare names as keys.
    ``profile``: more of them, which also stand elsewhere for everyone. ``required``: names that may not be missing."""

    name: str
    help: str
    settings: tuple[Setting[object], ...]
    most: int
    profile: tuple[Setting[object], ...] = ()
    reloadable: bool = False
    example: Mapping[str, object] = field(default_factory=dict)
    required: tuple[str, ...] = ()


class Settings:
    """The values of all settings, with where each comes from.

    ``given``: by key, those that are not defaults. ``sources``: by key, where they were given: "-B", or "FILE:LINE".
    ``entries``: by name, the tables that may stand several times. ``file`` and ``lines``: which file was read, and on
    which lines its keys stand, by path.
    """

    def __init__(
        self,
        given: Mapping[str, object] | None = None,
        sources: Mapping[str, str] | None = None,
        entries: Mapping[str, tuple[Entry, ...]] | None = None,
    ) -> None:
        self.given = dict(given or {})
        self.sources = dict(sources or {})
        self.entries = dict(entries or {})
        self.file = ""
        self.lines: Mapping[tuple[str | int, ...], int] = {}

    def __getitem__(self, setting: Setting[T]) -> T:
        return cast(T, self.given.get(setting.key, setting.default))

    def put(self, setting: Setting[T], value: T, source: str) -> None:
        """Set one. ``source``: a flag, or file and line."""
        self.given[setting.key] = value
        self.sources[setting.key] = source

    def all_of(self, entries: Entries) -> tuple[Entry, ...]:
        """The tables of one kind, in the order of the file."""
        return self.entries.get(entries.name, ())

    def is_given(self, setting: Setting[T]) -> bool:
        """Whether somebody set it."""
        return setting.key in self.given

    def source(self, setting: Setting[T]) -> str:
        """Where the value comes from: "default", a flag, or file and line."""
        return self.sources.get(setting.key, "default")

    def overridden_by(self, other: Settings, merged: Iterable[Setting[object]] = ()) -> Settings:
        """These settings, with those given in ``other`` on top. Of ``merged``, which are mappings, both."""
        together = Settings(self.given | other.given, self.sources | other.sources, self.entries | other.entries)
        for setting in merged:
            both = [one.given[setting.key] for one in (self, other) if one.is_given(setting)]
            if len(both) == 2:
                together.given[setting.key] = {**cast(dict[int, bytes], both[0]), **cast(dict[int, bytes], both[1])}
                together.sources[setting.key] = f"{self.sources[setting.key]}, {other.sources[setting.key]}"
        return together

    def with_those_of(self, other: Settings, keys: Iterable[str], tables: Iterable[str]) -> Settings:
        """These settings, but for ``keys`` and ``tables`` the ones of ``other``, given or not."""
        given, sources, entries = dict(self.given), dict(self.sources), dict(self.entries)
        for key in keys:
            given.pop(key, None)
            sources.pop(key, None)
            if key in other.given:
                given[key] = other.given[key]
                sources[key] = other.sources.get(key, "")
        for table in tables:
            entries.pop(table, None)
            if table in other.entries:
                entries[table] = other.entries[table]
        return Settings(given, sources, entries)


class Problem(Exception):
    """One thing wrong with the settings. ``place``: the path of keys and positions in the file, if it is about one."""

    def __init__(self, reason: str, place: tuple[str | int, ...] = ()) -> None:
        super().__init__(reason)
        self.place = place


def problems_of(error: BadValue, place: tuple[str | int, ...]) -> list[Problem]:
    """Everything that is wrong in a value that stands at ``place``."""
    return [Problem(str(each), (*place, *each.path)) for each in (error, *error.others)]


Check = Callable[[Settings], list[Problem]]
"""Says what does not fit together although each setting by itself is sound; each problem at the key to blame."""
