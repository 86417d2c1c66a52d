"""The load generator's frames, judged by scapy, and its bookkeeping over a link with a model server behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from bench.frames import ACK, NAK, OFFER, Frames, Reply, parse_reply
from bench.loadgen import MAX_TRIES, RETRY_S, Load, client_mac, quantile_ms
from bench.run import medians, table
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

SERVER_MAC = bytes.fromhex("02aabbccddee")
SERVER_ID = bytes([10, 77, 0, 1])
macs = st.binary(min_size=6, max_size=6)
addresses = st.binary(min_size=4, max_size=4)
xids = st.integers(0, 0xFFFFFFFF)


def dotted(address: bytes) -> str:
    return ".".join(str(byte) for byte in address)


def read(frame: bytes | bytearray) -> tuple[Ether, dict[str, object]]:
    """The frame as scapy reads it, and its DHCP options. An IP checksum that is wrong fails the test."""
    packet = Ether(bytes(frame))
    fresh = packet.copy()
    del fresh[IP].chksum
    assert Ether(bytes(fresh))[IP].chksum == packet[IP].chksum
    assert (packet[UDP].sport, packet[UDP].dport, packet[UDP].len) == (68, 67, len(packet[UDP]))
    return packet, dict(option[:2] for option in packet[DHCP].options if isinstance(option, tuple))


@given(macs, xids, st.booleans())
def test_discover(mac: bytes, xid: int, broadcast: bool) -> None:
    packet, options = read(Frames(broadcast).discover(mac, xid))
    assert (packet[BOOTP].xid, packet[BOOTP].chaddr[:6]) == (xid, mac)
    assert packet[BOOTP].flags == (0x8000 if broadcast else 0)
    assert options["message-type"] == 1
    assert packet.dst == "ff:ff:ff:ff:ff:ff"


@given(macs, xids, addresses, addresses)
def test_request(mac: bytes, xid: int, address: bytes, server_id: bytes) -> None:
    packet, options = read(Frames().request(mac, xid, address, server_id))
    assert (packet[BOOTP].xid, packet[BOOTP].chaddr[:6], packet[BOOTP].ciaddr) == (xid, mac, "0.0.0.0")
    assert options["message-type"] == 3
    assert (options["requested_addr"], options["server_id"]) == (dotted(address), dotted(server_id))


@given(st.lists(st.tuples(macs, xids, addresses, addresses, macs), min_size=1, max_size=3))
def test_renewals_leave_no_trace_in_the_next_one(renewals: list[tuple[bytes, int, bytes, bytes, bytes]]) -> None:
    frames = Frames()
    for mac, xid, address, server_id, server_mac in renewals:
        packet, options = read(frames.renew(mac, xid, address, server_id, server_mac))
        assert packet.dst == server_mac.hex(":")
        assert (packet[IP].src, packet[IP].dst, packet[BOOTP].ciaddr) == (
            dotted(address),
            dotted(server_id),
            dotted(address),
        )
        assert (packet[BOOTP].xid, packet[BOOTP].chaddr[:6]) == (xid, mac)
        assert {"requested_addr", "server_id"}.isdisjoint(options)


def reply_frame(kind: str, xid: int, address: bytes) -> bytes:
    return bytes(
        Ether(src=SERVER_MAC.hex(":"), dst="ff:ff:ff:ff:ff:ff")
        / IP(src=dotted(SERVER_ID), dst="255.255.255.255")
        / UDP(sport=67, dport=68)
        / BOOTP(op=2, xid=xid, yiaddr=dotted(address))
        / DHCP(options=[("message-type", kind), ("server_id", dotted(SERVER_ID)), "end"])
    )


@pytest.mark.parametrize(("kind", "number"), [("offer", OFFER), ("ack", ACK), ("nak", NAK)])
def test_a_reply_is_read(kind: str, number: int) -> None:
    frame = reply_frame(kind, 7, b"\x0a\x4d\x01\x02")
    assert parse_reply(frame) == Reply(number, 7, b"\x0a\x4d\x01\x02", SERVER_ID, SERVER_MAC)


@given(st.integers(0, 400), st.binary(max_size=60))
def test_whatever_arrives_raises_nothing(size: int, tail: bytes) -> None:
    parse_reply(reply_frame("ack", 7, bytes(4))[:size] + tail)


class ModelServer:
    """A link whose other end answers at once with one address per client. ``swallow`` says which of the frames sent,
    counted from 1, get lost; an idle read lets more than the retry time pass."""

    def __init__(self, swallow: Callable[[int], bool] = lambda number: False, same: bool = False) -> None:
        self.now_ns = 0
        self.sent = 0
        self.in_flight: set[int] = set()
        self.most_in_flight = 0
        self._swallow = swallow
        self._same = same
        self._answers: deque[bytes] = deque()

    def clock(self) -> int:
        return self.now_ns

    def send(self, frame: bytes | bytearray) -> None:
        self.sent += 1
        packet, options = read(frame)
        self.in_flight.add(packet[BOOTP].xid)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        if self._swallow(self.sent):
            return
        address = b"\x0a\x4d" + (b"\x01\x01" if self._same else packet[BOOTP].chaddr[4:6])
        kind = "offer" if options["message-type"] == 1 else "ack"
        self._answers.append(reply_frame(kind, packet[BOOTP].xid, address))

    def receive(self) -> bytes | None:
        if not self._answers:
            self.now_ns += int(1.01 * RETRY_S * 1e9)
            return None
        self.now_ns += 1_000_000
        frame = self._answers.popleft()
        reply = parse_reply(frame)
        if reply is not None and reply.kind == ACK:
            self.in_flight.discard(reply.xid)
        return frame


def load(server: ModelServer, window: int = 4) -> Load:
    return Load(server, Frames(), window, server.clock)


def test_every_client_gets_its_address_and_renews_it() -> None:
    server = ModelServer()
    generator = load(server)
    acquired = generator.acquire(range(20))
    assert (acquired.done, acquired.failed, acquired.retries, server.sent) == (20, 0, 0, 40)
    assert {c: b.address[2:] for c, b in generator.bindings.items()} == {c: client_mac(c)[4:] for c in range(20)}
    assert generator.duplicates() == 0
    renewed = generator.renew([*range(20), *range(20)])
    assert (renewed.done, len(renewed.ack_ns), server.sent) == (40, 40, 80)


def test_no_more_clients_are_in_flight_than_asked_for() -> None:
    server = ModelServer()
    load(server, window=3).acquire(range(20))
    assert server.most_in_flight == 3


def test_lost_frames_are_sent_again_and_counted() -> None:
    outcome = load(ModelServer(swallow=lambda number: number in (1, 5))).acquire(range(8))
    assert (outcome.done, outcome.failed, outcome.retries) == (8, 0, 2)


def test_a_silent_server_is_given_up() -> None:
    server = ModelServer(swallow=lambda number: True)
    outcome = load(server).acquire(range(3))
    assert (outcome.done, outcome.failed, outcome.retries) == (0, 3, 3 * (MAX_TRIES - 1))
    assert outcome.summary()["p50_ms"] is None


def test_two_clients_with_one_address_are_noticed() -> None:
    generator = load(ModelServer(same=True))
    generator.acquire(range(3))
    assert generator.duplicates() == 2


def test_latency_runs_from_the_first_frame() -> None:
    outcome = load(ModelServer(), window=1).acquire(range(2))
    assert (outcome.offer_ns, outcome.ack_ns, outcome.whole_ns) == ([10**6] * 2, [10**6] * 2, [2 * 10**6] * 2)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_quantiles(share: float, expected: float) -> None:
    assert quantile_ms([number * 10**6 for number in range(100, 0, -1)], share) == expected
    assert quantile_ms([], share) is None


def run_of(rate: float, retries: int) -> dict[str, object]:
    figures = {"per_s": rate, "p50_ms": 1.0, "p99_ms": 2.0, "generator_cpu": 0.5, "offer_p50_ms": 0.1}
    phase = {**figures, "ack_p50_ms": None, "failed": 0, "retries": retries, "naks": 0}
    return {"unloaded": phase, "acquire": phase, "renew": phase, "duplicates": retries}


def test_medians_of_figures_and_the_worst_of_trouble() -> None:
    result = medians([run_of(10, 0), run_of(30, 2), run_of(20, 0)])
    acquire = result["acquire"]
    assert isinstance(acquire, dict)
    assert (acquire["per_s"], acquire["retries"], result["duplicates"]) == (20, 2, 2)


def test_the_table_fits_a_terminal_and_hides_no_trouble() -> None:
    measured = {"remark": "a remark", **medians([run_of(123456, 3)])}
    text = table({"some server": measured, "other": {"missing": "it is " + "very " * 20 + "absent"}}, "machine")
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "123,456" in text
    assert "DUPLICATE ADDRESSES 3" in text
    assert "not measured: it is very" in text
