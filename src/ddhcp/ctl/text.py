"""Values as people read them. Whatever came from the network is made harmless here: a host name can neither move the
cursor of a terminal nor colour anything."""

from __future__ import annotations

import os
import sys
import time

from rich.console import Console
from rich.table import Table
from rich.text import Text


def safe(value: object) -> str:
    """A value with every character that is not plainly printable (control characters, direction marks) escaped."""
    if value is None:
        return "-"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in str(value))


def text(value: object, style: str = "") -> Text:
    """A value as it stands: unlike a plain string, rich finds no markup in it."""
    return Text(safe(value), style=style)


def duration(seconds: float | None) -> str:
    """A span of time in two units at most: ``4m 20s``."""
    if seconds is None:
        return "-"
    left = round(abs(seconds))
    sign = "-" if seconds < 0 and left else ""
    for unit, size, smaller, smaller_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if left >= size:
            return f"{sign}{left // size}{unit} {left % size // smaller_size:02d}{smaller}"
    return f"{sign}{left}s"


def clock(at: float) -> str:
    """The time of day of a Unix time."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def count(value: object) -> str:
    """A number with thousands set apart."""
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else safe(value)


def console() -> Console:
    """Standard output. Colour only on a terminal, and not where NO_COLOR is set; a line that does not fit is folded,
    never cut."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 80
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=False, width=width)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table. ``right``: the columns whose values are numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made
