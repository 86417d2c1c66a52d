"""Measure every server that is installed, several times each, and report medians as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import node_cases
from bench.loadgen import resident_mb
from bench.network import CLIENT_INTERFACE, Namespaces, inside, namespaces
from bench.peers import AVALANCHE_SPARES, BLOCK_BITS, Peer, all_peers, version
from bench.report import describe, machine, table
from bench.statistics import summarise
from ddhcp.ctl.answers import parse_blocks
from ddhcp.ctl.main import CtlError, ask
from ddhcp.ctl.protocol import Command, Request

READY_S = 30.0
STOP_S = 10.0
POLL_S = 0.1
MEASURE_S = 180.0
UNLOADED = 100
IDLE_START_S = 15.0  # while the nodes of the idle meshes start, nothing is measured
AVALANCHE_PATIENCE_S = 30.0  # three repetitions of a client; who has no address by then counts as not served
ROOT = Path(__file__).parent.parent
PHASES = ("unloaded", "acquire", "renew", "check", "memory")


class BenchError(Exception):
    """Why a server could not be measured, in one line."""


_began = time.monotonic()


def say(line: str) -> None:
    """Progress, for whoever waits, with the seconds since the start."""
    print(f"{time.monotonic() - _began:5.0f} s  {line}", file=sys.stderr, flush=True)


def measure(peer: Peer, options: argparse.Namespace) -> dict[str, Any]:
    """One run of the closed loop. Raises :class:`BenchError`."""
    clients = min(options.clients, peer.most_clients)
    unloaded = min(UNLOADED, clients // 2)
    spares = clients + unloaded + 1
    with _running(peer, spares, spares) as (names, process):
        # As many renewals of few clients as of many: a short measurement says little.
        rounds = min(max(1, options.rounds * options.clients // clients), peer.most_rounds)
        sizes = ["--clients", clients, "--window", options.window, "--rounds", rounds, "--unloaded", unloaded]
        result = _generate(peer, names, *sizes, "--server-pid", process.pid)
        return {**result, "memory": {"server_rss_mb": resident_mb(process.pid)}}


def avalanche(peer: Peer, options: argparse.Namespace) -> dict[str, Any]:
    """One avalanche onto an empty server. Raises :class:`BenchError`."""
    with _running(peer, AVALANCHE_SPARES, AVALANCHE_SPARES) as (names, _):
        arriving = ["--clients", options.avalanche, "--avalanche", options.within, "--patience", AVALANCHE_PATIENCE_S]
        return _generate(peer, names, *arriving)


class _running:
    """A server in namespaces and with a lease store of its own, ready to lease ``ready`` addresses."""

    def __init__(self, peer: Peer, spares: int, ready: int) -> None:
        self._peer, self._spares, self._ready = peer, spares, ready
        self._namespaces = namespaces()
        self._directory = tempfile.TemporaryDirectory(prefix="ddhcp-bench-")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> tuple[Namespaces, subprocess.Popen[bytes]]:
        names = self._namespaces.__enter__()
        try:
            directory = Path(self._directory.name)
            start = self._peer.start(directory, self._spares)
            with (directory / "output").open("wb") as output:
                self._process = subprocess.Popen(
                    inside(names.server, start.command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    env={**_environment(), **start.environment},
                )
            self._wait_until_ready(names, self._process, directory)
        except BaseException:
            self.__exit__()
            raise
        return names, self._process

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            _stop(self._process)
        self._namespaces.__exit__(None, None, None)
        self._directory.cleanup()

    def _wait_until_ready(self, names: Namespaces, process: subprocess.Popen[bytes], directory: Path) -> None:
        give_up_at = time.monotonic() + READY_S
        probe = _generator(self._peer, names, "--clients", 1, "--unloaded", 0, "--wait", 1)
        while subprocess.run(probe, cwd=ROOT, env=_environment(), check=False).returncode != 0:
            if process.poll() is not None:
                lines = (directory / "output").read_text(errors="replace").strip().splitlines()
                raise BenchError(": ".join([f"it ended with status {process.returncode}", *lines[-1:]]))
            if time.monotonic() > give_up_at:
                raise BenchError(f"it offered no address within {READY_S:g} s")
        socket = directory / self._peer.control_socket
        while self._peer.control_socket and _own_addresses(socket) < self._ready:
            if time.monotonic() > give_up_at:
                raise BenchError(f"it claimed no blocks for {self._ready} addresses within {READY_S:g} s")
            time.sleep(POLL_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 if all that is installed was measured, our daemon included."""
    peers = all_peers()
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--clients", type=int, default=2000, metavar="N", help="new clients per run")
    parser.add_argument("--window", type=int, default=64, metavar="W", help="clients in flight")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="renewals of each client")
    parser.add_argument(
        "--runs", type=int, default=3, metavar="N", help="runs of ours and of the fastest peer; medians count"
    )
    parser.add_argument("--avalanche", type=int, default=5000, metavar="N", help="clients at once; 0: none")
    parser.add_argument("--within", type=float, default=1.0, metavar="SECONDS", help="how long an avalanche comes down")
    parser.add_argument(
        "--idle", type=float, default=100.0, metavar="SECONDS", help="listening to idle meshes; 0: none"
    )
    parser.add_argument("--no-node", action="store_true", help="only compare servers, without what concerns ours alone")
    parser.add_argument("--only", action="append", choices=[peer.name for peer in peers], metavar="NAME")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", metavar="PATH")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        say("bench: needs root, for network namespaces and packet sockets")
        return 2
    with tempfile.TemporaryDirectory(prefix="ddhcp-bench-") as directory:
        found = machine(Path(directory))
    chosen = [peer for peer in peers if not options.only or peer.name in options.only]
    with_node = not options.no_node and not options.only
    idle = None
    if with_node and options.idle:
        say("our node: idle meshes begin to settle; they are listened to at the end")
        idle = node_cases.IdleMeshes(options.idle, _environment())
        time.sleep(IDLE_START_S)
    try:
        results = _measure_all(chosen, options)
        print(f"{table(results, peers[0].name)}\n\n{describe(found)}", flush=True)
        alone = node_cases.measure(say, _environment(), idle) if with_node else None
    finally:
        if idle is not None:
            idle.stop()
    if alone is not None:
        print(f"\n{node_cases.describe(alone)}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(options, name) for name in ("clients", "window", "rounds", "runs", "avalanche", "within")}
    found["taken_s"] = round(time.monotonic() - _began)
    found["load_after"] = round(os.getloadavg()[0], 2)
    options.json.write_text(
        json.dumps({"machine": found, "settings": settings, "servers": results, "node": alone}, indent=2) + "\n"
    )
    say(f"written to {options.json}; `make performance` puts it into docs/performance.md")
    return 1 if any("broken" in result for result in results.values()) or "missing" in results[chosen[0].name] else 0


def _measure_all(peers: Sequence[Peer], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All servers in turn, several times, so that a machine that slows down or is disturbed does not hit one alone."""
    results: dict[str, dict[str, Any]] = {}
    for peer in peers:
        reason = peer.missing()
        if reason:
            say(f"{peer.name}: not measured: {reason}")
            results[peer.name] = {"missing": reason}
        else:
            results[peer.name] = {"remark": peer.remark, "version": version(peer), "runs": []}
    for number in range(1, options.runs + 1):
        for peer in peers if number == 1 else [peer for peer in peers if not peer.once]:
            if run := _attempt(measure, peer, options, results, f"run {number} of {options.runs}"):
                results[peer.name]["runs"].append(run)
    for peer in peers:
        if options.avalanche and peer.has_avalanche:
            results[peer.name].update(_attempt(avalanche, peer, options, results, "avalanche"))
    for result in results.values():
        if "missing" not in result:
            result.update({phase: summarise([run[phase] for run in result["runs"]]) for phase in PHASES})
    return results


def _attempt(
    work: Callable[[Peer, argparse.Namespace], dict[str, Any]],
    peer: Peer,
    options: argparse.Namespace,
    results: dict[str, dict[str, Any]],
    what: str,
) -> dict[str, Any]:
    """What ``work`` found; empty, and noted in ``results``, if the server could not be measured."""
    if "missing" in results[peer.name]:
        return {}
    say(f"{peer.name}: {what}")
    try:
        return work(peer, options)
    except BenchError as error:
        say(f"{peer.name}: {error}")
        results[peer.name] = {"missing": str(error), "broken": True}
        return {}


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    paths.append(sysconfig.get_path("purelib"))  # the daemon may run with another interpreter
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _own_addresses(path: Path) -> int:
    """How many addresses a node's own blocks hold; 0 as long as it does not answer."""
    try:
        rows = parse_blocks(b"".join(ask(path, Request(Command.SHOW_BLOCKS))).decode())["blocks"]
    except (CtlError, ValueError):
        return 0
    assert isinstance(rows, list)
    return len([row for row in rows if row["state_name"] == "ours"]) << BLOCK_BITS


def _generator(peer: Peer, names: Namespaces, *arguments: object) -> list[str]:
    command = [sys.executable, "-m", "bench.loadgen", "--interface", CLIENT_INTERFACE, *map(str, arguments)]
    return inside(names.clients, [*command, *(["--broadcast"] if peer.broadcast else [])])


def _generate(peer: Peer, names: Namespaces, *arguments: object) -> dict[str, Any]:
    command = _generator(peer, names, *arguments)
    try:
        finished = subprocess.run(
            command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, timeout=MEASURE_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"not finished after {MEASURE_S:g} s") from None
    except subprocess.CalledProcessError as error:
        raise BenchError(f"the load generator ended with status {error.returncode}") from None
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
