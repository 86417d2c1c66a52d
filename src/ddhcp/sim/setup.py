"""What is simulated: one value that, with its seed, determines a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from ..core import NodeConfig, Pool
from ..core.remedies import Remedy

# Remedies that are the driver's, not the core's.
MONOTONIC_TIME = "monotonic-time"  # the node is told boot time, which no one steps
DURABLE_STORE = "durable-store"  # what is acknowledged is on disk before the answer leaves
DRIVER_REMEDIES = (MONOTONIC_TIME, DURABLE_STORE)
REMEDY_NAMES = (*(remedy.value for remedy in Remedy), *DRIVER_REMEDIES)

FAULT_KINDS = (
    "loss", "burst", "unicast-loss", "duplication", "delay", "partition", "one-way", "flapping", "link-by-link",
    "crash", "wipe", "reboot-all", "stop", "pause", "suspend", "clock-step", "send-errors", "link-down", "disk-errors",
    "garbage",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setup:
    """Nodes, clients, timers and faults of one run.

    ``classic``: the share of nodes that are classic ones. ``safety_s``: length of the phase with faults. ``faults``:
    their kinds. ``fault_length``: the longest cut or silence as a share of what a block with leases is promised for;
    ``fault_rate``: how many faults begin in an hour. ``rushes``: the share of the silences at whose beginning or end
    many clients come that nobody knows. ``drift``: clocks run fast or slow by up to this share.
    ``commit_s``: how long the disk takes. ``join_s``: over how long the clients come. ``is_lively``: whether clients
    move, sleep, leave and so on, or only renew. ``foreign_nodes``: nodes of another swarm on the same link.
    ``same_ids``: every node has one and the same node id. ``looks_for_leaks``: whether the liveness phase goes on until
    a needless block must have been given up. ``without``: remedies switched off, by name.
    """

    nodes: int = 10
    clients: int = 30
    classic: float = 0.0
    safety_s: float = 3600.0
    pool_prefix_len: int = 20
    block_bits: int = 5
    block_timeout_s: int = 60
    tentative_timeout_s: int = 12
    needless_timeout_s: int = 300
    spare_leases: int = 2
    lease_s: int = 300
    learning: bool = True
    staggered: bool = True
    faults: tuple[str, ...] = FAULT_KINDS
    fault_length: float = 0.75
    fault_rate: float = 12.0
    rushes: float = 0.0
    drift: float = 0.0
    commit_s: float = 0.005
    join_s: float = 120.0
    is_lively: bool = True
    loss: float = 0.0
    foreign_nodes: int = 0
    same_ids: bool = False
    looks_for_leaks: bool = True
    without: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if unknown := sorted(self.without.difference(REMEDY_NAMES)):
            raise ValueError(f"no such remedy: {', '.join(unknown)}; known are {', '.join(REMEDY_NAMES)}")
        if unknown := sorted(set(self.faults).difference(FAULT_KINDS)):
            raise ValueError(f"no such fault: {', '.join(unknown)}; known are {', '.join(FAULT_KINDS)}")
        if not 0 <= self.classic <= 1:
            raise ValueError(f"the classic share {self.classic} is not between 0 and 1")

    @property
    def pool(self) -> Pool:
        """The address pool, from 10.0.0.0 on."""
        return Pool(0x0A000000, self.pool_prefix_len, 1 << self.block_bits)

    @property
    def classic_count(self) -> int:
        """How many nodes are classic ones."""
        return round(self.nodes * self.classic)

    @property
    def boot_spread_s(self) -> float:
        """Within what time the machines boot."""
        return min(self.safety_s * 0.1, 60.0) if self.staggered else 0.0

    @property
    def settled_s(self) -> float:
        """When everybody has booted, learned, claimed and been heard."""
        learning_s = self.block_timeout_s if self.learning else 0
        return self.boot_spread_s + learning_s + 2 * self.tentative_timeout_s + self.block_timeout_s / 2

    @property
    def promise_s(self) -> int:
        """For how long a block with leases is announced by a node of ours with every remedy."""
        return max(self.block_timeout_s, 2 * self.lease_s + 100)

    @property
    def refresh_s(self) -> float:
        """The longest time between two announcements of a node of ours that has leases."""
        return (self.promise_s - self.lease_s) / 3

    @property
    def longest_fault_s(self) -> float:
        """The longest that a fault keeps a node from being heard: its last refresh before and the first one after may
        each be a period away."""
        return self.fault_length * (self.promise_s - 2 * self.refresh_s)

    def node_config(self) -> NodeConfig:
        """The configuration of each node of ours. Raises :class:`~ddhcp.core.ConfigError`."""
        return NodeConfig(
            self.pool,
            block_timeout_s=self.block_timeout_s,
            tentative_timeout_s=self.tentative_timeout_s,
            spare_leases=self.spare_leases,
            needless_timeout_s=self.needless_timeout_s,
            learning_phase=self.learning,
            lease_time_s=self.lease_s,
            without=frozenset(remedy for remedy in Remedy if remedy.value in self.without),
        )

    def replaced(self, **changes: object) -> Setup:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
