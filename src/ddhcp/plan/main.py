"""The command ``ddhcp-plan``: how large a pool, its blocks and its times should be."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from .. import __version__
from .sizing import Demand, Plan, PlanError, make_plan

_EXAMPLES = """\
examples:
  ddhcp-plan --nodes 40 --clients 300
  ddhcp-plan --nodes 12 --clients 2000 --busiest 600 --stay 4h --lease 30m
  ddhcp-plan --nodes 40 --clients 300 --json

The estimates are averages; docs tell the assumptions.
Exit status: 0 planned, 2 not possible."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration_s(text: str) -> int:
    """Seconds of ``90``, ``90s``, ``15m``, ``4h`` or ``2d``. Raises argparse.ArgumentTypeError for anything else."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write it as 300, 90s, 15m, 4h or 2d")
    return int(number) * _UNITS_S[unit]


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="ddhcp-plan",
        description="Work out how large the pool, its blocks and its times should be for a mesh,\n"
        "and what the nodes will say to each other while nothing happens.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--nodes", metavar="N", type=int, required=True, help="how many nodes serve clients")
    parser.add_argument("--clients", metavar="N", type=int, required=True, help="clients at the busiest time, in all")
    parser.add_argument(
        "--busiest", metavar="N", type=int, help="clients at the fullest node then (default: four times the average)"
    )
    parser.add_argument(
        "--stay", metavar="TIME", type=duration_s, default=3600,
        help="how long a client stays before it is gone for good, on average (default 1h)",
    )  # fmt: skip
    parser.add_argument("--lease", metavar="TIME", type=duration_s, default=300, help="lease time (default 5m)")
    parser.add_argument("--spares", metavar="N", type=int, default=2, help="free leases each node keeps (default 2)")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument("-V", "--version", action="version", version=f"ddhcp-plan {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    given = build_parser().parse_args(arguments)
    try:
        plan = make_plan(Demand(given.nodes, given.clients, given.busiest, given.stay, given.lease, given.spares))
    except PlanError as error:
        print(f"ddhcp-plan: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(dataclasses.asdict(plan) | {"pool": str(plan.pool)}))
    else:
        _show(plan)
    return 0


def _show(plan: Plan) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    size = 1 << plan.block_bits
    rows = (
        ("pool", str(plan.pool), f"{plan.pool.num_addresses:,} addresses; any network of this size will do"),
        ("block", f"{size}", f"addresses (-b {plan.block_bits}), so {plan.blocks:,} blocks"),
        ("lease", f"{plan.demand.lease_s} s", "how long an address is kept without asking again"),
        ("addresses held", f"{plan.held_addresses:,}", "at the busiest time, clients just gone included"),
        ("busiest node", f"{plan.busiest_blocks}", "blocks"),
        ("claims hold for", f"{plan.promise_s} s", "at most so long is a crashed node's block closed"),
        ("announcement", f"{plan.refresh_period_s:g} s", "between two of one node while all is quiet"),
        (
            "life cycle",
            f"{plan.idle_packets_per_s:g}/s",
            f"multicast packets of all nodes, {plan.idle_bytes_per_s:g} bytes/s",
        ),
        ("renewals", f"{plan.renewals_per_s:g}/s", "of all clients, each with its own node only"),
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in plan.notes:
        console.print(f"note: {note}")
    lease = ".".join(str(byte) for byte in plan.demand.lease_s.to_bytes(4, "big"))
    console.print(f"\nddhcp -N {plan.pool} -b {plan.block_bits} -s {plan.demand.spares} -o 51:4:{lease}")


if __name__ == "__main__":
    sys.exit(main())
