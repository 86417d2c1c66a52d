"""One node by itself, without sockets and disk: what handling a packet costs in pools of any size, with few and many
peers, and what a lease costs in memory. Prints one JSON object."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import ipaddress
import json
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Sequence
from itertools import chain

from bench.frames import FRAME_SIZE, SLOT_SIZE, ClientFrames
from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import events as e
from ddhcp.core.effects import SendDhcp
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.swarm import SwarmCodec

LEASE_TIME_S = 3600
ARRIVAL_S = 0.001  # from one new client to the next
NOTED_S = 10.0  # after which a node has written down whose blocks it heard of
CLIENTS = 40  # of a round: with as many spares, and as many more as are expected to come, they fit into half of a /24
RENEWALS = 5  # of each client
UNDISTURBED = 0.25
_MAC = b"\x02\0\0\0\0\x01"
_ADDRESS = b"\xfe\x80" + bytes(13)
_PAYLOAD_AT = 42  # in a frame
_YIADDR = slice(16, 20)
_START = 1000.0
_BROADCAST = 0xFFFFFFFF


Found = dict[str, str | int | float]
Remembered = tuple[tuple[StoredBlock, ...], tuple[StoredLease, ...]]


class Subject:
    """A node that serves one link and has heard ``peers`` others, which own blocks in the upper half of the pool. It
    wants ``spares`` addresses, and has claimed no block yet."""

    def __init__(self, pool: Pool, peers: int, spares: int, remembered: Remembered = ((), ())) -> None:
        self.pool = pool
        self.server_id = pool.prefix + 1
        self.now = _START
        config = NodeConfig(
            pool=pool, tentative_timeout_s=2, spare_leases=0, learning_phase=False, lease_time_s=LEASE_TIME_S
        )
        self._wanting = dataclasses.replace(config, spare_leases=spares)
        self.node = Node(config, random.Random(1))
        link = e.ClientLink("client0", self.server_id, pool.prefix_len, _MAC)
        for event in (e.ClientLinkUp(link), e.Start(*remembered), e.ServerLinkUp(_MAC, _ADDRESS + b"\x01")):
            self.node.handle(event, self.now)
        half = pool.block_count // 2
        for peer in range(peers):
            node_id = b"\x06" + peer.to_bytes(5, "big") + b"\0\0"
            codec = SwarmCodec(node_id, pool.prefix, pool.prefix_len, pool.block_size)
            data = codec.update_claim([(half + peer % half, 60000)])
            self.node.handle(e.SwarmReceived(data, b"\xfe\x80" + bytes(6) + node_id, True), self.now)
        self.elapse(NOTED_S)

    def settle(self, free: int) -> int:
        """Let time pass until ``free`` addresses are ready; returns the nanoseconds on the processor that it takes.
        Raises RuntimeError if they never are."""
        taken = self._handle(e.Reconfigure(self._wanting))
        for _ in range(10_000):
            if self.node.statistics()["ddhcp.leases.free"] >= free:
                return taken
            at = self.node.deadline()
            if at is None:
                break
            self.now = max(self.now, at)
            taken += self._handle(e.Wake())
        raise RuntimeError("the node claims no blocks")

    def _handle(self, event: e.Event) -> int:
        began = time.thread_time_ns()
        self.node.handle(event, self.now)
        return time.thread_time_ns() - began

    def elapse(self, seconds: float) -> int:
        """Let time pass, and the node do what falls due; returns the nanoseconds on the processor that it takes."""
        self.now += seconds
        taken = 0
        while (at := self.node.deadline()) is not None and at <= self.now:
            taken += self._handle(e.Wake())
        return taken

    def timed(self, payload: bytes, destination: int = _BROADCAST) -> tuple[int, bytes]:
        """Nanoseconds on the processor for one datagram, and the reply."""
        event = e.DhcpReceived("client0", payload, 0, destination)
        began = time.thread_time_ns()
        effects = self.node.handle(event, self.now)
        taken = time.thread_time_ns() - began
        return taken, next(effect.payload for effect in effects if isinstance(effect, SendDhcp))


class Costs:
    """What clients of a node cost in one pool, among so many peers: each round is another node with ``clients`` new
    clients, which then renew."""

    def __init__(self, pool: Pool, peers: int, clients: int) -> None:
        self.pool, self.peers, self.clients = pool, peers, clients
        self._new: list[list[int]] = []
        self._renewals: list[list[int]] = []
        self._claims: list[int] = []
        self._means: list[float] = []

    def measure(self) -> None:
        """One round."""
        clients = self.clients
        subject, frames = Subject(self.pool, self.peers, clients + 2), ClientFrames(clients + 1)
        gc.collect()
        taken: list[int] = []
        besides = claims = subject.settle(clients + 2)
        subject.timed(_payload(frames, clients))  # so that what is looked at every few seconds has been
        for client in range(clients):
            offered, reply = subject.timed(_payload(frames, client))
            address = int.from_bytes(reply[_YIADDR], "big")
            frames.request(client, address, subject.server_id)
            granted, _ = subject.timed(_payload(frames, client))
            taken.append(offered + granted)
            besides += subject.elapse(ARRIVAL_S)
            frames.renew(client, address, subject.server_id, _MAC)
        renewals: list[int] = []
        for turn in range(RENEWALS):
            for client in range(clients):
                frames.stamp(client, len(self._new) * RENEWALS + turn + 1)
                renewals.append(subject.timed(_payload(frames, client), subject.server_id)[0])
        self._new.append(taken)
        self._renewals.append(renewals)
        self._claims.append(claims)
        self._means.append((sum(taken) + besides) / clients)

    def found(self) -> dict[str, float]:
        """Microseconds for DISCOVER and REQUEST of a new client, and for a renewal: the median of a round, and the 99th
        percentile of all.

        ``new_mean_us``: all that a node does from when it claims its first block until its clients are bound, for one
        of them: finding, claiming and announcing blocks included, but not what it looks at every few seconds whoever
        comes. ``claim_us``: what claiming the first blocks, for all
        the clients, has of that. Of the rounds the lower quartile is given: the others the machine disturbed more.
        """
        return {
            "new_us": _us(list(map(statistics.median, self._new)), UNDISTURBED),
            "new_p99_us": _us(list(chain(*self._new)), 0.99),
            "new_mean_us": _us(self._means, UNDISTURBED),
            "claim_us": _us(self._claims, UNDISTURBED),
            "renew_us": _us(list(map(statistics.median, self._renewals)), UNDISTURBED),
            "renew_p99_us": _us(list(chain(*self._renewals)), 0.99),
        }


def compare(networks: Sequence[str], block_bits: Sequence[int], peers: Sequence[int], rounds: int) -> list[Found]:
    """The costs in every pool, with blocks of each size, among so many peers. One round of each is measured after the
    other: what else the machine does, and how fast it runs, changes within seconds and is then not one case's cost."""
    cases = [
        (network, Costs(pool_of(network, bits), count, CLIENTS))
        for bits in block_bits
        for network in networks
        for count in peers
    ]
    for _ in range(rounds):
        for _, costs in cases:
            costs.measure()
    return [
        {"network": network, "block_size": costs.pool.block_size, "peers": costs.peers, **costs.found()}
        for network, costs in cases
    ]


def pool_of(network: str, block_bits: int) -> Pool:
    """The pool of a network, in blocks of 2^``block_bits`` addresses."""
    parsed = ipaddress.IPv4Network(network)
    return Pool(int(parsed.network_address), parsed.prefixlen, 1 << block_bits)


def memory(pool: Pool, leases: int) -> dict[str, float]:
    """Bytes for each of ``leases`` leases that a node remembers."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    subject = Subject(pool, 0, 0, stored(pool, leases, _START))
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    if subject.node.statistics()["ddhcp.blocks.ours"] == 0:
        raise RuntimeError("the node took no block up")
    return {"bytes_per_lease": round((after - before) / leases, 1)}


def stored(pool: Pool, leases: int, now: float) -> Remembered:
    """What the store of a node with ``leases`` leases holds."""
    ends = now + LEASE_TIME_S
    rows = []
    for number in range(leases):
        chaddr = b"\x02\xdd" + number.to_bytes(4, "big") + bytes(10)
        address = pool.prefix + 256 + number
        rows.append(StoredLease(address, b"\x01\x01" + chaddr[:6], chaddr, "leased", ends, b"", LEASE_TIME_S, ends))
    first, last = pool.index_of(pool.prefix + 256), pool.index_of(pool.prefix + 255 + leases)
    return tuple(StoredBlock(index, ends + 600) for index in range(first, last + 1)), tuple(rows)


def _payload(frames: ClientFrames, client: int) -> bytes:
    at = client * SLOT_SIZE
    return bytes(frames.buffer[at + _PAYLOAD_AT : at + FRAME_SIZE])


def _us(taken_ns: Sequence[float], share: float) -> float:
    return round(sorted(taken_ns)[int(share * (len(taken_ns) - 1))] / 1000, 2)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="node", description=__doc__)
    parser.add_argument("--network", nargs="+", default=["10.0.0.0/16"], metavar="PREFIX/LEN")
    parser.add_argument("--block-bits", type=int, nargs="+", default=[5], metavar="BITS")
    parser.add_argument("--peers", type=int, nargs="+", default=[10], metavar="N")
    parser.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="nodes, each with some clients, of each case"
    )
    parser.add_argument("--leases", type=int, metavar="N", help="measure the memory of so many leases instead")
    options = parser.parse_args()
    if options.leases:
        print(json.dumps(memory(pool_of(options.network[0], options.block_bits[0]), options.leases)))
    else:
        print(json.dumps(compare(options.network, options.block_bits, options.peers, options.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
