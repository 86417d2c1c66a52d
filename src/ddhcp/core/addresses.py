"""Which addresses of the pool are for whom, as far as that follows from the configuration alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from ..dhcp.constants import OPT_ROUTER
from .policy import Policy, Reservation, Subnet
from .pool import Pool

DIGEST_SIZE: Final = 8  # bytes; it tells mistakes apart, not forgeries

_SKIPS_EDGES_BELOW = 24  # prefix length; in larger pools .0 and .255 are left out: old clients refuse them (B7, Q21)
_BYTE = 0xFF
_HOST = 32  # prefix length of a single address


class AddressPlan:
    """Subnets, ranges and reserved addresses, each a lookup.

    The blocks of a subnet form a zone, numbered from 1 in the order of ``policy.subnets``; zone 0 has all other blocks.
    Subnets consist of whole blocks.
    """

    def __init__(self, pool: Pool, policy: Policy) -> None:
        self._pool = pool
        self._subnets = policy.subnets
        self._skips_edges = pool.prefix_len < _SKIPS_EDGES_BELOW and pool.block_size > 1
        self._reserved = {r.address: r for r in policy.reservations if r.address is not None}
        self._limits = [
            (pool.index_of(s.network.prefix), pool.index_of(s.network.last), number)
            for number, s in enumerate(policy.subnets, 1)
        ]
        self._of_network = frozenset((*_relays(policy), *_routers(policy)))
        self._excepted: dict[int, list[int]] = {}  # reserved and the network's own addresses, by block
        for address in (*self._reserved, *self._of_network):
            if address in pool:
                self._excepted.setdefault(pool.index_of(address), []).append(address)
        self.zone_count = 1 + len(policy.subnets)
        self.digest = self._digest()

    def _digest(self) -> bytes:
        """What two nodes have in common that agree on who may get which address: reserved addresses with their hosts,
        subnets with their ranges. Options, names and relays may differ, and the order does not matter."""
        made = hashlib.blake2b(digest_size=DIGEST_SIZE)
        for address, host in sorted(self._reserved.items()):
            names = sorted(name.lower() for name in host.hostnames)
            ids = (sorted(host.hardware_addresses), sorted(host.client_ids), sorted(host.duids), names, host.deny)
            made.update(repr((address, ids)).encode())
        for subnet in sorted(self._subnets, key=lambda each: each.network.prefix):
            made.update(repr((str(subnet.network), sorted(map(str, subnet.ranges)))).encode())
        return made.digest()

    def zone_of(self, index: int) -> int:
        """The zone of block ``index``."""
        for first, last, zone in self._limits:
            if first <= index <= last:
                return zone
        return 0

    def blocks_of(self, zone: int) -> tuple[int, int]:
        """First and last index of the blocks of a subnet (``zone`` > 0) from which addresses are given out freely; not
        every block between need be one."""
        subnet, index_of = self._subnets[zone - 1], self._pool.index_of
        if not subnet.ranges:
            return index_of(subnet.network.prefix), index_of(subnet.network.last)
        return index_of(min(r.first for r in subnet.ranges)), index_of(max(r.last for r in subnet.ranges))

    def is_useful(self, index: int) -> bool:
        """Whether block ``index`` has addresses to give out freely, as far as ranges say."""
        subnet = self.subnet(self.zone_of(index))
        if subnet is None or not subnet.ranges:
            return True
        first = self._pool.first_address(index)
        last = first + self._pool.block_size - 1
        return any(each.first <= last and first <= each.last for each in subnet.ranges)

    def subnet(self, zone: int) -> Subnet | None:
        """The subnet of a zone; None for zone 0."""
        return self._subnets[zone - 1] if zone else None

    def zone_at(self, address: int) -> int | None:
        """The zone of an address; None outside the pool."""
        return self.zone_of(self._pool.index_of(address)) if address in self._pool else None

    def reservation(self, address: int) -> Reservation | None:
        """Whose address this is, if it is reserved."""
        return self._reserved.get(address)

    def for_anyone(self, index: int) -> dict[int, None]:
        """The addresses of block ``index`` for which :meth:`is_for_anyone` holds, in their order."""
        first = self._pool.first_address(index)
        last = first + self._pool.block_size - 1
        if self._subnets:
            return {address: None for address in range(first, last + 1) if self.is_for_anyone(address)}
        free = dict.fromkeys(range(first, last + 1))
        for address in self._excepted.get(index, ()):
            free.pop(address, None)
        if self._skips_edges:  # blocks are smaller than 256 addresses and do not lie across a multiple of that
            if first & _BYTE == 0:
                free.pop(first, None)
            if last & _BYTE == _BYTE:
                free.pop(last, None)
        return free

    def is_for_anyone(self, address: int) -> bool:
        """Whether ``address``, in the pool, may be given to a client without reservation."""
        if address in self._reserved or address in self._of_network:
            return False
        if self._skips_edges and address & _BYTE in (0, _BYTE):
            return False
        if not self._subnets:
            return True
        subnet = self.subnet(self.zone_of(self._pool.index_of(address)))
        if subnet is None:
            return True
        if address in (subnet.network.prefix, subnet.network.last) or address in subnet.routers:
            return False
        return not subnet.ranges or any(address in each for each in subnet.ranges)


def _relays(policy: Policy) -> Iterator[int]:
    """The relay agents that are named one by one; their own addresses are no clients' (DHCP-SERVER B7)."""
    for relays in (policy.relays, *(subnet.relays for subnet in policy.subnets)):
        yield from (relay.prefix for relay in relays if relay.prefix_len == _HOST)


def _routers(policy: Policy) -> Iterator[int]:
    """The routers that option 3 of some clients names."""
    for group in (policy.subnets, policy.classes, policy.reservations):
        for each in group:
            value = each.profile.options.get(OPT_ROUTER, b"")
            yield from (int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value) - 3, 4))
