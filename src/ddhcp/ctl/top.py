"""``ddhcpctl top``: the node as it lives, on the whole screen."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from ..values import dataclass, field
from . import views
from .connection import CtlError
from .daemon import ClassicDaemon, Daemon
from .poolmap import PoolMap
from .text import console, count, duration, safe, table, text

Object = dict[str, Any]
MAP_CELLS = 256  # four rows of the map
EVENTS = 100  # asked for; as many are shown as there is room for
PEERS = 6
BAR = 24  # characters
_RATES = (
    ("requests", ("dhcp.recv_pkg",)), ("answers", ("dhcp.send_pkg",)),
    ("from nodes", ("mcast.recv_pkg", "direct.recv_pkg")), ("to nodes", ("mcast.send_pkg", "direct.send_pkg")),
)  # fmt: skip
_QUIT = frozenset("qQ\x03\x1b")


@dataclass
class Look:
    """What one look at the daemon found."""

    at: float
    status: Object
    map: Object
    peers: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)


def look(daemon: Daemon) -> Look:
    """Ask everything that the screen shows."""
    return Look(
        at=time.monotonic(),
        status=daemon.ask("status"),
        map=daemon.map(MAP_CELLS),
        peers=daemon.ask("peers", limit=PEERS)["peers"],
        events=daemon.ask("events", limit=EVENTS)["events"],
    )


def picture(now: Look, before: Look | None, height: int) -> RenderableType:
    """The screen for two looks in a row, ``height`` lines high."""
    status = now.status
    drawn = PoolMap(now.map, IPv4Network(status["pool"]["network"]), status["pool"]["block_size"])
    parts: list[RenderableType] = [
        _head(status), Text(""), _gauges(status), _rates(now, before), Rule(style="dim"), *drawn.rows(),
        *drawn.legend()[:4], Rule(style="dim"), views.peers(now.peers), Rule(style="dim"),
    ]  # fmt: skip
    parts[1:1] = views.problem_lines(status["problems"])[:2]
    used = len(drawn.rows()) + min(4, len(drawn.legend())) + len(now.peers) + 11 + 2 * len(status["problems"][:2])
    room = max(3, height - used)
    lines = [views.event(event) for event in now.events[-room:][::-1]] or [Text("Nothing has happened yet.", "dim")]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    parts += lines
    return Group(*parts)


def _head(status: Object) -> Text:
    line = Text("ddhcp ", "bold")
    line.append(
        f"{safe(status['node_id'])}  {status['pool']['network']}  up {duration(status['uptime_s'])}  ", "default"
    )
    line.append(status["health"], views.HEALTH_STYLES.get(status["health"], ""))
    if status["learning"]:
        line.append("  learning", "yellow")
    line.append("   q quits", "dim")
    return line


def _gauges(status: Object) -> RenderableType:
    pool, blocks, leases = status["pool"], status["blocks"], status["leases"]
    made = table("", "", "")
    made.show_header = False
    taken = pool["blocks"] - blocks["free"]
    made.add_row(
        text("blocks", "dim"), _bar(taken, pool["blocks"], blocks["ours"]),
        text(f"{count(blocks['ours'])} ours, {count(taken)} of {count(pool['blocks'])} taken"),
    )  # fmt: skip
    used = leases["leased"] + leases["offered"]
    made.add_row(
        text("leases", "dim"), _bar(used, used + leases["free"], used),
        text(f"{count(leases['leased'])} leased, {count(leases['free'])} free, {count(leases['waiting'])} waiting"),
    )  # fmt: skip
    return made


def _bar(part: int, whole: int, ours: int) -> Text:
    """How much of ``whole`` is taken; what is ours in green."""
    full = 0 if not whole else max(1, round(BAR * part / whole)) if part else 0
    green = min(full, round(BAR * ours / whole) if whole else 0)
    bar = Text("█" * green, "green")
    bar.append("█" * (full - green), "blue")
    return bar.append("░" * (BAR - full), "dim")


def _rates(now: Look, before: Look | None) -> Text:
    line = Text.assemble(("per s   ", "dim"))
    for name, counters in _RATES:
        rate = "-"
        if before is not None and before.status["instance"] == now.status["instance"]:
            difference = sum(_counter(now, counter) - _counter(before, counter) for counter in counters)
            rate = f"{max(0.0, difference / (now.at - before.at)):.1f}"
        line.append(f"{name} ", "dim").append(f"{rate:<8}", "default")
    return line


def _counter(look: Look, name: str) -> int:
    value = look.status["statistics"].get(name, 0)
    return value if isinstance(value, int) else 0


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Keys arrive one by one and are not echoed."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _wait_for_quit(seconds: float) -> bool:
    """Wait so long; whether the user wants to end it."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not _QUIT.isdisjoint(os.read(sys.stdin.fileno(), 64).decode("latin-1") or "q")


def run_top(daemon: Daemon, interval_s: float, *, once: bool) -> None:
    """Draw until the user quits. A daemon that goes away is waited for. Raises :class:`CtlError` if it is not there
    at the beginning."""
    screen = console()
    now = look(daemon)
    if once:
        screen.print(picture(now, None, screen.height))
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CtlError("top needs a terminal; ddhcpctl top --once prints one picture")
    with _keys(), Live(console=screen, screen=True, auto_refresh=False) as live:
        before: Look | None = None
        while True:
            live.update(picture(now, before, screen.height), refresh=True)
            if _wait_for_quit(interval_s):
                return
            try:
                before, now = now, look(daemon)
            except ClassicDaemon:
                raise
            except CtlError as error:
                live.update(
                    Group(picture(now, None, screen.height - 1), text(f"{error}; waiting", "red")), refresh=True
                )
