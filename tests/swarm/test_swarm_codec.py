"""The peer codec against what classic nodes sent, and against everything else that a datagram may hold."""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

from ddhcp import swarm
from ddhcp.swarm import (
    Claim,
    DecodeError,
    Extension,
    Header,
    Hello,
    Inquire,
    LeaseMessage,
    Locate,
    Message,
    SwarmCodec,
    UpdateClaim,
    WantedClient,
    decode,
    encode,
    read_extension,
)

# What is said to all is read once and given to whoever reads the same bytes: nobody can change it.
SHARED = (
    UpdateClaim((Claim(1, 60), Claim(2, 0))),
    Inquire((1, 2)),
    Hello(True, 1, bytes(8), "x", plan=bytes(8)),
    Hello(False, 64, bytes(8), "x", blocks=(0, 7, 0xFFFFFFFF)),
    Hello(False, 64, bytes(8), "x", is_leaving=True, owns_nothing=True),
    Hello(True, 64, bytes(8), "x", blocks=(7,), are_owned=True),
    Locate((WantedClient(1, bytes(16), b"x"),)),
)

CAPTURES = Path(__file__).parent.parent / "captures"
NODE_ID = bytes.fromhex("622e9730e4090000")
PREFIX, PREFIX_LEN, BLOCK_SIZE = 0x0A008000, 17, 4
CODEC = SwarmCodec(NODE_ID, PREFIX, PREFIX_LEN, BLOCK_SIZE)
CHADDR = bytes.fromhex("020000000000") + bytes(10)


def captured_datagrams() -> list[bytes]:
    packets = rdpcap(str(CAPTURES / "classic-swarm.pcap"))
    return [bytes(packet[UDP].payload) for packet in packets if UDP in packet]


def reason_of_refusal(reader: Callable[[bytes], object], data: bytes) -> str | None:
    """Why ``reader`` refuses ``data``, None if it does not; any other exception is the test's failure."""
    try:
        reader(data)
    except DecodeError as error:
        return error.reason
    return None


# The probing sender got three of its renewals and releases wrong by one byte; classic nodes dropped those.
ONE_BYTE_SHORT = [data for data in captured_datagrams() if data[14] >= swarm.RENEWLEASE and len(data) == 43]
CAPTURED = [data for data in captured_datagrams() if data not in ONE_BYTE_SHORT]

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
node_ids = st.binary(min_size=8, max_size=8)
claim_pairs = st.lists(st.tuples(u32, u16), max_size=swarm.MAX_CLAIMS_PER_PACKET)
lease_commands = st.sampled_from([swarm.RENEWLEASE, swarm.LEASEACK, swarm.LEASENAK, swarm.RELEASE])
extension_commands = st.integers(swarm.FIRST_EXTENSION, swarm.LAST_EXTENSION)


@st.composite
def headers_and_messages(draw: st.DrawFn) -> tuple[Header, Message]:
    """Any message that fits into a datagram, with the header that goes with it."""
    kind = draw(st.sampled_from([UpdateClaim, Inquire, LeaseMessage, Extension]))
    message: Message
    if kind is UpdateClaim:
        claims = draw(st.lists(st.builds(Claim, u32, u16, u8), max_size=212))  # all that 1500 bytes hold
        message, command, count = UpdateClaim(tuple(claims)), swarm.UPDATECLAIM, len(claims)
    elif kind is Inquire:
        indices = draw(st.lists(u32, max_size=255))
        message, command, count = Inquire(tuple(indices)), swarm.INQUIRE, len(indices)
    elif kind is LeaseMessage:
        command, count = draw(lease_commands), draw(u8)
        field, chaddr = draw(st.binary(min_size=4, max_size=4)), draw(st.binary(min_size=16, max_size=16))
        message = LeaseMessage(command, field, draw(u32), draw(u32), chaddr)
    else:
        command, count = draw(extension_commands), draw(u8)
        message = Extension(command, count, draw(st.binary(max_size=64)))
    return Header(draw(node_ids), draw(u32), draw(u8), draw(u8), command, count), message


class TestAgainstCaptures:
    @pytest.mark.parametrize("data", CAPTURED, ids=range(len(CAPTURED)))
    def test_every_message_is_read_and_written_again_bit_for_bit(self, data: bytes) -> None:
        assert encode(*decode(data)) == data

    def test_the_capture_holds_the_traffic_it_is_known_for(self) -> None:
        commands = Counter(type(decode(data)[1]) for data in CAPTURED)
        assert commands == {UpdateClaim: 86, Inquire: 14, LeaseMessage: 10}

    def test_what_classic_nodes_found_too_short_is_too_short(self) -> None:
        assert len(ONE_BYTE_SHORT) == 3
        for data in ONE_BYTE_SHORT:
            assert reason_of_refusal(decode, data) == "length-mismatch"
            assert reason_of_refusal(decode, data + b"\0") is None

    @pytest.mark.parametrize("data", CAPTURED, ids=range(len(CAPTURED)))
    def test_the_swarm_codec_writes_what_a_classic_node_wrote(self, data: bytes) -> None:
        codec = SwarmCodec(data[:8], PREFIX, PREFIX_LEN, BLOCK_SIZE)
        node_id, message = codec.decode(data)
        assert node_id == data[:8]
        match message:
            case UpdateClaim(claims):
                written = codec.update_claim([(claim.index, claim.timeout_s) for claim in claims])
            case Inquire(indices):
                written = codec.inquire(indices)
            case LeaseMessage(command, field, xid, lease_time_s, chaddr):
                written = codec.lease_message(command, field, xid, lease_time_s, chaddr)
            case Extension():
                pytest.fail("a classic node sends no extension")
        counted = data[15] if not isinstance(message, LeaseMessage) else 0  # the probe with count 1 is not ours to send
        assert written == data[:15] + bytes([counted]) + data[16:]

    def test_first_claim_field_by_field(self) -> None:
        data = next(data for data in CAPTURED if data[14] == swarm.UPDATECLAIM)
        header, message = decode(data)
        assert header == Header(bytes.fromhex("8e535ccb97440000"), PREFIX, PREFIX_LEN, BLOCK_SIZE, swarm.UPDATECLAIM, 1)
        assert message == UpdateClaim((Claim(2152, 20, 0),))

    def test_renewal_field_by_field(self) -> None:
        data = next(d for d in CAPTURED if d[14] == swarm.RENEWLEASE and d[:8] == NODE_ID)
        assert decode(data)[1] == LeaseMessage(swarm.RENEWLEASE, bytes.fromhex("a0a1000a"), 0xE091B046, 0, CHADDR)


class TestRefusals:
    @pytest.mark.parametrize("data", sorted(set(CAPTURED)), ids=bytes.hex)
    def test_every_truncation_is_refused(self, data: bytes) -> None:
        for size in range(len(data)):
            with pytest.raises(DecodeError) as caught:
                decode(data[:size])
            assert caught.value.reason == ("too-short" if size < swarm.HEADER_SIZE else "length-mismatch")

    @pytest.mark.parametrize("data", sorted(set(CAPTURED)), ids=bytes.hex)
    @pytest.mark.parametrize("tail", [b"\0", b"\xff", bytes(4), bytes(7), bytes(28)], ids=bytes.hex)
    def test_every_trailing_byte_is_refused(self, data: bytes, tail: bytes) -> None:
        with pytest.raises(DecodeError) as caught:
            decode(data + tail)
        assert caught.value.reason == "length-mismatch"

    @pytest.mark.parametrize("command", sorted(set(range(256)) - {1, 2, 16, 17, 18, 19, *range(32, 48)}))
    def test_unknown_commands_are_refused(self, command: int) -> None:
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(CAPTURED[0][:14] + bytes([command, 0]))
        assert caught.value.reason == "unknown-command"

    @pytest.mark.parametrize("position", range(8, 14))
    def test_another_swarm_is_refused_before_anything_else_is_looked_at(self, position: int) -> None:
        data = bytearray(CODEC.inquire([7]) + b"trailing")
        data[position] ^= 1
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(bytes(data))
        assert caught.value.reason == "foreign-swarm"

    def test_more_than_a_classic_node_reads_is_refused(self) -> None:
        head = CODEC.extension(swarm.FIRST_EXTENSION, b"")
        longest = head + bytes(swarm.MAX_DATAGRAM - swarm.HEADER_SIZE)
        assert isinstance(CODEC.decode(longest)[1], Extension)
        with pytest.raises(DecodeError) as caught:
            CODEC.decode(longest + b"\0")
        assert caught.value.reason == "too-long"

    @given(st.binary(max_size=80))
    def test_arbitrary_bytes_raise_nothing_but_decode_errors(self, data: bytes) -> None:
        for reader in (decode, CODEC.decode):
            assert reason_of_refusal(reader, data) in {
                None,
                "too-short",
                "foreign-swarm",
                "unknown-command",
                "length-mismatch",
            }

    @given(u8, u8, st.binary(max_size=64))
    def test_whatever_follows_a_good_header_is_read_exactly_or_refused(
        self, command: int, count: int, body: bytes
    ) -> None:
        data = CODEC.inquire([])[:14] + bytes([command, count]) + body
        reason = reason_of_refusal(decode, data)
        assert reason in {None, "unknown-command", "length-mismatch"}
        if reason is None:
            assert encode(*decode(data)) == data


class TestRoundTrips:
    @given(headers_and_messages())
    def test_decode_undoes_encode(self, sent: tuple[Header, Message]) -> None:
        assert decode(encode(*sent)) == sent

    @given(node_ids, claim_pairs)
    def test_update_claim(self, node_id: bytes, claims: list[tuple[int, int]]) -> None:
        data = SwarmCodec(node_id, PREFIX, PREFIX_LEN, BLOCK_SIZE).update_claim(claims)
        assert CODEC.decode(data) == (node_id, UpdateClaim(tuple(Claim(*pair) for pair in claims)))

    @given(st.lists(u32, max_size=swarm.MAX_INQUIRIES_PER_PACKET))
    def test_inquire(self, indices: list[int]) -> None:
        assert CODEC.decode(CODEC.inquire(indices)) == (NODE_ID, Inquire(tuple(indices)))

    @given(lease_commands, st.binary(min_size=4, max_size=4), u32, u32, st.binary(min_size=16, max_size=16))
    def test_lease_message(self, command: int, field: bytes, xid: int, lease_time_s: int, chaddr: bytes) -> None:
        data = CODEC.lease_message(command, field, xid, lease_time_s, chaddr)
        assert CODEC.decode(data) == (NODE_ID, LeaseMessage(command, field, xid, lease_time_s, chaddr))

    @given(extension_commands, st.binary(max_size=100), u8)
    def test_extension(self, command: int, payload: bytes, count: int) -> None:
        data = CODEC.extension(command, payload, count)
        assert CODEC.decode(data) == (NODE_ID, Extension(command, count, payload))


class TestLimits:
    def test_the_ancestors_reserved_byte_is_read(self) -> None:
        data = CODEC.update_claim([(5, 60)])[:-1] + b"\x03"
        assert CODEC.decode(data)[1] == UpdateClaim((Claim(5, 60, 3),))

    def test_an_empty_inquiry_is_sixteen_bytes_and_valid(self) -> None:
        data = CODEC.inquire([])
        assert len(data) == swarm.HEADER_SIZE
        assert CODEC.decode(data) == (NODE_ID, Inquire(()))

    def test_the_fullest_packets_pass_an_ethernet_link_unfragmented(self) -> None:
        ethernet_udp_payload = 1500 - 40 - 8
        claims = [(index, 60) for index in range(swarm.MAX_CLAIMS_PER_PACKET)]
        assert len(CODEC.update_claim(claims)) <= ethernet_udp_payload < len(CODEC.update_claim(claims)) + 7
        assert len(CODEC.inquire(range(swarm.MAX_INQUIRIES_PER_PACKET))) <= ethernet_udp_payload
        assert len(CODEC.extension(47, bytes(swarm.MAX_EXTENSION_PAYLOAD))) == ethernet_udp_payload

    def test_what_does_not_fit_is_not_written(self) -> None:
        with pytest.raises(ValueError, match="206 claims"):
            CODEC.update_claim([(0, 60)] * 206)
        with pytest.raises(ValueError, match="256 inquiries"):
            CODEC.inquire(range(256))
        with pytest.raises(ValueError, match="1437 bytes"):
            CODEC.extension(32, bytes(1437))
        with pytest.raises(ValueError, match="not an extension"):
            CODEC.extension(swarm.UPDATECLAIM, b"")
        with pytest.raises(ValueError, match="8 bytes"):
            SwarmCodec(bytes(6), PREFIX, PREFIX_LEN, BLOCK_SIZE)
        with pytest.raises(struct.error):
            CODEC.update_claim([(0, 65536)])


def written(message: UpdateClaim | Inquire | Hello | Locate) -> bytes:
    if isinstance(message, UpdateClaim):
        return CODEC.update_claim([(claim.index, claim.timeout_s) for claim in message.claims])
    return CODEC.inquire(message.indices) if isinstance(message, Inquire) else CODEC.write(message)


def read(data: bytes) -> object:
    node_id, message = CODEC.decode(data)
    assert node_id == NODE_ID
    return read_extension(message) if isinstance(message, Extension) else message


def parts(value: object) -> Iterator[object]:
    """A message and whatever it consists of."""
    yield value
    if isinstance(value, tuple):
        for part in value:
            yield from parts(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name))


@pytest.mark.parametrize("message", SHARED, ids=lambda message: type(message).__name__)
def test_what_several_nodes_of_one_process_are_given_cannot_be_changed(message: UpdateClaim) -> None:
    first, second = read(written(message)), read(written(message))
    assert first == second == message
    assert first is second
    for part in parts(first):
        assert isinstance(part, (int, str, bytes, tuple)) or dataclasses.is_dataclass(part)
        hash(part)  # what the type checker lets anybody change has no hash


def test_refused_bytes_are_refused_each_time_they_come() -> None:
    torn = CODEC.update_claim([(1, 60)])[:-1]
    assert [reason_of_refusal(CODEC.decode, torn) for _ in range(3)] == ["length-mismatch"] * 3
    foreign = SwarmCodec(NODE_ID, PREFIX, PREFIX_LEN, 8)
    data = CODEC.update_claim([(1, 60)])
    CODEC.decode(data)
    assert reason_of_refusal(foreign.decode, data) == "foreign-swarm"
