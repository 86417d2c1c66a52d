"""The subcommands of ``ddhcpctl``: what each asks of the daemon and how it shows the answer.

A handler gets the daemon, the options of its subcommand and the screen. It returns what ``--json`` prints, after having
shown it itself where JSON was not asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from .connection import CtlError
from .daemon import PAGE, ClassicDaemon, Daemon, map_of_blocks
from .protocol import Command, Request, parse_option_code, parse_option_spec

Object = dict[str, Any]
Handler = Callable[[Daemon, argparse.Namespace], Object | None]

FOLLOW_EVERY_S = 0.5  # between two questions for new events
DEFAULT_ROWS = 1000  # shown of a list unless --limit says otherwise
MAP_CELLS = 1024
EXIT_FAILURE = 2


class Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage text that would bury them."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_FAILURE, f"{self.prog}: {message} (try -h)\n")


def add_subcommands(parser: argparse.ArgumentParser, common: Parser) -> None:
    """Give ``parser`` the subcommands; ``common`` has the options that every one of them takes."""
    made = parser.add_subparsers(
        title="commands for people",
        metavar="COMMAND",
        dest="subcommand",
        prog="ddhcpctl",
        parser_class=Parser,
    )

    def add(name: str, handler: Handler, summary: str, examples: str = "") -> argparse.ArgumentParser:
        epilog = f"examples:\n{examples}" if examples else None
        sub: argparse.ArgumentParser = made.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=epilog, parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        )  # fmt: skip
        sub.set_defaults(handler=handler)
        return sub

    add(
        "status",
        _status,
        "how the node is and what is wrong",
        "  ddhcpctl status\n  ddhcpctl status --json | jq .health",
    )
    blocks = add(
        "blocks", _blocks, "who owns which block: a map of the pool, and a table",
        "  ddhcpctl blocks               the map, then the blocks in use\n"
        "  ddhcpctl blocks --map         the map alone\n"
        "  ddhcpctl blocks --ours        the blocks of this node",
    )  # fmt: skip
    blocks.add_argument("--map", action="store_true", help="show the map only")
    blocks.add_argument("--ours", action="store_true", help="list the blocks of this node only")
    _add_limit(blocks)
    leases = add(
        "leases", _leases, "leases of this node's blocks",
        "  ddhcpctl leases                    all of them\n"
        "  ddhcpctl leases printer            those whose name has \"printer\" in it\n"
        "  ddhcpctl leases 02:00:00           those whose hardware address has that in it\n"
        "  ddhcpctl leases --state leased     those that run now",
    )  # fmt: skip
    leases.add_argument("search", nargs="?", metavar="TEXT", help="part of an address, hardware address or name")
    leases.add_argument(
        "--state",
        choices=("offered", "leased", "kept", "released", "expired", "declined"),
        help="those in this state only",
    )
    leases.add_argument(
        "--copies", action="store_true", help="leases of other nodes, of which this one keeps copies in case they fail"
    )
    _add_limit(leases)
    add("peers", _peers, "the other nodes, as this one hears them")
    add("stats", _stats, "counters of packets, decisions and drops")
    events = add(
        "events", _events, "what happened lately",
        "  ddhcpctl events              the latest\n"
        "  ddhcpctl events --follow     those, and new ones as they happen, until Ctrl-C",
    )  # fmt: skip
    events.add_argument("-f", "--follow", action="store_true", help="go on with new ones as they happen")
    events.add_argument(
        "-n", "--lines", type=_whole, default=50, metavar="COUNT", help="begin with so many (default 50)"
    )
    explain = add(
        "explain", _explain, "why an address or a client is served, or is not",
        "  ddhcpctl explain 10.0.0.5\n  ddhcpctl explain 02:00:00:00:00:01",
    )  # fmt: skip
    explain.add_argument("subject", metavar="ADDRESS|MAC", help="an IPv4 address or a hardware address")
    top = add("top", _top, "a live view of the node, full screen", "  ddhcpctl top        q or Ctrl-C ends it")
    top.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two looks (default 1)")
    top.add_argument("--once", action="store_true", help="print one picture and end")
    release = add(
        "release",
        _release,
        "end a lease of this node, as if its client had given it back",
        "  ddhcpctl release 10.0.0.5",
    )
    release.add_argument("address", metavar="ADDRESS", help="an address that this node leases")
    reserve = add(
        "reserve", _reserve, "hold an address back, so that it is leased to nobody until the next start",
        "  ddhcpctl reserve                      what is reserved and held back\n"
        "  ddhcpctl reserve 10.0.0.5             a lease of it runs out by itself\n"
        "  ddhcpctl reserve --remove 10.0.0.5    let it be leased again\n"
        "For good, and for a host of your choice, write a [[reservation]] into the\nconfiguration file.",
    )  # fmt: skip
    reserve.add_argument("address", nargs="?", metavar="ADDRESS", help="an address of the pool")
    reserve.add_argument("--remove", action="store_true", help="let it be leased again")
    options = add(
        "options", _options, "the DHCP options that clients get, and changes to them until the next start",
        "  ddhcpctl options\n"
        "  ddhcpctl options set 6:4:10.0.0.53    option 6 (name server), 4 bytes\n"
        "  ddhcpctl options remove 6",
    )  # fmt: skip
    options.add_argument("change", nargs="?", choices=("set", "remove"), help="what to do; nothing: show them")
    options.add_argument("option", nargs="?", metavar="CODE[:LEN:B1.B2...]", help="the option")
    add("drain", _drain, "hand all blocks over to other nodes, then stop the daemon")
    add("reload", _reload, "have the daemon read its configuration file anew")


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=_whole, default=DEFAULT_ROWS, metavar="COUNT",
        help=f"rows at most, 0 for all (default {DEFAULT_ROWS})",
    )  # fmt: skip


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of seconds from 0.1 to 3600")
    return seconds


def run(daemon: Daemon, options: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit status. Raises :class:`CtlError`."""
    try:
        answer = options.handler(daemon, options)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CtlError(
            f"the answer of the daemon at {daemon.path} is not understood ({type(error).__name__}: {error}); is its "
            "version that of this tool?"
        ) from None
    if options.json and answer is not None:
        print(json.dumps(answer, indent=2), flush=True)
    return 0


def _show(options: argparse.Namespace, render: Callable[[], Any]) -> None:
    if not options.json:
        from .text import console  # rich is loaded only where something is drawn

        console().print(render())


def _status(daemon: Daemon, options: argparse.Namespace) -> Object:
    from . import views

    try:
        found = daemon.ask("status")
    except ClassicDaemon:
        found = daemon.classic_blocks()
        _show(options, lambda: views.classic_status(found))
        return found
    _show(options, lambda: views.status(found))
    return found


def _blocks(daemon: Daemon, options: argparse.Namespace) -> Object:
    from . import views

    try:
        status = daemon.ask("status")
        network, block_size = status["pool"]["network"], status["pool"]["block_size"]
        pool = daemon.map(MAP_CELLS)
        source = iter(()) if options.map else daemon.rows("blocks", "blocks")
    except ClassicDaemon:
        table = daemon.classic_blocks()
        network, block_size = table.get("network", "0.0.0.0/0"), table.get("block_size", 1)
        pool = map_of_blocks(table, MAP_CELLS)
        source = iter(() if options.map else table["blocks"])
    limit = options.limit or sys.maxsize
    rows: list[Object] = []
    for row in source:
        if not options.ours or row["state_name"] == "ours":
            rows.append(row)
            if len(rows) >= limit:
                break
    if not options.json:
        from .text import console

        screen = console()
        if not options.ours:
            screen.print(views.pool_map(pool, network, block_size))
            screen.print()
        if not options.map:
            screen.print(views.blocks(rows))
            _tell_limit(options, len(rows))
    return {"network": network, "block_size": block_size, "map": pool, "blocks": rows}


def _tell_limit(options: argparse.Namespace, shown: int) -> None:
    if options.limit and shown >= options.limit:
        print(f"ddhcpctl: {shown} shown, there may be more; --limit 0 shows all", file=sys.stderr)


def _leases(daemon: Daemon, options: argparse.Namespace) -> Object:
    from . import views

    try:
        filters = {"search": options.search, "state": options.state, "copies": options.copies}
        rows = list(daemon.rows("leases", "leases", options.limit or None, **filters))
    except ClassicDaemon:
        raise ClassicDaemon(
            "a classic daemon does not tell its leases, only how many each of its blocks has: ddhcpctl blocks"
        ) from None
    _show(options, lambda: views.leases(rows, bool(options.search or options.state)))
    _tell_limit(options, len(rows))
    return {"leases": rows}


def _peers(daemon: Daemon, options: argparse.Namespace) -> Object:
    from . import views

    try:
        found = daemon.ask("peers")
    except ClassicDaemon:
        table = daemon.classic_blocks()
        _show(options, lambda: views.classic_peers(table))
        return {"owners": sorted({row["owner"] for row in table["blocks"]})}
    _show(options, lambda: views.peers(found["peers"]))
    if found.get("left_out"):
        print(f"ddhcpctl: {found['left_out']} more, unheard for longer, are not shown", file=sys.stderr)
    return found


def _stats(daemon: Daemon, options: argparse.Namespace) -> Object:
    from . import views

    try:
        found = daemon.ask("statistics")
    except ClassicDaemon:
        found = daemon.classic_statistics()
    _show(options, lambda: views.statistics(found["statistics"]))
    return found


def _events(daemon: Daemon, options: argparse.Namespace) -> Object | None:
    from . import views
    from .text import console

    try:
        found = daemon.ask("events", limit=max(1, min(PAGE, options.lines)))
    except ClassicDaemon:
        raise ClassicDaemon("a classic daemon tells no events; look into its log (syslog, or ddhcpd -D)") from None
    if options.json and not options.follow:
        return found
    screen = console()

    def tell(answer: Object) -> None:
        for event in answer["events"]:
            if options.json:
                print(json.dumps(event), flush=True)
            else:
                screen.print(views.event(event), soft_wrap=True)
        sys.stdout.flush()

    tell(found)
    if not found["events"] and not options.follow:
        screen.print("Nothing has happened yet.")
    if options.follow:
        _follow(daemon, found, tell)
    return None


def _follow(daemon: Daemon, found: Object, tell: Callable[[Object], None]) -> NoReturn:
    """Tell new events until the user has seen enough. A daemon that is restarted meanwhile is waited for."""
    instance, latest = found["instance"], found["latest"]
    is_away = False
    while True:
        time.sleep(FOLLOW_EVERY_S)
        try:
            found = daemon.ask("events", after=latest, limit=PAGE)
            if found["instance"] != instance:
                print("ddhcpctl: the daemon was restarted", file=sys.stderr)
                instance, latest = found["instance"], 0
                found = daemon.ask("events", after=latest, limit=PAGE)
        except CtlError as error:
            if not is_away:
                print(f"ddhcpctl: {error}; waiting for it", file=sys.stderr)
            is_away = True
            continue
        is_away = False
        if found["missed"]:
            print(f"ddhcpctl: {found['missed']} events were missed", file=sys.stderr)
        tell(found)
        latest = found["events"][-1]["seq"] if found["events"] else latest


def _explain(daemon: Daemon, options: argparse.Namespace) -> Object:
    from . import views

    try:
        found = daemon.ask("explain", subject=options.subject)
    except ClassicDaemon:
        found = _explain_classic(daemon, options.subject)
    _show(options, lambda: views.explanation(found))
    return found


def _explain_classic(daemon: Daemon, subject: str) -> Object:
    """What the block table of a classic daemon says of an address."""
    from ipaddress import AddressValueError, IPv4Address

    try:
        address = IPv4Address(subject)
    except AddressValueError:
        raise ClassicDaemon("a classic daemon can only say who owns an address; give an IPv4 address") from None
    for row in daemon.classic_blocks()["blocks"]:
        if IPv4Address(row["first"]) <= address <= IPv4Address(row["last"]):
            who = "this node" if row["state_name"] == "ours" else f"node {row['owner']}"
            because = [f"Block {row['index']} ({row['first']} to {row['last']}) is {row['state_name']}: {who}."]
            return {"address": subject, "block": row, "because": [*because, "A classic daemon tells no more."]}
    return {"address": subject, "block": None, "because": ["Nobody claims its block, as far as this node knows."]}


def _top(daemon: Daemon, options: argparse.Namespace) -> Object | None:
    from .top import run_top

    if options.json:
        raise CtlError("top is for people; use status --json")
    try:
        run_top(daemon, options.interval, once=options.once)
    except ClassicDaemon:
        raise ClassicDaemon("a classic daemon cannot feed a live view; use: watch ddhcpctl blocks") from None
    return None


def _act(daemon: Daemon, options: argparse.Namespace, command: str, text: str, **arguments: object) -> Object:
    try:
        found = daemon.ask(command, **arguments)
    except ClassicDaemon:
        raise ClassicDaemon(f"a classic daemon does not know {command!r}") from None
    if not options.json:
        from .text import safe

        print(safe(text.format_map(found)))
    return found


def _release(daemon: Daemon, options: argparse.Namespace) -> Object:
    return _act(daemon, options, "release", "{released} of {mac} is free again", address=options.address)


def _reserve(daemon: Daemon, options: argparse.Namespace) -> Object:
    from . import views

    if options.address is not None:
        command, done = ("unreserve", "may be leased again") if options.remove else ("reserve", "is held back")
        return _act(daemon, options, command, f"{options.address} {done}", address=options.address)
    if options.remove:
        raise CtlError("which address? for example: ddhcpctl reserve --remove 10.0.0.5")
    try:
        found = daemon.ask("reservations")
    except ClassicDaemon:
        raise ClassicDaemon("a classic daemon reserves nothing") from None
    _show(options, lambda: views.reservations(found))
    return found


def _drain(daemon: Daemon, options: argparse.Namespace) -> Object:
    found = _act(daemon, options, "drain", "The daemon hands its blocks over and stops. Blocks: {blocks}.")
    if not options.json and found["blocks"] and found.get("takers") == 0:
        print("No other ddhcp node is known: its leases stay in this node's store.")
    return found


def _reload(daemon: Daemon, options: argparse.Namespace) -> Object:
    found = _act(daemon, options, "reload", "The configuration was read anew.")
    if not options.json:
        from .text import safe

        print(f"in force now: {safe(', '.join(found['applied'])) or 'nothing new'}")
        if found["needs_restart"]:
            print(f"needs a restart: {safe(', '.join(found['needs_restart']))}")
    return found


def _options(daemon: Daemon, options: argparse.Namespace) -> Object:
    from . import views

    if options.change is not None and options.option is None:
        example = "6:4:10.0.0.53" if options.change == "set" else "6"
        raise CtlError(f"which option? for example: ddhcpctl options {options.change} {example}")
    request, command, arguments = None, "options", {}
    if options.change == "set":
        code, value = parse_option_spec(options.option)
        request = Request(Command.SET_OPTION, code=code, payload=value)
        command, arguments = "set-option", {"code": code, "value": value.hex()}
    elif options.change == "remove":
        code = parse_option_code(options.option)
        request = Request(Command.REMOVE_OPTION, code=code)
        command, arguments = "remove-option", {"code": code}
    try:
        found = daemon.ask(command, **arguments)
    except ClassicDaemon:
        found = daemon.classic_options(request)
    _show(options, lambda: views.options(found))
    return found
