"""Setups drawn from a seed: swarms of every size, pools roomy and tight, timers long and short."""

from __future__ import annotations

import math
import random
from typing import Any

from .setup import Setup

LARGEST = 100  # nodes, unless the command line says otherwise
SIZE_WEIGHTS = (900, 80, 17, 3)  # of swarms of 2 to 5, 6 to 10, 11 to 30, and more nodes


def draw_setup(seed: int, fixed: dict[str, object]) -> Setup:
    """The setup of a seed. ``fixed``: fields of :class:`~ddhcp.sim.setup.Setup` that are not to be drawn."""
    rng = random.Random(f"{seed}/setup")
    # Small swarms for the most part: they fail in the same ways and take less time to show it.
    sizes = (rng.randint(2, 5), rng.randint(6, 10), rng.randint(11, 30), rng.randint(31, LARGEST))
    (nodes_drawn,) = rng.choices(sizes, SIZE_WEIGHTS)
    wanted = fixed.get("nodes")
    nodes = wanted if isinstance(wanted, int) else nodes_drawn
    clients_drawn = max(2, round(nodes * rng.choice((1.0, 2.0, 4.0)) * rng.uniform(0.5, 1.5)))
    wanted = fixed.get("clients")
    clients = wanted if isinstance(wanted, int) else clients_drawn
    lease_s = rng.choice((20, 60, 60, 120, 300))
    block_bits = rng.choice((2, 3, 4, 5))
    tentative_timeout_s = rng.choice((2, 3, 6, 12))
    # How often all clients would fit into the pool, with a block for each node beside.
    roominess = rng.choice((1.0, 1.0, 2.0, 4.0, 16.0))
    addresses = roominess * (clients + nodes * (1 << block_bits)) + 8
    drawn: dict[str, Any] = {
        "nodes": nodes,
        "clients": clients,
        "lease_s": lease_s,
        "safety_s": lease_s * rng.choice((4.0, 6.0, 10.0)),
        "pool_prefix_len": max(10, min(28, 32 - math.ceil(math.log2(addresses)))),
        "block_bits": block_bits,
        "tentative_timeout_s": tentative_timeout_s,
        "block_timeout_s": max(rng.choice((20, 30, 60)), 4 * tentative_timeout_s),
        "needless_timeout_s": rng.choice((30, 60, 300)),
        "spare_leases": rng.choice((0, 1, 2, 4)),
        "learning": rng.random() < 0.7,
        "staggered": rng.random() < 0.6,
        "fault_rate": 3600 / lease_s * rng.choice((0.5, 1.0, 2.0)),
        "drift": rng.choice((0.0, 0.0, 0.001, 0.01)),
        "commit_s": rng.choice((0.0, 0.005, 0.05, 1.0)),
        "join_s": lease_s * rng.choice((0.1, 1.0, 3.0)),
        "loss": rng.choice((0.0, 0.0, 0.02, 0.1)),
        "foreign_nodes": 1 if rng.random() < 0.1 else 0,
        "same_ids": rng.random() < 0.1,
        "looks_for_leaks": rng.random() < 0.25,
    }
    crowd = random.Random(f"{seed}/crowd")
    if crowd.random() < 0.3:  # clients come just when links part and heal, and not all of them find an address
        drawn["rushes"] = crowd.choice((0.5, 1.0))
        longest = max(12, 30 - block_bits)  # of the prefix: four blocks
        drawn["pool_prefix_len"] = min(longest, drawn["pool_prefix_len"] + crowd.randint(0, 2))
    return Setup(**(drawn | fixed))
