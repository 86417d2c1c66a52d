"""Messages of ours: they survive the trip, a part is never taken for the whole, what later versions add is skipped."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp import swarm
from ddhcp.swarm import DecodeError, Extension, ExtensionMessage, read_extension, write_extension

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
bool_ = st.booleans()
chaddrs = st.binary(min_size=16, max_size=16)
identities = st.binary(min_size=1, max_size=256)
leases = st.builds(swarm.LeaseRecord, u32, u8, u32, u32, u32, chaddrs, identities, st.binary(max_size=255))
some_leases = st.lists(leases, max_size=4).map(tuple)
sections = st.builds(swarm.Section, u32, u32, u32, some_leases, bool_, bool_, bool_)
progress = st.builds(swarm.Progress, u32, u32, u32, bool_, bool_)
clients = st.builds(swarm.WantedClient, u32, chaddrs, identities)
software = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)
eight, sixteen = st.binary(min_size=8, max_size=8), chaddrs

messages: st.SearchStrategy[ExtensionMessage] = st.one_of(
    st.builds(swarm.Hello, bool_, u32, eight, software, u8, u8, st.just(b"") | eight),
    st.builds(swarm.HandoverMessage, u32, u16, st.integers(0, 5), st.integers(6, 255), some_leases, bool_),
    st.builds(swarm.HandoverAck, u32),
    st.builds(swarm.LookupMessage, u32, u32, chaddrs, identities),
    st.builds(swarm.Found, bool_, u32, u32, chaddrs, u32),
    st.builds(swarm.Locate, st.lists(clients, max_size=4).map(tuple)),
    st.builds(swarm.Replicate, st.lists(sections, max_size=3).map(tuple)),
    st.builds(swarm.ReplicateAck, st.lists(progress, max_size=4).map(tuple)),
    st.builds(swarm.Redirect, u32, u32, chaddrs, sixteen),
    st.builds(swarm.Surrender, u32, u32, chaddrs, identities, bool_),
    st.builds(swarm.SurrenderAck, u32, u32, chaddrs),
)


def refusal(extension: Extension) -> str | None:
    """Why a message is refused, None if it is not; any other exception is the test's failure."""
    try:
        read_extension(extension)
    except DecodeError as error:
        return error.reason
    return None


@given(messages)
def test_reading_undoes_writing(message: ExtensionMessage) -> None:
    command, count, payload = write_extension(message)
    assert read_extension(Extension(command, count, payload)) == message


@given(messages)
def test_no_truncation_and_no_trailer_is_taken_for_the_whole(message: ExtensionMessage) -> None:
    command, count, payload = write_extension(message)
    for size in range(len(payload)):
        assert refusal(Extension(command, count, payload[:size])) == "extension-too-short"
    assert refusal(Extension(command, count, payload + b"\0")) == "extension-malformed"


@given(messages, st.lists(st.tuples(st.integers(64, 255), st.binary(max_size=30)), max_size=3))
def test_fields_of_a_later_version_are_skipped(message: ExtensionMessage, unknown: list[tuple[int, bytes]]) -> None:
    command, count, payload = write_extension(message)
    tail = b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in unknown)
    assert read_extension(Extension(command, count + len(unknown), payload + tail)) == message


@given(leases, st.binary(max_size=30))
def test_what_a_later_version_adds_to_a_lease_is_skipped(lease: swarm.LeaseRecord, added: bytes) -> None:
    message = swarm.HandoverMessage(7, 600, 0, 1, (lease,))
    command, count, payload = write_extension(message)
    size_at = len(payload) - swarm.record_size(lease) + 1
    (size,) = struct.unpack_from("!H", payload, size_at)
    longer = payload[:size_at] + struct.pack("!H", size + len(added)) + payload[size_at + 2 :] + added
    assert read_extension(Extension(command, count, longer)) == message


@given(messages)
def test_a_message_that_needs_a_later_version_is_refused(message: ExtensionMessage) -> None:
    command, count, payload = write_extension(message)
    assert refusal(Extension(command, count, bytes((swarm.VERSION + 1,)) + payload[1:])) == "extension-too-new"


@given(st.integers(swarm.FIRST_EXTENSION, swarm.LAST_EXTENSION), u8, st.binary(max_size=200))
def test_any_payload_is_read_or_refused(command: int, count: int, payload: bytes) -> None:
    assert refusal(Extension(command, count, payload)) in {
        None, "unknown-extension", "extension-too-new", "extension-too-short", "extension-malformed"
    }  # fmt: skip


@given(messages, st.data())
def test_any_corruption_of_a_message_is_read_or_refused(message: ExtensionMessage, data: st.DataObject) -> None:
    command, count, payload = write_extension(message)
    position = data.draw(st.integers(0, len(payload) - 1))
    corrupt = payload[:position] + bytes((data.draw(u8),)) + payload[position + 1 :]
    assert refusal(Extension(command, count, corrupt)) in {
        None, "extension-too-new", "extension-too-short", "extension-malformed"
    }  # fmt: skip


@given(leases)
def test_the_size_of_a_lease_is_told_before_it_is_written(lease: swarm.LeaseRecord) -> None:
    empty = write_extension(swarm.HandoverMessage(7, 600, 0, 1, ()))[2]
    assert len(write_extension(swarm.HandoverMessage(7, 600, 0, 1, (lease,)))[2]) == len(empty) + swarm.record_size(
        lease
    )
    without = write_extension(swarm.Replicate(()))[2]
    section = write_extension(swarm.Replicate((swarm.Section(1, 2, 3, (lease,)),)))[2]
    assert len(section) == len(without) + swarm.SECTION_OVERHEAD + swarm.record_size(lease)


@given(clients)
def test_the_size_of_a_wanted_client_is_told_before_it_is_written(client: swarm.WantedClient) -> None:
    empty = write_extension(swarm.Locate(()))[2]
    assert len(write_extension(swarm.Locate((client,)))[2]) == len(empty) + swarm.client_size(client)


def test_a_hello_byte_by_byte() -> None:
    hello = swarm.Hello(True, swarm.CAN_HANDOVER | swarm.CAN_LOOKUP, b"incarnat", "ddhcp 1")
    payload = b"\x01\x01" + b"\x01\x01" + b"\0\0\0\x03" + b"incarnat" + b"\x01\0\x07" + b"ddhcp 1"
    assert write_extension(hello) == (32, 1, payload)
    with_plan = replace(hello, plan=b"its plan")
    assert write_extension(with_plan) == (32, 2, payload + b"\x08\0\x08" + b"its plan")
    with_blocks = replace(hello, blocks=(1, 0x10000))
    assert write_extension(with_blocks) == (32, 2, payload + b"\x09\0\x08" + b"\0\0\0\x01\0\x01\0\0")
    adopted = replace(with_blocks, are_owned=True)
    assert write_extension(adopted)[2] == b"\x01\x09" + write_extension(with_blocks)[2][2:]
    goodbye = replace(hello, wants_answer=False, is_leaving=True)
    assert write_extension(goodbye) == (32, 1, b"\x01\x02" + payload[2:])
    idle = replace(hello, wants_answer=False, owns_nothing=True)
    assert write_extension(idle) == (32, 1, b"\x01\x04" + payload[2:])


def test_a_hello_that_names_half_a_block_is_none() -> None:
    command, count, payload = write_extension(swarm.Hello(True, 0, bytes(8), blocks=(7,)))
    torn = payload.replace(b"\x09\0\x04\0\0\0\x07", b"\x09\0\x03\0\0\0")
    with pytest.raises(swarm.DecodeError, match="extension-malformed"):
        read_extension(Extension(command, count, torn))


def test_a_plan_that_is_too_short_is_none() -> None:
    command, count, payload = write_extension(swarm.Hello(True, 0, bytes(8), plan=b"short"))
    with pytest.raises(swarm.DecodeError, match="extension-malformed"):
        read_extension(Extension(command, count, payload))


def test_what_people_will_read_is_made_printable() -> None:
    command, count, payload = write_extension(swarm.Hello(False, 0, bytes(8), "ddhcp"))
    evil = payload.replace(b"ddhcp", b"\x1b[2J\xff")
    message = read_extension(Extension(command, count, evil))
    assert isinstance(message, swarm.Hello)
    assert message.software == "?[2J?"


@pytest.mark.parametrize(
    "lease",
    [
        swarm.LeaseRecord(1, 1, 1, 0, 0, bytes(16), b""),
        swarm.LeaseRecord(1, 1, 1, 0, 0, bytes(16), bytes(257)),
        swarm.LeaseRecord(1, 1, 1, 0, 0, bytes(16), b"x", bytes(256)),
    ],
)
def test_a_lease_that_does_not_fit_is_not_written(lease: swarm.LeaseRecord) -> None:
    with pytest.raises(ValueError, match="message"):
        write_extension(swarm.HandoverMessage(7, 600, 0, 1, (lease,)))
