"""Inputs to begin with, by target: all of them are read without complaint."""

from __future__ import annotations

from pathlib import Path

from fuzz_peers import EXTENSIONS, KEYS, Known, Peer
from fuzz_source import Source
from scapy.all import IP, UDP, IPv6, rdpcap

from ddhcp import swarm
from ddhcp.ctl.protocol import Command, Request
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from segment import POOL, SERVER, discover, mac, request, say

CAPTURES = Path(__file__).parent.parent / "captures"
EXAMPLE = Path(__file__).parent.parent.parent / "packaging" / "examples" / "ddhcp.toml"
PER_CAPTURE = 12  # datagrams of one recording that differ from each other in kind and size


def _dhcp() -> list[Message]:
    """What clients send: a plain one, and those whose messages have been trouble (Q1 to Q24)."""
    client_id = b"\1" + mac(1)
    return [
        discover(o61=b"\1abc", o12=b"host", o55=b"\1\3\6", o82=b"\1\2ab"),
        request(o50=SERVER + 9, o54=SERVER, o81=b"\4\0\0\4host\0"),
        request(ciaddr=SERVER + 9, o61=client_id),
        request(o50=SERVER + 9),
        say(c.RELEASE, ciaddr=SERVER + 9, o54=SERVER),
        say(c.DECLINE, o50=SERVER + 9, o54=SERVER),
        say(c.INFORM, ciaddr=SERVER + 9, o55=b"\6\x0f\x77\xfc"),
        say(10, ciaddr=SERVER + 9, giaddr=SERVER + 2),
        discover(ciaddr=SERVER + 9, o61=client_id, o55=bytes((1, 3, 6))),  # NetworkManager
        discover(o61=b"\xff\1\2\3\4\0\4" + bytes(16)),  # n-dhcp4, a DUID
        discover(o55=b"\1\3\6\x6c", o57=b"\5\xdc", o12=b"android"),
        discover(o12=b"windows\0", o60=b"MSFT 5.0", flags=0x8000, o81=b"\0\0\0win.example"),
        discover(o60=b"PXEClient:Arch:00007:UNDI:003016", o93=b"\0\7", o94=b"\1\3\x10", o97=b"\0" + bytes(16)),
        discover(o12=b"", o60=b"", o81=b"\4\0\0\0"),
        discover(o175=b"\xb1\5\1\x10\xec\1\0", o124=b"\0\0\x0d\xe9\4\3abc", o125=b"\0\0\x0d\xe9\4\1\2ab"),
        discover(giaddr=SERVER + 2, o82=b"\5\4\x0a\0\0\0\x0b\4\x0a\0\0\1\1\3abc", o118=SERVER),
        discover(o80=b"", o116=b"\1", o50=SERVER + 9, o51=600),
        discover(o43=b"\1\4abcd", o77=b"\4user", o121=b"\x18\x0a\0\1\x0a\0\0\1"),
    ]


def _capture(name: str, is_dhcp: bool) -> list[bytes]:
    """Some of the datagrams of a recording, no two of one kind and size."""
    found: dict[tuple[int, int], bytes] = {}
    for packet in rdpcap(str(CAPTURES / name)):
        if UDP in packet and (IP if is_dhcp else IPv6) in packet:
            data = bytes(packet[UDP].payload)
            kind = data[242] if is_dhcp and len(data) > 242 else data[14]
            if is_dhcp or _is_whole(data):
                found.setdefault((kind, len(data)), data)
    return list(found.values())[:PER_CAPTURE]


def _is_whole(data: bytes) -> bool:
    """The recordings have malformed datagrams as well."""
    try:
        swarm.decode(data)
    except swarm.DecodeError:
        return False
    return True


def _swarm() -> list[bytes]:
    peer, known = Peer(1, POOL, None), Known(POOL)
    written = [peer.codec.update_claim([(2, 60), (3, 700)]), peer.codec.inquire([3])]
    for number, make in enumerate(EXTENSIONS):
        for filler in (1, 3):
            values = bytes((filler * (at + 1) + number) & 0xFF for at in range(200))
            written.append(peer.codec.write(make(Source(values), known)))
    return written + _capture("classic-swarm.pcap", False) + _capture("mixed-swarm.pcap", False)


def _seal() -> list[bytes]:
    head = b"epoch\0\0\0" + bytes(16) + bytes(15) + b"\1" + b"\0\x11\1"
    sealed = swarm.Sealer(KEYS, b"epoch\0\0\0").seal(_swarm()[0], bytes(16), bytes(15) + b"\1")
    return [head + data for data in (*_swarm()[:20], sealed)]


def _control() -> list[bytes]:
    commands: list[dict[str, object]] = [
        {"command": "status"}, {"command": "leases", "limit": 2, "after": "10.0.0.2", "search": "host"},
        {"command": "leases", "state": "leased"}, {"command": "map", "cells": 16}, {"command": "peers"},
        {"command": "explain", "mac": mac(1).hex(":")}, {"command": "explain", "address": "10.0.0.5"},
        {"command": "set-option", "code": 6, "value": "0a000001"}, {"command": "remove-option", "code": 6},
        {"command": "reserve", "address": "10.0.0.9"}, {"command": "unreserve", "address": "10.0.0.9"},
        {"command": "release", "address": "10.0.0.2"}, {"command": "events", "after": 0}, {"command": "reservations"},
        {"command": "blocks"}, {"command": "options"}, {"command": "drain"}, {"command": "reload"},
    ]  # fmt: skip
    requests = [Request(Command.JSON, arguments=arguments) for arguments in commands]
    requests += [
        Request(Command.SHOW_BLOCKS), Request(Command.SHOW_OPTIONS),
        Request(Command.SET_OPTION, code=6, payload=bytes(4)), Request(Command.REMOVE_OPTION, code=6),
        Request(Command.SET_LOG_LEVEL, level=3), Request(Command.STATISTICS), Request(Command.STATISTICS_RESET),
    ]  # fmt: skip
    return [each.encode() for each in requests]


def _settings() -> list[bytes]:
    example = EXAMPLE.read_text()
    switched_on = "\n".join(
        line[2:] if line.startswith("# ") and ("=" in line or line.startswith("# [")) else line
        for line in example.splitlines()
    )
    return [
        b'[dhcp]\nlease-time = 300\nrelays = ["10.9.0.1"]\n\n[claiming]\nspare-leases = 7\n',
        example.encode(),
        switched_on.encode(),
    ]


def _session() -> list[bytes]:
    """Stories: somebody gets a lease and keeps it; another one gives it back, or wants it; peers speak; a restart."""
    join = bytes((0, 0, 1, 0, 0, 5, 0)) + bytes((0, 1, 1, 3, 1, 0, 5))
    keep = bytes((7, 7, 0, 1, 1, 4, 1, 0, 5))
    peers = b"".join(bytes((4, number, 1, 4 + number, *range(1, 40), 7, 3)) for number in range(len(EXTENSIONS)))
    leave = bytes((0, 4, 1, 5, 1, 0, 5)) + bytes((0, 5, 1, 3, 1, 0, 5))
    forge = bytes((0, 4, 2, 5, 1, 0, 5)) + bytes((0, 5, 2, 3, 1, 0, 5)) + bytes((0, 1, 2, 3, 1, 0, 5))
    options = b"".join(
        bytes((11, 0, code - 1, size, *range(1, size + 1))) for code in (1, 3, 28, 51, 54, 67) for size in (0, 5)
    )
    stories = (
        join + forge + keep + leave,
        options + join + keep,
        join + leave + join,
        join + bytes((12, 0)) + keep,
        join + peers,
        peers + join + bytes((12, 1)) + keep,
    )
    return [bytes((head,)) + story for head in (0, 2, 8, 16, 35) for story in stories]


def seeds(target: str) -> list[bytes]:
    """What to begin with."""
    dhcp = [message.encode(min_size=300) for message in _dhcp()]
    dhcp += _capture("classic-realm0.pcap", True) + _capture("classic-realm1.pcap", True)
    match target:
        case "dhcp":
            return dhcp
        case "swarm":
            return _swarm()
        case "node":
            return dhcp + _swarm()
        case "seal":
            return _seal()
        case "control":
            return _control()
        case "settings":
            return _settings()
    return _session()
