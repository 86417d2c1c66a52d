"""Messages for the tests of ddhcp.dhcp: real ones from a capture, and ones that scapy writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import settings
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

settings.register_profile("dhcp", deadline=None)  # no test here is about time
settings.load_profile("dhcp")

CAPTURE = Path(__file__).parent.parent / "captures" / "classic-realm0.pcap"
FRAMES = [bytes(packet) for packet in rdpcap(str(CAPTURE)) if BOOTP in packet]
MESSAGES = [bytes(packet[UDP].payload) for packet in rdpcap(str(CAPTURE)) if BOOTP in packet]
REAL_DISCOVER, REAL_OFFER, REAL_REQUEST, REAL_ACK = MESSAGES
FROM_CLIENTS = [REAL_DISCOVER, REAL_REQUEST]

MAC = bytes.fromhex("020000000001")
COOKIE = b"\x63\x82\x53\x63"
DISCOVER_OPTION = b"\x35\x01\x01"


def scapy_message(*options: Any, **fields: Any) -> bytes:
    """A client's message as scapy writes it; ``fields`` are those of scapy's BOOTP."""
    return bytes(BOOTP(**{"chaddr": MAC, "xid": 0x01020304, **fields}) / DHCP(options=[*options, "end"]))


def raw_message(area: bytes, *, file: bytes = b"", sname: bytes = b"", **fields: Any) -> bytes:
    """A message with the bytes of its options field given, for what scapy would not write."""
    head = {"chaddr": MAC, "xid": 0x01020304, "options": COOKIE, **fields}
    return bytes(BOOTP(sname=sname.ljust(64, b"\0"), file=file.ljust(128, b"\0"), **head)) + area


def option(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value


def listed(packet: bytes) -> list[tuple[Any, ...]]:
    """The options of the options field by scapy's reading, in order, without End and Pad."""
    return [item for item in BOOTP(packet)[DHCP].options if isinstance(item, tuple)]


def codes(area: bytes) -> list[int]:
    """The codes in one area, which must consist of whole options, End and nothing but Pad behind it."""
    found = []
    while area[0] != 255:
        found.append(area[0])
        assert len(area) > 2 + area[1], "an option runs over the end of its area"
        area = area[2 + area[1] :]
    assert not any(area[1:]), "bytes behind End"
    return found
