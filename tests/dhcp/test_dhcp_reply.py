"""OFFER, ACK and NAK: rules C1-C5, C8-C14 and E7 (RFC 2131 Table 3), judged by scapy."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from dhcp_samples import FROM_CLIENTS, MAC, codes, listed, option, raw_message, scapy_message
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from ddhcp.dhcp import MIN_REPLY, Message, ReplyTemplate, build_reply, pack_option, parse_request
from ddhcp.dhcp import constants as c

SERVER, YOURS = 0x0A000001, 0x0A00A1A0
OPTIONS = {
    c.OPT_DNS: bytes((10, 0, 0, 53)),
    c.OPT_ROUTER: bytes((10, 0, 0, 1)),
    c.OPT_SUBNET_MASK: bytes((255, 255, 0, 0)),
    c.OPT_BROADCAST: bytes((10, 0, 255, 255)),
    c.OPT_DOMAIN_NAME: b"mesh.example",
    42: bytes((10, 0, 0, 9)),
}
TYPES = {"offer": c.OFFER, "ack": c.ACK, "nak": c.NAK}


def ask(*options: Any, kind: int = c.DISCOVER, **fields: Any) -> Message:
    return parse_request(scapy_message(("message-type", kind), *options, **fields))


def answer(request: Message, kind: int = c.OFFER, **arguments: Any) -> bytes:
    """An OFFER or ACK of a lease, or a NAK, as a server would ask for it."""
    given_: dict[str, Any] = {"server_identifier": SERVER}
    if kind != c.NAK:
        given_ |= {"your_address": YOURS, "lease_time_s": 600, "t1_s": 300, "t2_s": 525, "options": OPTIONS}
    return build_reply(request, kind, **(given_ | arguments))


def names(packet: bytes) -> list[Any]:
    return [item[0] for item in listed(packet)]


def value(packet: bytes, name: Any) -> Any:
    (found,) = [item[1:] for item in listed(packet) if item[0] == name]
    return found[0] if len(found) == 1 else found


def all_areas(packet: bytes) -> tuple[list[int], list[int], list[int]]:
    """The codes in the options field, in file, in sname, the latter two only if option 52 says so (RFC 2132 9.3)."""
    in_options = codes(packet[240:])
    flag = {item[0]: item[1] for item in listed(packet) if len(item) == 2}.get("dhcp-option-overload", 0)
    return in_options, codes(packet[108:236]) if flag & 1 else [], codes(packet[44:108]) if flag & 2 else []


class TestHeader:
    @pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
    def test_c1_copied_and_cleared(self, kind: int) -> None:
        """RFC 2131 4.3.1, Table 3."""
        request = ask(
            kind=c.REQUEST, xid=0xDEADBEEF, flags=0x8000, secs=77, hops=3, ciaddr="10.0.3.4", giaddr="10.9.9.9",
            siaddr="1.2.3.4", yiaddr="5.6.7.8", sname=b"boot", file=b"image",
        )  # fmt: skip
        judge = BOOTP(answer(request, kind))
        assert (judge.op, judge.htype, judge.hlen, judge.hops) == (2, 1, 6, 0)
        assert (judge.xid, judge.secs, int(judge.flags)) == (0xDEADBEEF, 0, 0x8000)
        assert (judge.giaddr, judge.siaddr) == ("10.9.9.9", "0.0.0.0")
        assert judge.yiaddr == ("0.0.0.0" if kind == c.NAK else "10.0.161.160")
        assert judge.ciaddr == ("10.0.3.4" if kind == c.ACK else "0.0.0.0")
        assert (judge.chaddr, judge.sname, judge.file) == (MAC + bytes(10), bytes(64), bytes(128))

    @pytest.mark.parametrize("data", FROM_CLIENTS)
    def test_c1_real_client(self, data: bytes) -> None:
        request = parse_request(data)
        judge = BOOTP(answer(request, c.ACK))
        assert (judge.xid, judge.chaddr) == (request.xid, request.chaddr)
        assert judge[DHCP].options[0] == ("message-type", c.ACK)

    @pytest.mark.parametrize("flags", [0, 0x8000])
    def test_e1_relayed_nak_is_broadcast(self, flags: int) -> None:
        """RFC 2131 4.3.2: the relay must broadcast it."""
        assert int(BOOTP(answer(ask(kind=c.REQUEST, giaddr="10.9.9.9", flags=flags), c.NAK)).flags) == 0x8000

    def test_e1_flag_of_other_relayed_replies_is_the_clients(self) -> None:
        assert int(BOOTP(answer(ask(giaddr="10.9.9.9"))).flags) == 0
        assert int(BOOTP(answer(ask(kind=c.REQUEST), c.NAK)).flags) == 0

    def test_e6_relayed_answer_to_inform_is_broadcast(self) -> None:
        """It has no yiaddr that the relay could send it to."""
        request = ask(kind=c.INFORM, giaddr="10.9.9.9", ciaddr="10.0.3.4")
        judge = BOOTP(answer(request, c.ACK, your_address=0, lease_time_s=None))
        assert int(judge.flags) == 0x8000
        assert judge.yiaddr == "0.0.0.0"


class TestContent:
    @pytest.mark.parametrize("kind", [c.OFFER, c.ACK])
    def test_c2_c8_required(self, kind: int) -> None:
        """RFC 2131 4.3.1, Table 3; T1 and T2 in the OFFER too."""
        packet = answer(ask(), kind)
        assert value(packet, "message-type") == kind
        assert value(packet, "server_id") == "10.0.0.1"
        assert value(packet, "lease_time") == 600
        assert value(packet, "renewal_time") == 300
        assert value(packet, "rebinding_time") == 525
        assert value(packet, "subnet_mask") == "255.255.0.0"

    def test_c8_without_timers(self) -> None:
        assert {"renewal_time", "rebinding_time"}.isdisjoint(names(answer(ask(), t1_s=0, t2_s=0)))

    @pytest.mark.parametrize("lease_s", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
    def test_c9_every_lease_time_is_sent_as_it_is(self, lease_s: int) -> None:
        """RFC 2131 3.3: all ones is infinity; the value is unsigned."""
        assert value(answer(ask(), lease_time_s=lease_s), "lease_time") == lease_s

    def test_c2_never_sent(self) -> None:
        """RFC 2131 4.3.1, Table 3: the client's options 50, 55 and 57, and what the server alone sets, even if asked
        for and configured."""
        forbidden = dict.fromkeys((50, 52, 55, 56, 57, 61, 82), b"\1\2\3\4")
        request = ask(
            ("requested_addr", "10.0.5.5"), ("max_dhcp_size", 1000),
            ("param_req_list", [0, 255, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82, 3]),
        )  # fmt: skip
        packet = answer(request, options=OPTIONS | forbidden | dict.fromkeys((0, 51, 53, 54, 58, 59, 255), b"bad"))
        assert codes(packet[240:]) == [53, 54, 51, 58, 59, 1, 3]
        assert value(packet, "lease_time") == 600

    @pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
    def test_c3_server_identifier(self, kind: int) -> None:
        """RFC 2131 4.1, Table 3: the same in OFFER, ACK and NAK."""
        assert value(answer(ask(), kind), "server_id") == "10.0.0.1"

    @pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
    @pytest.mark.parametrize("client_id", [b"\1", b"\1" + MAC, b"\0name\0\0", bytes(range(255))])
    def test_c4_client_id_comes_back_unaltered(self, kind: int, client_id: bytes) -> None:
        """RFC 6842 section 3."""
        packet = answer(parse_request(raw_message(option(53, b"\1") + option(61, client_id) + b"\xff")), kind)
        assert Message.decode(packet).options[c.OPT_CLIENT_ID] == client_id
        assert len(packet) <= 548

    @pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
    def test_c4_i1_no_client_id_no_echo(self, kind: int) -> None:
        empty = parse_request(raw_message(option(53, b"\1") + option(61, b"") + b"\xff"))
        assert "client_id" not in names(answer(ask(), kind))
        assert "client_id" not in names(answer(empty, kind))

    def test_c5_in_the_clients_order_each_once(self) -> None:
        """RFC 2132 9.8; what has no value is left out (RFC 2131 4.3.1)."""
        packet = answer(ask(("param_req_list", [42, 3, 42, 99, 1, 6, 3])))
        assert codes(packet[240:]) == [53, 54, 51, 58, 59, 1, 42, 3, 6]

    def test_c5_mask_before_router_and_always(self) -> None:
        """RFC 2132 3.3."""
        packet = answer(ask(("param_req_list", [3])))
        assert codes(packet[240:])[-2:] == [1, 3]

    def test_c5_without_a_list(self) -> None:
        found = codes(answer(ask())[240:])
        assert {1, 3, 6, 15, 28} <= set(found)
        assert 42 not in found

    def test_c5_values_are_the_configured_ones(self) -> None:
        packet = answer(ask(("param_req_list", [3, 6, 15, 28])))
        assert value(packet, "router") == "10.0.0.1"
        assert value(packet, "name_server") == "10.0.0.53"
        assert value(packet, "domain") == b"mesh.example"
        assert value(packet, "broadcast_address") == "10.0.255.255"

    def test_answer_to_inform_has_no_lease(self) -> None:
        """RFC 2131 4.3.5."""
        packet = answer(ask(kind=c.INFORM, ciaddr="10.0.3.4"), c.ACK, your_address=0, lease_time_s=None)
        assert {"lease_time", "renewal_time", "rebinding_time"}.isdisjoint(names(packet))
        assert BOOTP(packet).yiaddr == "0.0.0.0"

    def test_e7_nak(self) -> None:
        """RFC 2131 4.3.1, Table 3: nothing of a lease or a configuration, whatever the caller passes."""
        area = option(53, b"\3") + option(61, b"\0id") + option(82, b"\1\1x") + option(55, b"\1\3\6") + b"\xff"
        packet = answer(
            parse_request(raw_message(area)), c.NAK, text=b"wrong network", options=OPTIONS, lease_time_s=600
        )
        assert codes(packet[240:]) == [53, 54, 56, 61, 82]
        assert value(packet, "error_message") == b"wrong network"
        judge = BOOTP(packet)
        assert (judge.yiaddr, judge.siaddr, judge.ciaddr) == ("0.0.0.0",) * 3


FILLER = {code: bytes((code,)) * 100 for code in range(180, 205)}  # 2550 bytes of options


class TestSize:
    def request(self, size: int | None = None, wanted: range | list[int] = range(180, 205)) -> Message:
        given_ = [("max_dhcp_size", size)] if size is not None else []
        return ask(*given_, ("param_req_list", list(wanted)))

    @pytest.mark.parametrize(
        ("size", "mtu", "datagram"),
        [
            (None, 1500, 576),
            (0, 1500, 576),
            (1, 1500, 576),
            (100, 1500, 576),
            (575, 1500, 576),
            (576, 1500, 576),
            (577, 1500, 577),
            (1000, 1500, 1000),
            (1500, 1500, 1500),
            (1501, 1500, 1500),
            (65535, 1500, 1500),
            (65535, 1280, 1280),
            (65535, 9000, 9000),
        ],
    )
    def test_c10_i16_limit(self, size: int | None, mtu: int, datagram: int) -> None:
        """RFC 2132 9.10, RFC 2131 section 2: exactly what is allowed is used, headers of 28 bytes counted."""
        room = datagram - 28 - len(answer(self.request(size, [43]), options={}).rstrip(b"\0"))
        fitting = next(n for n in range(room, 0, -1) if len(pack_option(43, bytes(n))) == room)
        full = answer(self.request(size, [43]), mtu=mtu, options={43: b"x" * fitting})
        assert len(full) == datagram - 28
        assert Message.decode(full).options[43] == b"x" * fitting
        over = answer(self.request(size, [43]), mtu=mtu, options={43: b"x" * (fitting + 1)})
        assert 43 not in Message.decode(over).options
        assert len(answer(self.request(size), mtu=mtu, options=FILLER)) <= datagram - 28

    def test_c10_a_tiny_mtu_gets_the_shortest_reply_there_is(self) -> None:
        assert len(answer(self.request(1500), mtu=68, options=FILLER)) == MIN_REPLY

    def test_c11_order_of_areas(self) -> None:
        """RFC 2131 4.1: options, then file, then sname, each with its End; nothing lost that has room."""
        configured = {c.OPT_SUBNET_MASK: OPTIONS[1], 100: b"a" * 250, 101: b"b" * 100, 102: b"c" * 50}
        packet = answer(self.request(None, [100, 101, 102]), options=configured)
        assert all_areas(packet) == ([53, 54, 51, 58, 59, 1, 100, 52], [101], [102])
        assert Message.decode(packet).options.items() >= configured.items()

    def test_c11_file_alone(self) -> None:
        packet = answer(self.request(None, [100, 101]), options={100: b"a" * 250, 101: b"b" * 100})
        assert all_areas(packet) == ([53, 54, 51, 58, 59, 100, 52], [101], [])
        assert value(packet, "dhcp-option-overload") == 1
        assert BOOTP(packet).sname == bytes(64)

    def test_c11_the_last_wanted_is_dropped(self) -> None:
        """RFC 2131 4.1: what fits stays in the order of the client's list."""
        packet = answer(self.request(), options=FILLER)
        in_options, in_file, in_sname = all_areas(packet)
        assert in_options == [53, 54, 51, 58, 59, 180, 181, 52]
        assert (in_file, in_sname) == ([182], [])

    def test_c11_a_nak_does_not_overload(self) -> None:
        """Table 3. A text that does not fit is left out."""
        packet = answer(ask(kind=c.REQUEST), c.NAK, text=b"x" * 500)
        assert all_areas(packet) == ([53, 54], [], [])
        assert len(packet) <= 548

    def test_c11_areas_filled_to_the_last_byte(self) -> None:
        configured = {100: b"a" * 250, 101: b"b" * 125, 102: b"c" * 61}
        packet = answer(self.request(None, [100, 101, 102]), options=configured)
        assert all_areas(packet)[1:] == ([101], [102])
        assert (packet[235], packet[107]) == (255, 255)

    def test_c12_long_option_is_split(self) -> None:
        """RFC 3396 6."""
        value_ = bytes(i % 251 for i in range(600))
        packet = answer(self.request(1500, [43]), options={43: value_})
        parts = [item[1] for item in listed(packet) if item[0] in (43, "vendor_specific", "vendor-specific")]
        assert [len(part) for part in parts] == [255, 255, 90]
        assert b"".join(parts) == value_

    def test_c12_an_option_that_fits_is_not_split(self) -> None:
        """RFC 3396 6."""
        packet = answer(self.request(1500, [43]), options={43: bytes(255)})
        assert codes(packet[240:]).count(43) == 1

    @pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
    def test_c13_smallest(self, kind: int) -> None:
        """RFC 1542 2.1: zeros behind End."""
        packet = answer(ask(), kind, options={})
        assert len(packet) == MIN_REPLY == 300
        assert codes(packet[240:])[0] == 53

    def test_c13_no_padding_where_none_is_needed(self) -> None:
        packet = answer(self.request(1500, [180]), options=FILLER)
        assert len(packet) > 300
        assert packet[-1] == 255


class TestRelayAgentOption:
    """C14, RFC 3046 2.2."""

    INFORMATION = b"\1\4port\2\0"

    def request(self, information: bytes = INFORMATION, *, client_id: bytes = b"", wanted: bytes = b"") -> Message:
        area = option(53, b"\3")
        area += b"".join(option(82, information[i : i + 255]) for i in range(0, len(information), 255))
        area += option(61, client_id) if client_id else b""
        area += option(55, wanted) if wanted else b""
        return parse_request(raw_message(area + b"\xff", giaddr="10.9.9.9"))

    @pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
    def test_echoed_whole_and_last(self, kind: int) -> None:
        packet = answer(self.request(client_id=b"\0id"), kind)
        assert codes(packet[240:])[-2:] == [61, 82]
        assert Message.decode(packet).options[82] == self.INFORMATION

    def test_none_without_one(self) -> None:
        assert 82 not in codes(answer(ask(giaddr="10.9.9.9"))[240:])

    def test_without_a_relay(self) -> None:
        request = parse_request(raw_message(option(53, b"\3") + option(82, self.INFORMATION) + b"\xff"))
        assert Message.decode(answer(request, c.ACK)).options[82] == self.INFORMATION

    def test_last_in_the_options_field_when_others_overflow(self) -> None:
        wanted = {100: b"a" * 240, 101: b"b" * 100}
        packet = answer(self.request(wanted=b"\x64\x65"), c.ACK, options=wanted)
        in_options, in_file, in_sname = all_areas(packet)
        assert in_options[-1] == 82
        assert (in_file, in_sname) == ([101], [])

    @pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
    @pytest.mark.parametrize("size", [300, 510, 1200])
    def test_i19_left_out_if_it_does_not_fit(self, kind: int, size: int) -> None:
        """C14, RFC 3046 2.2: then the reply goes without it."""
        packet = answer(self.request(b"\1" * size, client_id=b"\0id"), kind, text=b"no" if kind == c.NAK else b"")
        options = Message.decode(packet).options
        assert len(packet) <= 548
        assert c.OPT_RELAY_AGENT not in options
        assert options[c.OPT_CLIENT_ID] == b"\0id"
        assert options[c.OPT_MESSAGE_TYPE] == bytes((kind,))
        assert codes(packet[240:])[:2] == [53, 54]

    def test_goes_before_what_is_merely_wanted(self) -> None:
        packet = answer(self.request(b"\1" * 200, wanted=b"\x64"), c.ACK, options={100: b"a" * 200})
        options = Message.decode(packet).options
        assert options[82] == b"\1" * 200
        assert 100 not in options

    def test_goes_before_the_text_of_a_nak(self) -> None:
        options = Message.decode(answer(self.request(b"\1" * 250), c.NAK, text=b"t" * 100)).options
        assert options[82] == b"\1" * 250
        assert c.OPT_MESSAGE not in options

    def test_two_are_echoed_as_one(self) -> None:
        """I19: more than 255 bytes if the client's limit allows it."""
        information = bytes(i % 251 for i in range(400))
        request = self.request(information)
        request.options[c.OPT_MAX_SIZE] = (1500).to_bytes(2, "big")
        assert Message.decode(answer(request, c.ACK)).options[82] == information


def sized(largest: int) -> st.SearchStrategy[bytes]:
    """Bytes of every length alike: st.binary seldom makes long ones."""
    return st.builds(lambda size, byte: bytes((byte,)) * size, st.integers(0, largest), st.integers(0, 255))


@given(
    kind=st.sampled_from(sorted(TYPES.values())),
    client_id=sized(255),
    relay=sized(700),
    wanted=st.lists(st.integers(0, 255), max_size=30),
    configured=st.dictionaries(st.integers(1, 254), sized(300), max_size=12),
    mask=st.sampled_from([None, bytes((255, 255, 0, 0))]),
    max_size=st.none() | st.integers(0, 0xFFFF),
    mtu=st.integers(576, 9000),
    text=sized(600),
    lease_s=st.none() | st.integers(0, 0xFFFFFFFF),
    giaddr=st.integers(0, 0xFFFFFFFF),
)
def test_every_reply_is_sound(
    kind: int, client_id: bytes, relay: bytes, wanted: list[int], configured: dict[int, bytes], mask: bytes | None,
    max_size: int | None, mtu: int, text: bytes, lease_s: int | None, giaddr: int,
) -> None:  # fmt: skip
    """Whatever client and configuration: within the limit, read by scapy, whole areas, the required options there."""
    configured.pop(c.OPT_SUBNET_MASK, None)
    if mask is not None:
        configured[c.OPT_SUBNET_MASK] = mask
    options = {53: b"\3", 61: client_id, 82: relay, 55: bytes(wanted)}
    if max_size is not None:
        options[57] = max_size.to_bytes(2, "big")
    request = Message(chaddr=MAC.ljust(16, b"\0"), giaddr=giaddr, options=options)
    packet = build_reply(
        request, kind, server_identifier=SERVER, your_address=0 if kind == c.NAK else YOURS, lease_time_s=lease_s,
        t1_s=300, t2_s=525, options=configured, text=text, mtu=mtu,
    )  # fmt: skip
    assert 300 <= len(packet) <= max(576, min(max_size or 576, mtu)) - 28
    judge = BOOTP(packet)
    assert (judge.op, judge.giaddr) == (2, str(ipaddress.IPv4Address(giaddr)))
    assert judge[DHCP].options[0] == ("message-type", kind)
    in_options, in_file, in_sname = all_areas(packet)
    assert in_options[:2] == [53, 54]
    assert not {82, 52} & {*in_file, *in_sname}
    if 82 in in_options:
        assert in_options[-1] == 82
    result = Message.decode(packet).options
    assert (result.get(61) or b"") == client_id
    assert result.get(82, relay) == relay
    if kind == c.NAK:
        assert set(result) <= {53, 54, 56, 61, 82}
        assert not in_file
        assert not in_sname
    else:
        assert (51 in result) is (lease_s is not None)
        assert result.get(1) == mask
        for code in set(result) & set(configured) - {50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82}:
            assert result[code] == configured[code]


@given(st.sampled_from(FROM_CLIENTS), st.tuples(*[st.integers(1, 2**32 - 1)] * 3), st.integers(68, 1500))
def test_a_template_makes_what_would_be_built(data: bytes, numbers: tuple[int, int, int], mtu: int) -> None:
    request, (xid, t1_s, t2_s) = parse_request(data), numbers
    template = ReplyTemplate(answer(request, c.ACK, mtu=mtu))
    built = answer(request.repeated(xid, 5), c.ACK, mtu=mtu, t1_s=t1_s, t2_s=t2_s)
    assert template.fill(xid, t1_s, t2_s) == built
