"""The results as a table of at most 80 columns, and what the machine is."""

from __future__ import annotations

import os
import platform
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.statistics import quantile_ms, ratio

WIDTH = 80
_NAME_WIDTH = 10
_SYNC_SAMPLES = 200
_BUSY = 0.25  # load per core before the run that disturbs it
_TROUBLE = ("failed", "retries", "naks")

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """Two lines of heading, a width, a format, and which figure of which phase; figure "ratio": how many times theirs
    our rate of that phase is."""

    head: tuple[str, str]
    width: int
    form: str
    phase: str
    figure: str


def _closed(phase: str) -> list[Column]:
    return [
        Column(("", "/s"), 9, ",.0f", phase, "per_s"),
        Column(("ours :", "its"), 7, ".2f", phase, "ratio"),
        Column(("p50", "ms"), 8, ".2f", phase, "p50_ms"),
        Column(("p95", "ms"), 8, ".2f", phase, "p95_ms"),
        Column(("p99", "ms"), 8, ".2f", phase, "p99_ms"),
        Column(("server", "us"), 8, ",.1f", phase, "server_cpu_us"),
        Column(("gen.", "CPU"), 6, ".0%", phase, "generator_cpu"),
    ]


SECTIONS = {
    "New clients, DISCOVER to ACK": [
        *_closed("acquire"),
        Column(("OFFER", "ms"), 8, ".3f", "unloaded", "offer_p50_ms"),
        Column(("ACK", "ms"), 8, ".3f", "unloaded", "ack_p50_ms"),
    ],
    "Renewals": [*_closed("renew"), Column(("memory", "MB"), 8, ".1f", "memory", "server_rss_mb")],
    "Avalanche: all new clients at once": [
        Column(("", "clients"), 9, ",.0f", "avalanche", "clients"),
        Column(("", "bound"), 8, ",.0f", "avalanche", "bound"),
        Column(("after", "s"), 8, ".2f", "avalanche", "seconds"),
        Column(("p50", "ms"), 9, ",.1f", "avalanche", "p50_ms"),
        Column(("p99", "ms"), 9, ",.1f", "avalanche", "p99_ms"),
        Column(("", "retries"), 8, ",.0f", "avalanche", "retries"),
        Column(("most of", "one"), 8, ",.0f", "avalanche", "most_retries"),
        Column(("", "NAKs"), 6, ",.0f", "avalanche", "naks"),
    ],
}
LEGEND = (
    "p50, p95, p99: with the window full, retries included. OFFER, ACK: median, one client at a time. server us: its "
    "processor time for one exchange. gen. CPU: the share of a core that the generator used; near 100 % it is what is "
    "measured."
)


def table(results: Results, ours: str) -> str:
    """``results`` maps each server's name to its phases, or to ``missing``: why there are none. Rates of ``ours`` are
    set in relation to each."""
    sections = [_section(title, columns, results, ours) for title, columns in SECTIONS.items()]
    return "\n\n".join([*filter(None, sections), textwrap.fill(LEGEND, WIDTH), _notes(results)])


def _section(title: str, columns: Sequence[Column], results: Results, ours: str) -> str:
    phase = columns[0].phase
    rows = [
        "".join([name.ljust(_NAME_WIDTH), *(_cell(results, name, ours, column) for column in columns)])
        for name, result in results.items()
        if phase in result
    ]
    heads = ["".join(column.head[line].rjust(column.width) for column in columns) for line in (0, 1)]
    lines = [title, *(" " * _NAME_WIDTH + head for head in heads), "-" * WIDTH, *rows]
    return "\n".join(line.rstrip() for line in lines) if rows else ""


def _cell(results: Results, name: str, ours: str, column: Column) -> str:
    figures = results[name][column.phase]
    if column.figure == "ratio":
        value = ratio(results.get(ours, {}).get(column.phase, {}).get("per_s"), figures["per_s"])
    else:
        value = figures[column.figure]
    return ("-" if value is None else format(value, column.form)).rjust(column.width)


def _notes(results: Results) -> str:
    lines = []
    for name, result in results.items():
        if "missing" in result:
            lines.append(f"{name}: not measured: {result['missing']}")
            continue
        notes = [result["remark"], result["version"]]
        for phase in ("unloaded", "acquire", "renew"):
            notes += [f"{phase} {key}: {count:g}" for key in _TROUBLE if (count := result[phase][key])]
        duplicates = max(result["check"]["duplicates"], result.get("avalanche", {}).get("duplicates", 0))
        notes += [f"{duplicates:g} ADDRESSES GIVEN TWICE"] if duplicates else []
        lines.append(f"{name}: " + "; ".join(filter(None, notes)))
    return "\n".join(_wrap(line) for line in lines)


def _wrap(line: str) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent="  ")


def machine(directory: Path) -> dict[str, object]:
    """What the figures were measured on. ``directory``: where the lease stores are."""
    with open("/proc/cpuinfo") as information:
        models = [line.split(":", 1)[1].strip() for line in information if line.startswith("model name")]
    with open("/proc/meminfo") as information:
        memory_kb = int(information.readline().split()[1])
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": memory_kb // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sync_p50_ms": _sync_ms(directory),
        "load_before": round(os.getloadavg()[0], 2),
    }


def describe(found: Mapping[str, Any]) -> str:
    """The machine in a few lines, with a warning if it had other things to do."""
    text = (
        f"Machine: {found['cores']} x {found['processor']}, {found['memory_mb']} MB, Linux {found['kernel']}, "
        f"Python {found['python']}, fdatasync {found['sync_p50_ms']} ms, load before the run {found['load_before']}"
    )
    if found["load_before"] > _BUSY * (found["cores"] or 1):
        text += ": IT WAS BUSY, the figures are too low"
    return _wrap(text)


def _sync_ms(directory: Path) -> float | None:
    """How long the lease stores' file system takes to make a small append durable, the median."""
    path, taken_ns = directory / "sync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNC_SAMPLES):
            began_ns = time.perf_counter_ns()
            file.write(bytes(256))
            os.fdatasync(file.fileno())
            taken_ns.append(time.perf_counter_ns() - began_ns)
    path.unlink()
    return quantile_ms(taken_ns, 0.5)
