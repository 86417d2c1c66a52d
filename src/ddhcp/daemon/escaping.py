"""Values from anywhere, made safe for a line of text: no control character, nothing but printable ASCII."""

from __future__ import annotations

import json


def escape(value: object) -> str:
    """A value as text for a log line: bare if harmless, else quoted with everything unusual escaped."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if text and all(" " < char <= "~" and char not in '"\\=' for char in text):
        return text
    return json.dumps(text)


def printable(text: str) -> str:
    """The text with everything unusual escaped."""
    return "".join(char if " " <= char <= "~" else json.dumps(char)[1:-1] for char in text)
