"""``ddhcpctl``: ask a running daemon, classic or ours, and change its DHCP options."""

from __future__ import annotations

import argparse
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from ddhcp import __version__

from .answers import Parser, parse_blocks, parse_options, parse_statistics
from .protocol import (
    ERROR_PREFIX,
    MAX_LOG_LEVEL,
    RUNTIME_DIR_VARIABLE,
    Command,
    Request,
    default_socket_path,
    lease_time_request,
    parse_option_code,
    parse_option_spec,
)

TIMEOUT_S = 10.0  # a daemon that says nothing for so long is stuck
MAX_ANSWER = 1 << 28  # bytes read for --json; a block table of four million rows stays below
CHUNK = 1 << 16
CLASSIC_SOCKET_PATH = Path("/tmp/ddhcpd_ctl")
EXIT_FAILURE = 2
EXIT_SIGPIPE = 128 + 13  # what a shell reports for a program that its reader left

DESCRIPTION = "Shows and changes what a running ddhcp daemon does. Works with the classic daemon as well."
EPILOG = """\
examples:
  ddhcpctl -b                        which node owns which block of the pool
  ddhcpctl -b --json | jq .blocks    the same for programs
  ddhcpctl -o 6:4:10.0.0.53          tell clients the name server 10.0.0.53 (option 6, 4 bytes)
  ddhcpctl -r 6                      and no more
  ddhcpctl -l 3600                   leases last an hour from now on
  ddhcpctl -C /tmp/ddhcpd_ctl -s     statistics of a classic daemon

block states:
  0 free   1 tentative (somebody asks for it)   2 claimed by another node
  3 we ask for it   4 ours   5 never used

exit status: 0 if the daemon answered, 2 if not or if the request is wrong.
"""


class CtlError(Exception):
    """What went wrong, in one line for people."""


class _Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage text that would bury them."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_FAILURE, f"{self.prog}: {message} (try -h)\n")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = _Parser(
        prog="ddhcpctl",
        usage="ddhcpctl [-C PATH] [--json] ACTION",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    asks = parser.add_argument_group("actions (exactly one)")
    actions = asks.add_mutually_exclusive_group(required=True)
    actions.add_argument("-b", "--blocks", action="store_true", help="show blocks in use and their owners")
    actions.add_argument("-d", "--dhcp-options", action="store_true", help="show the options for clients")
    actions.add_argument("-s", "--statistics", action="store_true", help="show packet and block counters")
    actions.add_argument(
        "-S", "--reset-statistics", action="store_true", help="show the counters, then start again from 0"
    )
    actions.add_argument(
        "-o",
        "--set-option",
        metavar="CODE:LEN:B1.B2...",
        help="set a DHCP option: its code, number of bytes, and the bytes in decimal",
    )
    actions.add_argument("-r", "--remove-option", metavar="CODE", help="remove a DHCP option")
    actions.add_argument("-l", "--lease-time", metavar="SECONDS", help="set the lease time (DHCP option 51)")
    actions.add_argument("-v", "--log-level", metavar="LEVEL", help="set the log level (0: least)")
    actions.add_argument("--status", action="store_true", help="show the node (not on a classic daemon)")

    how = parser.add_argument_group("how")
    default = str(default_socket_path()).replace("%", "%%")  # argparse formats its help texts
    how.add_argument(
        "-C",
        "--socket",
        metavar="PATH",
        type=Path,
        help=f"control socket (default: {default}, else a classic daemon's {CLASSIC_SOCKET_PATH})",
    )
    how.add_argument("--json", action="store_true", help="print JSON instead of the daemon's own text")
    how.add_argument("-V", "--version", action="version", version=f"ddhcpctl {__version__}")
    how.add_argument("-h", "--help", action="help", help="show this help and exit")
    return parser


def build_request(options: argparse.Namespace) -> tuple[Request, Parser | None]:
    """The request that the command line asks for, and who reads its answer (None: there is nothing to read).
    Raises :class:`ValueError` for a malformed argument."""
    if options.blocks:
        return Request(Command.SHOW_BLOCKS), parse_blocks
    if options.dhcp_options:
        return Request(Command.SHOW_OPTIONS), parse_options
    if options.statistics:
        return Request(Command.STATISTICS), parse_statistics
    if options.reset_statistics:
        return Request(Command.STATISTICS_RESET), parse_statistics
    if options.status:
        return Request(Command.JSON, arguments={"command": "status"}), _parse_json
    if options.set_option is not None:
        code, payload = parse_option_spec(options.set_option)
        return Request(Command.SET_OPTION, code=code, payload=payload), None
    if options.remove_option is not None:
        return Request(Command.REMOVE_OPTION, code=parse_option_code(options.remove_option)), None
    if options.lease_time is not None:
        return lease_time_request(_number(options.lease_time, "lease time")), None
    level = _number(options.log_level, "log level")
    if level > MAX_LOG_LEVEL:
        raise ValueError(f"log level {level} is not between 0 and {MAX_LOG_LEVEL}")
    return Request(Command.SET_LOG_LEVEL, level=level), None


def ask(path: Path, request: Request, timeout_s: float = TIMEOUT_S) -> Iterator[bytes]:
    """Send ``request`` to the daemon at ``path`` and yield its answer as it arrives. Raises :class:`CtlError`
    if there is no daemon, it falls silent for ``timeout_s``, or it answers with an error."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(request.encode())
            if request.command is Command.JSON:
                # A classic request is whole by its length; only what has no length needs the half-close.
                connection.shutdown(socket.SHUT_WR)
            beginning = b""
            while len(beginning) < len(ERROR_PREFIX) and (chunk := connection.recv(CHUNK)):
                beginning += chunk
            if beginning.startswith(ERROR_PREFIX):
                raise CtlError(_error_line(connection, beginning))
            while beginning:
                yield beginning
                beginning = connection.recv(CHUNK)
    except TimeoutError:
        raise CtlError(f"the daemon at {path} did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise CtlError(_explain(path, error)) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        return _run(options)
    except (CtlError, ValueError) as error:
        print(f"ddhcpctl: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except BrokenPipeError:  # whoever reads our output has seen enough
        _discard_output()
        return EXIT_SIGPIPE
    except OSError as error:  # those of the socket are CtlErrors by now
        _discard_output()
        print(f"ddhcpctl: cannot write the answer: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return 128 + 2


def _run(options: argparse.Namespace) -> int:
    request, parser = build_request(options)
    path = options.socket or find_socket()
    chunks = ask(path, request)
    if not options.json and parser is not _parse_json:
        answered = False
        for chunk in chunks:
            answered = True
            sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
        if parser is not None and not answered:
            raise CtlError(f"the daemon at {path} closed the connection without an answer")
        return 0
    answer = _collect(chunks)
    if parser is None:
        data: dict[str, object] = {"ok": True}
    elif not answer:
        hint = "; a classic daemon does not know this request" if parser is _parse_json else ""
        raise CtlError(f"the daemon at {path} closed the connection without an answer{hint}")
    else:
        data = parser(answer.decode(errors="replace"))
    print(json.dumps(data, indent=2), flush=True)
    return 0


def find_socket() -> Path:
    """The default control socket or, where there is none and the environment does not insist on one, that of a
    classic daemon; the latter is told on standard error. It lies where every user can write, so it counts only if
    root or the caller made it."""
    path = default_socket_path()
    try:
        if RUNTIME_DIR_VARIABLE not in os.environ and not path.exists():
            classic = CLASSIC_SOCKET_PATH.lstat()
            if stat.S_ISSOCK(classic.st_mode) and classic.st_uid in (0, os.geteuid()):
                print(f"ddhcpctl: no control socket at {path}, asking the classic daemon", file=sys.stderr)
                return CLASSIC_SOCKET_PATH
    except OSError:
        pass  # nothing classic there, or a directory that may not be searched: connecting says what is wrong
    return path


def _discard_output() -> None:
    """Give what is still buffered somewhere to go: Python flushes once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _collect(chunks: Iterator[bytes]) -> bytes:
    answer = bytearray()
    for chunk in chunks:
        answer += chunk
        if len(answer) > MAX_ANSWER:
            raise CtlError(f"the answer is longer than {MAX_ANSWER} bytes")
    return bytes(answer)


def _parse_json(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("the answer is not a JSON object")
    if "error" in value:
        raise ValueError(_printable(str(value["error"])))
    return value


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise ValueError(f"{what} {text[:20]!r} is not a number")
    return int(text)


def _error_line(connection: socket.socket, beginning: bytes) -> str:
    while len(beginning) < CHUNK and b"\n" not in beginning and (chunk := connection.recv(CHUNK)):
        beginning += chunk
    line = beginning[len(ERROR_PREFIX) :].split(b"\n", 1)[0]
    return _printable(line.decode(errors="replace")) or "the daemon refused the request"


def _printable(text: str) -> str:
    """``text`` without anything that could move the cursor of a terminal or start a new line."""
    return "".join(character if character.isprintable() else "?" for character in text).strip()


def _explain(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return f"no control socket at {path}; is the daemon running? (-C names another one)"
        case ConnectionRefusedError():
            return f"nobody listens at {path}; the daemon is not running"
        case PermissionError():
            return f"no permission to open {path}; run as the daemon's user or as root"
        case ConnectionResetError() | BrokenPipeError():
            return f"the daemon at {path} closed the connection"
        case _:
            return f"cannot ask the daemon at {path}: {error.strerror or error}"


if __name__ == "__main__":
    sys.exit(main())
