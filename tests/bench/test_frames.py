"""The load generator's frames, judged by scapy."""

from __future__ import annotations

import pytest
from bench.frames import (
    ACK,
    CLIENT_BITS,
    MAX_CLIENTS,
    NAK,
    OFFER,
    TAG_COUNT,
    ClientFrames,
    Reply,
    mac,
    parse_reply,
)
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from tests.bench.model import SERVER_ID, SERVER_MAC, dotted, read, reply_frame

COUNT = 70_000  # client numbers need more than 16 bits
FRAMES = ClientFrames(COUNT)
clients = st.integers(0, COUNT - 1)
tags = st.integers(0, TAG_COUNT - 1)
addresses = st.integers(0, 0xFFFFFFFF)


@given(clients, tags)
def test_discover(client: int, tag: int) -> None:
    FRAMES.discover(client)
    xid = FRAMES.stamp(client, tag)
    packet, options = read(FRAMES.frame(client))
    assert (packet[BOOTP].xid, packet[BOOTP].chaddr[:6], packet.src) == (xid, mac(client), mac(client).hex(":"))
    assert xid & MAX_CLIENTS - 1 == client
    assert xid >> CLIENT_BITS == tag
    assert (packet.dst, packet[IP].dst, packet[BOOTP].flags) == ("ff:ff:ff:ff:ff:ff", "255.255.255.255", "")
    assert options["message-type"] == 1


@given(clients, tags, st.lists(st.tuples(addresses, addresses), min_size=1, max_size=2))
def test_request_follows_discover(client: int, tag: int, offers: list[tuple[int, int]]) -> None:
    for address, server_id in offers:
        FRAMES.discover(client)
        xid = FRAMES.stamp(client, tag)
        FRAMES.request(client, address, server_id)
        packet, options = read(FRAMES.frame(client))
        assert (packet[BOOTP].xid, packet[BOOTP].chaddr[:6], packet[BOOTP].ciaddr) == (xid, mac(client), "0.0.0.0")
        assert options["message-type"] == 3
        assert (options["requested_addr"], options["server_id"]) == (dotted(address), dotted(server_id))


@given(
    clients, st.lists(st.tuples(addresses, addresses, st.binary(min_size=6, max_size=6), tags), min_size=1, max_size=3)
)
def test_a_renewal_bears_no_trace_of_what_was_before(client: int, renewals: list[tuple[int, int, bytes, int]]) -> None:
    FRAMES.discover(client)
    FRAMES.request(client, 1, 2)
    for address, server_id, server_mac, tag in renewals:
        FRAMES.renew(client, address, server_id, server_mac)
        xid = FRAMES.stamp(client, tag)
        packet, options = read(FRAMES.frame(client))
        assert (packet.dst, packet.src) == (server_mac.hex(":"), mac(client).hex(":"))
        assert (packet[IP].src, packet[IP].dst) == (dotted(address), dotted(server_id))
        assert (packet[BOOTP].ciaddr, packet[BOOTP].xid) == (dotted(address), xid)
        assert {"requested_addr", "server_id"}.isdisjoint(options)


def test_broadcast_flag() -> None:
    frames = ClientFrames(1, broadcast=True)
    assert read(frames.frame(0))[0][BOOTP].flags == "B"
    frames.request(0, 1, 2)
    assert read(frames.frame(0))[0][BOOTP].flags == "B"
    frames.renew(0, 1, 2, SERVER_MAC)
    frames.stamp(0, 0)
    assert read(frames.frame(0))[0][BOOTP].flags == ""


def test_no_udp_checksum_says_none() -> None:
    frames = ClientFrames(1)
    for tag in range(TAG_COUNT):
        frames.stamp(0, tag)
        assert frames.frame(0)[40:42] != b"\0\0"
    assert read(frames.frame(0))[0][UDP].chksum


@pytest.mark.parametrize("count", [0, -1, MAX_CLIENTS + 1])
def test_a_count_that_xids_cannot_hold(count: int) -> None:
    with pytest.raises(ValueError, match=str(count)):
        ClientFrames(count)


@pytest.mark.parametrize("kind", [OFFER, ACK, NAK])
@pytest.mark.parametrize("type_last", [False, True])
def test_a_reply_is_read(kind: int, type_last: bool) -> None:
    frame = reply_frame(kind, 7, 0x0A4D0102, mac(9), type_last)
    padded = b"\xff" * 11 + frame
    assert parse_reply(padded, 11, len(frame)) == Reply(kind, 7, 0x0A4D0102, 9, SERVER_ID)


@given(st.integers(0, 330), st.binary(max_size=60))
def test_whatever_arrives_raises_nothing(size: int, tail: bytes) -> None:
    data = reply_frame(ACK, 7, 1, mac(9))[:size] + tail
    reply = parse_reply(data, 0, len(data))
    assert reply is None or size >= 236


def test_a_request_is_no_reply() -> None:
    frame = FRAMES.frame(0)
    assert parse_reply(frame, 0, len(frame)) is None
