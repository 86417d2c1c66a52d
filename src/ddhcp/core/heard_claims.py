"""What other nodes say about blocks, and what follows: who owns what, and whether a block of ours stays ours.

The rules are PROTOCOL's "Claiming" and "Disputes" with the remedies of SAFETY that classic nodes do not notice: a claim
we know of is not weakened by an INQUIRE, and what one node tells of another's block keeps it closed for as long.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Protocol

from ..swarm import Claim, HeardClaim, Hearsay
from ..values import dataclass
from .announcing import MAX_TIMEOUT_S, PROMISE_MARGIN_S, Announcer
from .blocks import UNKNOWN_ADDRESS, ZERO_ID, Block, BlockEvent, BlockState, BlockTable
from .claim_memory import ClaimMemory
from .consents import Consents
from .context import Context
from .hearsay import CLAIMS_PER_MESSAGE, HearsayTeller
from .holds import Holds
from .inquiring import Inquirer
from .leases import Lease, LeaseTable
from .orphans import Orphans
from .peers import Peer, Peers
from .records import StoredClaim
from .remedies import Remedy
from .supply import Supply
from .sync import Sync

RETURNS_WITHIN_S = 30.0  # at least, and within a refresh: owners that return together were cut off together,
RETURNING_SHARE = 50  # if they are more than one in so many, and than one: at high loss some return by chance


class Owner(Protocol):
    """The node as the owner of blocks: what it does when another node's word makes it gain or lose one."""

    @property
    def is_learning(self) -> bool:
        """Whether it still only listens."""

    def ensure_supply(self, now: float) -> None:
        """Begin claiming if too few addresses are left."""

    def own(self, block: Block, now: float) -> None:
        """A block is its own now."""

    def forget(self, block: Block) -> list[Lease]:
        """A block is not, or may not be, its own any more: forget that, here and in the store, and the leases in it,
        which are returned."""


@dataclass(slots=True)
class Parts:
    """The parts of one node that know or change who owns which block."""

    table: BlockTable
    leases: LeaseTable
    peers: Peers
    consents: Consents
    announcer: Announcer
    inquirer: Inquirer
    supply: Supply
    sync: Sync
    holds: Holds
    memory: ClaimMemory
    orphans: Orphans


class HeardClaims:
    """Takes what other nodes ask, claim, give up and tell.

    ``waiting``: how many clients wait for an address. ``on_lost``: called with (block index, its leases) when another
    node won a block of ours. ``give_leases``, which the owner sets: called before that, to hand the leases in the block
    over to the node that won it.
    """

    def __init__(
        self,
        context: Context,
        parts: Parts,
        owner: Owner,
        *,
        waiting: Callable[[], int],
        on_lost: Callable[[int, list[Lease]], None],
    ) -> None:
        self._context = context
        self._owner = owner
        self._waiting = waiting
        self._on_lost = on_lost
        self.give_leases: Callable[[Block, Peer, float], object] = lambda block, peer, now: None
        self._table = parts.table
        self._leases = parts.leases
        self._peers = parts.peers
        self._consents = parts.consents
        self._announcer = parts.announcer
        self._inquirer = parts.inquirer
        self._supply = parts.supply
        self._sync = parts.sync
        self._holds = parts.holds
        self._memory = parts.memory
        self._orphans = parts.orphans
        self._returned: dict[bytes, float] = {}  # owners that were heard again after their claims had lapsed; when
        self.hearsay = HearsayTeller(
            context, parts.table, parts.leases, parts.peers, parts.orphans, self._enter, self._prolong_as_told,
            self._hold_contested,
        )  # fmt: skip

    # --- the store ----------------------------------------------------------------------------------

    def restore(self, claim: StoredClaim, now: float) -> None:
        """Another node owned this block before the restart. If it is there it will say what holds now. If the block is
        ours it was adopted, and may be another's too."""
        self._memory.restored(claim)
        if claim.index in self._table.ours and claim.closed_until > now:
            self._peers.note_missing(claim.owner, claim.owner_id, claim.closed_until, now)
            self._holds.hold_adopted(claim.index, now)
            return
        is_known = (
            claim.index >= self._context.pool.block_count or self._table.state(claim.index) is not BlockState.FREE
        )
        if is_known or claim.closed_until <= now:
            self._memory.forgotten(claim.index, now)
            return
        closed_s = math.ceil(claim.closed_until - now)
        self._enter(HeardClaim(claim.index, closed_s, claim.owner_id, claim.owner), now)
        if claim.owner_id == ZERO_ID and claim.owner != UNKNOWN_ADDRESS:
            # It was only inquired: if that node says what it owns, and not this, it was not to be.
            block = self._table.known[claim.index]
            self._table.set_lapse(block, min(block.expires_at, now + self._context.config.block_timeout_s))

    # --- inquiries ----------------------------------------------------------------------------------

    def on_inquire(self, peer: Peer, indices: tuple[int, ...], now: float) -> None:
        """Another node wants blocks; none: it asks who owns what."""
        context = self._context
        if not indices:
            if context.has(Remedy.SYNC):
                self._sync.on_asked(now, is_newcomer=self._owner.is_learning and not self._table.ours)
                self.hearsay.on_asked_for_all(peer, now)
            return
        self.hearsay.on_inquired(indices, peer, now)
        stronger = context.outranks_us(peer.node_id, peer.address)
        event = BlockEvent.INQUIRED_BY_STRONGER if stronger else BlockEvent.INQUIRED_BY_WEAKER
        claims: list[Block] = []
        again: list[int] = []
        for index in indices:
            if index >= context.pool.block_count:
                context.count("swarm.drop.bad-index")
                continue
            block = self._inquired(index, event, peer, now)
            if block.state is BlockState.OURS and self._announcer.may_answer(block, now):
                claims.append(block)
            elif block.state is BlockState.CLAIMING and self._announcer.may_answer(block, now):
                again.append(index)
        if claims:
            self._announcer.announce(claims, now)
            self.hearsay.object_directly(claims[:CLAIMS_PER_MESSAGE], peer, now)
        if again and context.link_up:
            self._inquirer.send(again)  # so that the weaker one hears us and yields
        self._owner.ensure_supply(now)

    def _inquired(self, index: int, event: BlockEvent, peer: Peer, now: float) -> Block:
        before = self._table.state(index)
        if before is BlockState.CLAIMED and not self._context.has(Remedy.STICKY_CLAIMS):
            self._table.apply(index, BlockEvent.TIMED_OUT)
        elif before is BlockState.CLAIMED and self._orphans.is_told_and_given_up(self._table.known[index]):
            self._free(index, now)
        elif self._orphans.is_to_be_adopted_at_once(index, peer, now):
            block = self._table.apply(index, BlockEvent.WE_ADOPT)
            self._owner.own(block, now)
            return block
        block = self._table.apply(index, event)
        if block.state is BlockState.TENTATIVE:
            if before is BlockState.CLAIMING:
                self._context.count("swarm.claims_yielded")
                self._orphans.on_yielded(block, now)
            self._table.set_owner(block, ZERO_ID, UNKNOWN_ADDRESS)
            self._table.set_lapse(block, now + self._context.config.tentative_timeout_s)
            block.asked_by, block.asked_at = peer.address, now
            self._consents.note_inquired(index, now)
        return block

    def may_be_inquirers(self, block: Block, now: float) -> bool:
        """Whether a block that lapses may belong to the node that inquired it. Orphans are kept closed anyhow."""
        if block.state is not BlockState.TENTATIVE or block.orphan_until > now:
            return False
        if not self._consents.may_be_anothers(block.asked_by, block.asked_at, now, seeks=self._waiting() > 0):
            return False
        until = block.asked_at + self._context.promise_s
        self._memory.may_be_anothers(StoredClaim(block.index, ZERO_ID, block.asked_by, until))
        return True

    def consent_to(self, peer: Peer, indices: tuple[int, ...], now: float) -> tuple[int, ...]:
        """A node of ours inquires blocks outside its share, of this node alone; returns those that it may own as far as
        this node is concerned, which keeps off them until it is heard again without claiming them."""
        if self._context.stopping:
            return ()
        self.on_inquire(peer, indices, now)
        asked = {index: block for index in indices if (block := self._table.get(index)) is not None}
        closed = (BlockState.CLAIMED, BlockState.ORPHAN)
        self.hearsay.on_refused([block for block in asked.values() if block.state in closed], peer, now)
        return tuple(
            index
            for index, block in asked.items()
            if block.state is BlockState.TENTATIVE and block.asked_by == peer.address and block.orphan_until <= now
        )

    def agree_to(self, peer: Peer, indices: tuple[int, ...]) -> tuple[int, ...]:
        """A node of ours has adopted blocks, and told this node so; returns those that are its as far as is known
        here: this node claims none of them as long as that holds."""
        return tuple(
            index
            for index in indices
            if (block := self._table.get(index)) is not None
            and block.state is BlockState.CLAIMED
            and block.owner_address == peer.address
        )

    def on_consent(self, peer: Peer, indices: tuple[int, ...], now: float) -> None:
        """A node of ours consents to our owning blocks, or agrees that those which we adopted are ours."""
        for index in indices:
            block = self._table.claiming.get(index)
            if block is None and self._holds.adopted_at(index) is not None:
                block = self._table.ours.get(index)
            if block is not None:
                block.consents = (block.consents or {}) | {peer.address: now}

    # --- claims and objections ----------------------------------------------------------------------

    def on_update_claim(self, peer: Peer, claims: Sequence[Claim], now: float) -> None:
        """Another node owns, or gives up, blocks."""
        self._note_presence(peer, claims, now)
        self._contest(self._take(peer, claims, now), now)
        self._owner.ensure_supply(now)

    def on_objection(self, peer: Peer, claims: Sequence[Claim], now: float) -> None:
        """A node tells this one alone that blocks of ours are its own: its announcements do not arrive, and ours may
        not arrive there. It is answered alone too, however often it was before: if nothing came back it would take them
        for its own alone, and lease from them."""
        contested = self._take(peer, claims, now)
        self._contest(contested, now)
        answered = [block for block in contested if self._announcer.may_answer(block, now)]
        if answered:
            self.hearsay.object_directly(answered, peer, now)
        self._owner.ensure_supply(now)

    def on_hearsay(self, message: Hearsay, peer: Peer, now: float) -> None:
        """A node of ours tells of others' blocks."""
        self.hearsay.on_hearsay(message, peer, now)
        self._owner.ensure_supply(now)

    def object_directly(self, index: int, peer: Peer, now: float) -> None:
        """A node of ours speaks as the owner of our block ``index``: it has not heard that it is ours."""
        block = self._table.ours.get(index)
        if block is not None and self._announcer.may_answer(block, now):
            self.hearsay.object_directly([block], peer, now)

    def prolong(self, index: int, peer: Peer, remaining_s: int, now: float) -> None:
        """A lease of ``remaining_s`` runs in a block of ``peer``: so its promise, which covers its leases, does not end
        sooner, even if the announcement that says so was lost."""
        block = self._table.get(index)
        if block is None or block.state is not BlockState.CLAIMED or block.owner_address != peer.address:
            return
        remaining_s = min(MAX_TIMEOUT_S, remaining_s)
        if now + remaining_s > block.expires_at:
            block.timeout_s = max(block.timeout_s, remaining_s)
            self._table.set_lapse(block, now + remaining_s)
            self._peers.note_claim(peer, now + remaining_s)
            self._memory.heard(block, now)

    def _take(self, peer: Peer, claims: Sequence[Claim], now: float) -> list[Block]:
        """Enter a node's claims; returns those of our blocks among them that stay ours."""
        context = self._context
        stronger = context.outranks_us(peer.node_id, peer.address, is_claim=True)
        event = BlockEvent.CLAIMED_BY_STRONGER if stronger else BlockEvent.CLAIMED_BY_WEAKER
        contested: list[Block] = []
        lost = len(self._table.ours)
        for claim in claims:
            if claim.index >= context.pool.block_count:
                context.count("swarm.drop.bad-index")
            elif claim.timeout_s == 0:
                self._on_given_up(claim.index, peer, now)
            else:
                block = self._claimed(claim, event, peer, now)
                if block.state is BlockState.OURS and not context.stopping:
                    self._hold_contested(block, now)
                    contested.append(block)
        if len(self._table.ours) < lost:
            self._supply.note_lost(now)
        return contested

    def _contest(self, blocks: list[Block], now: float) -> None:
        """Announce blocks of ours that a weaker node claimed too, unless that was done in vain not long ago."""
        contested = [block for block in blocks if self._announcer.may_object(block, now)]
        if contested:
            self._context.count("swarm.disputes_won", len(contested))
            self._announcer.announce(contested, now)

    def _claimed(self, claim: Claim, event: BlockEvent, peer: Peer, now: float, *, is_hearsay: bool = False) -> Block:
        before = self._table.state(claim.index)
        block = self._table.apply(claim.index, event)
        if block.state is BlockState.OURS or block.state is BlockState.BLOCKED:
            return block
        if before is BlockState.OURS or before is BlockState.CLAIMING:
            self._lost(block, before)
        if self._leases.has_block(block.index):
            self.give_leases(block, peer, now)
            self._on_lost(block.index, self._owner.forget(block))
        if before is BlockState.CLAIMED and block.owner_address != peer.address and not self._is_adoption(block, now):
            self._expect_more(now)
            self.hearsay.on_rival(block, peer, now)
        self._table.set_owner(block, peer.node_id, peer.address)
        block.claim_count = 0
        block.timeout_s = claim.timeout_s
        block.is_hearsay = is_hearsay
        self._table.set_lapse(block, now + claim.timeout_s)
        self._orphans.on_claimed(block, now)
        self._memory.heard(block, now)
        return block

    def _is_adoption(self, block: Block, now: float) -> bool:
        """Whether the owner of a block has been silent, so that another node took it over, as it should; else both are
        at work, and a link that had parted has healed."""
        owner = self._peers.get(block.owner_address)
        return owner is not None and self._peers.is_missing(owner, now)

    def _enter(self, heard: HeardClaim, now: float) -> None:
        """A peer tells of a block whose owner is silent: it is closed for that long, and for no longer."""
        closed_s = min(MAX_TIMEOUT_S, heard.closed_s)
        owner = self._peers.note_missing(heard.owner, heard.owner_id, now + closed_s, now)
        block = self._claimed(Claim(heard.index, closed_s), BlockEvent.CLAIMED_BY_STRONGER, owner, now, is_hearsay=True)
        block.timeout_s = MAX_TIMEOUT_S  # nothing is left to add when that time is over
        block.told_at = now
        self._context.count("swarm.hearsay_taken")

    def _prolong_as_told(self, heard: HeardClaim, owner: Peer, now: float) -> None:
        """A peer heard the owner of a block, known here, promise it for longer."""
        block, until = self._table.known[heard.index], now + min(MAX_TIMEOUT_S, heard.closed_s)
        if until <= block.expires_at:
            return
        block.is_hearsay, block.told_at = True, now
        block.timeout_s = max(block.timeout_s, self._announcer.full_timeout_s)  # no quarantine follows
        block.refresh = None  # if the owner says the same again, that is first-hand
        self._table.set_lapse(block, until)
        self._peers.note_claim(owner, until)
        self._memory.heard(block, now)

    def _hold_contested(self, block: Block, now: float) -> None:
        """Another node thought that a block of ours was its own, and gave leases in it: renew those, but give no new
        ones before they have ended (S4). Whose address was leased here too is refused at its next renewal."""
        if self._context.has(Remedy.DISPUTES):
            self._holds.hold(block.index, now + self._context.longest_lease_s + PROMISE_MARGIN_S)

    # --- who is there -------------------------------------------------------------------------------

    def _note_presence(self, peer: Peer, claims: Sequence[Claim], now: float) -> None:
        """Note for how long an owner is to be reckoned with."""
        if -math.inf < peer.claimed_until <= now:
            self._note_return(peer, now)
        timeouts = [claim.timeout_s for claim in claims if claim.timeout_s]
        if timeouts:
            peer.expected_s = self._announcer.expected_period_s(min(timeouts), peer)
            self._peers.note_claim(peer, now + max(timeouts))

    def note_owns_nothing(self, peer: Peer, now: float) -> None:
        """A node of ours says that it has nothing to announce: as good as an announcement. What it was heard to promise
        before is kept to all the same."""
        peer.claims_at = now
        peer.expected_s = self._announcer.longest_silence_s

    def _note_return(self, peer: Peer, now: float) -> None:
        """An owner whose claims had lapsed is heard again. If that is the second one within a refresh or so, and in a
        large swarm one of several, a link has healed, and more may come; a few were missed by chance, as happens all
        the time."""
        since = now - max(RETURNS_WITHIN_S, peer.expected_s)
        self._returned = {address: at for address, at in self._returned.items() if at > since}
        self._returned[peer.address] = now
        if len(self._returned) > max(1, len(self._peers) // RETURNING_SHARE):
            self._expect_more(now)

    def _expect_more(self, now: float) -> None:
        if self._context.has(Remedy.SYNC) and self._context.link_up and not self._context.stopping:
            self._sync.ask(now)

    def _free(self, index: int, now: float) -> None:
        """The owner of a block has given it up, as it said, or as what it says instead shows."""
        self._table.apply(index, BlockEvent.GIVEN_UP)
        self._orphans.forget_owner(index)
        self._memory.forgotten(index, now, is_free=True)

    def _on_given_up(self, index: int, peer: Peer, now: float) -> None:
        block = self._table.get(index)
        if block is None:
            return
        is_anothers = block.state in (BlockState.CLAIMED, BlockState.ORPHAN) and block.owner_address != peer.address
        if is_anothers or (block.state is BlockState.TENTATIVE and block.orphan_until):
            return
        self._free(index, now)
        if peer.address not in self._table.claims_of:
            peer.claimed_until = -math.inf  # it has said goodbye

    def _lost(self, block: Block, before: BlockState) -> None:
        """Another node's claim stands over ours."""
        self._context.count("swarm.blocks_lost" if before is BlockState.OURS else "swarm.claims_yielded")
        if before is BlockState.OURS:
            # While we stop it is the node that takes the block, whose claim outran its acknowledgement.
            level = logging.INFO if self._context.stopping else logging.WARNING
            self._context.log(level, "block-lost", block=block.index)
