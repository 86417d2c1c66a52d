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
from ..core.records import StoredBlock, StoredClaim, StoredLease, StoredPeer
from ..core.views import BlockView
from .committer import Batch, Committer
from .hooks import Hooks
from .latency import HANDLING_BOUNDS_S, Histogram
from .logs import EventLog
from .store import Store

TELL_AGAIN_S = 60.0  # a disk that goes on failing in the same way
_perf_counter: Final = perf_counter  # a name that compiled code need not look up
GRANTED: Final = "lease-granted"  # told, as hooks are called for it, when the answer leaves
_TOLD: Final = (f.Log, f.RunHook)
_ANSWERS_AND_NEWS: Final = (f.SendDhcp, f.Log, f.RunHook)
_OTHER_DATAGRAMS: Final = (f.SendUnicast, f.SendMulticast)
_STORE_EFFECTS: Final = (
    f.SaveBlock, f.ForgetBlock, f.SaveLease, f.ForgetLease, f.SaveClaim, f.ForgetClaim, f.SavePeer, f.ForgetPeer,
)  # fmt: skip


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


class Performer:
    """Feeds one node and performs its effects.

    ``send(effect, now)`` sends a datagram. What is to be stored gathers until :meth:`flush`, one commit for all of it;
    effects that wait for the disk are sent by :meth:`on_committed`, and who is told of an answer is told then.
    ``has_stopped``: the node is through. ``handling``: how long DHCP messages took, without the disk. ``store_error``:
    why the latest commit failed, None if it did not.
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
    ) -> None:
        self._node = node
        self._is_durable = store.is_durable
        self._committer = committer
        self._log = log
        self._hooks = hooks
        self._counters = counters
        self._send = send
        self._rows: list[f.StoreEffect] = []
        self._waiting: list[f.Effect] = []
        self._unsaved: dict[int, f.StoreEffect] = {}  # by address, the latest row that is not known to be on disk
        self._failing_since: float | None = None
        self._told_at = 0.0
        self._told_error: str | None = None
        self._withheld = 0  # answers since the failure was last told
        self._unsent_claims = 0  # how often a multicast did not leave
        # Effects that waited for the disk are counted: so many, so many that are through, and up to which answers count
        # on a claim that did not leave.
        self._queued = self._released = self._withhold_until = 0
        self.has_stopped = False
        self.store_error: str | None = None
        self.handling = Histogram(HANDLING_BOUNDS_S)

    def feed(self, event: e.Event, now: float) -> None:
        """Give the node an event and do what it wants done."""
        if not isinstance(event, e.DhcpReceived):
            if isinstance(event, e.SendFailed):
                self._unsent_claims += 1
                self._withhold_until = self._queued + len(self._waiting)
            self._perform(self._node.handle(event, now), now)
            return
        began = _perf_counter()
        self._perform(self._node.handle(event, now), now)
        self.handling.observe(_perf_counter() - began)

    def _perform(self, effects: list[f.Effect], now: float) -> None:
        waits = False  # whether the latest answer to a client does
        unsent_claims = self._unsent_claims
        for effect in effects:
            # The most frequent first, each by itself: of several at once Python asks in a roundabout way.
            if isinstance(effect, f.SendDhcp):
                if effect.durable and self._unsent_claims != unsent_claims:
                    self._withhold()
                else:
                    waits = self._send_or_wait(effect, now)
            elif isinstance(effect, f.SaveLease):
                self._store(effect)
            elif isinstance(effect, f.Log):
                if waits and effect.event == GRANTED:
                    self._waiting.append(effect)
                else:
                    self._tell(effect)
            elif isinstance(effect, f.RunHook):
                if waits:
                    self._waiting.append(effect)
                else:
                    self._call(effect)
            elif isinstance(effect, f.ProlongLease):
                pass
            elif isinstance(effect, _OTHER_DATAGRAMS):
                self._send_or_wait(effect, now)
            elif isinstance(effect, _STORE_EFFECTS):
                self._store(effect)
            elif isinstance(effect, f.ProbeAddress):
                self._send(effect, now)
            elif isinstance(effect, f.Stopped):
                self.has_stopped = True

    def _withhold(self) -> None:
        """An answer that counts on an announcement which did not leave: its client asks again."""
        self._counters["daemon.answers_withheld"] += 1

    def _tell(self, effect: f.Log) -> None:
        self._log.write(effect.level, effect.event, effect.fields)
        if self._hooks is not None:
            self._hooks.tell(effect.event, effect.fields)

    def _call(self, effect: f.RunHook) -> None:
        if self._hooks is not None:
            self._hooks.call(effect.arguments)

    def _send_or_wait(self, effect: f.SendDhcp | f.SendUnicast | f.SendMulticast, now: float) -> bool:
        """Send now, or when the disk is through; whether it waits."""
        waits = effect.durable and self._must_wait(effect)
        if waits:
            self._waiting.append(effect)
        else:
            self._send(effect, now)
        return waits

    def _store(self, effect: f.StoreEffect) -> None:
        """Have a row written with the next commit."""
        if not self._is_durable:
            return
        self._rows.append(effect)
        if isinstance(effect, f.SaveLease):
            self._unsaved[effect.lease.address] = effect
        elif isinstance(effect, f.ForgetLease):
            self._unsaved[effect.address] = effect

    def _must_wait(self, effect: f.SendDhcp | f.SendUnicast | f.SendMulticast) -> bool:
        """Whether what a durable effect promises is still on its way to the disk."""
        binding = None if isinstance(effect, f.SendMulticast) else effect.binding
        if binding is not None:
            return binding in self._unsaved
        return bool(self._rows) or not self._committer.is_clean

    def flush(self) -> None:
        """Give what this turn wants stored to the disk, and what waits on it along with it."""
        if self._rows or self._waiting:
            self._queued += len(self._waiting)
            self._committer.put(self._rows, self._waiting)
            self._rows, self._waiting = [], []

    def on_committed(self, now: float) -> None:
        """The committer is through with something."""
        for batch in self._committer.take_done():
            self.store_error = batch.error
            if batch.error is not None:
                self._released += len(batch.waiting)
                self._on_failed(batch, now)
                # Claims that were withheld were not made: the node must not count on them.
                if any(isinstance(effect, f.SendMulticast) for effect in batch.waiting):
                    self.feed(e.SendFailed(), now)
                continue
            if self._failing_since is not None:
                self._log.write(logging.WARNING, "store-recovered", {"seconds": round(now - self._failing_since)})
                self._failing_since = None
            for row in batch.rows.values():
                address = row.lease.address if isinstance(row, f.SaveLease) else getattr(row, "address", None)
                if address is not None and self._unsaved.get(address) is row:
                    del self._unsaved[address]
            if batch.is_first:
                self._save_everything(now)
            for effect in batch.waiting:
                self._released += 1
                if self._released <= self._withhold_until and isinstance(effect, _ANSWERS_AND_NEWS):
                    if isinstance(effect, f.SendDhcp):
                        self._withhold()
                elif isinstance(effect, f.Log):
                    self._tell(effect)
                elif isinstance(effect, f.RunHook):
                    self._call(effect)
                else:
                    self._send(effect, now)

    def _on_failed(self, batch: Batch, now: float) -> None:
        """Nothing of a batch is on disk: count, and tell it, though not over and over."""
        self._counters["daemon.commit_errors"] += 1
        withheld = sum(not isinstance(effect, _TOLD) for effect in batch.waiting)
        self._counters["daemon.answers_withheld"] += withheld
        self._withheld += withheld
        if self._failing_since is None:
            self._failing_since, self._told_at, self._told_error = now, -TELL_AGAIN_S, None
        if batch.error != self._told_error or now - self._told_at >= TELL_AGAIN_S:
            self._told_error, self._told_at = batch.error, now
            fields = {"error": batch.error, "answers_withheld": self._withheld, "advice": "check the disk"}
            self._log.write(logging.ERROR, "store-failed", fields)
            self._withheld = 0

    def _save_everything(self, now: float) -> None:
        """The store lost its file: write what the node knows into the new one."""
        leases = self._node.leases()
        self._log.write(logging.ERROR, "store-begun-anew", {"leases": len(leases)})
        for lease in leases:
            row = f.SaveLease(lease)
            self._rows.append(row)
            self._unsaved[lease.address] = row
        self._rows.extend(f.SaveClaim(claim) for claim in self._node.claims())
        self._rows.extend(f.SavePeer(peer) for peer in self._node.peers_of_ours())
        for block in self._node.block_views(now):
            if block.state == BlockState.OURS:
                # Views count whole seconds, rounded up: what is remembered must not exceed what was promised.
                self._rows.append(f.SaveBlock(StoredBlock(block.index, now + block.timeout_s - 1)))
