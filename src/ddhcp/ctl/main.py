"""``ddhcpctl``: ask a running daemon, classic or ours, and change its DHCP options."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from ddhcp import __version__

from .answers import Parser as AnswerParser
from .answers import parse_blocks, parse_options, parse_statistics
from .commands import EXIT_FAILURE, Parser, add_subcommands, run
from .connection import CLASSIC_SOCKET_PATH, CtlError, ask, collect, find_socket, printable
from .daemon import Daemon
from .protocol import (
    MAX_LOG_LEVEL,
    Command,
    Request,
    default_socket_path,
    lease_time_request,
    parse_option_code,
    parse_option_spec,
)

EXIT_SIGPIPE = 128 + 13  # what a shell reports for a program that its reader left

_ACTIONS = (
    "blocks", "dhcp_options", "statistics", "reset_statistics", "set_option", "remove_option", "lease_time",
    "log_level", "status",
)  # fmt: skip

DESCRIPTION = """\
Shows and changes what a running ddhcp daemon does. Works with the classic
daemon as well."""
EPILOG = """\
examples:
  ddhcpctl status                    how the node is, and what is wrong
  ddhcpctl explain 10.0.0.5          whose is it, and why does nobody get it
  ddhcpctl leases printer            leases of clients with that in their name
  ddhcpctl events --follow           what happens, as it happens
  ddhcpctl top                       all of it, live
  ddhcpctl COMMAND -h                more about a command

examples of the classic actions:
  ddhcpctl -b                        which node owns which block of the pool
  ddhcpctl -b --json | jq .blocks    the same for programs
  ddhcpctl -o 6:4:10.0.0.53          a name server for clients (option 6)
  ddhcpctl -r 6                      and no more
  ddhcpctl -l 3600                   leases last an hour from now on
  ddhcpctl -C /tmp/ddhcpd_ctl -s     statistics of a classic daemon

block states:
  0 free   1 tentative (somebody asks for it)   2 claimed by another node
  3 we ask for it   4 ours   5 never used

exit status: 0 if the daemon answered, 2 if not or if the request is wrong.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ddhcpctl",
        usage="ddhcpctl [-C PATH] [--json] COMMAND ...\n       ddhcpctl [-C PATH] [--json] ACTION",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add_subcommands(parser, _common_options())
    asks = parser.add_argument_group("actions of the classic tool (exactly one, if no command is given)")
    actions = asks.add_mutually_exclusive_group()
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
        metavar="PATH|NAME",
        help=f"control socket, or the NAME of ddhcp@NAME (default: {default}, else that of the only ddhcp@NAME, else a "
        f"classic daemon's {CLASSIC_SOCKET_PATH})",
    )
    how.add_argument("--json", action="store_true", help="print JSON instead of the daemon's own text")
    how.add_argument("-V", "--version", action="version", version=f"ddhcpctl {__version__}")
    how.add_argument("-h", "--help", action="help", help="show this help and exit")
    return parser


def _common_options() -> Parser:
    """What may stand behind a subcommand as well as before it."""
    common = Parser(add_help=False)
    common.add_argument(
        "-C", "--socket", metavar="PATH|NAME", default=argparse.SUPPRESS, help="control socket, or NAME of ddhcp@NAME"
    )
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    return common


def build_request(options: argparse.Namespace) -> tuple[Request, AnswerParser | None]:
    """The request that the command line asks for, and who reads its answer (None: there is nothing to read).
    Raises :class:`ValueError` for a malformed argument."""
    if not any(getattr(options, action) not in (None, False) for action in _ACTIONS):
        raise ValueError("a command such as status, or an action such as -b, is required (try -h)")
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
    if options.subcommand is not None:
        given = next((name for name in _ACTIONS if getattr(options, name) not in (None, False)), None)
        if given is not None:
            raise ValueError(
                f"--{given.replace('_', '-')} and {options.subcommand} exclude each other; give one of them"
            )
        return run(Daemon(find_socket(options.socket)), options)
    request, parser = build_request(options)
    path = find_socket(options.socket)
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
    answer = collect(chunks)
    if parser is None:
        data: dict[str, object] = {"ok": True}
    elif not answer:
        hint = "; a classic daemon does not know this request" if parser is _parse_json else ""
        raise CtlError(f"the daemon at {path} closed the connection without an answer{hint}")
    else:
        data = parser(answer.decode(errors="replace"))
    print(json.dumps(data, indent=2), flush=True)
    return 0


def _discard_output() -> None:
    """Give what is still buffered somewhere to go: Python flushes once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse_json(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("the answer is not a JSON object")
    if "error" in value:
        raise ValueError(printable(str(value["error"])))
    return value


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise ValueError(f"{what} {text[:20]!r} is not a number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
