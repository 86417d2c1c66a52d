"""Frames of DHCP clients: one buffer for all, each client's next message patched in place, checksums kept up
incrementally (RFC 1624), so that nothing is assembled under load."""

from __future__ import annotations

import struct
from dataclasses import dataclass

BOOTP_SIZE = 300  # the least that relays and servers of old accept (RFC 1542 2.1)
FRAME_SIZE = 42 + BOOTP_SIZE
SLOT_SIZE = 352  # FRAME_SIZE rounded up to whole words
CLIENT_BITS = 20
MAX_CLIENTS = 1 << CLIENT_BITS
TAG_COUNT = 1 << (32 - CLIENT_BITS)
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6

_MAC_PREFIX = 0x02DD  # locally administered
_COOKIE = b"\x63\x82\x53\x63"
_PARAMETERS = bytes([55, 4, 1, 3, 6, 51])
_IP, _UDP, _BOOTP = 14, 34, 42
_UDP_CHECKSUM, _CIADDR, _CHADDR, _OPTIONS = _UDP + 6, _BOOTP + 12, _BOOTP + 28, _BOOTP + 240
_BOOTP_HEAD = 0x01010600  # op, htype, hlen, hops
_CHECKSUM_AND_XID = struct.Struct(">HII")  # the UDP checksum, _BOOTP_HEAD and the xid lie side by side
_MAC = struct.Struct(">HI")
_WORD, _WORDS = struct.Struct(">H"), struct.Struct(">HH")
_ADDRESS_AND_SERVER = struct.Struct(">IBBI")  # the values of options 50 and 54 in a REQUEST
_REPLY = struct.Struct(">I8xI10xI")  # from the xid on: xid, yiaddr, the last four bytes of chaddr
_WHOLE_REPLY = struct.Struct(">14xBxH28xI8xI10xI206xHB")
_REPLY_XID = _BOOTP + 4


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client looks at. ``kind``: DHCP message type, 0 without option 53. ``xid``, ``address`` (yiaddr),
    ``server_id`` (option 54, 0 without) and ``client`` (whose MAC address is in chaddr, see :func:`mac`): integers."""

    kind: int
    xid: int
    address: int
    client: int
    server_id: int


# Of an Ethernet frame: version and header length and total length (IPv4), xid, yiaddr, the last four bytes of chaddr,
# the first two bytes of the options and the third. Meaningful only for a plain IPv4 header.
reply_fields = _WHOLE_REPLY.unpack_from
PLAIN_IPV4 = 0x45
LEAST_REPLY = 28 + 240 + 3  # total length of a reply with a message type
MESSAGE_TYPE = 0x3501  # option 53, length 1


def mac(client: int) -> bytes:
    """The MAC address of client number ``client``."""
    return _MAC.pack(_MAC_PREFIX, client)


class ClientFrames:
    """The next frame of each of ``count`` clients, numbered from 0; every one begins as a DISCOVER.

    A client's xid is its number in the low ``CLIENT_BITS`` bits and a tag above, so that a reply names its client.
    ``buffer``: client n's frame is ``FRAME_SIZE`` bytes from n × ``SLOT_SIZE``. ``broadcast``: set the broadcast flag
    (RFC 2131 4.1) in DISCOVER and REQUEST. Raises :class:`ValueError` for a count that the xid cannot hold.
    """

    def __init__(self, count: int, broadcast: bool = False) -> None:
        if not 0 < count <= MAX_CLIENTS:
            raise ValueError(f"{count} clients: 1 to {MAX_CLIENTS} can be told apart")
        flags = 0x8000 if broadcast else 0
        self._discover = _template(flags, bytes([53, 1, DISCOVER]) + _PARAMETERS)
        # The requested address is at offset 5, the server identifier at 11 of the options.
        selecting = bytes([53, 1, REQUEST, 50, 4, 0, 0, 0, 0, 54, 4, 0, 0, 0, 0])
        self._selecting = selecting + _PARAMETERS + b"\xff"
        self._request = _template(flags, selecting + _PARAMETERS)
        self._server_id = 0
        self._renew = _template(0, bytes([53, 1, REQUEST]) + _PARAMETERS)
        self._discover_sum, self._request_sum, self._renew_sum = (
            _udp_sum(frame) for frame in (self._discover, self._request, self._renew)
        )
        self._request_step = self._request_sum - self._discover_sum  # what turning a DISCOVER into a REQUEST adds
        self._renew_ip_sum = _sum(self._renew[_IP : _IP + 10])  # without checksum and addresses
        self._sums = [0] * count  # of everything that the UDP checksum covers but the xid
        self.count = count
        self.buffer = bytearray(count * SLOT_SIZE)
        for client in range(count):
            self.discover(client)
            self.stamp(client, 0)

    def discover(self, client: int) -> None:
        """Make the client's frame a DISCOVER. It must be stamped before it goes."""
        at = client * SLOT_SIZE
        self.buffer[at : at + FRAME_SIZE] = self._discover
        self._identify(at, client)
        self._sums[client] = self._discover_sum + _mac_sum(client)

    def request(self, client: int, address: int, server_id: int) -> None:
        """Make the client's DISCOVER a REQUEST in the SELECTING state for what was offered. The xid stays."""
        if server_id != self._server_id:
            self._server_id = server_id
            self._request_step = self._request_sum - self._discover_sum + _odd_sum(server_id)
        buffer, at = self.buffer, client * SLOT_SIZE
        options = at + _OPTIONS
        buffer[options : options + len(self._selecting)] = self._selecting
        _ADDRESS_AND_SERVER.pack_into(buffer, options + 5, address, 54, 4, server_id)
        # Four bytes at an odd offset: the middle two make a word, the outer ones halves of others.
        step = self._request_step + (address >> 24) + (address >> 8 & 0xFFFF) + ((address & 0xFF) << 8)
        self._sums[client] = total = self._sums[client] + step
        high, low = _WORDS.unpack_from(buffer, at + _REPLY_XID)
        total += high + low
        total = (total & 0xFFFF) + (total >> 16)
        total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF or 0xFFFF
        _WORD.pack_into(buffer, at + _UDP_CHECKSUM, total)

    def renew(self, client: int, address: int, server_id: int, server_mac: bytes) -> None:
        """Make the client's frame a REQUEST in the RENEWING state: unicast from its address to the server's. It
        must be stamped before it goes."""
        buffer, at = self.buffer, client * SLOT_SIZE
        buffer[at : at + FRAME_SIZE] = self._renew
        buffer[at : at + 6] = server_mac
        self._identify(at, client)
        addresses = _sum(struct.pack(">II", address, server_id))
        struct.pack_into(">HII", buffer, at + _IP + 10, _complement(self._renew_ip_sum + addresses), address, server_id)
        struct.pack_into(">I", buffer, at + _CIADDR, address)
        ciaddr = (address >> 16) + (address & 0xFFFF)
        broadcast = 2 * 0xFFFF  # the template's destination in the pseudo header
        self._sums[client] = self._renew_sum - broadcast + addresses + ciaddr + _mac_sum(client)

    def stamp(self, client: int, tag: int) -> int:
        """Give the client's frame the xid of ``tag`` (0 to ``TAG_COUNT`` - 1) and return it."""
        xid = tag << CLIENT_BITS | client
        total = self._sums[client] + (xid >> 16) + (xid & 0xFFFF)
        total = (total & 0xFFFF) + (total >> 16)
        total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF or 0xFFFF
        _CHECKSUM_AND_XID.pack_into(self.buffer, client * SLOT_SIZE + _UDP_CHECKSUM, total, _BOOTP_HEAD, xid)
        return xid

    def frame(self, client: int) -> bytes:
        """The client's frame as it would go."""
        return bytes(self.buffer[client * SLOT_SIZE : client * SLOT_SIZE + FRAME_SIZE])

    def _identify(self, at: int, client: int) -> None:
        _MAC.pack_into(self.buffer, at + 6, _MAC_PREFIX, client)
        _MAC.pack_into(self.buffer, at + _CHADDR, _MAC_PREFIX, client)


def parse_reply(data: bytes | bytearray, at: int, length: int) -> Reply | None:
    """Read the frame of ``length`` bytes at ``data[at]``, which came to a client's port; None if it is no BOOTREPLY
    over IPv4."""
    if length < _OPTIONS or data[at + _IP] >> 4 != 4:
        return None
    shift = 4 * (data[at + _IP] & 15) - 20
    start = at + _BOOTP + shift
    if shift < 0 or start + 240 > at + length or data[start] != 2 or data[start + 236 : start + 240] != _COOKIE:
        return None
    xid, address, client = _REPLY.unpack_from(data, start + 4)
    kind, server_id = _options(data, start + 240, at + length)
    return Reply(kind, xid, address, client, server_id)


def _options(data: bytes | bytearray, position: int, end: int) -> tuple[int, int]:
    kind = server_id = 0
    while position + 1 < end and (code := data[position]) != 255:
        if code == 0:
            position += 1
            continue
        length = data[position + 1]
        if code == 53 and length == 1 and position + 2 < end:
            kind = data[position + 2]
        elif code == 54 and length == 4 and position + 6 <= end:
            server_id = int.from_bytes(data[position + 2 : position + 6], "big")
        if kind and server_id:
            break
        position += 2 + length
    return kind, server_id


def _template(flags: int, options: bytes) -> bytes:
    bootp = struct.pack(">IIHH", _BOOTP_HEAD, 0, 0, flags) + bytes(224) + _COOKIE + options + b"\xff"
    bootp = bootp.ljust(BOOTP_SIZE, b"\0")
    udp = struct.pack(">HHHH", 68, 67, 8 + len(bootp), 0)
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(bootp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + _complement(_sum(head)).to_bytes(2, "big") + head[12:]
    return b"\xff" * 6 + bytes(6) + b"\x08\x00" + head + udp + bootp


def _udp_sum(frame: bytes) -> int:
    """What the UDP checksum of a template covers: pseudo header, header, data."""
    pseudo = frame[_IP + 12 : _IP + 20] + struct.pack(">HH", 17, len(frame) - _UDP)
    return _sum(pseudo) + _sum(frame[_UDP:])


def _sum(data: bytes) -> int:
    """The sum of 16-bit words (RFC 1071), not folded; an even number of bytes."""
    return sum(struct.unpack(f">{len(data) // 2}H", data))


def _mac_sum(client: int) -> int:
    return _MAC_PREFIX + (client >> 16) + (client & 0xFFFF)


def _odd_sum(value: int) -> int:
    """What four bytes at an odd offset add to the sum."""
    return (value >> 24) + (value >> 8 & 0xFFFF) + ((value & 0xFF) << 8)


def _complement(total: int) -> int:
    """The checksum for a sum, folded (RFC 1071). A UDP checksum of 0 must go as 0xFFFF (RFC 768)."""
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
