"""Telling a node that never heard of them about blocks whose owners are silent, or not heard there (HEARSAY).

An owner answers for its blocks itself. One that is down, or cut off, does not, though leases in its blocks run; a
newcomer would take them for free. So the survivors who remember the owner's claim tell a node that asks: at most a few
of them for each block, the first by rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from ..swarm import CAN_HEARSAY, HEARD_CLAIM_SIZE, MAX_EXTENSION_TARGET, Claim, HeardClaim, Hearsay
from ..values import replace
from .announcing import MAX_TIMEOUT_S, tells_of_leases
from .blocks import UNKNOWN_ADDRESS, ZERO_ID, Block, BlockState, BlockTable
from .context import Context
from .leases import LeaseTable
from .orphans import Orphans
from .peers import Peer, Peers
from .remedies import Remedy

CLAIMS_PER_MESSAGE = MAX_EXTENSION_TARGET // HEARD_CLAIM_SIZE
MAX_TOLD = 8 * CLAIMS_PER_MESSAGE  # blocks told in answer to one question: a newcomer asks about the others by INQUIRE
TELLERS = 3  # that tell of a block at once, when it is inquired, which is done three times, or claimed by a rival
MAX_INQUIRED = 1024  # inquiries remembered, to tell those that are repeated
MISSED_S = 5  # a promise that ends sooner by more than this is another than the one that was heard here
TELL_PAUSE_S = 1.0  # at least, between two answers to one node's question for everything


class HearsayTeller:
    """Tells what this node knows of others' blocks, and takes such words.

    ``enter(claim, now)`` notes a block as another node's; ``prolong(claim, owner, now)`` notes that its owner, known
    already, promised it for longer than was heard; ``hold(block, now)`` that a block of this node may be another's too.
    """

    def __init__(
        self,
        context: Context,
        table: BlockTable,
        leases: LeaseTable,
        peers: Peers,
        orphans: Orphans,
        enter: Callable[[HeardClaim, float], None],
        prolong: Callable[[HeardClaim, Peer, float], None],
        hold: Callable[[Block, float], None],
    ) -> None:
        self._context = context
        self._table = table
        self._leases = leases
        self._peers = peers
        self._orphans = orphans
        self._enter = enter
        self._prolong = prolong
        self._hold = hold
        self._told_at: dict[bytes, float] = {}
        self._inquired: dict[tuple[bytes, int], float] = {}  # by who and what, when last

    def on_asked_for_all(self, peer: Peer, now: float) -> None:
        """A newcomer asked for everybody's claims: tell it those of silent owners that it is our turn to tell, and its
        own, if it has not announced any since it started anew: it may have lost its memory."""
        if not self._may_tell(peer, Remedy.SYNC) or now - self._told_at.get(peer.address, -math.inf) < TELL_PAUSE_S:
            return
        has_forgotten = peer.claimed_until > now and peer.claims_at < peer.started_anew_at
        if not has_forgotten and not self._table.counts[BlockState.ORPHAN] and not self._peers.is_any_missing(now):
            return
        self._told_at = {address: at for address, at in self._told_at.items() if now - at < TELL_PAUSE_S}
        self._told_at[peer.address] = now
        told: list[Block] = []
        for block in self._table.known.values():
            is_its_own = has_forgotten and block.owner_address == peer.address and block.state is BlockState.CLAIMED
            is_to_be_told = is_its_own or self._is_silent(block, now)
            if is_to_be_told and not self._orphans.rank(block.index, now, besides=peer):
                told.append(block)
                if len(told) == MAX_TOLD:
                    break
        self._tell(told, peer, now)

    def on_inquired(self, indices: Iterable[int], peer: Peer, now: float) -> None:
        """A node of ours inquired blocks: tell it of those whose owners cannot. An owner that is there was expected to
        object to the first inquiry. If there is another, the two do not hear each other, or the owner forgot; if the
        owner went on announcing others, it has given the block up."""
        if not self._may_tell(peer, Remedy.GUARDIAN):
            return
        blocks = [block for index in indices if (block := self._table.get(index)) is not None]
        claimed = [block for block in blocks if block.state is BlockState.CLAIMED]
        repeated = {
            block.index
            for block in claimed
            if self._is_repeated(block.index, peer, now) and self._orphans.is_still_its_owners(block)
        }
        # A node that inquires what it claimed itself lost its memory, or its promise ran out unheard: it knows which.
        told = [b for b in claimed if b.owner_address == peer.address or b.index in repeated or self._is_silent(b, now)]
        told += (block for block in blocks if self._orphans.is_kept_for_owner(block) and not block.is_hearsay)
        self._tell([b for b in told if self._orphans.rank(b.index, now, peer) < TELLERS], peer, now)

    def on_refused(self, closed: list[Block], peer: Peer, now: float) -> None:
        """A node of ours asked for consent to its claims of blocks that are another's, or were its own, as far as is
        known here. It is told so, even if the owner seems to have given them up: else it would ask on for as long as
        they are closed."""
        if self._may_tell(peer, Remedy.GUARDIAN):
            self._tell(closed, peer, now)

    def on_rival(self, block: Block, peer: Peer, now: float) -> None:
        """A node of ours claims a block of which another owner was heard, and is there. The two may not hear each
        other: tell the one that claims."""
        owner = self._peers.get(block.owner_address)
        if owner is None or owner.has_left or not self._may_tell(peer, Remedy.DISPUTES):
            return
        if self._orphans.is_still_its_owners(block) and self._orphans.rank(block.index, now, peer) < TELLERS:
            self._tell([block], peer, now)

    def on_asked_about(self, index: int, peer: Peer, now: float) -> bool:
        """A node of ours asks about an address in block ``index``, of which this node cannot speak: if its owner is
        silent, tell what it was heard to promise. Whether that was told. Of an orphan nothing is: whoever asks is to
        adopt it. Nor is what others told: it would be told on for ever."""
        block = self._table.get(index)
        if block is None or not self._may_tell(peer, Remedy.GUARDIAN) or not self._is_silent(block, now):
            return False
        self._orphans.note_interest(index, peer.address)
        promise = self._promise(block, now)
        if promise is not None:
            self._context.tell(peer.address, Hearsay((promise,), is_promise=True))
        return promise is not None

    def _promise(self, block: Block, now: float) -> HeardClaim | None:
        """What the silent owner of a block was heard to promise by this node itself, if it said that it had leases."""
        if block.state is not BlockState.CLAIMED or block.is_hearsay or not self._has_leases(block):
            return None
        return HeardClaim(block.index, math.floor(block.expires_at - now), block.owner_id, block.owner_address)

    def tell_interested(self, block: Block, now: float) -> None:
        """A block is ours now: tell those who asked about it while its owner was silent."""
        for address in self._orphans.take_interested(block.index):
            peer = self._peers.get(address)
            if peer is not None:
                self.object_directly([block], peer, now)

    def _has_leases(self, block: Block) -> bool:
        """Whether a claimed block was announced as one with leases: no quarantine follows its promise."""
        return tells_of_leases(block.timeout_s, self._context.config.block_timeout_s)

    def _is_repeated(self, index: int, peer: Peer, now: float) -> bool:
        """Note an inquiry; whether the same node inquired the same block a moment ago."""
        since = now - self._context.config.tentative_timeout_s
        if len(self._inquired) >= MAX_INQUIRED:
            self._inquired = {what: at for what, at in self._inquired.items() if at >= since}
            if len(self._inquired) >= MAX_INQUIRED:
                self._inquired.clear()
        before = self._inquired.get((peer.address, index), -math.inf)
        self._inquired[peer.address, index] = now
        return before >= since

    def object_directly(self, blocks: Iterable[Block], peer: Peer, now: float) -> None:
        """A node of ours inquired blocks of ours: besides announcing them to all, tell it alone. A link that loses
        multicasts, as radios do, need not lose this. Of a block that was taken over a moment ago nothing is promised
        before the first announcement."""
        if self._may_tell(peer, Remedy.STICKY_CLAIMS):
            context = self._context
            promised = ((block.index, math.ceil(block.expires_at - now)) for block in blocks)
            told = [HeardClaim(index, s, context.node_id, context.address) for index, s in promised if s > 0]
            if told:
                context.tell(peer.address, Hearsay(tuple(told)))

    def _may_tell(self, peer: Peer, remedy: Remedy) -> bool:
        return peer.can(CAN_HEARSAY) and self._context.has(remedy) and not self._context.stopping

    def _is_silent(self, block: Block, now: float) -> bool:
        """Whether a block is another node's that will not say so itself."""
        if block.state is BlockState.ORPHAN:
            # What was only told of an owner is not told on for what it may do out of sight: it would go on for ever.
            return not (block.is_hearsay and self._orphans.is_kept_for_owner(block))
        owner = self._peers.get(block.owner_address) if block.state is BlockState.CLAIMED else None
        return owner is not None and self._peers.is_missing(owner, now)

    def _tell(self, blocks: list[Block], peer: Peer, now: float) -> None:
        claims = [claim for block in blocks if (claim := self._claim(block, peer, now)).closed_s > 0]
        for start in range(0, len(claims), CLAIMS_PER_MESSAGE):
            self._context.tell(peer.address, Hearsay(tuple(claims[start : start + CLAIMS_PER_MESSAGE])))

    def _claim(self, block: Block, peer: Peer, now: float) -> HeardClaim:
        """What to tell a node of a block. Rounded down: two nodes that tell each other what they were told must not
        make it longer. Of an orphan its former owner alone is told whose it was: it may know what is in it."""
        if block.state is BlockState.ORPHAN:
            closed_s = math.floor(self._orphans.orphan_until(block, peer) - now)
            if block.is_hearsay and self._orphans.is_kept_for_owner(block):  # which is looked at again soon
                closed_s = min(closed_s, self._context.config.block_timeout_s)
            if block.owner_address == peer.address:
                return HeardClaim(block.index, closed_s, block.owner_id, block.owner_address)
            return HeardClaim(block.index, closed_s, ZERO_ID, UNKNOWN_ADDRESS)
        until = self._orphans.owned_until(block, now)
        return HeardClaim(block.index, math.floor(until - now), block.owner_id, block.owner_address)

    def objections(self, message: Hearsay, peer: Peer) -> tuple[Claim, ...]:
        """Those of the told claims that are the peer's own, of blocks that this node owns as well."""
        return tuple(
            Claim(claim.index, min(MAX_TIMEOUT_S, claim.closed_s))
            for claim in message.claims
            if claim.owner == peer.address and claim.closed_s and claim.index in self._table.ours
        )

    def on_hearsay(self, message: Hearsay, peer: Peer, now: float) -> None:
        """A peer tells of others' blocks. What this node knows itself, it knows better, but for announcements that it
        missed. If it was the peer that missed some, it is told in turn: so who asks for a silent owner's word also has
        it given by those who knew the leases, but not how long the owner's word holds."""
        context = self._context
        longer: list[HeardClaim] = []
        for claim in message.claims:
            if claim.index >= context.pool.block_count or not claim.closed_s:
                context.count("swarm.drop.bad-index")
            elif message.is_promise and (owner := self._known_owner(claim)) is not None:
                self._prolong(claim, owner, now)
                promise = self._promise(self._table.known[claim.index], now)
                if promise is not None and promise.closed_s > claim.closed_s + MISSED_S:
                    longer.append(promise)
            else:
                self._take(claim, now)
        if longer and self._may_tell(peer, Remedy.GUARDIAN):
            context.tell(peer.address, Hearsay(tuple(longer), is_promise=True))

    def _take(self, claim: HeardClaim, now: float) -> None:
        """A third node tells of a claim. It counts if this node knows of no other, and makes it wary of what is its
        own."""
        block, own_address = self._table.get(claim.index), self._context.address
        if block is not None and claim.owner == UNKNOWN_ADDRESS and self._orphans.is_adopting(block, now):
            self._orphans.on_doubted(block, claim.closed_s, now)
        elif block is not None and block.state is BlockState.OURS:
            if block.is_resumed and claim.owner not in (own_address, UNKNOWN_ADDRESS):
                self._hold(block, now)
        elif block is None or block.state in (BlockState.TENTATIVE, BlockState.CLAIMING):
            if claim.owner != own_address:
                self._enter(claim, now)
            elif not self._leases.has_block(claim.index):
                # Ours before this node lost its memory: leases that it does not know may run in it.
                self._enter(replace(claim, owner_id=ZERO_ID, owner=UNKNOWN_ADDRESS), now)

    def _known_owner(self, claim: HeardClaim) -> Peer | None:
        """The node of ours that is told to own a block, if it is known here as its owner already."""
        block = self._table.get(claim.index)
        if block is None or block.state is not BlockState.CLAIMED or block.owner_address != claim.owner:
            return None
        owner = self._peers.get(claim.owner)
        return owner if owner is not None and owner.is_ours else None
