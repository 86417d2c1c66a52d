"""Whom to believe when the swarm has a key: sealing what is sent, opening what comes, and telling a message from its
recording.

Every run of a node is an epoch, within which it numbers its messages. A number that a receiver has accepted of an epoch
it does not accept again. An epoch that it does not know may be a recording as a whole, so its sender is challenged:
only who lives now can seal the nonce of the challenge. The answer also says which numbers are a few seconds old at
most, so that what made the receiver ask need not be sent again.
"""

from __future__ import annotations

from collections.abc import Callable

from ..swarm import (
    CHALLENGE,
    MULTICAST_GROUP,
    NONCE_SIZE,
    Challenge,
    DecodeError,
    Extension,
    KeyRing,
    Sealer,
    command_of,
    is_sealed,
    read_extension,
)
from ..values import dataclass, field
from .peers import MAX_PEERS

WINDOW = 1024  # numbers looked back at: all that a busy node sends to all others while one message is under way
CHALLENGE_INTERVAL_S = 0.5  # one peer is challenged at most this often
FRESH_S = 1.0  # numbers given out within one to two of these are told to be fresh
HELD_FOR_S = 3.0  # a message waits this long for its sender's proof
MAX_HELD = 8  # messages of one sender that wait for its proof
TRUSTED_FOR_S = 3600.0  # in mixed mode, how long what is not sealed is ignored from a peer that once sealed
NO_NONCE = bytes(NONCE_SIZE)
_ALL_SEEN = (1 << WINDOW) - 1


@dataclass(slots=True)
class _Held:
    """A message whose epoch is not proved yet."""

    epoch: bytes
    number: int
    data: bytes
    is_multicast: bool
    until: float


@dataclass(slots=True)
class _Session:
    """What is known of one sender. ``epoch``: the one that it proved, b"" while it has not. ``highest``, ``seen``: the
    highest number accepted and a bit for each of the WINDOW before it. ``nonce``: what its answer must hold."""

    epoch: bytes = b""
    highest: int = 0
    seen: int = 0
    heard_at: float = 0.0
    nonce: bytes = NO_NONCE
    challenged_at: float = -CHALLENGE_INTERVAL_S
    held: list[_Held] = field(default_factory=list)

    def accept(self, number: int) -> bool:
        """Whether that number was not accepted before; notes it if so."""
        ahead = number - self.highest
        if ahead > 0:
            self.seen = (self.seen << ahead | 1 << (ahead - 1)) & _ALL_SEEN if ahead <= WINDOW else 0
            self.highest = number
            return True
        bit = 1 << (-ahead - 1) if ahead else 0
        if not bit or -ahead > WINDOW or self.seen & bit:
            return False
        self.seen |= bit
        return True

    def begin(self, epoch: bytes, number: int, floor: int) -> None:
        """The sender proved its epoch with its message ``number``; from ``floor`` on its messages are fresh."""
        self.epoch, self.highest, self.nonce = epoch, number, NO_NONCE
        fresh = max(0, min(WINDOW, number - floor))
        self.seen = _ALL_SEEN >> fresh << fresh


class Trust:
    """The seal of one node. Without a key ring everything goes through as it is.

    ``own_address()``: this node's on the server link. ``send(data, destination)`` sends a datagram to one peer as it
    is. ``write(challenge)`` gives the bytes of a challenge. ``on_trusted(address, now)`` is called when the node at
    ``address`` has proved that it holds the key and lives.
    """

    def __init__(
        self,
        ring: KeyRing | None,
        epoch: bytes,
        *,
        own_address: Callable[[], bytes],
        write: Callable[[Challenge], bytes],
        send: Callable[[bytes, bytes], None],
        count: Callable[[str], None],
    ) -> None:
        self._sealer = Sealer(ring, epoch) if ring is not None else None
        self._own_address = own_address
        self._write = write
        self._send = send
        self._count = count
        self.on_trusted: Callable[[bytes, float], None] = lambda address, now: None
        self._sessions: dict[bytes, _Session] = {}
        self._floors = (1, 1)
        self._floor_at = 0.0

    @property
    def has_key(self) -> bool:
        """Whether messages are sealed."""
        return self._sealer is not None

    @property
    def is_mixed(self) -> bool:
        """Whether messages that are not sealed are heard beside those that are."""
        return self._sealer is not None and self._sealer.ring.is_mixed

    def renew(self, ring: KeyRing) -> None:
        """Go on with other keys. A node that was started without any does not begin to seal."""
        if self._sealer is not None:
            self._sealer.renew(ring)

    def is_trusted(self, address: bytes) -> bool:
        """Whether the node at ``address`` has proved that it holds the key."""
        session = self._sessions.get(address)
        return session is not None and bool(session.epoch)

    def outweighs(self, address: bytes, other: bytes) -> bool:
        """Whether, in mixed mode, the node at ``address`` (or this node, if that is its own) is to be believed rather
        than the one at ``other``: it has proved that it holds the key, the other has not."""
        if not self.is_mixed or self.is_trusted(other):
            return False
        return address == self._own_address() or self.is_trusted(address)

    def catch_up(self, now: float) -> None:
        """Note the time: which of our numbers are fresh depends on it."""
        if self._sealer is not None and now - self._floor_at >= FRESH_S:
            former = self._floors[1] if now - self._floor_at < 2 * FRESH_S else self._sealer.number + 1
            self._floors = (former, self._sealer.number + 1)
            self._floor_at = now

    # --- sending --------------------------------------------------------------------------------

    def for_all(self, data: bytes) -> list[bytes]:
        """The datagrams to send for one multicast message. In mixed mode the sealed one goes first, so that who can
        read it knows better than to believe the other."""
        if self._sealer is None:
            return [data]
        sealed = self._sealer.seal(data, self._own_address(), MULTICAST_GROUP)
        return [sealed, data] if self._sealer.ring.is_mixed else [sealed]

    def for_one(self, data: bytes, destination: bytes) -> bytes:
        """The datagram to send to one peer."""
        if self._sealer is None or (self._sealer.ring.is_mixed and not self.is_trusted(destination)):
            return data
        return self._sealer.seal(data, self._own_address(), destination)

    # --- receiving ------------------------------------------------------------------------------

    def incoming(self, data: bytes, source: bytes, is_multicast: bool, now: float) -> list[tuple[bytes, bool]]:
        """The messages to handle now, each with whether it came by multicast. Why there is none has been counted."""
        if self._sealer is None:
            return [(data, is_multicast)]
        if not is_sealed(data):
            return [(data, is_multicast)] if self._may_be_plain(source, now) else []
        try:
            opened = self._sealer.open(data, source, MULTICAST_GROUP if is_multicast else self._own_address())
        except DecodeError as error:
            self._count(f"swarm.drop.{error.reason}")
            return []
        session = self._session(source)
        challenge = _read_challenge(opened.data)
        if session.epoch == opened.epoch:
            if not session.accept(opened.number):
                self._count("swarm.drop.replayed")
                return []
            session.heard_at = now
            if challenge is None:
                return [(opened.data, is_multicast)]
            if challenge.nonce != NO_NONCE:
                self._tell(Challenge(NO_NONCE, challenge.nonce, self._floors[0]), source)
            return []
        if challenge is not None:
            return self._on_challenge(session, source, opened.epoch, opened.number, challenge, now)
        self._hold(session, _Held(opened.epoch, opened.number, opened.data, is_multicast, now + HELD_FOR_S))
        if now - session.challenged_at >= CHALLENGE_INTERVAL_S:
            self._tell(Challenge(self._nonce(session, now), NO_NONCE, 0), source)
        return []

    def _may_be_plain(self, source: bytes, now: float) -> bool:
        session = self._sessions.get(source)
        if not self.is_mixed:
            self._count("swarm.drop.unsealed")
        elif session is not None and session.epoch and now - session.heard_at < TRUSTED_FOR_S:
            self._count("swarm.drop.unsealed-twin")
        else:
            return True
        return False

    def _session(self, source: bytes) -> _Session:
        """Only who holds the key, or recordings of who does, get this far, so that nobody else fills the table."""
        session = self._sessions.get(source)
        if session is None:
            if len(self._sessions) >= MAX_PEERS:
                del self._sessions[next(iter(self._sessions))]
            session = self._sessions[source] = _Session()
        return session

    def _hold(self, session: _Session, message: _Held) -> None:
        if len(session.held) >= MAX_HELD:
            self._count("swarm.drop.unproved-epoch")
            del session.held[0]
        session.held.append(message)

    def _on_challenge(
        self, session: _Session, source: bytes, epoch: bytes, number: int, challenge: Challenge, now: float
    ) -> list[tuple[bytes, bool]]:
        """A challenge, or the answer to ours, from an epoch that is not proved yet."""
        if session.nonce == NO_NONCE or challenge.answer != session.nonce:
            if challenge.nonce != NO_NONCE:
                self._tell(Challenge(self._nonce(session, now), challenge.nonce, self._floors[0]), source)
            return []
        session.begin(epoch, number, challenge.floor)
        session.heard_at = now
        if challenge.nonce != NO_NONCE:
            self._tell(Challenge(NO_NONCE, challenge.nonce, self._floors[0]), source)
        held, session.held = session.held, []
        fresh = [m for m in held if m.epoch == epoch and m.until > now and session.accept(m.number)]
        if len(held) > len(fresh):
            self._count("swarm.drop.replayed")
        self.on_trusted(source, now)
        return [(message.data, message.is_multicast) for message in fresh]

    def _nonce(self, session: _Session, now: float) -> bytes:
        assert self._sealer is not None
        if session.nonce == NO_NONCE or now - session.challenged_at >= CHALLENGE_INTERVAL_S:
            session.nonce, session.challenged_at = self._sealer.nonce(), now
        return session.nonce

    def _tell(self, challenge: Challenge, destination: bytes) -> None:
        assert self._sealer is not None
        data = self._write(challenge)
        self._send(self._sealer.seal(data, self._own_address(), destination), destination)


def _read_challenge(data: bytes) -> Challenge | None:
    if command_of(data) != CHALLENGE:
        return None
    try:
        message = read_extension(Extension(CHALLENGE, data[15], data[16:]))
    except DecodeError:
        return None
    return message if isinstance(message, Challenge) else None
