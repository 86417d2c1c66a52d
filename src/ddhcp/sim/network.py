"""The link between the nodes: who hears what, when, how often, and what gets lost.

Multicast and unicast have faults of their own. A multicast reaches each receiver, or fails to, independently of the
others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..core.events import SwarmReceived
from .engine import Engine

LINK_DELAY_S = 0.001


class Receiver(Protocol):
    """Whoever has an interface on the link."""

    number: int
    address: bytes
    is_on_link: bool

    def receive_swarm(self, event: SwarmReceived) -> None:
        """A datagram arrives."""


@dataclass(slots=True)
class Impairment:
    """What a link does to datagrams of one kind. Shares from 0 to 1; ``delay_s``: the most by which one is late beyond
    the link's own delay, drawn for each on its own, so that they overtake each other."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_s: float = 0.0


Cut = Callable[[int, int], bool]


class Network:
    """``cuts``: by name, which (sender, receiver) pairs hear nothing. ``deaf_until``: receivers in a burst of loss.
    ``burst``: (probability that a multicast begins one at a receiver, its mean length in seconds)."""

    def __init__(self, engine: Engine, rng: random.Random) -> None:
        self._engine = engine
        self._rng = rng
        self._receivers: dict[int, Receiver] = {}
        self._by_address: dict[bytes, Receiver] = {}
        self._others: dict[int, list[Receiver]] = {}
        self.multicast_faults = Impairment()
        self.unicast_faults = Impairment()
        self.burst: tuple[float, float] = (0.0, 0.0)
        self.cuts: dict[object, Cut] = {}
        self.deaf_until: dict[int, float] = {}
        self.multicasts = 0
        self.unicasts = 0
        self.deliveries = 0

    def attach(self, receiver: Receiver) -> None:
        """A new interface on the link."""
        self._receivers[receiver.number] = receiver
        self._by_address[receiver.address] = receiver
        self._others.clear()

    def is_cut(self, sender: int, receiver: int) -> bool:
        """Whether nothing gets from ``sender`` to ``receiver`` now."""
        return any(cut(sender, receiver) for cut in self.cuts.values())

    def is_faultless(self) -> bool:
        """Whether everything sent now arrives, once and soon."""
        clean = Impairment()
        return self.multicast_faults == clean and self.unicast_faults == clean and not self.cuts and not self.burst[0]

    def multicast(self, sender: int, data: bytes, source: bytes) -> None:
        """Send to every interface on the link but the sender's."""
        self.multicasts += 1
        event = SwarmReceived(data, source, True)
        receivers = self._survivors(sender)
        faults = self.multicast_faults
        if faults.delay_s or faults.duplication:
            for receiver in receivers:
                self._carry(receiver, event, faults)
        elif receivers:
            self._engine.at(self._engine.now + LINK_DELAY_S, self._deliver_all, receivers, event)

    def unicast(self, sender: int, data: bytes, source: bytes, destination: bytes) -> None:
        """Send to one interface; nothing happens if there is none of that address."""
        self.unicasts += 1
        receiver = self._by_address.get(destination)
        faults = self.unicast_faults
        if receiver is None or (self.cuts and self.is_cut(sender, receiver.number)):
            return
        if faults.loss and self._rng.random() < faults.loss:
            return
        self._carry(receiver, SwarmReceived(data, source, False), faults)

    def inject(self, receiver: int, event: SwarmReceived) -> None:
        """A datagram from nowhere (garbage) arrives at one interface."""
        self._engine.at(self._engine.now + LINK_DELAY_S, self._deliver, self._receivers[receiver], event)

    def _survivors(self, sender: int) -> list[Receiver]:
        """Those whom a multicast reaches."""
        receivers = self._others.get(sender)
        if receivers is None:
            receivers = self._others[sender] = [r for r in self._receivers.values() if r.number != sender]
        if self.cuts:
            receivers = [r for r in receivers if not self.is_cut(sender, r.number)]
        if self.burst[0]:
            receivers = self._outside_bursts(receivers)
        loss = self.multicast_faults.loss
        return self._without_lost(receivers, loss) if loss else receivers

    def _without_lost(self, receivers: list[Receiver], loss: float) -> list[Receiver]:
        """Each lost on its own with the same probability. Draws the gaps between lost ones, so that a small loss costs
        few draws."""
        if loss >= 1:
            return []
        scale = 1 / math.log(1 - loss)
        random_number = self._rng.random
        kept: list[Receiver] = []
        position = 0
        while True:
            gap = int(math.log(1 - random_number()) * scale)
            kept += receivers[position : position + gap]
            position += gap + 1
            if position > len(receivers):
                return kept

    def _outside_bursts(self, receivers: list[Receiver]) -> list[Receiver]:
        probability, mean_s = self.burst
        now, rng, deaf_until = self._engine.now, self._rng, self.deaf_until
        kept = []
        for receiver in receivers:
            if deaf_until.get(receiver.number, 0.0) > now:
                continue
            if rng.random() < probability:
                deaf_until[receiver.number] = now + rng.expovariate(1 / mean_s)
                continue
            kept.append(receiver)
        return kept

    def _carry(self, receiver: Receiver, event: SwarmReceived, faults: Impairment) -> None:
        engine, rng = self._engine, self._rng
        copies = 2 if faults.duplication and rng.random() < faults.duplication else 1
        for _ in range(copies):
            delay_s = LINK_DELAY_S + (rng.random() * faults.delay_s if faults.delay_s else 0.0)
            engine.at(engine.now + delay_s, self._deliver, receiver, event)

    def _deliver(self, receiver: Receiver, event: SwarmReceived) -> None:
        self.deliveries += 1
        if receiver.is_on_link:
            receiver.receive_swarm(event)

    def _deliver_all(self, receivers: list[Receiver], event: SwarmReceived) -> None:
        self.deliveries += len(receivers)
        for receiver in receivers:
            if receiver.is_on_link:
                receiver.receive_swarm(event)
