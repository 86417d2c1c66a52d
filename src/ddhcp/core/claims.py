"""Who owns which block: what the swarm says about it, and what this node does about that.

The rules are PROTOCOL's "Claiming" with the remedies of SAFETY that classic nodes do not notice: a claim we know of
is not weakened by an INQUIRE, inquiries are spread over t and an objection counts until the moment of owning, a block
with leases is promised for longer than its leases run, and nothing is served from a block whose promise ran out.

Inquiring is in ``inquiring.py``, announcing in ``announcing.py``, the questions of newcomers in ``sync.py``, the choice
of a block in ``choice.py``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from ..swarm import Claim, HeardClaim, Hearsay
from .announcing import MAX_TIMEOUT_S, PROMISE_MARGIN_S, Announcer
from .blocks import UNKNOWN_ADDRESS, ZERO_ID, Block, BlockEvent, BlockState, BlockTable
from .choice import BlockChoice
from .claim_memory import ClaimMemory
from .context import Context
from .effects import ForgetBlock, ForgetLease, RunHook
from .hearsay import CLAIMS_PER_MESSAGE, HearsayTeller
from .holds import Holds
from .inquiring import INQUIRIES, Inquirer
from .leases import Lease, LeaseTable
from .orphans import Orphans
from .peers import Peer, Peers
from .records import StoredBlock, StoredClaim
from .remedies import Remedy
from .reopening import Reopening
from .supply import Supply
from .sync import Sync

RETURNS_WITHIN_S = 30.0  # at least, and within a refresh: owners that return together were cut off together
DOUBT_PAUSE_S = 10.0  # between two questions who is there, as long as that hinders claiming

__all__ = ["INQUIRIES", "PROMISE_MARGIN_S", "Claims"]

# The share of T after which learning ends if only nodes of ours were heard, or none: they answered the newcomer's
# questions long before, and a classic node repeats its claims within this.
LEARNING_SHARE = 0.4
LEAST_LEARNING_S = 5.0  # however small T is: time for a question and its answers


class Claims:
    """The block table of one node and everything that changes it.

    ``waiting``: called to learn how many clients wait for an address. ``on_supply``: called when addresses became
    free to lease. ``on_lost``: called with (block index, its leases) when another node won a block of ours.
    ``give_leases``: called before that, to hand the leases in the block over to the node that won it.
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
        self._on_lost = on_lost
        self.give_leases: Callable[[Block, Peer, float], object] = lambda block, peer, now: None
        self.table = BlockTable(context.pool)
        self.serves_home = True  # whether there may be clients outside the subnets
        self.learning_until: float | None = math.inf if context.config.learning_phase else None
        self._learning_may_end_at = math.inf
        self._choice = BlockChoice(context, self.table, leases, peers, self._ask_who_is_there)
        self._announcer = Announcer(context, self.table, leases, peers)
        self._supply = Supply(context, self.table, leases)
        self._inquirer = Inquirer(
            context, self.table, leases, self._choice, self._supply, waiting=waiting, own=self._own_inquired
        )
        self._sync = Sync(context, peers)
        self._returned = (b"", -math.inf)  # the latest owner that was heard again after its claims had lapsed; when
        self._holds = Holds(leases)
        self.memory = ClaimMemory(context, self.table)
        self.orphans = Orphans(context, self.table, leases, peers, self._inquirer, self._holds)
        self.hearsay = HearsayTeller(
            context, self.table, leases, peers, self.orphans, self._on_heard_claim, self._prolong_as_told
        )  # fmt: skip
        self._reopening = Reopening(
            context, self.table, leases, peers, self._choice, self._holds, self.memory, self.hearsay,
            self.announce_twice,
        )  # fmt: skip

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
        return self._context.link_up or self.table.ours[index].expires_at >= now + lease_s + PROMISE_MARGIN_S

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

    def set_probe(self, probe: Callable[[bytes, tuple[int, ...]], None]) -> None:
        """How to ask one peer whether it is there, and whether it consents to claims of ours."""
        self._choice.probe = probe

    def set_say_here(self, say_here: Callable[[], None]) -> None:
        """How to tell everybody that this node is there while it owns nothing."""
        self._announcer.say_here = say_here

    def is_cautious(self, now: float) -> bool:
        """Whether a known node is missing, so that only this node's own share of the free blocks may be claimed."""
        return self._choice.is_cautious(now)

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
        self._own(ours, now)
        ours.is_saved = True  # so its announcement waits for no commit, which a renewal that needs none would pass
        ours.unsure_until = now + self._announcer.full_timeout_s
        self.table.set_lapse(ours, promised_until)

    def restore_claim(self, claim: StoredClaim, now: float) -> None:
        """Another node owned this block before the restart. If it is there it will say what holds now. If the block is
        ours it was adopted, and may be another's too."""
        self.memory.restored(claim)
        if claim.index in self.table.ours and claim.closed_until > now:
            self._peers.note_missing(claim.owner, claim.owner_id, claim.closed_until, now)
            self._holds.hold_adopted(claim.index, now)
            return
        is_known = claim.index >= self._context.pool.block_count or self.table.state(claim.index) is not BlockState.FREE
        if is_known or claim.closed_until <= now:
            self.memory.forgotten(claim.index, now)
            return
        closed_s = math.ceil(claim.closed_until - now)
        self._on_heard_claim(HeardClaim(claim.index, closed_s, claim.owner_id, claim.owner), now)

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
            elif self._may_be_inquirers(block, now):
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

    # --- from the swarm -------------------------------------------------------------------------

    def on_inquire(self, peer: Peer, indices: tuple[int, ...], now: float) -> None:
        """Another node wants blocks; none: it asks who owns what."""
        context = self._context
        if not indices:
            if context.has(Remedy.SYNC):
                self._sync.on_asked(now, is_newcomer=self.is_learning and not self.table.ours)
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
        self.ensure_supply(now)

    def _inquired(self, index: int, event: BlockEvent, peer: Peer, now: float) -> Block:
        before = self.table.state(index)
        if before is BlockState.CLAIMED and not self._context.has(Remedy.STICKY_CLAIMS):
            self.table.apply(index, BlockEvent.TIMED_OUT)
        elif self.orphans.is_to_be_adopted_at_once(index, peer, now):
            block = self.table.apply(index, BlockEvent.WE_ADOPT)
            self._own(block, now)
            return block
        block = self.table.apply(index, event)
        if block.state is BlockState.TENTATIVE:
            if before is BlockState.CLAIMING:
                self._context.count("swarm.claims_yielded")
                self.orphans.on_yielded(block, now)
            self.table.set_owner(block, ZERO_ID, UNKNOWN_ADDRESS)
            self.table.set_lapse(block, now + self._context.config.tentative_timeout_s)
            block.asked_by, block.asked_at = peer.address, now
            self._choice.note_inquired(index, now)
        return block

    def _may_be_inquirers(self, block: Block, now: float) -> bool:
        """Whether a block that lapses may belong to the node that inquired it. Orphans are kept closed anyhow."""
        if block.state is not BlockState.TENTATIVE or block.orphan_until > now:
            return False
        if not self._choice.may_be_anothers(block.asked_by, block.asked_at, now, seeks=self._waiting() > 0):
            return False
        until = block.asked_at + self._context.promise_s
        self.memory.may_be_anothers(StoredClaim(block.index, ZERO_ID, block.asked_by, until))
        return True

    def consent_to(self, peer: Peer, indices: tuple[int, ...], now: float) -> tuple[int, ...]:
        """A node of ours inquires blocks outside its share, of this node alone; returns those that it may own as far as
        this node is concerned, which keeps off them until it is heard again without claiming them."""
        if self._context.stopping:
            return ()
        self.on_inquire(peer, indices, now)
        asked = {index: block for index in indices if (block := self.table.get(index)) is not None}
        self.hearsay.on_refused([block for block in asked.values() if block.state is BlockState.CLAIMED], peer, now)
        return tuple(
            index
            for index, block in asked.items()
            if block.state is BlockState.TENTATIVE and block.asked_by == peer.address and block.orphan_until <= now
        )

    def on_consent(self, peer: Peer, indices: tuple[int, ...], now: float) -> None:
        """A node of ours consents to our owning blocks."""
        for index in indices:
            if (block := self.table.claiming.get(index)) is not None:
                block.consents = (block.consents or {}) | {peer.address: now}

    def on_update_claim(self, peer: Peer, claims: Sequence[Claim], now: float) -> None:
        """Another node owns, or gives up, blocks."""
        self._note_presence(peer, claims, now)
        self._contest(self._take(peer, claims, now), now)
        self.ensure_supply(now)

    def on_objection(self, peer: Peer, claims: Sequence[Claim], now: float) -> None:
        """A node tells this one alone that blocks of ours are its own: its announcements do not arrive, and ours may
        not arrive there. It is answered alone too, however often it was before: if nothing came back it would take them
        for its own alone, and lease from them."""
        contested = self._take(peer, claims, now)
        self._contest(contested, now)
        answered = [block for block in contested if self._announcer.may_answer(block, now)]
        if answered:
            self.hearsay.object_directly(answered, peer, now)
        self.ensure_supply(now)

    def on_hearsay(self, message: Hearsay, peer: Peer, now: float) -> None:
        """A node of ours tells of others' blocks."""
        self.hearsay.on_hearsay(message, peer, now)
        self.ensure_supply(now)

    def object_directly(self, index: int, peer: Peer, now: float) -> None:
        """A node of ours speaks as the owner of our block ``index``: it has not heard that it is ours."""
        block = self.table.ours.get(index)
        if block is not None and self._announcer.may_answer(block, now):
            self.hearsay.object_directly([block], peer, now)

    def prolong(self, index: int, peer: Peer, remaining_s: int, now: float) -> None:
        """A lease of ``remaining_s`` runs in a block of ``peer``: so its promise, which covers its leases, does not end
        sooner, even if the announcement that says so was lost."""
        block = self.table.get(index)
        if block is None or block.state is not BlockState.CLAIMED or block.owner_address != peer.address:
            return
        remaining_s = min(MAX_TIMEOUT_S, remaining_s)
        if now + remaining_s > block.expires_at:
            block.timeout_s = max(block.timeout_s, remaining_s)
            self.table.set_lapse(block, now + remaining_s)
            self._peers.note_claim(peer, now + remaining_s)
            self.memory.heard(block, now)

    def _take(self, peer: Peer, claims: Sequence[Claim], now: float) -> list[Block]:
        """Enter a node's claims; returns those of our blocks among them that stay ours."""
        context = self._context
        stronger = context.outranks_us(peer.node_id, peer.address, is_claim=True)
        event = BlockEvent.CLAIMED_BY_STRONGER if stronger else BlockEvent.CLAIMED_BY_WEAKER
        contested: list[Block] = []
        lost = len(self.table.ours)
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
        if len(self.table.ours) < lost:
            self._supply.note_lost(now)
        return contested

    def _contest(self, blocks: list[Block], now: float) -> None:
        """Announce blocks of ours that a weaker node claimed too, unless that was done in vain not long ago."""
        contested = [block for block in blocks if self._announcer.may_object(block, now)]
        if contested:
            self._context.count("swarm.disputes_won", len(contested))
            self._announcer.announce(contested, now)

    def _claimed(self, claim: Claim, event: BlockEvent, peer: Peer, now: float, *, is_hearsay: bool = False) -> Block:
        before = self.table.state(claim.index)
        block = self.table.apply(claim.index, event)
        if block.state is BlockState.OURS or block.state is BlockState.BLOCKED:
            return block
        if before is BlockState.OURS or before is BlockState.CLAIMING:
            self._lost(block, before)
        if self._leases.has_block(block.index):
            self.give_leases(block, peer, now)
            self._on_lost(block.index, self._forget(block))
        if before is BlockState.CLAIMED and block.owner_address != peer.address and not self._is_adoption(block, now):
            self._expect_more(now)
        self.orphans.on_claimed(block, now)
        self.table.set_owner(block, peer.node_id, peer.address)
        block.claim_count = 0
        block.timeout_s = claim.timeout_s
        block.is_hearsay = is_hearsay
        self.table.set_lapse(block, now + claim.timeout_s)
        self.memory.heard(block, now)
        return block

    def _is_adoption(self, block: Block, now: float) -> bool:
        """Whether the owner of a block has been silent, so that another node took it over, as it should; else both are
        at work, and a link that had parted has healed."""
        owner = self._peers.get(block.owner_address)
        return owner is not None and self._peers.is_missing(owner, now)

    def _on_heard_claim(self, heard: HeardClaim, now: float) -> None:
        """A peer tells of a block whose owner is silent: it is closed for that long, and for no longer."""
        closed_s = min(MAX_TIMEOUT_S, heard.closed_s)
        owner = self._peers.note_missing(heard.owner, heard.owner_id, now + closed_s, now)
        block = self._claimed(Claim(heard.index, closed_s), BlockEvent.CLAIMED_BY_STRONGER, owner, now, is_hearsay=True)
        block.timeout_s = MAX_TIMEOUT_S  # nothing is left to add when that time is over
        self._context.count("swarm.hearsay_taken")

    def _prolong_as_told(self, heard: HeardClaim, owner: Peer, now: float) -> None:
        """A peer heard the owner of a block, known here, promise it for longer."""
        block, until = self.table.known[heard.index], now + min(MAX_TIMEOUT_S, heard.closed_s)
        if until <= block.expires_at:
            return
        block.is_hearsay = True
        block.timeout_s = max(block.timeout_s, self._announcer.full_timeout_s)  # no quarantine follows
        block.refresh = None  # if the owner says the same again, that is first-hand
        self.table.set_lapse(block, until)
        self._peers.note_claim(owner, until)
        self.memory.heard(block, now)

    def _hold_contested(self, block: Block, now: float) -> None:
        """Another node thought that a block of ours was its own, and gave leases in it: renew those, but give no new
        ones before they have ended (S4). Whose address was leased here too is refused at its next renewal."""
        if self._context.has(Remedy.DISPUTES):
            self._holds.hold(block.index, now + self._context.longest_lease_s + PROMISE_MARGIN_S)

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
        """An owner whose claims had lapsed is heard again. If that is the second one within a refresh or so, a link has
        healed, and more may come; one alone was missed by chance, as happens all the time in a large swarm."""
        address, at = self._returned
        if address != peer.address and now - at < max(RETURNS_WITHIN_S, peer.expected_s):
            self._expect_more(now)
        self._returned = (peer.address, now)

    def _ask_who_is_there(self, now: float) -> None:
        self._sync.ask(now, pause_s=DOUBT_PAUSE_S)

    def _expect_more(self, now: float) -> None:
        if self._context.has(Remedy.SYNC) and self._context.link_up and not self._context.stopping:
            self._sync.ask(now)

    def _on_given_up(self, index: int, peer: Peer, now: float) -> None:
        block = self.table.get(index)
        if block is None:
            return
        is_anothers = block.state in (BlockState.CLAIMED, BlockState.ORPHAN) and block.owner_address != peer.address
        if is_anothers or (block.state is BlockState.TENTATIVE and block.orphan_until):
            return
        self.table.apply(index, BlockEvent.GIVEN_UP)
        self.orphans.forget_owner(index)
        self.memory.forgotten(index, now, is_free=True)
        if peer.address not in self.table.claims_of:
            peer.claimed_until = -math.inf  # it has said goodbye

    def _lost(self, block: Block, before: BlockState) -> None:
        """Another node's claim stands over ours."""
        self._context.count("swarm.blocks_lost" if before is BlockState.OURS else "swarm.claims_yielded")
        if before is BlockState.OURS:
            # While we stop it is the node that takes the block, whose claim outran its acknowledgement.
            level = logging.INFO if self._context.stopping else logging.WARNING
            self._context.log(level, "block-lost", block=block.index)

    def _forget(self, block: Block) -> list[Lease]:
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
            self._own(self.table.apply(block.index, BlockEvent.UNCONTESTED), now)
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
        self._own(block, now)
        block.unsure_until = now + self._announcer.full_timeout_s
        return True

    def _own(self, block: Block, now: float) -> None:
        former_id, former = block.owner_id, block.owner_address
        self.table.set_owner(block, self._context.node_id, self._context.address)
        block.timeout_s = 0
        block.expires_at = now  # what a former owner promised, or another node told of it, is no promise of ours
        block.empty_since = now
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
        self._forget(block)

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
