"""What the daemon can be told: the settings with their types, defaults and texts, the file they stand in, and the
documents that are made from them."""

from .reading import DEFAULT_PATH, blaming, combine, load, parse, refuse
from .setting import Entries, Entry, Setting, Settings

__all__ = ["DEFAULT_PATH", "Entries", "Entry", "Setting", "Settings", "blaming", "combine", "load", "parse", "refuse"]
