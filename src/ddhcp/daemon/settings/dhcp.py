"""The settings of DHCP policy: what clients get, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from ...core import config as core
from ...core import policy
from .kinds import (
    ADDRESS,
    MAC,
    NETWORK,
    OCTETS,
    RANGE,
    SOURCE,
    SWITCH,
    Choice,
    ListOf,
    Number,
    OneOrMore,
    Seconds,
    Span,
    Text,
    Whole,
)
from .options import OPTION_NAME, OPTIONS
from .setting import Entries, Setting

MAX_RESERVATIONS = 100_000
MAX_CLASSES = 256  # each is compared with every request
MAX_SUBNETS = 1024
MAX_NAMES = 64  # hardware addresses, client identifiers and so on of one host, or values of one criterion
MAX_LIST = 1024  # entries of one list
_Names = tuple[bytes, ...]

_conflicts, _limits, _policy = policy.Conflicts(), policy.Limits(), policy.Policy()

# --- a profile: what a group of clients gets ------------------------------------------------------------
# Each of these stands in [dhcp] for everyone, and in reservations, classes and subnets for those.

LEASE_TIME = Setting(
    "lease-time", Seconds(1, policy.MAX_LEASE_S), core.DEFAULT_LEASE_TIME_S,
    "How long a lease runs unless the client asks for another time; "
    f"{policy.LONGEST_GRANT_S} s at most, as no claim of a block holds for longer", example="12h", reloadable=True,
)  # fmt: skip
MIN_LEASE_TIME: Setting[int | None] = Setting(
    "min-lease-time", Seconds(1, policy.MAX_LEASE_S), None, "The shortest lease that a client may ask for",
    f"{policy.DEFAULT_MIN_LEASE_S} s, or the lease time if that is shorter", example=60, reloadable=True,
)  # fmt: skip
MAX_LEASE_TIME: Setting[int | None] = Setting(
    "max-lease-time", Seconds(1, policy.MAX_LEASE_S), None, f"The longest lease that a client may ask for, "
    f"{policy.LONGEST_GRANT_S} s at most", "the lease time", example="18h", reloadable=True,
)  # fmt: skip
FORCED: Setting[tuple[int, ...]] = Setting(
    "force-options", ListOf(OPTION_NAME, MAX_LIST), (), "Options sent even to clients that do not ask for them",
    example=["domain-search"], reloadable=True,
)  # fmt: skip
NEXT_SERVER: Setting[IPv4Address | None] = Setting(
    "next-server", ADDRESS, None, "The boot server's address, for clients that boot over the network", "none",
    example="10.0.0.2", reloadable=True,
)  # fmt: skip
BOOT_FILE: Setting[str | None] = Setting(
    "boot-file", Text("the name of a file"), None, "The file that such clients load", "none", example="pxelinux.0",
    reloadable=True,
)  # fmt: skip
SERVER_NAME: Setting[str | None] = Setting(
    "server-name", Text("a host name"), None, "The boot server's name", "none", example="boot.example", reloadable=True,
)  # fmt: skip
BROADCAST: Setting[str | None] = Setting(
    "broadcast", Choice(*(each.value for each in policy.Broadcast)), None,
    "How a client without address is answered: as it asks, or always or never by broadcast", '"as-asked"',
    example="as-asked", reloadable=True,
)  # fmt: skip
V6ONLY_WAIT: Setting[int | None] = Setting(
    "v6only-wait", Seconds(0, 0xFFFFFFFF), None,
    "Tell clients that can do with IPv6 alone to do so for this long (RFC 8925)", "they are not told", example="30m",
    reloadable=True,
)  # fmt: skip
PROFILE: tuple[Setting[object], ...] = (
    LEASE_TIME, MIN_LEASE_TIME, MAX_LEASE_TIME, FORCED, NEXT_SERVER, BOOT_FILE, SERVER_NAME, BROADCAST, V6ONLY_WAIT,
)  # fmt: skip
OWN_OPTIONS: Setting[Mapping[int, bytes]] = Setting(
    "options", OPTIONS, {}, "DHCP options, on top of those for everyone", "none",
    example={"dns-servers": ["10.0.0.3"]}, reloadable=True,
)  # fmt: skip

_EVERYONE = tuple(setting.within("dhcp") for setting in PROFILE)
LEASE_TIME_OF_ALL = LEASE_TIME.within("dhcp")
OPTIONS_OF_ALL: Setting[Mapping[int, bytes]] = Setting(
    "options", OPTIONS, {},
    "DHCP options for every client, by name or code, with values as they are read: addresses, numbers, text, lists. "
    "Lease time and its fractions have settings of their own",
    "those that follow from the network: subnet mask, broadcast address, server identifier",
    example={
        "routers": ["10.0.0.1"], "dns-servers": ["10.0.0.1", "10.0.0.2"], "domain-name": "mesh.example",
        "routes": ["10.1.0.0/16 via 10.0.0.1"],
    },
    reloadable=True, merges=True,
)  # fmt: skip

# --- everyone ---------------------------------------------------------------------------------------

IGNORE_CLIENT_ID = Setting(
    "dhcp.ignore-client-id", SWITCH, _policy.ignore_client_id,
    "Tell clients apart by hardware address alone, so that a machine has one address in all its systems",
    reloadable=True,
)  # fmt: skip
ECHO_CLIENT_ID = Setting(
    "dhcp.echo-client-id", SWITCH, _policy.echo_client_id, "Return the client identifier in replies (RFC 6842)",
    reloadable=True,
)  # fmt: skip
AUTHORITATIVE = Setting(
    "dhcp.authoritative", SWITCH, _policy.authoritative,
    "This swarm is the only server of its networks: a client that brings an address of another network is refused at "
    "once, so that it starts over",
    reloadable=True,
)  # fmt: skip
RAPID_COMMIT = Setting(
    "dhcp.rapid-commit", SWITCH, _policy.rapid_commit,
    "Lease at once to clients that ask for it (RFC 4039). Only where one node serves each segment", reloadable=True,
)  # fmt: skip
DENY: Setting[_Names] = Setting(
    "dhcp.deny", ListOf(MAC, MAX_RESERVATIONS), (), "Hardware addresses that are not served",
    example=["02:00:5e:00:00:66"], reloadable=True,
)  # fmt: skip
RELAYS: Setting[tuple[IPv4Network, ...]] = Setting(
    "dhcp.relays", ListOf(SOURCE, MAX_LIST), (),
    "Relay agents (giaddr) that are accepted, beside those of subnets; requests from any other are dropped",
    example=["10.0.5.1"], reloadable=True,
)  # fmt: skip
LEASEQUERY_SOURCES: Setting[tuple[IPv4Network, ...]] = Setting(
    "dhcp.leasequery-sources", ListOf(SOURCE, MAX_LIST), (), "Who may ask about leases (RFC 4388)",
    example=["10.0.0.9"], reloadable=True,
)  # fmt: skip

# --- conflicts and limits -----------------------------------------------------------------------------

PROBE = Setting(
    "conflicts.probe", Choice(*(each.value for each in policy.Probe)), _conflicts.probe.value,
    "Which addresses are probed with ARP before they are offered: none, those somebody else may still use, or all",
    reloadable=True,
)  # fmt: skip
PROBE_TIMEOUT = Setting(
    "conflicts.probe-timeout", Number(0.01, policy.MAX_PROBE_TIMEOUT_S), _conflicts.probe_timeout_s,
    "How long to listen for an answer, in seconds", reloadable=True,
)  # fmt: skip
PROBATION = Setting(
    "conflicts.probation", Seconds(1, 86400), _conflicts.probation_s,
    "How long an address is left alone that a client declined or that was found in use", reloadable=True,
)  # fmt: skip
DECLINES_PER_CLIENT = Setting(
    "conflicts.declines-per-client", Whole(1, 1000), _conflicts.declines_per_client,
    "How many addresses one client may decline within the probation", reloadable=True,
)  # fmt: skip
MAX_DECLINED_SHARE = Setting(
    "conflicts.max-declined-share", Number(0.001, 1.0), _conflicts.max_declined_share,
    "The share of this node's addresses beyond which declines are no longer believed", reloadable=True,
)  # fmt: skip
_RATE, _COUNT = Number(0, 1e6), Whole(0, 1_000_000)
LIMITS: dict[str, Setting[float]] = {
    name: Setting(f"limits.{name.replace('_per_s', '-per-second').replace('_', '-')}", kind, getattr(_limits, name),
                  f"{text}; 0: no limit", reloadable=True)
    for name, kind, text in (
        ("identities_per_mac", _COUNT, "Client identifiers with an address under one hardware address at a time"),
        ("discover_per_s", _RATE, "DISCOVERs per second of one hardware address"),
        ("discover_burst", _COUNT, "How many of those may come at once"),
        ("total_discover_per_s", _RATE, "DISCOVERs per second of all together"),
        ("total_discover_burst", _COUNT, "How many of those may come at once"),
        ("nak_per_s", _RATE, "Refusals per second to one hardware address"),
        ("nak_burst", _COUNT, "How many of those may leave at once"),
        ("total_nak_per_s", _RATE, "Refusals per second to all together"),
        ("total_nak_burst", _COUNT, "How many of those may leave at once"),
    )
}  # fmt: skip

SETTINGS: tuple[Setting[object], ...] = (
    *_EVERYONE, IGNORE_CLIENT_ID, ECHO_CLIENT_ID, AUTHORITATIVE, RAPID_COMMIT, DENY, RELAYS, LEASEQUERY_SOURCES,
    OPTIONS_OF_ALL, PROBE, PROBE_TIMEOUT, PROBATION, DECLINES_PER_CLIENT, MAX_DECLINED_SHARE, *LIMITS.values(),
)  # fmt: skip

# --- hosts, classes, subnets --------------------------------------------------------------------------

NAME: Setting[str | None] = Setting("name", Text("a name"), None, "What it is called in logs and answers", "derived")
DENIED = Setting("deny", SWITCH, False, "Do not serve at all")

HOST_MAC: Setting[_Names] = Setting("mac", OneOrMore(MAC, MAX_NAMES), (), "Its hardware address")
HOST_CLIENT_ID: Setting[_Names] = Setting(
    "client-id", OneOrMore(OCTETS, MAX_NAMES), (), "Its client identifier, option 61 as it is sent"
)
HOST_DUID: Setting[_Names] = Setting(
    "duid", OneOrMore(OCTETS, MAX_NAMES), (), "The DUID within its client identifier (RFC 4361)"
)
HOST_CALLED: Setting[tuple[str, ...]] = Setting(
    "called", OneOrMore(Text("a host name"), MAX_NAMES), (),
    "The host name that it sends, upper or lower case alike; anybody can send it",
)  # fmt: skip
HOST_ADDRESS: Setting[IPv4Address | None] = Setting(
    "address", ADDRESS, None, "The address that it gets, and nobody else", "any"
)
HOST_HOSTNAME: Setting[str | None] = Setting("hostname", Text("a host name"), None, "The name that it is given", "none")
RESERVATION = Entries(
    "reservation",
    "A host that gets its own address, options or none at all. It is recognised by any of mac, client-id, duid and "
    "called.",
    (
        HOST_MAC, HOST_CLIENT_ID, HOST_DUID, HOST_CALLED, HOST_ADDRESS, HOST_HOSTNAME, NAME, DENIED, OWN_OPTIONS),
    MAX_RESERVATIONS, PROFILE, reloadable=True,
    example={"mac": "02:00:5e:10:00:01", "address": "10.0.0.17", "hostname": "printer", "name": "printer"},
)  # fmt: skip

VENDOR_CLASS: Setting[tuple[str, ...]] = Setting(
    "vendor-class", OneOrMore(Text(), MAX_NAMES), (), "What the vendor class (option 60) begins with"
)
USER_CLASS: Setting[tuple[str, ...]] = Setting(
    "user-class", OneOrMore(Text(), MAX_NAMES), (), "What the user class (option 77) is or contains"
)
MAC_PREFIX: Setting[_Names] = Setting(
    "mac-prefix", OneOrMore(OCTETS, MAX_NAMES), (), "What the hardware address begins with, 1 to 6 bytes"
)
CIRCUIT_ID: Setting[_Names] = Setting(
    "circuit-id", OneOrMore(OCTETS, MAX_NAMES), (), "The circuit identifier that the relay agent adds"
)
REMOTE_ID: Setting[_Names] = Setting(
    "remote-id", OneOrMore(OCTETS, MAX_NAMES), (), "The remote identifier that the relay agent adds"
)
CLASS_NAME = Setting("name", Text("a name"), "", "What the class is called")
CLASS = Entries(
    "class",
    "Clients that have something in common: every criterion that is given must hold, by any of its values.",
    (CLASS_NAME, VENDOR_CLASS, USER_CLASS, MAC_PREFIX, CIRCUIT_ID, REMOTE_ID, DENIED, OWN_OPTIONS),
    MAX_CLASSES, PROFILE, reloadable=True, required=("name",), example={"name": "phones", "vendor-class": "yealink"},
)  # fmt: skip

SUBNET_NETWORK: Setting[IPv4Network | None] = Setting(
    "network", NETWORK, None, "Its addresses, a part of the pool of at least one block"
)
SUBNET_RANGES: Setting[tuple[Span, ...]] = Setting(
    "ranges", ListOf(RANGE, MAX_LIST), (), "Where in it addresses are given out freely", "everywhere"
)
SUBNET_ROUTERS: Setting[tuple[IPv4Address, ...]] = Setting(
    "routers", ListOf(ADDRESS, MAX_NAMES), (), "Its routers, which are never leased"
)
SUBNET_RELAYS: Setting[tuple[IPv4Network, ...]] = Setting(
    "relays", ListOf(SOURCE, MAX_LIST), (), "Relay agents (giaddr) whose clients belong to it"
)
SUBNET = Entries(
    "subnet",
    "A part of the pool for clients of one network: those behind its relays, or on a client interface in it.",
    (SUBNET_NETWORK, NAME, SUBNET_RANGES, SUBNET_ROUTERS, SUBNET_RELAYS, OWN_OPTIONS),
    MAX_SUBNETS, PROFILE, reloadable=True, required=("network",),
    example={
        "network": "10.0.5.0/24", "name": "hall", "ranges": ["10.0.5.10-10.0.5.250"], "routers": ["10.0.5.1"],
        "relays": ["10.0.5.1"],
    },
)  # fmt: skip

ENTRIES: tuple[Entries, ...] = (RESERVATION, CLASS, SUBNET)
