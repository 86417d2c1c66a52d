"""Telling the swarm which blocks are ours, and keeping within what it was told.

One packet names all own blocks (as many as a packet holds) and one jittered timer decides when it is sent; hearing
something never is a reason to send, but for a claim that somebody contests, whose answers are rationed. What a packet
announces for a block is a promise: other nodes keep off until it ends, and no lease here may outlast it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from .blocks import DRIFT, Block, BlockTable
from .context import Context
from .effects import SaveBlock
from .leases import LeaseTable
from .peers import Peer, Peers
from .records import StoredBlock
from .remedies import Remedy

_PROMISE: Final = Remedy.PROMISE  # asked for with every lease, and slow to be looked up in Python 3.11
LOST_REFRESHES_TOLERATED: Final = 2  # refreshes that may be lost in a row without a promise lapsing at a receiver
PROMISE_MARGIN_S: Final = 5.0  # between the end of a lease and the end of the promise: transit, clock drift, rounding
MAX_TIMEOUT_S = 65535  # two bytes
EMPTY_PERIODS = 10  # of T, for which a block without leases is announced at most while free blocks abound
ABUNDANCE = 2  # free blocks abound while they are at least one in this many
SOON_S = 1.0  # after which the swarm is told that a block, promised for long enough, has its first lease
REFRESH_JITTER = 0.3  # a refresh comes at 70-100 % of its period, so that a swarm never falls into step
CLASSIC_NEWCOMER_FACTOR = 2.4  # refreshes in T while classic nodes, which learn for T and no longer, are about
REPEAT_S = 2.0  # between two announcements of what should not be missed
RETRY_AFTER_FAILURE_S = 1.0
MAX_RETRY_AFTER_FAILURE_S = 30.0
CONFIRMED_AFTER_S = 1.0  # a driver tells within this that a multicast did not leave,
SLOW_DISK_S = 10.0  # within this if it waits for the disk first
ALL_AT_ONCE = 32  # own blocks up to which a lease in a new block has all of them announced, not that one alone
ANSWER_BURST = 4.0  # how many INQUIREs for one block are answered at once,
ANSWERS_PER_S = 2.0  # and how many a second after that: three inquiries of a classic burst are, a flood is not
FIRST_OBJECTION_AFTER_S = 1.0  # between two answers to a weaker claim of one block; doubled each time that node goes on
MAX_OBJECTION_AFTER_S = 3600.0


def tells_of_leases(timeout_s: int, block_timeout_s: int) -> bool:
    """Whether a node of ours that announces a block for ``timeout_s`` tells that there are leases in it."""
    return (timeout_s > block_timeout_s and timeout_s % 2 == 0) or timeout_s == MAX_TIMEOUT_S


class Announcer:
    """Sends the claims of one node, and knows how long each of its blocks is promised for. ``refresh_at``: when all own
    blocks are to be announced again, or while there are none that this node is there; infinity while the link is away.
    ``say_here``, which the owner sets: does the latter."""

    def __init__(self, context: Context, table: BlockTable, leases: LeaseTable, peers: Peers) -> None:
        self._context = context
        self._table = table
        self._leases = leases
        self._peers = peers
        self.refresh_at = math.inf
        self.say_here: Callable[[], None] = lambda: None
        self._quick_refreshes = 0  # still to come three in T, because a block is new or its promise was raised
        self._failures = 0  # in a row, since a multicast last left; and when the latest was
        self._failed_at = -math.inf
        self._doubtful_until = -math.inf
        self._unconfirmed: list[tuple[Block, float]] = []  # announced after a failure; by when it would be promised
        # By the latest packet, and those that may still wait for the disk: after how many durable multicasts a block is
        # promised for how long, beginning with 0 and what was promised before them.
        self._last_promised: dict[int, tuple[Block, list[tuple[int, float]]]] = {}
        self._last_sent_at = -math.inf
        self._waits_for_disk = False  # what was announced then leaves only when it is on disk
        self._waits_until = -math.inf  # and what is announced before this leaves after it

    # --- promises -------------------------------------------------------------------------------

    def timeout_s(self, block: Block) -> int:
        """For how long a block of ours is announced: with leases in it long enough to outlast any of them even when
        refreshes are lost (promise >= lease). Without leases nobody needs it soon if free blocks abound: then so that
        it is refreshed as seldom as one with leases, else for T."""
        if self._leases.is_unused(block.index) or not self._context.has(_PROMISE):
            return self._unused_timeout_s()
        return self.full_timeout_s

    @property
    def full_timeout_s(self) -> int:
        """For how long a block with leases is announced: more than T, and an even number of seconds or the longest."""
        context = self._context
        least_s = max(context.config.block_timeout_s + 1, context.promise_s)
        return min(MAX_TIMEOUT_S, least_s + least_s % 2)

    def _unused_timeout_s(self) -> int:
        """For how long a block without leases is announced: T, or if free blocks abound an odd number of seconds."""
        context = self._context
        block_timeout_s = context.config.block_timeout_s
        is_wanted = ABUNDANCE * len(self._table.free) < context.pool.block_count
        if is_wanted or not context.has(_PROMISE):
            return block_timeout_s
        longest_s = int(min(self._full_spare_s(), EMPTY_PERIODS * block_timeout_s, MAX_TIMEOUT_S - 1))
        return max(block_timeout_s, longest_s - 1 + longest_s % 2)

    def _full_spare_s(self) -> float:
        """What the promise of a block with leases has beyond its leases."""
        full_s = self.full_timeout_s
        return full_s - min(self._context.longest_lease_s, full_s / 2)

    def may_have_leases(self, timeout_s: int) -> bool:
        """Whether a block that a node of ours announced for ``timeout_s`` may have leases."""
        return tells_of_leases(timeout_s, self._context.config.block_timeout_s)

    def promise(self, block: Block, lease_s: int, now: float) -> int:
        """How long a lease in ``block`` (ours, and with the lease already entered) may run, in seconds, at most
        ``lease_s``. Announces the block first if what is promised so far does not cover it."""
        if not self._context.has(_PROMISE):
            return lease_s
        if block.expires_at < now + lease_s + PROMISE_MARGIN_S and self._context.link_up:
            self._quick_refreshes = LOST_REFRESHES_TOLERATED
            if len(self._table.ours) <= ALL_AT_ONCE:
                self.announce_all(now)
            else:
                self.announce([block], now)
        elif not self.may_have_leases(block.timeout_s):
            self.refresh_at = min(self.refresh_at, now + SOON_S)
        return max(0, min(lease_s, int(block.expires_at - self.margin_s(block, now) - now)))

    def margin_s(self, block: Block, now: float) -> float:
        """The least time between the end of a lease and the end of what is promised for its block. While nothing can be
        announced no refresh makes up for a clock here that is slower than others'."""
        if self._context.link_up and now > self._doubtful_until:
            return PROMISE_MARGIN_S
        return PROMISE_MARGIN_S + DRIFT * block.timeout_s

    def counts_on(self, index: int, lease_s: int, now: float) -> int:
        """The number of the durable multicast that a lease of ``lease_s`` seconds in block ``index`` counts on, if that
        may still wait for the disk: an answer that need not wait itself would leave before it. 0 if there is none."""
        if now >= self._waits_until or (last := self._last_promised.get(index)) is None:
            return 0
        until = now + lease_s + PROMISE_MARGIN_S
        return next((number for number, end in last[1] if end >= until), 0)

    def announce_all(self, now: float) -> None:
        """Announce every block of ours and restart the timer. Without any: say that this node is there, and may own
        some soon."""
        blocks = list(self._table.ours.values())
        if blocks:
            self._announce(blocks, now)
        elif self._context.link_up:
            self.say_here()
        self.refresh_at = now + (self._period_s(blocks, now) if blocks else self._here_period_s())
        self._quick_refreshes = max(0, self._quick_refreshes - 1)

    def announce(self, blocks: list[Block], now: float) -> None:
        """Announce some blocks of ours; the others' refresh is not put off by that."""
        self._announce(blocks, now)
        self.refresh_at = min(self.refresh_at, now + self._period_s(blocks, now))

    def _announce(self, blocks: list[Block], now: float) -> None:
        if not self._context.link_up or not blocks:
            return
        claims = []
        # What is said next must not leave before what waits for the disk, as a block may not be there yet.
        waits = now < self._waits_until
        if now > self._last_sent_at:
            if now >= self._waits_until:
                self._last_promised.clear()
            self._unconfirmed.clear()
            self._last_sent_at, self._waits_for_disk = now, False
        for block in blocks:
            block.timeout_s = timeout_s = self.timeout_s(block)
            is_unused = self._leases.is_unused(block.index)
            if block.expires_at <= now:
                self._quick_refreshes = LOST_REFRESHES_TOLERATED
            if not block.is_saved:
                waits = block.is_saved = True
                self._context.effects.append(SaveBlock(StoredBlock(block.index, now + timeout_s)))
            elif not is_unused:
                # What earlier announcements promised: this one may yet fail to leave. A restart resumes until then.
                self._context.effects.append(SaveBlock(StoredBlock(block.index, block.expires_at)))
            elif block.expires_at > now + timeout_s:
                self._context.effects.append(SaveBlock(StoredBlock(block.index, now + timeout_s)))
            if now <= self._doubtful_until and block.expires_at <= now + timeout_s:
                self._unconfirmed.append((block, now + timeout_s))
            elif block.expires_at < now + timeout_s or is_unused:  # a shorter one counts even in doubt
                self._last_promised.setdefault(block.index, (block, [(0, block.expires_at)]))
                self._table.set_lapse(block, now + timeout_s)
            claims.append((block.index, timeout_s))
        if waits:
            self._waits_for_disk, self._waits_until = True, now + SLOW_DISK_S
        self._send(claims, durable=waits)
        number = self._context.durable_multicasts if waits else 0
        for block in blocks:
            last = self._last_promised.get(block.index)
            if last is not None and last[1][-1][1] < block.expires_at:
                last[1].append((number, block.expires_at))

    def _send(self, claims: Sequence[tuple[int, int]], *, durable: bool = True) -> None:
        """Multicast (block index, timeout in s) pairs, in as many packets as they need. What changes an owner is
        ``durable``; a refresh is not, so that a disk that fails does not cost us blocks whose leases run."""
        context = self._context
        for start in range(0, len(claims), context.claims_per_packet):
            data = context.codec.update_claim(claims[start : start + context.claims_per_packet])
            context.multicast(data, "updateclaim", durable)

    def _period_s(self, blocks: Iterable[Block], now: float) -> float:
        """Time to the next refresh of ``blocks``, jittered: short enough that a receiver which misses the tolerated
        number in a row still holds every block, and every lease in it is still covered."""
        context = self._context
        empty_s = context.config.block_timeout_s
        shortest_s = self._full_spare_s() if context.has(_PROMISE) else empty_s
        if any(self._leases.is_unused(block.index) for block in blocks):
            shortest_s = min(shortest_s, self._unused_timeout_s())
        if self._quick_refreshes:
            shortest_s = min(shortest_s, empty_s)
        margin_s = min(PROMISE_MARGIN_S, empty_s / 10)
        period_s = (shortest_s - margin_s) / (LOST_REFRESHES_TOLERATED + 1)
        if self._peers.has_classic(now):
            period_s = min(period_s, empty_s / CLASSIC_NEWCOMER_FACTOR)
        return period_s * (1 - REFRESH_JITTER * context.rng.random())

    def _here_period_s(self) -> float:
        """Time until a node without blocks says again that it is there, jittered: others reckon with it for a promise
        after its last word."""
        return self.longest_silence_s * (1 - REFRESH_JITTER * self._context.rng.random())

    @property
    def longest_silence_s(self) -> float:
        """The longest time between two words of a node of ours without blocks."""
        return self._context.promise_s / (LOST_REFRESHES_TOLERATED + 1)

    def expected_period_s(self, timeout_s: int, peer: Peer) -> float:
        """The longest time to a peer's next refresh, whose shortest announcement was for ``timeout_s``."""
        if not peer.is_ours:
            return timeout_s / CLASSIC_NEWCOMER_FACTOR
        context = self._context
        covered_s = min(context.longest_lease_s, timeout_s / 2) if timeout_s > context.config.block_timeout_s else 0
        return (timeout_s - covered_s) / (LOST_REFRESHES_TOLERATED + 1)

    # --- answers --------------------------------------------------------------------------------

    def may_answer(self, block: Block, now: float) -> bool:
        """Whether an INQUIRE for ``block`` is to be answered: a few at once, then two a second."""
        block.answer_tokens = min(ANSWER_BURST, block.answer_tokens + (now - block.answered_at) * ANSWERS_PER_S)
        block.answered_at = now
        if block.answer_tokens < 1:
            self._context.count("swarm.replies_suppressed")
            return False
        block.answer_tokens -= 1
        return True

    def may_object(self, block: Block, now: float) -> bool:
        """Whether a weaker claim of ``block`` is to be answered. Each answer that changes nothing doubles the time to
        the next: the other node may be deaf on this link, and our refreshes say the same (a one-way link)."""
        since_s = now - block.objected_at
        if since_s < block.objection_wait_s:
            self._context.count("swarm.replies_suppressed")
            return False
        if since_s > 2 * block.objection_wait_s + self.full_timeout_s:
            block.objection_wait_s = 0.0  # a dispute of its own
        block.objected_at = now
        block.objection_wait_s = min(MAX_OBJECTION_AFTER_S, 2 * block.objection_wait_s or FIRST_OBJECTION_AFTER_S)
        return True

    # --- life -----------------------------------------------------------------------------------

    def link_up(self, now: float) -> None:
        """The server link works: announce what is ours, twice, because a link that just came up often loses what is
        sent first."""
        if self._table.ours:
            self.announce_twice(now)
        else:  # everybody was greeted just now
            self.refresh_at = now + self._here_period_s()

    def announce_twice(self, now: float) -> None:
        """Announce every block of ours now and again in a moment, because it matters that everybody hears it."""
        self.announce_all(now)
        self.refresh_at = min(self.refresh_at, now + REPEAT_S)

    def send_failed(self, now: float) -> float:
        """What was last announced did not leave: it counts as not promised, and is tried again, ever less often.
        From now on an announcement counts only once it is clear that it left. Returns in how many seconds sending is
        to be tried again."""
        within_s = SLOW_DISK_S if self._waits_for_disk else CONFIRMED_AFTER_S
        is_recent = now <= self._last_sent_at + within_s  # else another packet failed, not the announcement
        for block, promised in list(self._last_promised.values()) if is_recent else ():
            if self._table.ours.get(block.index) is block:
                self._table.set_lapse(block, promised[0][1])
        self._last_promised.clear()
        self._unconfirmed.clear()
        self._waits_until = -math.inf  # nothing that waits is overtaken: a disk that fails must not hold up refreshes
        if now > self._doubtful_until:
            self._failures = 0
        if now > self._failed_at:
            self._failures = min(self._failures + 1, 8)
        self._failed_at = now
        wait_s = min(MAX_RETRY_AFTER_FAILURE_S, RETRY_AFTER_FAILURE_S * 2.0 ** (self._failures - 1))
        self._doubtful_until = now + wait_s + CONFIRMED_AFTER_S  # a further failure would be known by then
        if self._table.ours:
            self.refresh_at = now + wait_s
        return wait_s

    @property
    def confirm_at(self) -> float:
        """When :meth:`confirm` may have something to do; infinity if never."""
        return self._last_sent_at + CONFIRMED_AFTER_S if self._unconfirmed else math.inf

    def confirm(self, now: float) -> bool:
        """If nothing was heard of a failure for a moment, what was announced after the last one has left. Whether more
        is promised now."""
        if not self._unconfirmed or now < self._last_sent_at + CONFIRMED_AFTER_S:
            return False
        self._failures, self._doubtful_until = 0, -math.inf
        for block, until in self._unconfirmed:
            if self._table.ours.get(block.index) is block and block.expires_at < until:
                self._table.set_lapse(block, until)
        self._unconfirmed.clear()
        return True

    def run(self, now: float) -> None:
        """Refresh all own blocks if that is due."""
        if now < self.refresh_at:
            return
        if self._context.link_up:
            self.announce_all(now)
        else:
            self.refresh_at = math.inf  # until the link is back

    # --- giving up ------------------------------------------------------------------------------

    def give_up(self, indices: Sequence[int]) -> None:
        """Tell the swarm that these blocks, no longer ours, are free."""
        if self._context.link_up:
            self._send([(index, 0) for index in indices])

    def announce_last(self, now: float) -> None:
        """The node stops and nobody took its blocks: promise each for as long as its longest lease runs, if that can be
        said, and for no less than before if peers may prolong leases on the strength of that. Nothing is kept on disk
        beyond what was promised before: who hears this is not known."""
        claims = []
        for block in self._table.ours.values():
            longest = max((lease.expires_at for lease in self._leases.in_block(block.index)), default=now)
            may_be_prolonged = self._context.has_stand_ins or block.unsure_until > now
            least_s = math.ceil(block.expires_at - now) if may_be_prolonged else 1
            timeout_s = min(MAX_TIMEOUT_S, max(1, least_s, math.ceil(longest - now + PROMISE_MARGIN_S)))
            promised_until = min(block.expires_at, now + timeout_s) if self._context.link_up else block.expires_at
            self._context.effects.append(SaveBlock(StoredBlock(block.index, promised_until)))
            claims.append((block.index, timeout_s))
        if self._context.link_up:
            self._send(claims)
