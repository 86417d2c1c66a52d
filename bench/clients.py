"""What the closed and the open loop have in common: many clients, what each sends next and what it holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from bench.frames import (
    LEAST_REPLY,
    MAX_CLIENTS,
    MESSAGE_TYPE,
    OFFER,
    PLAIN_IPV4,
    TAG_COUNT,
    ClientFrames,
    parse_reply,
    reply_fields,
)

NS_PER_S = 1_000_000_000


class Link(Protocol):
    """Where frames go and come from, see :class:`bench.link.BatchLink`."""

    @property
    def incoming(self) -> bytearray:
        """What was received."""

    @property
    def starts(self) -> Sequence[int]:
        """Where in it each message begins."""

    def send(self, numbers: Sequence[int]) -> None:
        """Send these clients' frames."""

    def receive(self, wait_s: float) -> int:
        """How many messages came."""

    def length(self, index: int) -> int:
        """The bytes of one of them."""


class Clients:
    """Clients behind a link, and the one server that they hear of first.

    ``clock`` counts nanoseconds. ``addresses``: per client the address that it holds, as an integer, 0 for none.
    ``asking``: per client, whether it has chosen an offer. ``foreign`` counts the replies that no client waits for.
    """

    def __init__(self, link: Link, frames: ClientFrames, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self.link = link
        self.clock = clock
        self.count = frames.count
        self.addresses = [0] * frames.count
        self.asking = bytearray(frames.count)
        self.foreign = 0
        self._frames = frames
        self._xids = [-1] * frames.count
        self._tag = 0
        self._server_id = 0
        self._server_mac = b""

    def discover(self, client: int) -> None:
        """Have the client begin: its next message is a new DISCOVER."""
        self.asking[client] = 0
        self._frames.discover(client)
        self.begin_exchange(client)

    def choose(self, client: int, address: int) -> None:
        """Have the client that sent a DISCOVER ask for the ``address`` it was offered."""
        self.asking[client] = 1
        self._frames.request(client, address, self._server_id)

    def renew(self, client: int) -> None:
        """Prepare the client, which holds an address, for renewals; each needs :meth:`begin_exchange`."""
        self._frames.renew(client, self.addresses[client], self._server_id, self._server_mac)

    def begin_exchange(self, client: int) -> None:
        """Give the client's next message a transaction id of its own."""
        self._tag = tag = (self._tag + 1) % TAG_COUNT
        self._xids[client] = self._frames.stamp(client, tag)

    def replies(self, count: int) -> list[tuple[int, int, int]]:
        """Client, message type and yiaddr of those of the ``count`` messages received that answer a client's current
        transaction and are addressed to it."""
        incoming, starts, xids, known = self.link.incoming, self.link.starts, self._xids, self.count
        found = []
        for index in range(count):
            start = starts[index]
            version, length, xid, address, owner, option, kind = reply_fields(incoming, start)
            # Most servers put the message type first, behind an IP header without options. The others take longer.
            if option != MESSAGE_TYPE or version != PLAIN_IPV4 or length < LEAST_REPLY:
                reply = parse_reply(incoming, start, self.link.length(index))
                if reply is None:
                    continue
                xid, kind, address, owner = reply.xid, reply.kind, reply.address, reply.client
            client = xid & MAX_CLIENTS - 1
            if owner == client < known and xids[client] == xid:
                if kind == OFFER and not self._server_id:
                    self._learn(index)
                found.append((client, kind, address))
            else:
                self.foreign += 1
        return found

    def duplicates(self) -> int:
        """How many clients hold an address that another one holds as well."""
        held = [address for address in self.addresses if address]
        return len(held) - len(set(held))

    def holders(self, clients: Iterable[int]) -> list[int]:
        """Those of ``clients`` that hold an address."""
        return [client for client in clients if self.addresses[client]]

    def probe(self, client: int, patience_s: float) -> bool:
        """Whether anybody offers ``client`` an address within ``patience_s``. The offer is not taken."""
        give_up_ns = self.clock() + int(patience_s * NS_PER_S)
        while (left_ns := give_up_ns - self.clock()) > 0:
            self.discover(client)
            self.link.send([client])
            count = self.link.receive(min(0.2, left_ns / NS_PER_S))
            if any(who == client and kind == OFFER for who, kind, _ in self.replies(count)):
                return True
        return False

    def _learn(self, index: int) -> None:
        """Who the server is; it stays the same as long as the clients live."""
        start = self.link.starts[index]
        offer = parse_reply(self.link.incoming, start, self.link.length(index))
        if offer is not None:
            self._server_id = offer.server_id
            self._server_mac = bytes(self.link.incoming[start + 6 : start + 12])
