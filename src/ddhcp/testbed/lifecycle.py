"""Life cycle packets: what nodes say to each other while their number is constant and no client acts. Measured on the
cables of a live mesh, beside what the protocol's formula predicts."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ddhcp.core.announcing import (
    ABUNDANCE,
    LOST_REFRESHES_TOLERATED,
    PROMISE_MARGIN_S,
    REFRESH_JITTER,
)
from ddhcp.core.context import PROMISE_SLACK_S
from ddhcp.ctl.answers import parse_blocks, parse_options
from ddhcp.ctl.connection import CtlError, ask
from ddhcp.ctl.protocol import SOCKET_NAME, Command, Request
from ddhcp.swarm import MAX_CLAIMS_PER_PACKET, MULTICAST_PORT, UNICAST_PORT

from . import layout
from .network import Network, TestbedError

WINDOW_S = 0.1  # over which a burst is counted
CLASSIC_PERIODS_IN_T = 3.75  # refreshes of a classic node in one block timeout, as observed in swarms
CLASSIC_CLAIMS_PER_PACKET = 32
_SO_ATTACH_FILTER = 26
_ETH_P_IPV6, _ETH_P_ALL = 0x86DD, 3
_BUFFER_BYTES = 8 << 20
_POLL_S = 0.5
# UDP over IPv6 without extension headers to one of the swarm's ports. Steps of code, jumps and constant (BPF).
_FILTER = (
    (0x28, 0, 0, 12),
    (0x15, 0, 6, _ETH_P_IPV6),
    (0x30, 0, 0, 20),
    (0x15, 0, 4, 17),
    (0x28, 0, 0, 56),
    (0x15, 1, 0, MULTICAST_PORT),
    (0x15, 0, 1, UNICAST_PORT),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One packet that a node sent: when (seconds, monotonic), in which realm, and the bytes of its frame."""

    at: float
    realm: int
    size: int


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """What ``nodes`` nodes sent in ``seconds``. ``peak``: the most packets in any ``WINDOW_S`` of the whole mesh.
    ``cpu_share``: of a processor core, of one node; ``wakeups_per_s``: how often it went to sleep again.
    ``predicted_per_s``: packets a second of a node by the formula, ``classic_per_s``: of a classic one; None if the
    nodes do not tell what they are set to."""

    nodes: int
    seconds: float
    packets: int
    bytes: int
    peak: int
    packets_per_node_s: float
    bytes_per_node_s: float
    cpu_share: float | None = None
    wakeups_per_s: float | None = None
    predicted_per_s: float | None = None
    classic_per_s: float | None = None


class Tap:
    """Hears what the nodes send, at the far ends of their cables in the calling process's network namespace."""

    def __init__(self, realms: Sequence[int]) -> None:
        self._realms = {layout.server_port(realm): realm for realm in realms}
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
        )  # others never see what a bridge takes
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _FILTER))
        head = struct.pack("HP", len(_FILTER), ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.settimeout(_POLL_S)

    def listen(self, seconds: float, progress: Callable[[float], None] = lambda left_s: None) -> list[Sent]:
        """The packets of the next ``seconds``."""
        sent = []
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            progress(end - now)
            with contextlib.suppress(TimeoutError):
                data, source = self._socket.recvfrom(65536)
                interface, kind = source[0], source[2]
                if kind != socket.PACKET_OUTGOING and interface in self._realms:
                    sent.append(Sent(time.monotonic(), self._realms[interface], len(data)))
        return sent

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes have used so far: seconds on a processor, and how often they went to sleep."""

    cpu_s: float
    sleeps: int


def usage(pids: Iterable[int]) -> Usage:
    """Of these processes, all threads; those that are gone count as nothing."""
    cpu_ns = sleeps = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                cpu_ns += int((task / "schedstat").read_text().split()[0])
                status = (task / "status").read_text()
                sleeps += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return Usage(cpu_ns / 1e9, sleeps)


def measure(network: Network, seconds: float, progress: Callable[[float], None] = lambda left_s: None) -> LifeCycle:
    """Listen to the mesh for ``seconds``. Raises :class:`TestbedError` if no node runs in it."""
    running = {realm: network.realm(realm).processes for realm in network.realm_numbers()}
    pids = {realm: [process.pid for process in found] for realm, found in running.items() if found}
    if not pids:
        raise TestbedError("no node is running; `./network-test srv-start N ./ddhcp` starts one")
    every_pid = [pid for found in pids.values() for pid in found]
    with contextlib.closing(Tap(list(pids))) as tap:
        before, began_at = usage(every_pid), time.monotonic()
        sent = tap.listen(seconds, progress)
        after, taken_s = usage(every_pid), time.monotonic() - began_at
    told = [found for realm in pids if (found := _predictions(network.runtime_directory(realm) / SOCKET_NAME))]
    whole = len(told) == len(pids)
    return replace(
        summarise(sent, len(pids), taken_s),
        cpu_share=(after.cpu_s - before.cpu_s) / taken_s / len(pids),
        wakeups_per_s=(after.sleeps - before.sleeps) / taken_s / len(pids),
        predicted_per_s=sum(ours for ours, _ in told) / len(told) if whole else None,
        classic_per_s=sum(classic for _, classic in told) / len(told) if whole else None,
    )


def _predictions(socket_path: Path) -> tuple[float, float] | None:
    """Packets a second of the node that answers there, by both formulas; None if none answers."""
    try:
        table = parse_blocks(b"".join(ask(socket_path, Request(Command.SHOW_BLOCKS))).decode())
        options = parse_options(b"".join(ask(socket_path, Request(Command.SHOW_OPTIONS))).decode())
    except (CtlError, ValueError):
        return None
    rows, timeout_s, lease_time_s = table["blocks"], table.get("timeout_s"), options.get("lease_time_s")
    if not (isinstance(rows, list) and isinstance(timeout_s, int) and isinstance(lease_time_s, int)):
        return None
    ours = [row for row in rows if row["state_name"] == "ours"]
    has_empty = any(not row["leased"] for row in ours)
    count, in_use = table.get("block_count"), table.get("blocks_in_use")
    is_crowded = isinstance(count, int) and isinstance(in_use, int) and ABUNDANCE * (count - in_use) < count
    crowded = has_empty and is_crowded
    return predicted_per_s(timeout_s, lease_time_s, len(ours), crowded=crowded), classic_per_s(timeout_s, len(ours))


def summarise(sent: Sequence[Sent], nodes: int, seconds: float) -> LifeCycle:
    """Count what was heard."""
    size = sum(packet.size for packet in sent)
    return LifeCycle(
        nodes=nodes,
        seconds=round(seconds, 3),
        packets=len(sent),
        bytes=size,
        peak=_peak([packet.at for packet in sent]),
        packets_per_node_s=len(sent) / nodes / seconds,
        bytes_per_node_s=size / nodes / seconds,
    )


def _peak(instants: Sequence[float]) -> int:
    """The most of ``instants`` (ascending) that lie within ``WINDOW_S``."""
    first = most = 0
    for last, at in enumerate(instants):
        while at - instants[first] > WINDOW_S:
            first += 1
        most = max(most, last - first + 1)
    return most


def predicted_per_s(block_timeout_s: int, lease_time_s: int, blocks: int, *, crowded: bool = False) -> float:
    """Packets a second that a node of ours with ``blocks`` blocks sends. ``crowded``: one of them has no lease, and
    less than half of the pool is free, so that it is announced for T only."""
    if not blocks:
        return 0.0
    full_s = max(block_timeout_s, 2 * lease_time_s + PROMISE_SLACK_S)
    spare_s = full_s - min(lease_time_s, full_s / 2)
    shortest_s = min(block_timeout_s, spare_s) if crowded else spare_s
    margin_s = min(PROMISE_MARGIN_S, block_timeout_s / 10)
    period_s = (shortest_s - margin_s) / (LOST_REFRESHES_TOLERATED + 1) * (1 - REFRESH_JITTER / 2)
    return -(-blocks // MAX_CLAIMS_PER_PACKET) / period_s


def classic_per_s(block_timeout_s: int, blocks: int) -> float:
    """Packets a second that a classic node with ``blocks`` blocks sends in a swarm."""
    return -(-blocks // CLASSIC_CLAIMS_PER_PACKET) * CLASSIC_PERIODS_IN_T / block_timeout_s


def describe(found: LifeCycle) -> str:
    """The findings in a few lines."""
    lines = [
        f"{found.nodes} nodes in {found.seconds:.1f} s: {found.packets} packets, {found.bytes} bytes, "
        f"at most {found.peak} within {WINDOW_S * 1000:.0f} ms",
        f"each node: {found.packets_per_node_s:.4f} packets/s, {found.bytes_per_node_s:.1f} bytes/s",
    ]
    if found.cpu_share is not None and found.wakeups_per_s is not None:
        lines.append(f"each node: {found.cpu_share:.4%} of a core, {found.wakeups_per_s:.2f} wake-ups/s")
    if found.predicted_per_s is not None and found.classic_per_s is not None:
        lines.append(
            f"predicted for each node: {found.predicted_per_s:.4f} packets/s; a classic one: {found.classic_per_s:.4f}"
        )
    return "\n".join(lines)
