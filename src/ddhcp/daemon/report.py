"""The texts with which the control socket answers, byte for byte as classic daemons write them.

Scripts cut these texts into columns, so tabs and the odd trailing tab or space are part of the format. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from ddhcp.core.blocks import BlockState
from ddhcp.core.context import CLASSIC_COUNTERS
from ddhcp.core.views import BlockView, NodeView

CLASSIC_STATISTICS = (*CLASSIC_COUNTERS, *(f"ddhcp.blocks.{state}" for state in ("free", "tentative", "claimed")))
"""The counters that classic daemons print, in their order."""

MAX_BLOCK_ROWS = 1 << 16
"""Rows of a block table: some 3 MB of text, so that a pool of millions of blocks neither stalls the daemon nor
fills its memory. A swarm on that scale is read by other means."""

_INDENT = " " * 6


def blocks_text(node: NodeView, blocks: Iterable[BlockView]) -> str:
    """The answer to "show blocks": the node's parameters, then a row for each block of ``blocks`` in the order
    given. Leases read ``offered/leased``, or ``-`` where either is unknown. In use are blocks that somebody owns.

    Of more than ``MAX_BLOCK_ROWS`` blocks, the node's own and as many others as there is room for are shown, and a
    last line that classic daemons do not have says how many are missing.
    """
    network = IPv4Address(node.prefix)
    lines = [
        f"block size/number\t{node.block_size}/{node.block_count} ",
        f"{_INDENT}tentative timeout\t{node.tentative_timeout_s}",
        f"{_INDENT}timeout\t{node.block_timeout_s}",
        f"{_INDENT}refresh factor\t{node.refresh_factor}",
        f"{_INDENT}spare leases needed\t{node.spare_leases}",
        f"{_INDENT}network: {network}/{node.prefix_len} ",
        f"node id\t{node.node_id.hex().upper()}",
        "ddhcp blocks",
        "index\tstate\towner\t\t\tclaim\tleases\ttimeout",
    ]
    known = list(blocks)
    in_use = sum(block.state in (BlockState.CLAIMED, BlockState.OURS) for block in known)
    shown = _most_important(known)
    tail = ["", f"blocks in use: {in_use}"]
    if len(shown) < len(known):
        tail.append(f"blocks left out: {len(known) - len(shown)}")
    return "\n".join([*lines, *map(_block_row, shown), *tail, ""])


def options_text(options: Mapping[int, bytes], lease_time_s: int, disabled: bool) -> str:
    """The answer to "show options": lease time in seconds, whether DHCP is off, then one row per option in
    the order of ``options``, each byte in decimal with a tab after it."""
    lines = [
        f"DHCP Lease Time: {lease_time_s}",
        "",
        f"DHCP Disabled: {int(disabled)}",
        "DHCP Option Store",
        "code\tlen\tpayload",
    ]
    for code, value in options.items():
        lines.append(f"{code}\t{len(value)}\t" + "".join(f"{byte}\t" for byte in value))
    return "\n".join([*lines, ""])


def statistics_text(stats: Mapping[str, int]) -> str:
    """The answer to "statistics": one ``name value`` line each. All classic counters come first, in classic
    order and 0 where ``stats`` lacks them; ours follow, sorted by name."""
    ours = sorted(stats.keys() - set(CLASSIC_STATISTICS))
    return "".join(f"{name} {stats.get(name, 0)}\n" for name in (*CLASSIC_STATISTICS, *ours))


def _most_important(blocks: list[BlockView]) -> list[BlockView]:
    if len(blocks) <= MAX_BLOCK_ROWS:
        return blocks
    room = MAX_BLOCK_ROWS - sum(block.state == BlockState.OURS for block in blocks)
    shown = []
    for block in blocks:
        if block.state == BlockState.OURS:
            shown.append(block)
        elif room > 0:
            shown.append(block)
            room -= 1
    return shown


def _block_row(block: BlockView) -> str:
    known = block.offered is not None and block.leased is not None
    leases = f"{block.offered}/{block.leased}" if known else "-"
    owner = block.owner.hex().upper()
    return f"{block.index}\t{block.state}\t{owner}\t{block.claim_count}\t{leases}\t{block.timeout_s}"
