"""How many free addresses to keep ready: the spares, one for each client that waits, and what demand lets expect."""

from __future__ import annotations

import math

from .blocks import BlockTable
from .context import Context
from .leases import LeaseTable

MAX_CLAIMING = 255  # blocks inquired at a time for new clients: as many as one INQUIRE names
SECONDS_PER_MINUTE = 60.0
BATCH_S = 0.05  # between two beginnings: clients that come within it share the inquiries
LOOK_AGAIN_AFTER_S = 1.0  # for free blocks, when there were too few: many clients ask in vain meanwhile
SEEK_AGAIN_AFTER_S = 0.5  # the same, while those who hinder it are asked to speak, some at a time
MAX_LOOK_AGAIN_AFTER_S = 16.0  # when no client waits
FORGIVEN_AFTER_S = 600.0  # without a loss, and the next one counts as the first
MAX_WAIT_AFTER_LOSS_S = 300.0


class Supply:
    """Foresees how many addresses are needed while a block is being claimed, and rations the claiming.

    Expected is as many new clients as came in the last t: a block asked for now is there in t. The count fades with
    time, so that what a burst made us claim is given up again some time after it.
    """

    def __init__(self, context: Context, table: BlockTable, leases: LeaseTable) -> None:
        self._context = context
        self._table = table
        self._leases = leases
        self._taken = 0
        self._recent = 0.0
        self._at = -math.inf
        self._new_blocks = float(context.config.max_new_blocks_per_min)
        self._rationed_at = -math.inf
        self._losses = 0
        self._vain_tries = 0
        self._lost_at = -math.inf
        self._not_before = -math.inf
        self._spares_not_before = -math.inf
        self._retry_at = math.inf
        self.is_covered = False  # whether nothing was missing when last asked; time alone changes nothing about that
        # When it was so: clients that wait, free addresses, blocks inquired, spares to keep
        self._waiting_then = self._free_then = self._claiming_then = self._spares_then = 0

    def needed(self, waiting: int, now: float) -> int:
        """How many free addresses this node should have. ``waiting``: clients that wait for one."""
        taken = self._leases.offered_count + self._leases.leased_count + waiting
        period_s = float(self._context.config.tentative_timeout_s)
        if now > self._at:
            self._recent *= math.exp((self._at - now) / period_s)
            self._at = now
        self._recent += max(0, taken - self._taken)
        self._taken = taken
        most = MAX_CLAIMING * self._context.pool.block_size
        return self._context.config.spare_leases + waiting + min(most, int(self._recent))

    def is_settled(self, waiting: int) -> bool:
        """Whether nothing was missing when last asked, and nothing has changed about that: what is needed falls with
        time, and otherwise with what clients take."""
        leases = self._leases
        return (
            self.is_covered
            and leases.offered_count + leases.leased_count + waiting == self._taken
            and waiting == self._waiting_then
            and leases.free_count == self._free_then
            and len(self._table.claiming) == self._claiming_then
            and self._context.config.spare_leases == self._spares_then
        )

    def missing_blocks(self, waiting: int, now: float, *, seeks: bool = False) -> int:
        """How many blocks to begin claiming now. ``seeks``: the nodes that hinder it have just been asked to speak."""
        block_size = self._context.pool.block_size
        claiming = len(self._table.claiming)
        missing = self.needed(waiting, now) - self._leases.free_count - claiming * block_size
        self._retry_at = math.inf
        self.is_covered = missing <= 0
        if self.is_covered:
            self._waiting_then, self._free_then = waiting, self._leases.free_count
            self._claiming_then, self._spares_then = claiming, self._context.config.spare_leases
            return 0
        if now < self._next_try_at(waiting, seeks):
            self._retry_at = self._next_try_at(waiting, seeks)
            return 0
        wanted = min(-(-missing // block_size), MAX_CLAIMING - claiming)
        return max(0, min(wanted, self._ration(now)))

    def _ration(self, now: float) -> int:
        """How many more blocks this node may claim now (rule M9): one node's demand must not empty the pool at once."""
        most = float(self._context.config.max_new_blocks_per_min)
        self._new_blocks = min(most, self._new_blocks + (now - self._rationed_at) * most / SECONDS_PER_MINUTE)
        self._rationed_at = now
        if self._new_blocks < 1:
            self._context.count("swarm.claims_rationed")
            self._retry_at = now + SECONDS_PER_MINUTE / most
        return int(self._new_blocks)

    def note_begun(self, blocks: int, wanted: int, waiting: int, now: float, *, seeks: bool = False) -> None:
        """So many of the blocks that were wanted are being claimed. If too few are to be had, look again in a while,
        and soon as long as answers are awaited: those that are there would be in doubt again later."""
        self._new_blocks -= blocks
        wait_s = SEEK_AGAIN_AFTER_S if seeks else LOOK_AGAIN_AFTER_S
        self._not_before = max(self._not_before, now + (BATCH_S if blocks == wanted else wait_s))
        if blocks < wanted:
            if not waiting and now >= self._spares_not_before:
                self._put_off_spares(now, MAX_LOOK_AGAIN_AFTER_S)
            self._retry_at = self._next_try_at(waiting, seeks)

    def _next_try_at(self, waiting: int, seeks: bool) -> float:
        return self._not_before if waiting or seeks else max(self._not_before, self._spares_not_before)

    # --- in vain --------------------------------------------------------------------------------

    def note_doubted(self, now: float) -> None:
        """A block was given up because not everybody could be heard."""
        self._put_off_spares(now, MAX_WAIT_AFTER_LOSS_S)

    def _put_off_spares(self, now: float, most_s: float) -> None:
        """As long as no client waits for an address, the next try comes ever later: each may have the whole swarm
        speak."""
        wait_s = min(most_s, LOOK_AGAIN_AFTER_S * 2.0**self._vain_tries)
        self._spares_not_before = now + wait_s * (0.5 + self._context.rng.random())
        self._vain_tries = min(self._vain_tries + 1, 16)

    def note_owned(self) -> None:
        """A block was claimed: there are free ones, and nobody is missing."""
        self._vain_tries = 0

    # --- after a dispute ------------------------------------------------------------------------

    def note_lost(self, now: float) -> None:
        """Blocks of ours went to a stronger node. The first time new ones are claimed soon; when it happens again and
        again, because the link is bad, ever later."""
        period_s = self._context.config.tentative_timeout_s
        if now - self._lost_at > FORGIVEN_AFTER_S:
            self._losses = 0
        self._lost_at = now
        wait_s = min(MAX_WAIT_AFTER_LOSS_S, period_s * (2**self._losses - 1) + 1.0)
        self._not_before = now + wait_s * self._context.rng.random()
        self._losses = min(self._losses + 1, 16)

    @property
    def retry_at(self) -> float:
        """When more blocks, which are wanted, may be claimed; infinity if none are or nothing hinders."""
        return self._retry_at
