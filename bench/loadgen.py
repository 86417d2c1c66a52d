"""A DHCP load generator: many clients behind one interface.

Run in the namespace of the clients' end of a link (as root); prints one JSON object. Every client is a MAC address of
its own; frames go and come through a packet socket, in batches, so that the machine's IP stack takes no part. It works
with any DHCPv4 server on the link.

Without --avalanche three phases follow each other: "unloaded" takes leases one client at a time, "acquire" takes leases
with a fixed number of clients in flight, "renew" has those clients renew several times.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.avalanche import OpenLoop
from bench.clients import NS_PER_S, Clients
from bench.closed_loop import ClosedLoop
from bench.frames import FRAME_SIZE, SLOT_SIZE, ClientFrames
from bench.link import BatchLink

CLIENT_PORT = 68


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load: ``clients`` in all, ``window`` of them in flight, ``rounds`` of renewals, ``unloaded`` further
    clients one by one before."""

    clients: int
    window: int
    rounds: int
    unloaded: int


def measure(clients: Clients, plan: Plan, server_cpu_s: Callable[[], float | None]) -> dict[str, object]:
    """The three phases of a closed loop. ``clients`` must be at least as many as the plan's, the unloaded ones
    included."""
    alone = ClosedLoop(clients, 1, server_cpu_s).acquire(range(plan.clients, plan.clients + plan.unloaded))
    loop = ClosedLoop(clients, plan.window, server_cpu_s)
    acquired = loop.acquire(range(plan.clients))
    renewed = loop.renew(list(range(plan.clients)) * plan.rounds)
    return {
        "plan": asdict(plan),
        "unloaded": alone.summary(),
        "acquire": acquired.summary(),
        "renew": renewed.summary(),
        "check": {"duplicates": clients.duplicates(), "foreign_replies": clients.foreign},
    }


def with_children(pid: int) -> list[int]:
    """Process ``pid`` and those that it started, by number. Raises OSError if it is gone."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += with_children(int(child))
    return found


def process_cpu_s(pid: int) -> float | None:
    """How long the threads of process ``pid`` and of the processes that it started have been on a processor, in
    seconds; None if it is gone or the kernel does not count."""
    try:
        tasks = [task for each in with_children(pid) for task in Path(f"/proc/{each}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / NS_PER_S
    except OSError:
        return None


def resident_mb(pid: int) -> float | None:
    """The memory of a process and of those that it started, in MB. What several of them have counts once."""
    kilobytes = 0
    with suppress(OSError):
        for each in with_children(pid):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return round(kilobytes * 1024 / 1e6, 1)
    return None


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="loadgen", description=__doc__)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--clients", type=int, default=2000, metavar="N")
    parser.add_argument("--window", type=int, default=64, metavar="W", help="clients in flight")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="renewals of each client")
    parser.add_argument("--unloaded", type=int, default=200, metavar="N", help="clients taken one by one first")
    parser.add_argument("--broadcast", action="store_true", help="set the broadcast flag")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="only wait until a server offers")
    parser.add_argument("--avalanche", type=float, metavar="SECONDS", help="all clients come within this time instead")
    parser.add_argument("--patience", type=float, default=90.0, metavar="SECONDS", help="the longest avalanche")
    parser.add_argument("--seed", type=int, default=1, help="of an avalanche's order")
    parser.add_argument("--server-pid", type=int, metavar="PID", help="whose processor time to report")
    options = parser.parse_args()
    frames = ClientFrames(options.clients + options.unloaded + 1, options.broadcast)
    link = BatchLink(options.interface, CLIENT_PORT, FRAME_SIZE, frames.buffer, SLOT_SIZE)
    clients = Clients(link, frames)
    if options.wait is not None:
        return 0 if clients.probe(frames.count - 1, options.wait) else 1
    if options.avalanche is not None:
        loop = OpenLoop(clients, random.Random(options.seed))
        outcome = loop.run(range(options.clients), options.avalanche, options.patience)
        print(json.dumps({"avalanche": {**outcome.summary(), "duplicates": clients.duplicates()}}))
        return 0
    plan = Plan(options.clients, options.window, options.rounds, options.unloaded)
    pid = options.server_pid
    print(json.dumps(measure(clients, plan, lambda: None if pid is None else process_cpu_s(pid))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
