"""Whether others may own a block out of this node's hearing: who has to be heard, or to consent, before it is claimed.

While a known node is missing without goodbye, or has not answered the question that is asked before anything but the
own share is claimed, it may be at work on the far side of a parted link. So only blocks from this node's own share are
claimed, former or not, until what the missing one promised has run out. And a link may part just when a block is being
inquired, or carry one direction only: so of the rest a block is only owned when all who own blocks consented to that by
name, and who consented keeps off the block until it hears what came of it. Then no block is claimed on both sides. The
price is that some clients wait when the pool is nearly full, unless the configuration prefers availability.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..swarm import CAN_CONSENT
from .blocks import Block
from .context import Context
from .own_share import OwnShare
from .peers import Peer, Peers
from .remedies import Remedy

FRESH_S = 15.0  # who was heard within this is there: time to ask all, and those again whose answers were lost
CONSENT_HOLDS = 0.9  # times t: so long a consent counts,
ASKED_AGAIN = 0.45  # and when this has passed who gave it is asked once more
OWNED_AFTER = 1.5  # times t, after an inquiry was heard: the block is owned by then, if it is to be
MAX_INQUIRED = 1024  # blocks remembered as inquired by others
MAX_ASKED = 255  # blocks that one HELLO names
MAX_PROBED = 32  # nodes that are asked, or told, something each by itself; more are first asked together,
PROBED_AT_ONCE = 64  # and of those that were not heard then so many at a time. Consent is asked of so many, or
BATCHES = 4  # of one in so many if that is more: all are to be asked within the time that the first one's holds
PROBE_PAUSE_S = 0.5  # at least, between two such rounds; twice as long after each in which
LEAST_ANSWERED = 8  # were not answered on balance: a part of the swarm is out of reach


class Consents:
    """Knows who would have to speak before a block is owned, and has them speak.

    ``ask(now)``: called to have all speak; whether answers are to be expected. ``probe(address, blocks, are_owned)``,
    which the owner sets: to learn whether one node is there, and consents to our claiming these, or agrees that they
    are ours.
    """

    def __init__(self, context: Context, peers: Peers, share: OwnShare, ask: Callable[[float], bool]) -> None:
        self._context = context
        self._peers = peers
        self._share = share
        self._ask = ask
        self.probe: Callable[[bytes, tuple[int, ...], bool], None] = lambda address, blocks, are_owned: None
        self._inquired: dict[int, float] = {}  # blocks that others inquired, and when last
        self._probed_at = -math.inf
        self._pause_s = PROBE_PAUSE_S  # before the next of many that were not heard are asked each by itself,
        self._unheard_before = math.inf  # and how many had not been heard when some were last
        self._asked_at = -math.inf
        self._owners: tuple[float, list[Peer]] = (-math.inf, [])
        self._sought_at = -math.inf

    # --- who is there -------------------------------------------------------------------------------

    def is_cautious(self, now: float) -> bool:
        """Whether a known node is missing, so that only this node's own share of the free blocks may be claimed."""
        return self._context.is_careful and self._peers.is_any_missing(now)

    def is_in_doubt(self, now: float) -> bool:
        """Whether a node of ours that owns blocks may be cut off since a moment ago. If so, all are asked."""
        unheard = self._unheard_since(now - FRESH_S, now) if self._minds_doubt() else []
        self._seek(unheard, now)
        return bool(unheard)

    def is_seeking(self, now: float) -> bool:
        """Whether nodes were asked to speak so lately that whoever answers still counts as there: it is worth choosing
        again soon."""
        return 0.0 <= now - self._sought_at < FRESH_S

    def _minds_doubt(self) -> bool:
        return self._context.has(Remedy.SYNC) and self._context.is_careful

    def _unheard_since(self, since: float, now: float) -> list[Peer]:
        """The nodes of ours, or of unknown kind, that may be at work with blocks of their own, or claim some, and have
        not spoken since then."""
        promise_s = self._context.promise_s
        unheard = (peer for peer in self._peers if peer.heard_at < since and Peers.may_be_ours(peer, now))
        return [peer for peer in unheard if Peers.at_work_until(peer, promise_s) > now]

    def _seek(self, unheard: list[Peer], now: float) -> None:
        """Have these nodes speak: all together are asked by one multicast, which some do not hear, and whose answers
        get lost; those that are left each by a message of its own, some at a time."""
        if unheard and not self.is_seeking(now):
            self._sought_at = now
        pause_s = PROBE_PAUSE_S
        if len(unheard) > MAX_PROBED:
            if self._ask(now):
                self._unheard_before, self._pause_s = math.inf, PROBE_PAUSE_S
                return
            pause_s = self._pause_s
        if now - self._probed_at >= pause_s:
            is_vain = len(unheard) > self._unheard_before - LEAST_ANSWERED
            self._pause_s = 2 * pause_s if is_vain else PROBE_PAUSE_S
            self._unheard_before = float(len(unheard))
            self._probed_at = now
            for peer in unheard[:PROBED_AT_ONCE]:
                self.probe(peer.address, (), False)

    # --- who consents -------------------------------------------------------------------------------

    def note_inquired(self, index: int, now: float) -> None:
        """Another node inquires block ``index``, and may come to own it without our hearing of that."""
        self._inquired.pop(index, None)
        self._inquired[index] = now
        if len(self._inquired) > MAX_INQUIRED:
            del self._inquired[next(iter(self._inquired))]

    def at_once(self, now: float) -> int:
        """How many nodes are asked by name at a time."""
        return max(PROBED_AT_ONCE, len(self._all_owners(now)) // BATCHES)

    def ask_about(self, blocks: list[Block], now: float) -> None:
        """These CLAIMING blocks have just been inquired, or are in doubt: see to it that :meth:`may_own` will know."""
        doubtful = [block for block in blocks if self._has_to_ask(block)]
        if not doubtful or now - self._asked_at < PROBE_PAUSE_S:
            return
        self._asked_at = now
        at_once = self.at_once(now)
        owners = self._all_owners(now)
        asked = [(p, unanswered) for p in owners if (unanswered := self._unanswered(p, doubtful, now, ASKED_AGAIN))]
        if len(asked) > at_once:  # those first who have not consented yet
            asked.sort(key=lambda each: not self._unanswered(each[0], doubtful, now, CONSENT_HOLDS))
        for peer, indices in asked[:at_once]:
            self.probe(peer.address, indices[:MAX_ASKED], False)

    def ask_former_owner(self, block: Block) -> None:
        """A block that another node owned is being inquired: that node may be there, and only its announcements, and
        our inquiries, be lost."""
        owner = self._peers.get(block.owner_address) if self._minds_doubt() else None
        if owner is not None and owner.can(CAN_CONSENT):
            self.probe(owner.address, (block.index,), False)

    def may_own(self, block: Block, now: float) -> bool:
        """Whether nobody can be claiming a CLAIMING block out of our hearing: it is of this node's share, or everybody
        consented."""
        if not self._minds_doubt():
            return True
        self._share.look(now)
        if not self._has_to_ask(block):
            return True
        return all(self._has_answered(peer, block, now, CONSENT_HOLDS) for peer in self._all_owners(now))

    def is_agreed(self, block: Block, now: float) -> bool:
        """Whether everybody consented to that by name, so that it does not matter whether inquiries were heard."""
        return all(
            peer.can(CAN_CONSENT) and self._has_answered(peer, block, now, CONSENT_HOLDS)
            for peer in self._all_owners(now)
        )

    def _has_to_ask(self, block: Block) -> bool:
        """Whether others may own a block that was FREE, or claim it, out of our hearing: it is not of this node's
        share, or another inquired it not long ago."""
        if block.inquired_at == -math.inf or not self._minds_doubt():
            return False
        inquired_at = self._inquired.get(block.index, -math.inf)
        return block.inquired_at < inquired_at + self._context.promise_s or not self._share.is_ours(block.index)

    def _unanswered(self, peer: Peer, blocks: list[Block], now: float, within: float) -> tuple[int, ...]:
        """Of which of these blocks a node has not answered what this node asked."""
        return tuple(block.index for block in blocks if not self._has_answered(peer, block, now, within))

    def _has_answered(self, peer: Peer, block: Block, now: float, within: float) -> bool:
        """Whether a node has consented to our owning a block, ``within`` times t; if it does not know how to consent:
        was heard since the block was inquired. One that was of our kind and does not say so may not hear us."""
        since = now - within * self._context.config.tentative_timeout_s
        return self._agrees(peer, block, since, block.inquired_at, now)

    @staticmethod
    def _agrees(peer: Peer, block: Block, since: float, heard_since: float, now: float) -> bool:
        """Whether a node has said yes to a block of ours since then, or if it does not know how: was heard."""
        if not peer.is_ours and peer.awaited_until > now:
            return False
        if not peer.can(CAN_CONSENT):
            return peer.heard_at >= heard_since
        return block.consents is not None and block.consents.get(peer.address, -math.inf) >= since

    def _all_owners(self, now: float) -> list[Peer]:
        """The nodes of ours, or of unknown kind, that own blocks or may claim some; found once for all blocks that are
        looked at in an instant."""
        if self._owners[0] != now:
            self._owners = (now, self._unheard_since(math.inf, now))
        return self._owners[1]

    # --- others' claims, and ours of others' blocks -------------------------------------------------

    def may_be_anothers(self, inquirer: bytes, inquired_at: float, now: float, *, seeks: bool) -> bool:
        """Whether the node that inquired a block then may own it though nobody claimed it since: of our kind, it was
        not heard since it could, and would go on unheard as long as its promise runs. Without this the node whose share
        the block is of would claim it, beyond a link that parted meanwhile. ``seeks``: it is asked to speak."""
        peer = self._peers.get(inquirer) if self._minds_doubt() else None
        owned_at = inquired_at + OWNED_AFTER * self._context.config.tentative_timeout_s
        if peer is None or not peer.is_ours or peer.heard_at > owned_at or now > owned_at + self._context.promise_s:
            return False
        if seeks:
            self._seek([peer], now)
        return True

    # --- adopted blocks -----------------------------------------------------------------------------

    def who_may_own(self, block: Block, adopted_at: float, now: float) -> list[Peer]:
        """Those who may be leasing from a block that this node adopted then: its former owner, other survivors and
        newcomers, out of our hearing. All but those who agreed by name since that it is ours."""
        if not self._minds_doubt():
            return []
        return [peer for peer in self._all_owners(now) if not self._agrees(peer, block, adopted_at, adopted_at, now)]
