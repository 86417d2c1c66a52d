"""A DHCP load generator: many clients behind one interface, a fixed number of them in flight.

Run in the namespace of the clients' end of a link (as root); prints one JSON object. Every client is a MAC
address of its own; frames are sent and read with a packet socket, so that the generator's own IP stack takes
no part.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from bench.frames import ACK, NAK, OFFER, Frames, Reply, parse_reply

RETRY_S = 1.0
MAX_TRIES = 5
IDLE_WAIT_S = 0.05
RECEIVE_BUFFER = 16 << 20
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_ETH_P_IP = 0x0800
_NS_PER_S = 1_000_000_000

# Only UDP to port 68: the rest must not wake the generator. (code, jump if true, jump if false, constant)
_FILTER = (
    (0x28, 0, 0, 12),  # EtherType
    (0x15, 0, 6, _ETH_P_IP),
    (0x30, 0, 0, 23),  # IP protocol
    (0x15, 0, 4, 17),
    (0xB1, 0, 0, 14),  # X = IP header length
    (0x48, 0, 0, 16),  # UDP destination port
    (0x15, 0, 1, 68),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


class Link(Protocol):
    """Where frames go and come from."""

    def send(self, frame: bytes | bytearray) -> None:
        """Send one frame."""

    def receive(self) -> bytes | None:
        """The next frame, or None if none came for a while."""


class PacketLink:
    """A link over a packet socket on ``interface``."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        program = b"".join(struct.pack("HBBI", *step) for step in _FILTER)
        buffer = ctypes.create_string_buffer(program)
        head = struct.pack("HP", len(_FILTER), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        # The kernel's own timeout: one of Python's would poll before every read.
        wait = struct.pack("ll", 0, int(IDLE_WAIT_S * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        self._socket.bind((interface, _ETH_P_IP))

    def send(self, frame: bytes | bytearray) -> None:
        """Send one frame."""
        self._socket.send(frame)

    def receive(self) -> bytes | None:
        """The next frame to port 68, or None after ``IDLE_WAIT_S``."""
        try:
            return self._socket.recv(2048)
        except BlockingIOError:
            return None


@dataclass(slots=True)
class Binding:
    """What a client holds: its address and its server's identifier (4 bytes each) and MAC address (6
    bytes)."""

    address: bytes
    server_id: bytes
    server_mac: bytes


@dataclass(slots=True)
class Outcome:
    """What a phase measured. Latencies in nanoseconds, those of exchanges with a retry among them.
    ``cpu_seconds``: what the generator itself used; close to ``seconds``, it is the generator that was measured.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    done: int = 0
    failed: int = 0
    retries: int = 0
    naks: int = 0
    offer_ns: list[int] = field(default_factory=list)
    ack_ns: list[int] = field(default_factory=list)
    whole_ns: list[int] = field(default_factory=list)

    def summary(self) -> dict[str, float | int | None]:
        """Rates per second and latency percentiles in milliseconds (None where nothing was measured)."""
        return {
            "done": self.done,
            "failed": self.failed,
            "retries": self.retries,
            "naks": self.naks,
            "seconds": round(self.seconds, 6),
            "generator_cpu": round(self.cpu_seconds / self.seconds, 3) if self.seconds else None,
            "per_s": round(self.done / self.seconds, 1) if self.seconds else None,
            "p50_ms": quantile_ms(self.whole_ns, 0.50),
            "p99_ms": quantile_ms(self.whole_ns, 0.99),
            "offer_p50_ms": quantile_ms(self.offer_ns, 0.50),
            "ack_p50_ms": quantile_ms(self.ack_ns, 0.50),
        }


def quantile_ms(values_ns: Sequence[int], share: float) -> float | None:
    """The smallest value that at least ``share`` of all are not above, in milliseconds."""
    if not values_ns:
        return None
    rank = max(0, math.ceil(share * len(values_ns)) - 1)
    return round(sorted(values_ns)[rank] / 1e6, 4)


@dataclass(slots=True)
class _Flight:
    """A client on its way: when it began and last sent (ns), the tries left, the offer it asked for."""

    client: int
    began_ns: int
    sent_ns: int
    tries: int = 1
    offer: Reply | None = None


def client_mac(client: int) -> bytes:
    """A locally administered address for client number ``client``."""
    return b"\x02\xdd" + client.to_bytes(4, "big")


class Load:
    """Drives clients over a link, ``window`` at a time. ``clock`` counts nanoseconds."""

    def __init__(
        self, link: Link, frames: Frames, window: int, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._link = link
        self._frames = frames
        self._window = window
        self._clock = clock
        self._next_xid = 0x10000000
        self.bindings: dict[int, Binding] = {}

    def acquire(self, clients: Sequence[int]) -> Outcome:
        """DISCOVER, OFFER, REQUEST, ACK for each client; what they got is in ``bindings`` afterwards."""
        return self._run(clients, self._send_discover, self._on_acquire)

    def renew(self, clients: Sequence[int]) -> Outcome:
        """REQUEST, ACK in the RENEWING state for each client, which must hold a binding."""
        return self._run(clients, self._send_renew, self._on_renew)

    def duplicates(self) -> int:
        """How many clients hold an address that another one holds as well."""
        return len(self.bindings) - len({binding.address for binding in self.bindings.values()})

    def _run(
        self,
        clients: Sequence[int],
        start: Callable[[_Flight, int], None],
        on_reply: Callable[[_Flight, int, Reply, Outcome], bool],
    ) -> Outcome:
        outcome, clock = Outcome(), self._clock
        flights: dict[int, _Flight] = {}
        waiting = iter(clients)
        cpu_began_s = time.process_time()
        began_ns = now = clock()
        check_at = now + _NS_PER_S // 10
        left = len(clients)
        while left:
            while len(flights) < self._window and (client := next(waiting, None)) is not None:
                now = clock()
                self._next_xid += 1
                flight = flights[self._next_xid] = _Flight(client, now, now)
                start(flight, self._next_xid)
            frame = self._link.receive()
            now = clock()
            if frame is not None and (reply := parse_reply(frame)) is not None:
                replied = flights.get(reply.xid)
                if replied is not None and on_reply(replied, reply.xid, reply, outcome):
                    outcome.whole_ns.append(clock() - replied.began_ns)
                    outcome.done += 1
                    left -= 1
                    del flights[reply.xid]
            if now >= check_at:
                check_at = now + _NS_PER_S // 10
                left -= self._retry(flights, now, start, outcome)
        outcome.seconds = (clock() - began_ns) / 1e9
        outcome.cpu_seconds = time.process_time() - cpu_began_s
        return outcome

    def _retry(
        self, flights: dict[int, _Flight], now: int, start: Callable[[_Flight, int], None], outcome: Outcome
    ) -> int:
        """Send again for whoever waits too long; returns how many were given up."""
        late = [xid for xid, flight in flights.items() if now - flight.sent_ns > RETRY_S * 1e9]
        given_up = 0
        for xid in late:
            flight = flights[xid]
            if flight.tries == MAX_TRIES:
                del flights[xid]
                outcome.failed += 1
                given_up += 1
                continue
            outcome.retries += 1
            flight.tries += 1
            flight.sent_ns = now
            flight.offer = None
            start(flight, xid)
        return given_up

    def _send_discover(self, flight: _Flight, xid: int) -> None:
        self._link.send(self._frames.discover(client_mac(flight.client), xid))

    def _send_renew(self, flight: _Flight, xid: int) -> None:
        held = self.bindings[flight.client]
        mac = client_mac(flight.client)
        self._link.send(self._frames.renew(mac, xid, held.address, held.server_id, held.server_mac))

    def _on_acquire(self, flight: _Flight, xid: int, reply: Reply, outcome: Outcome) -> bool:
        now = self._clock()
        if reply.kind == OFFER and flight.offer is None:
            outcome.offer_ns.append(now - flight.sent_ns)
            flight.offer = reply
            mac = client_mac(flight.client)
            self._link.send(self._frames.request(mac, xid, reply.address, reply.server_id))
            flight.sent_ns = now
        elif reply.kind == ACK and flight.offer is not None:
            outcome.ack_ns.append(now - flight.sent_ns)
            self.bindings[flight.client] = Binding(reply.address, reply.server_id, reply.server_mac)
            return True
        elif reply.kind == NAK:
            outcome.naks += 1  # the client begins anew when its time is up
        return False

    def _on_renew(self, flight: _Flight, xid: int, reply: Reply, outcome: Outcome) -> bool:
        if reply.kind == ACK and reply.address == self.bindings[flight.client].address:
            outcome.ack_ns.append(self._clock() - flight.sent_ns)
            return True
        outcome.naks += reply.kind == NAK
        return False


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load. ``probe`` alone asks whether a server answers at all."""

    clients: int
    window: int
    renewal_rounds: int
    unloaded: int


def measure(link: Link, frames: Frames, plan: Plan) -> dict[str, object]:
    """One measurement: ``unloaded`` clients one at a time, then ``clients`` with ``window`` in flight, then
    renewals."""
    alone = Load(link, frames, 1).acquire(range(1 << 20, (1 << 20) + plan.unloaded))
    load = Load(link, frames, plan.window)
    acquired = load.acquire(range(plan.clients))
    renewed = load.renew(list(load.bindings) * plan.renewal_rounds)
    return {
        "plan": asdict(plan),
        "unloaded": alone.summary(),
        "acquire": acquired.summary(),
        "renew": renewed.summary(),
        "duplicates": load.duplicates(),
    }


def wait_for_server(link: Link, frames: Frames, patience_s: float) -> bool:
    """Whether anybody offers an address within ``patience_s``."""
    give_up_at = time.monotonic() + patience_s
    xid = 0x0FFF0000
    while time.monotonic() < give_up_at:
        xid += 1
        link.send(frames.discover(client_mac(0xFFFFFFFF), xid))
        for _ in range(4):
            frame = link.receive()
            reply = parse_reply(frame) if frame is not None else None
            if reply is not None and reply.kind == OFFER:
                return True
    return False


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interface", required=True)
    parser.add_argument("--clients", type=int, default=2000, metavar="N")
    parser.add_argument("--window", type=int, default=64, metavar="W", help="clients in flight")
    parser.add_argument("--renewal-rounds", type=int, default=3, metavar="N", help="renewals of each client")
    parser.add_argument("--unloaded", type=int, default=200, metavar="N", help="clients taken one by one first")
    parser.add_argument("--broadcast", action="store_true", help="set the broadcast flag")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="only wait until a server offers")
    options = parser.parse_args()
    link, frames = PacketLink(options.interface), Frames(options.broadcast)
    if options.wait is not None:
        return 0 if wait_for_server(link, frames, options.wait) else 1
    plan = Plan(options.clients, options.window, options.renewal_rounds, options.unloaded)
    print(json.dumps(measure(link, frames, plan)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
