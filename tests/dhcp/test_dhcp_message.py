"""Reading clients' messages: conformance rules A1-A10, identities G1 and G2, known bad inputs.

Scapy is the independent judge in both directions.
"""

from __future__ import annotations

import ipaddress

import pytest
from dhcp_samples import (
    DISCOVER_OPTION,
    FROM_CLIENTS,
    MAC,
    MESSAGES,
    REAL_ACK,
    REAL_DISCOVER,
    REAL_OFFER,
    REAL_REQUEST,
    listed,
    option,
    raw_message,
    scapy_message,
)
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP

from ddhcp.dhcp import DecodeError, Message, hardware_identity, identity, parse_request
from ddhcp.dhcp import constants as c

addresses = st.integers(0, 0xFFFFFFFF)
option_maps = st.dictionaries(
    st.integers(1, 254).filter(lambda code: code != c.OPT_OVERLOAD), st.binary(max_size=600), max_size=8
)
messages = st.builds(
    Message,
    op=st.integers(0, 255), htype=st.integers(0, 255), hlen=st.integers(0, 255), hops=st.integers(0, 255),
    xid=addresses, secs=st.integers(0, 0xFFFF), flags=st.integers(0, 0xFFFF),
    ciaddr=addresses, yiaddr=addresses, siaddr=addresses, giaddr=addresses,
    chaddr=st.binary(min_size=16, max_size=16), sname=st.binary(min_size=64, max_size=64),
    file=st.binary(min_size=128, max_size=128), options=option_maps,
)  # fmt: skip


def reason_of(data: bytes) -> str:
    """Why ``data`` is refused; fails if it is not."""
    with pytest.raises(DecodeError) as caught:
        parse_request(data)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


def address(text: str) -> int:
    return int(ipaddress.IPv4Address(text))


class TestRealMessages:
    @pytest.mark.parametrize("data", MESSAGES)
    def test_fields_as_scapy_reads_them(self, data: bytes) -> None:
        judge, message = BOOTP(data), Message.decode(data)
        assert (message.op, message.htype, message.hlen, message.hops) == (judge.op, 1, judge.hlen, judge.hops)
        assert (message.xid, message.secs, message.flags) == (judge.xid, judge.secs, int(judge.flags))
        for name in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
            assert getattr(message, name) == address(getattr(judge, name)), name
        assert (message.chaddr, message.sname, message.file) == (judge.chaddr, bytes(64), bytes(128))

    @pytest.mark.parametrize("data", MESSAGES)
    def test_encoding_restores_the_bytes_up_to_padding(self, data: bytes) -> None:
        encoded = Message.decode(data).encode()
        assert encoded.ljust(len(data), b"\0") == data

    def test_typed_options(self) -> None:
        request, ack = parse_request(REAL_REQUEST), Message.decode(REAL_ACK)
        assert request.message_type == c.REQUEST
        assert request.server_identifier == address("10.0.0.1")
        assert request.requested_address == ack.yiaddr == address("10.0.161.160")
        assert request.hostname == b"vm"
        assert (request.client_id, request.max_size, request.lease_time_s) == (None, None, None)
        assert request.hardware_address == request.chaddr[:6] == bytes.fromhex("020000000000")
        assert ack.message_type == c.ACK

    @pytest.mark.parametrize("data", FROM_CLIENTS)
    def test_every_truncation(self, data: bytes) -> None:
        """A1, A4: too short for a header, or a prefix of the options, or a refusal; never anything else."""
        whole = list(parse_request(data).options.items())
        for size in range(len(data)):
            if size < 240:
                assert reason_of(data[:size]) == "too-short"
            elif size < 243:
                assert reason_of(data[:size]) == "bootp"  # message type comes first in these messages
            else:
                options = list(parse_request(data[:size]).options.items())
                assert options == whole[: len(options)]

    @pytest.mark.parametrize("data", FROM_CLIENTS)
    @given(garbage=st.binary(max_size=300))
    def test_garbage_behind_end_changes_nothing(self, data: bytes, garbage: bytes) -> None:
        """A3."""
        assert parse_request(data.rstrip(b"\0") + garbage) == parse_request(data)

    @pytest.mark.parametrize("data", [REAL_OFFER, REAL_ACK])
    def test_replies_are_not_requests(self, data: bytes) -> None:
        """A1, I28."""
        assert reason_of(data) == "reply"


class TestRoundTrip:
    @given(messages)
    def test_decode_of_encode(self, message: Message) -> None:
        decoded = Message.decode(message.encode())
        assert decoded == message
        assert list(decoded.options) == list(message.options)

    @given(messages)
    def test_scapy_reads_what_we_write(self, message: Message) -> None:
        judge = BOOTP(message.encode())
        assert (judge.op, judge.htype, judge.hlen, judge.hops) == (
            message.op, message.htype, message.hlen, message.hops,
        )  # fmt: skip
        assert (judge.xid, judge.secs, int(judge.flags)) == (message.xid, message.secs, message.flags)
        assert [address(judge.ciaddr), address(judge.yiaddr), address(judge.siaddr), address(judge.giaddr)] == [
            message.ciaddr, message.yiaddr, message.siaddr, message.giaddr,
        ]  # fmt: skip
        assert (judge.sname, judge.file) == (message.sname, message.file)

    @given(
        xid=addresses, secs=st.integers(0, 0xFFFF), flags=st.sampled_from([0, 0x8000]), requested=addresses,
        client_id=st.binary(min_size=2, max_size=255), size=st.integers(0, 0xFFFF), lease_s=addresses,
        parameters=st.lists(st.integers(1, 254), min_size=1, max_size=255),
        ciaddr=st.just(0) | st.integers(0x01000000, 0x7EFFFFFF),
        kind=st.sampled_from(c.REQUEST_TYPES),
    )  # fmt: skip
    def test_we_read_what_scapy_writes(
        self, xid: int, secs: int, flags: int, requested: int, client_id: bytes, size: int, lease_s: int,
        parameters: list[int], ciaddr: int, kind: int,
    ) -> None:  # fmt: skip
        message = parse_request(
            scapy_message(
                ("message-type", kind), ("client_id", client_id), ("lease_time", lease_s),
                ("requested_addr", str(ipaddress.IPv4Address(requested))),
                ("max_dhcp_size", size), ("param_req_list", parameters),
                xid=xid, secs=secs, flags=flags, ciaddr=str(ipaddress.IPv4Address(ciaddr)),
            )
        )  # fmt: skip
        has_ciaddr = kind not in (c.DISCOVER, c.REQUEST) or (kind == c.REQUEST and not requested)  # A13
        assert (message.xid, message.secs, message.ciaddr) == (xid, secs, ciaddr if has_ciaddr else 0)
        assert message.broadcast_flag is bool(flags)
        assert (message.message_type, message.requested_address) == (kind, requested or None)
        assert (message.client_id, message.max_size, message.lease_time_s) == (client_id, size, lease_s)
        assert message.options[c.OPT_PARAMETER_LIST] == bytes(parameters)


class TestDoor:
    """What is refused at once, under which name."""

    @pytest.mark.parametrize("size", [0, 1, 236, 239])
    def test_a1_too_short(self, size: int) -> None:
        """RFC 2131 2: 236 bytes of header, then the cookie (RFC 2131 3)."""
        assert reason_of(REAL_DISCOVER[:size]) == "too-short"

    @pytest.mark.parametrize("position", range(236, 240))
    def test_a1_cookie(self, position: int) -> None:
        """RFC 2131 3."""
        data = bytearray(REAL_DISCOVER)
        data[position] ^= 1
        assert reason_of(bytes(data)) == "bad-cookie"

    @pytest.mark.parametrize("op", [0, 2, 3, 255])
    def test_a1_op(self, op: int) -> None:
        """RFC 2131 2: only BOOTREQUEST comes from clients."""
        assert reason_of(scapy_message(("message-type", 1), op=op)) == ("reply" if op == 2 else "not-a-request")

    def test_a1_bootp(self) -> None:
        """RFC 1534: a BOOTP client has no message type; it is not served."""
        assert reason_of(raw_message(b"\xff")) == "bootp"

    @pytest.mark.parametrize(
        ("htype", "hlen", "reason"),
        [
            (1, 17, "hlen"),
            (1, 255, "hlen"),
            (6, 17, "hlen"),
            (0, 6, "hardware-address"),
            (1, 5, "hardware-address"),
            (1, 7, "hardware-address"),
            (1, 16, "hardware-address"),
        ],
    )
    def test_a2_hardware_address_sizes(self, htype: int, hlen: int, reason: str) -> None:
        data = scapy_message(("message-type", 1), ("client_id", b"\0id"), htype=htype, hlen=hlen)
        assert reason_of(data) == reason

    def test_a2_other_link_types_may_have_up_to_16_bytes(self) -> None:
        message = parse_request(scapy_message(("message-type", 1), htype=32, hlen=16, chaddr=bytes(range(1, 17))))
        assert message.hardware_address == bytes(range(1, 17))

    @pytest.mark.parametrize("kind", c.REQUEST_TYPES)
    def test_a10_types_of_clients(self, kind: int) -> None:
        assert parse_request(scapy_message(("message-type", kind))).message_type == kind

    @pytest.mark.parametrize("kind", [2, 5, 6, 9, 10, 13, 18, 255])
    def test_a10_other_types(self, kind: int) -> None:
        assert reason_of(raw_message(option(53, bytes((kind,))))) == "message-type"

    def test_a10_i18_type_zero(self) -> None:
        assert reason_of(raw_message(option(53, b"\0"))) == "bad-message-type"

    @pytest.mark.parametrize("value", [b"", b"\1\1", b"\0\1", b"\1\0\0\0"])
    def test_a7_message_type_of_wrong_length(self, value: bytes) -> None:
        """RFC 2132 9.6."""
        assert reason_of(raw_message(option(53, value))) == "bad-message-type"

    @pytest.mark.parametrize("mac", [b"\xff" * 6, b"\x01\0\0\0\0\1", bytes.fromhex("01005e000001")])
    def test_i31_group_addresses(self, mac: bytes) -> None:
        assert reason_of(scapy_message(("message-type", 1), ("client_id", b"\0id"), chaddr=mac)) == "hardware-address"

    @pytest.mark.parametrize(("chaddr", "hlen"), [(bytes(6), 6), (MAC, 0)])
    def test_a9_i31_nobody(self, chaddr: bytes, hlen: int) -> None:
        assert reason_of(scapy_message(("message-type", 1), chaddr=chaddr, hlen=hlen)) == "no-identity"

    @pytest.mark.parametrize(("chaddr", "hlen"), [(bytes(6), 6), (MAC, 0)])
    def test_a9_client_id_is_enough(self, chaddr: bytes, hlen: int) -> None:
        message = parse_request(scapy_message(("message-type", 1), ("client_id", b"\0id"), chaddr=chaddr, hlen=hlen))
        assert identity(message) == b"\0\0id"

    @pytest.mark.parametrize("requested", ["255.255.255.255", "127.0.0.1", "224.0.0.1"])
    def test_i31_odd_requested_addresses_are_read_as_they_are(self, requested: str) -> None:
        message = parse_request(scapy_message(("message-type", 1), ("requested_addr", requested)))
        assert message.requested_address == address(requested)

    def test_i31_requesting_zero_is_requesting_nothing(self) -> None:
        message = parse_request(scapy_message(("message-type", 1), ("requested_addr", "0.0.0.0")))
        assert message.requested_address is None


class TestOptions:
    def test_a3_pad_is_one_byte(self) -> None:
        """I18, RFC 2132 3.1: a Pad must not hide what follows it."""
        message = parse_request(raw_message(b"\0" + DISCOVER_OPTION + b"\0\0\0" + option(12, b"host") + b"\xff"))
        assert message.options == {53: b"\1", 12: b"host"}

    def test_a3_end_is_one_byte(self) -> None:
        """I18, RFC 2132 3.2: nothing behind End counts, whatever the byte after it says."""
        message = parse_request(raw_message(DISCOVER_OPTION + b"\xff\2\0\0" + option(12, b"host")))
        assert message.options == {53: b"\1"}

    def test_a4_missing_end(self) -> None:
        assert parse_request(raw_message(DISCOVER_OPTION + option(12, b"host"))).hostname == b"host"

    @pytest.mark.parametrize("tail", [b"\x0c", b"\x0c\x05host", b"\x0c\xff", b"\x3d\x01"])
    def test_a4_truncated_tail(self, tail: bytes) -> None:
        message = parse_request(raw_message(DISCOVER_OPTION + option(60, b"v") + tail))
        assert message.options == {53: b"\1", 60: b"v"}

    def test_a4_message_type_in_the_truncated_tail(self) -> None:
        assert reason_of(raw_message(option(12, b"host") + b"\x35\x01")) == "bootp"

    def test_a5_instances_are_joined(self) -> None:
        """RFC 3396 7, with zero-length fragments between (I21)."""
        area = option(12, b"ab") + DISCOVER_OPTION + option(12, b"") + option(12, b"c") + option(12, b"") + b"\xff"
        assert parse_request(raw_message(area)).options == {12: b"abc", 53: b"\1"}

    def test_a5_order_of_areas(self) -> None:
        """RFC 2131 4.1, RFC 3396 5: options, file, sname, wherever option 52 stands."""
        message = parse_request(
            raw_message(
                option(12, b"a") + option(52, b"\3") + DISCOVER_OPTION + b"\xff",
                file=option(12, b"b") + b"\xff",
                sname=option(12, b"c") + option(60, b"v") + b"\xff",
            )
        )
        assert message.options == {12: b"abc", 53: b"\1", 60: b"v"}
        assert (message.file, message.sname) == (bytes(128), bytes(64))

    @pytest.mark.parametrize(("overload", "expected"), [(1, b"f"), (2, b"s"), (3, b"fs")])
    def test_a6_areas_by_value(self, overload: int, expected: bytes) -> None:
        """RFC 2132 9.3, RFC 2131 4.1."""
        file, sname = option(12, b"f") + b"\xff", option(12, b"s") + b"\xff"
        message = parse_request(
            raw_message(option(52, bytes((overload,))) + DISCOVER_OPTION + b"\xff", file=file, sname=sname)
        )
        assert message.hostname == expected
        assert any(message.file) is not bool(overload & 1)
        assert any(message.sname) is not bool(overload & 2)

    @pytest.mark.parametrize("value", [b"\0", b"\4", b"\xff", b"", b"\1\2", b"\0\1"])
    def test_a6_i20_other_values_are_ignored(self, value: bytes) -> None:
        file, sname = option(12, b"f") + b"\xff", option(12, b"s") + b"\xff"
        message = parse_request(raw_message(option(52, value) + DISCOVER_OPTION + b"\xff", file=file, sname=sname))
        assert message.options == {53: b"\1"}
        assert (message.file[:4], message.sname[:4]) == (file, sname)

    @pytest.mark.parametrize("inner", [b"\1", b"\2", b"\3"])
    def test_a6_i20_no_recursion(self, inner: bytes) -> None:
        """RFC 2132 9.3: option 52 inside file neither opens sname nor makes file be read again."""
        message = parse_request(
            raw_message(
                option(52, b"\1") + DISCOVER_OPTION + b"\xff",
                file=option(52, inner) + option(12, b"f") + b"\xff",
                sname=option(12, b"s") + b"\xff",
            )
        )
        assert message.options == {53: b"\1", 12: b"f"}
        assert message.sname[:4] == option(12, b"s") + b"\xff"

    @pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x0c", b"\x01"])
    def test_i20_areas_full_of_one_byte(self, filler: bytes) -> None:
        message = parse_request(
            raw_message(option(52, b"\3") + DISCOVER_OPTION + b"\xff", file=filler * 128, sname=filler * 64)
        )
        assert message.message_type == c.DISCOVER

    def test_i20_message_type_in_sname(self) -> None:
        message = parse_request(raw_message(option(52, b"\2") + b"\xff", sname=DISCOVER_OPTION))
        assert message.message_type == c.DISCOVER

    @pytest.mark.parametrize(
        ("code", "name", "size"),
        [
            (50, "requested_address", 4),
            (54, "server_identifier", 4),
            (51, "lease_time_s", 4),
            (57, "max_size", 2),
        ],
    )
    def test_a7_i17_wrong_length_is_absence(self, code: int, name: str, size: int) -> None:
        for length in range(9):
            value = bytes(range(1, length + 1))
            message = parse_request(raw_message(DISCOVER_OPTION + option(code, value) + b"\xff"))
            expected = int.from_bytes(value, "big") if length == size else None
            assert getattr(message, name) == expected, length

    def test_a8_i1_empty_client_id(self) -> None:
        message = parse_request(raw_message(DISCOVER_OPTION + option(61, b"") + b"\xff"))
        assert message.client_id is None
        assert identity(message) == hardware_identity(1, MAC)

    def test_a8_client_id_of_one_byte(self) -> None:
        message = parse_request(raw_message(DISCOVER_OPTION + option(61, b"\1") + b"\xff"))
        assert (message.client_id, identity(message)) == (b"\1", b"\0\1")

    def test_a8_i3_longest_client_id(self) -> None:
        longest = bytes(range(255))
        assert parse_request(raw_message(DISCOVER_OPTION + option(61, longest))).client_id == longest

    def test_a8_i3_too_long_client_id(self) -> None:
        area = DISCOVER_OPTION + option(61, bytes(255)) + option(61, b"\1")
        assert reason_of(raw_message(area)) == "client-id-too-long"

    def test_a11_trailing_nul_of_a_hostname(self) -> None:
        """RFC 2132 2."""
        assert parse_request(raw_message(DISCOVER_OPTION + option(12, b"host\0\0"))).hostname == b"host"

    def test_a11_hostname_is_bounded(self) -> None:
        area = DISCOVER_OPTION + option(12, b"a" * 255)
        assert parse_request(raw_message(area)).hostname == b"a" * 255
        assert parse_request(raw_message(area + option(12, b"a"))).hostname == b""

    def test_i19_two_relay_agent_options_are_joined(self) -> None:
        area = DISCOVER_OPTION + option(82, b"\1\2ab") + option(82, b"\2\1c") + b"\xff"
        assert parse_request(raw_message(area)).options[82] == b"\1\2ab\2\1c"

    @pytest.mark.parametrize("value", [b"", b"\1", b"\1\xff", b"\1\3ab", b"\xff\xff", b"\0\0"])
    def test_i19_broken_relay_agent_option_costs_nothing(self, value: bytes) -> None:
        """Opaque to the server (RFC 3046 2.0); also without a relay."""
        assert parse_request(raw_message(DISCOVER_OPTION + option(82, value))).options[82] == value

    def test_i21_many_fragments(self) -> None:
        area = DISCOVER_OPTION + (option(43, b"x") + option(43, b"")) * 200
        assert parse_request(raw_message(area)).options[43] == b"x" * 200

    def test_i21_as_much_as_a_datagram_holds(self) -> None:
        area = DISCOVER_OPTION + option(43, b"y" * 255) * 253
        assert parse_request(raw_message(area)).options[43] == b"y" * (255 * 253)


class TestIdentity:
    def test_g1_client_id_wins(self) -> None:
        """RFC 2131 4.2."""
        message = parse_request(scapy_message(("message-type", 1), ("client_id", b"\0name")))
        assert identity(message) == b"\0\0name"

    def test_g1_else_the_hardware_address_with_its_type(self) -> None:
        ethernet = parse_request(scapy_message(("message-type", 1)))
        other = parse_request(scapy_message(("message-type", 1), htype=6))
        assert identity(ethernet) == hardware_identity(1, MAC)
        assert identity(other) == hardware_identity(6, MAC)
        assert identity(ethernet) != identity(other)

    def test_g2_client_id_made_of_the_hardware_address(self) -> None:
        with_id = parse_request(scapy_message(("message-type", 1), ("client_id", b"\1" + MAC)))
        assert identity(with_id) == identity(parse_request(scapy_message(("message-type", 1))))

    def test_g2_client_id_made_of_another_hardware_address(self) -> None:
        other = b"\1" + MAC[:5] + b"\x77"
        message = parse_request(scapy_message(("message-type", 1), ("client_id", other)))
        assert identity(message) == b"\0" + other

    @given(
        client_ids=st.tuples(*[st.binary(max_size=12)] * 2), macs=st.tuples(*[st.binary(min_size=6, max_size=6)] * 2)
    )
    def test_g1_g2_keys_are_equal_only_for_the_same_client(
        self, client_ids: tuple[bytes, bytes], macs: tuple[bytes, bytes]
    ) -> None:
        def meaning(client_id: bytes, mac: bytes) -> tuple[str, bytes]:
            return ("cid", client_id) if client_id and client_id != b"\1" + mac else ("hw", mac)

        def key(client_id: bytes, mac: bytes) -> bytes:
            return identity(Message(chaddr=mac.ljust(16, b"\0"), options={c.OPT_CLIENT_ID: client_id}))

        pairs = list(zip(client_ids, macs, strict=True))
        assert (key(*pairs[0]) == key(*pairs[1])) is (meaning(*pairs[0]) == meaning(*pairs[1]))


def _touch_everything(message: Message) -> None:
    for name in (
        "message_type", "requested_address", "server_identifier", "lease_time_s", "max_size", "client_id",
        "hardware_address", "broadcast_flag", "hostname",
    ):  # fmt: skip
        getattr(message, name)
    assert 1 < len(identity(message)) <= 256
    assert message.message_type in c.REQUEST_TYPES


def _parse_any(data: bytes) -> None:
    try:
        message = parse_request(data)
    except DecodeError:
        return
    _touch_everything(message)


class TestHostile:
    """Only DecodeError ever comes out of parse_request, whatever goes in; a message that passes is usable."""

    @given(st.binary(max_size=700))
    def test_arbitrary_bytes(self, data: bytes) -> None:
        _parse_any(data)

    @given(st.binary(max_size=400), st.binary(max_size=128), st.binary(max_size=64), st.integers(0, 255))
    def test_arbitrary_areas(self, area: bytes, file: bytes, sname: bytes, overload: int) -> None:
        _parse_any(raw_message(DISCOVER_OPTION + option(52, bytes((overload,))) + area, file=file, sname=sname))

    @given(
        st.sampled_from(MESSAGES),
        st.lists(st.tuples(st.integers(0, 310), st.integers(0, 255)), max_size=12),
        st.integers(0, 310),
    )
    def test_mutated_real_messages(self, data: bytes, changes: list[tuple[int, int]], size: int) -> None:
        mutated = bytearray(data)
        for position, value in changes:
            if position < len(mutated):
                mutated[position] = value
        _parse_any(bytes(mutated))
        _parse_any(bytes(mutated[:size]))

    @pytest.mark.parametrize("data", FROM_CLIENTS)
    def test_every_byte_at_its_extremes(self, data: bytes) -> None:
        for position in range(len(data)):
            for value in (0, 1, 0x7F, 0x80, 0xFE, 0xFF):
                _parse_any(data[:position] + bytes((value,)) + data[position + 1 :])


def test_scapy_reads_a_split_option() -> None:
    """RFC 3396 section 6: a value over 255 bytes goes into several instances, each but the last one full."""
    value = bytes(i % 251 for i in range(600))
    parts = [item[1] for item in listed(Message(options={53: b"\1", 43: value}).encode()) if item[0] != "message-type"]
    assert [len(part) for part in parts] == [255, 255, 90]
    assert b"".join(parts) == value
