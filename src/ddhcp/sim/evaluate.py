"""Measures swarms of ours, of classic nodes and of both, and writes docs/evaluation.md with its tables and plots.

Each run is one story: nodes boot, clients come, all is quiet, the owner with most leases dies and its clients go
elsewhere, then the swarm is cut in two halves and heals.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .checks.ownership import Idleness
from .client import Client
from .plots import plot_all
from .setup import Setup
from .simulation import Simulation

KINDS = {"classic": 1.0, "mixed": 0.5, "ours": 0.0}
SIZES = (10, 30, 100, 300, 1000)
LOSSES = (0.0, 0.05, 0.1, 0.2, 0.3)
BOOT_S = 60.0
ARRIVAL_S = 120.0
SETTLE_S = 60.0
QUIET_S = 300.0
AFTER_DEATH_S = 180.0
CUT_S = 150.0
HEALING_S = 480.0  # until the dead owner's promises have ended as well
LARGE = 1000  # nodes from which on the story is told shorter: each message reaches them all
LARGE_QUIET_S, LARGE_HEALING_S = 100.0, 180.0
REST_S = 60.0  # a rest that is shorter is none
CLIENTS_PER_NODE = 2


@dataclass(frozen=True)
class Measurement:
    """One run. Durations in seconds; ``converged_s`` is None if the swarm had not come to rest when the run ended.
    ``kept_after_death``: the share of a dead owner's clients that had their addresses three minutes later;
    ``kept_for_good``: at the end of the run, long after what the owner had promised had ended."""

    kind: str
    nodes: int
    loss: float
    seed: int
    clients: int
    allocations: int
    messages_per_allocation: float
    latency_p50_s: float
    latency_p99_s: float
    idle_packets_per_s: float
    duplicate_address_seconds: float
    refusals_after_death: int
    kept_after_death: float
    kept_for_good: float
    converged_s: float | None
    took_s: float


def setup_for(kind: str, nodes: int, loss: float) -> Setup:
    """The swarm of one cell: default timers, a pool four times as large as needed."""
    prefix_len = 32 - math.ceil(math.log2(4 * nodes * 32))
    return Setup(
        nodes=nodes, clients=CLIENTS_PER_NODE * nodes, classic=KINDS[kind], pool_prefix_len=max(9, prefix_len),
        loss=loss, faults=(), is_lively=False, commit_s=0.002,
    )  # fmt: skip


def measure(kind: str, nodes: int, loss: float, seed: int) -> Measurement:
    """Run one cell with one seed."""
    began_at = time.process_time()
    simulation = Simulation(setup_for(kind, nodes, loss), seed)
    simulation.network.unicast_faults.loss = loss
    _arrive(simulation)
    allocations = max(1, simulation.allocations)
    messages = simulation.network.multicasts + simulation.network.unicasts
    latencies = sorted(simulation.latencies_s)
    idle = _be_quiet(simulation)
    refusals, orphaned = _lose_owner(simulation)
    kept = _kept(simulation, orphaned)
    converged_s = _cut_and_heal(simulation)
    return Measurement(
        kind=kind, nodes=nodes, loss=loss, seed=seed, clients=len(simulation.clients), allocations=allocations,
        messages_per_allocation=messages / allocations,
        latency_p50_s=statistics.median(latencies) if latencies else math.nan,
        latency_p99_s=latencies[int(len(latencies) * 0.99)] if latencies else math.nan,
        idle_packets_per_s=idle.packets_per_s, duplicate_address_seconds=simulation.addresses.duplicate_seconds,
        refusals_after_death=refusals, kept_after_death=kept,
        kept_for_good=_kept(simulation, orphaned), converged_s=converged_s,
        took_s=time.process_time() - began_at,
    )  # fmt: skip


def _arrive(simulation: Simulation) -> None:
    simulation.start_all(BOOT_S)
    simulation.run_for(BOOT_S + simulation.setup.block_timeout_s + 2 * simulation.setup.tentative_timeout_s)
    rng = simulation.stream("arrivals")
    for client in simulation.clients.values():
        client.calm_down()
        host = simulation.random_host(rng, None)
        simulation.engine.after(rng.random() * ARRIVAL_S, client.join, host)
    simulation.run_for(ARRIVAL_S + SETTLE_S)


def _be_quiet(simulation: Simulation) -> Idleness:
    simulation.idling.begin()
    simulation.run_for(QUIET_S if simulation.setup.nodes < LARGE else LARGE_QUIET_S)
    return simulation.idling.end(check=False)


def _lose_owner(simulation: Simulation) -> tuple[int, dict[int, int]]:
    """Kill the node that granted most leases. Returns the refusals of valid leases and the addresses of its clients."""
    granted: dict[int, list[Client]] = {}
    for client in simulation.clients.values():
        for binding in simulation.addresses.holders(client.address) if client.holds_address else ():
            if binding.client == client.number:
                granted.setdefault(binding.granter, []).append(client)
    if not granted:
        return 0, {}
    owner, clients = max(granted.items(), key=lambda item: (len(item[1]), -item[0]))
    before = {client.number: client.address for client in clients}
    refusals = simulation.refusals.refusals
    simulation.crash(owner)
    simulation.gone.add(owner)
    rng = simulation.stream("after death")
    for client in simulation.clients.values():
        if client in clients or (client.host is not None and client.host.number == owner):
            simulation.engine.after(1 + rng.random() * 10, client.join, simulation.random_host(rng, None))
    simulation.run_for(AFTER_DEATH_S)
    return simulation.refusals.refusals - refusals, before


def _kept(simulation: Simulation, addresses: dict[int, int]) -> float:
    """The share of these clients, by number, that have these addresses."""
    clients = simulation.clients
    kept = sum(clients[number].is_served and clients[number].address == at for number, at in addresses.items())
    return kept / max(1, len(addresses))


def _cut_and_heal(simulation: Simulation) -> float | None:
    """Cut the swarm in two for a while, with clients that come and move on both sides. Returns how long it takes after
    the heal until everybody is served and no block is owned by two, for REST_S at least."""
    half = simulation.setup.nodes // 2
    simulation.network.cuts["evaluation"] = lambda sender, receiver: (sender < half) != (receiver < half)
    rng = simulation.stream("roaming")
    for client in rng.sample(sorted(simulation.clients.values(), key=lambda c: c.number), len(simulation.clients) // 4):
        simulation.engine.after(rng.random() * CUT_S, client.join, simulation.random_host(rng, client.host))
    simulation.run_for(CUT_S)
    simulation.network.cuts.clear()
    healed_at = simulation.now
    rests_since: float | None = None
    converged_s: float | None = None
    while simulation.now < healed_at + (HEALING_S if simulation.setup.nodes < LARGE else LARGE_HEALING_S):
        simulation.run_for(1.0)
        if not _is_at_rest(simulation):
            rests_since = None
        elif rests_since is None:
            rests_since = simulation.now
        elif converged_s is None and simulation.now - rests_since >= REST_S:
            converged_s = rests_since - healed_at
    return converged_s


def _is_at_rest(simulation: Simulation) -> bool:
    if not all(client.is_served for client in simulation.clients.values()):
        return False
    owned = [index for host in simulation.hosts.values() for index in host.owned_blocks()]
    return len(owned) == len(set(owned))


# --- the grid ---------------------------------------------------------------------------------------


def _cells(options: argparse.Namespace) -> Iterator[tuple[str, int, float, int]]:
    for nodes in options.sizes:
        for loss in options.losses:
            for kind in options.kinds:
                for seed in range(options.seed, options.seed + options.seeds):
                    yield kind, nodes, loss, seed


def _measure_cell(cell: tuple[str, int, float, int]) -> Measurement:
    return measure(*cell)


def _load(path: Path) -> list[Measurement]:
    if not path.exists():
        return []
    return [Measurement(**json.loads(line)) for line in path.read_text().splitlines()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not been run yet, then write the document. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ddhcp.sim.evaluate", description=__doc__)
    add = parser.add_argument
    add("--sizes", type=_integers, default=(10, 30, 100), help="numbers of nodes, with commas (default 10,30,100)")
    add("--losses", type=_shares, default=(0.0, 0.1, 0.3), help="shares lost, with commas (default 0,0.1,0.3)")
    add("--kinds", type=_kinds, default=tuple(KINDS), help="of classic, mixed, ours (default all)")
    add("--seeds", type=int, default=3, help="runs for each cell (default 3)")
    add("--seed", type=int, default=1, help="the first seed (default 1)")
    add("--jobs", type=int, default=1, help="runs at a time")
    add("--full", action="store_true", help=f"all of N {SIZES} and losses {LOSSES}: many hours")
    add("--results", type=Path, default=Path("build/evaluation.jsonl"), help="where results are kept and taken up")
    add("--write-only", action="store_true", help="only write the document from the results that are there")
    add("--campaign", type=Path, action="append", default=[], metavar="FILE",
        help="what ddhcp-sim --json wrote; the document sums it up (may be given again)")  # fmt: skip
    add("--mixed", type=Path, action="append", default=[], metavar="FILE",
        help="the same of a campaign with classic nodes")  # fmt: skip
    add("--remark", default="", help="a sentence about the runs, for instance which are of earlier code")
    add("--docs", type=Path, default=Path("docs"), help="where the document goes")
    options = parser.parse_args(arguments)
    if options.full:
        options.sizes, options.losses = SIZES, LOSSES
    options.results.parent.mkdir(parents=True, exist_ok=True)
    results = _load(options.results)
    if not options.write_only:
        results += _run_grid(options, {(m.kind, m.nodes, m.loss, m.seed) for m in results})
    if not results:
        print("evaluation: there are no results yet", file=sys.stderr)
        return 1
    plot_all(results, options.docs / "images")
    campaigns = _campaign_lines(options.campaign) + _mixed_lines(options.mixed)
    _write(results, options.docs / "evaluation.md", options.remark, campaigns)
    return 0


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := sorted(set(kinds).difference(KINDS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(KINDS)}")
    return kinds


def _run_grid(options: argparse.Namespace, done: set[tuple[str, int, float, int]]) -> list[Measurement]:
    cells = [cell for cell in _cells(options) if cell not in done]
    results = []
    with options.results.open("a") as file, concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        for number, result in enumerate(pool.map(_measure_cell, cells), 1):
            results.append(result)
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()
            print(f"{number} of {len(cells)}: {result.nodes} nodes, {result.kind}, {result.loss:.0%} loss, seed "
                  f"{result.seed}: {result.took_s:.1f} s", file=sys.stderr)  # fmt: skip
    return results


# --- the document -----------------------------------------------------------------------------------

_COLUMNS = (
    ("messages per lease", "messages_per_allocation", "{:.1f}"),
    ("latency p50, s", "latency_p50_s", "{:.3f}"),
    ("latency p99, s", "latency_p99_s", "{:.1f}"),
    ("idle packets/s", "idle_packets_per_s", "{:.2f}"),
    ("duplicate address-seconds", "duplicate_address_seconds", "{:.0f}"),
    ("refusals after a death", "refusals_after_death", "{:.0f}"),
    ("kept after a death", "kept_after_death", "{:.0%}"),
    ("kept for good", "kept_for_good", "{:.0%}"),
    ("converged after, s", "converged_s", "{:.0f}"),
)


def cell_text(values: Sequence[float | None], form: str) -> str:
    """Median and spread (least to greatest) of the runs of a cell, as text; a run without a value counts as 'never'."""
    known = sorted(value for value in values if value is not None)
    missing = len(values) - len(known)
    if not known:
        return "never"
    text = form.format(statistics.median(known))
    if known[0] != known[-1]:
        text += f" ({form.format(known[0])} to {form.format(known[-1])})"
    return text + (f", {missing} never" if missing else "")


def _campaign_lines(paths: Sequence[Path]) -> list[str]:
    """The section about campaigns of random faults: a row for each file."""
    if not paths:
        return []
    lines = [
        "## Campaigns of random faults", "",
        "Swarms of ours drawn from seeds (`ddhcp-sim --seeds N`), all faults shorter than the promise. Each row is a",
        "campaign with seeds of its own, the latest last; the code changed between them.", "",
        "| seeds | of 2-5, 6-10, 11-30, more nodes | virtual hours | faults | duplicate address-seconds | failed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for path in paths:
        runs = [json.loads(line) for line in path.read_text().splitlines()]
        sizes = [
            sum(low <= run["nodes"] <= high for run in runs) for low, high in ((2, 5), (6, 10), (11, 30), (31, 999))
        ]
        failed = {run["seed"]: sorted({v["invariant"] for v in run["violations"]}) for run in runs if run["violations"]}
        hours = sum(run["virtual_s"] for run in runs) / 3600
        seconds = sum(run["duplicate_address_seconds"] for run in runs)
        told = ", ".join(f"{seed} ({' '.join(found)})" for seed, found in sorted(failed.items())) or "none"
        faults = sum(len(run["faults"]) for run in runs)
        small_to_large = ", ".join(map(str, sizes))
        lines.append(f"| {len(runs)} | {small_to_large} | {hours:.0f} | {faults} | {seconds:.1f} | {told} |")
    return [*lines, ""]


def _mixed_lines(paths: Sequence[Path]) -> list[str]:
    """The section about campaigns with classic nodes in the swarm: what gave an address to two clients."""
    runs = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    if not runs:
        return []
    causes: dict[str, list[float]] = {}
    for run in runs:
        for duplicate in run["duplicates"]:
            causes.setdefault(duplicate["cause"], []).append(duplicate["seconds"])
    ours = sum(run["duplicate_address_seconds"] for run in runs)
    classic = sum(run["classic"] for run in runs)
    lines = [
        "### With classic nodes", "",
        f"The same with classic nodes among ours: {len(runs)} seeds, {sum(run['nodes'] for run in runs)} nodes, of "
        f"them {classic} classic,",
        f"{sum(run['virtual_s'] for run in runs) / 3600:.0f} virtual hours. Duplicate address-seconds in which no "
        f"classic node had a part: {ours:.1f}. The others, by what the",
        "classic node did:", "",
        "| a classic node ... | duplicates | address-seconds |",
        "| --- | --- | --- |",
    ]  # fmt: skip
    for cause, seconds in sorted(causes.items(), key=lambda item: -sum(item[1])):
        lines.append(f"| {cause} | {len(seconds)} | {sum(seconds):.0f} |")
    return [*lines, ""]


def _write(results: list[Measurement], path: Path, remark: str, campaign: Sequence[str]) -> None:
    sizes = sorted({m.nodes for m in results})
    losses = sorted({m.loss for m in results})
    lines = [
        "# Evaluation",
        "",
        "Swarms of classic nodes, of ours, and half of each, simulated with `make evaluation` (see",
        "[the simulator](simulator.md)). The classic nodes are a model of the C daemon, written from its behaviour on",
        "the wire; the nodes of ours are the code that runs in the daemon.",
        "",
        "One run is this story, with the default timers (lease 300 s, T 60 s, t 12 s): the nodes boot within a minute;",
        "two clients for each node come within two minutes, to any realm; then nothing happens for five minutes but",
        "renewals; the node that granted most leases dies, and its clients go to other realms and ask for their",
        "addresses there; the swarm is cut into two halves for 150 s, while a quarter of the clients move; it heals",
        "and is watched for eight more minutes. The pool is four times as large as needed. Loss applies to every",
        "datagram between nodes, for each receiver on its own.",
        f"From {LARGE} nodes on the swarm is quiet for {LARGE_QUIET_S:.0f} s and watched for {LARGE_HEALING_S:.0f} s "
        "after the heal, which is not yet for good.",
        "",
        f"Run: {'; '.join(_what_was_run(results, nodes) for nodes in sizes)}; {len(results)} runs, "
        f"{sum(m.took_s for m in results):.0f} s of processor time with Python {platform.python_version()}. "
        f"Not run: {_not_run(results)}.",
        "A cell shows the median of its seeds and, in parentheses, the least and the greatest.",
        *([remark] if remark else []),
        "",
    ]
    for loss in losses:
        lines += [f"## {loss:.0%} of the datagrams lost", ""]
        lines += ["| N | nodes | " + " | ".join(name for name, _, _ in _COLUMNS) + " |"]
        lines += ["| --- | --- |" + " --- |" * len(_COLUMNS)]
        for nodes in sizes:
            for kind in KINDS:
                cell = [m for m in results if (m.nodes, m.loss, m.kind) == (nodes, loss, kind)]
                if cell:
                    texts = [cell_text([getattr(m, field) for m in cell], form) for _, field, form in _COLUMNS]
                    lines.append(f"| {nodes} | {kind} | " + " | ".join(texts) + " |")
        lines.append("")
    lines += [*campaign, "## Plots", ""]
    lines += [f"![{name}](images/{stem}.svg)\n" for stem, name in PLOTS]
    path.write_text("\n".join(lines))


PLOTS = (
    ("evaluation-idle", "Idle packets a second against the number of nodes"),
    ("evaluation-duplicates", "Duplicate address-seconds against loss"),
    ("evaluation-latency", "Time to a lease against loss"),
)


def _what_was_run(results: list[Measurement], nodes: int) -> str:
    """The losses and the number of seeds of one size."""
    of_size = [m for m in results if m.nodes == nodes]
    losses = ", ".join(f"{loss:.0%}" for loss in sorted({m.loss for m in of_size}))
    seeds = len({m.seed for m in of_size})
    return f"N {nodes} at {losses} loss, {seeds} seed{'s' * (seeds != 1)}"


def _not_run(results: Sequence[Measurement]) -> str:
    """The cells of the whole grid of which there is no run."""
    done = {(m.nodes, m.loss, m.kind) for m in results}
    missing = []
    for nodes in SIZES:
        for kind in KINDS:
            losses = [loss for loss in LOSSES if (nodes, loss, kind) not in done]
            if losses:
                missing.append(f"N {nodes}, {kind}, at {', '.join(f'{loss:.0%}' for loss in losses)}")
    return "; ".join(missing) or "nothing"


if __name__ == "__main__":
    sys.exit(main())
