"""What a node wants done. Effects are values, returned by ``Node.handle`` in the order they must happen.

Durability: the driver writes every ``Save…``/``Forget…`` effect of a batch in one commit. An effect with
``durable=True`` may leave only after every store effect returned before it is on disk; when the commit fails it
is dropped. Effects with ``durable=False`` need not wait. A durable effect with a ``binding`` (an IPv4 address) promises
nothing but that binding: it may leave as soon as the latest row of that address is on disk, whatever else is not.

Those that every packet leads to are not frozen and have their constructors written out: a frozen dataclass takes three
times as long to make, and mypyc compiles only a constructor that it sees. Nobody may change them all the same.
"""

from __future__ import annotations

from ..values import dataclass
from .records import StoredBlock, StoredClaim, StoredLease, StoredPeer


@dataclass(slots=True, frozen=True)
class SendMulticast:
    """Send ``data`` to the swarm's multicast group, port 1234."""

    data: bytes
    durable: bool = False


@dataclass(slots=True, init=False)
class SendUnicast:
    """Send ``data`` to port 1235 of the peer at IPv6 link-local ``destination`` (16 bytes)."""

    data: bytes
    destination: bytes
    durable: bool
    binding: int | None

    def __init__(self, data: bytes, destination: bytes, durable: bool = False, binding: int | None = None) -> None:
        self.data = data
        self.destination = destination
        self.durable = durable
        self.binding = binding


@dataclass(slots=True, init=False)
class SendDhcp:
    """Send a DHCP reply on client interface ``link``, from ``source``:67 to ``address``:``port``.

    ``mac``: hardware destination (6 bytes) of a raw frame, for clients that have no address yet and for broadcasts;
    ``None`` hands the datagram to the kernel's routing and neighbour table.
    """

    link: str
    payload: bytes
    source: int
    address: int
    port: int
    mac: bytes | None
    durable: bool
    binding: int | None

    def __init__(
        self,
        link: str,
        payload: bytes,
        source: int,
        address: int,
        port: int,
        mac: bytes | None,
        durable: bool = False,
        binding: int | None = None,
    ) -> None:
        self.link = link
        self.payload = payload
        self.source = source
        self.address = address
        self.port = port
        self.mac = mac
        self.durable = durable
        self.binding = binding


@dataclass(slots=True, frozen=True)
class ProbeAddress:
    """Ask on client interface ``link`` who uses IPv4 ``address``, by ARP (RFC 5227), and report an answer that comes
    within ``timeout_s`` as :class:`~ddhcp.core.events.AddressProbed`. Silence need not be reported."""

    link: str
    address: int
    timeout_s: float


@dataclass(slots=True, frozen=True)
class SaveBlock:
    """Remember (insert or replace) an owned block."""

    block: StoredBlock


@dataclass(slots=True, frozen=True)
class ForgetBlock:
    """Block ``index`` is no longer this node's. Its leases are forgotten by their own effects, if at all."""

    index: int


@dataclass(slots=True, frozen=True)
class SaveClaim:
    """Remember (insert or replace, keyed by block) that another node owns a block."""

    claim: StoredClaim


@dataclass(slots=True, frozen=True)
class ForgetClaim:
    """Another node's claim of block ``index`` has ended."""

    index: int


@dataclass(slots=True, frozen=True)
class SavePeer:
    """Remember (insert or replace, keyed by address) another node of this kind."""

    peer: StoredPeer


@dataclass(slots=True, frozen=True)
class ForgetPeer:
    """The node at ``address`` need not be remembered."""

    address: bytes


@dataclass(slots=True, init=False)
class SaveLease:
    """Remember (insert or replace, keyed by address) a binding."""

    lease: StoredLease

    def __init__(self, lease: StoredLease) -> None:
        self.lease = lease


@dataclass(slots=True, frozen=True)
class ForgetLease:
    """Remove the binding of ``address``."""

    address: int


@dataclass(slots=True, init=False)
class ProlongLease:
    """The lease of ``address`` was renewed within what its row in the store allows: there is nothing to write. Whoever
    keeps a copy of it elsewhere wants to know. ``after_claim``: no answer that tells of it leaves before the durable
    multicast with that number, as it counts on it; they are numbered from 1, in order. 0 if there is none."""

    address: int
    after_claim: int

    def __init__(self, address: int, after_claim: int = 0) -> None:
        self.address = address
        self.after_claim = after_claim


@dataclass(slots=True, init=False)
class RunHook:
    """Run the hook command with ``arguments`` (PROTOCOL, Hook), e.g. ``("lease", "10.0.0.5", "02:00:00:00:00:01")``."""

    arguments: tuple[str, ...]

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self.arguments = arguments


@dataclass(slots=True, init=False)
class Log:
    """One line for the operator. ``event`` is a stable name such as ``lease-granted``; ``level`` is a
    :mod:`logging` level number; ``fields`` hold values already safe to print except strings, which the log
    writer escapes."""

    level: int
    event: str
    fields: dict[str, object]

    def __init__(self, level: int, event: str, fields: dict[str, object] | None = None) -> None:
        self.level = level
        self.event = event
        self.fields = {} if fields is None else fields


@dataclass(slots=True, frozen=True)
class Stopped:
    """The node has finished stopping: the driver may exit once what it has to send has left."""


Key = tuple[str, int | bytes]  # what a row is about: its table, and its block, or its IPv4 or IPv6 address
StoreEffect = (
    SaveBlock | ForgetBlock | SaveLease | ForgetLease | SaveClaim | ForgetClaim | SavePeer | ForgetPeer
)  # fmt: skip
Effect = SendMulticast | SendUnicast | SendDhcp | ProbeAddress | StoreEffect | ProlongLease | RunHook | Log | Stopped


def key_of(effect: StoreEffect) -> Key:
    """What a store effect is about; of two with one key only the later counts."""
    if isinstance(effect, SaveLease):
        return "lease", effect.lease.address
    if isinstance(effect, ForgetLease):
        return "lease", effect.address
    if isinstance(effect, SaveBlock):
        return "block", effect.block.index
    if isinstance(effect, SaveClaim):
        return "claim", effect.claim.index
    if isinstance(effect, SavePeer):
        return "peer", effect.peer.address
    if isinstance(effect, ForgetPeer):
        return "peer", effect.address
    return "claim" if isinstance(effect, ForgetClaim) else "block", effect.index
