"""Requests on the control socket, both sides (PROTOCOL, Control tool).

A UNIX stream socket: the client writes one request, the daemon answers with text and closes. The first byte
is the command. Requests 1-7 are those of classic tools; 64 is ours and carries a JSON object up to the
client's half-close. A classic daemon closes on a command that it does not know; ours answers "error: REASON".
"""

from __future__ import annotations

import enum
import json
import os
from pathlib import Path
from typing import NoReturn

from ..values import dataclass, field

MAX_REQUEST = 4096  # bytes; the longest classic request has 258, and nothing of ours needs more
MIN_OPTION_CODE = 1  # 0 is padding and 255 ends the options (RFC 2132 3.1, 3.2): neither carries a value
MAX_OPTION_CODE = 254
MAX_OPTION_LEN = 255
MAX_LOG_LEVEL = 255
LEASE_TIME_OPTION = 51  # RFC 2132 9.2
MAX_LEASE_TIME_S = 0xFFFFFFFF
SOCKET_NAME = "ddhcp.sock"
RUNTIME_DIR_VARIABLE = "DDHCP_RUNTIME_DIR"  # environment variable that names the socket's directory
ERROR_PREFIX = b"error: "  # how our daemon begins the one line that refuses a request


class Command(enum.IntEnum):
    """The first byte of a request."""

    SHOW_BLOCKS = 1
    SHOW_OPTIONS = 2
    SET_OPTION = 3
    REMOVE_OPTION = 4
    SET_LOG_LEVEL = 5
    STATISTICS = 6
    STATISTICS_RESET = 7
    JSON = 64


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Which fields count depends on ``command``.

    ``code``: option code (1-254) to set or remove. ``payload``: the option's value, at most 255 bytes.
    ``level``: log level (0-255). ``arguments``: the object of a JSON request, whose key ``"command"`` holds a
    string.
    """

    command: Command
    code: int = 0
    payload: bytes = b""
    level: int = 0
    arguments: dict[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes on the socket; :func:`parse_request` is the inverse."""
        head = bytes([self.command])
        match self.command:
            case Command.SET_OPTION:
                return head + bytes([self.code, len(self.payload)]) + self.payload
            case Command.REMOVE_OPTION:
                return head + bytes([self.code])
            case Command.SET_LOG_LEVEL:
                return head + bytes([self.level])
            case Command.JSON:
                return head + json.dumps(self.arguments).encode()
            case _:
                return head


def parse_request(data: bytes) -> Request:
    """Read one whole request. Anything else raises :class:`ValueError` with a one-line reason.

    Bytes after a complete classic request are ignored: a classic tool may send its whole buffer.
    """
    if not data:
        raise ValueError("empty request")
    if len(data) > MAX_REQUEST:
        raise ValueError(f"request longer than {MAX_REQUEST} bytes")
    try:
        command = Command(data[0])
    except ValueError:
        raise ValueError(f"unknown command {data[0]}") from None
    match command:
        case Command.SET_OPTION:
            return _parse_set_option(data)
        case Command.REMOVE_OPTION:
            return Request(command, code=_option_code(_byte(data, 1, "an option code")))
        case Command.SET_LOG_LEVEL:
            return Request(command, level=_byte(data, 1, "a log level"))
        case Command.JSON:
            return Request(command, arguments=_parse_json(data[1:]))
        case _:
            return Request(command)


def request_is_complete(data: bytes) -> bool:
    """Whether ``data``, the beginning of a request, needs no more bytes. Classic tools do not half-close, so
    the daemon must answer as soon as a classic request is whole; a JSON request ends with the half-close.
    Garbage is complete: nothing that follows makes it better."""
    if not data:
        return False
    if len(data) > MAX_REQUEST:
        return True
    match data[0]:
        case Command.SET_OPTION:
            return len(data) >= 3 and len(data) >= 3 + data[2]
        case Command.REMOVE_OPTION | Command.SET_LOG_LEVEL:
            return len(data) >= 2
        case Command.JSON:
            return False
        case _:
            return True


def parse_option_spec(spec: str) -> tuple[int, bytes]:
    """Read ``CODE:LEN:B1.B2…`` (decimal), the classic way to write a DHCP option: ``"3:4:10.0.0.1"`` gives
    ``(3, b"\\x0a\\x00\\x00\\x01")``. Raises :class:`ValueError` with a one-line reason."""
    parts = spec.split(":")
    if len(parts) != 3:
        raise ValueError(f"option {spec!r} is not CODE:LEN:B1.B2... (for example 3:4:10.0.0.1)")
    code = _option_code(_decimal(parts[0], "option code", 255))
    length = _decimal(parts[1], f"length of option {code}", MAX_OPTION_LEN)
    texts = parts[2].split(".") if parts[2] else []
    payload = bytes(_decimal(text, f"byte of option {code}", 255) for text in texts)
    if len(payload) != length:
        raise ValueError(f"option {code} announces {length} bytes but has {len(payload)}")
    return code, payload


def parse_option_code(text: str) -> int:
    """Read an option code (decimal, 1-254). Raises :class:`ValueError` with a one-line reason."""
    return _option_code(_decimal(text, "option code", 255))


def lease_time_request(seconds: int) -> Request:
    """Set the lease time (1 to 2^32 - 1 seconds), which is DHCP option 51. Raises :class:`ValueError`."""
    if not 1 <= seconds <= MAX_LEASE_TIME_S:
        raise ValueError(f"lease time {seconds} s is not between 1 and {MAX_LEASE_TIME_S}")
    return Request(Command.SET_OPTION, code=LEASE_TIME_OPTION, payload=seconds.to_bytes(4, "big"))


def default_socket_path() -> Path:
    """Where daemon and tool meet unless told otherwise: in a directory that only its owner can write to.

    ``$DDHCP_RUNTIME_DIR`` if set; else ``/run/ddhcp`` for root, and for others ``$XDG_RUNTIME_DIR/ddhcp`` or
    ``~/.cache/ddhcp``.
    """
    if chosen := os.environ.get(RUNTIME_DIR_VARIABLE):
        return Path(chosen) / SOCKET_NAME
    if os.geteuid() == 0:
        return Path("/run/ddhcp") / SOCKET_NAME
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "ddhcp" / SOCKET_NAME
    return Path(os.path.expanduser("~")) / ".cache" / "ddhcp" / SOCKET_NAME


def _byte(data: bytes, position: int, what: str) -> int:
    if len(data) <= position:
        raise ValueError(f"request ends before {what}")
    return data[position]


def _option_code(code: int) -> int:
    if not MIN_OPTION_CODE <= code <= MAX_OPTION_CODE:
        raise ValueError(f"option code {code} is not between {MIN_OPTION_CODE} and {MAX_OPTION_CODE}")
    return code


def _decimal(text: str, what: str, largest: int) -> int:
    """A plain decimal number: ``int`` would also accept signs, spaces, underscores and foreign digits."""
    if not (text.isascii() and text.isdigit()) or len(text.lstrip("0")) > 3 or int(text) > largest:
        shown = text if len(text) <= 20 else text[:20] + "..."
        raise ValueError(f"{what} {shown!r} is not a number from 0 to {largest}")
    return int(text)


def _parse_set_option(data: bytes) -> Request:
    code = _option_code(_byte(data, 1, "an option code"))
    length = _byte(data, 2, "an option length")
    payload = data[3 : 3 + length]
    if len(payload) != length:
        raise ValueError(f"option {code} announces {length} bytes but has {len(payload)}")
    return Request(Command.SET_OPTION, code=code, payload=payload)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python would read NaN and Infinity


def _parse_json(text: bytes) -> dict[str, object]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # an escaped half of a surrogate pair cannot be written again
    except (ValueError, RecursionError):  # not JSON, not Unicode, an absurd number, or nested beyond reason
        raise ValueError("request is not a JSON object") from None
    if not isinstance(value, dict) or not isinstance(value.get("command"), str):
        raise ValueError('request is not a JSON object with a "command"')
    return value
