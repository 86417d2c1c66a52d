"""Ethernet frames that carry UDP over IPv4, for clients that cannot be reached through the neighbour table."""

from __future__ import annotations

import struct
from typing import Final

from ..values import dataclass

_HEADERS: Final = struct.Struct("!6s6sH BBHHHBBHII HHHH")  # Ethernet, IPv4 without options, UDP
# The same: what is the same in all of ours in one piece, and size and checksum of UDP as one number.
_pack_headers: Final = struct.Struct("!6s6s4s HH4sHII HHI").pack
_number: Final = int.from_bytes  # by a name of its own: looking it up takes as long as the division
_ETHERNET_SIZE: Final = 14
_IP_SIZE: Final = 20
_UDP_SIZE: Final = 8
_ETHERTYPE_IPV4: Final = 0x0800
_PROTOCOL_UDP: Final = 17
_TTL: Final = 64
_TOS_LOW_DELAY: Final = 0x10
_DONT_FRAGMENT: Final = 0x4000
_FRAGMENT: Final = 0x3FFF  # "more fragments" and the offset
_TYPE_AND_VERSION: Final = struct.pack("!HBB", _ETHERTYPE_IPV4, 0x45, _TOS_LOW_DELAY)
_FLAGS_AND_PROTOCOL: Final = struct.pack("!HBB", _DONT_FRAGMENT, _TTL, _PROTOCOL_UDP)
_IP_CONSTANT: Final = 0x4510 + 0x4000 + 0x4011  # the words of the IPv4 header that are the same in every frame
# The fields sname and file of a BOOTP message, which hardly any reply uses: words that need not be added.
_NAMES_AT: Final = 44
_NAMES_END: Final = 236
_NO_NAMES: Final = bytes(_NAMES_END - _NAMES_AT)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of ``data``, as the sender of a header writes it."""
    total = int.from_bytes(data, "big") << (8 if len(data) & 1 else 0)
    return -total % 0xFFFF if total else 0xFFFF


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
    """A complete frame, its checksums computed (rules E9, Q14): a raw socket offloads nothing.

    MAC addresses are 6 bytes, IPv4 addresses, ports and ``ip_id`` (below 65536) integers; ``payload`` is at most
    65507 bytes. It is marked "do not fragment". Raises struct.error for anything else.
    """
    udp_size = _UDP_SIZE + len(payload)
    ip_size = _IP_SIZE + udp_size
    # A number is congruent, modulo 65535, to the sum of its 16-bit words, which is what RFC 1071 adds up: one division
    # does the work of a loop. So an address may be added whole as well, and words of zeros be left out.
    has_names = payload[_NAMES_AT:_NAMES_END] != _NO_NAMES
    text = payload if has_names else payload[:_NAMES_AT] + payload[_NAMES_END:]
    words = _number(text, "big") % 0xFFFF
    if udp_size & 1:
        words <<= 8
    addresses = source + destination
    words += addresses + _PROTOCOL_UDP + udp_size + source_port + destination_port + udp_size
    return (
        _pack_headers(
            destination_mac, source_mac, _TYPE_AND_VERSION, ip_size, ip_id, _FLAGS_AND_PROTOCOL,
            -(_IP_CONSTANT + ip_size + ip_id + addresses) % 0xFFFF, source, destination, source_port, destination_port,
            udp_size << 16 | 0xFFFF - words % 0xFFFF,  # never 0, which would mean "no checksum" (RFC 768)
        )
        + payload
    )  # fmt: skip


@dataclass(slots=True, frozen=True)
class UdpFrame:
    """What :func:`parse_udp_frame` found. Addresses and ports are integers, MAC addresses 6 bytes."""

    source_mac: bytes
    destination_mac: bytes
    source: int
    destination: int
    source_port: int
    destination_port: int
    payload: bytes


def parse_udp_frame(frame: bytes) -> UdpFrame | None:
    """Read an Ethernet frame with UDP over IPv4, or None if it is not one or its lengths do not add up (rule I5).

    Header length, total length and UDP length are each checked against the bytes there are; padding after the datagram
    is allowed, fragments are not. Checksums are not verified: a raw socket sees frames whose checksums the sender's
    interface has yet to fill in (rule A15).
    """
    if len(frame) < _HEADERS.size:
        return None
    fields = _HEADERS.unpack_from(frame)
    destination_mac, source_mac, ethertype, version_ihl, _, ip_size, _, fragment, _, protocol = fields[:10]
    ip_header_size = (version_ihl & 15) * 4
    if ethertype != _ETHERTYPE_IPV4 or version_ihl >> 4 != 4 or protocol != _PROTOCOL_UDP or fragment & _FRAGMENT:
        return None
    if ip_header_size < _IP_SIZE or ip_size < ip_header_size + _UDP_SIZE or _ETHERNET_SIZE + ip_size > len(frame):
        return None
    udp = _ETHERNET_SIZE + ip_header_size
    source_port, destination_port, udp_size = struct.unpack_from("!HHH", frame, udp)
    if not _UDP_SIZE <= udp_size <= ip_size - ip_header_size:
        return None
    payload = frame[udp + _UDP_SIZE : udp + udp_size]
    return UdpFrame(source_mac, destination_mac, fields[11], fields[12], source_port, destination_port, payload)
