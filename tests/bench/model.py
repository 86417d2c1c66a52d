"""A link whose other end is a model of a server, and its own clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from bench.frames import ACK, DISCOVER, NAK, OFFER, REQUEST, ClientFrames
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

SERVER_MAC = bytes.fromhex("02aabbccddee")
SERVER_ID = 0x0A4D0001
SLOT = 1024
KINDS = {OFFER: "offer", ACK: "ack", NAK: "nak"}


def dotted(address: int | bytes) -> str:
    number = address if isinstance(address, bytes) else address.to_bytes(4, "big")
    return ".".join(str(byte) for byte in number)


def read(frame: bytes) -> tuple[Ether, dict[str, object]]:
    """The frame as scapy reads it, and its DHCP options. A checksum or length that is wrong fails the test."""
    packet = Ether(frame)
    fresh = packet.copy()
    for layer, field in ((IP, "chksum"), (IP, "len"), (UDP, "chksum"), (UDP, "len")):
        fresh[layer].delfieldval(field)
    again = Ether(bytes(fresh))
    assert [packet[IP].chksum, packet[IP].len] == [again[IP].chksum, again[IP].len]
    assert [packet[UDP].chksum, packet[UDP].len] == [again[UDP].chksum, again[UDP].len]
    assert (packet[UDP].sport, packet[UDP].dport) == (68, 67)
    return packet, dict(option[:2] for option in packet[DHCP].options if isinstance(option, tuple))


def reply_frame(kind: int, xid: int, address: int, chaddr: bytes, type_last: bool = False) -> bytes:
    options = [("message-type", KINDS[kind]), ("server_id", dotted(SERVER_ID))]
    return bytes(
        Ether(src=SERVER_MAC.hex(":"), dst="ff:ff:ff:ff:ff:ff")
        / IP(src=dotted(SERVER_ID), dst="255.255.255.255")
        / UDP(sport=67, dport=68)
        / BOOTP(op=2, xid=xid, yiaddr=dotted(address), chaddr=chaddr)
        / DHCP(options=[*(reversed(options) if type_last else options), "end"])
    )


class ModelLink:
    """Answers frames in the way ``answer`` says: given how many came before it and its DHCP message type, the type of
    the answer, 0 for none. Each reading takes a millisecond; in vain it takes as long as it may wait. Every client gets
    an address of its own unless ``same``."""

    def __init__(
        self,
        frames: ClientFrames,
        answer: Callable[[int, int], int] = lambda number, kind: OFFER if kind == DISCOVER else ACK,
        same: bool = False,
        type_last: bool = False,
    ) -> None:
        self.now_ns = 0
        self.sent: list[tuple[int, int, int]] = []  # when (ns), client, DHCP message type
        self.incoming = bytearray(4 * SLOT)
        self.starts = range(0, 4 * SLOT, SLOT)
        self._frames = frames
        self._answer = answer
        self._same = same
        self._type_last = type_last
        self._answers: deque[bytes] = deque()
        self._lengths: list[int] = []

    def clock(self) -> int:
        return self.now_ns

    def send(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            packet, options = read(self._frames.frame(number))
            kind = options["message-type"]
            assert kind in (DISCOVER, REQUEST)
            answer = self._answer(len(self.sent), kind)
            self.sent.append((self.now_ns, number, kind))
            if answer:
                address = 0x0A4D0100 + (0 if self._same else number)
                chaddr = packet[BOOTP].chaddr[:6]
                self._answers.append(reply_frame(answer, packet[BOOTP].xid, address, chaddr, self._type_last))

    def receive(self, wait_s: float) -> int:
        self._lengths = []
        if not self._answers:
            self.now_ns += max(1, int(wait_s * 1e9))
            return 0
        self.now_ns += 1_000_000
        while self._answers and len(self._lengths) < len(self.starts):
            answer = self._answers.popleft()
            start = self.starts[len(self._lengths)]
            self.incoming[start : start + len(answer)] = answer
            self._lengths.append(len(answer))
        return len(self._lengths)

    def length(self, index: int) -> int:
        return self._lengths[index]
