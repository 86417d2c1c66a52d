"""Rendezvous hashing: which nodes come first for a block. All find the same without a word, and one node more or less
changes nothing between the others.

Those that come first keep the leases of a block, are asked in its owner's stead, and own it when that is gone.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from typing import Final

from ..swarm import CAN_REPLICATE
from .peers import Peer

MAX_STAND_INS: Final = 4  # peers that are asked in a silent owner's place


def rendezvous(index: int, address: bytes) -> int:
    """The weight of the node at ``address`` (16 bytes) for block ``index``: the highest comes first."""
    return int.from_bytes(hashlib.blake2b(index.to_bytes(4, "big") + address, digest_size=8).digest(), "big")


def first_by_rendezvous(index: int, addresses: Iterable[bytes], count: int) -> tuple[bytes, ...]:
    """The ``count`` nodes that come first for block ``index``, the first of all first."""
    return tuple(heapq.nlargest(count, addresses, key=lambda address: rendezvous(index, address)))


def stand_ins(index: int, owner: Peer, peers: Iterable[Peer]) -> tuple[bytes, ...]:
    """The addresses of those peers that probably keep replicas of the leases in block ``index`` of ``owner``."""
    willing = (peer.address for peer in peers if peer.can(CAN_REPLICATE) and peer is not owner)
    return first_by_rendezvous(index, willing, MAX_STAND_INS)
