"""What stops a start."""

from collections.abc import Sequence


class StartError(Exception):
    """The daemon cannot start as asked; the text is one line that says what is wrong and what to do. Exit status 2."""


class SettingsError(StartError):
    """The settings cannot be used. ``lines``: one for each thing that is wrong."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)
