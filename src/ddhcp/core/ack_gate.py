"""Durability beyond this machine: an acknowledgement leaves when another node knows the lease as well (rule M6).

With ``replicas_before_ack`` at 1, the client of a node whose disk and memory are lost the moment after has its lease at
a replica. The wait is bounded: where no replica answers in time, the client is answered all the same, and that is
counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from .context import Context
from .effects import Effect, SendDhcp, SendUnicast
from .replication import Replication

WAIT_S = 0.6  # long enough for one repetition of what was lost, far below the seconds after which clients ask again
MAX_HELD = 4096  # answers held back at once; beyond that they leave without waiting


class AckGate:
    """Holds acknowledgements back until enough replicas know what they promise."""

    def __init__(self, context: Context, replication: Replication) -> None:
        self._context = context
        self._replication = replication
        self._held: dict[int, list[Effect]] = {}
        self._until: deque[tuple[float, int]] = deque()
        self._passing: set[int] = set()

    def hold(self, now: float) -> None:
        """An event has been handled: keep those of its effects back that promise what no replica knows yet."""
        context = self._context
        if not context.config.replicas_before_ack:
            return
        kept: list[Effect] = []
        for effect in context.effects:
            address = effect.binding if isinstance(effect, (SendDhcp, SendUnicast)) else None
            if address is None or self._is_known(address) or address in self._passing:
                kept.append(effect)
            elif len(self._until) >= MAX_HELD:
                context.count("swarm.acks_unreplicated")
                kept.append(effect)
            else:
                self._held.setdefault(address, []).append(effect)
                self._until.append((now + WAIT_S, address))
        context.effects[:] = kept
        self._passing.clear()

    def _is_known(self, address: int) -> bool:
        known, targets = self._replication.acknowledged(address)
        return known >= min(self._context.config.replicas_before_ack, targets)

    def on_acknowledged(self, addresses: Iterable[int]) -> None:
        """A replica has heard of these leases."""
        for address in addresses:
            if address in self._held and self._is_known(address):
                self._context.effects.extend(self._held.pop(address))

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        while self._until and self._until[0][1] not in self._held:
            self._until.popleft()
        return self._until[0][0] if self._until else math.inf

    def run(self, now: float) -> None:
        """Answer those for whom no replica has spoken in time."""
        while self.deadline() <= now:
            _, address = self._until.popleft()
            self._release(address)
            self._passing.add(address)

    def release_all(self) -> None:
        """The node stops: answer everybody."""
        for address in list(self._held):
            self._release(address)

    def _release(self, address: int) -> None:
        effects = self._held.pop(address)
        self._context.count("swarm.acks_unreplicated", len(effects))
        self._context.effects.extend(effects)
