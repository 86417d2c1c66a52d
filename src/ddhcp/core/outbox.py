"""The order in which a driver carries a node's effects out: what an answer promises is on disk before it leaves, what
counts on an announcement that did not leave stays, and people are told of an answer when it leaves.

The daemon and the simulator both drive their nodes through this; they differ in what sending and writing is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .effects import (
    Effect,
    ForgetBlock,
    ForgetClaim,
    ForgetLease,
    ForgetPeer,
    Log,
    ProbeAddress,
    ProlongLease,
    RunHook,
    SaveBlock,
    SaveClaim,
    SaveLease,
    SavePeer,
    SendDhcp,
    SendMulticast,
    SendUnicast,
    Stopped,
    StoreEffect,
)

GRANTED: Final = "lease-granted"  # told, as hooks are called for it, when the answer leaves
_GRANTED_HOOK: Final = "lease"
_NEWS: Final = (Log, RunHook)
_ANSWERS_AND_NEWS: Final = (SendDhcp, Log, RunHook)
_OTHER_DATAGRAMS: Final = (SendUnicast, SendMulticast)
_STORE_EFFECTS: Final = (
    SaveBlock, ForgetBlock, SaveLease, ForgetLease, SaveClaim, ForgetClaim, SavePeer, ForgetPeer,
)  # fmt: skip


class Outbox:
    """Carries out one node's effects. What is to be stored gathers, with what waits for it, until :meth:`take_batch`;
    the driver writes that, one batch after the other, and says how it ended.

    Whoever drives a node derives from this and says what the methods without a body do. ``is_durable``: whether
    anything is stored at all.
    """

    def __init__(self, is_durable: bool) -> None:
        self._is_durable = is_durable
        self._rows: list[StoreEffect] = []
        self._waiting: list[Effect] = []
        self._unsaved: dict[int, StoreEffect] = {}  # by address, the latest row that is not known to be on disk
        self._unsent_claims = 0  # how often a multicast did not leave
        self._claims_left = 0  # durable multicasts that do not wait any longer
        self._after_claim: dict[int, int] = {}  # by the address of a lease: so many have to leave before its answer
        # Effects that waited for the disk are counted: so many, so many that are through, and up to which answers count
        # on a claim that did not leave.
        self._queued = self._released = self._withhold_until = 0

    # --- what the driver does -------------------------------------------------------------------

    def send(self, effect: Effect, now: float) -> None:
        """Send a datagram, or probe an address. If a multicast does not leave: call :meth:`claims_unsent` and feed the
        node :class:`~ddhcp.core.events.SendFailed` before this returns."""
        raise NotImplementedError

    def tell(self, effect: Log) -> None:
        """Log a line."""
        raise NotImplementedError

    def call(self, effect: RunHook) -> None:
        """Run a hook."""
        raise NotImplementedError

    def withheld(self) -> None:
        """An answer stays, as it counts on an announcement which did not leave: its client asks again."""
        raise NotImplementedError

    def is_all_written(self) -> bool:
        """Whether every batch that was taken is on disk."""
        raise NotImplementedError

    def stopped(self) -> None:
        """The node is through."""
        raise NotImplementedError

    # --- effects --------------------------------------------------------------------------------

    def perform(self, effects: list[Effect], now: float) -> None:
        """Carry out what can be at once, in order, and have the rest wait for the disk."""
        waits = stays = False  # whether the latest answer to a client does
        unsent_claims = self._unsent_claims
        for effect in effects:
            # The most frequent first, each by itself: of several at once Python asks in a roundabout way.
            if isinstance(effect, SendDhcp):
                stays = effect.durable and self._unsent_claims != unsent_claims
                waits = not stays and self._send_or_wait(effect, now)
                if stays:
                    self.withheld()
            elif isinstance(effect, SaveLease):
                self.store(effect)
            elif isinstance(effect, Log):
                if effect.event != GRANTED:
                    self.tell(effect)
                elif waits:
                    self._waiting.append(effect)
                elif not stays:
                    self.tell(effect)
            elif isinstance(effect, RunHook):
                if waits:
                    self._waiting.append(effect)
                elif not stays or effect.arguments[0] != _GRANTED_HOOK:
                    self.call(effect)
            elif isinstance(effect, ProlongLease):
                if effect.after_claim > self._claims_left:
                    self._after_claim[effect.address] = effect.after_claim
            elif isinstance(effect, _OTHER_DATAGRAMS):
                self._send_or_wait(effect, now)
            elif isinstance(effect, _STORE_EFFECTS):
                self.store(effect)
            elif isinstance(effect, ProbeAddress):
                self.send(effect, now)
            elif isinstance(effect, Stopped):
                self.stopped()

    def claims_unsent(self) -> None:
        """A multicast did not leave: answers that count on what it said do not either."""
        self._unsent_claims += 1
        self._withhold_until = self._queued + len(self._waiting)

    def _send_or_wait(self, effect: SendDhcp | SendUnicast | SendMulticast, now: float) -> bool:
        """Send now, or when the disk is through; whether it waits."""
        waits = effect.durable and self._must_wait(effect)
        if waits:
            self._waiting.append(effect)
        else:
            if effect.durable and isinstance(effect, SendMulticast):
                self._note_left(1)
            self.send(effect, now)
        return waits

    def _must_wait(self, effect: SendDhcp | SendUnicast | SendMulticast) -> bool:
        """Whether what a durable effect promises is still on its way to the disk, or an announcement that it counts on
        waits. Announcements keep their order."""
        binding = None if isinstance(effect, SendMulticast) else effect.binding
        if binding is not None:
            return binding in self._unsaved or binding in self._after_claim
        return bool(self._rows) or bool(self._waiting) or not self.is_all_written()

    def store(self, effect: StoreEffect) -> None:
        """Have a row written with the next batch."""
        if not self._is_durable:
            return
        self._rows.append(effect)
        address = _binding_of(effect)
        if address is not None:
            self._unsaved[address] = effect

    # --- batches --------------------------------------------------------------------------------

    def take_batch(self) -> tuple[list[StoreEffect], list[Effect]] | None:
        """What has gathered, if anything has: the rows to write, in order, and what is to be given back with
        :meth:`written` when they are on disk, or with :meth:`failed`. Batches come back in the order in which they were
        taken; rows that could not be written are to be written with a later one."""
        if not self._rows and not self._waiting:
            return None
        self._queued += len(self._waiting)
        rows, waiting = self._rows, self._waiting
        self._rows, self._waiting = [], []
        return rows, waiting

    def saved(self, rows: Iterable[StoreEffect]) -> None:
        """These rows are on disk."""
        for row in rows:
            address = _binding_of(row)
            if address is not None and self._unsaved.get(address) is row:
                del self._unsaved[address]

    def written(self, waiting: list[Effect], now: float) -> None:
        """All rows of a batch are on disk (:meth:`saved`): what waited for them leaves."""
        for effect in waiting:
            self._released += 1
            if self._released <= self._withhold_until and isinstance(effect, _ANSWERS_AND_NEWS):
                if isinstance(effect, SendDhcp):
                    self.withheld()
            elif isinstance(effect, Log):
                self.tell(effect)
            elif isinstance(effect, RunHook):
                self.call(effect)
            else:
                if isinstance(effect, SendMulticast):
                    self._note_left(1)
                self.send(effect, now)

    def failed(self, waiting: list[Effect]) -> tuple[int, bool]:
        """A batch could not be written: what waited for it stays. How many datagrams that are, and whether there are
        announcements among them: they were not made, so the node is to be fed
        :class:`~ddhcp.core.events.SendFailed` after :meth:`claims_unsent`."""
        self._released += len(waiting)
        datagrams = [effect for effect in waiting if not isinstance(effect, _NEWS)]
        claims = sum(isinstance(effect, SendMulticast) for effect in datagrams)
        self._note_left(claims)
        return len(datagrams), claims > 0

    def _note_left(self, count: int) -> None:
        """So many durable multicasts more do not wait any longer."""
        self._claims_left += count
        if self._after_claim:
            left = self._claims_left
            self._after_claim = {address: number for address, number in self._after_claim.items() if number > left}


def _binding_of(row: StoreEffect) -> int | None:
    """The IPv4 address that a row is about, None if it is not about a binding."""
    if isinstance(row, SaveLease):
        return row.lease.address
    return row.address if isinstance(row, ForgetLease) else None
