"""Ethernet frames with UDP, judged by scapy and by frames from a real client."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from dhcp_samples import FRAMES, MESSAGES
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import checksum as scapy_checksum

from ddhcp.dhcp import UdpFrame, checksum, parse_udp_frame, udp_frame

macs = st.binary(min_size=6, max_size=6)
addresses = st.integers(0, 0xFFFFFFFF)
ports = st.integers(0, 0xFFFF)
SAMPLE = udp_frame(b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", 0x0A000001, 0x0A000002, 67, 68, b"hello!", 7)


@given(st.binary(max_size=200))
def test_checksum_as_scapy_computes_it(data: bytes) -> None:
    assert checksum(data) == scapy_checksum(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xFFFF),
        (b"\0\0", 0xFFFF),
        (b"\xff\xff", 0),
        (b"\xff\xff\xff\xff", 0),
        (b"\x80\x00\x7f\xff", 0),
        (b"\1", 0xFEFF),
        (bytes.fromhex("0001f203f4f5f6f7"), 0x220D),  # the example of RFC 1071 section 3
    ],
)
def test_checksum_edges(data: bytes, expected: int) -> None:
    assert checksum(data) == expected


@given(macs, macs, addresses, addresses, ports, ports, st.binary(max_size=600), ports)
def test_frame_by_scapy_and_back(
    source_mac: bytes, target_mac: bytes, source: int, target: int, sport: int, dport: int, payload: bytes, ip_id: int
) -> None:
    """E9."""
    frame = udp_frame(source_mac, target_mac, source, target, sport, dport, payload, ip_id)
    judge = Ether(frame)
    assert (judge.src, judge.dst, judge.type) == (source_mac.hex(":"), target_mac.hex(":"), 0x0800)
    ip, udp = judge[IP], judge[UDP]
    assert (int(ipaddress.IPv4Address(ip.src)), int(ipaddress.IPv4Address(ip.dst))) == (source, target)
    assert (ip.version, ip.ihl, ip.proto, ip.id, ip.len) == (4, 5, 17, ip_id, 28 + len(payload))
    assert (str(ip.flags), ip.frag, ip.ttl) == ("DF", 0, 64)
    assert (udp.sport, udp.dport, udp.len, bytes(udp.payload)) == (sport, dport, 8 + len(payload), payload)
    del ip.chksum, udp.chksum
    rebuilt = Ether(bytes(judge))
    assert checksum(frame[14:34]) == 0, "the IP header's sum (RFC 1071)"
    assert rebuilt[IP].chksum == int.from_bytes(frame[24:26], "big")
    assert rebuilt[UDP].chksum == int.from_bytes(frame[40:42], "big")
    assert parse_udp_frame(frame) == UdpFrame(source_mac, target_mac, source, target, sport, dport, payload)


def test_udp_checksum_is_never_zero() -> None:
    """E9, RFC 768: zero would say that there is none."""
    base = bytes(2)
    frame = udp_frame(b"\2" * 6, b"\4" * 6, 1, 2, 67, 68, base)
    # the payload that brings the sum to zero is the checksum of the datagram with a zero payload
    payload = frame[40:42]
    assert udp_frame(b"\2" * 6, b"\4" * 6, 1, 2, 67, 68, payload)[40:42] == b"\xff\xff"


@pytest.mark.parametrize(("frame", "message"), list(zip(FRAMES, MESSAGES, strict=True)))
def test_real_frames(frame: bytes, message: bytes) -> None:
    parsed = parse_udp_frame(frame)
    assert parsed is not None
    assert parsed.payload == message
    assert {parsed.source_port, parsed.destination_port} == {67, 68}


@pytest.mark.parametrize("frame", FRAMES)
def test_every_truncation_of_a_real_frame(frame: bytes) -> None:
    for size in range(len(frame)):
        assert parse_udp_frame(frame[:size]) is None, size


@given(st.binary(max_size=100))
def test_padding_of_the_frame_is_no_payload(padding: bytes) -> None:
    assert parse_udp_frame(SAMPLE + padding) == parse_udp_frame(SAMPLE)


def test_ip_options_are_skipped() -> None:
    frame = bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x01" * 8) / UDP(sport=68, dport=67) / b"data")
    parsed = parse_udp_frame(frame)
    assert parsed is not None
    assert (parsed.source_port, parsed.destination_port, parsed.payload) == (68, 67, b"data")


def changed(position: int, value: bytes) -> bytes:
    return SAMPLE[:position] + value + SAMPLE[position + len(value) :]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(changed(12, b"\x08\x06"), id="ARP"),
        pytest.param(changed(12, b"\x86\xdd"), id="IPv6"),
        pytest.param(changed(14, b"\x65"), id="version 6"),
        pytest.param(changed(14, b"\x44"), id="header of 16 bytes"),
        pytest.param(changed(14, b"\x40"), id="header of 0 bytes"),
        pytest.param(changed(14, b"\x4f"), id="header of 60 bytes, behind the end"),
        pytest.param(changed(23, b"\x06"), id="TCP"),
        pytest.param(changed(16, struct.pack("!H", 35)), id="IP length over the frame"),
        pytest.param(changed(16, struct.pack("!H", 0xFFFF)), id="largest IP length"),
        pytest.param(changed(16, struct.pack("!H", 27)), id="IP length under its headers"),
        pytest.param(changed(16, struct.pack("!H", 0)), id="IP length 0"),
        pytest.param(changed(20, b"\x20\x00"), id="first fragment"),
        pytest.param(changed(20, b"\x00\x01"), id="last fragment"),
        pytest.param(changed(38, struct.pack("!H", 7)), id="UDP length under its header"),
        pytest.param(changed(38, struct.pack("!H", 0)), id="UDP length 0"),
        pytest.param(changed(38, struct.pack("!H", 15)), id="UDP length over the datagram"),
        pytest.param(changed(38, struct.pack("!H", 0xFFFF)), id="largest UDP length"),
    ],
)
def test_i5_lengths_that_do_not_add_up(frame: bytes) -> None:
    assert parse_udp_frame(SAMPLE) is not None
    assert parse_udp_frame(frame) is None


@given(st.binary(max_size=120), st.lists(st.tuples(st.integers(0, 47), st.integers(0, 255)), max_size=8))
def test_anything_is_read_or_refused(data: bytes, changes: list[tuple[int, int]]) -> None:
    parse_udp_frame(data)
    mutated = bytearray(SAMPLE)
    for position, value in changes:
        mutated[position] = value
    parsed = parse_udp_frame(bytes(mutated))
    assert parsed is None or len(parsed.payload) <= 6
