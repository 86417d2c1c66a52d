"""DHCP options in the file and on the command line: by name, by code, or in the classic way."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.policy import OWN_OPTIONS
from ...ctl.protocol import LEASE_TIME_OPTION, parse_option_spec
from ...dhcp import encode_option, option_code
from ...dhcp.constants import OPT_SERVER_ID
from .kinds import BadValue, shown

MAX_OPTION_BYTES = 1024  # of one option: RFC 3396 splits it; more does not fit a datagram beside the rest
_NEVER_GIVEN = OWN_OPTIONS - {LEASE_TIME_OPTION, OPT_SERVER_ID}
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
        code = _code(value)
        _refuse(code, OWN_OPTIONS)
        return code

    def parse(self, text: str) -> int:
        return self.read(int(text) if text.isascii() and text.isdecimal() and len(text) <= 3 else text)

    def describe(self) -> str:
        return "the name or code of an option"


def _one(name: str, given: object) -> tuple[int, bytes]:
    code = _code_of(name)
    if code in _DERIVED:
        raise BadValue(f"use {_DERIVED[code]} instead")
    return code, _encoded(code, given)


def _code(name: str | int) -> int:
    try:
        return option_code(name)
    except ValueError as error:
        raise BadValue(str(error)) from None


def _code_of(text: str) -> int:
    return _code(int(text) if text.isascii() and text.isdecimal() and len(text) <= 3 else text)


def _refuse(code: int, own: frozenset[int]) -> None:
    if code in own:
        raise BadValue(f"option {code} is set by the server itself; leave it out")


def _encoded(code: int, given: object) -> bytes:
    _refuse(code, _NEVER_GIVEN)
    try:
        data = encode_option(code, given)
    except ValueError as error:
        raise BadValue(str(error)) from None
    if len(data) > MAX_OPTION_BYTES:
        raise BadValue(f"has {len(data)} bytes; at most {MAX_OPTION_BYTES} fit")
    return _checked(code, data)


def _checked(code: int, data: bytes) -> bytes:
    if code == OPT_SERVER_ID and (len(data) != 4 or not any(data)):
        raise BadValue("option 54 (server identifier) has 4 bytes that are not all 0")
    return data


def parse_option(text: str) -> tuple[int, bytes]:
    """Read the argument of ``-o``: ``NAME=VALUE`` (lists with commas) or the classic ``CODE:LEN:B1.B2…``; option 51 is
    let through. Raises :class:`~.kinds.BadValue`."""
    name, equals, value = text.partition("=")
    if not equals or ":" in name:
        try:
            code, data = parse_option_spec(text)
        except ValueError as error:
            raise BadValue(f"{error}; or write NAME=VALUE, for example dns-servers=10.0.0.1") from None
        _refuse(code, _NEVER_GIVEN)
        return code, _checked(code, data)
    code = LEASE_TIME_OPTION if name == "lease-time" else _code_of(name)
    return code, _encoded(code, value)


OPTIONS = _Options()
OPTION_NAME = _OptionName()
