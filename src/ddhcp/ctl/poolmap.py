"""The pool as a picture of characters: one letter for each owner, so that it reads without colours too."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from rich.text import Text

from .text import safe

COLUMNS = 64  # cells in a row; with the row's first address beside it, 80 columns
ROWS = 16
CELLS = COLUMNS * ROWS
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # of the owners with the most blocks; the rest share one
OTHERS = "*"
OURS, FREE, TENTATIVE, CLAIMING, BLOCKED = "#", "·", "?", "+", "x"
COLOURS = ("cyan", "yellow", "magenta", "blue", "red", "bright_cyan", "bright_yellow", "bright_magenta", "bright_blue")

_STATE_SIGNS = {1: TENTATIVE, 3: CLAIMING, 5: BLOCKED}


class PoolMap:
    """A map as the daemon gives it, with a sign and a colour for each owner."""

    def __init__(self, found: dict[str, Any], network: IPv4Network, block_size: int) -> None:
        self._found = found
        self._network = network
        self._block_size = block_size
        self.blocks = [0] * len(found["owners"])
        for _, owners in found["cells"]:
            for slot, state, blocks in owners:
                if state in (2, 4):
                    self.blocks[slot] += blocks
        self.signs: dict[int, tuple[str, str]] = {}
        rank = 0
        for slot in sorted(range(len(self.blocks)), key=lambda slot: -self.blocks[slot]):
            if found["owners"][slot]["self"]:
                self.signs[slot] = OURS, "bold green"
            elif self.blocks[slot]:
                letter = LETTERS[rank] if rank < len(LETTERS) else OTHERS
                self.signs[slot] = letter, COLOURS[rank % len(COLOURS)]
                rank += 1

    def rows(self) -> list[Text]:
        """The picture, row by row, each with its first address."""
        size = self._found["cell_size"]
        cells = -(-(self._found["end"] - self._found["first"]) // size)
        signs = [(FREE, "dim")] * cells
        for cell, owners in self._found["cells"]:
            if cell < cells:
                signs[cell] = self._sign(owners)
        rows = []
        base = int(self._network.network_address) + self._found["first"] * self._block_size
        for start in range(0, cells, COLUMNS):
            row = Text(f"{IPv4Address(base + start * size * self._block_size)!s:15} ", style="default", no_wrap=True)
            for sign, style in signs[start : start + COLUMNS]:
                row.append(sign, style=style)
            rows.append(row)
        return rows

    def _sign(self, owners: list[list[int]]) -> tuple[str, str]:
        """What stands for a cell: the owner of most of its blocks; whoever owns goes before whoever only asks."""
        slot, state, _ = max(owners, key=lambda row: (row[1] in (2, 4), row[2]))
        if state in _STATE_SIGNS:
            return _STATE_SIGNS[state], "dim"
        return self.signs.get(slot, (OTHERS, "default"))

    def legend(self) -> list[Text]:
        """A line for each owner, the one with the most blocks first."""
        lines = []
        for slot, (sign, style) in sorted(self.signs.items(), key=lambda item: -self.blocks[item[0]])[: len(LETTERS)]:
            owner = self._found["owners"][slot]
            who = owner["address"] or owner["node_id"]
            line = Text(f"{sign} ", style=style)
            line.append(f"{safe(who)}{' (this node)' if owner['self'] else ''}  ", style="default")
            line.append(f"{self.blocks[slot]} block{'' if self.blocks[slot] == 1 else 's'}", style="dim")
            lines.append(line)
        size = self._found["cell_size"]
        one = "one block" if size == 1 else f"{size} blocks"
        lines.append(
            Text(
                f"{FREE} free   {TENTATIVE} being asked for   {CLAIMING} being claimed by this node   each sign: {one}",
                style="dim",
            )
        )
        return lines
