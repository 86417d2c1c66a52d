"""Events go through the core here, and the effects it returns to where they belong, in order: what an ACK promises is
on disk before the ACK leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from time import perf_counter
from typing import Final, Protocol

from ..core import effects as f
from ..core import events as e
from ..core.blocks import BlockState
from ..core.outbox import Outbox
from ..core.records import StoredBlock, StoredClaim, StoredLease, StoredPeer
from ..core.views import BlockView
from .committer import Committer
from .event_log import EventLog
from .hooks import Hooks
from .latency import HANDLING_BOUNDS_S, Histogram
from .store import Store

TELL_AGAIN_S = 60.0  # a disk that goes on failing in the same way
_perf_counter: Final = perf_counter  # a name that compiled code need not look up


class Driven(Protocol):
    """What is fed: a :class:`~ddhcp.core.Node`. Compiled code takes nothing else where a Node is declared, not even a
    stand-in."""

    def handle(self, event: e.Event, now: float) -> list[f.Effect]:
        """Take one event and return what is to be done about it, in order."""

    def leases(self) -> list[StoredLease]:
        """Every binding of its blocks."""

    def claims(self) -> list[StoredClaim]:
        """What it knows of other nodes' blocks."""

    def peers_of_ours(self) -> list[StoredPeer]:
        """Which other nodes of its kind it knows."""

    def block_views(self, now: float) -> list[BlockView]:
        """Every block that is not free."""


class Performer(Outbox):
    """Feeds one node and performs its effects.

    ``send(effect, now)`` sends a datagram. ``report(error)``: tells what the node raised on an event from outside. What
    is to be stored gathers until :meth:`flush`, one commit for all of it. ``has_stopped``: the node is through.
    ``handling``: how long DHCP messages took, without the disk. ``store_error``: why the latest commit failed, None if
    it did not.
    """

    def __init__(
        self,
        node: Driven,
        store: Store,
        committer: Committer,
        log: EventLog,
        hooks: Hooks | None,
        counters: MutableMapping[str, int],
        send: Callable[[f.Effect, float], None],
        report: Callable[[Exception], None],
    ) -> None:
        super().__init__(store.is_durable)
        self._node = node
        self._committer = committer
        self._log = log
        self._hooks = hooks
        self._counters = counters
        self._send = send
        self._report = report
        self._failing_since: float | None = None
        self._told_at = 0.0
        self._told_error: str | None = None
        self._withheld = 0  # answers since the failure was last told
        self.has_stopped = False
        self.store_error: str | None = None
        self.handling = Histogram(HANDLING_BOUNDS_S)

    def feed(self, event: e.Event, now: float) -> None:
        """Give the node an event and do what it wants done."""
        if not isinstance(event, e.DhcpReceived):
            if isinstance(event, e.SendFailed):
                self.claims_unsent()
            self.perform(self._node.handle(event, now), now)
            return
        began = _perf_counter()
        self.perform(self._node.handle(event, now), now)
        self.handling.observe(_perf_counter() - began)

    def take(self, event: e.Event, now: float) -> None:
        """The same with what happened on a link. What the node raises is reported, and costs no other event."""
        try:
            self.feed(event, now)
        except Exception as error:
            self._report(error)

    def send(self, effect: f.Effect, now: float) -> None:
        self._send(effect, now)

    def tell(self, effect: f.Log) -> None:
        self._log.write(effect.level, effect.event, effect.fields)
        if self._hooks is not None:
            self._hooks.tell(effect.event, effect.fields)

    def call(self, effect: f.RunHook) -> None:
        if self._hooks is not None:
            self._hooks.call(effect.arguments)

    def withheld(self) -> None:
        self._counters["daemon.answers_withheld"] += 1

    def is_all_written(self) -> bool:
        return self._committer.is_clean

    def stopped(self) -> None:
        self.has_stopped = True

    def flush(self) -> None:
        """Give what this turn wants stored to the disk, and what waits on it along with it."""
        batch = self.take_batch()
        if batch is not None:
            self._committer.put(*batch)

    def on_committed(self, now: float) -> None:
        """The committer is through with something."""
        for batch in self._committer.take_done():
            self.store_error = batch.error
            if batch.error is not None:
                datagrams, has_claims = self.failed(batch.waiting)
                self._on_failed(batch.error, datagrams, now)
                if has_claims:
                    self.feed(e.SendFailed(), now)
                continue
            if self._failing_since is not None:
                self._log.write(logging.WARNING, "store-recovered", {"seconds": round(now - self._failing_since)})
                self._failing_since = None
            self.saved(batch.rows.values())
            if batch.is_first:
                self._save_everything(now)
            self.written(batch.waiting, now)

    def _on_failed(self, error: str, withheld: int, now: float) -> None:
        """Nothing of a batch is on disk: count, and tell it, though not over and over. ``withheld``: datagrams."""
        self._counters["daemon.commit_errors"] += 1
        self._counters["daemon.answers_withheld"] += withheld
        self._withheld += withheld
        if self._failing_since is None:
            self._failing_since, self._told_at, self._told_error = now, -TELL_AGAIN_S, None
        if error != self._told_error or now - self._told_at >= TELL_AGAIN_S:
            self._told_error, self._told_at = error, now
            fields = {"error": error, "answers_withheld": self._withheld, "advice": "check the disk"}
            self._log.write(logging.ERROR, "store-failed", fields)
            self._withheld = 0

    def _save_everything(self, now: float) -> None:
        """The store lost its file: write what the node knows into the new one."""
        leases = self._node.leases()
        self._log.write(logging.ERROR, "store-begun-anew", {"leases": len(leases)})
        for lease in leases:
            self.store(f.SaveLease(lease))
        for claim in self._node.claims():
            self.store(f.SaveClaim(claim))
        for peer in self._node.peers_of_ours():
            self.store(f.SavePeer(peer))
        for block in self._node.block_views(now):
            if block.state == BlockState.OURS:
                # Views count whole seconds, rounded up: what is remembered must not exceed what was promised.
                self.store(f.SaveBlock(StoredBlock(block.index, now + block.timeout_s - 1)))
