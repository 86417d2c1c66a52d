"""Which nodes come first for a block (consistent hashing). All find the same without a word, and one node more or less
changes nothing between the others.

Each node has some points on a ring of numbers, by a hash of its address. Nodes come after a place on the ring in the
order of their first points after it. Those that come first after a block keep the leases in it, are asked in its
owner's stead, and own it when that is gone; which blocks a node claims before others, ``shares.py`` tells.
"""

from __future__ import annotations

import hashlib
import heapq
import struct
from bisect import bisect_left, insort
from collections.abc import Container, Iterable
from functools import lru_cache
from typing import Final

from ..swarm import CAN_REPLICATE
from .peers import MAX_PEERS, Peer

POINTS: Final = 8  # of a node: most are first in a share of the ring that is within a third of the mean
RING_BITS: Final = 32
RING: Final = 1 << RING_BITS  # numbers from 0 to this
MAX_STAND_INS: Final = 4  # peers that are asked in a silent owner's place
_SPREAD: Final = 0x9E3779B1  # odd, and near the golden section of the ring: multiples of it lie far from each other
_ADDRESS_BITS: Final = 128
_ADDRESS_MASK: Final = (1 << _ADDRESS_BITS) - 1
_POINTS: Final = struct.Struct(f">{POINTS}L")


@lru_cache(maxsize=MAX_PEERS)
def points(address: bytes) -> tuple[int, ...]:
    """The points of the node at ``address`` (16 bytes), in order."""
    return tuple(sorted(_POINTS.unpack(hashlib.blake2b(address, digest_size=_POINTS.size).digest())))


@lru_cache(maxsize=MAX_PEERS)
def _numbered_points(address: bytes) -> tuple[int, ...]:
    """The same, each with the address behind it."""
    number = int.from_bytes(address, "big")
    return tuple(point << _ADDRESS_BITS | number for point in points(address))


def _place(index: int) -> int:
    """Where those that come first for block ``index`` are looked for. Neighbouring blocks, of which a node often owns
    many, have theirs far apart, so that many nodes keep their leases."""
    return index * _SPREAD % RING


def distance(index: int, address: bytes) -> int:
    """How far the node at ``address`` comes after block ``index``: the least comes first."""
    own, place = points(address), _place(index)
    following = bisect_left(own, place)
    return own[following] - place if following < POINTS else own[0] + RING - place


def stand_ins(index: int, owner: Peer | None, peers: Iterable[Peer]) -> tuple[bytes, ...]:
    """The addresses of those peers that probably keep replicas of the leases in block ``index`` of ``owner``, None if
    that is not known."""
    willing = (peer.address for peer in peers if peer.can(CAN_REPLICATE) and peer is not owner)
    return tuple(heapq.nsmallest(MAX_STAND_INS, willing, key=lambda address: distance(index, address)))


class Ring:
    """Some nodes, by their addresses. Finding who comes first for a block takes as long with many as with few."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, None] = {}
        self._points: list[int] = []  # each with the node's address behind it, as one number: that is compared fast

    def __contains__(self, address: bytes) -> bool:
        return address in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, address: bytes) -> None:
        """This node is among them."""
        if address not in self._nodes:
            self._nodes[address] = None
            for point in _numbered_points(address):
                insort(self._points, point)

    def discard(self, address: bytes) -> None:
        """This node is not among them."""
        if address in self._nodes:
            del self._nodes[address]
            for point in _numbered_points(address):
                del self._points[bisect_left(self._points, point)]

    def first(self, index: int, count: int, without: Container[bytes] = ()) -> tuple[bytes, ...]:
        """The ``count`` nodes that come first for block ``index``, the first of all first."""
        found: list[bytes] = []
        start = bisect_left(self._points, _place(index) << _ADDRESS_BITS)
        for number in range(len(self._points)):
            if len(found) >= count:
                break
            point = self._points[(start + number) % len(self._points)]
            address = (point & _ADDRESS_MASK).to_bytes(_ADDRESS_BITS // 8, "big")
            if address not in found and address not in without:
                found.append(address)
        return tuple(found)
