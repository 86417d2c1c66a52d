"""Which free block to claim.

Own former blocks first, because their clients are remembered; then blocks that nobody is known ever to have owned; then
those free for longest. Among the never-owned, each node has a share of its own (``shares.py``): nodes that start
together, and the sides of a parted link, hardly ever want the same block.

While a known node is missing without goodbye, or has not answered the question that is asked before anything but the
own share is claimed, it may be at work on the far side of a parted link. So only blocks from this node's own share are
claimed, former or not, until what the missing one promised has run out. And a link may part just when a block is being
inquired: so of the rest a block is only owned when all who own blocks were heard since its first inquiry, to which
they would have objected. Then no block is claimed on both sides. The price is that some clients wait when the pool is
nearly full, unless the configuration prefers availability.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from itertools import islice

from .blocks import BlockState, BlockTable
from .context import Context
from .leases import LeaseTable
from .peers import Peer, Peers
from .remedies import Remedy
from .shares import Key, Shares, score

CANDIDATES = 16  # free blocks looked at for each block wanted, at least
MAX_CANDIDATES = 4096  # and no more than this, so that a choice costs milliseconds in the largest pool
CANDIDATES_PER_NODE = 3  # of a subnet, for each block wanted and each known node: see TRIES_PER_NODE
MAX_FORMER = 1024  # blocks remembered as once ours

LOOK_AGAIN_S = 5.0  # who is reckoned with is looked at again after this, if nobody new was heard
FRESH_S = 5.0  # whoever of ours was heard within this is there
MAX_PROBED = 32  # nodes that are asked each by itself whether they are there; more are asked together
PROBE_PAUSE_S = 0.5  # at least, between two such rounds


class BlockChoice:
    """Chooses free blocks to claim. ``ask(now)``: called to learn who is there, before others' shares are claimed;
    ``probe(address)``, which the owner sets: to learn whether one node is."""

    def __init__(
        self, context: Context, table: BlockTable, leases: LeaseTable, peers: Peers, ask: Callable[[float], None]
    ) -> None:
        self._context = context
        self._ask = ask
        self._table = table
        self._leases = leases
        self._peers = peers
        self._shares = Shares(context.pool.block_count)
        self._others: list[Key] = []
        self._others_as_of = (-math.inf, -1)
        self._former: dict[int, None] = {}
        self.probe: Callable[[bytes], None] = lambda address: None
        self._probed_at = -math.inf
        self._sought_at = -math.inf

    def remember(self, index: int) -> None:
        """Block ``index`` is, or once was, ours."""
        self._former.pop(index, None)
        self._former[index] = None
        if len(self._former) > MAX_FORMER:
            del self._former[next(iter(self._former))]

    def choose_between(self, first: int, last: int, wanted: int, now: float) -> list[int]:
        """Up to ``wanted`` FREE blocks from ``first`` to ``last``, of those that a few draws hit."""
        rng, count = self._context.rng, last - first + 1
        self._look_who_is_there(now)
        tries = min(MAX_CANDIDATES, max(CANDIDATES, CANDIDATES_PER_NODE * len(self._others)) * wanted)
        indices = range(first, last + 1) if count <= tries else {rng.randint(first, last) for _ in range(tries)}
        is_useful = self._leases.plan.is_useful
        free = [index for index in indices if self._table.state(index) is BlockState.FREE and is_useful(index)]
        free.sort(key=self._score)
        chosen = self._take(free, wanted, only_share=True)
        rest = [index for index in free if index not in chosen]
        if rest and len(chosen) < wanted and not self.is_cautious(now) and not self._is_in_doubt(now):
            chosen += rest[: wanted - len(chosen)]
        return chosen

    def _score(self, index: int) -> bytes:
        return score(index, self._context.node_id, self._context.address)

    def _look_who_is_there(self, now: float) -> None:
        """Find out which other nodes may claim blocks. That changes when one is heard that was not reckoned with, and
        now and then when one has long been silent."""
        looked_at, changes = self._others_as_of
        if changes != self._peers.changes or not 0.0 <= now - looked_at < LOOK_AGAIN_S:
            peers, is_one = self._peers, self._peers.is_to_be_reckoned_with
            others = [(peer.node_id, peer.address) for peer in peers if is_one(peer, now)]
            if others != self._others:
                self._others = others
            self._others_as_of = (now, peers.changes)
        self._shares.set_nodes((self._context.node_id, self._context.address), self._others)

    def is_cautious(self, now: float) -> bool:
        """Whether a known node is missing, so that only this node's own share of the free blocks may be claimed."""
        context = self._context
        if context.config.prefer_availability or not context.has(Remedy.MISSING_PEERS):
            return False
        return self._peers.is_any_missing(now)

    def _is_in_doubt(self, now: float) -> bool:
        """Whether a node of ours that owns blocks may be cut off since a moment ago. If so, all are asked."""
        unheard = self._unheard_since(now - FRESH_S, now) if self._minds_doubt() else []
        self._seek(unheard, now)
        return bool(unheard)

    def _minds_doubt(self) -> bool:
        context = self._context
        return context.has(Remedy.SYNC) and context.has(Remedy.MISSING_PEERS) and not context.config.prefer_availability

    def _unheard_since(self, since: float, now: float) -> list[Peer]:
        """The nodes of ours that own blocks and have not spoken since then."""
        return [peer for peer in self._peers if peer.is_ours and peer.claimed_until > now and peer.heard_at < since]

    def _seek(self, unheard: list[Peer], now: float) -> None:
        """Have these nodes speak: all together are asked by one multicast, which some do not hear, and whose answers
        get lost; the few that are left each by a message of its own."""
        if unheard and not self.is_seeking(now):
            self._sought_at = now
        if len(unheard) > MAX_PROBED:
            self._ask(now)
        elif now - self._probed_at >= PROBE_PAUSE_S:
            self._probed_at = now
            for peer in unheard:
                self.probe(peer.address)

    def is_seeking(self, now: float) -> bool:
        """Whether nodes were asked to speak so lately that whoever answers still counts as there: it is worth choosing
        again soon."""
        return 0.0 <= now - self._sought_at < FRESH_S

    def ask_about(self, indices: list[int], now: float) -> None:
        """These blocks are to be inquired: see to it that :meth:`may_own` will know who is there."""
        if self._minds_doubt() and indices:
            self._look_who_is_there(now)
            if not all(map(self._shares.is_ours, indices)):
                self._seek(self._unheard_since(now, now), now)

    def may_own(self, index: int, inquired_at: float, now: float) -> bool:
        """Whether nobody can be claiming, out of our hearing, a block that was first inquired then: it is of this
        node's share, or everybody was heard since."""
        unheard = self._unheard_since(inquired_at, now) if self._minds_doubt() else []
        if not unheard:
            return True
        self._look_who_is_there(now)
        if self._shares.is_ours(index):
            return True
        self._seek(unheard, now)
        return False

    def choose(self, wanted: int, now: float) -> list[int]:
        """Up to ``wanted`` FREE blocks that belong to no subnet, the best first."""
        self._look_who_is_there(now)
        is_cautious = self.is_cautious(now)
        if not self._context.has(Remedy.BLOCK_CHOICE):
            return self._take(self._same_for_all(), wanted, only_share=is_cautious or self._is_in_doubt(now))
        chosen = self._take(filter(self._is_home, reversed(self._former)), wanted, only_share=is_cautious)
        chosen += self._shares.take(wanted - len(chosen), self._is_new)
        if len(chosen) == wanted:
            return chosen
        rest, freed = self._rest(wanted - len(chosen), chosen)
        if rest or freed:  # else there is nothing to ask for
            is_cautious = is_cautious or self._is_in_doubt(now)
        if not is_cautious:
            chosen += rest[: wanted - len(chosen)]
        return chosen + self._take(freed, wanted - len(chosen), only_share=is_cautious)

    def _is_home(self, index: int) -> bool:
        return self._table.state(index) is BlockState.FREE and not self._leases.plan.zone_of(index)

    def _is_new(self, index: int) -> bool:
        """Whether a block is free and was, as far as is known, never owned."""
        return self._is_home(index) and index not in self._table.freed and index not in self._former

    def _rest(self, wanted: int, chosen: list[int]) -> tuple[list[int], list[int]]:
        """Free blocks beyond those chosen that never were ours: the never-owned by this node's score, others by how
        long they are free."""
        table, number = self._table, min(MAX_CANDIDATES, CANDIDATES * wanted + len(chosen))
        sample = table.free.sample(self._context.rng, number)
        taken = set(chosen)
        rest = sorted((i for i in sample if i not in taken and self._is_new(i)), key=self._score)
        freed = [i for i in islice(table.freed, MAX_CANDIDATES) if i not in self._former and self._is_home(i)]
        return rest, freed

    def _take(self, candidates: Iterable[int], wanted: int, *, only_share: bool) -> list[int]:
        taken: list[int] = []
        if wanted > 0:
            for index in candidates:
                if not only_share or self._shares.is_ours(index):
                    taken.append(index)
                    if len(taken) == wanted:
                        break
        return taken

    def _same_for_all(self) -> list[int]:
        """What classic nodes do that were started within one second: all draw the same blocks."""
        return self._table.free.sample(random.Random(0), MAX_CANDIDATES)
