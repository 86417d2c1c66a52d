"""How long the daemon takes from its start until it serves, and what memory it then has: with an empty store, and with
one that holds many leases."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path

from bench.loadgen import process_cpu_s, resident_mb
from bench.network import inside, namespaces
from bench.node import stored
from bench.peers import daemon_command
from ddhcp.core import Pool
from ddhcp.core.effects import SaveBlock, SaveLease
from ddhcp.ctl.answers import parse_statistics
from ddhcp.ctl.connection import CtlError, ask
from ddhcp.ctl.protocol import Command, Request
from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.store import SqliteStore

GIVE_UP_S = 60.0
_POLL_S = 0.002
_CHUNK = 10_000


def fill(path: Path, network: IPv4Network, block_bits: int, leases: int) -> None:
    """Write a store with so many running leases."""
    pool = Pool(int(network.network_address), network.prefixlen, 1 << block_bits)
    blocks, rows = stored(pool, leases, boot_time())
    store = SqliteStore(path)
    store.load()
    store.commit([SaveBlock(block) for block in blocks])
    for start in range(0, len(rows), _CHUNK):
        store.commit([SaveLease(row) for row in rows[start : start + _CHUNK]])
    store.close()


def measure(
    directory: Path, network: IPv4Network, block_bits: int, leases: int, environment: Mapping[str, str]
) -> dict[str, float]:
    """Seconds, and seconds on the processor, until the daemon serves with ``leases`` leases in its store; its memory in
    MB. Raises RuntimeError."""
    store, control = directory / f"start-{leases}.sqlite", directory / f"start-{leases}.ctl"
    if leases:
        fill(store, network, block_bits, leases)
    command = [*daemon_command(), "-L", "-N", str(network), "-b", str(block_bits)]
    command += ["-i", "server0", "-c", "client0", "--store", str(store), "-C", str(control)]
    with namespaces() as names, (directory / "start.log").open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            inside(names.server, command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "DDHCP_STATE_DIR": str(directory)},
        )  # fmt: skip
        try:
            while not _serves(control, leases):
                if process.poll() is not None or time.monotonic() - began > GIVE_UP_S:
                    text = (directory / "start.log").read_text(errors="replace")
                    raise RuntimeError(f"the daemon does not serve: {text.strip().splitlines()[-1:]}")
                time.sleep(_POLL_S)
            taken_s = time.monotonic() - began
            cpu_s = process_cpu_s(process.pid) or 0.0
            return {
                "ready_s": round(taken_s, 3),
                "cpu_s": round(cpu_s, 3),
                "memory_mb": resident_mb(process.pid) or 0.0,
            }
        finally:
            process.terminate()
            process.wait()


def _serves(control: Path, leases: int) -> bool:
    """Whether the daemon answers and has taken its blocks up (for none in the store, whether it has started)."""
    try:
        found = parse_statistics(b"".join(ask(control, Request(Command.STATISTICS))).decode())
    except (CtlError, ValueError, OSError):
        return False
    ours = found.get("ddhcp.blocks.ours", 0)
    return not leases or (isinstance(ours, int) and ours > 0)
