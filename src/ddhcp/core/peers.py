"""What a node remembers of the other nodes it heard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address

from ..swarm import AddressOrder
from ..values import dataclass
from .blocks import Block

GREETINGS = 4  # HELLOs to a peer of unknown kind; one that answers none is taken for classic
UNKNOWN_COUNTS_S = 120.0  # a peer of unknown kind is taken for classic for this long: until it must have answered
CLASSIC_COUNTS_S = 3600.0  # after a classic peer was last heard, others like it may still come
MISSING_AFTER = 1.5  # refresh periods without a word: one refresh was lost, or the peer is missing
KNOWN_FOR_S = 600.0  # a peer without blocks is reckoned with for this long after it was heard, or for a promise
LOOK_AGAIN_S = 5.0  # at least, between two looks at who is to be reckoned with no more
MAX_PEERS = 4096  # the longest unheard is forgotten beyond this, so that a flood of senders costs bounded memory
SAME_REFRESH_S = 1.0  # claims of a peer that come closer together are packets of one refresh, or answers in a dispute
REFRESH_WEIGHT = 0.25  # of the latest interval in the running mean of a peer's refresh period
ROUNDING_S = 1e-3  # by which a computed instant is taken to be earlier, rather than missed by a rounding
PERIOD_SLACK = 0.25  # of a period, by which a refresh may be late without one before it having been lost


@lru_cache(maxsize=MAX_PEERS)
def address_text(address: bytes) -> str:
    """An IPv6 address of 16 bytes as people write it."""
    return str(IPv6Address(address))


@dataclass(slots=True, eq=False)
class Refresh:
    """An announcement that told nothing new, and would not if it were heard again (``refreshes.py``): its bytes, its
    sender, its blocks with the seconds for which each is announced, and the longest of these. ``until``: the instant
    from which it is to be read again; ``covered_until``: from which hearing it is to be noted for the store; ``epoch``:
    of the context in which it was read."""

    data: bytes
    node_id: bytes
    blocks: tuple[Block, ...]
    timeouts_s: tuple[int, ...]
    longest_s: int
    until: float
    covered_until: float
    epoch: int


@dataclass(slots=True)
class Peer:
    """One node, told apart by its source address (node ids are not unique among newer classic builds).

    ``order``: the byte order it was last seen to use unambiguously, None if never. ``is_ours``: it answered a HELLO,
    so it speaks the extensions. ``hello_count``/``hello_at``: HELLOs sent to it and when the last one left.
    ``told_before``: HELLOs that this node had told all when that one started, less those told it alone since.
    ``claims_at``: when it last announced its blocks, 0 if never; ``refresh_s``: the mean time between that, 0 while
    unknown; ``refreshes``/``refreshes_lost``: how many were heard, and how many seem to have been lost on the way.
    ``claimed_until``: up to when it last announced a block; minus infinity if it never did, or gave all of them up.
    ``awaited_until``: up to when it may be at work, and is known to be of our kind, by what this node knew before it
    started anew. ``has_left``: its last word was that it stops.
    ``expected_s``: within how many seconds after ``claims_at`` its next refresh is to be expected, if none is lost.
    ``version``, ``capabilities``, ``incarnation``, ``software``: what its HELLO said, zeros and empty before.
    ``started_anew_at``: when a HELLO with another incarnation than before was heard, minus infinity if never.
    ``plans``: digests of our address plan and of its own when they were last compared.
    ``refresh``: its last announcement, if hearing it again would tell nothing new.
    ``has_share``: it was told to ``Peers.on_sharing``, and is still one of those that the pool is shared with.
    ``is_up``: it was told that the peer is there (``presence.py``). ``is_candidate``: it may keep replicas
    (``replication.py``). ``queued_at``: when it last went to the end of the queue of those to be forgotten.
    """

    address: bytes
    node_id: bytes
    heard_at: float
    order: AddressOrder | None = None
    is_ours: bool = False
    hello_count: int = 0
    hello_at: float = 0.0
    told_before: int = 0
    claimed_until: float = -math.inf
    awaited_until: float = -math.inf
    has_left: bool = False
    expected_s: float = 0.0
    claims_at: float = 0.0
    refresh_s: float = 0.0
    refreshes: int = 0
    refreshes_lost: int = 0
    version: int = 0
    capabilities: int = 0
    incarnation: bytes = b""
    started_anew_at: float = -math.inf
    software: str = ""
    plans: tuple[bytes, bytes] = (b"", b"")
    refresh: Refresh | None = None
    has_share: bool = False
    is_up: bool = False
    is_candidate: bool = False
    queued_at: float = -math.inf

    def note_refresh(self, now: float) -> None:
        """It announced its blocks; called before what it announced is taken in. Refreshes carry no number, so what was
        lost is guessed from the gaps: one that is longer than a period hides refreshes that were not heard, unless the
        claims had ended and there was nothing to refresh."""
        interval_s = now - self.claims_at
        if self.claims_at and interval_s < SAME_REFRESH_S:
            return
        if self.claims_at:
            if interval_s > self.expected_s and self.expected_s and self.claimed_until >= now:
                self.refreshes_lost += max(0, math.ceil(interval_s / self.expected_s - PERIOD_SLACK) - 1)
            self.refresh_s += (REFRESH_WEIGHT if self.refresh_s else 1.0) * (interval_s - self.refresh_s)
        self.refreshes += 1
        self.claims_at = now

    @property
    def plan_differs(self) -> bool:
        """Whether it said that it reserves other addresses than we do, or knows other subnets."""
        ours, its_own = self.plans
        return bool(its_own) and its_own != ours

    def can(self, capability: int) -> bool:
        """Whether it told that it has this capability (one of ``CAN_…``)."""
        return self.is_ours and bool(self.capabilities & capability)


class Peers:
    """The peers by source address.

    ``promise_s``: called to learn for how long a block with leases is announced. ``on_sharing``, which whoever divides
    the pool sets: called with a peer that is to be reckoned with and was not before.
    """

    def __init__(self, promise_s: Callable[[], float] = lambda: KNOWN_FOR_S) -> None:
        self._promise_s = promise_s
        self._peers: dict[bytes, Peer] = {}
        self.on_sharing: Callable[[Peer], None] = lambda peer: None
        self._sharing_until = math.inf  # a lower bound of when one of those peers is to be reckoned with no more
        self._looked_at = -math.inf
        self._is_one_forgotten = False
        self._unknown: dict[bytes, float] = {}  # when peers of unknown kind were heard, the latest last
        self._classic_at = -math.inf
        self._none_missing = (-math.inf, math.inf)  # from when to when certainly no peer is missing

    def __len__(self) -> int:
        return len(self._peers)

    def hear(self, address: bytes, node_id: bytes, now: float) -> Peer:
        """Note that the node at ``address`` spoke."""
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                self._forget_one()
            peer = self._peers[address] = Peer(address, node_id, now, queued_at=now)
        peer.node_id = node_id
        self.hear_again(peer, now)
        self._share_with(peer)
        return peer

    def _forget_one(self) -> None:
        """Forget a peer that was not heard for long: the first in the queue that was not heard since it joined it. To
        have each go to its end whenever it is heard would take longer than the rest of most messages."""
        while True:
            address, peer = next(iter(self._peers.items()))
            del self._peers[address]
            if peer.heard_at <= peer.queued_at:
                break
            peer.queued_at = peer.heard_at
            self._peers[address] = peer
        self._unknown.pop(address, None)
        if peer.has_share:
            self._is_one_forgotten, self._sharing_until = True, -math.inf

    def _share_with(self, peer: Peer) -> None:
        """This peer is to be reckoned with."""
        if not peer.has_share:
            peer.has_share = True
            self._sharing_until = min(self._sharing_until, self._sharing_ends(peer))
            self.on_sharing(peer)

    def _sharing_ends(self, peer: Peer) -> float:
        """Up to when a peer that says nothing is to be reckoned with."""
        known_s = max(KNOWN_FOR_S, self._promise_s())
        return max(peer.claimed_until, peer.awaited_until, peer.heard_at + known_s)

    def has_sharing_ended(self, now: float) -> bool:
        """Whether a peer is to be reckoned with no more, and ``has_share`` no more, since this was asked last. It may
        be found out a few seconds late; all peers are looked at only when it may have come to that."""
        if now < self._sharing_until or 0.0 <= now - self._looked_at < LOOK_AGAIN_S:
            return False
        has_ended, until = self._is_one_forgotten, math.inf
        for peer in self._peers.values():
            if not peer.has_share:
                continue
            if self.is_to_be_reckoned_with(peer, now):
                until = min(until, self._sharing_ends(peer))
            else:
                peer.has_share, has_ended = False, True
        self._is_one_forgotten, self._sharing_until, self._looked_at = False, until, now
        return has_ended

    def hear_again(self, peer: Peer, now: float) -> None:
        """The same of a peer that is known, and reckoned with."""
        if peer.heard_at < now:
            peer.heard_at = now
        peer.has_left = False
        if not peer.is_ours:
            self._unknown.pop(peer.address, None)
            if peer.hello_count < GREETINGS:
                self._unknown[peer.address] = now
            else:
                self._classic_at = now

    def turned_out_ours(self, peer: Peer) -> None:
        """The kind of a peer is known: it is no classic one. If its HELLOs were lost and it was taken for one, none was
        heard unless another one is."""
        self._unknown.pop(peer.address, None)
        if self._classic_at == -math.inf:
            return
        if all(peer.is_ours or peer.hello_count < GREETINGS for peer in self._peers.values()):
            self._classic_at = -math.inf

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def note_missing(self, address: bytes, node_id: bytes, until: float, now: float) -> Peer:
        """Another node says that a peer, of which we may never have heard, owns blocks until that instant. Unknown
        (zeros) is nobody to be reckoned with."""
        peer = self._heard_of(address, node_id)
        if peer.heard_at == -math.inf:
            self.note_claim(peer, until)
            if address in self._peers:
                self._share_with(peer)
        return peer

    def await_word(self, address: bytes, node_id: bytes, until: float) -> None:
        """A peer of our kind, known before this node started anew, may be at work until then."""
        peer = self._heard_of(address, node_id)
        peer.awaited_until = max(peer.awaited_until, until)
        if address in self._peers:
            self._share_with(peer)

    def _heard_of(self, address: bytes, node_id: bytes) -> Peer:
        """The peer at ``address``, heard or not; entered while there is room, but for unknown (zeros)."""
        peer = self._peers.get(address)
        if peer is None:
            peer = Peer(address, node_id, -math.inf)
            if any(address) and len(self._peers) < MAX_PEERS:
                self._peers[address] = peer
        return peer

    def note_claim(self, peer: Peer, until: float) -> None:
        """A peer owns blocks until that instant, at least; called when it is expected to speak sooner as well."""
        peer.claimed_until = max(peer.claimed_until, until)
        since, before = self._none_missing
        self._none_missing = (since, min(before, self._missing_from(peer)))

    def are_all_ours(self) -> bool:
        """Whether every node that was heard speaks our extensions; true if none was heard."""
        return all(peer.is_ours for peer in self._peers.values() if peer.heard_at > -math.inf)

    def has_classic(self, now: float) -> bool:
        """Whether classic nodes, or nodes that may be, were heard lately."""
        unknown_at = next(reversed(self._unknown.values()), -math.inf)
        return now - self._classic_at < CLASSIC_COUNTS_S or now - unknown_at < UNKNOWN_COUNTS_S

    @staticmethod
    def is_missing(peer: Peer, now: float) -> bool:
        """Whether a peer has been silent for longer than is usual while what it announced still holds: it is down, or
        cut off from us and at work elsewhere."""
        return peer.claimed_until > now and Peers._is_silent(peer, now)

    @staticmethod
    def _is_silent(peer: Peer, now: float) -> bool:
        """Whether a peer has been silent for longer than is usual."""
        return now - max(peer.claims_at, peer.heard_at) > MISSING_AFTER * peer.expected_s

    @staticmethod
    def _missing_from(peer: Peer) -> float:
        """A lower bound of when a peer that says nothing will be missing."""
        return max(peer.claims_at, peer.heard_at) + MISSING_AFTER * peer.expected_s - ROUNDING_S

    def is_any_missing(self, now: float) -> bool:
        """Whether some peer is missing. With many peers this is asked so often that all are looked at only when one may
        have begun to be."""
        since, before = self._none_missing
        if since <= now < before:
            return False
        before = math.inf
        for peer in self._peers.values():
            if self.is_missing(peer, now):
                return True
            if peer.claimed_until > now:
                before = min(before, self._missing_from(peer))
        self._none_missing = (now, before)
        return False

    def is_to_be_reckoned_with(self, peer: Peer, now: float) -> bool:
        """Whether a peer may claim a block now: it owns some, perhaps far away, or was heard a while ago."""
        return self._sharing_ends(peer) > now

    @staticmethod
    def at_work_until(peer: Peer, promise_s: float) -> float:
        """Up to when a peer of our kind that says nothing may own blocks and lease from them, since a link may have
        parted: as long as ``promise_s``, the longest promise, for it may have claimed one unheard. Spare blocks in a
        crowded pool are announced for less than that, for others' sake. Of one that stopped only what it announced
        counts; of one known before this node started anew, and not heard since, for how long it may be beyond a parted
        link."""
        if peer.heard_at == -math.inf and peer.awaited_until > -math.inf:
            return peer.awaited_until
        unheard_until = -math.inf if peer.has_left else max(peer.awaited_until, peer.heard_at + promise_s)
        return max(peer.claimed_until, unheard_until)

    @staticmethod
    def may_be_ours(peer: Peer, now: float) -> bool:
        """Whether a peer is of our kind, or was, or may be because this node has not heard it."""
        return peer.is_ours or peer.awaited_until > now or peer.heard_at == -math.inf

    @staticmethod
    def is_present(peer: Peer, now: float) -> bool:
        """Whether a peer that owns blocks was heard as often as is to be expected."""
        return peer.claimed_until > now and now - peer.heard_at <= MISSING_AFTER * peer.expected_s

    def get(self, address: bytes) -> Peer | None:
        """The peer at ``address`` if it was ever heard."""
        return self._peers.get(address)

    def ours(self, heard_since: float) -> list[Peer]:
        """The peers that speak our extensions and were heard since that instant."""
        return [peer for peer in self._peers.values() if peer.is_ours and peer.heard_at >= heard_since]
