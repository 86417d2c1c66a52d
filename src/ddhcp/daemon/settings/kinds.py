"""What a setting's value may be: how it is read from the file and from a flag, described, and written again."""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from ...values import dataclass

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_DIGITS = 10  # as many as the largest number of 32 bits has
MAX_TEXT = 4096  # characters; longer than any path, and nothing else comes near
MAX_OCTETS = 255  # as one option has
MAX_SHOWN = 40  # characters of a bad value that a message repeats
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:[0-9]{1,10}[smhdw])+", re.ASCII)
_INTERFACE = re.compile(r"[!-~]{1,15}", re.ASCII)  # the kernel's IFNAMSIZ, less its final zero
_NUMBER = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,10})?", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{2}(?:[:-]?[0-9a-f]{2})*", re.ASCII | re.IGNORECASE)
_MAC = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}", re.ASCII | re.IGNORECASE)


class BadValue(ValueError):
    """A value that cannot be used. The text says why, in one line, without naming the setting.

    ``path``: where in the value it is wrong (keys and positions), () for the value as a whole. ``others``: more that is
    wrong in the same value.
    """

    def __init__(self, reason: str, path: tuple[str | int, ...] = (), others: Sequence[BadValue] = ()) -> None:
        super().__init__(reason)
        self.path = path
        self.others = tuple(others)


class Kind(Protocol[T_co]):
    """The type of a setting. ``metavar`` stands for the value in a usage text."""

    metavar: str

    def read(self, value: object) -> T_co:
        """The value as the program uses it, from what TOML gave. Raises :class:`BadValue`."""

    def parse(self, text: str) -> T_co:
        """The same from the text of a flag. Raises :class:`BadValue`."""

    def describe(self) -> str:
        """What may be written, for people."""


def shown(value: object) -> str:
    """A value that somebody wrote, short and without control characters, for a message."""
    text = toml(value) if isinstance(value, str | int | float | bool | list | dict) else str(value)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def near(name: str, known: Sequence[str]) -> str:
    """A hint for a name that is not known, "" if nothing comes near."""
    close = difflib.get_close_matches(name.replace("_", "-").lower()[:MAX_TEXT], known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def toml(value: object) -> str:
    """A value as TOML writes it: text, numbers, booleans, lists and inline tables of these."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list() | tuple():
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case dict():
            return "{ " + ", ".join(f"{toml_key(key)} = {toml(item)}" for key, item in value.items()) + " }"
        case bytes():
            return toml(value.hex(":"))
    return json.dumps(str(value), ensure_ascii=True).replace("\x7f", "\\u007f")


def toml_key(key: object) -> str:
    """A key as TOML writes it."""
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else toml(text)


class _Switch:
    metavar = "true|false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise BadValue(f"{shown(value)} is neither true nor false")
        return value

    def parse(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise BadValue(f"{text[:MAX_SHOWN]!r} is neither true nor false")
        return text == "true"

    def describe(self) -> str:
        return "true or false"


class Whole:
    """A whole number from ``low`` to ``high``, both included."""

    metavar = "COUNT"

    def __init__(self, low: int, high: int, metavar: str = "COUNT") -> None:
        self.low, self.high, self.metavar = low, high, metavar

    def read(self, value: object) -> int:
        """See :class:`Kind`."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValue(f"{shown(value)} is not a whole number; {self._range()}")
        return self._checked(value)

    def parse(self, text: str) -> int:
        """See :class:`Kind`."""
        return self._checked(_whole(text))

    def _checked(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise BadValue(f"{shown(value)} is out of range; {self._range()}")
        return value

    def _range(self) -> str:
        return f"give {self.low} to {self.high}"

    def describe(self) -> str:
        """See :class:`Kind`."""
        return f"{self.low} to {self.high}"


class Seconds:
    """A time in whole seconds, as a number or as text such as "90s", "5m", "1h30m" or "2d"."""

    metavar = "SECONDS"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def read(self, value: object) -> int:
        """See :class:`Kind`."""
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValue(f'{shown(value)} is not a time; write seconds, or text such as "5m"')
        return self._checked(value)

    def parse(self, text: str) -> int:
        """See :class:`Kind`."""
        if len(text) <= MAX_SHOWN and _DURATION.fullmatch(text):
            parts = re.findall(r"([0-9]+)([smhdw])", text)
            return self._checked(sum(int(number) * _UNITS_S[unit] for number, unit in parts))
        return self._checked(_whole(text))

    def _checked(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise BadValue(f"{shown(value)} s is out of range; give {self.low} to {self.high} seconds")
        return value

    def describe(self) -> str:
        """See :class:`Kind`."""
        return f'{self.low} to {self.high} seconds, or text such as "5m"'


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


class Number:
    """A number, with a fraction if need be, from ``low`` to ``high``."""

    metavar = "NUMBER"

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def read(self, value: object) -> float:
        """See :class:`Kind`."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadValue(f"{shown(value)} is not a number; give {_plain(self.low)} to {_plain(self.high)}")
        if not self.low <= value <= self.high:  # neither is NaN
            raise BadValue(f"{shown(value)} is out of range; give {_plain(self.low)} to {_plain(self.high)}")
        return float(value)

    def parse(self, text: str) -> float:
        """See :class:`Kind`."""
        if not _NUMBER.fullmatch(text):
            raise BadValue(f"{shown(text)} is not a number; give {_plain(self.low)} to {_plain(self.high)}")
        return self.read(float(text))

    def describe(self) -> str:
        """See :class:`Kind`."""
        return f"{_plain(self.low)} to {_plain(self.high)}"


class Text:
    """Any text that ``check`` (raises :class:`BadValue`) has nothing against."""

    def __init__(
        self, what: str = "text", metavar: str = "TEXT", check: Callable[[str], None] | None = None, empty: bool = False
    ) -> None:
        self._what, self.metavar, self._check, self._empty = what, metavar, check, empty

    def read(self, value: object) -> str:
        """See :class:`Kind`."""
        if not isinstance(value, str):
            raise BadValue(f"{shown(value)} is not text; put it in quotes")
        return self.parse(value)

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        if not text and not self._empty:
            raise BadValue("is empty; leave it out instead")
        if len(text) > MAX_TEXT or "\0" in text:
            raise BadValue(f"{shown(text)} is no usable text: longer than {MAX_TEXT} characters or with a zero byte")
        if self._check is not None:
            self._check(text)
        return text

    def describe(self) -> str:
        """See :class:`Kind`."""
        return self._what


class Choice:
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.metavar = "|".join(words)

    def read(self, value: object) -> str:
        """See :class:`Kind`."""
        if not isinstance(value, str):
            raise BadValue(f"{shown(value)} is none of {', '.join(self.words)}")
        return self.parse(value)

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        if text not in self.words:
            raise BadValue(f"{shown(text)} is none of {', '.join(self.words)}{near(text, self.words)}")
        return text

    def describe(self) -> str:
        """See :class:`Kind`."""
        return ", ".join(self.words[:-1]) + f" or {self.words[-1]}"


class _Network:
    metavar = "PREFIX/LEN"

    def read(self, value: object) -> ipaddress.IPv4Network:
        if not isinstance(value, str):
            raise BadValue(f"{shown(value)} is not a network; write it as 10.0.0.0/16")
        return self.parse(value)

    def parse(self, text: str) -> ipaddress.IPv4Network:
        if "/" not in text:
            raise BadValue(f"{text[:MAX_SHOWN]!r} is not a network; write it as 10.0.0.0/16")
        try:
            return ipaddress.IPv4Network(text)
        except ValueError as error:
            reason = str(error) if len(text) <= MAX_SHOWN else "too long"
            raise BadValue(f"{text[:MAX_SHOWN]!r} is not a network ({reason}); write it as 10.0.0.0/16") from None

    def describe(self) -> str:
        return 'an IPv4 network, as "10.0.0.0/16"'


class _Address:
    metavar = "ADDRESS"

    def read(self, value: object) -> ipaddress.IPv4Address:
        if not isinstance(value, str):
            raise BadValue(f"{shown(value)} is not an IPv4 address; write it as 10.0.0.1")
        return self.parse(value)

    def parse(self, text: str) -> ipaddress.IPv4Address:
        try:
            return ipaddress.IPv4Address(text)
        except ValueError:
            raise BadValue(f"{shown(text)} is not an IPv4 address; write it as 10.0.0.1") from None

    def describe(self) -> str:
        return 'an IPv4 address, as "10.0.0.1"'


class _Mac:
    metavar = "MAC"

    def read(self, value: object) -> bytes:
        if not isinstance(value, str):
            raise BadValue(f"{shown(value)} is not a hardware address; write it as 02:00:5e:10:00:01")
        return self.parse(value)

    def parse(self, text: str) -> bytes:
        if not _MAC.fullmatch(text):
            raise BadValue(f"{shown(text)} is not a hardware address; write it as 02:00:5e:10:00:01")
        return bytes.fromhex(text.replace(":", "").replace("-", ""))

    def describe(self) -> str:
        return 'a hardware address, as "02:00:5e:10:00:01"'


class _Octets:
    metavar = "BYTES"

    def read(self, value: object) -> bytes:
        if not isinstance(value, str):
            raise BadValue(f"{shown(value)} is not text; put it in quotes")
        return self.parse(value)

    def parse(self, text: str) -> bytes:
        if text.startswith("text:"):
            data = text.removeprefix("text:").encode()
        elif _HEX.fullmatch(text):
            data = bytes.fromhex(text.replace(":", "").replace("-", ""))
        else:
            raise BadValue(f"{shown(text)} is neither hexadecimal bytes, as 01:02:0a, nor text after text:")
        if not 1 <= len(data) <= MAX_OCTETS:
            raise BadValue(f"has {len(data)} bytes; give 1 to {MAX_OCTETS}")
        return data

    def describe(self) -> str:
        return f'1 to {MAX_OCTETS} bytes in hexadecimal, as "01:02:0a", or "text:" and text'


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses from ``first`` to ``last``, both included."""

    first: ipaddress.IPv4Address
    last: ipaddress.IPv4Address

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class _Range:
    metavar = "FIRST-LAST"

    def read(self, value: object) -> Span:
        if not isinstance(value, str):
            raise BadValue(f"{shown(value)} is not a range; write it as 10.0.0.10-10.0.0.99")
        return self.parse(value)

    def parse(self, text: str) -> Span:
        first, dash, last = text.partition("-")
        if not dash:
            raise BadValue(f"{shown(text)} is not a range; write it as 10.0.0.10-10.0.0.99")
        return Span(ADDRESS.parse(first.strip()), ADDRESS.parse(last.strip()))

    def describe(self) -> str:
        return 'a range of addresses, as "10.0.0.10-10.0.0.99"'


class _Source(_Network):
    """A network, or the address of a single host."""

    def parse(self, text: str) -> ipaddress.IPv4Network:
        return super().parse(text if "/" in text else f"{ADDRESS.parse(text)}/32")

    def describe(self) -> str:
        return 'an IPv4 network or address, as "10.0.0.0/24" or "10.0.0.1"'


class OneOrMore(Generic[T]):
    """One value, or a list of them."""

    def __init__(self, item: Kind[T], most: int) -> None:
        self._list = ListOf(item, most)
        self.metavar = item.metavar

    def read(self, value: object) -> tuple[T, ...]:
        """See :class:`Kind`."""
        return self._list.read(value) if isinstance(value, list) else (self._list.item.read(value),)

    def parse(self, text: str) -> tuple[T, ...]:
        """See :class:`Kind`."""
        return self._list.parse(text)

    def describe(self) -> str:
        """See :class:`Kind`."""
        return f"{self._list.item.describe()}, or a list of these"


class ListOf(Generic[T]):
    """A list of values of one kind, in order, each once."""

    def __init__(self, item: Kind[T], most: int) -> None:
        self.item, self.most = item, most
        self.metavar = item.metavar

    def read(self, value: object) -> tuple[T, ...]:
        """See :class:`Kind`."""
        if not isinstance(value, list):
            raise BadValue(f"{shown(value)} is not a list; put it in brackets")
        if len(value) > self.most:
            raise BadValue(f"has {len(value)} entries; at most {self.most} are possible")
        found: dict[T, None] = {}
        wrong: list[BadValue] = []
        for position, item in enumerate(value):
            try:
                found[self.item.read(item)] = None
            except BadValue as error:
                wrong.append(BadValue(str(error), (position, *error.path)))
        if wrong:
            raise BadValue(str(wrong[0]), wrong[0].path, wrong[1:])
        return tuple(found)

    def parse(self, text: str) -> tuple[T, ...]:
        """One entry: a flag is given once for each."""
        return (self.item.parse(text),)

    def describe(self) -> str:
        """See :class:`Kind`."""
        return f"a list, each {self.item.describe()}"


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise BadValue(f"{text[:20]!r} is not a whole number of at most {MAX_DIGITS} digits")
    return int(text)


def _check_interface(text: str) -> None:
    if not _INTERFACE.fullmatch(text) or "/" in text or text in (".", ".."):
        raise BadValue(f"{shown(text)} is no name of an interface: 1 to 15 visible characters without /")


class _PathText(Text):
    """A path that stays right when the daemon changes its directory."""

    def __init__(self, words: tuple[str, ...] = ()) -> None:
        super().__init__("a path" + "".join(f', or "{word}"' for word in words), "PATH")
        self._words = words

    def read(self, value: object) -> str:
        text = super().read(value)
        if text != value:  # the file's meaning must not depend on where the daemon was started
            raise BadValue(f"{shown(value)} is not a full path; begin it with /")
        return text

    def parse(self, text: str) -> str:
        text = super().parse(text)
        return text if text in self._words else os.path.abspath(text)


SWITCH = _Switch()
NETWORK = _Network()
ADDRESS = _Address()
MAC = _Mac()
OCTETS = _Octets()
RANGE = _Range()
SOURCE = _Source()
INTERFACE = Text("the name of an interface", "IFACE", _check_interface)
PATH = _PathText()
STORE = _PathText(("memory",))
