"""Whether an address ever had two clients, judged afterwards by what the clients themselves wrote down.

A client holds an address from the acknowledgement to the end of the lease in it, unless it is refused it, gives it back
or is acknowledged another one before. A lease runs on when the client is switched off or loses its carrier.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from ddhcp.core.pool import dotted
from ddhcp.dhcp import DecodeError, Message

from .clients import Clients
from .dhcpclient import Change
from .mesh import GRANTED

ENDED = ("NAK", "RELEASE", "DECLINE")
# Clients note an acknowledgement when they come to it, later than it was sent; and dhclient counts whole seconds.
TOLERANCE_S = 1.5


class Record(Protocol):
    """Something that a client noted: at which instant, in dhclient's words, about which address."""

    @property
    def at(self) -> float: ...
    @property
    def reason(self) -> str: ...
    @property
    def address(self) -> str | None: ...
    @property
    def lease_s(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Noted:
    """A record of a client of a crowd (see :class:`~ddhcp.testbed.dhcpclient.Change`)."""

    at: float
    reason: str
    address: str | None
    lease_s: int | None


@dataclass(frozen=True, slots=True)
class Holding:
    """``client`` held ``address`` from ``since`` until just before ``until``, in seconds since boot."""

    client: str
    address: str
    since: float
    until: float

    def __str__(self) -> str:
        return f"{self.client} held {self.address} from {self.since:.1f} to {self.until:.1f}"


def holdings(client: str, records: Iterable[Record]) -> list[Holding]:
    """What the client held, by its own records in their order."""
    held: list[Holding] = []
    for record in records:
        last = held[-1] if held else None
        running = last is not None and last.until > record.at
        if record.reason in ENDED and last is not None and running:
            held[-1] = replace(last, until=record.at)
        elif record.reason in GRANTED and record.address is not None and record.lease_s is not None:
            until = record.at + record.lease_s
            if last is not None and running and last.address == record.address:
                held[-1] = replace(last, until=until)
                continue
            if last is not None and running:
                held[-1] = replace(last, until=record.at)
            held.append(Holding(client, record.address, record.at, until))
    return held


def held_twice(held: Iterable[Holding], tolerance_s: float = TOLERANCE_S) -> list[str]:
    """Each case in which two clients held one address at one time, told in a line; shorter ones than ``tolerance_s``
    are not distinguishable from none."""
    by_address: dict[str, list[Holding]] = defaultdict(list)
    for holding in held:
        by_address[holding.address].append(holding)
    found = []
    for several in by_address.values():
        several.sort(key=lambda holding: holding.since)
        for number, one in enumerate(several):
            for other in several[number + 1 :]:
                shared_s = min(one.until, other.until) - other.since
                if one.client != other.client and shared_s > tolerance_s:
                    found.append(f"{one}, and {other}: {shared_s:.1f} s together")
    return found


# --- where clients write it down --------------------------------------------------------------------


def crowd_records(changes: Iterable[Change]) -> list[Noted]:
    """The records of a client of the testbed's own, whose instants are on the monotonic clock."""
    monotonic_to_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return [Noted(c.at + monotonic_to_boot_s, c.reason, dotted(c.address), c.lease_s) for c in changes]


def client_holdings(clients: Clients) -> list[Holding]:
    """What all clients of a test network held: by what their programs told their hooks, and by their lease files."""
    held = []
    for number in clients.numbers():
        directory = clients.directory(number)
        name = f"client {number}"
        held += holdings(name, clients.events(number))
        held += dhclient_file(name, directory / "dhclient.leases")
        held += dhcpcd_file(name, directory / "dhcpcd" / "eth0.lease")
    return held


_DHCLIENT_LEASE = re.compile(
    r"fixed-address (?P<address>[0-9.]+);.*?option dhcp-lease-time (?P<lease_s>\d+);"
    r".*?expire \d (?P<expire>\d+/\d+/\d+ \d+:\d+:\d+);",
    re.DOTALL,
)


def dhclient_file(client: str, path: Path) -> list[Holding]:
    """The leases in a lease file of dhclient, where instants are in UTC. A lease counts to the next one in the file,
    and the last to its end."""
    if not path.exists():
        return []
    wall_to_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
    records = []
    for lease in _DHCLIENT_LEASE.finditer(path.read_text()):
        ends_at = datetime.strptime(lease["expire"], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
        lease_s = int(lease["lease_s"])
        records.append(Noted(ends_at + wall_to_boot_s - lease_s, "BOUND", lease["address"], lease_s))
    return holdings(client, records)


def dhcpcd_file(client: str, path: Path) -> list[Holding]:
    """The lease in dhcpcd's lease file, which is the last acknowledgement as it came."""
    try:
        message = Message.decode(path.read_bytes())
        written_at = path.stat().st_mtime
    except (FileNotFoundError, DecodeError):
        return []
    wall_to_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
    return holdings(client, [Noted(written_at + wall_to_boot_s, "BOUND", dotted(message.yiaddr), message.lease_time_s)])
