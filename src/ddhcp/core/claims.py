"""Who owns which block: inquiring, claiming, announcing, disputing and giving up.

The rules are PROTOCOL's "Claiming" with the remedies of SAFETY that classic nodes do not notice: a claim we know of
is not weakened by an INQUIRE, inquiries are spread over t and an objection counts until the moment of owning, a block
with leases is promised for longer than its leases run, and nothing is served from a block whose promise ran out.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable

from ..swarm import MAX_CLAIMS_PER_PACKET, Claim
from .blocks import UNKNOWN_ADDRESS, ZERO_ID, Block, BlockEvent, BlockState, BlockTable
from .context import Context
from .effects import ForgetBlock, ForgetLease, RunHook, SaveBlock
from .leases import Lease, LeaseTable
from .records import StoredBlock

INQUIRIES = 3  # before a block is owned (PROTOCOL, Claiming)
LOST_REFRESHES_TOLERATED = 2  # refreshes that may be lost in a row without a promise lapsing at a receiver
PROMISE_MARGIN_S = 5.0  # between the end of a lease and the end of the promise: transit, clock drift, rounding
PROMISE_SLACK_S = 100  # a block with leases is announced for 2 L + this, which leaves (L + slack) / 3 between refreshes
MAX_TIMEOUT_S = 65535  # two bytes
REFRESH_JITTER = 0.3  # a refresh comes at 70-100 % of its period, so that a swarm never falls into step
REPEAT_AFTER_LINK_UP_S = 2.0
MAX_CLAIMING = 64  # blocks inquired at a time: bounds what a burst of clients makes us say at once
CANDIDATES = 16  # free blocks looked at for each block wanted
REPLY_BURST = 4.0  # how many INQUIREs (or weaker claims) for one block are answered at once,
REPLIES_PER_S = 2.0  # and how many a second after that: three inquiries of a classic burst are, a flood is not
MAX_FORMER = 1024  # blocks remembered as once ours


class Claims:
    """The block table of one node and everything that changes it.

    ``waiting``: called to learn how many clients wait for an address. ``on_supply``: called when addresses became
    free to lease. ``on_lost``: called with (block index, its leases) when another node won a block of ours.
    """

    def __init__(
        self,
        context: Context,
        leases: LeaseTable,
        *,
        waiting: Callable[[], int],
        on_supply: Callable[[float], None],
        on_lost: Callable[[int, list[Lease]], None],
    ) -> None:
        self._context = context
        self._leases = leases
        self._waiting = waiting
        self._on_supply = on_supply
        self._on_lost = on_lost
        self.table = BlockTable(context.pool)
        self.learning_until: float | None = math.inf if context.config.learning_phase else None
        self._refresh_at = math.inf
        self._former: dict[int, None] = {}
        self._pool_full = False

    # --- questions ------------------------------------------------------------------------------

    def is_serving(self, index: int, now: float) -> bool:
        """Whether this node may grant leases in block ``index`` now: it owns it and its promise still runs."""
        block = self.table.ours.get(index)
        return block is not None and block.expires_at > now

    def may_promise(self, index: int, lease_s: int, now: float) -> bool:
        """Whether :meth:`promise` could grant a lease of ``lease_s`` seconds in block ``index``: while the link is away
        nothing can be announced, so only what was promised before counts."""
        if not self.is_serving(index, now):
            return False
        return self._context.link_up or self.table.ours[index].expires_at >= now + lease_s + PROMISE_MARGIN_S

    def owner_address(self, index: int) -> bytes | None:
        """The server-link address of the other node that owns block ``index``, or None."""
        block = self.table.get(index)
        if block is None or block.state is not BlockState.CLAIMED or block.owner_address == UNKNOWN_ADDRESS:
            return None
        return block.owner_address

    @property
    def is_learning(self) -> bool:
        """Whether the node still only listens."""
        return self.learning_until is not None

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        at = self._refresh_at
        if self.learning_until is not None:
            at = min(at, self.learning_until)
        for block in self.table.claiming.values():
            if self._context.link_up:
                at = min(at, block.next_inquiry_at)
        lapse = self.table.next_lapse_at()
        return at if lapse is None else min(at, lapse)

    # --- life -----------------------------------------------------------------------------------

    def resume(self, block: StoredBlock, now: float) -> bool:
        """Take a block from the store as ours again, if its promise still runs; nothing is announced yet."""
        if block.promised_until <= now or self.table.state(block.index) is not BlockState.FREE:
            return False
        ours = self.table.apply(block.index, BlockEvent.WE_RESUME)
        self._own(ours, now)
        ours.expires_at = block.promised_until
        return True

    def link_up(self, now: float) -> None:
        """The server link works: announce what is ours, listen before claiming more."""
        if self.learning_until == math.inf:
            self.learning_until = now + self._context.config.block_timeout_s
        for block in self.table.claiming.values():
            block.next_inquiry_at = max(block.next_inquiry_at, now)
        if self.table.ours:
            self.announce_all(now)
            self._refresh_at = now + REPEAT_AFTER_LINK_UP_S  # a link that just came up often loses its first packets
            self._on_supply(now)  # what could not be promised while the link was away can be again
        self.ensure_supply(now)

    def send_failed(self, now: float) -> None:
        """What was last announced may not have left: announce again soon, and do not count on having promised."""
        if self.table.ours:
            self._refresh_at = min(self._refresh_at, now + 1.0)

    def run(self, now: float) -> None:
        """Do what has fallen due."""
        if self.learning_until is not None and now >= self.learning_until:
            self.learning_until = None
            self._context.effects.append(RunHook(("endlearning",)))
            self._context.log(logging.INFO, "learning-ended", known_blocks=len(self.table.known))
        while (block := self.table.pop_lapsed(now)) is not None:
            self.table.apply(block.index, BlockEvent.TIMED_OUT)
        self._fence(now)
        if self._context.link_up:
            self._advance_inquiries(now)
            if now >= self._refresh_at:
                self._give_up_needless(now)
                self.announce_all(now)
        elif now >= self._refresh_at:
            self._schedule_refresh(now)
        self.ensure_supply(now)

    # --- from the swarm -------------------------------------------------------------------------

    def on_inquire(self, node_id: bytes, source: bytes, indices: Iterable[int], now: float) -> None:
        """Another node wants blocks."""
        context = self._context
        stronger = context.outranks_us(node_id, source)
        event = BlockEvent.INQUIRED_BY_STRONGER if stronger else BlockEvent.INQUIRED_BY_WEAKER
        claims: list[Block] = []
        again: list[int] = []
        for index in indices:
            if index >= context.pool.block_count:
                context.count("swarm.drop.bad-index")
                continue
            before = self.table.state(index)
            block = self.table.apply(index, event)
            if block.state is BlockState.TENTATIVE:
                if before is BlockState.CLAIMING:
                    context.count("swarm.claims_yielded")
                    self._release_suspended(block)
                block.owner_id, block.owner_address = ZERO_ID, UNKNOWN_ADDRESS
                self.table.set_lapse(block, now + context.config.tentative_timeout_s)
            elif block.state is BlockState.OURS and self._may_reply(block, now):
                claims.append(block)
            elif block.state is BlockState.CLAIMING and self._may_reply(block, now):
                again.append(index)
        if claims:
            self._announce(claims, now)
        if again and context.link_up:
            context.multicast(context.codec.inquire(again), "inquire")  # so that the weaker one hears us and yields
        self.ensure_supply(now)

    def on_update_claim(self, node_id: bytes, source: bytes, claims: Iterable[Claim], now: float) -> None:
        """Another node owns, or gives up, blocks."""
        context = self._context
        stronger = context.outranks_us(node_id, source)
        claimed = BlockEvent.CLAIMED_BY_STRONGER if stronger else BlockEvent.CLAIMED_BY_WEAKER
        contested: list[Block] = []
        for claim in claims:
            if claim.index >= context.pool.block_count:
                context.count("swarm.drop.bad-index")
                continue
            if claim.timeout_s == 0:
                self._on_given_up(claim.index, source)
                continue
            before = self.table.state(claim.index)
            block = self.table.apply(claim.index, claimed)
            if block.state is BlockState.OURS:
                if not context.stopping and self._may_reply(block, now):
                    contested.append(block)
                continue
            if block.state is BlockState.BLOCKED:
                continue
            if before is BlockState.OURS or before is BlockState.CLAIMING:
                self._lost(block, before)
            block.owner_id, block.owner_address = node_id, source
            block.claim_count = 0
            self.table.set_lapse(block, now + claim.timeout_s)
        if contested:
            context.count("swarm.disputes_won", len(contested))
            self._announce(contested, now)
        self.ensure_supply(now)

    def _on_given_up(self, index: int, source: bytes) -> None:
        block = self.table.get(index)
        if block is None or (block.state is BlockState.CLAIMED and block.owner_address != source):
            return
        self.table.apply(index, BlockEvent.GIVEN_UP)

    def _lost(self, block: Block, before: BlockState) -> None:
        """Another node's claim stands over ours."""
        self._context.count("swarm.blocks_lost" if before is BlockState.OURS else "swarm.claims_yielded")
        if before is BlockState.OURS:
            self._context.log(logging.WARNING, "block-lost", block=block.index)
        self._release_suspended(block)

    def _release_suspended(self, block: Block) -> None:
        """Let go of the leases this node kept in a block that is no longer its to serve."""
        if self._leases.has_block(block.index):
            self._on_lost(block.index, self._forget(block))

    def _forget(self, block: Block) -> list[Lease]:
        """Forget, here and in the store, that a block was ours; returns the leases it had."""
        leases = self._leases.drop_block(block.index)
        self._context.effects.append(ForgetBlock(block.index))
        self._context.effects.extend(ForgetLease(lease.address) for lease in leases)
        return leases

    # --- claiming -------------------------------------------------------------------------------

    def ensure_supply(self, now: float) -> None:
        """Begin claiming when the free leases do not cover the spares and the waiting clients."""
        context = self._context
        if context.stopping or not context.link_up or self.learning_until is not None:
            return
        if not context.config.serves_clients:
            return
        block_size = context.pool.block_size
        waiting = self._waiting()
        missing = context.config.spare_leases + waiting - self._leases.free_count
        missing -= len(self.table.claiming) * block_size
        if missing <= 0:
            return
        wanted = min(-(-missing // block_size), MAX_CLAIMING - len(self.table.claiming))
        chosen = self._choose(wanted)
        for index in chosen:
            block = self.table.apply(index, BlockEvent.WE_INQUIRE)
            block.claim_count = 0
            block.next_inquiry_at = now
        if chosen:
            self._pool_full = False
            self._advance_inquiries(now)
        elif not self.table.claiming and self._leases.free_count == 0 and waiting and not self._pool_full:
            self._pool_full = True
            context.log(
                logging.WARNING, "pool-full", pool=str(context.pool), waiting=waiting,
                advice="clients wait until leases end; use a larger pool (-N), shorter leases or smaller blocks (-b)",
            )  # fmt: skip

    def _choose(self, wanted: int) -> list[int]:
        """Free blocks to claim: those once ours first, then by a hash of (this node, block), so that nodes that
        start together, or are cut off from each other, rarely want the same."""
        former = [i for i in self._former if self.table.state(i) is BlockState.FREE][:wanted]
        if len(former) >= wanted:
            return former
        candidates = set(self.table.free.sample(self._context.rng, CANDIDATES * wanted)).difference(former)
        node_id = self._context.node_id

        def preference(index: int) -> bytes:
            return hashlib.blake2b(node_id + index.to_bytes(4, "big"), digest_size=8).digest()

        return former + sorted(candidates, key=preference)[: wanted - len(former)]

    def _advance_inquiries(self, now: float) -> None:
        """Send the inquiries that are due; own what was inquired three times and left uncontested for t."""
        inquire: list[int] = []
        owned: list[Block] = []
        spacing_s = self._context.config.tentative_timeout_s / INQUIRIES
        for block in list(self.table.claiming.values()):
            if block.next_inquiry_at > now:
                continue
            if block.claim_count < INQUIRIES:
                block.claim_count += 1
                block.next_inquiry_at = now + spacing_s
                inquire.append(block.index)
            else:
                owned.append(self.table.apply(block.index, BlockEvent.UNCONTESTED))
        if inquire:
            self._context.multicast(self._context.codec.inquire(inquire), "inquire")
        if owned:
            for block in owned:
                self._own(block, now)
            self._context.log(logging.INFO, "blocks-claimed", blocks=[block.index for block in owned])
            self._announce(owned, now)
            self._on_supply(now)

    def take_over(self, index: int, now: float) -> bool:
        """Own a block that its owner hands to us; the caller adds its leases and then announces it."""
        if self.table.state(index) is BlockState.BLOCKED:
            return False
        block = self.table.apply(index, BlockEvent.WE_TAKE_OVER)
        self._own(block, now)
        block.expires_at = now
        return True

    def _own(self, block: Block, now: float) -> None:
        block.owner_id, block.owner_address = self._context.node_id, self._context.address
        block.empty_since = now
        block.is_saved = False
        self._leases.resume_block(block.index)
        self._former[block.index] = None
        if len(self._former) > MAX_FORMER:
            del self._former[next(iter(self._former))]

    # --- announcing -----------------------------------------------------------------------------

    def timeout_s(self, block: Block) -> int:
        """For how long a block of ours is announced: T, or with leases in it long enough to outlast any of them even
        when refreshes are lost (SAFETY, Promise >= lease)."""
        config = self._context.config
        if self._leases.is_unused(block.index):
            return config.block_timeout_s
        return min(MAX_TIMEOUT_S, max(config.block_timeout_s, 2 * self._context.longest_lease_s + PROMISE_SLACK_S))

    def promise(self, index: int, lease_s: int, now: float) -> int:
        """How long a lease in block ``index`` (ours, and with the lease already entered) may run, in seconds, at most
        ``lease_s``. Announces the block first if what is promised so far does not cover it."""
        block = self.table.ours[index]
        if block.expires_at < now + lease_s + PROMISE_MARGIN_S and self._context.link_up:
            self._announce([block], now)
        return max(0, min(lease_s, int(block.expires_at - PROMISE_MARGIN_S - now)))

    def announce_all(self, now: float) -> None:
        """Announce every block of ours and restart the refresh timer."""
        self._announce(list(self.table.ours.values()), now)
        self._schedule_refresh(now)

    def _announce(self, blocks: list[Block], now: float) -> None:
        if not self._context.link_up:
            return
        claims = []
        for block in blocks:
            timeout_s = self.timeout_s(block)
            if not block.is_saved:
                block.is_saved = True
                self._context.effects.append(SaveBlock(StoredBlock(block.index, now + timeout_s)))
            block.expires_at = max(block.expires_at, now + timeout_s)
            claims.append((block.index, timeout_s))
        self._send_claims(claims)
        if self._refresh_at == math.inf or len(blocks) < len(self.table.ours):
            self._refresh_at = min(self._refresh_at, now + self._refresh_period_s())

    def _send_claims(self, claims: list[tuple[int, int]]) -> None:
        """Multicast (block index, timeout in s) pairs, in as many packets as they need."""
        context = self._context
        for start in range(0, len(claims), MAX_CLAIMS_PER_PACKET):
            data = context.codec.update_claim(claims[start : start + MAX_CLAIMS_PER_PACKET])
            context.multicast(data, "updateclaim", durable=True)

    def _schedule_refresh(self, now: float) -> None:
        self._refresh_at = now + self._refresh_period_s() if self.table.ours else math.inf

    def _refresh_period_s(self) -> float:
        """Time to the next refresh, jittered: short enough that a receiver which misses the tolerated number in a row
        still holds every block, and every lease in it is still covered."""
        config = self._context.config
        margin_s = min(PROMISE_MARGIN_S, config.block_timeout_s / 10)
        shortest_s = float(MAX_TIMEOUT_S)
        for block in self.table.ours.values():
            timeout_s = self.timeout_s(block)
            covered_s = 0 if self._leases.is_unused(block.index) else min(self._context.longest_lease_s, timeout_s / 2)
            shortest_s = min(shortest_s, timeout_s - covered_s)
        period_s = (shortest_s - margin_s) / (LOST_REFRESHES_TOLERATED + 1)
        return period_s * (1 - REFRESH_JITTER * self._context.rng.random())

    def _may_reply(self, block: Block, now: float) -> bool:
        block.reply_tokens = min(REPLY_BURST, block.reply_tokens + (now - block.replied_at) * REPLIES_PER_S)
        block.replied_at = now
        if block.reply_tokens < 1:
            self._context.count("swarm.replies_suppressed")
            return False
        block.reply_tokens -= 1
        return True

    # --- giving up ------------------------------------------------------------------------------

    def _fence(self, now: float) -> None:
        """Stop serving from blocks whose promise ran out unheard (the link was down, or we slept): others may have
        taken them. Their leases are kept, and they are inquired anew (SAFETY S8, S13)."""
        lapsed = [block for block in self.table.ours.values() if block.expires_at <= now]
        for block in lapsed:
            self.table.apply(block.index, BlockEvent.TIMED_OUT)
            self._leases.suspend_block(block.index)
            block.claim_count = 0
            block.next_inquiry_at = now
        if lapsed:
            self._context.log(logging.WARNING, "promise-lapsed", blocks=[block.index for block in lapsed])

    def _give_up_needless(self, now: float) -> None:
        """Give up blocks that no client needed for the needless timeout, latest claimed first, keeping the spares."""
        config = self._context.config
        keep = config.spare_leases + self._waiting()
        given_up: list[Block] = []
        for block in reversed(list(self.table.ours.values())):
            if not self._leases.is_unused(block.index):
                block.empty_since = now
            elif (
                now - block.empty_since >= config.needless_timeout_s
                and self._leases.free_count - self._leases.free_in(block.index) >= keep
            ):
                given_up.append(block)
                self._drop(block)
        self._send_given_up(given_up)

    def _send_given_up(self, blocks: list[Block]) -> None:
        """Tell the swarm that these blocks (already dropped) are free."""
        self._send_claims([(block.index, 0) for block in blocks])
        if blocks:
            self._context.log(logging.INFO, "blocks-given-up", blocks=[block.index for block in blocks])

    def _drop(self, block: Block) -> None:
        """A block of ours is free again, its history forgotten."""
        self.table.apply(block.index, BlockEvent.WE_GIVE_UP)
        self._forget(block)

    def hand_to(self, block: Block, node_id: bytes, address: bytes, timeout_s: int, now: float) -> None:
        """A block of ours is now the node's at ``address``, which has confirmed it."""
        self._drop(block)
        theirs = self.table.apply(block.index, BlockEvent.CLAIMED_BY_STRONGER)
        theirs.owner_id, theirs.owner_address = node_id, address
        self.table.set_lapse(theirs, now + timeout_s)

    def abandon(self, now: float) -> None:
        """Stop inquiring and give up the blocks that have no leases (the node stops)."""
        for block in list(self.table.claiming.values()):
            self.table.apply(block.index, BlockEvent.WE_GIVE_UP)
        unused = [block for block in self.table.ours.values() if self._leases.is_unused(block.index)]
        for block in unused:
            self._drop(block)
        if self._context.link_up:
            self._send_given_up(unused)

    def announce_last(self, now: float) -> None:
        """The node stops and nobody took its blocks: promise each for as long as its longest lease runs."""
        claims = []
        for block in self.table.ours.values():
            longest = max((lease.expires_at for lease in self._leases.in_block(block.index)), default=now)
            timeout_s = min(MAX_TIMEOUT_S, max(1, math.ceil(longest - now + PROMISE_MARGIN_S)))
            self._context.effects.append(SaveBlock(StoredBlock(block.index, now + timeout_s)))
            claims.append((block.index, timeout_s))
        if self._context.link_up:
            self._send_claims(claims)
