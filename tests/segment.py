"""A node and the clients on its segment, for tests of what it answers: messages in, replies out, in virtual time."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.policy import Policy
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c

POOL = Pool(0x0A000000, 24, 32)
SERVER = 0x0A000001
SERVER_MAC = b"\x02\0\0\0\0\x01"
NODE_MAC, NODE_ADDRESS = b"\x02\0\0\0\x01\0", b"\xfe\x80" + bytes(13) + b"\x01"
EVERYBODY = c.BROADCAST_ADDRESS


def mac(number: int) -> bytes:
    return b"\x02\0\0\x01" + number.to_bytes(2, "big")


def address(text: str) -> int:
    return int.from_bytes(bytes(map(int, text.split("."))), "big")


def keep(effect: f.Effect, blocks: dict[int, StoredBlock], leases: dict[int, StoredLease]) -> None:
    """What a disk with these rows does with an effect."""
    if isinstance(effect, f.SaveBlock):
        blocks[effect.block.index] = effect.block
    elif isinstance(effect, f.ForgetBlock):
        blocks.pop(effect.index, None)
    elif isinstance(effect, f.SaveLease):
        leases[effect.lease.address] = effect.lease
    elif isinstance(effect, f.ForgetLease):
        leases.pop(effect.address, None)


@dataclass
class Reply:
    """What the node sent to a client: the message, and the effect that says where it goes."""

    message: Message
    effect: f.SendDhcp

    @property
    def kind(self) -> int:
        return self.message.message_type

    @property
    def address(self) -> int:
        return self.message.yiaddr


class Segment:
    """One node that owns a block, or as many as it needs, and whoever talks to it."""

    def __init__(self, policy: Policy | None = None, *, pool: Pool = POOL, link: e.ClientLink | None = None, **config):  # type: ignore[no-untyped-def]
        self.config = NodeConfig(pool, tentative_timeout_s=3, learning_phase=False, policy=policy or Policy(), **config)
        self.node = Node(self.config, random.Random(1))
        self.now = 1000.0
        self.replies: list[Reply] = []
        self.effects: list[f.Effect] = []
        self.link = link or e.ClientLink("client0", SERVER, pool.prefix_len, SERVER_MAC)
        for event in (e.ClientLinkUp(self.link), e.Start(), e.ServerLinkUp(NODE_MAC, NODE_ADDRESS)):
            self.feed(event)
        self.pass_time(4)

    def feed(self, event: e.Event) -> list[f.Effect]:
        effects = self.node.handle(event, self.now)
        self.effects += effects
        self.replies += [Reply(Message.decode(x.payload), x) for x in effects if isinstance(x, f.SendDhcp)]
        return effects

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.node.deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            self.feed(e.Wake())
        self.now = end

    def send(
        self, message: Message | bytes, *, source: int = 0, to: int = EVERYBODY, wait_s: float = 0.25
    ) -> list[Reply]:
        """What the node answers, within the time that a probe takes."""
        before = len(self.replies)
        data = message if isinstance(message, bytes) else message.encode(min_size=300)
        self.feed(e.DhcpReceived(self.link.name, data, source, to))
        if wait_s and len(self.replies) == before:
            self.pass_time(wait_s)
        return self.replies[before:]

    def ask(self, message: Message | bytes, **arguments: int) -> Reply:
        """The one answer there is."""
        (reply,) = self.send(message, **arguments)
        return reply

    def lease(self, client: int | bytes = 1, **options: bytes | int) -> int:
        """DISCOVER, OFFER, REQUEST, ACK; the address."""
        offer = self.ask(discover(client, **options))
        assert offer.kind == c.OFFER
        ack = self.ask(request(client, o50=offer.address, o54=self.link.address, **options))
        assert (ack.kind, ack.address) == (c.ACK, offer.address)
        return ack.address

    def logged(self, event: str) -> list[dict[str, object]]:
        """The fields of every log line of that name."""
        return [x.fields for x in self.effects if isinstance(x, f.Log) and x.event == event]

    def count(self, name: str) -> int:
        return self.node.statistics().get(name, 0)

    def why(self, client: int | bytes) -> tuple[str, str]:
        """Outcome and reason of the latest decision about a client."""
        decision = self.node.decisions.latest(chaddr_of(client))
        return (decision.outcome, decision.reason) if decision is not None else ("", "")


def chaddr_of(client: int | bytes) -> bytes:
    return (mac(client) if isinstance(client, int) else client).ljust(16, b"\0")


def say(kind: int, client: int | bytes = 1, **fields: object) -> Message:
    """A client's message. Keywords ``o50`` and so on are options, integers 4 bytes long; others are fields."""
    options = {c.OPT_MESSAGE_TYPE: bytes((kind,))}
    message = Message(xid=7, chaddr=chaddr_of(client))
    for name, value in fields.items():
        if name[0] == "o" and name[1:].isdecimal():
            options[int(name[1:])] = value if isinstance(value, bytes) else int(str(value)).to_bytes(4, "big")
        else:
            setattr(message, name, value)
    message.options = options
    return message


def discover(client: int | bytes = 1, **fields: object) -> Message:
    return say(c.DISCOVER, client, **fields)


def request(client: int | bytes = 1, **fields: object) -> Message:
    return say(c.REQUEST, client, **fields)
