"""Measures how fast swarms are simulated, on one processor, and what memory they take.

python -m bench.simulator                                       # 100 idle nodes, an hour after they have booted
python -m bench.simulator --nodes 1000 --clients 20000 --boot 0 # a whole hour, from the boot on
PYTHONPATH=build/compiled python -m bench.simulator             # with the core and the simulator compiled
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import ddhcp.core.node
from ddhcp.sim.memory import LARGE_NODES, uncollected, use_large_pages
from ddhcp.sim.setup import Setup
from ddhcp.sim.simulation import Simulation

STEP_S = 60.0  # of virtual time between two lines of progress
BLOCK_SIZE = 32
ROOM = 4  # how often all blocks that are needed fit into the pool
PAGE_BYTES = 4096


def setup_for(nodes: int, clients: int) -> Setup:
    """A swarm with the default timers (lease 300 s, T 60 s, t 12 s), no faults, and clients that only renew."""
    blocks = nodes + clients / BLOCK_SIZE
    prefix_len = max(9, 32 - math.ceil(math.log2(ROOM * blocks * BLOCK_SIZE)))
    return Setup(
        nodes=nodes, clients=clients, pool_prefix_len=prefix_len, faults=(), is_lively=False, commit_s=0.002
    )  # fmt: skip


def resident_bytes() -> int:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def _say(line: str) -> None:
    """Progress, for whoever waits."""
    if sys.stderr.isatty():
        print(f"\r{line} ", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)


class Run:
    """One swarm, its time and deliveries counted since the last line that was printed."""

    def __init__(self, setup: Setup, seed: int) -> None:
        self._empty_bytes = resident_bytes()
        self.simulation = Simulation(setup, seed)
        self._start()

    def _start(self) -> None:
        simulation = self.simulation
        simulation.start_all(simulation.setup.boot_spread_s)
        rng = simulation.stream("arrivals")
        for client in simulation.clients.values():
            host = simulation.random_host(rng, None)
            simulation.engine.at(rng.random() * simulation.setup.join_s, client.join, host)

    def measure(self, title: str, seconds: float) -> None:
        """Let virtual time pass and print what it cost."""
        simulation, network = self.simulation, self.simulation.network
        before, began_at, took_s = network.deliveries, simulation.now, time.process_time()
        while simulation.now < began_at + seconds:
            simulation.run_for(min(STEP_S, began_at + seconds - simulation.now))
            used_s = time.process_time() - took_s
            _say(f"{title}: {simulation.now - began_at:.0f} of {seconds:.0f} s, {used_s:.0f} s of processor time")
        took_s = time.process_time() - took_s
        deliveries = network.deliveries - before
        memory = (resident_bytes() - self._empty_bytes) / simulation.setup.nodes
        print(
            f"{title}: {seconds:.0f} s in {took_s:.1f} s of processor time, {seconds / took_s:.0f} x real time; "
            f"{deliveries} deliveries, {1e6 * took_s / max(1, deliveries):.2f} us each; "
            f"{simulation.allocations} acknowledgements to clients that waited; {memory / 1e3:.0f} kB for each node",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="bench.simulator", description="Measure the simulator.")
    parser.add_argument("--nodes", type=int, default=100, metavar="N")
    parser.add_argument("--clients", type=int, default=0, metavar="N")
    parser.add_argument(
        "--boot", type=float, default=200.0, metavar="S", help="measured apart from the rest; 0: it is part of it"
    )
    parser.add_argument("--seconds", type=float, default=3600.0, metavar="S", help="virtual time after that")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    options = parser.parse_args(arguments)
    if arguments is None and options.nodes >= LARGE_NODES:
        use_large_pages()
    is_pure = Path(ddhcp.core.node.__file__).suffix == ".py"
    print(f"{options.nodes} nodes, {options.clients} clients, {'pure Python' if is_pure else 'compiled'}", flush=True)
    with uncollected():
        run = Run(setup_for(options.nodes, options.clients), options.seed)
        if options.boot:
            run.measure("boot", options.boot)
        run.measure("then" if options.boot else "all", options.seconds)
    print(f"violations: {len(run.simulation.watch.violations)}; trace {run.simulation.watch.trace.digest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
