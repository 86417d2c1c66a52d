"""A DHCP client of the test network's own: for machines that have no real one, and for crowds.

:class:`DhcpClient` is the client of RFC 2131 section 4.4 as a state machine without sockets or clock; :class:`Crowd`
runs any number of them on one interface, each with its own hardware address. As a program it is one client that
serves its interface as dhclient would:

    python -m ddhcp.testbed.dhcpclient INTERFACE HOOK      (SIGUSR1: renew at once, SIGUSR2: release and end)
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ddhcp.core.pool import dotted
from ddhcp.dhcp import DecodeError, Message, parse_udp_frame, udp_frame
from ddhcp.dhcp import constants as c

from .links import Netlink

_FIRST_RETRY_S = 1.0
_MAX_RETRY_S = 8.0
_REQUEST_TRIES = 4  # RFC 2131 4.4.1: then back to INIT
_REBOOT_TRIES = 3
_DEFAULT_LEASE_S = 3600
_FRAME_SIZE = 65536
_MAX_IDLE_S = 3600.0
_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_PROMISC = 1
_ARP = struct.Struct("!6s6sH HHBBH6s4s6s4s")
_ETHERTYPE_ARP = 0x0806
_PARAMETERS = bytes((c.OPT_SUBNET_MASK, c.OPT_ROUTER, c.OPT_DNS, c.OPT_BROADCAST))


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a client's lease; ``reason`` in dhclient's words."""

    at: float
    reason: str
    address: int
    netmask: int = 0
    lease_s: int = 0
    server: int = 0


@dataclass(slots=True)
class DhcpClient:
    """One client. Its methods queue frames in ``outbox`` and note what happened in ``changes``.

    ``mac``: 6 bytes. ``state``: INIT, SELECTING, REQUESTING, REBOOTING, BOUND, RENEWING or REBINDING (RFC 2131
    figure 5). ``address``: what the client may use now, 0 if nothing. Instants are in seconds on any monotonic clock.
    """

    mac: bytes
    rng: random.Random
    broadcast: bool = False
    hostname: bytes = b""
    state: str = "INIT"
    address: int = 0
    server: int = 0
    server_mac: bytes = c.BROADCAST_MAC
    expires_at: float = 0.0
    outbox: list[bytes] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    _remembered: int = 0  # the address of the last lease, asked for again after a restart
    _offered: int = 0
    _xid: int = 0
    _tries: int = 0
    _retry_at: float | None = None
    _t1_at: float = 0.0
    _t2_at: float = 0.0

    def start(self, now: float) -> None:
        """Switch the client on: it asks for its last address again if it ever had one, else for any."""
        self.address = 0
        self._tries = 0
        self._xid = self.rng.getrandbits(32)
        self.state = "REBOOTING" if self._remembered else "SELECTING"
        self._retry_at = now
        self.poll(now)

    def renew(self, now: float) -> None:
        """Renew now rather than at T1. Nothing happens without a lease."""
        if self.address:
            self._t1_at = now
            self.poll(now)

    def release(self, now: float) -> None:
        """Give the lease back and fall silent."""
        if self.address:
            options = {
                c.OPT_MESSAGE_TYPE: bytes((c.RELEASE,)),
                c.OPT_SERVER_ID: self.server.to_bytes(4, "big"),
            }
            self._send(options, ciaddr=self.address, unicast=True)
            self._lose(now, "RELEASE")
        self.state, self._retry_at = "INIT", None

    def deadline(self) -> float | None:
        """When :meth:`poll` has something to do, ``None`` if never."""
        if self.state == "BOUND":
            return self._t1_at
        return self._retry_at

    def poll(self, now: float) -> None:
        """Do what is due."""
        if self.address:
            self._poll_lease(now)
        if self._retry_at is None or now < self._retry_at:
            return
        limit = {"REQUESTING": _REQUEST_TRIES, "REBOOTING": _REBOOT_TRIES}.get(self.state)
        if limit is not None and self._tries >= limit:
            self.state, self._tries = "SELECTING", 0
            self._xid = self.rng.getrandbits(32)
        self._ask()
        self._retry_at = now + min(_FIRST_RETRY_S * 2**self._tries, _MAX_RETRY_S)
        self._tries += 1

    def _poll_lease(self, now: float) -> None:
        if now >= self.expires_at:
            self._lose(now, "EXPIRE")
            self.start(now)
            return
        wanted = "REBINDING" if now >= self._t2_at else "RENEWING" if now >= self._t1_at else "BOUND"
        if wanted not in (self.state, "BOUND"):
            self.state, self._tries, self._retry_at = wanted, 0, now
            self._xid = self.rng.getrandbits(32)

    def _ask(self) -> None:
        """Send what the client's state asks for (RFC 2131 table 5)."""
        options = {c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,)), c.OPT_PARAMETER_LIST: _PARAMETERS}
        if self.hostname:
            options[c.OPT_HOSTNAME] = self.hostname
        if self.state == "SELECTING":
            options[c.OPT_MESSAGE_TYPE] = bytes((c.DISCOVER,))
            if self._remembered:
                options[c.OPT_REQUESTED_ADDRESS] = self._remembered.to_bytes(4, "big")
            self._send(options)
        elif self.state == "REQUESTING":
            options[c.OPT_REQUESTED_ADDRESS] = self._offered.to_bytes(4, "big")
            options[c.OPT_SERVER_ID] = self.server.to_bytes(4, "big")
            self._send(options)
        elif self.state == "REBOOTING":
            options[c.OPT_REQUESTED_ADDRESS] = self._remembered.to_bytes(4, "big")
            self._send(options)
        else:
            self._send(options, ciaddr=self.address, unicast=self.state == "RENEWING")

    def _send(self, options: dict[int, bytes], *, ciaddr: int = 0, unicast: bool = False) -> None:
        message = Message(
            xid=self._xid,
            flags=c.FLAG_BROADCAST if self.broadcast and not ciaddr else 0,
            ciaddr=ciaddr,
            chaddr=self.mac.ljust(16, b"\0"),
            options=options,
        )
        self.outbox.append(
            udp_frame(
                self.mac,
                self.server_mac if unicast else c.BROADCAST_MAC,
                ciaddr,
                self.server if unicast else c.BROADCAST_ADDRESS,
                c.CLIENT_PORT,
                c.SERVER_PORT,
                message.encode().ljust(300, b"\0"),
            )
        )

    def _lose(self, now: float, reason: str) -> None:
        self.changes.append(Change(now, reason, self.address))
        self.address = 0

    def handle(self, message: Message, source_mac: bytes, now: float) -> None:
        """A server's answer to this client's chaddr; what does not fit the state is ignored."""
        if message.op != c.BOOTREPLY or message.xid != self._xid:
            return
        kind = message.message_type
        if kind == c.OFFER and self.state == "SELECTING":
            self.server = message.server_identifier or 0
            self.server_mac = source_mac
            self._offered = message.yiaddr
            self.state, self._tries, self._retry_at = "REQUESTING", 0, now
            self.poll(now)
        elif kind == c.ACK and self.state in ("REQUESTING", "REBOOTING", "RENEWING", "REBINDING"):
            self._bind(message, source_mac, now)
        elif kind == c.NAK and self.state in ("REQUESTING", "REBOOTING", "RENEWING", "REBINDING"):
            self._lose(now, "NAK")
            self._remembered = 0
            self.start(now)

    def _bind(self, message: Message, source_mac: bytes, now: float) -> None:
        reasons = {"REQUESTING": "BOUND", "REBOOTING": "REBOOT", "RENEWING": "RENEW", "REBINDING": "REBIND"}
        lease_s = message.lease_time_s or _DEFAULT_LEASE_S

        def instant(code: int, share: float) -> float:
            value = message.options.get(code, b"")
            return now + (int.from_bytes(value, "big") if len(value) == 4 else lease_s * share)

        self._t1_at = instant(c.OPT_T1, 0.5)
        self._t2_at = instant(c.OPT_T2, 0.875)
        self.expires_at = now + lease_s
        self.address = self._remembered = message.yiaddr
        self.server = message.server_identifier or self.server
        self.server_mac = source_mac
        netmask = int.from_bytes(message.options.get(c.OPT_SUBNET_MASK, b""), "big")
        self.changes.append(Change(now, reasons[self.state], self.address, netmask, lease_s, self.server))
        self.state, self._retry_at = "BOUND", None


class Crowd:
    """Clients that share an interface of the calling thread's network namespace, through one raw socket.

    ``answer_arp``: answer for the clients' addresses, since the kernel does not know them.
    """

    def __init__(self, interface: str, clients: Iterable[DhcpClient], *, answer_arp: bool = True) -> None:
        self.clients = {client.mac: client for client in clients}
        self._answer_arp = answer_arp
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        membership = struct.pack("iHH8s", socket.if_nametoindex(interface), _PACKET_MR_PROMISC, 0, b"")
        self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setblocking(False)

    def close(self) -> None:
        """Close the socket; the clients keep what they know."""
        self._socket.close()

    def fileno(self) -> int:
        """The socket, for :mod:`select`."""
        return self._socket.fileno()

    def run(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Let the clients live until ``done()`` or ``timeout_s`` seconds have passed; whether it was done in time."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            self.poll()
            if done():
                return True
            if time.monotonic() >= give_up_at:
                return False
            self.wait(give_up_at)

    def wait(self, until: float, *others: int) -> None:
        """Wait for a frame, a client's deadline, or one of the file descriptors ``others``; at most to ``until``."""
        deadlines = [d for client in self.clients.values() if (d := client.deadline()) is not None]
        select.select([self.fileno(), *others], [], [], max(0.0, min([until, *deadlines]) - time.monotonic()))

    def poll(self) -> None:
        """Take in what has arrived, do what is due, send what that brought about."""
        while True:
            try:
                frame, address = self._socket.recvfrom(_FRAME_SIZE)
            except BlockingIOError:
                break
            except OSError:  # the interface went down; the clients retry by their own clocks
                break
            if address[2] != _PACKET_OUTGOING:
                self._receive(frame)
        now = time.monotonic()
        for client in self.clients.values():
            client.poll(now)
            self.flush(client)

    def flush(self, client: DhcpClient) -> None:
        """Send what the client has queued."""
        for frame in client.outbox:
            with contextlib.suppress(OSError):  # no carrier: lost, as on a cable
                self._socket.send(frame)
        client.outbox.clear()

    def _receive(self, frame: bytes) -> None:
        if frame[12:14] == b"\x08\x06":
            if self._answer_arp:
                self._receive_arp(frame)
            return
        packet = parse_udp_frame(frame)
        if packet is None or packet.destination_port != c.CLIENT_PORT:
            return
        try:
            message = Message.decode(packet.payload)
        except DecodeError:
            return
        client = self.clients.get(message.chaddr[:6])
        if client is not None and packet.destination_mac in (client.mac, c.BROADCAST_MAC):
            client.handle(message, packet.source_mac, time.monotonic())
            self.flush(client)

    def _receive_arp(self, frame: bytes) -> None:
        if len(frame) < _ARP.size:
            return
        *_, operation, asker_mac, asker, _, target = _ARP.unpack_from(frame)
        wanted = int.from_bytes(target, "big")
        owner = next((client for client in self.clients.values() if client.address == wanted), None)
        if operation == 1 and owner is not None and wanted:
            reply = (1, 0x0800, 6, 4, 2, owner.mac, target, asker_mac, asker)
            with contextlib.suppress(OSError):
                self._socket.send(_ARP.pack(asker_mac, owner.mac, _ETHERTYPE_ARP, *reply))


def _run_hook(hook: str, interface: str, change: Change) -> None:
    environment = {"reason": change.reason, "interface": interface}
    if change.lease_s:
        environment |= {
            "new_ip_address": dotted(change.address),
            "new_subnet_mask": dotted(change.netmask),
            "new_dhcp_lease_time": str(change.lease_s),
            "new_dhcp_server_identifier": dotted(change.server),
        }
    subprocess.run([hook], env={**os.environ, **environment}, check=False)


def main() -> int:
    """The program described above."""
    interface, hook = sys.argv[1:]
    with Netlink() as netlink:
        mac = bytes.fromhex(netlink.links()[interface].mac.replace(":", ""))
    client = DhcpClient(mac, random.Random())
    crowd = Crowd(interface, [client], answer_arp=False)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # each wakes the loop below through its byte in the pipe
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        # Owns the port, so that the kernel does not refuse a server's unicast; the frames are read raw.
        port.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        port.bind(("", c.CLIENT_PORT))
        client.start(time.monotonic())
        while True:
            crowd.poll()
            for change in client.changes:
                _run_hook(hook, interface, change)
            client.changes.clear()
            if client.state == "INIT":
                return 0
            crowd.wait(time.monotonic() + _MAX_IDLE_S, wake)
            for received in os.read(wake, 64) if select.select([wake], [], [], 0)[0] else b"":
                if received == signal.SIGUSR1:
                    client.renew(time.monotonic())
                elif received == signal.SIGUSR2:
                    client.release(time.monotonic())
                else:
                    return 0


if __name__ == "__main__":
    sys.exit(main())
