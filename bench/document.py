"""Put the figures of a run into docs/performance.md, between the marks that say which.

Usage: python -m bench.document [build/bench.json]
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.statistics import ratio

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
MARK, END = "<!-- measured: {} -->", "<!-- end -->"
OURS, FEW, PURE, PEER, CLASSIC = "ddhcp", "ddhcp-few", "ddhcp-py", "kea-2", "classic"
NAMES = {
    OURS: "ddhcp, compiled",
    PURE: "ddhcp, pure Python",
    PEER: "Kea, 2 threads, no sync",
    "kea-1": "Kea, 1 thread, no sync",
    "isc-dhcpd": "ISC dhcpd, no ping, sync for each ACK",
    "dnsmasq": "dnsmasq, no ping",
    FEW: "ddhcp, compiled, as few clients as below",
    CLASSIC: "classic ddhcpd, no store",
}
# The classic daemon's renewals were 79,000 a second where Kea's with two threads were 56,000.
CLASSIC_TO_KEA = 1.41
_FLAT_FIGURES = ("new_us", "new_mean_us", "renew_us")

Results = Mapping[str, Any]
Row = tuple[str, str, str]


def fill(text: str, results: Results) -> str:
    """``text`` with what stands between its marks replaced. Raises ValueError for a mark without an end."""
    for name, make in SECTIONS.items():
        mark = MARK.format(name)
        if mark not in text:
            continue
        before, rest = text.split(mark, 1)
        if END not in rest:
            raise ValueError(f"{mark} has no {END}")
        after = rest.split(END, 1)[1]
        text = f"{before}{mark}\n\n{make(results)}\n\n{END}{after}"
    return text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine(results: Results) -> str:
    found, settings = results["machine"], results["settings"]
    return (
        f"{found['cores']} processors ({found['processor']}, Linux {found['kernel']}, Python {found['python']}, "
        f"{found['memory_mb'] // 1000} GB), the load generator on the same ones; a synchronised small write took "
        f"{found['sync_p50_ms']:.1f} ms. The load was {found['load_before']} before the run and {found['load_after']} "
        f"at its end; all of it took {found['taken_s'] / 60:.1f} minutes. {settings['clients']:,} clients, "
        f"{settings['window']} in flight, medians of {settings['runs']} runs; an avalanche of "
        f"{settings['avalanche']:,} clients within {settings['within']:g} s, once."
    )


def _servers(results: Results) -> str:
    servers = results["servers"]
    rows = []
    for name, title in NAMES.items():
        found = servers.get(name, {})
        if "acquire" not in found:
            continue
        new, renew, avalanche = found["acquire"], found["renew"], found.get("avalanche")
        rows.append([
            title, _number(new["per_s"]), _times(_of_peer(servers, name, "acquire")), _ms(new["p99_ms"]),
            _number(new["server_cpu_us"]), _number(renew["per_s"]), _times(_of_peer(servers, name, "renew")),
            _ms(renew["p99_ms"]), _number(renew["server_cpu_us"]),
            "-" if avalanche is None
            else f"{avalanche['bound']:,} after {avalanche['seconds']:.1f} s, {avalanche['retries']:,} retries",
        ])  # fmt: skip
    heads = [
        "server",
        "new clients /s",
        "of Kea",
        "p99 ms",
        "server µs",
        "renewals /s",
        "of Kea",
        "p99 ms",
        "server µs",
    ]
    return table([*heads, "all at once: bound"], rows)


def _of_peer(servers: Results, name: str, phase: str) -> float | None:
    return ratio(_figure(servers, name, phase, "per_s"), _figure(servers, PEER, phase, "per_s"))


def _figure(servers: Results, name: str, phase: str, figure: str) -> float | None:
    value: float | None = servers.get(name, {}).get(phase, {}).get(figure)
    return value


def _flat(results: Results) -> str:
    cases = results["node"]["flat"]
    rows = [
        [
            str(case["block_size"]), case["network"], str(case["peers"]), f"{case['new_us']:.1f}",
            f"{case['new_mean_us']:.1f}", f"{case['claim_us']:,.0f}", f"{case['new_p99_us']:,.0f}",
            f"{case['renew_us']:.1f}",
        ]
        for case in cases
    ]  # fmt: skip
    head = ["block", "pool", "peers", "new client, median µs", "all in all, mean µs", "first blocks µs", "p99 µs"]
    tables = table([*head, "renewal, median µs"], rows)
    sizes = _by_block_size(cases)
    text = "; ".join(f"blocks of {size}: {_spread(found)}" for size, found in sizes.items())
    if len(sizes) > 1:
        few, many = min(sizes), max(sizes)
        median, mean = (
            statistics.mean(case[figure] for case in sizes[few]) / statistics.mean(case[figure] for case in sizes[many])
            for figure in _FLAT_FIGURES[:2]
        )
        text += f".\n\nBlocks of {few} against blocks of {many}: a new client {median:.2f} × (median), "
        text += f"all in all {mean:.2f} × (mean)"
    return f"{tables}\n\nThe dearest against the cheapest, {text}."


def _by_block_size(cases: Sequence[Results]) -> dict[int, list[Results]]:
    found: dict[int, list[Results]] = {}
    for case in cases:
        found.setdefault(case["block_size"], []).append(case)
    return found


def _dearest(cases: Sequence[Results], figure: str) -> float:
    """How many times what it costs in the cheapest pool it costs in the dearest one."""
    costs = [case[figure] for case in cases]
    return max(costs) / min(costs)


def _spread(cases: Sequence[Results]) -> str:
    median, mean, renewal = (_dearest(cases, figure) for figure in _FLAT_FIGURES)
    return f"a new client {median:.2f} × (median), all in all {mean:.2f} × (mean), a renewal {renewal:.2f} ×"


def _meshes(results: Results) -> str:
    rows = [
        [
            str(mesh["nodes"]), f"{mesh['bound']:,}, {mesh['seconds']:.1f} s", f"{mesh['retries']:,}",
            _number(mesh["p50_ms"]), f"{mesh['cpu_s']:.1f} s", f"{mesh['packets']:,}",
            f"{mesh['node_cpu_ms']:.0f} ms, {mesh['node_packets']:.0f} packets",
        ]
        for mesh in filter(None, results["node"]["mesh"])
    ]  # fmt: skip
    return table(["nodes", "bound, after", "retries", "p50 ms", "processor time", "packets", "a node's share"], rows)


# --- goals --------------------------------------------------------------------------------------


def _goals(results: Results) -> str:
    return table(["goal", "measured", "met?"], [_row(goal, results) for goal in GOALS])


def _row(goal: Callable[[Results], Row], results: Results) -> Row:
    try:
        return goal(results)
    except (KeyError, TypeError, IndexError):  # a part that was not measured, or failed
        return (goal.__doc__ or "").rstrip("."), "not measured", "open"


def _new_clients(results: Results) -> Row:
    """New clients: 1.5 × Kea with two threads, each lease on disk before its ACK."""
    times = _known(_of_peer(results["servers"], OURS, "acquire"))
    cost = _known(_cost(results, "acquire"))
    return _told(_new_clients, f"{times:.2f} × Kea's rate, for {cost:.2f} × its processor time", times >= 1.5)


def _renewals(results: Results) -> Row:
    """Renewals: at least those of the classic daemon."""
    times = _known(_of_peer(results["servers"], OURS, "renew"))
    many, few, classic = (_figure(results["servers"], name, "renew", "per_s") for name in (OURS, FEW, CLASSIC))
    cost = _known(_cost(results, "renew"))
    text = f"{times:.2f} × Kea's rate, for {cost:.2f} × its processor time"
    if classic:
        alike = _known(few) / classic
        told = f"{alike:.2f} × the classic daemon's with as many clients (it takes no more than 150), "
        told += f"{_known(many) / classic:.2f} × with {results['settings']['clients']:,}; {text}"
        return _told(_renewals, told, alike >= 1)
    text += f"; the classic daemon, which was not there, had {CLASSIC_TO_KEA} × Kea's on another machine"
    return _told(_renewals, text, None)


def _tails(results: Results) -> Row:
    """The 99th percentile under load no worse than Kea's."""
    parts, is_met = [], True
    for phase, what in (("acquire", "new clients"), ("renew", "renewals")):
        ours, theirs = (_known(_figure(results["servers"], name, phase, "p99_ms")) for name in (OURS, PEER))
        parts.append(f"{what} {ours:.1f} ms against {theirs:.1f}")
        is_met = is_met and ours <= theirs
    return _told(_tails, ", ".join(parts), is_met)


def _unloaded(results: Results) -> Row:
    """Unloaded: an OFFER within 0.3 ms, an ACK, with its commit, within 1 ms (medians)."""
    found = results["servers"][OURS]["unloaded"]
    offer, ack = found["offer_p50_ms"], found["ack_p50_ms"]
    return _told(_unloaded, f"{offer:.2f} ms and {ack:.2f} ms", offer <= 0.3 and ack <= 1.0)


def _at_once(results: Results) -> Row:
    """5,000 new clients at one node: all bound within t + 1 = 3 s, none twice, none retries more than once."""
    found = results["servers"][OURS]["avalanche"]
    is_met = (
        found["bound"] == found["clients"]
        and found["seconds"] <= 3.0
        and not found["duplicates"]
        and found["most_retries"] <= 1
    )
    text = f"{found['bound']:,} bound after {found['seconds']:.2f} s, {found['duplicates']} twice, "
    return _told(_at_once, text + f"{found['retries']:,} retries, at most {found['most_retries']} of one", is_met)


def _same_cost(results: Results) -> Row:
    """The same cost (ratio at most 1.1) in pools of /24, /16 and /8 in blocks of one size, with 10 and 500 peers."""
    sizes = _by_block_size(results["node"]["flat"])
    texts = [f"blocks of {size}: {_spread(cases)}" for size, cases in sizes.items()]
    worst = max(_dearest(cases, figure) for cases in sizes.values() for figure in _FLAT_FIGURES)
    return _told(_same_cost, f"the dearest against the cheapest, {'; '.join(texts)}", worst <= 1.1)


def _node_memory(results: Results) -> Row:
    """Memory of a node on 10.0.0.0/8 in blocks of 4 under 60 MB."""
    memory_mb = results["node"]["start"]["empty"]["memory_mb"]
    return _told(_node_memory, f"{memory_mb:.0f} MB", memory_mb < 60)


def _lease_memory(results: Results) -> Row:
    """Memory of a lease under 500 bytes."""
    size = results["node"]["lease"]["bytes_per_lease"]
    return _told(_lease_memory, f"{size:.0f} bytes", size < 500)


def _start(results: Results) -> Row:
    """Start with 100,000 leases: ready within 0.5 s."""
    full, empty = results["node"]["start"]["full"], results["node"]["start"]["empty"]
    text = f"{full['ready_s']:.2f} s, {full['cpu_s']:.2f} s of it on the processor ({empty['ready_s']:.2f} s with none)"
    return _told(_start, text, full["ready_s"] < 0.5)


def _roamed(results: Results) -> Row:
    """Roamed renewals: 10,000 /s between two nodes, p99 at most 2 ms more than at the owner."""
    roam = results["node"]["roam"]
    roamed, home = roam["roamed"], roam["home"]
    added_ms = roam["roamed_alone"]["p99_ms"] - roam["home_alone"]["p99_ms"]
    text = (
        f"{roamed['per_s']:,.0f} /s ({roamed['server_cpu_us']:.0f} µs of both nodes; at the owner "
        f"{home['per_s']:,.0f} /s); one at a time, p99 {added_ms:.2f} ms more"
    )
    return _told(_roamed, text, roamed["per_s"] >= 10_000 and added_ms <= 2)


def _idle_packets(results: Results) -> Row:
    """Idle mesh of 10 nodes: at most 1/5 of the classic packets and bytes, at most 2 in 100 ms."""
    found = results["node"]["idle"]
    ours, classic = found["ours"], found.get("classic")
    text = f"{ours['packets']} packets, {ours['bytes']} bytes in {ours['seconds']:.0f} s, peak {ours['peak']}"
    if classic:
        share = max(ours[key] / classic[key] for key in ("packets", "bytes"))
        return _told(_idle_packets, f"{share:.2f} of the classic ones: {text}", share <= 0.2 and ours["peak"] <= 2)
    text += "; the classic daemon was not there, see Life cycle packets"
    return _told(_idle_packets, text, None if ours["peak"] <= 2 else False)


def _idle_time(results: Results) -> Row:
    """An idle node under 0.1 % of a core."""
    share = results["node"]["idle"]["ours"]["cpu_share"]
    return _told(_idle_time, f"{share:.3%}", share < 0.001)


def _fifty(results: Results) -> Row:
    """50 nodes, 2,000 clients within 10 s: all bound."""
    mesh = next((mesh for mesh in results["node"]["mesh"] if mesh and mesh["nodes"] == 50), None)
    text = f"{mesh['bound']:,} bound after {mesh['seconds']:.1f} s, {mesh['retries']:,} retries, "
    return _told(
        _fifty, text + f"{mesh['duplicates']} twice", mesh["bound"] == mesh["clients"] and not mesh["duplicates"]
    )


GOALS = (
    _new_clients, _renewals, _tails, _unloaded, _at_once, _same_cost, _node_memory, _lease_memory, _start, _roamed,
    _idle_packets, _idle_time, _fifty,
)  # fmt: skip
SECTIONS: Mapping[str, Callable[[Results], str]] = {
    "machine": _machine, "servers": _servers, "meshes": _meshes, "flat": _flat, "goals": _goals,
}  # fmt: skip


def _told(goal: Callable[[Results], Row], text: str, is_met: bool | None) -> Row:
    """``is_met``: None if what it is to be compared with was not there."""
    return (goal.__doc__ or "").rstrip("."), text, "open" if is_met is None else "yes" if is_met else "no"


def _cost(results: Results, phase: str) -> float | None:
    servers = results["servers"]
    return ratio(_figure(servers, OURS, phase, "server_cpu_us"), _figure(servers, PEER, phase, "server_cpu_us"))


def _known(value: float | None) -> float:
    """The value; raises KeyError if there is none."""
    if value is None:
        raise KeyError("not measured")
    return value


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> int:
    """Run the command line."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "bench.json"
    try:
        results = json.loads(path.read_text())
    except FileNotFoundError:
        print(f"{path} is not there: run `make bench` first", file=sys.stderr)
        return 2
    if results["node"] is None:
        print(f"{path} is of a part only: run `make bench` without options", file=sys.stderr)
        return 2
    DOCUMENT.write_text(fill(DOCUMENT.read_text(), results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
