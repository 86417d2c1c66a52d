"""The block state table of the code as a Markdown table and as a drawing, for docs/protocol.md."""

from __future__ import annotations

import math

from ddhcp.core.blocks import TRANSITIONS, BlockEvent, BlockState

_MEANINGS = {
    BlockState.FREE: "nobody's, as far as this node knows",
    BlockState.TENTATIVE: "somebody inquired it; this node does not claim it for t, or longer if that node is silent",
    BlockState.CLAIMED: "another node's, until its announcement runs out",
    BlockState.CLAIMING: "this node inquires it; held leases of a fenced block are kept",
    BlockState.OURS: "this node's; it grants leases while its promise runs",
    BlockState.BLOCKED: "in the prefix, but no address in it can be leased",
    BlockState.ORPHAN: "its owner fell silent; closed while leases in it may run",
}
# Where each state stands in the drawing, as an angle in degrees.
_ANGLES = {
    BlockState.FREE: 180,
    BlockState.TENTATIVE: 240,
    BlockState.CLAIMING: 300,
    BlockState.OURS: 0,
    BlockState.CLAIMED: 60,
    BlockState.ORPHAN: 120,
}
_PAIRS = (
    (BlockEvent.INQUIRED_BY_STRONGER, BlockEvent.INQUIRED_BY_WEAKER, "inquired"),
    (BlockEvent.CLAIMED_BY_STRONGER, BlockEvent.CLAIMED_BY_WEAKER, "claimed"),
)
_WIDTH, _HEIGHT, _RADIUS_X, _RADIUS_Y, _BOX_X, _BOX_Y = 1000, 720, 400, 290, 62, 20


def table() -> str:
    """States and transitions as Markdown."""
    lines = ["| no. | shown as | state | meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| {int(s)} | {s.classic} | {s.name} | {_MEANINGS[s]} |" for s in BlockState]
    states = list(BlockState)
    lines += ["", f"| event | {' | '.join(s.name for s in states)} |", f"|{' --- |' * (len(states) + 1)}"]
    for event in BlockEvent:
        cells = []
        for state in states:
            after = TRANSITIONS.get((state, event))
            cells.append("" if after is None else "=" if after is state else after.name)
        lines.append(f"| {event.value} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _label(events: list[BlockEvent]) -> list[str]:
    names = []
    left = list(events)
    for stronger, weaker, together in _PAIRS:
        if stronger in left and weaker in left:
            left = [event for event in left if event not in (stronger, weaker)]
            names.append(together)
    return names + [event.name.lower().replace("_", " ") for event in left]


def drawing() -> str:
    """Every change of state as an arrow, in SVG."""
    places = {
        state: (
            _WIDTH / 2 + _RADIUS_X * math.cos(math.radians(angle)),
            _HEIGHT / 2 + _RADIUS_Y * math.sin(math.radians(angle)),
        )
        for state, angle in _ANGLES.items()
    }
    edges: dict[tuple[BlockState, BlockState], list[BlockEvent]] = {}
    for (state, event), after in TRANSITIONS.items():
        if after is not state:
            edges.setdefault((state, after), []).append(event)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L10 5L0 10z" fill="#555"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for (before, after), events in edges.items():
        parts += _arrow(places[before], places[after], _label(events))
    for state, (x, y) in places.items():
        parts.append(
            f'<rect x="{x - _BOX_X:.0f}" y="{y - _BOX_Y:.0f}" width="{2 * _BOX_X}" height="{2 * _BOX_Y}" rx="8" '
            f'fill="#e0f2f1" stroke="#00796b"/><text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" '
            f'font-size="15">{state.name}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _arrow(start: tuple[float, float], end: tuple[float, float], label: list[str]) -> list[str]:
    (x1, y1), (x2, y2) = start, end
    length = math.hypot(x2 - x1, y2 - y1)
    across_x, across_y = (y1 - y2) / length, (x2 - x1) / length  # to the right of the way, so that two ways part
    bend_x, bend_y = (x1 + x2) / 2 + 60 * across_x, (y1 + y2) / 2 + 60 * across_y
    x1, y1 = _edge_of_box(x1, y1, bend_x, bend_y)
    x2, y2 = _edge_of_box(x2, y2, bend_x, bend_y)
    # A third of the way along, where fewer arrows cross than in the middle.
    at_x, at_y = (0.444 * a + 0.444 * b + 0.111 * c for a, b, c in ((x1, bend_x, x2), (y1, bend_y, y2)))
    lines = "".join(f'<tspan x="{at_x:.0f}" dy="{0 if n == 0 else 12}">{text}</tspan>' for n, text in enumerate(label))
    return [
        f'<path d="M{x1:.0f} {y1:.0f}Q{bend_x:.0f} {bend_y:.0f} {x2:.0f} {y2:.0f}" fill="none" stroke="#999" '
        'marker-end="url(#head)"/>',
        f'<text y="{at_y - 6 * (len(label) - 1):.0f}" text-anchor="middle" font-size="11" fill="#222" '
        f'stroke="#fff" stroke-width="4" paint-order="stroke">{lines}</text>',
    ]


def _edge_of_box(x: float, y: float, towards_x: float, towards_y: float) -> tuple[float, float]:
    dx, dy = towards_x - x, towards_y - y
    scale = min(_BOX_X / abs(dx) if dx else math.inf, _BOX_Y / abs(dy) if dy else math.inf)
    return x + dx * scale, y + dy * scale
