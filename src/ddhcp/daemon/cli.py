"""The command line: what can be asked of the daemon, and the checks that need no interface."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..core import Pool
from ..ctl.protocol import LEASE_TIME_OPTION, RUNTIME_DIR_VARIABLE, default_socket_path
from ..values import dataclass
from .errors import StartError
from .settings import DEFAULT_PATH, Setting, Settings, combine, dhcp, load, schema
from .settings.kinds import BadValue, Kind, ListOf
from .settings.options import parse_option

_LEVELS = ("warning", "info", "debug")

_DESCRIPTION = """\
A distributed DHCP daemon. Every realm has its own server; the servers agree
over the server interface which of them leases which block of one address pool,
so a client keeps its address when it moves to another realm."""

_EXAMPLES = """\
examples:
  the pool is the network of client0's address:
    ddhcp -i server0 -c client0
  part of a network, router and DNS server given:
    ddhcp -i bat0 -c br-client -N 10.0.128.0/17 -b 5 -t 15 -B 60 \\
          -o router=10.0.0.1 -o dns-servers=10.0.0.53
  in the background, two client interfaces, a hook:
    ddhcp -d -H /etc/ddhcp/hook -c br0 -c br1
  everything from a file; other flags go before what it says:
    ddhcp -F /etc/ddhcp/ddhcp.toml

ddhcpctl shows and changes what a running daemon does.
Exit status: 0 stopped when told to, 2 could not start."""

# The flags by group, in the order of the help: (title, the settings that have a flag there).
_GROUPS: tuple[tuple[str, tuple[Setting[object], ...]], ...] = (
    ("interfaces", (schema.CLIENT_INTERFACES, schema.SERVER_INTERFACE)),
    ("address pool, the same on every node", (schema.NETWORK_SETTING, schema.BLOCK_BITS)),
    (
        "claiming",
        (
            schema.TENTATIVE_TIMEOUT, schema.BLOCK_TIMEOUT, schema.NEEDLESS_TIMEOUT, schema.SPARE_LEASES,
            schema.LEARNING_PHASE,
        ),
    ),
    ("swarm", (schema.KEY_FILE, schema.KEY_MODE, schema.REPLICAS)),
    ("DHCP", (schema.HOOK, schema.HOOK_EVENTS)),
    ("names", (schema.NAMES_FILE, schema.NAMES_DOMAIN)),
    ("HTTP", (schema.HTTP_LISTEN, schema.HTTP_NAMES, schema.HTTP_TOKEN_FILE)),
    (
        "running",
        (
            schema.DAEMONIZE, schema.CONTROL_SOCKET, schema.STORE_PATH, schema.PID_FILE, schema.USER, schema.GROUP,
            schema.LOG_FILE, schema.SYSLOG, schema.LOG_FORMAT,
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a command line asks for.

    ``action``: "run", "check-config" or "print-config". ``flags``: the settings that it gives. ``config``: the file
    that gives the others. ``verbosity``: how many steps to log more.
    """

    action: str
    flags: Settings
    config: Path | None
    verbosity: int

    def settings(self) -> Settings:
        """File and flags together; reads the file. Raises :class:`StartError`."""
        settings = combine(load(self.config) if self.config is not None else Settings(), self.flags)
        if self.verbosity:
            level = _LEVELS.index(settings[schema.LOG_LEVEL]) + self.verbosity
            settings.put(schema.LOG_LEVEL, _LEVELS[min(level, len(_LEVELS) - 1)], "-v")
        return settings


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise StartError(f"{message}; ddhcp -h shows the usage")


def _reads(kind: Kind[object]) -> Callable[[str], object]:
    """The type of an argument, as argparse wants it."""
    item = kind.item if isinstance(kind, ListOf) else kind

    def read(text: str) -> object:
        try:
            return item.parse(text)
        except BadValue as error:
            raise argparse.ArgumentTypeError(str(error).replace("%", "%%")) from None

    return read


def _option(text: str) -> tuple[int, bytes]:
    try:
        return parse_option(text)
    except BadValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _default_text(setting: Setting[object]) -> str:
    if setting is schema.CONTROL_SOCKET:
        return str(default_socket_path())
    if setting.default_text:
        return setting.default_text
    return ", ".join(setting.default) if isinstance(setting.default, tuple) else str(setting.default)


def _add_flag(group: argparse._ArgumentGroup, setting: Setting[object]) -> None:
    """The flag of a setting. It is absent from the result unless it is given."""
    text = setting.flag_help
    if setting.flag_value is not None:
        group.add_argument(
            *setting.flags, dest=setting.key, action="store_const", const=setting.flag_value,
            default=argparse.SUPPRESS, help=text,
        )  # fmt: skip
        return
    if "(default" not in text:
        text += f" (default {_default_text(setting)})"
    group.add_argument(
        *setting.flags, dest=setting.key, metavar=setting.kind.metavar, type=_reads(setting.kind),
        action="append" if isinstance(setting.kind, ListOf) else "store", default=argparse.SUPPRESS,
        help=text.replace("%", "%%"),
    )  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The parser of the daemon's command line."""
    parser = _Parser(
        prog="ddhcp", description=_DESCRIPTION, epilog=_EXAMPLES, add_help=False, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    groups = {}
    for title, settings in _GROUPS:
        groups[title] = parser.add_argument_group(title)
        for setting in settings:
            _add_flag(groups[title], setting)
    groups["interfaces"].add_argument(
        "-S", "--no-clients", action="store_true", help="serve no clients, take part in the swarm only"
    )
    groups["DHCP"].add_argument(
        "-o", "--option", metavar="OPTION", type=_option, action="append", default=[],
        help="give clients a DHCP option, as NAME=VALUE or as CODE:LEN:B1.B2... with bytes in decimal; 51 is the "
        "lease time (default 300 s)",
    )  # fmt: skip
    running = groups["running"]
    running.add_argument(
        "-D", "--foreground", action="store_true", help="run in the foreground, log to the console (default)"
    )
    running.add_argument("-v", "--verbose", action="count", default=0, help="log more")
    config = parser.add_argument_group("configuration file")
    config.add_argument(
        "-F", "--config", metavar="PATH", type=_path, help="read settings from a file; flags go before what it says"
    )
    config.add_argument(
        "--check-config", metavar="PATH", nargs="?", const="", type=_path,
        help=f"say what is wrong with the file (default: that of -F, or {DEFAULT_PATH}), and end",
    )  # fmt: skip
    config.add_argument(
        "--print-config", action="store_true", help="print the settings in force and where each comes from, and end"
    )
    config.add_argument("-V", "--version", action="version", version=f"ddhcp {__version__}")
    config.add_argument("-h", "--help", action="help", help="show this")
    return parser


def _path(text: str) -> str:
    return os.path.abspath(text) if text else text


def parse(arguments: Sequence[str] | None) -> Invocation:
    """Read the command line. Raises :class:`StartError`; exits for -h and -V."""
    given = vars(build_parser().parse_args(arguments))
    if given.get(schema.DAEMONIZE.key) and given["foreground"]:
        raise StartError("-d and -D exclude each other; give one of them")
    if given["no_clients"] and schema.CLIENT_INTERFACES.key in given:
        raise StartError("-S and -c exclude each other; give one of them")
    flags = Settings()
    for setting in schema.SETTINGS:
        if setting.key in given:
            value = given[setting.key]
            flags.put(setting, tuple(dict.fromkeys(value)) if isinstance(value, list) else value, setting.flags[0])
    _take_others(given, flags)
    check, config = given["check_config"], given["config"]
    if check is not None and given["print_config"]:
        raise StartError("--check-config and --print-config exclude each other; give one of them")
    if check and config:
        raise StartError("--check-config PATH and -F PATH name a file each; give one of them")
    action = "print-config" if given["print_config"] else "run" if check is None else "check-config"
    path = check or config or (str(DEFAULT_PATH) if check is not None else None)
    return Invocation(action, flags, Path(path) if path else None, given["verbose"])


def _take_others(given: dict[str, Any], flags: Settings) -> None:
    """The flags that are no setting of their own."""
    if given["no_clients"]:
        flags.put(schema.CLIENT_INTERFACES, (), "-S")
    if given["foreground"]:
        flags.put(schema.DAEMONIZE, False, "-D")
    options = dict(given["option"])
    lease_time = options.pop(LEASE_TIME_OPTION, None)
    if lease_time is not None:
        if len(lease_time) != 4:
            raise StartError("option 51 (lease time) has 4 bytes, for example 51:4:0.0.1.44 for 300 s")
        try:
            lease_time_s = dhcp.LEASE_TIME_OF_ALL.kind.read(int.from_bytes(lease_time, "big"))
        except BadValue as error:
            raise StartError(f"option 51 (lease time): {error}") from None
        flags.put(dhcp.LEASE_TIME_OF_ALL, lease_time_s, "-o")
    if options:
        flags.put(dhcp.OPTIONS_OF_ALL, options, "-o")


def default_store_path(server_interface: str, pool: Pool) -> Path:
    """Where leases are kept unless told otherwise: a file for this interface and pool in the state directory."""
    if runtime := os.environ.get(RUNTIME_DIR_VARIABLE):
        directory = Path(runtime)
    elif os.geteuid() == 0:
        directory = Path("/var/lib/ddhcp")
    else:
        directory = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ddhcp"
    name = f"{server_interface}-{pool}-{pool.block_size}".replace("/", "-")
    return directory / f"{name}.sqlite"
