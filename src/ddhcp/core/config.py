"""A node's configuration: validated values, no parsing (the command line and the file live in the daemon)."""

from __future__ import annotations

from collections.abc import Mapping

from ..swarm import KeyRing
from ..values import dataclass, field
from .errors import ConfigError
from .policy import Policy
from .pool import Pool
from .remedies import Remedy

DEFAULT_PREFIX = 0x0A000000  # 10.0.0.0/24, PROTOCOL "Classic defaults and options"
DEFAULT_PREFIX_LEN = 24
DEFAULT_BLOCK_BITS = 5
DEFAULT_BLOCK_TIMEOUT_S = 60
DEFAULT_TENTATIVE_TIMEOUT_S = 12
DEFAULT_SPARE_LEASES = 2
DEFAULT_NEEDLESS_TIMEOUT_S = 300
DEFAULT_LEASE_TIME_S = 300
DEFAULT_REPLICAS = 2
DEFAULT_MAX_NEW_BLOCKS_PER_MIN = 1200  # 4,800 addresses even in the smallest useful blocks: a burst, not a flood
MAX_REPLICAS = 16  # each lease change costs a message to each of them
DEFAULT_RENEWAL_SLACK_S = 3600
MIN_TENTATIVE_TIMEOUT_S = 2
MAX_BLOCK_TIMEOUT_S = 65535  # a claim carries its timeout in two bytes


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is told at its start.

    ``pool``: the swarm's addresses. ``block_timeout_s``: T, how long a claim holds without refresh.
    ``tentative_timeout_s``: t, time required for a block to be claimed. ``spare_leases``: s, free leases kept ready.
    ``needless_timeout_s``: after this an unused, unneeded block is given up. ``learning_phase``: listen for T before
    the first claim. ``lease_time_s``: L, given to clients that ask for none (option 51 as configured). ``options``:
    DHCP options for every client, code to value, beside those the node derives itself (1, 28, 51, 54, 58, 59).
    ``policy``: which clients get what, and what they may do; the same on every node of the swarm (DHCP-SERVER C6).
    ``renewal_slack_s``: renewals of the next so many seconds are covered by one row of the store; 0 writes each.
    ``serves_clients``: false for a node without client interface (``-S``). ``replicas``: how many peers of ours know
    this node's leases. ``replicas_before_ack``: how many of them know one before its client is answered.
    ``prefer_availability``: while a known node is missing, claim any free block, at the risk that the missing one,
    beyond a parted link, claims it too. ``max_new_blocks_per_min``: how many blocks are claimed in a minute at most,
    and at once. ``software``: name and version, which peers show to their operators. ``keys``: what messages are
    sealed with, None for a swarm that classic nodes are part of. ``without``: remedies switched off, for the simulator.
    """

    pool: Pool
    block_timeout_s: int = DEFAULT_BLOCK_TIMEOUT_S
    tentative_timeout_s: int = DEFAULT_TENTATIVE_TIMEOUT_S
    spare_leases: int = DEFAULT_SPARE_LEASES
    needless_timeout_s: int = DEFAULT_NEEDLESS_TIMEOUT_S
    learning_phase: bool = True
    lease_time_s: int = DEFAULT_LEASE_TIME_S
    options: Mapping[int, bytes] = field(default_factory=dict)
    serves_clients: bool = True
    renewal_slack_s: int = DEFAULT_RENEWAL_SLACK_S
    policy: Policy = field(default_factory=Policy)
    replicas: int = DEFAULT_REPLICAS
    replicas_before_ack: int = 0
    prefer_availability: bool = False
    max_new_blocks_per_min: int = DEFAULT_MAX_NEW_BLOCKS_PER_MIN
    software: str = ""
    keys: KeyRing | None = None
    without: frozenset[Remedy] = frozenset()

    def __post_init__(self) -> None:
        if self.tentative_timeout_s < MIN_TENTATIVE_TIMEOUT_S:
            raise ConfigError(
                f"tentative timeout {self.tentative_timeout_s} s is too short for three inquiries; "
                f"use at least {MIN_TENTATIVE_TIMEOUT_S}"
            )
        if not self.tentative_timeout_s < self.block_timeout_s <= MAX_BLOCK_TIMEOUT_S:
            raise ConfigError(
                f"block timeout {self.block_timeout_s} s must be longer than the tentative timeout "
                f"({self.tentative_timeout_s} s) and at most {MAX_BLOCK_TIMEOUT_S}"
            )
        if self.spare_leases < 0:
            raise ConfigError(f"spare leases {self.spare_leases} is negative; use 0 or more")
        if self.needless_timeout_s < 0:
            raise ConfigError(f"needless timeout {self.needless_timeout_s} s is negative; use 0 or more")
        if self.max_new_blocks_per_min < 1:
            raise ConfigError(f"{self.max_new_blocks_per_min} new blocks a minute: use at least 1")
        if self.lease_time_s < 1:
            raise ConfigError(f"lease time {self.lease_time_s} s is not positive (option 51)")
        self.policy.check_against(self.pool)
        if not 0 <= self.replicas_before_ack <= self.replicas:
            raise ConfigError(
                f"{self.replicas_before_ack} replicas are to know a lease before its acknowledgement; "
                f"there are only {self.replicas}"
            )
        if not 0 <= self.replicas <= MAX_REPLICAS:
            raise ConfigError(f"{self.replicas} replicas of each lease: use 0 (none) to {MAX_REPLICAS}")
