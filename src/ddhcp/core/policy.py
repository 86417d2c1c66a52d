"""Which clients get what, and what they may do: validated values, no parsing.

Every node of a swarm is given the same policy (DHCP-SERVER C6), since any of them may answer any client. Addresses and
prefixes are integers, hardware addresses 6 bytes, option values the bytes that go on the wire. Errors are
:class:`ConfigError`, one line each.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import fields

from ..values import dataclass, field
from .errors import ConfigError
from .pool import Pool, dotted

DEFAULT_MIN_LEASE_S = 60  # clients exist that refuse shorter ones (DHCP-SERVER C9)
DEFAULT_DECLINE_PROBATION_S = 600  # minutes, not a day: a client that declines in a loop must not empty the pool (F4)
DEFAULT_PROBE_TIMEOUT_S = 0.2
MAX_PROBE_TIMEOUT_S = 1.0  # clients ask again after that, and some give up (B8)
MAX_LEASE_S = 0xFFFFFFFE  # that may be configured; 0xFFFFFFFF would be for ever
LONGEST_GRANT_S = 65530  # that is given: a claim promises a block for 65535 s at most, of which 5 s are margin
MAX_CLIENT_ID = 255
_MAC_SIZE = 6
_ETHERNET = b"\1"  # a client identifier of this and the hardware address says no more than the latter
_DUID_AT = 5  # in a client identifier of type 255, after the IAID (RFC 4361 6.1)
_BOOT_FILE_MAX = 254  # option 67 with the NUL that firmware wants
_SERVER_NAME_MAX = 254
OWN_OPTIONS = frozenset((0, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82, 255))


class Broadcast(enum.Enum):
    """How a client that has no address yet is answered (DHCP-SERVER E4, E5, E10)."""

    AS_ASKED = "as-asked"
    ALWAYS = "always"
    NEVER = "never"


class Probe(enum.Enum):
    """Which addresses are probed with ARP before they are offered (DHCP-SERVER B8).

    REUSED: those that another client had before, or whose block came from another node; a new address of a block of
    ours is offered at once.
    """

    NEVER = "never"
    REUSED = "reused"
    ALWAYS = "always"


def _prefix_text(prefix: int, prefix_len: int) -> str:
    return f"{dotted(prefix & 0xFFFFFFFF)}/{prefix_len}"


@dataclass(frozen=True, slots=True)
class Network:
    """An IPv4 prefix; a single address is one of length 32."""

    prefix: int
    prefix_len: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.prefix_len <= 32:
            raise ConfigError(f"prefix length /{self.prefix_len} is not between /0 and /32")
        if not 0 <= self.prefix <= 0xFFFFFFFF or self.prefix & (0xFFFFFFFF >> self.prefix_len):
            raise ConfigError(f"{self} has bits set beyond its length; write the network's first address")

    def __contains__(self, address: int) -> bool:
        return address >> (32 - self.prefix_len) == self.prefix >> (32 - self.prefix_len)

    @property
    def last(self) -> int:
        """The last address."""
        return self.prefix | 0xFFFFFFFF >> self.prefix_len

    def __str__(self) -> str:
        return _prefix_text(self.prefix, self.prefix_len)


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses from ``first`` to ``last``, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= 0xFFFFFFFF:
            raise ConfigError(f"range {self} ends before it begins; write the lower address first")

    def __contains__(self, address: int) -> bool:
        return self.first <= address <= self.last

    def __str__(self) -> str:
        return f"{dotted(self.first & 0xFFFFFFFF)}-{dotted(self.last & 0xFFFFFFFF)}"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a group of clients gets. Whatever is None or missing is as the next wider group has it: a reservation before
    its client's classes, those before the subnet, that before everyone.

    ``options``: code to value. ``forced``: codes sent even to clients that do not request them. ``lease_time_s``: for
    clients that ask for no time; ``min_lease_s`` and ``max_lease_s``: bounds for those that do, in seconds.
    ``next_server`` (siaddr), ``boot_file`` and ``server_name``: for booting over the network. ``broadcast``: overrules
    the client's broadcast flag. ``v6only_wait_s``: tell clients that request option 108 to do without IPv4 for so long
    (RFC 8925); 0 is a value, None sends none.
    """

    options: Mapping[int, bytes] = field(default_factory=dict)
    forced: frozenset[int] = frozenset()
    lease_time_s: int | None = None
    min_lease_s: int | None = None
    max_lease_s: int | None = None
    next_server: int | None = None
    boot_file: bytes | None = None
    server_name: bytes | None = None
    broadcast: Broadcast | None = None
    v6only_wait_s: int | None = None

    def __post_init__(self) -> None:
        for code in (*self.options, *self.forced):
            if code in OWN_OPTIONS or not 0 < code < 255:
                raise ConfigError(f"option {code} is set by the server itself; leave it out")
        for name in ("lease_time_s", "min_lease_s", "max_lease_s"):
            seconds = getattr(self, name)
            if seconds is not None and not 1 <= seconds <= MAX_LEASE_S:
                raise ConfigError(f"{name.removesuffix('_s').replace('_', ' ')} {seconds} s is not a lease time")
        low, default, high = self.min_lease_s, self.lease_time_s, self.max_lease_s
        if low is not None and high is not None and low > high:
            raise ConfigError(f"min lease {low} s is longer than max lease {high} s")
        if default is not None and ((low is not None and default < low) or (high is not None and default > high)):
            raise ConfigError(f"lease time {default} s is not between min lease and max lease")
        if self.boot_file is not None and len(self.boot_file) > _BOOT_FILE_MAX:
            raise ConfigError(f"boot file name is longer than {_BOOT_FILE_MAX} bytes")
        if self.server_name is not None and len(self.server_name) > _SERVER_NAME_MAX:
            raise ConfigError(f"boot server name is longer than {_SERVER_NAME_MAX} bytes")
        if self.v6only_wait_s is not None and not 0 <= self.v6only_wait_s <= 0xFFFFFFFF:
            raise ConfigError(f"IPv6-only wait {self.v6only_wait_s} s does not fit option 108")


@dataclass(frozen=True, slots=True)
class Reservation:
    """One host. It is recognised by any of ``hardware_addresses``, ``client_ids`` (option 61 as on the wire), ``duids``
    (the DUID inside an RFC 4361 client identifier) and ``hostnames`` (what it calls itself, without regard to case).

    ``address``: it alone gets this one; None: any. ``hostname``: sent as option 12, and shown. ``deny``: it is not
    served at all. ``name``: for people; the hostname or first hardware address if left empty.
    """

    hardware_addresses: tuple[bytes, ...] = ()
    client_ids: tuple[bytes, ...] = ()
    duids: tuple[bytes, ...] = ()
    hostnames: tuple[bytes, ...] = ()
    address: int | None = None
    hostname: bytes = b""
    profile: Profile = field(default_factory=Profile)
    deny: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self._derived_name())
        if not (self.hardware_addresses or self.client_ids or self.duids or self.hostnames):
            raise ConfigError(f"host {self.name}: give a hardware address, client identifier, DUID or host name")
        for mac in self.hardware_addresses:
            if len(mac) != _MAC_SIZE or mac[0] & 1 or not any(mac):
                raise ConfigError(f"host {self.name}: {mac.hex(':') or 'nothing'} is no device's hardware address")
        for client_id in self.client_ids:
            if not 1 <= len(client_id) <= MAX_CLIENT_ID:
                raise ConfigError(f"host {self.name}: a client identifier has 1 to {MAX_CLIENT_ID} bytes")
        if not all((*self.duids, *self.hostnames)):
            raise ConfigError(f"host {self.name}: an empty DUID or host name recognises nobody")
        if len(self.hostname) > 255 or any(byte < 33 or byte == 127 for byte in self.hostname):
            raise ConfigError(f"host {self.name}: its hostname has spaces or control characters, or is too long")

    def recognises(self, identity: bytes, chaddr: bytes) -> bool:
        """Whether this host is the client with that key (see :func:`ddhcp.dhcp.identity`) and chaddr (16 bytes).

        A host known by its name alone is not told apart here: whoever saw its request has looked at the name.
        """
        mac = chaddr[:_MAC_SIZE]
        if mac in self.hardware_addresses or _ETHERNET + mac in self.client_ids:
            return True
        if not (self.hardware_addresses or self.client_ids or self.duids):
            return True
        if identity[:1] != b"\0":
            return False
        client_id = identity[1:]
        return client_id in self.client_ids or (client_id[:1] == b"\xff" and client_id[_DUID_AT:] in self.duids)

    def _derived_name(self) -> str:
        if self.hostname:
            return self.hostname.decode("ascii", "backslashreplace")
        if self.hardware_addresses:
            return self.hardware_addresses[0].hex(":")
        return dotted(self.address) if self.address is not None else "without name"


@dataclass(frozen=True, slots=True)
class ClientClass:
    """Clients that have something in common: all criteria that are given must hold, each by one of its values.

    ``vendor_prefixes``: option 60 begins so. ``user_classes``: option 77 is or contains it. ``mac_prefixes``: 1 to 6
    bytes the hardware address begins with. ``circuit_ids``, ``remote_ids``: sub-options 1 and 2 of option 82, exact.
    ``deny``: such clients are not served. No pattern is ever run over what a client sent (I23).
    """

    name: str
    vendor_prefixes: tuple[bytes, ...] = ()
    user_classes: tuple[bytes, ...] = ()
    mac_prefixes: tuple[bytes, ...] = ()
    circuit_ids: tuple[bytes, ...] = ()
    remote_ids: tuple[bytes, ...] = ()
    profile: Profile = field(default_factory=Profile)
    deny: bool = False

    def __post_init__(self) -> None:
        criteria = (self.vendor_prefixes, self.user_classes, self.mac_prefixes, self.circuit_ids, self.remote_ids)
        if not any(criteria):
            raise ConfigError(f"class {self.name}: give a criterion, else it would be everyone")
        if not all(value for values in criteria for value in values):
            raise ConfigError(f"class {self.name}: an empty value matches nobody or everybody; leave it out")
        if any(len(prefix) > _MAC_SIZE for prefix in self.mac_prefixes):
            raise ConfigError(f"class {self.name}: a hardware address prefix has at most {_MAC_SIZE} bytes")


@dataclass(frozen=True, slots=True)
class Subnet:
    """A part of the pool for clients of one network: those behind ``relays`` (giaddr), on a client interface whose
    address lies in ``network``, or whose relay selects it (RFC 3527, RFC 3011).

    ``network``: at least one block in size, inside the pool. ``ranges``: where addresses are given out freely; empty
    for everywhere. ``routers``: option 3, and never leased. ``relays``: accepted for this subnet.
    """

    network: Network
    name: str = ""
    ranges: tuple[AddressRange, ...] = ()
    routers: tuple[int, ...] = ()
    relays: tuple[Network, ...] = ()
    profile: Profile = field(default_factory=Profile)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", str(self.network))
        for each in self.ranges:
            if each.first not in self.network or each.last not in self.network:
                raise ConfigError(f"subnet {self.name}: range {each} is not inside {self.network}")
        for router in self.routers:
            if router not in self.network:
                raise ConfigError(f"subnet {self.name}: router {dotted(router)} is not inside {self.network}")


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Addresses that somebody else uses.

    ``probe``, ``probe_timeout_s``: ARP before an OFFER, and how long to listen for an answer. ``probation_s``: how long
    a declined address, or one found in use, is left alone. A client's declines beyond ``declines_per_client`` in
    ``probation_s`` are ignored, and so are all while more than ``max_declined_share`` (0 to 1) of this node's addresses
    are on probation (F4).
    """

    probe: Probe = Probe.REUSED
    probe_timeout_s: float = DEFAULT_PROBE_TIMEOUT_S
    probation_s: int = DEFAULT_DECLINE_PROBATION_S
    declines_per_client: int = 3
    max_declined_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.probe_timeout_s <= MAX_PROBE_TIMEOUT_S:
            raise ConfigError(f"probe timeout {self.probe_timeout_s:g} s is not between 0 and {MAX_PROBE_TIMEOUT_S} s")
        if not 1 <= self.probation_s <= 86400:
            raise ConfigError(f"decline probation {self.probation_s} s is not between 1 s and a day")
        if self.declines_per_client < 1:
            raise ConfigError(f"declines per client {self.declines_per_client} is not positive")
        if not 0 < self.max_declined_share <= 1:
            raise ConfigError(f"share of declined addresses {self.max_declined_share} is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, or all of them, may cost; 0 switches a limit off. Rates are per second, with a burst that is
    forgiven at once.

    ``identities_per_mac``: client identifiers with an address under one hardware address at a time.
    ``discover_*`` and ``nak_*``: per hardware address, and from all together. All DISCOVERs together have about what a
    node can serve, and at once a crowd that no node has in front of it: what is beyond that keeps it from renewals.
    """

    identities_per_mac: int = 8
    discover_per_s: float = 5.0
    discover_burst: int = 20
    total_discover_per_s: float = 5000.0
    total_discover_burst: int = 20_000
    nak_per_s: float = 0.5
    nak_burst: int = 5
    total_nak_per_s: float = 100.0
    total_nak_burst: int = 1000

    def __post_init__(self) -> None:
        for limit in fields(self):
            if getattr(self, limit.name) < 0:
                raise ConfigError(f"limit {limit.name.replace('_', '-')} is negative; use 0 for no limit")


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it.

    ``everyone``: but for options and lease time, which are ``NodeConfig``'s. ``denied``: hardware addresses not
    served. ``relays``: accepted for any subnet; others' requests are dropped (I27). ``ignore_client_id``: go by
    hardware address alone (G4). ``echo_client_id``: return option 61, as RFC 6842 wants (C4). ``authoritative``: the
    swarm is the only server of its networks: a client that asks to keep an address of another network is refused at
    once, and one that nobody remembers may keep a free address (D5, D7). ``rapid_commit``: RFC 4039 (C17).
    ``leasequery_sources``: who may ask DHCPLEASEQUERY (F8).
    """

    everyone: Profile = field(default_factory=Profile)
    reservations: tuple[Reservation, ...] = ()
    classes: tuple[ClientClass, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    denied: frozenset[bytes] = frozenset()
    relays: tuple[Network, ...] = ()
    ignore_client_id: bool = False
    echo_client_id: bool = True
    authoritative: bool = True
    rapid_commit: bool = False
    leasequery_sources: tuple[Network, ...] = ()
    conflicts: Conflicts = field(default_factory=Conflicts)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.everyone.options or self.everyone.lease_time_s is not None:
            raise ConfigError("options and lease time of everyone are the node's own; leave them out of the policy")
        for mac in self.denied:
            if len(mac) != _MAC_SIZE:
                raise ConfigError(f"denied hardware address {mac.hex(':')} does not have {_MAC_SIZE} bytes")
        _require_unique("class", (each.name for each in self.classes))
        _require_unique("subnet", (each.name for each in self.subnets))
        _require_unique("reserved address", (dotted(r.address) for r in self.reservations if r.address is not None))
        for what, field_name in (
            ("hardware address", "hardware_addresses"),
            ("client identifier", "client_ids"),
            ("DUID", "duids"),
        ):
            values = (value.hex(":") for r in self.reservations for value in getattr(r, field_name))
            _require_unique(f"{what} of two hosts,", values)
        _require_unique(
            "host name", (n.lower().decode(errors="replace") for r in self.reservations for n in r.hostnames)
        )

    def check_against(self, pool: Pool) -> None:
        """Raise :class:`ConfigError` when reservations or subnets do not fit the pool."""
        for reservation in self.reservations:
            address = reservation.address
            if address is not None and (address not in pool or address in (pool.prefix, pool.broadcast)):
                raise ConfigError(
                    f"host {reservation.name}: {dotted(address)} is not an address of the pool {pool}; "
                    "only those are the swarm's to give"
                )
        for subnet in self.subnets:
            network = subnet.network
            if network.prefix not in pool or network.last not in pool:
                raise ConfigError(f"subnet {subnet.name}: {network} is not inside the pool {pool}")
            if 1 << (32 - network.prefix_len) < pool.block_size:
                raise ConfigError(
                    f"subnet {subnet.name}: {network} is smaller than a block of {pool.block_size} addresses; "
                    "use a larger subnet or smaller blocks (-b)"
                )
            for other in self.subnets:
                if other is not subnet and network.prefix in other.network:
                    raise ConfigError(f"subnet {subnet.name} overlaps subnet {other.name}")


def _require_unique(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"{what} {value} is given twice")
        seen.add(value)
