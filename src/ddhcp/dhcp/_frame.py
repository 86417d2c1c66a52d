"""Ethernet frames that carry UDP over IPv4, for clients that cannot be reached through the neighbour table."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ETHERNET_IP = struct.Struct("!6s6sH BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_ETHERTYPE_IPV4 = 0x0800
_PROTOCOL_UDP = 17
_TTL = 64
_TOS_LOW_DELAY = 0x10
_DONT_FRAGMENT = 0x4000


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of ``data``.

    A number is congruent to the sum of its 16-bit digits modulo 65535, so one big division does what a loop would.
    """
    if len(data) & 1:
        data += b"\0"
    rest = int.from_bytes(data, "big") % 0xFFFF
    if rest == 0 and any(data):
        return 0
    return 0xFFFF - rest


def udp_frame(
    source_mac: bytes,
    destination_mac: bytes,
    source: int,
    destination: int,
    source_port: int,
    destination_port: int,
    payload: bytes,
    ip_id: int = 0,
) -> bytes:
    """A complete frame, checksums included (rules E9, Q14): software must not rely on offloading here."""
    udp_size = 8 + len(payload)
    addresses = source.to_bytes(4, "big") + destination.to_bytes(4, "big")
    pseudo = addresses + struct.pack("!HH", _PROTOCOL_UDP, udp_size)
    udp_sum = checksum(pseudo + _UDP.pack(source_port, destination_port, udp_size, 0) + payload) or 0xFFFF
    ip_fields = (0x45, _TOS_LOW_DELAY, 20 + udp_size, ip_id, _DONT_FRAGMENT, _TTL, _PROTOCOL_UDP)
    ip_sum = checksum(struct.pack("!BBHHHBBH", *ip_fields, 0) + addresses)
    head = _ETHERNET_IP.pack(
        destination_mac, source_mac, _ETHERTYPE_IPV4, *ip_fields, ip_sum, addresses[:4], addresses[4:]
    )
    return head + _UDP.pack(source_port, destination_port, udp_size, udp_sum) + payload


@dataclass(slots=True, frozen=True)
class UdpFrame:
    """What :func:`parse_udp_frame` found. Addresses are integers."""

    source_mac: bytes
    destination_mac: bytes
    source: int
    destination: int
    source_port: int
    destination_port: int
    payload: bytes


def parse_udp_frame(frame: bytes) -> UdpFrame | None:
    """Read an Ethernet frame with UDP over IPv4, or None if it is not one or its lengths do not add up (rule I5).

    Checksums are not verified: a raw socket sees frames whose checksums the sender's interface has yet to fill in.
    """
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4 or frame[23] != _PROTOCOL_UDP:
        return None
    ip_header = (frame[14] & 15) * 4
    ip_size = int.from_bytes(frame[16:18], "big")
    udp = 14 + ip_header
    if ip_header < 20 or 14 + ip_size > len(frame) or ip_size < ip_header + 8:
        return None
    if int.from_bytes(frame[20:22], "big") & 0x3FFF:  # a fragment
        return None
    source_port, destination_port, udp_size, _ = _UDP.unpack_from(frame, udp)
    if udp_size < 8 or udp + udp_size > 14 + ip_size:
        return None
    return UdpFrame(
        frame[6:12], frame[:6], int.from_bytes(frame[26:30], "big"), int.from_bytes(frame[30:34], "big"),
        source_port, destination_port, frame[udp + 8 : udp + udp_size],
    )  # fmt: skip
