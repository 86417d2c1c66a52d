"""The command line: what can be asked of the daemon, and the checks that need no interface."""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..core import Pool, PoolError
from ..core import config as defaults
from ..ctl.protocol import RUNTIME_DIR_VARIABLE, default_socket_path, parse_option_spec
from .errors import StartError

_OPT_LEASE_TIME = 51
MAX_BLOCK_BITS = 7
_MAX_DIGITS = 10  # as many as the largest number of 32 bits has

_DESCRIPTION = """\
A distributed DHCP daemon. Every realm has its own server; the servers agree over the server interface which of
them leases which block of one address pool, so a client keeps its address when it moves to another realm."""

_EXAMPLES = """\
examples:
  ddhcp -i server0 -c client0            pool: the network of client0's address
  ddhcp -i bat0 -c br-client -N 10.0.128.0/17 -b 5 -t 15 -B 60 \\
        -o 3:4:10.0.0.1 -o 6:4:10.0.0.53  part of a network, router and DNS server given
  ddhcp -d -H /etc/ddhcp/hook -c br0 -c br1   in the background, two client interfaces, a hook

ddhcpctl shows and changes what a running daemon does. Exit status: 0 stopped when told to, 2 could not start."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line, parsed. ``pool`` is None when it follows from the client interface."""

    server_interface: str
    client_interfaces: tuple[str, ...]
    pool_network: ipaddress.IPv4Network | None
    block_bits: int
    tentative_timeout_s: int
    block_timeout_s: int
    needless_timeout_s: int
    spare_leases: int
    learning_phase: bool
    lease_time_s: int
    options: dict[int, bytes]
    hook: str | None
    control: Path
    store: str | None
    daemonize: bool
    pid_file: Path | None
    log_file: str | None
    syslog: bool
    log_json: bool
    verbosity: int

    def pool(self, network: ipaddress.IPv4Network) -> Pool:
        """The pool that ``network`` makes with the block size asked for. Raises :class:`StartError`."""
        try:
            return Pool(int(network.network_address), network.prefixlen, 1 << self.block_bits)
        except PoolError as error:
            raise StartError(f"{error}; change -N or -b") from None


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise StartError(f"{message}; ddhcp -h shows the usage")


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number of at most {_MAX_DIGITS} digits")
    return int(text)


def _network(text: str) -> ipaddress.IPv4Network:
    if "/" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a network; write it as 10.0.0.0/16")
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a network ({error}); write it as 10.0.0.0/16") from None


def _option(text: str) -> tuple[int, bytes]:
    try:
        return parse_option_spec(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _shown(path: Path) -> str:
    return str(path).replace("%", "%%")  # argparse formats its help texts


def _absolute(text: str) -> Path:
    """A path that stays right when the daemon changes its directory."""
    return Path(os.path.abspath(text))


def build_parser() -> argparse.ArgumentParser:
    """The parser of the daemon's command line."""
    parser = _Parser(
        prog="ddhcp", description=_DESCRIPTION, epilog=_EXAMPLES, add_help=False, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    links = parser.add_argument_group("interfaces")
    links.add_argument(
        "-c", "--client-interface", metavar="IFACE", action="append", default=[],
        help="handle clients' requests on IFACE, which needs an IPv4 address; repeatable (default client0)",
    )  # fmt: skip
    links.add_argument(
        "-i", "--server-interface", metavar="IFACE", default="server0",
        help="talk to the other servers on IFACE; needs no IPv4 address (default %(default)s)",
    )  # fmt: skip
    links.add_argument("-S", "--no-clients", action="store_true", help="serve no clients, take part in the swarm only")
    pool = parser.add_argument_group("address pool, the same on every node")
    pool.add_argument(
        "-N", "--network", metavar="PREFIX/LEN", type=_network,
        help="the pool, /8 to /30 (default: the network of the client interface's address)",
    )  # fmt: skip
    pool.add_argument(
        "-b", "--block-bits", metavar="BITS", type=_whole, default=defaults.DEFAULT_BLOCK_BITS,
        help="a block has 2^BITS addresses, 0 to 7 (default %(default)s)",
    )  # fmt: skip
    times = parser.add_argument_group("claiming")
    times.add_argument(
        "-t", "--tentative-timeout", metavar="SECONDS", type=_whole, default=defaults.DEFAULT_TENTATIVE_TIMEOUT_S,
        help="time required for a block to be claimed, 2 or more (default %(default)s)",
    )  # fmt: skip
    times.add_argument(
        "-B", "--block-timeout", metavar="SECONDS", type=_whole, default=defaults.DEFAULT_BLOCK_TIMEOUT_S,
        help="how long a claim holds unless it is refreshed; blocks with leases are claimed for longer "
        "(default %(default)s)",
    )  # fmt: skip
    times.add_argument(
        "-n", "--needless-timeout", metavar="SECONDS", type=_whole, default=defaults.DEFAULT_NEEDLESS_TIMEOUT_S,
        help="give up a block that nobody needed for this long (default %(default)s)",
    )  # fmt: skip
    times.add_argument(
        "-s", "--spare-leases", metavar="COUNT", type=_whole, default=defaults.DEFAULT_SPARE_LEASES,
        help="free leases kept ready (default %(default)s)",
    )  # fmt: skip
    times.add_argument("-L", "--no-learning", action="store_true", help="deactivate the learning phase after the start")
    dhcp = parser.add_argument_group("DHCP")
    dhcp.add_argument(
        "-o", "--option", metavar="CODE:LEN:B1.B2...", type=_option, action="append", default=[],
        help="give clients a DHCP option, bytes in decimal; 51 is the lease time (default 300 s)",
    )  # fmt: skip
    dhcp.add_argument("-H", "--hook", metavar="COMMAND", help="run COMMAND lease|release|inform IP MAC, or endlearning")
    running = parser.add_argument_group("running")
    running.add_argument("-d", "--daemonize", action="store_true", help="run in the background")
    running.add_argument(
        "-D", "--foreground", action="store_true", help="run in the foreground, log to the console (default)"
    )
    running.add_argument(
        "-C",
        "--control",
        metavar="PATH",
        type=_absolute,
        help=f"control socket (default {_shown(default_socket_path())})",
    )
    running.add_argument(
        "--store", metavar="PATH", help="database of leases, or 'memory' for none (default: in the state directory)"
    )
    running.add_argument(
        "--pid-file",
        metavar="PATH",
        type=_absolute,
        help="where to write the process id (default with -d: beside the control socket)",
    )
    running.add_argument("--log-file", metavar="PATH", help="log to a file, reopened on SIGHUP")
    running.add_argument("--syslog", action="store_true", help="log to syslog (default with -d)")
    running.add_argument("--log-format", choices=("text", "json"), default="text", help="(default %(default)s)")
    running.add_argument("-v", "--verbose", action="count", default=0, help="log more")
    running.add_argument("-V", "--version", action="version", version=f"ddhcp {__version__}")
    running.add_argument("-h", "--help", action="help", help="show this")
    return parser


def parse(arguments: Sequence[str] | None) -> Arguments:
    """Read the command line. Raises :class:`StartError`; exits for -h and -V."""
    given = build_parser().parse_args(arguments)
    if given.daemonize and given.foreground:
        raise StartError("-d and -D exclude each other; give one of them")
    if given.no_clients and given.client_interface:
        raise StartError("-S and -c exclude each other; give one of them")
    if not given.block_bits <= MAX_BLOCK_BITS:
        raise StartError(
            f"-b {given.block_bits}: a block has 2^0 to 2^{MAX_BLOCK_BITS} addresses; give 0 to {MAX_BLOCK_BITS}"
        )
    options = dict(given.option)
    lease_time = options.pop(_OPT_LEASE_TIME, None)
    if lease_time is not None and len(lease_time) != 4:
        raise StartError("option 51 (lease time) has 4 bytes, for example 51:4:0.0.1.44 for 300 s")
    clients = () if given.no_clients else tuple(dict.fromkeys(given.client_interface or ["client0"]))
    return Arguments(
        server_interface=given.server_interface,
        client_interfaces=clients,
        pool_network=given.network,
        block_bits=given.block_bits,
        tentative_timeout_s=given.tentative_timeout,
        block_timeout_s=given.block_timeout,
        needless_timeout_s=given.needless_timeout,
        spare_leases=given.spare_leases,
        learning_phase=not given.no_learning,
        lease_time_s=int.from_bytes(lease_time, "big") if lease_time is not None else defaults.DEFAULT_LEASE_TIME_S,
        options=options,
        hook=given.hook,
        control=given.control or default_socket_path(),
        store=given.store if given.store in (None, "memory") else str(_absolute(given.store)),
        daemonize=given.daemonize,
        pid_file=given.pid_file,
        log_file=str(_absolute(given.log_file)) if given.log_file is not None else None,
        syslog=given.syslog or (given.daemonize and given.log_file is None),
        log_json=given.log_format == "json",
        verbosity=given.verbose,
    )


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
