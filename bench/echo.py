"""A responder that turns every DHCP message around without thinking: the load generator's own ceiling.

It knows the generator's frames, keeps no state, and gives each client the address that its number spells."""

from __future__ import annotations

import argparse
import struct
import sys

from bench.frames import DISCOVER, FRAME_SIZE, OFFER
from bench.link import BatchLink

SERVER_PORT = 67
_SERVER_ID = bytes([10, 77, 0, 1])
_SERVER_MAC = b"\x02\xde\x00\x00\x00\x01"
_ACK = 5
# Source address, EtherType, IPv4 and UDP headers of a broadcast from the server, without checksums: the generator's
# packet socket does not look at them.
_HEADERS = (
    _SERVER_MAC
    + b"\x08\x00"
    + struct.pack(">BBHHHBBH4s4s", 0x45, 0, FRAME_SIZE - 14, 0, 0, 64, 17, 0, _SERVER_ID, b"\xff" * 4)
    + struct.pack(">HHHH", 67, 68, FRAME_SIZE - 34, 0)
)
_IDENTIFIER = b"\x36\x04" + _SERVER_ID + b"\xff"


def turn(frames: bytearray, at: int) -> None:
    """Make the client's frame at ``at`` its reply."""
    frames[at : at + 6] = frames[at + 6 : at + 12]
    frames[at + 6 : at + 42] = _HEADERS
    frames[at + 42] = 2
    frames[at + 58 : at + 62] = b"\x0a" + frames[at + 73 : at + 76]
    frames[at + 284] = OFFER if frames[at + 284] == DISCOVER else _ACK
    frames[at + 285 : at + 292] = _IDENTIFIER


def main() -> int:
    """Run until killed."""
    parser = argparse.ArgumentParser(prog="echo", description=__doc__)
    parser.add_argument("--interface", required=True)
    link = BatchLink(parser.parse_args().interface, SERVER_PORT, FRAME_SIZE)
    while True:
        count = link.receive(1.0)
        for index in range(count):
            turn(link.incoming, link.starts[index])
        if count:
            link.send(range(count))


if __name__ == "__main__":
    sys.exit(main())
