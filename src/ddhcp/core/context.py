"""What the parts of a node share: who it is, what it was told, and where its effects and counts go."""

from __future__ import annotations

import math
import random
from typing import Final, get_args

from ..swarm import (
    INCARNATION_SIZE,
    MAX_CLAIMS_PER_PACKET,
    SEALED_CLAIMS_PER_PACKET,
    ExtensionMessage,
    SwarmCodec,
)
from .blocks import UNKNOWN_ADDRESS, ZERO_ID
from .config import NodeConfig
from .effects import Effect, Log, SendMulticast, SendUnicast
from .policy import LONGEST_GRANT_S
from .remedies import Remedy
from .trust import Trust

# In the order in which the classic control tool prints them.
CLASSIC_COUNTERS = (
    *(f"mcast.{n}" for n in ("recv_pkg", "send_pkg", "recv_byte", "send_byte", "send_updateclaim", "recv_updateclaim")),
    *(f"mcast.{n}" for n in ("send_inquire", "recv_inquire")),
    *(f"direct.{n}" for n in ("recv_pkg", "send_pkg", "recv_byte", "send_byte")),
    *(f"direct.{d}_{n}" for n in ("renewlease", "leaseack", "leasenak", "release") for d in ("recv", "send")),
    *(f"dhcp.{n}" for n in ("recv_pkg", "send_pkg", "recv_byte", "send_byte", "recv_discover", "send_offer")),
    *(f"dhcp.{n}" for n in ("recv_request", "send_ack", "send_nak", "recv_release")),
)


_REPLICATION: Final = Remedy.REPLICATION  # asked for with every event, and slow to be looked up in Python 3.11
PROMISE_SLACK_S = 100  # a block with leases is announced for 2 L + this, which leaves (L + slack) / 3 between refreshes

# The names of messages of ours in the statistics.
_KINDS: dict[type, str] = {
    kind: "".join(f"_{x.lower()}" if x.isupper() else x for x in kind.__name__.removesuffix("Message")).lstrip("_")
    for kind in get_args(ExtensionMessage)
}


class Tally:
    """What every exchange with a client and every multicast of a peer counts, as plain attributes: to count by name
    would take as long as to choose the address. :meth:`named` gives the counters that these belong to."""

    __slots__ = (
        "acks", "claims_heard", "discovers", "heard", "heard_bytes", "offers", "received", "received_bytes", "requests",
        "sent", "sent_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.received = self.received_bytes = self.sent = self.sent_bytes = 0
        self.discovers = self.offers = self.requests = self.acks = 0
        self.heard = self.heard_bytes = self.claims_heard = 0

    def named(self) -> dict[str, int]:
        """By the names of classic nodes."""
        return {
            "dhcp.recv_pkg": self.received, "dhcp.recv_byte": self.received_bytes, "dhcp.send_pkg": self.sent,
            "dhcp.send_byte": self.sent_bytes, "dhcp.recv_discover": self.discovers, "dhcp.send_offer": self.offers,
            "dhcp.recv_request": self.requests, "dhcp.send_ack": self.acks, "mcast.recv_pkg": self.heard,
            "mcast.recv_byte": self.heard_bytes, "mcast.recv_updateclaim": self.claims_heard,
        }  # fmt: skip


class Context:
    """Shared by the parts of one node. ``address``: of the server link (16 bytes); ``link_up``: whether it can carry
    packets.

    ``lease_time_s``: what clients get now. ``longest_lease_s``: the longest that any running lease may have been
    given, which what we promise for a block must cover even after the lease time was lowered. ``has_stand_ins``:
    whether a peer was ever told of our leases, and so may have prolonged one. ``past_until``: up to when what this node
    promised before it was restarted may hold. ``incarnation``: 8 random bytes that tell
    one run of this node from the next. ``epoch``: counts what may change the meaning of a message that was heard
    before (``refreshes.py``). ``counters``: by name, those of ``tally`` not up to date; see :meth:`statistics`.
    """

    def __init__(self, config: NodeConfig, rng: random.Random) -> None:
        self.config = config
        self.pool = config.pool
        self.rng = rng
        self.incarnation = rng.randbytes(INCARNATION_SIZE)
        self.node_id = ZERO_ID
        self.address = UNKNOWN_ADDRESS
        self.link_up = False
        self.stopping = False
        self.lease_time_s = min(config.lease_time_s, LONGEST_GRANT_S)
        self.longest_lease_s = self.lease_time_s
        self.has_stand_ins = False
        self.past_until = -math.inf
        self.epoch = 0
        self.codec = self._make_codec()
        self.effects: list[Effect] = []
        self.counters: dict[str, int] = dict.fromkeys(CLASSIC_COUNTERS, 0)
        self.tally = Tally()
        self.durable_multicasts = 0  # so many wait for the disk first, or did
        self.trust = Trust(
            config.keys, self.incarnation, own_address=lambda: self.address, write=lambda m: self.codec.write(m),
            send=self._unicast_as_is, count=self.count,
        )  # fmt: skip

    def reconfigure(self, config: NodeConfig) -> None:
        """Take a changed configuration with the same pool."""
        if config.lease_time_s != self.config.lease_time_s:
            self.lease_time_s = min(config.lease_time_s, LONGEST_GRANT_S)
            self.cover_lease(self.lease_time_s)
        if config.keys is not None:
            self.trust.renew(config.keys)
        self.config = config
        self.epoch += 1

    def identify(self, mac: bytes, address: bytes) -> None:
        """Take the server link's identity: node id is its MAC followed by two zero bytes (PROTOCOL, Messages)."""
        self.node_id = mac + b"\0\0"
        self.address = address
        self.codec = self._make_codec()
        self.epoch += 1

    def _make_codec(self) -> SwarmCodec:
        return SwarmCodec(self.node_id, self.pool.prefix, self.pool.prefix_len, self.pool.block_size)

    def take_effects(self) -> list[Effect]:
        """The effects collected since the last call, in order."""
        effects, self.effects = self.effects, []
        return effects

    def has(self, remedy: Remedy) -> bool:
        """Whether a remedy is in force; always true outside the simulator."""
        without = self.config.without
        return not without or remedy not in without

    @property
    def promise_s(self) -> int:
        """For how long a node of our kind announces a block with leases, unless T is longer."""
        return 2 * self.longest_lease_s + PROMISE_SLACK_S

    @property
    def is_careful(self) -> bool:
        """Whether nodes that fell silent are taken to be at work out of our hearing, rather than dead."""
        return self.has(Remedy.MISSING_PEERS) and not self.config.prefer_availability

    def outranks_us(self, node_id: bytes, source: bytes, *, is_claim: bool = False) -> bool:
        """Whether that node wins a dispute with us: higher node id, then higher source address (SAFETY, Disputes).

        Without the tie-break, as among classic nodes: of two equal ids nobody yields to an inquiry, both to a claim.
        """
        if self.trust.outweighs(self.address, source):
            return False
        if not self.has(Remedy.TIE_BREAK):
            return node_id > self.node_id or (is_claim and node_id == self.node_id)
        return (node_id, source) > (self.node_id, self.address)

    @property
    def claims_per_packet(self) -> int:
        """How many claims fit into one packet, a seal included."""
        return SEALED_CLAIMS_PER_PACKET if self.trust.has_key else MAX_CLAIMS_PER_PACKET

    @property
    def is_replicated(self) -> bool:
        """Whether peers are told of this node's leases."""
        return self.config.replicas > 0 and self.has(_REPLICATION)

    @property
    def keep_s(self) -> int:
        """How long an address is kept for its client after its lease ended, in seconds, so that a peer may prolong the
        lease when this node cannot be reached: so long that a client which renews as it should (at half of its lease
        at the latest) keeps it up to the end of what this node last promised, when a guardian adopts the block."""
        return math.ceil(1.5 * self.longest_lease_s) + PROMISE_SLACK_S

    def cover_lease(self, lease_s: float) -> None:
        """A lease of this length exists or may be given from now on."""
        if lease_s > self.longest_lease_s:
            self.longest_lease_s = min(math.ceil(lease_s), LONGEST_GRANT_S)
            self.epoch += 1

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] = self.counters.get(name, 0) + amount

    def statistics(self) -> dict[str, int]:
        """All counters by name."""
        return self.counters | self.tally.named()

    def reset_statistics(self) -> None:
        """Count from 0 again."""
        self.counters = dict.fromkeys(self.counters, 0)
        self.tally = Tally()

    def log(self, level: int, event: str, **fields: object) -> None:
        """Emit one log line."""
        self.effects.append(Log(level, event, fields))

    def multicast(self, data: bytes, kind: str, durable: bool = False) -> None:
        """Send to the swarm; ``kind`` names the message in the statistics."""
        counters = self.counters
        self.count(f"mcast.send_{kind}")
        for datagram in self.trust.for_all(data):
            counters["mcast.send_pkg"] += 1
            counters["mcast.send_byte"] += len(datagram)
            self.durable_multicasts += durable
            self.effects.append(SendMulticast(datagram, durable))

    def unicast(
        self, data: bytes, destination: bytes, kind: str, durable: bool = False, binding: int | None = None
    ) -> None:
        """Send to one peer; ``kind`` names the message in the statistics."""
        self.count(f"direct.send_{kind}")
        self._unicast_as_is(self.trust.for_one(data, destination), destination, durable, binding)

    def _unicast_as_is(
        self, data: bytes, destination: bytes, durable: bool = False, binding: int | None = None
    ) -> None:
        self.counters["direct.send_pkg"] += 1
        self.counters["direct.send_byte"] += len(data)
        self.effects.append(SendUnicast(data, destination, durable, binding))

    def tell(self, destination: bytes, message: ExtensionMessage, durable: bool = False) -> None:
        """Send a message of ours to one peer."""
        self.unicast(self.codec.write(message), destination, _KINDS[type(message)], durable)

    def tell_all(self, message: ExtensionMessage) -> None:
        """Send a message of ours to the swarm."""
        self.multicast(self.codec.write(message), _KINDS[type(message)])
