"""Frames of a DHCP client, built once and patched in place for each client: nothing is assembled under
load."""

from __future__ import annotations

import struct
from dataclasses import dataclass

BOOTP_SIZE = 300  # the least that relays and servers of old accept (RFC 951 3)
BROADCAST_MAC = b"\xff" * 6
OFFER, ACK, NAK = 2, 5, 6
_DISCOVER, _REQUEST = 1, 3
_COOKIE = b"\x63\x82\x53\x63"
_PARAMETERS = bytes([55, 4, 1, 3, 6, 51])
_ETH, _IP, _UDP = 0, 14, 34
_BOOTP = 42
_XID, _FLAGS, _CIADDR, _CHADDR, _OPTIONS = _BOOTP + 4, _BOOTP + 10, _BOOTP + 12, _BOOTP + 28, _BOOTP + 240
_REQUESTED = _OPTIONS + 5  # in a REQUEST: 53 1 3, then 50 4 and the address
_SERVER_ID = _OPTIONS + 11


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client looks at. ``kind``: DHCP message type (0 without option 53). ``xid``: integer.
    ``address`` (yiaddr), ``server_id`` (option 54, empty if absent): 4 bytes. ``server_mac``: 6 bytes, the
    frame's source."""

    kind: int
    xid: int
    address: bytes
    server_id: bytes
    server_mac: bytes


class Frames:
    """Writes the frames of any client into three buffers. Each method returns its buffer, valid until its
    next call.

    ``broadcast``: set the broadcast flag (RFC 2131 4.1) in DISCOVER and REQUEST. UDP checksums are 0, "not
    computed" (RFC 768).
    """

    def __init__(self, broadcast: bool = False) -> None:
        flags = 0x8000 if broadcast else 0
        self._discover = _frame(flags, bytes([53, 1, _DISCOVER]) + _PARAMETERS)
        selecting = bytes([53, 1, _REQUEST, 50, 4, 0, 0, 0, 0, 54, 4, 0, 0, 0, 0])
        self._request = _frame(flags, selecting + _PARAMETERS)
        self._renew = _frame(0, bytes([53, 1, _REQUEST]) + _PARAMETERS)

    def discover(self, mac: bytes, xid: int) -> bytearray:
        """DHCPDISCOVER of the client ``mac`` (6 bytes)."""
        _set_client(self._discover, mac, xid)
        return self._discover

    def request(self, mac: bytes, xid: int, address: bytes, server_id: bytes) -> bytearray:
        """DHCPREQUEST in the SELECTING state; ``address`` and ``server_id`` as offered, 4 bytes each."""
        frame = self._request
        _set_client(frame, mac, xid)
        frame[_REQUESTED : _REQUESTED + 4] = address
        frame[_SERVER_ID : _SERVER_ID + 4] = server_id
        return frame

    def renew(self, mac: bytes, xid: int, address: bytes, server_id: bytes, server_mac: bytes) -> bytearray:
        """DHCPREQUEST in the RENEWING state: unicast from the client's address to the server's."""
        frame = self._renew
        _set_client(frame, mac, xid)
        frame[0:6] = server_mac
        frame[_IP + 12 : _IP + 16] = address
        frame[_IP + 16 : _IP + 20] = server_id
        frame[_CIADDR : _CIADDR + 4] = address
        frame[_IP + 10 : _IP + 12] = b"\0\0"
        frame[_IP + 10 : _IP + 12] = _checksum(frame[_IP:_UDP]).to_bytes(2, "big")
        return frame


def parse_reply(frame: bytes) -> Reply | None:
    """Read a frame to a client's port; None if it is no BOOTREPLY."""
    if len(frame) < _OPTIONS:
        return None
    start = _IP + 4 * (frame[_IP] & 15) + 8
    if frame[start : start + 1] != b"\x02":
        return None
    kind, server_id = _options(frame, start + 240)
    xid = int.from_bytes(frame[start + 4 : start + 8], "big")
    return Reply(kind, xid, frame[start + 16 : start + 20], server_id, frame[6:12])


def _options(frame: bytes, position: int) -> tuple[int, bytes]:
    kind, server_id, end = 0, b"", len(frame)
    while position + 1 < end and (code := frame[position]) != 255:
        if code == 0:
            position += 1
            continue
        length = frame[position + 1]
        if code == 53 and length == 1 and position + 2 < end:
            kind = frame[position + 2]
        elif code == 54 and length == 4:
            server_id = frame[position + 2 : position + 6]
        if kind and server_id:
            break
        position += 2 + length
    return kind, server_id


def _frame(flags: int, options: bytes) -> bytearray:
    bootp = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0, 0, flags) + bytes(224) + _COOKIE + options + b"\xff"
    bootp = bootp.ljust(BOOTP_SIZE, b"\0")
    udp = struct.pack("!HHHH", 68, 67, 8 + len(bootp), 0)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(bootp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + _checksum(head).to_bytes(2, "big") + head[12:]
    return bytearray(BROADCAST_MAC + bytes(6) + b"\x08\x00" + head + udp + bootp)


def _set_client(frame: bytearray, mac: bytes, xid: int) -> None:
    frame[6:12] = mac
    frame[_XID : _XID + 4] = xid.to_bytes(4, "big")
    frame[_CHADDR : _CHADDR + 6] = mac


def _checksum(head: bytes | bytearray) -> int:
    """RFC 1071, over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(head) // 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return (total + (total >> 16) & 0xFFFF) ^ 0xFFFF
