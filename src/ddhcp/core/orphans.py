"""Orphans: blocks whose owner fell silent while clients may still hold leases in them.

A foreign claim that lapses without having been given up leaves the block closed until the last lease that its owner can
have granted has ended. Meanwhile one of the survivors, the guardian, owns it in order to renew those leases, so that
clients keep their addresses and newcomers see the block taken.

Who that is needs no vote: the survivors rank by a hash over (block, node), by which the owner chose its replicas too.
The first begins at once, each of the others a while after the one before it, and whoever hears another begin waits
longer.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Iterable
from typing import Protocol

from .announcing import CLASSIC_NEWCOMER_FACTOR, PROMISE_MARGIN_S, tells_of_leases
from .blocks import DRIFT, TRANSIT_S, Block, BlockEvent, BlockState, BlockTable
from .context import Context
from .effects import SaveLease
from .holds import Holds
from .inquiring import Inquirer
from .leases import SHORTEST_GRANT_S, TAKEN, LeaseState, LeaseTable
from .peers import MISSING_AFTER, Peer, Peers
from .records import StoredLease
from .remedies import Remedy
from .ring import distance

MAX_RANK = 16  # survivors beyond this begin together, in the hope that one before them has
URGENCY = 8  # by this factor the survivors follow each other more quickly if there are clients
LAST_WORD_S = 4.0  # for so long an answer may be under way: stand-ins say nothing that ends sooner (``ASKING_S``)
FOREKNOWN_S = 2.0  # start that those have who know the leases in an orphan, before a node whose client waits for it
SUCCESSION_S = 12.0  # within this after its end a block that others know leases of has an owner again, as a rule
MAX_INTERESTED = 1024  # nodes, one for each block they asked about, that are told when it is adopted
MAX_WAITING_FOR_ADOPTION = 1024  # clients' requests that wait for a block to be adopted; more ask again by themselves


class KnownLeases(Protocol):
    """What other nodes told about the leases of their blocks."""

    def of_block(self, index: int) -> Iterable[StoredLease]:
        """The leases known of block ``index``."""

    def is_complete(self, index: int) -> bool:
        """Whether these are all that its last known owner had granted."""

    def drop_block(self, index: int) -> None:
        """Forget them."""


class NothingKnown:
    """No node told anything."""

    def of_block(self, index: int) -> Iterable[StoredLease]:
        """None."""
        return ()

    def is_complete(self, index: int) -> bool:
        """Never."""
        return False

    def drop_block(self, index: int) -> None:
        """Nothing to forget."""


class Orphans:
    """Keeps orphaned blocks closed, and adopts them when it is this node's turn."""

    def __init__(
        self, context: Context, table: BlockTable, leases: LeaseTable, peers: Peers, inquirer: Inquirer, holds: Holds
    ) -> None:
        self._context = context
        self._table = table
        self._leases = leases
        self._peers = peers
        self._inquirer = inquirer
        self._holds = holds
        self.known_leases: KnownLeases = NothingKnown()
        self._turns: list[tuple[float, int]] = []
        self._turn_at: dict[int, float] = {}
        self._waiting: dict[int, dict[bytes, Callable[[float], None]]] = {}  # by block, then by client
        self._waiting_count = 0
        self._interested: dict[int, dict[bytes, None]] = {}  # by block: who asked about it for clients
        self._interested_count = 0
        # By block: when its owner, which was not heard since, announced it last.
        self._out_of_sight: dict[int, float] = {}
        # Those of them that are kept for no other reason, and nobody adopts; up to when they are closed in any case.
        self._kept_for_owner: dict[int, float] = {}
        self._doubted: dict[int, None] = {}  # blocks that this node adopts, although peers say that the owner may live
        self._waits_end: dict[int, float] = {}  # by block, at the latest; few blocks are waited for at a time
        self._in_vain: dict[int, float] = {}  # blocks that were waited for in vain; up to when nobody waits again

    def deadline(self) -> float:
        """A lower bound of when :meth:`run` may have something to do; infinity if never."""
        if not self._context.link_up:
            return math.inf
        at = self._turns[0][0] if self._turns else math.inf
        return min(at, *self._waits_end.values()) if self._waits_end else at

    # --- quarantine -----------------------------------------------------------------------------

    def closed_until(self, block: Block) -> float:
        """Up to when leases may run in a block whose foreign claim lapses at its ``expires_at``.

        Its owner may have granted the last one as late as when its next refresh was due. Our own nodes announce a block
        with leases for longer than that, so for theirs nothing is left.
        """
        context = self._context
        if not context.has(Remedy.QUARANTINE):
            return 0.0
        refresh_s = block.timeout_s / CLASSIC_NEWCOMER_FACTOR
        left_s = context.longest_lease_s + refresh_s + PROMISE_MARGIN_S - block.timeout_s
        return block.expires_at + max(0.0, left_s)

    def _kept_until(self, index: int) -> float:
        """Up to when a client may come back for an address of block ``index`` whose lease is known here."""
        if not self._context.has(Remedy.GUARDIAN):
            return 0.0
        return max((lease.expires_at + lease.kept_s for lease in self.known_leases.of_block(index)), default=0.0)

    def _owner_out_of_sight(self, block: Block, now: float) -> Peer | None:
        """The owner of a claimed block if it may be of ours and at work, and did not announce others for longer than a
        refresh takes: it may lease from the block beyond a parted link, or only its announcements get lost."""
        owner = self._peers.get(block.owner_address)
        if owner is None or not self._peers.may_be_ours(owner, now) or not self._context.is_careful:
            return None
        is_at_work = Peers.at_work_until(owner, self._context.promise_s) > now
        return owner if is_at_work and self._may_be(block, owner) else None

    @staticmethod
    def _may_be(block: Block, owner: Peer) -> bool:
        """Whether a block, since it was announced or told of, was not missing from what its owner announced for longer
        than a refresh takes: then the owner has given it up, and that was not heard."""
        known_at = block.told_at if block.is_hearsay else block.expires_at - block.timeout_s
        return owner.claims_at <= known_at + MISSING_AFTER * owner.expected_s

    def is_still_its_owners(self, block: Block) -> bool:
        """Whether the owner of a block was itself heard to announce it, and not to give it up."""
        owner = self._peers.get(block.owner_address)
        return owner is not None and not block.is_hearsay and self._may_be(block, owner)

    def is_told_and_given_up(self, block: Block) -> bool:
        """Whether a claimed block is closed because others told of its owner, or this node knew before it started anew,
        and the owner has been heard since to announce others without it."""
        owner = self._peers.get(block.owner_address)
        return owner is not None and block.is_hearsay and not self._may_be(block, owner)

    def owned_until(self, block: Block, now: float) -> float:
        """Up to when the owner of a claimed block, silent from now on, may own it, or leases may run in it. What this
        node was told of that owner, or knew before it started anew, is not told on: it would become ever more."""
        until = max(block.expires_at, self.closed_until(block))
        owner = self._owner_out_of_sight(block, now)
        if owner is not None and owner.is_ours and not block.is_hearsay:
            until = max(until, owner.heard_at + self._context.promise_s)
        return until

    def _note_out_of_sight(self, block: Block, now: float) -> None:
        """The claim of a block lapses."""
        if (owner := self._owner_out_of_sight(block, now)) is not None:
            self._out_of_sight[block.index] = owner.claims_at

    def _out_of_sight_until(self, block: Block) -> float:
        """Up to when that may be: until the owner announces something else, but not for ever."""
        last_word_at = self._out_of_sight.get(block.index)
        owner = self._peers.get(block.owner_address)
        if last_word_at is None or owner is None or owner.claims_at != last_word_at:
            return 0.0
        return self._peers.at_work_until(owner, self._context.promise_s)

    def is_kept_for_owner(self, block: Block) -> bool:
        """Whether a block is an orphan for no other reason than that."""
        return block.state is BlockState.ORPHAN and block.index in self._kept_for_owner

    def orphan_until(self, block: Block, peer: Peer) -> float:
        """Up to when an orphan is closed to ``peer``: to its former owner, who is heard again, only for its leases."""
        if block.owner_address == peer.address:
            return self._kept_for_owner.get(block.index, block.orphan_until)
        return block.orphan_until

    def is_adopting(self, block: Block, now: float) -> bool:
        """Whether this node inquires a block as the one that keeps its leases."""
        return block.state is BlockState.CLAIMING and block.orphan_until > now

    def on_doubted(self, block: Block, closed_s: int, now: float) -> None:
        """A peer tells that the silent owner of a block, which this node is adopting, may be at work for ``closed_s``
        more. That is no reason to leave the block to nobody, or to one who knows less of its leases; but what is not
        known of it is left alone for that long."""
        self._doubted[block.index] = None
        block.orphan_until = max(block.orphan_until, now + closed_s)

    def on_lapsed(self, block: Block, now: float) -> None:
        """The time of a block that is not ours ran out: it is free, or an orphan."""
        if block.state is BlockState.CLAIMED:
            block.orphan_until = max(self.closed_until(block), self._kept_until(block.index))
            self._note_out_of_sight(block, now)
        at_work_until = self._out_of_sight_until(block)
        # One that was announced as empty has nothing to guard: whoever adopts it may only dispute it with its owner.
        is_kept_for_owner = block.index in self._kept_for_owner or (
            at_work_until > now and not self._may_have_leases(block)
        )
        may_have_leases = block.orphan_until > now and not is_kept_for_owner
        if not may_have_leases:
            closed_until = self._kept_for_owner.get(block.index, block.orphan_until)
            block.orphan_until = max(closed_until, at_work_until)
        if block.orphan_until <= now:
            self.forget_owner(block.index)
            self._table.apply(block.index, BlockEvent.TIMED_OUT)
            self.take_interested(block.index)
            self.known_leases.drop_block(block.index)
            self._wait_until(block.index, now + SUCCESSION_S)
            return
        if block.state is not BlockState.ORPHAN:
            self._table.apply(block.index, BlockEvent.LAPSED)
            self._context.count("swarm.blocks_orphaned")
            self._context.log(logging.INFO, "block-orphaned", block=block.index, seconds=int(block.orphan_until - now))
        if may_have_leases:
            self._table.set_lapse(block, block.orphan_until)
        else:
            self._kept_for_owner[block.index] = closed_until
            # Its owner may be heard to announce others soon, and not this one.
            self._table.set_lapse(block, min(block.orphan_until, now + self._context.config.block_timeout_s))
            if block.index not in self._waiting:
                return
        self._wait_until(block.index, now + SUCCESSION_S)
        pace_s = self._context.config.tentative_timeout_s
        self._plan(block, now, pace_s / URGENCY if self._has_clients(block.index) else pace_s)

    def _may_have_leases(self, block: Block) -> bool:
        """Whether its owner announced leases in a block, or some are known here."""
        is_told = tells_of_leases(block.timeout_s, self._context.config.block_timeout_s)
        return is_told or self._knows_leases(block.index)

    def _knows_leases(self, index: int) -> bool:
        return any(True for _ in self.known_leases.of_block(index))

    def forget_owner(self, index: int) -> None:
        """Nobody is waited for any more who may own block ``index`` out of sight."""
        self._out_of_sight.pop(index, None)
        self._kept_for_owner.pop(index, None)
        self._doubted.pop(index, None)
        self._in_vain.pop(index, None)

    def _has_clients(self, index: int) -> bool:
        """Whether clients wait for a block, or may come any moment."""
        return index in self._waiting or self._knows_leases(index)

    # --- the guardian's turn --------------------------------------------------------------------

    def rank(self, index: int, now: float, besides: Peer | None = None) -> int:
        """How many of the nodes of ours that are known to live, ``besides`` not among them, come before this one as
        guardian of block ``index``."""
        context = self._context
        own = distance(index, context.address)
        others = (peer for peer in self._peers if peer.is_ours and peer is not besides)
        living = (peer for peer in others if self._peers.is_present(peer, now))
        return sum(distance(index, peer.address) < own for peer in living)

    def _plan(self, block: Block, now: float, pace_s: float, wait_s: float = 0.0) -> None:
        """This node adopts the block when its turn comes, ``pace_s`` for each node before it, after ``wait_s``."""
        if not self._may_adopt():
            return
        rank = min(MAX_RANK, self.rank(block.index, now))
        at = now + wait_s + pace_s * (rank * 1.5 + 0.25 * self._context.rng.random())
        self._set_turn(block.index, at)

    def _set_turn(self, index: int, at: float) -> None:
        self._turn_at[index] = at
        heapq.heappush(self._turns, (at, index))

    def _may_adopt(self) -> bool:
        context = self._context
        return context.has(Remedy.GUARDIAN) and context.config.serves_clients and not context.stopping

    def run(self, now: float) -> None:
        """Begin to adopt what it is our turn for."""
        if not self._context.link_up:
            return
        while self._turns and self._turns[0][0] <= now:
            at, index = heapq.heappop(self._turns)
            if self._turn_at.get(index) != at:
                continue
            del self._turn_at[index]
            block = self._table.get(index)
            if block is not None and block.state is BlockState.ORPHAN and self._may_adopt():
                self._begin(block, now, is_urgent=self._has_clients(index))
        for index in [index for index, at in self._waits_end.items() if at <= now]:
            block = self._table.get(index)
            if block is None or block.state is BlockState.TENTATIVE or self._has_no_owner(block, now):
                self._note_in_vain(index, now)
            self.serve_waiting(index, now)
        self._inquirer.run(now)

    def _begin(self, block: Block, now: float, *, is_urgent: bool) -> None:
        block = self._table.apply(block.index, BlockEvent.WE_INQUIRE)
        block.is_urgent = is_urgent
        self._inquirer.begin(block, now)

    def adopt_for_client(self, index: int, client: bytes, now: float, then: Callable[[float], None]) -> bool:
        """A client here wants an address in block ``index`` that it had. If that is an orphan, adopt it at once; if it
        is about to become one, wait for that. ``then`` is called with the instant at which this node or another owns
        the block, or nobody is going to. False if none of this applies. Of one ``client`` (its key) only the latest
        request waits."""
        if not self._may_adopt() or not self._context.link_up or self._in_vain.get(index, now) > now:
            return False
        block = self._table.get(index)
        if block is None or block.state is BlockState.TENTATIVE:
            if index not in self._waiting:
                return False
            self._keep_waiting(index, client, then)  # its time has run out, and somebody else is to adopt it
            return True
        if not self._has_no_owner(block, now):
            return False
        self._keep_waiting(index, client, then)
        block.refresh = None  # whatever its owner says next is news to those who wait
        without_owner_from = block.expires_at if block.state is BlockState.CLAIMED else now
        self._wait_until(index, without_owner_from + SUCCESSION_S)
        if block.state is BlockState.ORPHAN:
            self._adopt_soon(block, now)
        return True

    def _adopt_soon(self, block: Block, now: float) -> None:
        """A client waits for an orphan: adopt it at once, unless others know more of its leases and are to begin."""
        if not self._is_best_known_elsewhere(block):
            self._begin(block, now, is_urgent=True)
            self._inquirer.run(now)
        elif now + FOREKNOWN_S < self._turn_at.get(block.index, math.inf):
            self._set_turn(block.index, now + FOREKNOWN_S)

    def _is_best_known_elsewhere(self, block: Block) -> bool:
        """Whether others were told of the leases in an orphan, and this node was not."""
        owner = self._peers.get(block.owner_address)
        is_replicated = owner is not None and owner.is_ours and self._context.is_replicated
        return is_replicated and not self._knows_leases(block.index)

    def _has_no_owner(self, block: Block, now: float) -> bool:
        """Whether a block is an orphan, is being adopted, or its owner fell silent and nobody can stand in for it any
        more: what it promised holds for too short a time."""
        if block.state is BlockState.ORPHAN:
            return True
        if block.state is BlockState.CLAIMING:
            return self.is_adopting(block, now)
        owner = self._peers.get(block.owner_address) if block.state is BlockState.CLAIMED else None
        if owner is None or not self._peers.is_missing(owner, now):
            return False
        promise_s = min(block.timeout_s, self._context.promise_s)  # hearsay does not say how long it was
        margin_s = 2 * TRANSIT_S + DRIFT * promise_s + SHORTEST_GRANT_S + LAST_WORD_S
        return now > block.expires_at - margin_s

    def note_interest(self, index: int, address: bytes) -> None:
        """The node at ``address`` has clients in block ``index``, whose owner is silent."""
        if address in self._interested.get(index, ()):
            return
        if self._interested_count >= MAX_INTERESTED:
            self.take_interested(next(iter(self._interested)))  # its owner may have been back for long
        self._interested.setdefault(index, {})[address] = None
        self._interested_count += 1

    def take_interested(self, index: int) -> Iterable[bytes]:
        """The addresses of the nodes that have clients in block ``index``; they are not kept any longer."""
        interested = self._interested.pop(index, {})
        self._interested_count -= len(interested)
        return interested

    def _keep_waiting(self, index: int, client: bytes, then: Callable[[float], None]) -> None:
        if client not in self._waiting.get(index, ()):
            if self._waiting_count >= MAX_WAITING_FOR_ADOPTION:
                return
            self._waiting_count += 1
        self._waiting.setdefault(index, {})[client] = then

    # --- what others do -------------------------------------------------------------------------

    def is_to_be_adopted_at_once(self, index: int, peer: Peer, now: float) -> bool:
        """Somebody inquires block ``index``. If that is an orphan, or its owner is missing: a node of ours is about to
        adopt it, so we wait longer; any other never heard of its owner and is about to use it, so the guardian owns it
        now. That is an objection which every node understands (S12)."""
        block = self._table.get(index)
        if block is None or not self._may_adopt() or not self._context.link_up:
            return False
        if block.state is BlockState.ORPHAN:
            is_due = self._is_orphan_due(block, peer, now)
        elif peer.is_ours:
            is_due = False
        elif block.state is BlockState.CLAIMING:
            is_due = self.is_adopting(block, now)
        else:
            is_due = self._is_owner_missing(block, peer, now) and not self.rank(index, now)
            if is_due:
                block.orphan_until = max(block.expires_at, self.closed_until(block))
        if is_due:
            self._context.count("swarm.adopted_at_once")
        return is_due

    def _is_orphan_due(self, block: Block, peer: Peer, now: float) -> bool:
        t_s = self._context.config.tentative_timeout_s
        if peer.is_ours:
            self._plan(block, now, t_s, wait_s=2 * t_s)
        elif self.rank(block.index, now):
            self._plan(block, now, t_s / URGENCY)
        else:
            return True
        return False

    def _is_owner_missing(self, block: Block, asking: Peer, now: float) -> bool:
        owner = self._peers.get(block.owner_address) if block.state is BlockState.CLAIMED else None
        return owner is not None and owner is not asking and self._peers.is_missing(owner, now)

    def on_yielded(self, block: Block, now: float) -> None:
        """This node yields its claim of a block to somebody who inquired it too. Leases it gave there before may still
        run: as long as nobody claims the block, they are an orphan's."""
        if self._leases.has_block(block.index):
            ends = (lease.expires_at for lease in self._leases.in_block(block.index) if lease.state in TAKEN)
            block.orphan_until = max(block.orphan_until, max(ends, default=0.0))
        block.is_urgent = False

    # --- adopted --------------------------------------------------------------------------------

    def on_owned(self, block: Block, now: float) -> None:
        """A block has just become ours. If it was an orphan: bring back what is known of its leases, and hold it for
        as long as there may be others, or another survivor."""
        block.is_urgent = False
        self._turn_at.pop(block.index, None)
        may_be_at_work = block.index in self._kept_for_owner or block.index in self._doubted
        self.forget_owner(block.index)
        until, block.orphan_until = block.orphan_until, 0.0
        if not until:
            return
        until = max(until, now + self._context.config.tentative_timeout_s)  # time for clients that waited for this
        block.unsure_until = until
        is_complete = self.known_leases.is_complete(block.index) and not may_be_at_work
        restored = sum(self._restore(lease, now) for lease in self.known_leases.of_block(block.index))
        self.known_leases.drop_block(block.index)
        self._holds.hold_adopted(block.index, now)
        if not is_complete:
            self._holds.hold(block.index, until)
        self._context.count("swarm.blocks_adopted")
        self._context.log(
            logging.WARNING, "block-adopted", block=block.index, leases=restored,
            held_seconds=0 if is_complete else int(until - now),
        )  # fmt: skip

    def _restore(self, lease: StoredLease, now: float) -> bool:
        state, until = LeaseState(lease.state), lease.expires_at
        if until <= now:
            state, until = LeaseState.KEPT, until + lease.kept_s
        if until <= now or not self._leases.is_unbound(lease.address):
            return False
        if state is LeaseState.LEASED:
            self._context.cover_lease(until - now)
        bound = self._leases.bind(lease.address, lease.identity, lease.chaddr, state, until, lease.hostname)
        self._context.effects.append(SaveLease(bound.stored()))
        return True

    def serve_waiting(self, index: int, now: float) -> None:
        """Block ``index`` is ours and announced, or will not be: answer the clients that wait for it."""
        self._waits_end.pop(index, None)
        waiting = self._waiting.pop(index, {})
        self._waiting_count -= len(waiting)
        for then in waiting.values():
            then(now)

    def _wait_until(self, index: int, at: float) -> None:
        """Nobody waits for the block after that, by what is known of it now. What is learnt later does not make a wait
        longer: peers may tell again and again that its owner lives."""
        if index in self._waiting:
            self._waits_end[index] = min(at, self._waits_end.get(index, at))

    def _note_in_vain(self, index: int, now: float) -> None:
        """The block got no owner in time: whoever comes for it soon does not wait either."""
        self._in_vain = {index: until for index, until in self._in_vain.items() if until > now}
        self._in_vain[index] = now + self._context.config.block_timeout_s

    def on_claimed(self, block: Block, now: float) -> None:
        """Somebody else owns the block now. Clients that wait for it are asked about there, unless that owner is only
        told of and its promise is about to end."""
        self.take_interested(block.index)
        self.forget_owner(block.index)
        block.orphan_until = 0.0
        block.is_urgent = False
        self._turn_at.pop(block.index, None)
        if not self._has_no_owner(block, now):
            self._wait_until(block.index, now)
