"""Floods the real daemon with malformed packets on both its links, and looks whether it lives, keeps its memory and
still serves.

The packets are those of clients and of nodes, of every kind, with bytes changed, cut, inserted and repeated, or nothing
but random bytes. The sender waits for the daemon every few thousand packets, so that what is counted has been read,
not lost in a full socket.

What the daemon remembers of clients and nodes is bounded, but much. So more of them than it remembers come by first:
after that its memory must not grow any more.

Usage: python -m bench.flood [--packets 1000000] [--seed 1] [--debug]
"""

from __future__ import annotations

import argparse
import errno
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.kills import Load, Tally, daemon
from bench.network import CLIENT_INTERFACE, SWARM_PEER, namespaces
from bench.peers import ADDRESS
from ddhcp import swarm
from ddhcp.ctl.answers import parse_statistics
from ddhcp.ctl.connection import CtlError, ask
from ddhcp.ctl.protocol import Command, Request
from ddhcp.dhcp import Message, udp_frame
from ddhcp.dhcp import constants as c
from ddhcp.testbed import kernel
from ddhcp.testbed.waiting import wait_until

AT_ONCE = 500  # packets on one link before the daemon is waited for: fewer than its sockets hold
PATIENCE_S = 60.0  # for clients to be served, and for blocks
LOST_AFTER_S = 3.0  # without progress, packets that were not read are taken to be lost
BUSY_TRIES, BUSY_S = 100, 0.1
CLIENTS_AFTER = 20  # which must be served after the flood
STRANGERS = 8_500  # that come by before it: more than any table of clients remembers (docs/fuzzing.md)
WARM_UP = 0.1  # of the packets: what is allocated until then is what the daemon needs to work at all
NODE_ADDRESS = "fe80::2/64"  # who speaks on the server link
_MACS = 64
_BROADCAST_MAC = b"\xff" * 6
_READ = ("dhcp.recv_pkg", "mcast.recv_pkg", "direct.recv_pkg")
_POOL = ADDRESS.network
_ELSEWHERE = b"\xc0\xa8\xb2\x14"  # of another network
_BLOCK_SIZE = 64  # of the daemon that bench.kills starts


@dataclass(slots=True)
class Outcome:
    """What was seen. ``read``: packets of the flood that the daemon has read. Memory in KiB: when strangers came by
    and it had warmed up, and at the end. ``exceptions``: errors that the daemon caught at the last moment. ``served``:
    clients with a lease after it."""

    packets: int = 0
    read: int = 0
    alive: bool = False
    rss_kib: int = 0
    rss_after_kib: int = 0
    exceptions: int = 0
    served: int = 0
    seconds: float = 0.0
    log_bytes: int = 0

    def problems(self) -> list[str]:
        """What must not be."""
        found = []
        if not self.alive:
            found.append("the daemon is dead")
        if self.exceptions:
            found.append(f"{self.exceptions} exceptions")
        if self.served < CLIENTS_AFTER:
            found.append(f"only {self.served} of {CLIENTS_AFTER} clients were served after it")
        return found


class Malformed:
    """Packets that nobody should send, the same for one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._dhcp = list(_client_messages())
        self._swarm = list(_node_messages())

    def client(self) -> bytes:
        """A UDP payload for port 67."""
        return self._spoilt(self._rng.choice(self._dhcp))

    def node(self) -> bytes:
        """A UDP payload for the server link."""
        return self._spoilt(self._rng.choice(self._swarm))

    def stranger(self, number: int) -> tuple[bytes, bytes]:
        """What a client says that nobody has seen before: a DISCOVER, and a REQUEST for an address that is refused."""
        chaddr = (b"\x02\xdf" + number.to_bytes(4, "big")).ljust(16, b"\0")
        elsewhere = {c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,)), c.OPT_REQUESTED_ADDRESS: _ELSEWHERE}
        return (
            Message(xid=number, chaddr=chaddr, options={c.OPT_MESSAGE_TYPE: bytes((c.DISCOVER,))}).encode(),
            Message(xid=number, chaddr=chaddr, options=elsewhere).encode(),
        )

    def _spoilt(self, data: bytes) -> bytes:
        rng = self._rng
        if rng.random() < 0.05:
            return rng.randbytes(rng.randrange(600))
        value = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(value) + 1)
            match rng.randrange(5):
                case 0 | 1 if at < len(value):
                    value[at] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
                case 2:
                    del value[at : at + rng.randint(1, 16)]
                case 3:
                    value[at:at] = rng.randbytes(rng.randint(1, 16))
                case _:
                    value[at:at] = value[at : at + rng.randint(1, 64)]
        return bytes(value[:1400])


def _client_messages() -> Iterator[bytes]:
    pool = int(_POOL.network_address)
    for number in range(_MACS):
        chaddr = (b"\x02\xde\0\0\0" + bytes((number,))).ljust(16, b"\0")
        address = (pool + 300 + number).to_bytes(4, "big")
        for kind in (c.DISCOVER, c.REQUEST, c.REQUEST, c.RELEASE, c.DECLINE, c.INFORM):
            options = {
                c.OPT_MESSAGE_TYPE: bytes((kind,)),
                61: b"\0id" + bytes((number,)),
                12: b"host",
                55: b"\1\3\6\x79",
            }
            if kind != c.RELEASE:
                options[c.OPT_REQUESTED_ADDRESS] = address
            options |= {81: b"\4\0\0\4name\0", 82: b"\1\4abcd\2\2ef", 60: b"MSFT 5.0", 43: b"\1\2ab\3\1c"}
            ciaddr = int.from_bytes(address, "big") if kind == c.RELEASE else 0
            yield Message(xid=number, chaddr=chaddr, ciaddr=ciaddr, options=options).encode(min_size=300)


def _node_messages() -> Iterator[bytes]:
    for number in range(4):
        node_id = bytes((2, 0, 0, 0, number * 80, 0, 0, 0))
        codec = swarm.SwarmCodec(node_id, int(_POOL.network_address), _POOL.prefixlen, _BLOCK_SIZE)
        chaddr, index = b"\x02\xde".ljust(16, b"\0"), 900 + number
        address = int(_POOL.network_address) + index * _BLOCK_SIZE
        yield codec.update_claim([(index, 60), (index + 4, 300)])
        yield codec.inquire([index])
        for command in (swarm.RENEWLEASE, swarm.LEASEACK, swarm.LEASENAK, swarm.RELEASE):
            yield codec.lease_message(command, address.to_bytes(4, "big"), 1, 300, chaddr)
        record = swarm.LeaseRecord(address, 1, 60, 5, 60, chaddr, b"\1\1\2\3", b"host")
        section = swarm.Section(index, 1, 1, (record,), True)
        for message in (
            swarm.Hello(True, 0xFF, bytes(8), "flood"), swarm.HandoverMessage(index, 60, 0, 2, (record,)),
            swarm.HandoverAck(index), swarm.LookupMessage(address, 1, chaddr, b"\1\1"),
            swarm.Found(True, address, 1, chaddr, 60), swarm.Locate((swarm.WantedClient(1, chaddr, b"\1\1"),)),
            swarm.Replicate((section,)), swarm.ReplicateAck((swarm.Progress(index, 1, 1),)),
            swarm.Redirect(address, 1, chaddr, bytes(16)), swarm.Surrender(address, 1, chaddr, b"\1\1"),
            swarm.SurrenderAck(address, 1, chaddr), swarm.Challenge(bytes(16), bytes(16), 0),
            swarm.Hearsay((swarm.HeardClaim(index, 60, node_id, bytes(16)),)),
        ):  # fmt: skip
            yield codec.write(message)


def run(packets: int, seed: int, *, debug: bool, directory: Path, tell: bool = False) -> Outcome:
    """Flood a daemon of its own. Raises RuntimeError if it cannot be begun, or does not read on."""
    outcome, source = Outcome(packets=packets), Malformed(seed)
    with namespaces() as names:
        with kernel.entered(Path("/run/netns") / names.clients):
            load = Load(CLIENT_INTERFACE, random.Random(seed), Tally(), count=CLIENTS_AFTER, release_share=0)
            clients = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            clients.bind((CLIENT_INTERFACE, 0))
        to_node = _server_link(names.server)
        with clients, daemon(names.server, directory, "-L", *(["-vv"] if debug else [])) as process:
            if not load.serve_all(PATIENCE_S):
                raise RuntimeError("the daemon serves nobody before the flood")
            _let_strangers_come(clients, source, directory)
            began, before = time.monotonic(), _read_packets(directory)
            sent = 0
            for round_number in range(max(1, packets // (2 * AT_ONCE))):
                for _ in range(AT_ONCE):
                    clients.send(_frame(source.client()))
                    to_node(source.node(), bool(round_number % 2))
                sent += 2 * AT_ONCE
                outcome.read = _wait_until_read(directory, before + sent) - before
                if sent >= packets * WARM_UP and not outcome.rss_kib:
                    outcome.rss_kib = _rss_kib(process)
                if tell and sent % 100_000 < 2 * AT_ONCE:
                    print(f"{sent} packets, {_rss_kib(process)} KiB", file=sys.stderr, flush=True)
            outcome.seconds = round(time.monotonic() - began, 1)
            outcome.rss_after_kib = _rss_kib(process)
            for client in load.clients.values():
                client.address, client.lease_ends_at = 0, 0.0
            load.serve_all(PATIENCE_S)
            outcome.served = sum(client.address != 0 for client in load.clients.values())
            outcome.exceptions = _statistics(directory)["daemon.exceptions"]
            outcome.alive = process.poll() is None
            outcome.log_bytes = (directory / "log").stat().st_size
    return outcome


def _let_strangers_come(clients: socket.socket, source: Malformed, directory: Path) -> None:
    sent, before = 0, _read_packets(directory)
    for number in range(STRANGERS):
        for payload in source.stranger(number):
            clients.send(_frame(payload))
            sent += 1
        if sent % AT_ONCE == 0:
            _wait_until_read(directory, before + sent)
    # It claims blocks for them, and has tables for their addresses once they are its own.
    wait_until(lambda: not _statistics(directory)["ddhcp.blocks.claiming"], PATIENCE_S, "the blocks for them")


def _frame(payload: bytes) -> bytes:
    return udp_frame(b"\x02\xde\0\0\0\1", _BROADCAST_MAC, 0, c.BROADCAST_ADDRESS, 68, 67, payload)


def _server_link(namespace: str) -> Callable[[bytes, bool], None]:
    """What sends to the daemon, or to its group, from the other end of its server link."""
    address = [NODE_ADDRESS, "dev", SWARM_PEER, "nodad"]
    subprocess.run(["ip", "-n", namespace, "address", "add", *address], check=True, capture_output=True)
    with kernel.entered(Path("/run/netns") / namespace):
        node = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        index = socket.if_nametoindex(SWARM_PEER)
    node.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, SWARM_PEER.encode())
    node.bind((NODE_ADDRESS.partition("/")[0], 0, 0, index))
    to_group = (socket.inet_ntop(socket.AF_INET6, swarm.MULTICAST_GROUP), swarm.MULTICAST_PORT, 0, index)
    to_node = ("fe80::1", swarm.UNICAST_PORT, 0, index)

    def send(data: bytes, to_all: bool) -> None:
        for _ in range(BUSY_TRIES):
            try:
                node.sendto(data, to_group if to_all else to_node)
                return
            except OSError as error:
                # The kernel's neighbour table, one for all namespaces, may be full for a moment.
                if error.errno not in (errno.EINVAL, errno.ENOBUFS):
                    raise
                time.sleep(BUSY_S)
        raise RuntimeError(f"nothing can be sent to the server link for {BUSY_TRIES * BUSY_S:.0f} s")

    return send


def _statistics(directory: Path) -> dict[str, int]:
    found = parse_statistics(b"".join(ask(directory / "ctl", Request(Command.STATISTICS))).decode())
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _read_packets(directory: Path) -> int:
    statistics = _statistics(directory)
    return sum(statistics[name] for name in _READ)


def _wait_until_read(directory: Path, wanted: int) -> int:
    """How many packets the daemon has read: ``wanted``, or fewer if it reads no more."""
    read, progress_at = 0, time.monotonic()
    while (now := _read_packets(directory)) < wanted and time.monotonic() < progress_at + LOST_AFTER_S:
        if now > read:
            read, progress_at = now, time.monotonic()
        time.sleep(0.02)
    return now


def _rss_kib(process: subprocess.Popen[bytes]) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def main() -> int:
    """Run it and print what was seen; the exit status is 1 if the daemon did not stand it."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=1_000_000, help="half of them on each link (default 1000000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--debug", action="store_true", help="with debug logging on")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="ddhcp-flood-") as place:
            outcome = run(options.packets, options.seed, debug=options.debug, directory=Path(place), tell=True)
    except (RuntimeError, OSError, CtlError, subprocess.CalledProcessError) as error:
        print(f"flood: {error}", file=sys.stderr)
        return 2
    problems = outcome.problems()
    print(json.dumps(asdict(outcome) | {"problems": problems}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
