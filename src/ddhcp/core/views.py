"""Read-only views of a node, for the control socket, metrics and tests.

A view is a snapshot: it holds plain values, stays true to the moment it was taken, and keeps nothing alive.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block that is not FREE, as a node sees it.

    ``index``: block index in the pool. ``state``: a :class:`~ddhcp.core.blocks.BlockState` number (0-5, PROTOCOL,
    Vocabulary). ``owner``: node id of the claimant, 8 bytes, zeros if unknown. ``claim_count``: inquiries sent for it.
    ``offered``/``leased``: addresses offered to and held by clients, both None where this node does not know.
    ``timeout_s``: whole seconds until the claim lapses, never negative.
    """

    index: int
    state: int
    owner: bytes
    claim_count: int
    offered: int | None
    leased: int | None
    timeout_s: int


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node's identity and the parameters that its block table is read with.

    ``node_id``: 8 bytes. ``prefix`` (integer) and ``prefix_len`` (bits): the pool. ``block_size``: addresses per block.
    ``block_count``: blocks in the pool. ``tentative_timeout_s`` and ``block_timeout_s``: t and T. ``spare_leases``: s.
    ``refresh_factor``: a claim is refreshed when less than T - T/factor of it is left (4 in classic nodes).
    """

    node_id: bytes
    prefix: int
    prefix_len: int
    block_size: int
    block_count: int
    tentative_timeout_s: int
    block_timeout_s: int
    spare_leases: int
    refresh_factor: int
