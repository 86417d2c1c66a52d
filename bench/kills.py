"""Kills the real daemon at random moments under load, and looks after every kill whether the database has each lease
that a client saw acknowledged.

The daemon and the clients run in two network namespaces with real sockets between them. After a kill the database files
are copied as they are and opened as the daemon would; then the daemon is started again on the originals. It keeps its
learning phase, so if it did not resume its blocks at once, nobody would be answered for minutes, which counts as a
failure. A kill ends the process, not the machine: that a commit survives a power cut is SQLite's full sync, and is not
what this measures.

Usage: python -m bench.kills [--kills 1000] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.network import CLIENT_INTERFACE, inside, namespaces
from bench.peers import ADDRESS, INTERFACE, SWARM_INTERFACE
from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.store import SqliteStore
from ddhcp.dhcp import DecodeError, Message, parse_udp_frame, udp_frame
from ddhcp.dhcp import constants as c
from ddhcp.testbed import kernel

CLIENTS = 300
LEASE_S = 120
SLACKS_S = (0, 0, 60, 3600)  # of the store, for one life each: with 0 every renewal is written
IN_FLIGHT = 48
RETRY_S = 0.3
PATIENCE_S = 1.0  # then another client has its turn: this one may be waiting for a free address
LIFE_S = (0.02, 1.2)  # of a daemon, from its first answer to its kill
TOLERANCE_S = 0.1  # the daemon reads the clock once for a batch of datagrams, perhaps before the last of them was sent
EARLY_SHARE = 0.1  # of the kills: those that do not wait for an answer
EARLY_S = 0.6
BLOCK_TIMEOUT_S = 600
ANSWER_WITHIN_S = 100.0  # of a start, beside other work; the learning phase takes 0.4 of the block timeout
RELEASE_SHARE, DISCOVER_SHARE = 0.05, 0.15  # of what a client that has a lease does next; else it renews
_BROADCAST_MAC = b"\xff" * 6
_SERVER_ID = int(ADDRESS.ip)
_ETH_P_IP = 0x0800


@dataclass(slots=True)
class Client:
    """A client, what it holds (address 0: nothing) and what it last sent."""

    mac: bytes
    address: int = 0
    lease_ends_at: float = 0.0
    xid: int = 0
    sent_at: float = 0.0
    first_sent_at: float = 0.0
    message: Message | None = None


@dataclass(slots=True)
class Tally:
    """What was seen. ``missing``, ``short``: leases that the database did not have, or not for long enough; ``twice``:
    addresses acknowledged to a client while another's lease ran."""

    kills: int = 0
    acks: int = 0
    checked: int = 0
    missing: int = 0
    short: int = 0
    twice: int = 0
    refused: int = 0
    set_aside: int = 0
    recovery_s: list[float] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """How much of it must not be."""
        return self.missing + self.short + self.twice + self.set_aside

    def summary(self) -> dict[str, object]:
        """For the report, in seconds."""
        times = sorted(self.recovery_s)
        figures = {name: getattr(self, name) for name in self.__slots__ if name != "recovery_s"}
        return figures | {
            "recovery_median_s": round(times[len(times) // 2], 3) if times else None,
            "recovery_max_s": round(times[-1], 3) if times else None,
        }


class Load:
    """``count`` clients, numbered from ``first``, behind one packet socket."""

    def __init__(
        self,
        interface: str,
        rng: random.Random,
        tally: Tally,
        *,
        first: int = 0,
        count: int = CLIENTS,
        release_share: float = RELEASE_SHARE,
    ) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.bind((interface, 0))
        self._socket.setblocking(False)
        self._rng = rng
        self._release_share = release_share
        self._tally = tally
        self.clients = {
            mac: Client(mac)
            for mac in (b"\x02\xdd" + number.to_bytes(4, "big") for number in range(first, first + count))
        }
        self._idle = list(self.clients.values())
        self._busy: dict[bytes, Client] = {}
        self.answered_at = 0.0

    def run(self, until: float, *, until_answered: bool = False) -> None:
        """Keep the clients at work until an instant of the boot clock, or until the first answer."""
        before = self.answered_at
        while (now := boot_time()) < until and not (until_answered and self.answered_at > before):
            while self._idle and len(self._busy) < IN_FLIGHT:
                self._begin(self._idle.pop(self._rng.randrange(len(self._idle))), now)
            for client in list(self._busy.values()):
                if now - client.first_sent_at > PATIENCE_S:
                    self._end(client)
                elif now - client.sent_at > RETRY_S:
                    self._send(client, now)
            select.select([self._socket], [], [], 0.01)
            self.drain()

    def serve_all(self, within_s: float) -> bool:
        """Keep the clients at work until all have been served once."""
        give_up_at = boot_time() + within_s
        while not all(client.lease_ends_at for client in self.clients.values()):
            if boot_time() > give_up_at:
                return False
            self.run(boot_time() + 0.1)
        return True

    def drain(self) -> None:
        """Take in what has arrived."""
        while True:
            try:
                data, address = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            if address[2] == socket.PACKET_OUTGOING:
                continue
            frame = parse_udp_frame(data)
            if frame is None or frame.destination_port != 68:
                continue
            try:
                self._take(Message.decode(frame.payload))
            except DecodeError:
                continue

    def _begin(self, client: Client, now: float) -> None:
        client.xid = self._rng.getrandbits(32)
        client.first_sent_at = now
        self._busy[client.mac] = client
        draw = self._rng.random()
        if not client.address or client.lease_ends_at <= now or draw < DISCOVER_SHARE:
            self._say(client, c.DISCOVER, now)
        elif draw < DISCOVER_SHARE + self._release_share:
            self._say(client, c.RELEASE, now, ciaddr=client.address, server=True)
            client.address = 0
            self._end(client)
        else:
            self._say(client, c.REQUEST, now, ciaddr=client.address)

    def _end(self, client: Client) -> None:
        del self._busy[client.mac]
        self._idle.append(client)

    def _say(
        self, client: Client, kind: int, now: float, *, ciaddr: int = 0, wanted: int = 0, server: bool = False
    ) -> None:
        options = {c.OPT_MESSAGE_TYPE: bytes((kind,))}
        if wanted:
            options[c.OPT_REQUESTED_ADDRESS] = wanted.to_bytes(4, "big")
        if server:
            options[c.OPT_SERVER_ID] = _SERVER_ID.to_bytes(4, "big")
        client.message = Message(
            xid=client.xid, chaddr=client.mac.ljust(16, b"\0"), ciaddr=ciaddr, flags=0x8000, options=options
        )
        client.first_sent_at = now
        self._send(client, now)

    def _send(self, client: Client, now: float) -> None:
        assert client.message is not None
        client.sent_at = now
        payload = client.message.encode()
        frame = udp_frame(client.mac, _BROADCAST_MAC, client.message.ciaddr, 0xFFFFFFFF, 68, 67, payload)
        try:
            self._socket.send(frame)
        except OSError:
            return  # the queue is full: the client tries again

    def _take(self, reply: Message) -> None:
        client = self._busy.get(reply.chaddr[:6])
        if client is None or client.xid != reply.xid or client.message is None:
            return
        now = self.answered_at = boot_time()
        asked = client.message.message_type
        if reply.message_type == c.OFFER and asked == c.DISCOVER:
            self._say(client, c.REQUEST, now, wanted=reply.yiaddr, server=True)
        elif reply.message_type == c.ACK and asked == c.REQUEST:
            self._tally.acks += 1
            self._hold(client, reply.yiaddr, client.first_sent_at + (reply.lease_time_s or 0))
            self._end(client)
        elif reply.message_type == c.NAK and asked == c.REQUEST:
            self._tally.refused += 1
            client.address = 0
            self._end(client)

    def _hold(self, client: Client, address: int, ends_at: float) -> None:
        for other in self.clients.values():
            if other is not client and other.address == address and other.lease_ends_at > boot_time():
                self._tally.twice += 1
        client.address, client.lease_ends_at = address, ends_at


@contextmanager
def daemon(namespace: str, directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon with its store, socket and log in ``directory``; killed at the end if it is still there."""
    command = [sys.executable, "-P", "-m", "ddhcp.daemon.main", "-D", "-t", "2", "-B", "60", "-b", "6"]
    command += ["-N", str(ADDRESS.network), "-i", SWARM_INTERFACE, "-c", INTERFACE, "-o", f"lease-time={LEASE_S}"]
    command += ["--store", str(directory / "leases.sqlite"), "-C", str(directory / "ctl"), *arguments]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(inside(namespace, command), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def check(database: Path, clients: dict[bytes, Client], now: float, tally: Tally) -> None:
    """Compare what the clients hold with what a copy of the database remembers."""
    with tempfile.TemporaryDirectory(prefix="ddhcp-kills-") as place:
        for suffix in ("", "-wal"):
            if Path(f"{database}{suffix}").exists():
                shutil.copy(f"{database}{suffix}", f"{place}/{database.name}{suffix}")
        Path(f"{place}/{database.name}.lock").touch()
        store = SqliteStore(Path(place) / database.name)
        remembered = store.load()
        store.close()
    tally.set_aside += remembered.set_aside is not None
    rows = {lease.address: lease for lease in remembered.leases}
    for client in clients.values():
        if not client.address or client.lease_ends_at <= now:
            continue
        tally.checked += 1
        row = rows.get(client.address)
        if row is None or row.state != "leased" or row.chaddr[:6] != client.mac:
            tally.missing += 1
        elif row.latest_end(now) < client.lease_ends_at - TOLERANCE_S:
            tally.short += 1


def run(kills: int, seed: int, tell: bool = True) -> Tally:
    """Kill so many times. Raises RuntimeError if the daemon does not answer after a start."""
    tally, rng = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="ddhcp-kills-") as place, namespaces() as names:
        directory = Path(place)
        with kernel.entered(Path("/run/netns") / names.clients):
            load = Load(CLIENT_INTERFACE, rng, tally)
        is_first = True
        while tally.kills < kills:
            (directory / "ddhcp.toml").write_text(f"[store]\nrenewal-slack = {rng.choice(SLACKS_S)}\n")
            options = ["-F", str(directory / "ddhcp.toml"), "-s", str(CLIENTS), "-B", str(BLOCK_TIMEOUT_S)]
            options += ["-L"] if is_first else []
            with daemon(names.server, directory, *options) as process:
                started_at = boot_time()
                if is_first or rng.random() >= EARLY_SHARE:
                    load.run(started_at + ANSWER_WITHIN_S, until_answered=True)
                    if load.answered_at < started_at:
                        raise RuntimeError(
                            f"no answer within {ANSWER_WITHIN_S:.0f} s of start {tally.kills + 1}; its log ends:\n"
                            + "\n".join((directory / "log").read_text(errors="replace").splitlines()[-5:])
                        )
                    if not is_first:
                        tally.recovery_s.append(load.answered_at - started_at)
                    elif not load.serve_all(ANSWER_WITHIN_S):
                        raise RuntimeError(f"not every client had an address within {ANSWER_WITHIN_S:.0f} s")
                    load.run(boot_time() + rng.uniform(*LIFE_S))
                else:
                    load.run(boot_time() + rng.uniform(0, EARLY_S))
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed_at = boot_time()
            is_first = False
            time.sleep(0.01)  # what the dead process sent is on its way through the kernel
            load.drain()
            tally.kills += 1
            check(directory / "leases.sqlite", load.clients, killed_at, tally)
            if tell and tally.kills % 50 == 0:
                print(json.dumps(tally.summary()), file=sys.stderr, flush=True)
    return tally


def main() -> int:
    """Run it and print what was seen; the exit status is 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        tally = run(options.kills, options.seed)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f"kill test: {error}", file=sys.stderr)
        return 2
    print(json.dumps(tally.summary()))
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
