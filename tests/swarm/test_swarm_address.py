"""Which of its two byte orders an address field is written in (PROTOCOL, Messages)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.swarm import AddressOrder, read_address, write_address

LITTLE, BIG = AddressOrder.LITTLE, AddressOrder.BIG
ADDRESS = 0x0A00A1A0  # 10.0.161.160


def test_written_as_each_kind_of_machine_writes_it() -> None:
    assert write_address(ADDRESS, LITTLE) == bytes.fromhex("a0a1000a")
    assert write_address(ADDRESS, BIG) == bytes.fromhex("0a00a1a0")


@pytest.mark.parametrize("known", [None, LITTLE, BIG])
@pytest.mark.parametrize("order", [LITTLE, BIG])
def test_the_reading_in_the_pool_is_meant_whatever_the_peer_did_before(
    order: AddressOrder, known: AddressOrder | None
) -> None:
    assert read_address(write_address(ADDRESS, order), 0x0A008000, 17, known) == (ADDRESS, order, True)


@pytest.mark.parametrize(
    ("known", "expected"),
    [(None, (0x0A02010A, LITTLE)), (LITTLE, (0x0A02010A, LITTLE)), (BIG, (0x0A01020A, BIG))],
)
def test_two_possible_readings_are_settled_by_habit_else_little_endian(
    known: AddressOrder | None, expected: tuple[int, AddressOrder]
) -> None:
    assert read_address(bytes.fromhex("0a01020a"), 0x0A000000, 8, known) == (*expected, False)


def test_a_palindrome_teaches_nothing_about_the_peer() -> None:
    assert read_address(bytes.fromhex("0a00000a"), 0x0A000000, 24, None) == (0x0A00000A, LITTLE, False)
    assert read_address(bytes.fromhex("0a00000a"), 0x0A000000, 24, BIG) == (0x0A00000A, BIG, False)


def test_an_address_outside_the_pool_is_not_read() -> None:
    assert read_address(bytes.fromhex("c0a80101"), 0x0A000000, 8, None) is None
    assert read_address(bytes.fromhex("0a007fff"), 0x0A008000, 17, None) is None


@given(
    address=st.integers(0, 0xFFFFFFFF),
    prefix_len=st.integers(8, 30),
    order=st.sampled_from(AddressOrder),
    known=st.none() | st.sampled_from(AddressOrder),
)
def test_an_address_of_the_pool_is_read_as_sent_unless_the_field_is_ambiguous(
    address: int, prefix_len: int, order: AddressOrder, known: AddressOrder | None
) -> None:
    host_bits = 32 - prefix_len
    prefix = address >> host_bits << host_bits
    result = read_address(write_address(address, order), prefix, prefix_len, known)
    assert result is not None
    assert result[0] >> host_bits == address >> host_bits
    if result[2] or known is order:
        assert result[:2] == (address, order)


@given(
    st.binary(min_size=4, max_size=4),
    st.sampled_from(AddressOrder),
    st.integers(0, 0xFFFFFFFF),
    st.integers(8, 30),
)
def test_a_field_is_read_exactly_when_one_of_its_readings_lies_in_the_pool(
    field: bytes, order: AddressOrder, distance: int, prefix_len: int
) -> None:
    host_bits = 32 - prefix_len
    # the pool lies around one reading of the field, or a drawn distance away from it
    base = (int.from_bytes(field, order.value) + distance) & 0xFFFFFFFF
    prefix = base >> host_bits << host_bits
    in_pool = {
        order for order in AddressOrder if prefix <= int.from_bytes(field, order.value) < prefix + (1 << host_bits)
    }
    result = read_address(field, prefix, prefix_len, None)
    if not in_pool:
        assert result is None
    else:
        assert result is not None
        assert result[1] in in_pool
        assert write_address(result[0], result[1]) == field
