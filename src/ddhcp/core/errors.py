"""Errors that people read."""

from __future__ import annotations


class ConfigError(ValueError):
    """A value that cannot work; the text is one line that says what is wrong and what to do."""
