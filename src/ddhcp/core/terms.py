"""What a client gets: its subnet, classes and reservation resolved into one set of terms, each set made only once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from ..dhcp import Message, OptionSet
from ..dhcp import constants as c
from ..values import dataclass
from .context import Context
from .events import ClientLink
from .leases import LeaseTable
from .policy import DEFAULT_MIN_LEASE_S, LONGEST_GRANT_S, Broadcast, ClientClass, Network, Profile, Reservation

MAX_TERMS: Final = 4096  # sets kept; more combinations than that are made anew each time around
_MAC_SIZE: Final = 6
# Strings that are NUL-terminated for clients that do so themselves (DHCP-SERVER Q12).
_STRINGS: Final = (c.OPT_HOSTNAME, c.OPT_DOMAIN_NAME, 17, 40, 64, c.OPT_TFTP_SERVER, c.OPT_BOOT_FILE)


@dataclass(slots=True)
class Terms:
    """``zone``: where its address comes from. ``network``: its subnet. ``lease_s``, ``min_s``, ``max_s``: lease times.
    ``options_with_nul``: the same options for clients whose strings end with NUL. ``denied``: the reason why it is not
    served, "" if it is. ``reservation``: with or without an address."""

    link: ClientLink
    zone: int
    network: Network
    server_id: int
    options: OptionSet
    options_with_nul: OptionSet
    lease_s: int
    min_s: int
    max_s: int
    next_server: int
    boot_file: bytes
    server_name: bytes
    broadcast: Broadcast
    v6only: bool
    domain: str
    reservation: Reservation | None
    denied: str

    def lease_time_s(self, wanted: int | None) -> int:
        """The lease time for a client that asks for ``wanted`` seconds (DHCP-SERVER C9). For ever is not to be had: a
        block is never promised for so long."""
        return self.lease_s if wanted is None else max(self.min_s, min(wanted, self.max_s))


class Hosts:
    """The reservations by what their hosts are recognised by."""

    def __init__(self, reservations: Iterable[Reservation]) -> None:
        self._by_mac: dict[bytes, int] = {}
        self._by_client_id: dict[bytes, int] = {}
        self._by_duid: dict[bytes, int] = {}
        self._by_name: dict[bytes, int] = {}
        for number, each in enumerate(reservations):
            self._by_mac.update(dict.fromkeys(each.hardware_addresses, number))
            self._by_client_id.update(dict.fromkeys(each.client_ids, number))
            self._by_duid.update(dict.fromkeys(each.duids, number))
            self._by_name.update(dict.fromkeys((name.lower() for name in each.hostnames), number))

    def of(self, request: Message) -> int | None:
        """The number of the sender's reservation: by hardware address, else client identifier, DUID, host name."""
        found = self._by_mac.get(request.chaddr[:_MAC_SIZE])
        if found is not None:
            return found
        if self._by_client_id or self._by_duid:
            # A client that sends none is the one that would send hardware type and address (G2).
            client_id = request.client_id or bytes((request.htype,)) + request.hardware_address
            found = self._by_client_id.get(client_id, self._by_duid.get(request.duid or b""))
            if found is not None:
                return found
        if not self._by_name:
            return None
        fqdn = request.fqdn
        name = request.hostname or (fqdn.labels[0] if fqdn is not None and fqdn.labels else b"")
        return self._by_name.get(name.lower())


def _matches(each: ClientClass, request: Message) -> bool:
    if each.vendor_prefixes and not request.options.get(c.OPT_VENDOR_CLASS, b"").startswith(each.vendor_prefixes):
        return False
    if each.mac_prefixes and not request.chaddr[:_MAC_SIZE].startswith(each.mac_prefixes):
        return False
    if each.user_classes and not any(value in each.user_classes for value in request.user_classes):
        return False
    # Without a relay between, anybody could say so (C14).
    relay = request.relay_suboptions if request.giaddr and (each.circuit_ids or each.remote_ids) else {}
    if each.circuit_ids and relay.get(c.RELAY_CIRCUIT_ID) not in each.circuit_ids:
        return False
    return not each.remote_ids or relay.get(c.RELAY_REMOTE_ID) in each.remote_ids


class TermsBook:
    """The terms of every client, and the links they are on."""

    def __init__(self, context: Context, leases: LeaseTable) -> None:
        self._context = context
        self._leases = leases
        self.links: dict[str, ClientLink] = {}
        self.node_options: dict[int, bytes] = dict(context.config.options)
        self._plain: dict[str, Terms] = {}
        self._known: dict[tuple[str, int, int | None, int], Terms] = {}
        self.configure()

    def configure(self) -> None:
        """Take the configured policy, which may have changed; :meth:`refresh` is to follow."""
        policy = self._policy = self._context.config.policy
        self._plan = self._leases.plan
        self._hosts = Hosts(policy.reservations) if policy.reservations else None
        self._is_plain = not (policy.reservations or policy.classes or policy.subnets)
        self._relays: dict[int, bool] = {}
        longest_s = self._context.config.lease_time_s
        for profile in self._profiles():
            longest_s = max(longest_s, profile.lease_time_s or 0, profile.max_lease_s or 0)
        self._context.cover_lease(longest_s)
        if longest_s > LONGEST_GRANT_S:
            self._context.log(logging.WARNING, "lease-time-limited", configured=longest_s, seconds=LONGEST_GRANT_S)

    def _profiles(self) -> Iterable[Profile]:
        policy = self._policy
        yield policy.everyone
        for group in (policy.subnets, policy.classes, policy.reservations):
            for each in group:
                yield each.profile

    # --- changes --------------------------------------------------------------------------------

    def link_up(self, link: ClientLink) -> None:
        """A client link serves, or its address changed."""
        self.links[link.name] = link
        self.refresh()

    def link_down(self, name: str) -> None:
        """A client link serves no more."""
        if self.links.pop(name, None) is not None:
            self.refresh()

    def refresh(self) -> None:
        """An option, a link or the lease time changed."""
        self._known.clear()
        self._plain = {name: self._make(link, 0, None, ()) for name, link in self.links.items()}

    # --- questions ------------------------------------------------------------------------------

    def names_another(self, request: Message, terms: Terms) -> bool:
        """Whether option 54 of a request, if there is one, names another server: none of the addresses of this node
        (DHCP-SERVER C3), nor the one by which its relay would have servers known (RFC 5107)."""
        server_id = request.server_identifier
        if server_id is None or server_id == terms.server_id:
            return False
        if request.giaddr and server_id == request.server_identifier_override:
            return False
        return all(server_id != link.address for link in self.links.values())

    def accepts_relay(self, giaddr: int) -> bool:
        """Whether a relay is configured (I27)."""
        if giaddr in (self._context.pool.prefix, self._context.pool.broadcast):
            return False
        known = self._relays.get(giaddr)
        if known is None:
            networks = (*self._policy.relays, *(relay for subnet in self._policy.subnets for relay in subnet.relays))
            known = any(giaddr in network for network in networks)
            if known:  # only these are remembered: a sender may make up as many others as it likes
                self._relays[giaddr] = known
        return known

    def of(self, request: Message, link: ClientLink) -> Terms | None:
        """The terms of who sent ``request``; None if there is no subnet for it (I10)."""
        if self._is_plain:
            if request.giaddr and not self._is_plain_relay(request):
                return None
            return self._plain[link.name]
        zone = self._zone_of(request, link)
        if zone is None:
            return None
        host = self._hosts.of(request) if self._hosts is not None else None
        classes = tuple(number for number, each in enumerate(self._policy.classes) if _matches(each, request))
        bits = sum(1 << number for number in classes)
        key = (link.name, zone, host, bits)
        terms = self._known.get(key)
        if terms is None:
            if len(self._known) >= MAX_TERMS:
                self._known.clear()
            reservation = self._policy.reservations[host] if host is not None else None
            matching = tuple(self._policy.classes[number] for number in classes)
            terms = self._known[key] = self._make(link, zone, reservation, matching)
        return terms

    def is_denied(self, request: Message) -> bool:
        """Whether this hardware address is on the deny list."""
        return bool(self._policy.denied) and request.chaddr[:_MAC_SIZE] in self._policy.denied

    def _is_plain_relay(self, request: Message) -> bool:
        """Without subnets, whatever a relay asks for has to be the pool itself."""
        selected = request.link_selection or request.subnet_selection
        return selected is None or selected in self._context.pool

    def _zone_of(self, request: Message, link: ClientLink) -> int | None:
        """Link selection, then subnet selection, then giaddr, else the receiving link (DHCP-SERVER B11). A client that
        renews by way of a router, past its relay, is in the subnet of its address."""
        plan = self._plan
        if plan.zone_count == 1:
            return 0 if not request.giaddr or self._is_plain_relay(request) else None
        if request.giaddr:
            selected = request.link_selection or request.subnet_selection
            if selected is not None:
                return plan.zone_at(selected)
            for number, subnet in enumerate(self._policy.subnets, 1):
                if any(request.giaddr in relay for relay in subnet.relays):
                    return number
            return plan.zone_at(request.giaddr)
        selected = request.subnet_selection
        if selected is not None and selected in self._context.pool:
            return plan.zone_at(selected)
        if request.ciaddr and request.ciaddr in self._context.pool and request.requested_address is None:
            return plan.zone_at(request.ciaddr)
        return plan.zone_at(link.address) or 0

    # --- making ---------------------------------------------------------------------------------

    def options(self, link: ClientLink | None) -> dict[int, bytes]:
        """What everyone on a link gets, with what follows from the pool and the link."""
        return self._derived(link, 0)[1] | self.node_options

    def _derived(self, link: ClientLink | None, zone: int) -> tuple[Network, dict[int, bytes]]:
        pool = self._context.pool
        network = Network(pool.prefix, pool.prefix_len)
        options: dict[int, bytes] = {}
        subnet = self._plan.subnet(zone)
        if link is not None:
            options[c.OPT_SERVER_ID] = link.address.to_bytes(4, "big")
            on_link = Network(link.address & 0xFFFFFFFF << (32 - link.prefix_len) & 0xFFFFFFFF, link.prefix_len)
            if link.prefix_len <= pool.prefix_len and pool.prefix in on_link:
                network = on_link
        if subnet is not None:
            network = subnet.network
            if subnet.routers:
                options[c.OPT_ROUTER] = b"".join(address.to_bytes(4, "big") for address in subnet.routers)
        mask = 0xFFFFFFFF << (32 - network.prefix_len) & 0xFFFFFFFF
        options[c.OPT_SUBNET_MASK] = mask.to_bytes(4, "big")
        options[c.OPT_BROADCAST] = network.last.to_bytes(4, "big")
        return network, options

    def _make(
        self, link: ClientLink, zone: int, reservation: Reservation | None, classes: tuple[ClientClass, ...]
    ) -> Terms:
        subnet = self._plan.subnet(zone)
        layers = [self._policy.everyone]
        layers += [subnet.profile] if subnet is not None else []
        layers += [each.profile for each in classes]
        layers += [reservation.profile] if reservation is not None else []
        network, derived = self._derived(link, zone)
        if subnet is None:
            options = derived | self.node_options
        else:  # the subnet's mask, broadcast address and routers are its own
            options = self.node_options | {code: v for code, v in derived.items() if code != c.OPT_SERVER_ID}
            options[c.OPT_SERVER_ID] = self.node_options.get(c.OPT_SERVER_ID, derived[c.OPT_SERVER_ID])
        forced: set[int] = set()
        for layer in layers:
            options.update(layer.options)
            forced |= layer.forced
        if reservation is not None and reservation.hostname:
            options[c.OPT_HOSTNAME] = reservation.hostname
            forced.add(c.OPT_HOSTNAME)
        v6only_wait_s = _narrowest(layers, "v6only_wait_s", None)
        if v6only_wait_s is not None:
            options[c.OPT_IPV6_ONLY] = v6only_wait_s.to_bytes(4, "big")
        lease_s = min(_narrowest(layers, "lease_time_s", None) or self._context.lease_time_s, LONGEST_GRANT_S)
        return Terms(
            link=link,
            zone=zone,
            network=network,
            server_id=int.from_bytes(options[c.OPT_SERVER_ID], "big"),
            options=OptionSet(options, sorted(forced)),
            options_with_nul=OptionSet(_with_nul(options), sorted(forced)),
            lease_s=lease_s,
            min_s=min(lease_s, _narrowest(layers, "min_lease_s", None) or DEFAULT_MIN_LEASE_S),
            max_s=max(lease_s, min(_narrowest(layers, "max_lease_s", None) or 0, LONGEST_GRANT_S)),
            next_server=_narrowest(layers, "next_server", 0) or 0,
            boot_file=_boot(layers, "boot_file"),
            server_name=_boot(layers, "server_name"),
            broadcast=next((x.broadcast for x in reversed(layers) if x.broadcast is not None), Broadcast.AS_ASKED),
            v6only=v6only_wait_s is not None,
            domain=options.get(c.OPT_DOMAIN_NAME, b"").decode("ascii", "replace"),
            reservation=reservation,
            denied=_denial(reservation, classes),
        )


def _narrowest(layers: list[Profile], name: str, default: int | None) -> int | None:
    """The value of the narrowest group that has one."""
    for layer in reversed(layers):
        value: int | None = getattr(layer, name)
        if value is not None:
            return value
    return default


def _boot(layers: list[Profile], name: str) -> bytes:
    values: Iterable[bytes | None] = (getattr(layer, name) for layer in reversed(layers))
    return next((value for value in values if value is not None), b"")


def _denial(reservation: Reservation | None, classes: tuple[ClientClass, ...]) -> str:
    if reservation is not None:
        return "denied-host" if reservation.deny else ""  # a host of its own beats its class
    return "denied-class" if any(each.deny for each in classes) else ""


def _with_nul(options: Mapping[int, bytes]) -> dict[int, bytes]:
    return {code: value + b"\0" if code in _STRINGS else value for code, value in options.items()}
