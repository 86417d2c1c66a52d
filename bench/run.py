"""Measure every server that is installed, several times each, and report medians as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from bench.network import CLIENT_INTERFACE, Namespaces, namespaces
from bench.servers import BLOCK_BITS, Server, all_servers
from ddhcp.ctl.answers import parse_blocks
from ddhcp.ctl.main import CtlError, ask
from ddhcp.ctl.protocol import Command, Request

READY_S = 30.0
STOP_S = 10.0
POLL_S = 0.1
MEASURE_S = 180.0
ROOT = Path(__file__).parent.parent
FIGURES = (
    ("acquire", "per_s"),
    ("acquire", "p50_ms"),
    ("acquire", "p99_ms"),
    ("acquire", "generator_cpu"),
    ("renew", "per_s"),
    ("renew", "p99_ms"),
    ("renew", "generator_cpu"),
    ("unloaded", "offer_p50_ms"),
    ("unloaded", "ack_p50_ms"),
)
TROUBLE = (("acquire", "failed"), ("acquire", "retries"), ("renew", "failed"), ("renew", "retries"))


class BenchError(Exception):
    """Why a server could not be measured, in one line."""


def say(line: str) -> None:
    """Progress, for whoever waits."""
    print(line, file=sys.stderr, flush=True)


def measure(server: Server, clients: int, window: int) -> dict[str, object]:
    """One run of one server, in namespaces and with a lease store of its own. Raises :class:`BenchError`."""
    clients = min(clients, server.max_clients)
    with namespaces() as names, tempfile.TemporaryDirectory(prefix="ddhcp-bench-") as name:
        directory = Path(name)
        start = server.start(directory, clients + clients // 10 + 300)
        with (directory / "output").open("w+") as output:
            process = subprocess.Popen(
                names.run(names.server, start.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**_environment(), **start.environment},
            )
            try:
                _wait_until_ready(server, process, names, directory, clients)
                return _generate(server, names, clients, window)
            except BenchError as error:
                output.seek(0)
                last = output.read().strip().splitlines()[-1:]
                raise BenchError(": ".join([str(error), *last])) from None
            finally:
                _stop(process)


def table(results: dict[str, dict[str, object]], machine: str) -> str:
    """The results in 80 columns. ``results`` maps a server's name to its figures or to ``{"missing": reason}``."""
    lines = [
        f"{'':<15}{'DORA':>8}{'p50':>8}{'p99':>8}{'gen.':>6}{'renew':>9}{'p99':>8}{'gen.':>6}{'OFFER':>6}{'ACK':>6}",
        f"{'server':<15}{'/s':>8}{'ms':>8}{'ms':>8}{'CPU':>6}{'/s':>9}{'ms':>8}{'CPU':>6}{'ms':>6}{'ms':>6}",
        "-" * 80,
    ]
    notes = []
    for name, result in results.items():
        if "missing" in result:
            lines.append(f"{name:<15}  not measured: {result['missing']}"[:80])
            continue
        cells = [_figure(result, *key) for key in FIGURES]
        widths = (8, 8, 8, 6, 9, 8, 6, 6, 6)
        formats = (",.0f", ".2f", ".2f", ".0%", ",.0f", ".2f", ".0%", ".2f", ".2f")
        row = "".join(
            ("-" if cell is None else format(cell, form)).rjust(width)
            for cell, width, form in zip(cells, widths, formats, strict=True)
        )
        lines.append(f"{name:<15}{row}")
        trouble = [f"{phase} {what} {result[phase][what]:g}" for phase, what in TROUBLE if _figure(result, phase, what)]  # type: ignore[index]
        if result.get("duplicates"):
            trouble.append(f"DUPLICATE ADDRESSES {result['duplicates']}")
        note = f"{name}: {'; '.join([str(result['remark']), *trouble])}"
        notes += textwrap.wrap(note, 80, subsequent_indent="  ")
    legend = [
        "p50, p99: latency with the window full; gen. CPU: share of a core that the load",
        "generator used; OFFER, ACK: median latency with one client at a time",
    ]
    return "\n".join([*lines, "", *legend, *notes, machine])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 if our daemon and at least one server were measured."""
    names = [server.name for server in all_servers()]
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--clients", type=int, default=5000, metavar="N", help="new clients per run")
    parser.add_argument("--window", type=int, default=64, metavar="W", help="clients in flight")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each server; medians count")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"one of: {'; '.join(names)}")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", metavar="PATH")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        say("bench: needs root, for network namespaces and packet sockets")
        return 2
    chosen = [server for server in all_servers() if not options.only or server.name in options.only]
    if not chosen:
        say(f"bench: no server of that name; there are {'; '.join(names)}")
        return 2
    results = {server.name: _measure_often(server, options) for server in chosen}
    print(table(results, _machine()))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": _machine(), "clients": options.clients, "window": options.window, "servers": results}
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    say(f"written to {options.json}")
    return 0 if "missing" not in results[chosen[0].name] else 1


def _measure_often(server: Server, options: argparse.Namespace) -> dict[str, object]:
    if reason := server.missing():
        say(f"{server.name}: not measured: {reason}")
        return {"missing": reason}
    runs: list[dict[str, object]] = []
    for number in range(1, options.runs + 1):
        say(f"{server.name}: run {number} of {options.runs}")
        try:
            runs.append(measure(server, options.clients, options.window))
        except BenchError as error:
            say(f"{server.name}: {error}")
            return {"missing": str(error)}
    return {"remark": server.remark, **medians(runs), "runs": runs}


def medians(runs: Sequence[dict[str, object]]) -> dict[str, object]:
    """Of each figure the median over all runs; of each kind of trouble the worst."""
    result: dict[str, object] = {}
    for phase in ("unloaded", "acquire", "renew"):
        values = {what: [_figure(run, phase, what) for run in runs] for where, what in FIGURES if where == phase}
        kept = {what: [value for value in found if value is not None] for what, found in values.items()}
        middle = {what: statistics.median(found) if found else None for what, found in kept.items()}
        worst = {what: max(_figure(run, phase, what) or 0 for run in runs) for what in ("failed", "retries", "naks")}
        result[phase] = {**middle, **worst}
    result["duplicates"] = max(int(str(run["duplicates"])) for run in runs)
    return result


def _figure(run: dict[str, object], phase: str, what: str) -> float | None:
    figures = run[phase]
    assert isinstance(figures, dict)
    value = figures.get(what)
    return None if value is None else float(value)


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _wait_until_ready(
    server: Server, process: subprocess.Popen[bytes], names: Namespaces, directory: Path, clients: int
) -> None:
    give_up_at = time.monotonic() + READY_S
    probe = _generator(names, "--wait", "1", *(["--broadcast"] if server.broadcast else []))
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise BenchError(f"it ended with status {process.returncode}")
        if subprocess.run(probe, cwd=ROOT, env=_environment(), check=False).returncode == 0:
            break
    else:
        raise BenchError(f"it offered no address within {READY_S:g} s")
    while server.control_socket and time.monotonic() < give_up_at:
        if _own_addresses(directory / server.control_socket) >= clients:
            return
        time.sleep(POLL_S)
    if server.control_socket:
        raise BenchError(f"it claimed no blocks for {clients} clients within {READY_S:g} s")


def _own_addresses(socket_path: Path) -> int:
    try:
        answer = b"".join(ask(socket_path, Request(Command.SHOW_BLOCKS)))
        rows = parse_blocks(answer.decode())["blocks"]
    except (CtlError, ValueError):
        return 0
    assert isinstance(rows, list)
    return len([row for row in rows if row["state_name"] == "ours"]) << BLOCK_BITS


def _generator(names: Namespaces, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "bench.loadgen", "--interface", CLIENT_INTERFACE, *arguments]
    return names.run(names.clients, command)


def _generate(server: Server, names: Namespaces, clients: int, window: int) -> dict[str, object]:
    sizes = ["--clients", str(clients), "--window", str(window), "--unloaded", str(min(200, clients))]
    command = _generator(names, *sizes, *(["--broadcast"] if server.broadcast else []))
    try:
        finished = subprocess.run(
            command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, timeout=MEASURE_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"not finished after {MEASURE_S:g} s") from None
    except subprocess.CalledProcessError as error:
        raise BenchError(f"the load generator ended with status {error.returncode}") from None
    result: dict[str, object] = json.loads(finished.stdout)
    return result


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _machine() -> str:
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as information:
        models = [line.split(":", 1)[1].strip() for line in information if line.startswith("model name")]
    return f"{os.cpu_count()} x {models[0] if models else model}, Linux {platform.release()}"[:80]


if __name__ == "__main__":
    sys.exit(main())
