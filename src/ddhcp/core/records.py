"""What a node must find again after a restart: the rows of the store, free of any storage detail.

All instants here are on the core's monotonic clock; the store translates them to wall-clock time when it
writes and back when it reads (DHCP-SERVER rule H3).
"""

from __future__ import annotations

from ..values import dataclass


@dataclass(slots=True, frozen=True)
class StoredBlock:
    """A block this node owns. ``promised_until`` is the latest instant up to which the node has announced
    its claim; other nodes keep off the block until then."""

    index: int
    promised_until: float


@dataclass(slots=True, frozen=True)
class StoredClaim:
    """A block that another node owned when it was last heard. ``owner_id``, ``owner``: its node id and server link
    address, zeros if they are not known. ``closed_until``: up to when the block is taken for that node's if it is not
    heard again; later than what it announced, so that not every refresh has to be written."""

    index: int
    owner_id: bytes
    owner: bytes
    closed_until: float


@dataclass(slots=True, frozen=True)
class StoredPeer:
    """Another node of this kind. ``address``: on the server link. ``known_until``: up to when it may be at work if it
    is not heard again; later than a node that goes on running would take it to be, so that not every word of it has to
    be written."""

    address: bytes
    node_id: bytes
    known_until: float


@dataclass(slots=True, init=False)
class StoredLease:
    """A binding as it must survive a crash.

    ``address``: IPv4. ``identity``: the client's key (see :func:`ddhcp.dhcp.identity`). ``chaddr``: the 16 bytes
    of the BOOTP field. ``state``: ``"leased"``, ``"released"``, ``"expired"`` (kept so that a returning client
    gets its old address), ``"kept"`` (for a client whose lease a peer may have prolonged) or ``"declined"``.
    ``expires_at``: end of the lease, of the keeping, or of a declined address's probation. ``hostname``: as the client
    sent it, b"" if it did not. ``kept_s``: for how long its owner keeps the address for the client after that; not
    stored, since it follows from the configuration.

    Not every renewal is written: a row says for how long the binding may be prolonged without another write. Such
    renewals are of at most ``granted_s`` seconds each and end at ``held_until`` at the latest. So after a crash at an
    unknown moment the client may believe in its lease until :meth:`latest_end`, and no longer.
    """

    address: int
    identity: bytes
    chaddr: bytes
    state: str
    expires_at: float
    hostname: bytes
    granted_s: int
    held_until: float
    kept_s: int

    def latest_end(self, now: float) -> float:
        """The latest instant at which a lease that this row covers can end if none was given after ``now``."""
        end = min(self.held_until, now + self.granted_s)
        return end if end > self.expires_at else self.expires_at

    def __init__(
        self,
        address: int,
        identity: bytes,
        chaddr: bytes,
        state: str,
        expires_at: float,
        hostname: bytes = b"",
        granted_s: int = 0,
        held_until: float = 0.0,
        kept_s: int = 0,
    ) -> None:
        self.address = address
        self.identity = identity
        self.chaddr = chaddr
        self.state = state
        self.expires_at = expires_at
        self.hostname = hostname
        self.granted_s = granted_s
        self.held_until = held_until
        self.kept_s = kept_s
