"""From settings to the core's DHCP policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from ...core import policy as core
from ...core.errors import ConfigError
from ...core.pool import Pool
from ...dhcp.constants import OPT_SERVER_ID
from . import dhcp
from .setting import Entries, Entry, Problem, Setting, Settings

T = TypeVar("T")
_Get = Callable[[Setting[object]], object]


def make_policy(settings: Settings) -> core.Policy:
    """The policy that sound settings describe. Raises :class:`~ddhcp.core.errors.ConfigError` if they are not."""
    policy, problems = _read(settings)
    if policy is None:
        raise ConfigError(str(problems[0]))
    return policy


def policy_problems(settings: Settings) -> list[Problem]:
    """What is wrong with the policy, each at its table."""
    return _read(settings)[1]


def pool_problems(settings: Settings, pool: Pool) -> list[Problem]:
    """Which reservations and subnets do not fit the pool."""
    policy = make_policy(settings)
    problems: list[Problem] = []
    for position, reservation in enumerate(policy.reservations):
        _try(problems, ("reservation", position), core.Policy(reservations=(reservation,)).check_against, pool)
    for position, subnet in enumerate(policy.subnets):
        _try(problems, ("subnet", position), core.Policy(subnets=(subnet,)).check_against, pool)
    return problems


def _try(problems: list[Problem], place: tuple[str | int, ...], check: Callable[[Pool], None], pool: Pool) -> None:
    try:
        check(pool)
    except ConfigError as error:
        problems.append(Problem(str(error), place))


def _read(settings: Settings) -> tuple[core.Policy | None, list[Problem]]:
    problems: list[Problem] = []

    def all_of(entries: Entries, make: Callable[[Entry], T]) -> tuple[T, ...]:
        made = []
        for entry in settings.all_of(entries):
            try:
                made.append(make(entry))
            except ConfigError as error:
                problems.append(Problem(str(error), entry.place))
        return tuple(made)

    reservations = all_of(dhcp.RESERVATION, _reservation)
    classes = all_of(dhcp.CLASS, _class)
    subnets = all_of(dhcp.SUBNET, _subnet)
    problems += _given_twice(settings) + _overlapping(settings)
    if problems:
        return None, problems
    try:
        return core.Policy(
            everyone=_everyone(settings),
            reservations=reservations,
            classes=classes,
            subnets=subnets,
            denied=frozenset(settings[dhcp.DENY]),
            relays=_networks(settings[dhcp.RELAYS]),
            ignore_client_id=settings[dhcp.IGNORE_CLIENT_ID],
            echo_client_id=settings[dhcp.ECHO_CLIENT_ID],
            authoritative=settings[dhcp.AUTHORITATIVE],
            rapid_commit=settings[dhcp.RAPID_COMMIT],
            leasequery_sources=_networks(settings[dhcp.LEASEQUERY_SOURCES]),
            conflicts=core.Conflicts(
                probe=core.Probe(settings[dhcp.PROBE]),
                probe_timeout_s=settings[dhcp.PROBE_TIMEOUT],
                probation_s=settings[dhcp.PROBATION],
                declines_per_client=settings[dhcp.DECLINES_PER_CLIENT],
                max_declined_share=settings[dhcp.MAX_DECLINED_SHARE],
            ),
            limits=core.Limits(**{name: settings[setting] for name, setting in dhcp.LIMITS.items()}),  # type: ignore[arg-type]
        ), []
    except ConfigError as error:
        return None, [Problem(str(error), ("dhcp",))]


def _given_twice(settings: Settings) -> list[Problem]:
    """What tells two hosts apart but stands at both; the names of two classes or subnets."""
    problems: list[Problem] = []
    unique: tuple[tuple[Entries, Setting[object]], ...] = (
        (dhcp.RESERVATION, dhcp.HOST_MAC), (dhcp.RESERVATION, dhcp.HOST_CLIENT_ID), (dhcp.RESERVATION, dhcp.HOST_DUID),
        (dhcp.RESERVATION, dhcp.HOST_CALLED), (dhcp.RESERVATION, dhcp.HOST_ADDRESS), (dhcp.CLASS, dhcp.CLASS_NAME),
        (dhcp.SUBNET, dhcp.NAME),
    )  # fmt: skip
    for entries, setting in unique:
        seen: dict[object, Entry] = {}
        for entry in settings.all_of(entries):
            given = entry.get(setting)
            for value in given if isinstance(given, tuple) else (given,) if given else ():
                key = value.lower() if isinstance(value, str) and setting is dhcp.HOST_CALLED else value
                other = seen.setdefault(key, entry)
                if other is not entry:
                    text = value.hex(":") if isinstance(value, bytes) else str(value)
                    reason = f"{text} stands at {entries.name}[{int(other.place[-1]) + 1}] already"
                    problems.append(Problem(reason, (*entry.place, setting.name)))
    return problems


def _overlapping(settings: Settings) -> list[Problem]:
    """Subnets that share addresses: then one of the two lies in the other. To blame is the later in the file."""
    problems: list[Problem] = []
    outer: tuple[IPv4Network, Entry] | None = None
    found = [(network, entry) for entry in settings.all_of(dhcp.SUBNET) if (network := entry.get(dhcp.SUBNET_NETWORK))]
    for each in sorted(found, key=lambda pair: pair[0]):  # a network before those in it
        if outer is None or not each[0].subnet_of(outer[0]):
            outer = each
            continue
        (first, earlier), (second, later) = sorted((outer, each), key=lambda pair: pair[1].place)
        reason = f"{second} overlaps {first} of subnet[{int(earlier.place[-1]) + 1}]"
        problems.append(Problem(reason, (*later.place, dhcp.SUBNET_NETWORK.name)))
    return problems


# --- profiles ---------------------------------------------------------------------------------------


def _profile(entry: Entry) -> core.Profile:
    lease_s = entry.get(dhcp.LEASE_TIME) if entry.has(dhcp.LEASE_TIME) else None
    return _make_profile(lambda setting: entry.get(setting), lease_s, entry.get(dhcp.OWN_OPTIONS))


def _everyone(settings: Settings) -> core.Profile:
    """What holds for everyone beside lease time and options, which the node is told on their own."""
    by_name = {setting.name: setting for setting in dhcp.SETTINGS if setting.table == "dhcp"}

    def get(setting: Setting[object]) -> object:
        return settings[by_name[setting.name]]

    options = dict(settings[dhcp.OPTIONS_OF_ALL])
    options.pop(OPT_SERVER_ID, None)  # unlike a host, a subnet or a class, the node may name itself
    _make_profile(get, settings[dhcp.LEASE_TIME_OF_ALL], options)  # to have them checked together
    return _make_profile(get, None, {})


def _make_profile(get: Callable[..., object], lease_s: int | None, options: object) -> core.Profile:
    def of(setting: Setting[T]) -> T:
        return get(setting)  # type: ignore[return-value]

    next_server, broadcast = of(dhcp.NEXT_SERVER), of(dhcp.BROADCAST)
    return core.Profile(
        options=options,  # type: ignore[arg-type]
        forced=frozenset(of(dhcp.FORCED)),
        lease_time_s=lease_s,
        min_lease_s=of(dhcp.MIN_LEASE_TIME),
        max_lease_s=of(dhcp.MAX_LEASE_TIME),
        next_server=int(next_server) if next_server is not None else None,
        boot_file=_bytes(of(dhcp.BOOT_FILE)),
        server_name=_bytes(of(dhcp.SERVER_NAME)),
        broadcast=core.Broadcast(broadcast) if broadcast is not None else None,
        v6only_wait_s=of(dhcp.V6ONLY_WAIT),
    )


# --- hosts, classes, subnets --------------------------------------------------------------------------


def _reservation(entry: Entry) -> core.Reservation:
    address = entry.get(dhcp.HOST_ADDRESS)
    return core.Reservation(
        hardware_addresses=entry.get(dhcp.HOST_MAC),
        client_ids=entry.get(dhcp.HOST_CLIENT_ID),
        duids=entry.get(dhcp.HOST_DUID),
        hostnames=_all_bytes(entry.get(dhcp.HOST_CALLED)),
        address=int(address) if address is not None else None,
        hostname=_bytes(entry.get(dhcp.HOST_HOSTNAME)) or b"",
        profile=_profile(entry),
        deny=entry.get(dhcp.DENIED),
        name=entry.get(dhcp.NAME) or "",
    )


def _class(entry: Entry) -> core.ClientClass:
    return core.ClientClass(
        name=entry.get(dhcp.CLASS_NAME),
        vendor_prefixes=_all_bytes(entry.get(dhcp.VENDOR_CLASS)),
        user_classes=_all_bytes(entry.get(dhcp.USER_CLASS)),
        mac_prefixes=entry.get(dhcp.MAC_PREFIX),
        circuit_ids=entry.get(dhcp.CIRCUIT_ID),
        remote_ids=entry.get(dhcp.REMOTE_ID),
        profile=_profile(entry),
        deny=entry.get(dhcp.DENIED),
    )


def _subnet(entry: Entry) -> core.Subnet:
    network = entry.get(dhcp.SUBNET_NETWORK)
    assert network is not None, "it is required"
    return core.Subnet(
        network=_network(network),
        name=entry.get(dhcp.NAME) or "",
        ranges=tuple(core.AddressRange(int(span.first), int(span.last)) for span in entry.get(dhcp.SUBNET_RANGES)),
        routers=_addresses(entry.get(dhcp.SUBNET_ROUTERS)),
        relays=_networks(entry.get(dhcp.SUBNET_RELAYS)),
        profile=_profile(entry),
    )


def _bytes(text: str | None) -> bytes | None:
    return text.encode() if text is not None else None


def _all_bytes(texts: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


def _addresses(addresses: Iterable[IPv4Address]) -> tuple[int, ...]:
    return tuple(map(int, addresses))


def _network(network: IPv4Network) -> core.Network:
    return core.Network(int(network.network_address), network.prefixlen)


def _networks(networks: Iterable[IPv4Network]) -> tuple[core.Network, ...]:
    return tuple(map(_network, networks))
