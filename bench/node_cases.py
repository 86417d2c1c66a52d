"""What is measured of our own node alone, beside the comparison with other servers: how its costs depend on pool and
peers, its memory and its start, roamed renewals, and what an idle mesh says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from bench import start
from bench.peers import classic_program, compiled_environment
from bench.statistics import summarise

ROOT = Path(__file__).parent.parent
NETWORKS = ("10.0.0.0/24", "10.0.0.0/16", "10.0.0.0/8")
BLOCK_BITS = (2, 5)
PEERS = (10, 500)
ROUNDS = 60  # of each of these
LEASES = 100_000
MESHES = (10, 20, 50)  # nodes
MESH_CLIENTS, MESH_WITHIN_S = 2000, 10.0
PATIENCE_S = 300.0

Results = Mapping[str, Any]


class IdleMeshes:
    """Meshes of ours and (if there is one) of the classic daemon, to which it is listened for ``seconds``. They take
    minutes to settle and next to nothing of the machine, so they begin before everything else."""

    def __init__(self, seconds: float, environment: Mapping[str, str]) -> None:
        kinds = {"ours": [], **({"classic": ["--classic"]} if classic_program() else {})}
        self._running = {
            kind: _begin(("idle", "--seconds", seconds, *options), _compiled(environment))
            for kind, options in kinds.items()
        }

    def results(self, failed: list[str]) -> dict[str, Any]:
        """What was heard of each; None, and a line in ``failed``, where that did not work."""
        return {kind: _run(process, f"idle {kind}", failed) for kind, process in self._running.items()}

    def stop(self) -> None:
        """End those that still run."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
                process.communicate()


def _compiled(environment: Mapping[str, str]) -> dict[str, str]:
    paths = [compiled_environment().get("PYTHONPATH", ""), environment["PYTHONPATH"]]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def measure(say: Callable[[str], None], environment: Mapping[str, str], idle: IdleMeshes | None) -> dict[str, Any]:
    """All of it, as far as it works; ``failed`` says what did not."""
    environment = _compiled(environment)
    results: dict[str, Any] = {"failed": []}

    def run(what: str, *command: object) -> Any:
        say(f"our node: {what}")
        return _run(_begin(command, environment), what, results["failed"])

    # The median of three starts counts, one now and then: a machine may be slow for half a minute.
    starts: dict[str, list[dict[str, float]]] = {}
    _start_each(starts, say, environment, results["failed"])
    pools = ("--network", *NETWORKS, "--block-bits", *BLOCK_BITS, "--peers", *PEERS)
    results["flat"] = run("pools of several sizes", "node", *pools, "--rounds", ROUNDS) or []
    results["lease"] = run("memory of leases", "node", "--network", "10.0.0.0/8", "--leases", LEASES)
    _start_each(starts, say, environment, results["failed"])
    results["roam"] = run("roamed renewals", "roam")
    results["mesh"] = [
        run(f"a mesh of {nodes}", "mesh", "--nodes", nodes, "--clients", MESH_CLIENTS, "--within", MESH_WITHIN_S)
        for nodes in MESHES
    ]
    _start_each(starts, say, environment, results["failed"])
    results["start"] = {name: summarise(runs) for name, runs in starts.items()}
    results["idle"] = idle.results(results["failed"]) if idle is not None else {}
    return results


def _begin(command: Sequence[object], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """One of the benchmark's own programs, in a network and a mount namespace of its own."""
    apart = [
        "unshare",
        "--net",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"',
        "-",
    ]
    return subprocess.Popen(
        [*apart, sys.executable, "-m", f"bench.{command[0]}", *map(str, command[1:])],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _run(process: subprocess.Popen[bytes], what: str, failed: list[str]) -> Any:
    """The JSON that a program prints; None, and a line in ``failed``, if it prints none."""
    try:
        output, errors = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        failed.append(f"{what}: not finished after {PATIENCE_S:g} s")
        return None
    if process.returncode:
        failed.append(": ".join([what, *errors.decode(errors="replace").strip().splitlines()[-1:]]))
        return None
    return json.loads(output)


def _start_each(
    found: dict[str, list[dict[str, float]]],
    say: Callable[[str], None],
    environment: Mapping[str, str],
    failed: list[str],
) -> None:
    """Start with an empty store and with a full one, once each; what it took is added to ``found``."""
    for name, bits, leases in (("empty", 2, 0), ("full", 5, LEASES)):
        say(f"our node: start with {leases} leases")
        with tempfile.TemporaryDirectory(prefix="ddhcp-start-") as directory:
            try:
                one = start.measure(Path(directory), IPv4Network("10.0.0.0/8"), bits, leases, environment)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                failed.append(f"start with {leases} leases: {error}")
            else:
                found.setdefault(name, []).append(one)


def describe(results: Results) -> str:
    """The findings as text of at most 80 columns."""
    lines = ["Our node alone, microseconds on the processor for an exchange (median)", ""]
    lines.append(f"{'pool':<14}{'block':>6}{'peers':>7}{'new client':>12}{'with claims':>13}{'renewal':>10}")
    for case in results["flat"]:
        lines.append(
            f"{case['network']:<14}{case['block_size']:>6}{case['peers']:>7}{case['new_us']:>12.1f}"
            f"{case['new_mean_us']:>13.1f}{case['renew_us']:>10.1f}"
        )
    lines.append("")
    if results.get("lease"):
        lines.append(f"memory for each of {LEASES} leases: {results['lease']['bytes_per_lease']:.0f} bytes")
    for name, what in (("empty", "an empty store, 10.0.0.0/8 in blocks of 4"), ("full", f"{LEASES} leases")):
        if name in results["start"]:
            found = results["start"][name]
            lines.append(f"start with {what}: {found['ready_s']:.2f} s, {found['memory_mb']:.1f} MB")
    if results.get("roam"):
        home, roamed = results["roam"]["home"], results["roam"]["roamed"]
        alone = results["roam"]["roamed_alone"]["p99_ms"] - results["roam"]["home_alone"]["p99_ms"]
        lines.append(
            f"renewals at the owner {home['per_s']:,.0f}/s, roamed {roamed['per_s']:,.0f}/s "
            f"({roamed['server_cpu_us']:.0f} us of both nodes); one at a time, p99 {alone:+.2f} ms"
        )
    for found in filter(None, results.get("mesh", ())):
        lines.append(
            f"mesh of {found['nodes']}: {found['bound']} of {found['clients']} clients bound after "
            f"{found['seconds']:.2f} s, {found['retries']} retries, {found['duplicates']} twice;"
        )
        lines.append(
            f"  {found['cpu_s']:.1f} s of processor, {found['packets']:,} packets; "
            f"a node {found['node_cpu_ms']:.0f} ms, {found['node_packets']:.0f} packets"
        )
    for kind, found in results.get("idle", {}).items():
        if found:
            lines.append(
                f"idle, {kind}: {found['nodes']} nodes in {found['seconds']:.0f} s: {found['packets']} packets, "
                f"{found['bytes']} bytes, peak {found['peak']}; a node {found['cpu_share']:.3%} of a core"
            )
    lines += [f"failed: {line}" for line in results["failed"]]
    return "\n".join(lines)
