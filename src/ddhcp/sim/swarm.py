"""Several nodes on one model link, each with a realm of its own, in virtual time. Same seed, same run."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from ..core import Node, NodeConfig
from ..core import effects as f
from ..core import events as e
from ..dhcp import Message
from ..dhcp import constants as c

_LINK_DELAY_S = 0.001


@dataclass(slots=True, frozen=True)
class Answer:
    """A DHCP reply that left a node: when, from which node, and what it says."""

    at: float
    node: int
    message: Message


class VirtualSwarm:
    """``count`` nodes with one configuration. ``loss``: the share of datagrams between nodes that is lost, each
    receiver of a multicast on its own; ``jitter_s``: the most by which one is late, which also reorders them.

    ``answers``: every DHCP reply so far. ``hooks``: every hook call so far, with its node. ``duplicates``: addresses
    that were acknowledged to one client while another's acknowledged lease of it ran (invariant I1), as (instant,
    address). ``cut(sender, receiver)``: whether nothing gets from one to the other. ``loses_multicasts``: whether only
    unicasts arrive.
    """

    def __init__(
        self, count: int, config: NodeConfig, *, seed: int = 0, loss: float = 0.0, jitter_s: float = 0.0
    ) -> None:
        self.now = 1000.0
        self.rng = random.Random(seed)
        self.loss = loss
        self.jitter_s = jitter_s
        self.answers: list[Answer] = []
        self.hooks: list[tuple[int, tuple[str, ...]]] = []
        self.duplicates: list[tuple[float, int]] = []
        self.stopped: set[int] = set()
        self.cut: Callable[[int, int], bool] = lambda sender, receiver: False
        self.loses_multicasts = False
        self._holders: dict[int, tuple[bytes, float]] = {}
        self._last_xid: dict[bytes, int] = {}
        self._in_flight: list[tuple[float, int, int, e.SwarmReceived]] = []
        self._sequence = 0
        self.addresses = [b"\xfe\x80" + bytes(13) + bytes((number + 1,)) for number in range(count)]
        self.nodes = [Node(config, random.Random(self.rng.random())) for _ in range(count)]
        for number in range(count):
            self.feed(number, e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, b"\x02\0\0\0\0\x01")))
            self.feed(number, e.Start())
            self.feed(number, e.ServerLinkUp(b"\x02\0\0\0\x01" + bytes((number,)), self.addresses[number]))

    def feed(self, number: int, event: e.Event) -> list[f.Effect]:
        """Give one node an event now; its effects are carried out and returned."""
        effects = self.nodes[number].handle(event, self.now)
        for effect in effects:
            self._perform(number, effect)
        return effects

    def _perform(self, number: int, effect: f.Effect) -> None:
        if isinstance(effect, f.SendMulticast):
            for receiver in range(len(self.nodes)):
                if receiver != number and not self.loses_multicasts:
                    self._carry(number, receiver, effect.data, is_multicast=True)
        elif isinstance(effect, f.SendUnicast):
            if effect.destination in self.addresses:
                self._carry(number, self.addresses.index(effect.destination), effect.data, is_multicast=False)
        elif isinstance(effect, f.SendDhcp):
            message = Message.decode(effect.payload)
            self.answers.append(Answer(self.now, number, message))
            self._note_ack(message)
        elif isinstance(effect, f.RunHook):
            self.hooks.append((number, effect.arguments))
        elif isinstance(effect, f.Stopped):
            self.stopped.add(number)

    def _carry(self, sender: int, receiver: int, data: bytes, *, is_multicast: bool) -> None:
        if self.cut(sender, receiver) or self.rng.random() < self.loss:
            return
        self._sequence += 1
        at = self.now + _LINK_DELAY_S + self.rng.random() * self.jitter_s
        event = e.SwarmReceived(data, self.addresses[sender], is_multicast)
        heapq.heappush(self._in_flight, (at, self._sequence, receiver, event))

    def _note_ack(self, message: Message) -> None:
        if message.message_type != c.ACK or not message.yiaddr or message.lease_time_s is None:
            return
        if not self.is_awaited(message):
            return
        holder = self._holders.get(message.yiaddr)
        if holder is not None and holder[0] != message.chaddr and holder[1] > self.now:
            self.duplicates.append((self.now, message.yiaddr))
        self._holders[message.yiaddr] = (message.chaddr, self.now + message.lease_time_s)

    def is_awaited(self, message: Message) -> bool:
        """Whether a reply answers the last thing its client sent; a client ignores any other (RFC 2131 4.4.1)."""
        return self._last_xid.get(message.chaddr) == message.xid

    def release(self, address: int) -> None:
        """A client gave ``address`` up: nobody holds it."""
        self._holders.pop(address, None)

    def run_until(self, instant: float) -> None:
        """Let time pass, up to ``instant``."""
        while True:
            due = [
                (at, 0, number)
                for number, node in enumerate(self.nodes)
                if number not in self.stopped and (at := node.deadline()) is not None
            ]
            if self._in_flight:
                due.append((self._in_flight[0][0], 1, 0))
            at, is_datagram, number = min(due, default=(instant + 1, 0, 0))
            if at > instant:
                break
            self.now = max(self.now, at)
            if is_datagram:
                _, _, receiver, event = heapq.heappop(self._in_flight)
                if receiver not in self.stopped:
                    self.feed(receiver, event)
            else:
                self.feed(number, e.Wake())
        self.now = instant

    def run_for(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.run_until(self.now + seconds)

    def client_sends(
        self, number: int, message: Message, *, source: int = 0, destination: int = 0xFFFFFFFF
    ) -> list[Message]:
        """A client in the realm of node ``number`` sends ``message``; returns what the node answers at once."""
        before = len(self.answers)
        self._last_xid[message.chaddr] = message.xid
        self.feed(number, e.DhcpReceived("client0", message.encode(), source, destination))
        return [answer.message for answer in self.answers[before:]]
