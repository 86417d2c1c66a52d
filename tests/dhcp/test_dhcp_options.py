"""Options by name and as text; names, routes and nested options on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from ddhcp.dhcp import (
    OPTIONS,
    Fqdn,
    Kind,
    Message,
    OptionSet,
    build_reply,
    encode_fqdn_reply,
    encode_option,
    format_message,
    format_option,
    option_code,
    option_name,
    pack_option,
    printable,
    suboptions,
    vendor_identifying,
)
from ddhcp.dhcp import constants as c


@pytest.mark.parametrize(
    ("name", "value", "code", "wire"),
    [
        ("dns-servers", ["10.0.0.1", "10.0.0.2"], 6, "0a0000010a000002"),
        ("dns-servers", "10.0.0.1, 10.0.0.2", 6, "0a0000010a000002"),
        ("router", "10.0.0.1", 3, "0a000001"),
        ("subnet-mask", "255.255.0.0", 1, "ffff0000"),
        ("time-offset", -3600, 2, "fffff1f0"),
        ("mtu", 1400, 26, "0578"),
        ("mtu", "1400", 26, "0578"),
        ("ip-forwarding", False, 19, "00"),
        ("domain-name", "mesh.example", 15, "6d6573682e6578616d706c65"),
        ("captive-portal", "https://x/", 114, "68747470733a2f2f782f"),
        ("domain-search", ["a.example", "b"], 119, "0161076578616d706c65000162 00"),
        ("routes", ["10.0.0.0/8 via 10.1.0.1", "0.0.0.0/0 10.1.0.2"], 121, "080a0a010001 000a010002"),
        ("routes", "192.168.1.128/25 via 10.1.0.1", 121, "19c0a801800a010001"),
        ("static-routes", "10.0.0.0 10.0.0.1", 33, "0a0000000a000001"),
        ("vendor-specific", ["6=08", "10=0a0b"], 43, "060108 0a020a0b"),
        ("vendor-identifying-data", "3561=0102", 125, "00000de9020102"),
        ("rapid-commit", True, 80, ""),
        ("224", "0a:0b", 224, "0a0b"),
        ("client-architecture", [0, 7], 93, "00000007"),
    ],
)
def test_values_as_people_write_them(name: str, value: object, code: int, wire: str) -> None:
    """W9."""
    assert option_code(name) == code
    assert encode_option(name, value).hex() == wire.replace(" ", "")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dns-server-s", "1.2.3.4", "unknown option 'dns-server-s'"),
        ("255", "00", "option code 255"),
        ("dns-servers", "1.2.3", "option dns-servers (6) takes a list of IPv4 addresses: '1.2.3' is not an IPv4"),
        ("dns-servers", [], "nothing is given"),
        ("dns-servers", "1.2.3.4,", "nothing is given"),
        ("mtu", 70000, "70000 is out of range"),
        ("mtu", True, "True is not a number"),
        ("mtu", "9" * 5000, "is not a number"),
        ("routes", "10.0.0.1/8 via 10.1.0.1", "has bits set beyond its length"),
        ("routes", "10.0.0.0/8", "is not a prefix and a gateway"),
        ("domain-search", "a..b", "needs labels"),
        ("domain-search", "a" * 64, "needs labels"),
        ("domain-search", "ä.example", "is not ASCII"),
        ("domain-name", "", "it is empty"),
        ("domain-name", 5, "5 is not text"),
        ("ip-forwarding", "maybe", "'maybe' is neither"),
        ("rapid-commit", False, "leave the option out"),
        ("vendor-specific", "6", "is not a number, = and up to 255 bytes"),
        ("224", "xyz", "is not hexadecimal"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match="option") as error:
        encode_option(name, value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_every_name_is_the_name_of_its_code() -> None:
    assert all(option_code(info.name) == code and option_name(code) == info.name for code, info in OPTIONS.items())
    assert option_name(224) == "option-224"


@given(st.sampled_from(sorted(OPTIONS)), st.binary(max_size=80))
def test_any_bytes_show_as_one_printable_line(code: int, value: bytes) -> None:
    """I11, I12."""
    assert format_option(code, value).isprintable()


@given(st.sampled_from(sorted(code for code in OPTIONS if OPTIONS[code].kind is not Kind.FQDN)), st.binary(max_size=60))
def test_text_of_a_value_gives_the_value_back(code: int, value: bytes) -> None:
    """Whatever text a value is shown as, written into a configuration it means the same, or is refused."""
    kind, text = OPTIONS[code].kind, format_option(code, value)
    if text == value.hex(":") and kind is not Kind.BYTES:
        return  # not well-formed
    try:
        again = encode_option(code, text)
    except ValueError:
        return
    if kind in (Kind.DOMAIN, Kind.DOMAINS, Kind.ROUTES, Kind.STRING):  # several wire forms, or escapes
        assert format_option(code, again) == text or not printable(value).isprintable()
    else:
        assert again == value


@given(st.binary(max_size=400))
def test_nested_options_take_any_bytes(data: bytes) -> None:
    """I22, Q24."""
    assert sum(len(value) + 2 for value in suboptions(data).values()) <= len(data)
    assert sum(map(len, vendor_identifying(data).values())) <= len(data)
    suboptions(data, has_pad_and_end=True)


def test_i22_length_255_in_six_bytes() -> None:
    assert suboptions(b"\1\xff\0\0\0\0") == {}
    assert vendor_identifying(b"\0\0\0\1\xff\0") == {}


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"\4\0\0\3foo\7example\0", (b"foo", b"example")),
        (b"\4\0\0\3foo", (b"foo",)),
        (b"\0\0\0foo.example", (b"foo", b"example")),
        (b"\0\0\0foo.\0", (b"foo",)),
        (b"\4\0\0", ()),
    ],
)
def test_c18_names_as_clients_send_them(data: bytes, labels: tuple[bytes, ...]) -> None:
    fqdn = Message(options={81: data}).fqdn
    assert fqdn is not None
    assert fqdn.labels == labels


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\4\0", b"\4\0\0\x40" + b"a" * 64 + b"\0", b"\4\0\0\5foo", b"\4\0\0\xc0\x03", b"\4\0\0\xc0\x00",
        b"\4\0\0\3foo\0\3bar\0", b"\0\0\0foo..bar", b"\0\0\0" + b"a" * 64, b"\0\0\0fo\no", b"\4\0\0" + b"\1a" * 130,
    ],
)  # fmt: skip
def test_i7_i8_bad_names_are_no_names(data: bytes) -> None:
    """Overlong and empty labels, no end, compression pointers, cycles, control characters."""
    assert Message(options={81: data}).fqdn is None


@pytest.mark.parametrize("wire", [b"\xc0\x00", b"\1a\xc0\x02", b"\1a\xc0\x00", b"\xc0", b"\x40" + b"a" * 64])
def test_i7_pointers_never_loop(wire: bytes) -> None:
    assert format_option(119, wire) == wire.hex(":") or format_option(119, wire).isprintable()


@pytest.mark.parametrize(
    ("flags", "updates", "answer"),
    [(4, {}, 4 | 8), (4 | 1, {}, 4 | 8 | 2), (5, {"updates_a": True}, 5), (4, {"updates_ptr": True}, 4)],
)
def test_c18_flags_of_the_answer(flags: int, updates: dict[str, bool], answer: int) -> None:
    """RFC 4702 4: S and O by what the server does, N when it does nothing, response codes 255, the client's E."""
    value = encode_fqdn_reply(Fqdn(flags, (b"foo",), False), domain="mesh.example", **updates)
    assert value == bytes((answer, 255, 255)) + b"\3foo\4mesh\7example\0"


def test_c18_ascii_stays_ascii() -> None:
    assert encode_fqdn_reply(Fqdn(0, (b"foo",), False), domain="x") == bytes((8, 255, 255)) + b"foo.x."


def test_messages_in_one_line() -> None:
    message = Message(xid=5, chaddr=b"\2".ljust(16, b"\0"), options={53: b"\0", 12: b"a\nb\x1b[31m", 50: b"\1\2\3\4"})
    text = format_message(message)
    assert text == (
        "type 0 xid=0x00000005 chaddr=02:00:00:00:00:00 host-name=[a\\nb\\x1b[31m] requested-address=[1.2.3.4]"
    )


# -- the reply's options -------------------------------------------------------------------------------------


def ask(wanted: bytes = b"", kind: int = c.DISCOVER, **options: bytes) -> Message:
    given_ = {int(name[1:]): value for name, value in options.items()}
    return Message(chaddr=b"\2".ljust(16, b"\0"), options={53: bytes((kind,)), 55: wanted} | given_)


def answered(request: Message, kind: int = c.OFFER, **arguments: object) -> Message:
    packet = build_reply(request, kind, server_identifier=1, your_address=2, lease_time_s=60, **arguments)  # type: ignore[arg-type]
    return Message.decode(packet)


def test_c15_a_default_route_goes_into_121_and_249() -> None:
    """RFC 3442: clients that know option 121 ignore option 3."""
    routes = encode_option("routes", "10.0.0.0/8 via 10.1.0.1")
    options = OptionSet({3: b"\x0a\1\0\2", 121: routes})
    reply = answered(ask(bytes((121, 249, 3))), options=options)
    assert format_option(121, reply.options[121]) == "10.0.0.0/8 via 10.1.0.1, 0.0.0.0/0 via 10.1.0.2"
    assert reply.options[249] == reply.options[121]


def test_c15_a_configured_default_route_stays() -> None:
    routes = encode_option("routes", "0.0.0.0/0 via 10.1.0.1")
    assert answered(ask(b"\x79"), options={3: b"\x0a\1\0\2", 121: routes}).options[121] == routes


def test_c16_only_who_asks_hears_of_option_108() -> None:
    options = OptionSet({108: bytes(4)}, forced=(108,))
    assert 108 not in answered(ask(b"\1"), options=options).options
    assert answered(ask(b"\x6c"), options=options).options[108] == bytes(4)


@pytest.mark.parametrize(("code", "value"), [(80, b""), (116, b"\1"), (118, b"\x0a\0\0\0")])
def test_c17_c19_reactions_go_to_who_sent_the_option(code: int, value: bytes) -> None:
    options = OptionSet({code: value}, forced=(code,))
    assert code not in answered(ask(bytes((code,))), options=options).options
    assert answered(ask(o0=b"", **{f"o{code}": value}), options=options).options[code] == value
    assert code not in answered(ask(**{f"o{code}": value + b"x"}), options=options).options, "A7"


def test_forced_options_are_sent_unrequested() -> None:
    assert answered(ask(b"\1"), options=OptionSet({66: b"tftp"}, forced=(66,))).options[66] == b"tftp"


def test_an_option_set_remembers_without_mixing_clients_up() -> None:
    options = OptionSet({6: b"\1\2\3\4", 15: b"x", 1: b"\xff\xff\0\0"})
    for wanted in (bytes((6, 15)), bytes((15,)), b"", bytes((6, 15))):
        plain = answered(ask(wanted), options=dict(options))
        assert answered(ask(wanted), options=options) == plain


def test_q13_boot_file_in_both_places() -> None:
    reply = answered(ask(b"\x43\x42"), boot_file=b"pxe.0", server_name=b"boot", next_server=9)
    assert (reply.file[:6], reply.sname[:5], reply.siaddr) == (b"pxe.0\0", b"boot\0", 9)
    assert (reply.options[67], reply.options[66]) == (b"pxe.0\0", b"boot\0")
    assert 67 not in answered(ask(b"\1"), boot_file=b"pxe.0").options


def test_q13_a_long_boot_file_goes_into_the_option() -> None:
    reply = answered(ask(b"\1"), boot_file=b"x" * 200)
    assert reply.options[67] == b"x" * 200 + b"\0"
    assert reply.file == bytes(128)


def test_c11_boot_data_keeps_its_fields() -> None:
    """RFC 2131 4.1: file and sname take options only when they are free."""
    filler = {code: bytes(50) for code in range(180, 190)}
    reply = build_reply(ask(bytes(filler)), c.OFFER, server_identifier=1, options=filler, boot_file=b"pxe.0")
    assert reply[108:114] == b"pxe.0\0"
    assert dict(o for o in BOOTP(reply)[DHCP].options if len(o) == 2)["dhcp-option-overload"] == 2


def test_c14_what_is_left_out_is_told() -> None:
    omitted: list[int] = []
    build_reply(ask(o82=b"\1" * 255), c.NAK, server_identifier=1, text=b"x" * 250, omitted=omitted)
    assert omitted == [82] or omitted == [56]


def test_long_values_are_split() -> None:
    """RFC 3396 6, C12."""
    assert pack_option(119, b"a" * 300) == b"\x77\xff" + b"a" * 255 + b"\x77\x2d" + b"a" * 45


def test_link_selection_and_relay_options() -> None:
    relay = b"\1\4port\5\4\x0a\1\0\0\x0b\4\x0a\1\0\1\x13\0"
    message = Message(giaddr=7, options={82: relay, 118: b"\x0a\2\0\0"})
    assert (message.link_selection, message.server_identifier_override) == (0x0A010000, 0x0A010001)
    assert message.subnet_selection == 0x0A020000
    assert Message(options={82: b"\5\3abc\x0b\0"}).link_selection is None, "A7"


@pytest.mark.parametrize(
    ("value", "classes"),
    [
        (b"", ()),
        (b"iPXE", (b"iPXE",)),
        (b"\4iPXE\3lab", (b"\4iPXE\3lab", b"iPXE", b"lab")),
        (b"\0\0", (b"\0\0",)),
        (b"\xff", (b"\xff",)),
        (b"\1a\5b", (b"\1a\5b", b"a")),
    ],
)
def test_user_classes_with_lengths_and_without(value: bytes, classes: tuple[bytes, ...]) -> None:
    assert Message(options={77: value}).user_classes == classes
