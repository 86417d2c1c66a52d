"""Reading the configuration anew while the daemon runs, and what of it can be taken without a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..core import NodeConfig
from ..values import dataclass
from .settings import Entries, Settings, schema

_LOG_KEYS = tuple(setting.key for setting in schema.SETTINGS if setting.table == "log")


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload brings. ``settings``: in force from now on. ``hook``: the command, parsed. ``handler``: where to
    log, None if that stays as it is. ``applied``, ``needs_restart``: keys and tables that changed."""

    settings: Settings
    config: NodeConfig
    hook: list[str] | None
    handler: logging.Handler | None
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]

    @property
    def log_level(self) -> int:
        """The lowest level to log."""
        return level_number(self.settings)


def level_number(settings: Settings) -> int:
    """The lowest :mod:`logging` level that ``settings`` have logged."""
    return logging.getLevelNamesMapping()[settings[schema.LOG_LEVEL].upper()]


class Reloader:
    """Compares the settings in force with what file and flags say now.

    ``read()``: the settings now. ``make_config``, ``make_hook``, ``make_handler``: what follows from settings; each
    raises StartError if it cannot be had.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        *,
        make_config: Callable[[Settings], NodeConfig],
        make_hook: Callable[[Settings], list[str] | None],
        make_handler: Callable[[Settings], logging.Handler],
    ) -> None:
        self._settings = settings
        self._read = read
        self._make_config = make_config
        self._make_hook = make_hook
        self._make_handler = make_handler

    def prepare(self) -> Change:
        """What to change. Nothing is changed yet, and nothing at all if this raises StartError."""
        old, new = self._settings, self._read()
        changed = [setting for setting in schema.SETTINGS if old[setting] != new[setting]]
        tables = [entries for entries in schema.ENTRIES if _values(old, entries) != _values(new, entries)]
        applied = [setting.key for setting in changed if setting.reloadable]
        applied_tables = [entries.name for entries in tables if entries.reloadable]
        settings = old.with_those_of(new, [s.key for s in schema.SETTINGS if s.reloadable], applied_tables)
        settings.file, settings.lines = new.file, new.lines
        has_other_log = any(key in _LOG_KEYS and key != schema.LOG_LEVEL.key for key in applied)
        return Change(
            settings,
            self._make_config(settings),
            self._make_hook(settings),
            self._make_handler(settings) if has_other_log else None,
            (*applied, *applied_tables),
            (
                *(setting.key for setting in changed if not setting.reloadable),
                *(entries.name for entries in tables if not entries.reloadable),
            ),
        )

    def accept(self, change: Change) -> None:
        """The change is in force."""
        self._settings = change.settings


def _values(settings: Settings, entries: Entries) -> list[dict[str, object]]:
    return [dict(entry.values) for entry in settings.all_of(entries)]
