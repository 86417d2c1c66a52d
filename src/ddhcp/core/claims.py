"""The blocks of this node: which it claims, owns, announces and gives up, and from which it may lease.

The rules are PROTOCOL's "Claiming" with the remedies of SAFETY that classic nodes do not notice: a claim we know of
is not weakened by an INQUIRE, inquiries are spread over t and an objection counts until the moment of owning, a block
with leases is promised for longer than its leases run, and nothing is served from a block whose promise ran out.

What other nodes say about blocks is in ``heard_claims.py``, inquiring in ``inquiring.py``, announcing in
``announcing.py``, the questions of newcomers in ``sync.py``, the choice of a block in ``choice.py``,
who has to be heard before one is owned in ``consents.py``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from .announcing import Announcer
from .blocks import UNKNOWN_ADDRESS, Block, BlockEvent, BlockState, BlockTable
from .choice import BlockChoice
from .claim_memory import ClaimMemory
from .consents import Consents
from .context import Context
from .effects import ForgetBlock, ForgetLease, RunHook
from .heard_claims import HeardClaims, Parts
from .holds import Holds
from .inquiring import INQUIRIES, Inquirer
from .leases import Lease, LeaseTable
from .orphans import Orphans
from .own_share import OwnShare
from .peers import Peers
from .records import StoredBlock, StoredClaim
from .remedies import Remedy
from .reopening import Reopening
from .supply import Supply
from .sync import Sync

DOUBT_PAUSE_S = 10.0  # between two questions who is there, as long as that hinders claiming

__all__ = ["INQUIRIES", "Claims"]

# The share of T after which learning ends if only nodes of ours were heard, or none: they answered the newcomer's
# questions long before, and a classic node repeats its claims within this.
LEARNING_SHARE = 0.4
LEAST_LEARNING_S = 5.0  # however small T is: time for a question and its answers


class Claims:
    """The block table of one node and everything that changes it.

    ``waiting``: called to learn how many clients wait for an address. ``on_supply``: called when addresses became
    free to lease. ``on_lost``: called with (block index, its leases) when another node won a block of ours. ``heard``:
    takes what other nodes say.
    """

    def __init__(
        self,
        context: Context,
        leases: LeaseTable,
        peers: Peers,
        *,
        waiting: Callable[[], int],
        on_supply: Callable[[float], None],
        on_lost: Callable[[int, list[Lease]], None],
    ) -> None:
        self._context = context
        self._leases = leases
        self._peers = peers
        self._waiting = waiting
        self._on_supply = on_supply
        self.table = BlockTable(context.pool)
        self.serves_home = True  # whether there may be clients outside the subnets
        self.learning_until: float | None = math.inf if context.config.learning_phase else None
        self._learning_may_end_at = math.inf
        share = OwnShare(context, peers)
        self._consents = Consents(context, peers, share, self._ask_who_is_there)
        self._choice = BlockChoice(context, self.table, leases, share, self._consents)
        self._announcer = Announcer(context, self.table, leases, peers)
        self._supply = Supply(context, self.table, leases)
        self._inquirer = Inquirer(
            context, self.table, leases, self._choice, self._consents, self._supply,
            waiting=waiting, own=self._own_inquired,
        )  # fmt: skip
        self._sync = Sync(context, peers)
        self._holds = Holds(leases)
        self.memory = ClaimMemory(context, self.table)
        self.orphans = Orphans(context, self.table, leases, peers, self._inquirer, self._holds)
        parts = Parts(
            self.table, leases, peers, self._consents, self._announcer, self._inquirer, self._supply, self._sync,
            self._holds, self.memory, self.orphans,
        )  # fmt: skip
        self.heard = HeardClaims(context, parts, self, waiting=waiting, on_lost=on_lost)
        self.hearsay = self.heard.hearsay
        self._reopening = Reopening(parts, self.hearsay, self.announce_twice)

    # --- questions ------------------------------------------------------------------------------

    def is_serving(self, index: int, now: float) -> bool:
        """Whether this node may grant leases in block ``index`` now: it owns it and its promise still runs."""
        block = self.table.ours.get(index)
        return block is not None and (block.expires_at > now or not self._context.has(Remedy.FENCING))

    def may_promise(self, index: int, lease_s: int, now: float) -> bool:
        """Whether :meth:`promise` could grant a lease of ``lease_s`` seconds in block ``index``: while the link is away
        nothing can be announced, so only what was promised before counts."""
        if not self.is_serving(index, now):
            return False
        if self._context.link_up:
            return True
        block = self.table.ours[index]
        return block.expires_at >= now + lease_s + self._announcer.margin_s(block, now)

    def is_sure(self, index: int, now: float) -> bool:
        """Whether what peers know of block ``index``, ours, is only what this node told them since it started."""
        block = self.table.ours.get(index)
        return block is None or block.unsure_until <= now

    def is_renewable(self, address: int) -> bool:
        """Whether ``address`` is nobody's as far as we know, but lies in a held block of ours: whoever says that it
        holds the address is believed, because another node may have leased it."""
        index = self._context.pool.index_of(address)
        return self._holds.is_believing(index) and index in self.table.ours and self._leases.is_unbound(address)

    def adopt_for_client(self, index: int, client: bytes, now: float, then: Callable[[float], None]) -> bool:
        """A client here wants an address in block ``index`` that it had: if its owner fell silent and cannot be stood
        in for, call ``then`` with the instant at which the block has a new owner, here or elsewhere, or is not going
        to. False if that is not so."""
        return self.orphans.adopt_for_client(index, client, now, then)

    def owner_address(self, index: int) -> bytes | None:
        """The server-link address of the other node that owns block ``index``, or None."""
        block = self.table.get(index)
        if block is None or block.state is not BlockState.CLAIMED or block.owner_address == UNKNOWN_ADDRESS:
            return None
        return block.owner_address

    def set_probe(self, probe: Callable[[bytes, tuple[int, ...], bool], None]) -> None:
        """How to ask one peer whether it is there, and whether it consents to claims of ours, or agrees to them."""
        self._consents.probe = probe

    def set_say_here(self, say_here: Callable[[], None]) -> None:
        """How to tell everybody that this node is there while it owns nothing."""
        self._announcer.say_here = say_here

    def is_cautious(self, now: float) -> bool:
        """Whether a known node is missing, so that only this node's own share of the free blocks may be claimed."""
        return self._consents.is_cautious(now)

    @property
    def longest_promise_s(self) -> int:
        """For how long a block with leases is announced."""
        return self._announcer.full_timeout_s

    def may_have_leases(self, block: Block) -> bool:
        """Whether its owner, if it is of our kind, announced that there are leases in a block."""
        return self._announcer.may_have_leases(block.timeout_s)

    @property
    def held_count(self) -> int:
        """How many blocks of ours are held."""
        return len(self._holds)

    @property
    def is_asking(self) -> bool:
        """Whether the node has yet to hear who owns what, having just come up."""
        return self._sync.is_asking

    @property
    def is_learning(self) -> bool:
        """Whether the node still only listens."""
        return self.learning_until is not None

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        at = min(self._announcer.refresh_at, self._announcer.confirm_at)
        at = min(at, self._reopening.deadline())
        at = min(at, self.memory.deadline())
        at = min(at, self.table.next_lapse_at)
        if self._context.link_up:
            at = min(at, self._inquirer.deadline())
            at = min(at, self._sync.deadline())
            at = min(at, self.orphans.deadline())
            at = min(at, self._supply.retry_at)
        if self.learning_until is not None:
            at = min(at, self.learning_until)
            at = min(at, self._learning_may_end_at)
        return at

    # --- life -----------------------------------------------------------------------------------

    def resume(self, block: StoredBlock, now: float) -> bool:
        """Take a block from the store as ours again, if its promise still runs; nothing is announced yet."""
        if block.promised_until <= now or self.table.state(block.index) is not BlockState.FREE:
            return False
        self._resume(block.index, block.promised_until, now)
        return True

    def resume_lapsed(self, index: int, now: float) -> bool:
        """Take a block from the store whose promise ran out, as far as is known here, but for whose clients addresses
        are still kept: they are remembered while it is inquired anew, as after a promise that ran out unheard. Another
        node may have adopted it."""
        if self.table.state(index) is not BlockState.FREE:
            return False
        self._resume(index, now, now)
        self._holds.hold_adopted(index, now)
        return True

    def _resume(self, index: int, promised_until: float, now: float) -> None:
        ours = self.table.apply(index, BlockEvent.WE_RESUME)
        self.own(ours, now)
        ours.is_resumed = True
        ours.is_saved = True  # so its announcement waits for no commit, which a renewal that needs none would pass
        ours.unsure_until = now + self._announcer.full_timeout_s
        self.table.set_lapse(ours, promised_until)

    def link_up(self, now: float) -> None:
        """The server link works: announce what is ours, ask what is others', listen before claiming more."""
        if self.learning_until == math.inf:
            self.learning_until = now + self._context.config.block_timeout_s
            if self._context.has(Remedy.SYNC):
                may_end_after_s = max(LEAST_LEARNING_S, LEARNING_SHARE * self._context.config.block_timeout_s)
                self._learning_may_end_at = now + may_end_after_s
        for block in self.table.ours.values():  # this node may have another address since
            self.table.set_owner(block, self._context.node_id, self._context.address)
        self._inquirer.restart(now)
        self._announcer.link_up(now)
        if self.table.ours:
            self._on_supply(now)  # what could not be promised while the link was away can be again
        if self._context.has(Remedy.SYNC):
            self._sync.restart(now)
        self.ensure_supply(now)
        self._inquirer.run(now)

    def send_failed(self, now: float) -> None:
        """The latest multicast did not leave: neither a promise nor an inquiry was heard."""
        self._inquirer.put_off(now, self._announcer.send_failed(now))

    def next_change_at(self) -> float:
        """A lower bound of when :meth:`catch_up` may have something to do; infinity if never."""
        return min(self.table.next_lapse_at, self._announcer.confirm_at)

    def catch_up(self, now: float) -> None:
        """End what ran out before ``now``. To be called before anything is decided: after a pause there is much."""
        is_more_promised = self._announcer.confirm(now)
        while (block := self.table.pop_lapsed(now)) is not None:
            if block.state is BlockState.OURS:
                self._fence(block, now)
            elif self.heard.may_be_inquirers(block, now):
                self.table.set_lapse(block, now + self._context.config.tentative_timeout_s)
            else:
                self.orphans.on_lapsed(block, now)
                if block.state is BlockState.FREE:
                    self.memory.forgotten(block.index, now)
        if is_more_promised:
            self._on_supply(now)

    def run(self, now: float) -> None:
        """Do what has fallen due."""
        if self.learning_until is not None and now >= self._learning_may_end_at:
            self._learning_may_end_at = math.inf
            if self._peers.are_all_ours():
                self.learning_until = now
        if self.learning_until is not None and now >= self.learning_until:
            self.learning_until = None
            self._learning_may_end_at = math.inf
            self._context.effects.append(RunHook(("endlearning",)))
            self._context.log(logging.INFO, "learning-ended", known_blocks=len(self.table.known))
        self.catch_up(now)
        if self._reopening.run(now, is_urgent=self._waiting() > 0):
            self._on_supply(now)
        self.memory.run(now)
        self.orphans.run(now)
        if self._context.link_up:
            self._inquirer.run(now)
            self._sync.run(now)
            if self._sync.is_answer_due(now):
                self.announce_all(now)
        if now >= self._announcer.refresh_at:
            if self._context.link_up:
                self._give_up_needless(now)
                self._sync.told(now)
            self._announcer.run(now)
        self.ensure_supply(now)

    def _ask_who_is_there(self, now: float) -> bool:
        self._sync.ask(now, askings=1, pause_s=DOUBT_PAUSE_S)
        return self._sync.is_heard_from(now)

    def forget(self, block: Block) -> list[Lease]:
        """Forget, here and in the store, that a block was ours; returns the leases it had."""
        leases = self._leases.drop_block(block.index)
        self._holds.forget(block.index)
        self._choice.let_go(block.index)
        block.is_saved = False
        self._context.effects.append(ForgetBlock(block.index))
        self._context.effects.extend(ForgetLease(lease.address) for lease in leases)
        return leases

    # --- owning ---------------------------------------------------------------------------------

    def ensure_supply(self, now: float) -> None:
        """Begin claiming when the free leases do not cover the spares and the waiting clients."""
        if self._minds_supply():
            self._inquirer.ensure_supply(now)

    def is_supplied(self) -> bool:
        """Whether :meth:`ensure_supply`, just called, has nothing to do until something else happens."""
        return self._supply.is_covered or not self._minds_supply()

    def _minds_supply(self) -> bool:
        return self._may_claim() and self._context.config.serves_clients and (self.serves_home or self._waiting() > 0)

    def want(self, index: int, now: float) -> None:
        """Begin claiming block ``index``, which a client needs, if it is free."""
        if self._may_claim() and self.table.state(index) is BlockState.FREE:
            self._inquirer.inquire([index], now)

    def want_some(self, first: int, last: int, missing: int, now: float) -> None:
        """Begin claiming blocks from ``first`` to ``last`` (a subnet's) until ``missing`` addresses are to come."""
        if self._may_claim():
            self._inquirer.supply_between(first, last, missing, now)

    def _may_claim(self) -> bool:
        context = self._context
        return context.link_up and not context.stopping and self.learning_until is None

    def _own_inquired(self, blocks: list[Block], now: float) -> None:
        """Nobody objected to these."""
        self._supply.note_owned()
        for block in blocks:
            self.own(self.table.apply(block.index, BlockEvent.UNCONTESTED), now)
        self._context.log(logging.INFO, "blocks-claimed", blocks=[block.index for block in blocks])
        self._announcer.announce(blocks, now)
        for block in blocks:
            self.hearsay.tell_interested(block, now)
            self.orphans.serve_waiting(block.index, now)
        self._on_supply(now)

    def take_over(self, index: int, now: float) -> bool:
        """Own a block that its owner hands to us; the caller adds its leases and then announces it."""
        if self.table.state(index) is BlockState.BLOCKED:
            return False
        block = self.table.apply(index, BlockEvent.WE_TAKE_OVER)
        self.orphans.on_claimed(block, now)  # the giver tells all its leases
        self.own(block, now)
        block.unsure_until = now + self._announcer.full_timeout_s
        return True

    def own(self, block: Block, now: float) -> None:
        """A block has become ours, whether it was inquired, adopted, handed over or resumed."""
        former_id, former = block.owner_id, block.owner_address
        self.table.set_owner(block, self._context.node_id, self._context.address)
        block.timeout_s = 0
        block.expires_at = now  # what a former owner promised, or another node told of it, is no promise of ours
        block.empty_since = now
        block.is_resumed = False
        block.consents = None
        self.memory.forgotten(block.index, now)
        self._leases.resume_block(block.index)
        if block.index in self._holds:
            self._leases.suspend_block(block.index)
        self._choice.own(block.index)
        self.orphans.on_owned(block, now)
        if self._holds.adopted_at(block.index) is not None:
            until = now + self._context.promise_s
            self.memory.may_be_anothers(StoredClaim(block.index, former_id, former, until))

    # --- announcing -----------------------------------------------------------------------------

    def timeout_s(self, block: Block) -> int:
        """For how long a block of ours is announced."""
        return self._announcer.timeout_s(block)

    def promise(self, index: int, lease_s: int, now: float) -> int:
        """How long a lease in block ``index`` (ours, and with the lease already entered) may run, in seconds, at most
        ``lease_s``. Announces the block first if what is promised so far does not cover it."""
        return self._announcer.promise(self.table.ours[index], lease_s, now)

    def counts_on(self, index: int, lease_s: int, now: float) -> int:
        """The number of the durable multicast that a lease of ``lease_s`` seconds in block ``index`` counts on, if that
        may not have left, as it waits for the disk; 0 if there is none."""
        return self._announcer.counts_on(index, lease_s, now)

    def announce_all(self, now: float) -> None:
        """Announce every block of ours and restart the refresh timer."""
        self._announcer.announce_all(now)
        self._sync.told(now)

    def announce_twice(self, now: float) -> None:
        """The same, and once more in a moment, because every node should hear it."""
        self._announcer.announce_twice(now)
        self._sync.told(now)

    def announce_last(self, now: float) -> None:
        """The node stops: promise each block that nobody took for as long as its longest lease runs."""
        if self.table.ours:
            self._announcer.announce_last(now)
        self.memory.save_all()

    # --- giving up ------------------------------------------------------------------------------

    def _fence(self, block: Block, now: float) -> None:
        """Stop serving from a block whose promise ran out unheard (the link was down, or we slept): others may have
        taken it. Its leases are kept, and it is inquired anew (SAFETY S8, S13)."""
        if not self._context.has(Remedy.FENCING):
            self.table.set_lapse(block, now + self._announcer.timeout_s(block))
            return
        self.table.apply(block.index, BlockEvent.TIMED_OUT)
        self._leases.suspend_block(block.index)
        self._choice.let_go(block.index)
        self._inquirer.begin(block, now)
        self._context.count("swarm.blocks_fenced")
        self._context.log(logging.WARNING, "promise-lapsed", block=block.index)

    def _give_up_needless(self, now: float) -> None:
        """Give up blocks that no client needed for the needless timeout, latest claimed first, keeping the spares."""
        config = self._context.config
        keep = self._supply.needed(self._waiting(), now)
        given_up: list[int] = []
        for block in reversed(list(self.table.ours.values())):
            if block.index in self._holds or not self._leases.is_unused(block.index):
                block.empty_since = now
            elif now - block.empty_since >= config.needless_timeout_s and self._leases.free_beside(block.index) >= keep:
                given_up.append(block.index)
                self._drop(block)
        self._tell_given_up(given_up)

    def _tell_given_up(self, indices: list[int]) -> None:
        """Tell the swarm that these blocks (already dropped) are free."""
        if indices:
            self._announcer.give_up(indices)
            self._context.log(logging.INFO, "blocks-given-up", blocks=indices)

    def _drop(self, block: Block) -> None:
        """A block of ours is free again, its history forgotten."""
        self.table.apply(block.index, BlockEvent.WE_GIVE_UP)
        self.forget(block)

    def hand_to(self, block: Block, node_id: bytes, address: bytes, timeout_s: int, now: float) -> None:
        """A block of ours is now the node's at ``address``, which has confirmed it."""
        self._drop(block)
        theirs = self.table.apply(block.index, BlockEvent.CLAIMED_BY_STRONGER)
        self.table.set_owner(theirs, node_id, address)
        theirs.timeout_s = timeout_s
        self.table.set_lapse(theirs, now + timeout_s)
        self.memory.heard(theirs, now)

    def abandon(self, now: float) -> None:
        """Stop inquiring and give up the blocks that have no leases (the node stops)."""
        for block in list(self.table.claiming.values()):
            self.table.apply(block.index, BlockEvent.WE_GIVE_UP)
        unused = [block for block in self.table.ours.values() if self._leases.is_unused(block.index)]
        for block in unused:
            self._drop(block)
        self._tell_given_up([block.index for block in unused])
