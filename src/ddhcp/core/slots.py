"""Random slots: the answers of a swarm to one question are spread over some time, and do not leave at once."""

from __future__ import annotations

from .context import Context
from .peers import Peers

SLOT_S = 0.01  # for each peer that may answer too,
MAX_SPREAD_S = 3.0  # and for all together no more than this


def spread_s(peers: Peers) -> float:
    """The time over which the answers of ``peers`` are spread, in seconds."""
    return min(MAX_SPREAD_S, SLOT_S * len(peers))


def slot_s(context: Context, peers: Peers) -> float:
    """In how many seconds this node is to answer what was asked of it and of all its peers."""
    return context.rng.random() * (SLOT_S + spread_s(peers))
