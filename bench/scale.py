"""Draws what a node hears in swarms of ten to ten thousand nodes, by the formulas of ``network-test lifecycle``.

python -m bench.scale docs/images/life-cycle.svg
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

from ddhcp.testbed.lifecycle import classic_per_s, predicted_per_s

T_S, LEASE_S = 60, 300
NODES = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
LINES: tuple[tuple[str, str, Callable[[int], float]], ...] = (
    ("classic", "#b04a3a", lambda nodes: nodes * classic_per_s(T_S, 1)),
    ("ours, pool crowded, spares", "#c08a2b", lambda nodes: nodes * predicted_per_s(T_S, LEASE_S, 1, crowded=True)),
    ("ours", "#1f7a72", lambda nodes: nodes * predicted_per_s(T_S, LEASE_S, 1)),
)
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 360, 60, 310, 20
_DECADES_X, _DECADES_Y = (1, 4), (-2, 3)


def _x(nodes: float) -> float:
    return _LEFT + (math.log10(nodes) - _DECADES_X[0]) / (_DECADES_X[1] - _DECADES_X[0]) * (_WIDTH - _LEFT - 200)


def _y(packets: float) -> float:
    low, high = _DECADES_Y
    return _BOTTOM - (math.log10(packets) - low) / (high - low) * (_BOTTOM - _TOP)


def draw() -> str:
    """The plot as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12" fill="#888">'
    ]
    for decade in range(_DECADES_Y[0], _DECADES_Y[1] + 1):
        y = _y(10.0**decade)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_x(10000):.1f}" stroke="#8884"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>')
    for decade in range(_DECADES_X[0], _DECADES_X[1] + 1):
        parts.append(f'<text x="{_x(10.0**decade):.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{10**decade}</text>')
    parts.append(f'<text x="{_x(316):.1f}" y="{_BOTTOM + 38}" text-anchor="middle">nodes</text>')
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 6}">packets a second that every node hears</text>')
    for name, colour, heard in LINES:
        points = " ".join(f"{_x(nodes):.1f},{_y(heard(nodes)):.1f}" for nodes in NODES)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_x(10000) + 6:.1f}" y="{_y(heard(10000)) + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw())
