"""The messages as values."""

from __future__ import annotations

from ..values import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """The first 16 bytes of every message, for readers that are not bound to one swarm.

    ``node_id``: the sender's, 8 bytes. ``prefix`` (integer), ``prefix_len`` in bits and ``block_size`` in
    addresses name its swarm. ``command`` and ``count`` say how to read the rest.
    """

    node_id: bytes
    prefix: int
    prefix_len: int
    block_size: int
    command: int
    count: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One claimed block: its index, for how many seconds (0-65535; 0 gives it up), and the reserved byte."""

    index: int
    timeout_s: int
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class UpdateClaim:
    """The sender owns (or, with timeout 0, gives up) these blocks."""

    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Inquire:
    """The sender wants these blocks; an empty one is valid and asks for nothing."""

    indices: tuple[int, ...]


@dataclass(slots=True, init=False)
class LeaseMessage:
    """RENEWLEASE, LEASEACK, LEASENAK or RELEASE (``command``).

    ``address_field``: the 4 raw bytes, whose order is the sender's affair (:func:`ddhcp.swarm.read_address`
    reads them); ``xid``: of the client's DHCP message; ``lease_time_s``: 0 from classic nodes; ``chaddr``:
    16 bytes.
    """

    command: int
    address_field: bytes
    xid: int
    lease_time_s: int
    chaddr: bytes

    def __init__(self, command: int, address_field: bytes, xid: int, lease_time_s: int, chaddr: bytes) -> None:
        self.command = command
        self.address_field = address_field
        self.xid = xid
        self.lease_time_s = lease_time_s
        self.chaddr = chaddr


@dataclass(slots=True, init=False)
class Extension:
    """A command that only our nodes speak; the payload is read where it is understood."""

    command: int
    count: int
    payload: bytes

    def __init__(self, command: int, count: int, payload: bytes) -> None:
        self.command = command
        self.count = count
        self.payload = payload
