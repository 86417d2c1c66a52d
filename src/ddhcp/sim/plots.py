"""The plots of docs/evaluation.md. Needs matplotlib (the dependency group ``evaluation``)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluate import Measurement

_COLOURS = {"classic": "#c44e52", "mixed": "#8172b2", "ours": "#4c72b0"}


def plot_all(results: Sequence[Measurement], directory: Path) -> None:
    """Write the plots as SVG files. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "ddhcp", "svg.fonttype": "none", "font.size": 9})
    directory.mkdir(parents=True, exist_ok=True)
    no_loss = min(m.loss for m in results)
    largest = max(m.nodes for m in results)
    _plot(
        directory / "evaluation-idle.svg", [m for m in results if m.loss == no_loss], lambda m: m.nodes,
        lambda m: m.idle_packets_per_s, "nodes", "idle packets/s", is_log=True,
    )  # fmt: skip
    at_largest = [m for m in results if m.nodes == largest]
    _plot(
        directory / "evaluation-duplicates.svg", at_largest, lambda m: m.loss * 100,
        lambda m: m.duplicate_address_seconds, f"loss, % (N = {largest})", "duplicate address-seconds",
    )  # fmt: skip
    _plot(
        directory / "evaluation-latency.svg", at_largest, lambda m: m.loss * 100, lambda m: m.latency_p99_s,
        f"loss, % (N = {largest})", "time to a lease, p99, s",
    )  # fmt: skip


def _plot(
    path: Path,
    results: Sequence[Measurement],
    x: Callable[[Measurement], float],
    y: Callable[[Measurement], float],
    x_label: str,
    y_label: str,
    *,
    is_log: bool = False,
) -> None:
    """Medians as a line for each kind of swarm, the spread of the seeds as a bar."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.6, 3.0))
    plotter: Any = axes
    for kind, colour in _COLOURS.items():
        points: dict[float, list[float]] = {}
        for m in results:
            if m.kind == kind:
                points.setdefault(x(m), []).append(y(m))
        at = sorted(points)
        if not at:
            continue
        middle = [statistics.median(points[p]) for p in at]
        below = [m - min(points[p]) for m, p in zip(middle, at, strict=True)]
        above = [max(points[p]) - m for m, p in zip(middle, at, strict=True)]
        plotter.errorbar(at, middle, yerr=[below, above], label=kind, color=colour, marker="o", ms=3, lw=1.2, capsize=2)
    if is_log:
        plotter.set_xscale("log")
        plotter.set_yscale("log")
    plotter.set_xlabel(x_label)
    plotter.set_ylabel(y_label)
    plotter.grid(alpha=0.3)
    plotter.legend(frameon=False)
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
