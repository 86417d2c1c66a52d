"""DHCP options in the file and on the command line: by name, by code, or in the classic way."""

from __future__ import annotations

from collections.abc import Mapping

from ...ctl.protocol import LEASE_TIME_OPTION, parse_option_spec
from ...dhcp import encode_option, option_code
from .kinds import BadValue, shown

MAX_OPTION_BYTES = 1024  # of one option: RFC 3396 splits it; more does not fit a datagram beside the rest
_DERIVED = {51: "dhcp.lease-time", 58: "dhcp.lease-time", 59: "dhcp.lease-time"}


class _Options:
    """A table of option names (or codes) and values."""

    metavar = "OPTION"

    def read(self, value: object) -> Mapping[int, bytes]:
        if not isinstance(value, dict):
            raise BadValue(f"{shown(value)} is not a table of options")
        options: dict[int, bytes] = {}
        wrong: list[BadValue] = []
        for name, given in value.items():
            try:
                code, data = _one(name, given)
                if code in options:
                    raise BadValue("is given twice, by its name and by its code")
                options[code] = data
            except BadValue as error:
                wrong.append(BadValue(str(error), (name,)))
        if wrong:
            raise BadValue(str(wrong[0]), wrong[0].path, wrong[1:])
        return options

    def parse(self, text: str) -> Mapping[int, bytes]:
        code, data = parse_option(text)
        return {code: data}

    def describe(self) -> str:
        return "a table of option names and values"


class _OptionName:
    """An option's name or code, as its code."""

    metavar = "OPTION"

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise BadValue(f"{shown(value)} is not the name of an option")
        try:
            return option_code(value)
        except ValueError as error:
            raise BadValue(str(error)) from None

    def parse(self, text: str) -> int:
        return self.read(int(text) if text.isascii() and text.isdecimal() and len(text) <= 3 else text)

    def describe(self) -> str:
        return "the name or code of an option"


def _one(name: str, given: object) -> tuple[int, bytes]:
    code, data = _encoded(name, given)
    if code in _DERIVED:
        raise BadValue(f"use {_DERIVED[code]} instead")
    return code, data


def _encoded(name: str, given: object) -> tuple[int, bytes]:
    try:
        code = option_code(int(name) if name.isascii() and name.isdecimal() and len(name) <= 3 else name)
        data = encode_option(code, given)
    except ValueError as error:
        raise BadValue(str(error)) from None
    if len(data) > MAX_OPTION_BYTES:
        raise BadValue(f"has {len(data)} bytes; at most {MAX_OPTION_BYTES} fit")
    return code, data


def parse_option(text: str) -> tuple[int, bytes]:
    """Read the argument of ``-o``: ``NAME=VALUE`` (lists with commas) or the classic ``CODE:LEN:B1.B2…``; option 51 is
    let through. Raises :class:`~.kinds.BadValue`."""
    name, equals, value = text.partition("=")
    if not equals or ":" in name:
        try:
            return parse_option_spec(text)
        except ValueError as error:
            raise BadValue(f"{error}; or write NAME=VALUE, for example dns-servers=10.0.0.1") from None
    if name == "lease-time":
        name = str(LEASE_TIME_OPTION)
    return _encoded(name, value)


OPTIONS = _Options()
OPTION_NAME = _OptionName()
