"""Blocks: their states, the transition table, and the sparse bookkeeping of a pool of millions of them."""

from __future__ import annotations

import enum
import heapq
import math
import random

from .pool import Pool

ZERO_ID = bytes(8)
UNKNOWN_ADDRESS = bytes(16)
DRIFT = 0.02  # by which two clocks may differ over a lease's time: each a hundredth fast or slow
TRANSIT_S = 10.0  # the longest that a message is under way to us, repetitions included
LOOK_AHEAD_S = 5.0  # claims that seem to end within this are looked at together
MAX_FREED = 65536  # free blocks remembered as once owned; the longest free are forgotten beyond this


class BlockState(enum.IntEnum):
    """The state of a block as this node sees it; the numbers up to 5 are those that classic tools print.

    ORPHAN: another node's claim lapsed without having been given up, and leases in the block may still run.
    """

    FREE = 0
    TENTATIVE = 1
    CLAIMED = 2
    CLAIMING = 3
    OURS = 4
    BLOCKED = 5
    ORPHAN = 6

    @property
    def classic(self) -> int:
        """The number that classic tools know for it. To them an orphan is TENTATIVE: not to be had yet."""
        return int(BlockState.TENTATIVE if self is BlockState.ORPHAN else self)


class BlockEvent(enum.Enum):
    """What can change a block's state. "Stronger" and "weaker" compare (node id, source address) with ours."""

    INQUIRED_BY_STRONGER = "INQUIRE from a stronger node"
    INQUIRED_BY_WEAKER = "INQUIRE from a weaker node"
    CLAIMED_BY_STRONGER = "UPDATECLAIM from a stronger node"
    CLAIMED_BY_WEAKER = "UPDATECLAIM from a weaker node"
    GIVEN_UP = "UPDATECLAIM with timeout 0 from its owner"
    TIMED_OUT = "its time ran out"
    LAPSED = "its time ran out, but leases in it may still run"
    WE_INQUIRE = "this node wants it"
    WE_ADOPT = "this node adopts it at once, because somebody else wants it"
    UNCONTESTED = "three inquiries, t passed, nobody objected"
    WE_RESUME = "restored from the store, promise still running"
    WE_TAKE_OVER = "handed over by its owner"
    WE_GIVE_UP = "this node gives it up or abandons the claim"


_F, _T, _D = BlockState.FREE, BlockState.TENTATIVE, BlockState.CLAIMED
_C, _O, _B, _X = BlockState.CLAIMING, BlockState.OURS, BlockState.BLOCKED, BlockState.ORPHAN
_E = BlockEvent

# The one table of transitions. An absent pair cannot happen: the caller's own logic is wrong if it does.
# Unlike a classic node, an INQUIRE never weakens a claim we know of (SAFETY S7), and an objection is heeded until
# the very moment of owning (S6).
TRANSITIONS: dict[tuple[BlockState, BlockEvent], BlockState] = {
    (_F, _E.INQUIRED_BY_STRONGER): _T,
    (_F, _E.INQUIRED_BY_WEAKER): _T,
    (_F, _E.CLAIMED_BY_STRONGER): _D,
    (_F, _E.CLAIMED_BY_WEAKER): _D,
    (_F, _E.GIVEN_UP): _F,
    (_F, _E.WE_INQUIRE): _C,
    (_F, _E.WE_RESUME): _O,
    (_F, _E.WE_TAKE_OVER): _O,
    (_T, _E.INQUIRED_BY_STRONGER): _T,
    (_T, _E.INQUIRED_BY_WEAKER): _T,
    (_T, _E.CLAIMED_BY_STRONGER): _D,
    (_T, _E.CLAIMED_BY_WEAKER): _D,
    (_T, _E.GIVEN_UP): _F,
    (_T, _E.TIMED_OUT): _F,
    (_T, _E.LAPSED): _X,  # it was an orphan, and whoever inquired it did not claim it
    (_T, _E.WE_TAKE_OVER): _O,
    (_D, _E.INQUIRED_BY_STRONGER): _D,
    (_D, _E.INQUIRED_BY_WEAKER): _D,
    (_D, _E.CLAIMED_BY_STRONGER): _D,
    (_D, _E.CLAIMED_BY_WEAKER): _D,
    (_D, _E.GIVEN_UP): _F,
    (_D, _E.TIMED_OUT): _F,
    (_D, _E.LAPSED): _X,
    (_D, _E.WE_ADOPT): _O,  # its owner has long been silent, and somebody who never heard of it wants it (S12)
    (_D, _E.WE_TAKE_OVER): _O,
    (_C, _E.INQUIRED_BY_STRONGER): _T,
    (_C, _E.INQUIRED_BY_WEAKER): _C,
    (_C, _E.CLAIMED_BY_STRONGER): _D,
    (_C, _E.CLAIMED_BY_WEAKER): _D,
    (_C, _E.GIVEN_UP): _C,
    (_C, _E.UNCONTESTED): _O,
    (_C, _E.WE_ADOPT): _O,
    (_C, _E.WE_TAKE_OVER): _O,
    (_C, _E.WE_GIVE_UP): _F,
    (_O, _E.INQUIRED_BY_STRONGER): _O,
    (_O, _E.INQUIRED_BY_WEAKER): _O,
    (_O, _E.CLAIMED_BY_STRONGER): _D,
    (_O, _E.CLAIMED_BY_WEAKER): _O,
    (_O, _E.GIVEN_UP): _O,
    (_O, _E.TIMED_OUT): _C,  # our own promise ran out unheard: ask again before serving from it (S8, S13)
    (_O, _E.WE_TAKE_OVER): _O,
    (_O, _E.WE_GIVE_UP): _F,
    (_B, _E.INQUIRED_BY_STRONGER): _B,
    (_B, _E.INQUIRED_BY_WEAKER): _B,
    (_B, _E.CLAIMED_BY_STRONGER): _B,
    (_B, _E.CLAIMED_BY_WEAKER): _B,
    (_B, _E.GIVEN_UP): _B,
    (_X, _E.INQUIRED_BY_STRONGER): _X,
    (_X, _E.INQUIRED_BY_WEAKER): _X,
    (_X, _E.CLAIMED_BY_STRONGER): _D,
    (_X, _E.CLAIMED_BY_WEAKER): _D,
    (_X, _E.GIVEN_UP): _F,  # by its owner, who is back
    (_X, _E.TIMED_OUT): _F,
    (_X, _E.WE_INQUIRE): _C,  # to adopt it
    (_X, _E.WE_ADOPT): _O,
    (_X, _E.WE_TAKE_OVER): _O,
}

_OWNED = (BlockState.CLAIMED, BlockState.OURS, BlockState.ORPHAN)
_LAPSING = (BlockState.TENTATIVE, BlockState.CLAIMED, BlockState.OURS, BlockState.ORPHAN)


class Block:
    """What this node knows of one block that is not simply FREE.

    ``expires_at``: when a TENTATIVE, CLAIMED or ORPHAN block ends being that; for our own, the end of what we promised.
    ``owner_id``/``owner_address``: who claims it (zeros when nobody is known). ``claim_count``: inquiries sent for a
    CLAIMING block; ``inquired_at``: when the second of them (the first, before that) was sent for one that was FREE,
    else minus infinity. ``is_vouched``: whether all who could object were heard between that and the latest of them.
    ``consents``: who consented to our owning it, and when; None if nobody. ``next_inquiry_at``: when the next inquiry,
    or owning, is due. ``answer_tokens``/``answered_at``: a small bucket that bounds how often an INQUIRE makes us
    speak. ``objected_at``/``objection_wait_s``: when a weaker claim was last answered, and how long none is after that.
    ``empty_since``: since when an own block has had no lease. ``asked_by``/``asked_at``: who inquired a TENTATIVE block
    last, and when. ``is_saved``: whether our owning it is in the store. ``timeout_s``: what its owner last announced it
    for. ``orphan_until``: up to when leases of an owner that fell silent may run in it, 0 if none do. ``is_urgent``: a
    client waits for it, so it is inquired in quick succession. ``is_hearsay``: its owner's claim was not heard from the
    owner, but from a third node or the store, and holds exactly that long. ``unsure_until``: up to when peers may stand
    in for the owner of an own block with what its former owner, or this node before it started anew, had told them.
    ``is_resumed``: whether it is ours as the store has it: another may have won it while the disk failed.
    ``refresh``: the announcement that said what is known of a CLAIMED block, None once something else happened to it.
    """

    __slots__ = (
        "answer_tokens",
        "answered_at",
        "asked_at",
        "asked_by",
        "claim_count",
        "consents",
        "empty_since",
        "expires_at",
        "index",
        "inquired_at",
        "is_hearsay",
        "is_resumed",
        "is_saved",
        "is_urgent",
        "is_vouched",
        "next_inquiry_at",
        "objected_at",
        "objection_wait_s",
        "orphan_until",
        "owner_address",
        "owner_id",
        "refresh",
        "state",
        "timeout_s",
        "told_at",
        "unsure_until",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.state = BlockState.FREE
        self.owner_id = ZERO_ID
        self.owner_address = UNKNOWN_ADDRESS
        self.expires_at = 0.0
        self.claim_count = 0
        self.next_inquiry_at = 0.0
        self.inquired_at = -math.inf
        self.consents: dict[bytes, float] | None = None
        self.asked_by = UNKNOWN_ADDRESS
        self.asked_at = -math.inf
        self.empty_since = 0.0
        self.is_saved = False
        self.answer_tokens = 0.0
        self.answered_at = -math.inf
        self.objected_at = -math.inf
        self.objection_wait_s = 0.0
        self.timeout_s = 0
        self.orphan_until = 0.0
        self.is_urgent = False
        self.is_vouched = False
        self.is_hearsay = False
        self.told_at = -math.inf  # if it is hearsay: when that was
        self.is_resumed = False
        self.unsure_until = 0.0
        self.refresh: object = None

    @property
    def certain_until(self) -> float:
        """Up to when another node's claim holds for certain: what it announced was under way, and is counted by a
        clock that may be slower than its own."""
        transits = 2 if self.is_hearsay else 1
        return self.expires_at - transits * TRANSIT_S - DRIFT * self.timeout_s


class FreeBlocks:
    """The set of FREE block indices, over a pool of any size, in memory proportional to the blocks that are *not* free.

    A virtual array holds all indices, free ones first; only displaced entries are stored. Adding, removing and
    drawing at random take constant time.
    """

    __slots__ = ("_at", "_count", "_position")

    def __init__(self, block_count: int) -> None:
        self._count = block_count
        self._at: dict[int, int] = {}  # position -> index, where they differ
        self._position: dict[int, int] = {}  # index -> position, where they differ

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        return self._position.get(index, index) < self._count

    def _swap(self, first: int, second: int) -> None:
        """Exchange what stands at two positions, storing only what differs from the identity."""
        at_first, at_second = self._at.get(first, first), self._at.get(second, second)
        for position, index in ((first, at_second), (second, at_first)):
            if position == index:
                self._at.pop(position, None)
                self._position.pop(index, None)
            else:
                self._at[position] = index
                self._position[index] = position

    def discard(self, index: int) -> None:
        """Take ``index`` out; nothing happens if it is not free."""
        position = self._position.get(index, index)
        if position < self._count:
            self._count -= 1
            if position != self._count:
                self._swap(position, self._count)

    def add(self, index: int) -> None:
        """Put ``index`` (below the pool's block count) back; nothing happens if it is free already."""
        position = self._position.get(index, index)
        if position >= self._count:
            if position != self._count:
                self._swap(position, self._count)
            self._count += 1

    def sample(self, rng: random.Random, wanted: int) -> list[int]:
        """Up to ``wanted`` different free indices, drawn uniformly."""
        everything = range(self._count)
        positions = everything if self._count <= wanted else rng.sample(everything, wanted)
        return [self._at.get(position, position) for position in positions]


class BlockTable:
    """All blocks of a pool, sparse: only those that are not FREE have a :class:`Block`."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.known: dict[int, Block] = {}
        self.free = FreeBlocks(pool.block_count)
        self.ours: dict[int, Block] = {}
        self.claiming: dict[int, Block] = {}
        self.counts = [0] * len(BlockState)
        self.freed: dict[int, None] = {}  # FREE blocks that somebody owned before, the longest free first
        self.claims_of: dict[bytes, int] = {}  # how many blocks are CLAIMED by the node at each address
        # (instant, index): when a block may lapse, or what we promised for one of ours may run out. A refreshed claim
        # leaves its old entry in place, to be looked at again when it comes up, so that there is one entry each.
        self._lapses: list[tuple[float, int]] = []
        self._queued_at: dict[int, float] = {}

    def get(self, index: int) -> Block | None:
        """The block if it is anything but FREE."""
        return self.known.get(index)

    def state(self, index: int) -> BlockState:
        """The state of block ``index``."""
        block = self.known.get(index)
        return block.state if block is not None else BlockState.FREE

    def block_out(self, index: int) -> None:
        """Mark a block as in the prefix but never to be used (state BLOCKED)."""
        block = Block(index)
        self._enter(block, BlockState.BLOCKED)

    def apply(self, index: int, event: BlockEvent) -> Block:
        """Move block ``index`` by ``event`` and return it. Raises KeyError if the table has no such transition."""
        block = self.known.get(index) or Block(index)
        block.refresh = None
        state = TRANSITIONS[block.state, event]
        if state is not block.state:
            if state is BlockState.FREE and block.state in _OWNED:
                self._note_freed(index)
            self._leave(block)
            self._enter(block, state)
        return block

    def _note_freed(self, index: int) -> None:
        self.freed.pop(index, None)
        self.freed[index] = None
        if len(self.freed) > MAX_FREED:
            del self.freed[next(iter(self.freed))]

    def set_owner(self, block: Block, node_id: bytes, address: bytes) -> None:
        """A block is claimed by this node."""
        if block.state is BlockState.CLAIMED:
            self._count_claim(block.owner_address, -1)
            self._count_claim(address, 1)
        block.owner_id, block.owner_address = node_id, address
        block.refresh = None

    def _count_claim(self, address: bytes, change: int) -> None:
        count = self.claims_of.get(address, 0) + change
        if count > 0:
            self.claims_of[address] = count
        else:
            self.claims_of.pop(address, None)

    def set_lapse(self, block: Block, at: float) -> None:
        """The time of a block (TENTATIVE, CLAIMED, ORPHAN or OURS) runs out at ``at`` unless this is called again."""
        block.expires_at = at
        block.refresh = None
        queued_at = self._queued_at.get(block.index)
        if queued_at is None or at < queued_at:
            self._queue(block)

    def _queue(self, block: Block) -> None:
        self._queued_at[block.index] = block.expires_at
        heapq.heappush(self._lapses, (block.expires_at, block.index))

    def pop_lapsed(self, now: float) -> Block | None:
        """The next block in a state that ends whose time has run out, or None."""
        while self._lapses and self._lapses[0][0] <= now:
            at, index = heapq.heappop(self._lapses)
            if self._queued_at.get(index) != at:
                continue  # an earlier end was set meanwhile and has been looked at
            del self._queued_at[index]
            block = self.known.get(index)
            if block is None or block.state not in _LAPSING:
                continue
            if block.expires_at <= now:
                return block
            self._queue(block)
        return None

    def look_at_lapses(self, now: float) -> None:
        """Queue those blocks anew that were to lapse by now, or soon, and do not because their claims were refreshed,
        so that :attr:`next_lapse_at` is not in vain, nor soon in vain again."""
        while self._lapses and self._lapses[0][0] <= now + LOOK_AHEAD_S:
            at, index = self._lapses[0]
            block = self.known.get(index)
            if block is None or block.state not in _LAPSING or self._queued_at.get(index) != at:
                return  # left to pop_lapsed
            if block.expires_at <= at:
                return
            self._queued_at[index] = block.expires_at
            heapq.heapreplace(self._lapses, (block.expires_at, index))

    @property
    def next_lapse_at(self) -> float:
        """A lower bound of the instant at which :meth:`pop_lapsed` may find something; infinity if never."""
        return self._lapses[0][0] if self._lapses else math.inf

    def _leave(self, block: Block) -> None:
        if block.state is BlockState.OURS:
            del self.ours[block.index]
        elif block.state is BlockState.CLAIMING:
            del self.claiming[block.index]
        elif block.state is BlockState.CLAIMED:
            self._count_claim(block.owner_address, -1)
        if block.state is not BlockState.FREE:
            self.counts[block.state] -= 1

    def _enter(self, block: Block, state: BlockState) -> None:
        block.state = state
        if state is BlockState.FREE:
            self.known.pop(block.index, None)
            self.free.add(block.index)
            return
        self.counts[state] += 1
        self.known[block.index] = block
        self.free.discard(block.index)
        if state is BlockState.OURS:
            self.ours[block.index] = block
        elif state is BlockState.CLAIMING:
            self.claiming[block.index] = block
        elif state is BlockState.CLAIMED:
            block.owner_id, block.owner_address = ZERO_ID, UNKNOWN_ADDRESS
            self._count_claim(UNKNOWN_ADDRESS, 1)
