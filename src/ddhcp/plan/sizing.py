"""From what a mesh has to serve to the numbers its nodes are given.

Every estimate is an average with its assumption beside it; none of them is a limit that the daemon enforces.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field

from ..core.announcing import (
    LOST_REFRESHES_TOLERATED,
    MAX_TIMEOUT_S,
    PROMISE_MARGIN_S,
    REFRESH_JITTER,
)
from ..core.context import PROMISE_SLACK_S
from ..core.pool import MAX_PREFIX_LEN, MIN_PREFIX_LEN
from ..swarm import MAX_CLAIMS_PER_PACKET

HEADROOM = 1.25  # addresses beyond the expected peak, so that a busy day does not fill the pool
LOST_NODES_SHARE = 0.1  # nodes whose blocks may be closed to others at a time, because they are gone without goodbye
WASTE_SHARE = 0.25  # of the addresses held, how much may lie unused in blocks that are only partly needed
MIN_BLOCK_BITS, MAX_BLOCK_BITS = 2, 7
BUSIEST_FACTOR = 4  # how many times the average the busiest node has, unless told otherwise
CLAIM_BYTES, HEADER_BYTES, OVERHEAD_BYTES = 7, 16, 62  # a claim; our header; Ethernet, IPv6 and UDP
DEFAULT_PRIVATE = ipaddress.IPv4Network("10.0.0.0/8")


class PlanError(ValueError):
    """What is asked for cannot be had; the text is one line that says why and what to change."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the mesh has to serve. ``nodes``: how many there are. ``clients``: at the busiest time, over all nodes.
    ``busiest``: clients at the fullest node then (None: four times the average). ``stay_s``: how long a client stays
    before it is gone for good, on average. ``lease_s``: the lease time. ``spares``: free leases each node keeps."""

    nodes: int
    clients: int
    busiest: int | None = None
    stay_s: int = 3600
    lease_s: int = 300
    spares: int = 2

    def __post_init__(self) -> None:
        for name, value in (("nodes", self.nodes), ("clients", self.clients), ("stay", self.stay_s)):
            if value < 1:
                raise PlanError(f"{name}: {value} is not positive; give 1 or more")
        if self.busiest is not None and not 1 <= self.busiest <= self.clients:
            raise PlanError(f"busiest: {self.busiest} is not between 1 and the {self.clients} clients there are")
        if not 60 <= self.lease_s <= (MAX_TIMEOUT_S - PROMISE_SLACK_S) // 2:
            raise PlanError(
                f"lease: {self.lease_s} s is not between 60 and {(MAX_TIMEOUT_S - PROMISE_SLACK_S) // 2} s, "
                "the longest that a claim can cover"
            )
        if self.spares < 0:
            raise PlanError(f"spares: {self.spares} is negative; give 0 or more")


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers. Seconds, addresses, packets a second and bytes a second as the names say; ``notes``: what to know
    about them, one line each."""

    demand: Demand
    held_addresses: int
    block_bits: int
    pool: ipaddress.IPv4Network
    blocks: int
    busiest_blocks: int
    promise_s: int
    refresh_period_s: float
    idle_packets_per_s: float
    idle_bytes_per_s: float
    renewals_per_s: float
    unavailable_after_crash_s: int
    notes: list[str] = field(default_factory=list)


def make_plan(demand: Demand) -> Plan:
    """The plan for a demand. Raises :class:`PlanError` when no private network is large enough."""
    busiest = demand.busiest or min(demand.clients, math.ceil(BUSIEST_FACTOR * demand.clients / demand.nodes))
    # A lease outlives its client's stay by half to all of it: the client renewed at half of the time, at the latest.
    outlived = 1 + 0.75 * demand.lease_s / demand.stay_s
    held = math.ceil(demand.clients * outlived)
    bits = _block_bits(demand, held, math.ceil(busiest * outlived))
    size = 1 << bits
    partly_used = demand.nodes * (demand.spares + size / 2)
    wanted = HEADROOM * (1 + LOST_NODES_SHARE) * held + partly_used + 2
    prefix_len = 32 - max(2, math.ceil(math.log2(wanted)))
    if prefix_len < MIN_PREFIX_LEN:
        raise PlanError(
            f"{math.ceil(wanted)} addresses are more than a /{MIN_PREFIX_LEN} has; use shorter leases or several swarms"
        )
    prefix_len = min(prefix_len, MAX_PREFIX_LEN)
    bits = min(bits, 32 - prefix_len)
    size = 1 << bits
    promise_s = 2 * demand.lease_s + PROMISE_SLACK_S
    period_s = (promise_s - demand.lease_s - PROMISE_MARGIN_S) / (LOST_REFRESHES_TOLERATED + 1)
    period_s *= 1 - REFRESH_JITTER / 2
    busiest_blocks = math.ceil((busiest * outlived + demand.spares) / size)
    blocks_per_node = math.ceil((held / demand.nodes + demand.spares) / size)
    packets = demand.nodes * math.ceil(blocks_per_node / MAX_CLAIMS_PER_PACKET) / period_s
    packet_bytes = OVERHEAD_BYTES + HEADER_BYTES + CLAIM_BYTES * blocks_per_node
    return Plan(
        demand=demand,
        held_addresses=held,
        block_bits=bits,
        pool=ipaddress.IPv4Network((int(DEFAULT_PRIVATE.network_address), prefix_len)),
        blocks=1 << (32 - prefix_len - bits),
        busiest_blocks=busiest_blocks,
        promise_s=promise_s,
        refresh_period_s=round(period_s, 1),
        idle_packets_per_s=round(packets, 3),
        idle_bytes_per_s=round(packets * packet_bytes, 1),
        renewals_per_s=round(demand.clients / (demand.lease_s / 2), 2),
        unavailable_after_crash_s=promise_s,
        notes=_notes(demand, busiest_blocks),
    )


def _block_bits(demand: Demand, held: int, busiest_held: int) -> int:
    """The largest block of which half a one for each node wastes little, but large enough that the busiest node
    announces all of its blocks in one packet."""
    smallest = max(MIN_BLOCK_BITS, math.ceil(math.log2(max(1, busiest_held) / MAX_CLAIMS_PER_PACKET)))
    bits = MAX_BLOCK_BITS
    while bits > smallest and demand.nodes * (1 << bits) / 2 > WASTE_SHARE * held:
        bits -= 1
    return bits


def _notes(demand: Demand, busiest_blocks: int) -> list[str]:
    notes = []
    if demand.stay_s < demand.lease_s:
        notes.append("clients stay shorter than a lease runs: a shorter lease time would save addresses")
    if busiest_blocks > MAX_CLAIMS_PER_PACKET:
        notes.append(f"the busiest node needs {busiest_blocks} blocks, more than fit into one announcement")
    if demand.nodes == 1:
        notes.append("a single node has nobody to hand its leases to when it stops")
    return notes
