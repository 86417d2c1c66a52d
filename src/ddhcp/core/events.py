"""What can happen to a node. Every event is a value; :meth:`ddhcp.core.Node.handle` takes one at a time.

Addresses: IPv4 as ``int``; IPv6 link-local as its 16 packed bytes; hardware addresses as 6 bytes.
Instants are in seconds on a monotonic clock that goes on while the machine sleeps.
"""

from __future__ import annotations

from typing import Final

from ..values import dataclass
from .config import NodeConfig
from .records import StoredBlock, StoredClaim, StoredLease, StoredPeer

# A question, an answer or news for one node that waited for longer than this, because the process was stopped, is
# dropped: who sent it has sent it again, or has given up. So is what a client gave back.
STALE_AFTER_S: Final = 2.0


@dataclass(slots=True, frozen=True)
class Start:
    """The node starts. ``blocks``, ``leases``, ``claims`` and ``peers`` are what the store remembers, with instants
    already translated to the monotonic clock; all empty for a new node."""

    blocks: tuple[StoredBlock, ...] = ()
    leases: tuple[StoredLease, ...] = ()
    claims: tuple[StoredClaim, ...] = ()
    peers: tuple[StoredPeer, ...] = ()


@dataclass(slots=True, frozen=True)
class Stop:
    """The node is asked to stop in good order. It hands its blocks over or gives them up, and emits
    :class:`~ddhcp.core.effects.Stopped` when nothing is left to wait for (perhaps at a later event)."""


@dataclass(slots=True, frozen=True)
class Wake:
    """The instant that :meth:`~ddhcp.core.Node.deadline` named has come."""


@dataclass(slots=True, frozen=True)
class ServerLinkUp:
    """The server link can carry packets: ``mac`` is the interface's hardware address (6 bytes), ``address``
    its IPv6 link-local address (16 bytes). Sent again when either changes."""

    mac: bytes
    address: bytes


@dataclass(slots=True, frozen=True)
class ServerLinkDown:
    """The server link is gone, down, or has no usable link-local address."""


@dataclass(slots=True, init=False)
class SwarmReceived:
    """A datagram from the server link. ``source`` is the sender's IPv6 link-local address (16 bytes);
    ``multicast`` tells the group socket (port 1234) from the unicast one (port 1235). ``waited_s``: how long it lay in
    the socket, because the process was stopped or busy."""

    data: bytes
    source: bytes
    multicast: bool
    waited_s: float

    def __init__(self, data: bytes, source: bytes, multicast: bool, waited_s: float = 0.0) -> None:
        self.data = data
        self.source = source
        self.multicast = multicast
        self.waited_s = waited_s


@dataclass(slots=True, frozen=True)
class ClientLink:
    """A client interface that serves: its name, IPv4 address and network, hardware address (6 bytes) and MTU."""

    name: str
    address: int
    prefix_len: int
    mac: bytes
    mtu: int = 1500


@dataclass(slots=True, frozen=True)
class ClientLinkUp:
    """A client interface is ready (or its address, MAC or MTU changed)."""

    link: ClientLink


@dataclass(slots=True, frozen=True)
class ClientLinkDown:
    """A client interface vanished, went down or lost its IPv4 address."""

    name: str


@dataclass(slots=True, init=False)
class DhcpReceived:
    """A UDP payload received on port 67 of client interface ``link`` (its name). ``source`` and ``destination``
    are the IPv4 addresses of the datagram; a destination of 255.255.255.255 marks a broadcast. ``waited_s``: for how
    many seconds it lay in the socket before it was read."""

    link: str
    data: bytes
    source: int
    destination: int
    waited_s: float

    def __init__(self, link: str, data: bytes, source: int, destination: int, waited_s: float = 0.0) -> None:
        self.link = link
        self.data = data
        self.source = source
        self.destination = destination
        self.waited_s = waited_s


@dataclass(slots=True, frozen=True)
class AddressProbed:
    """What a :class:`~ddhcp.core.effects.ProbeAddress` found on client interface ``link``: somebody with hardware
    address ``mac`` uses ``address`` (``in_use``), or it is certain already that nobody does."""

    link: str
    address: int
    in_use: bool
    mac: bytes = b""


@dataclass(slots=True, frozen=True)
class SetOption:
    """The operator sets a DHCP option that every client gets (control socket, request 3)."""

    code: int
    value: bytes


@dataclass(slots=True, frozen=True)
class RemoveOption:
    """The operator removes a DHCP option (control socket, request 4)."""

    code: int


@dataclass(slots=True, frozen=True)
class EndLease:
    """The operator ends the lease of ``address``, as if its client had released it; nothing happens if this node leases
    it to nobody."""

    address: int


@dataclass(slots=True, frozen=True)
class HoldAddress:
    """The operator has ``address``, in the pool, handed out to nobody from now on, or (``held`` false) again. A lease
    of it runs out by itself."""

    address: int
    held: bool = True


@dataclass(slots=True, frozen=True)
class ResetStatistics:
    """The operator resets the counters (control socket, request 7)."""


@dataclass(slots=True, frozen=True)
class Reconfigure:
    """The operator changed the configuration. The pool is the same; no lease is dropped. What the operator set over
    the control socket stays unless the configuration changed there too."""

    config: NodeConfig


@dataclass(slots=True, frozen=True)
class SendFailed:
    """The last datagrams to the server link could not be sent (the error is counted by the driver)."""


Event = (
    Start
    | Stop
    | Wake
    | ServerLinkUp
    | ServerLinkDown
    | SwarmReceived
    | ClientLinkUp
    | ClientLinkDown
    | DhcpReceived
    | AddressProbed
    | SetOption
    | RemoveOption
    | EndLease
    | HoldAddress
    | ResetStatistics
    | Reconfigure
    | SendFailed
)
