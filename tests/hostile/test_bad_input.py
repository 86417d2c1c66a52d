"""Known bad inputs, I1 to I36, by number. What is refused is counted under its reason; the next client is served.

Not here, because they are not about DHCP messages: I9 (tests/daemon/test_store_rows.py), I32 (tests/daemon/
test_control_abuse.py), I33 (tests/daemon/test_settings_file.py).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.policy import ClientClass, Conflicts, Limits, Network, Policy, Probe, Reservation, Subnet
from ddhcp.dhcp import Message, parse_udp_frame
from ddhcp.dhcp import constants as c
from segment import (
    EVERYBODY,
    NODE_ADDRESS,
    POOL,
    SERVER,
    SERVER_MAC,
    Segment,
    address,
    chaddr_of,
    discover,
    mac,
    request,
    say,
)

RELAY = address("10.9.0.1")
HEADER = Message(xid=1, chaddr=chaddr_of(1)).encode()[:240]


def still_serves(segment: Segment) -> bool:
    offer = segment.ask(discover(99))
    return segment.ask(request(99, o50=offer.address, o54=SERVER)).kind == c.ACK


def drops(segment: Segment) -> dict[str, int]:
    return {k.removeprefix("dhcp.drop."): v for k, v in segment.node.statistics().items() if k.startswith("dhcp.drop.")}


def survives(data: bytes, reason: str | None = None, policy: Policy | None = None, **where: int) -> Segment:
    """The segment after ``data``, which gives no exception, and which is dropped for ``reason`` if one is given."""
    segment = Segment(policy)
    segment.send(data, wait_s=0, **where)
    if reason is not None:
        assert drops(segment) == {reason: 1}
    assert still_serves(segment)
    return segment


# -- identities ----------------------------------------------------------------------------------------------


def test_i1_a_client_identifier_without_bytes_is_none() -> None:
    """CVE-2012-3571, CVE-2010-2156 [emptyClientId]"""
    segment = Segment()
    assert segment.lease(1, o61=b"") == segment.lease(1)


@pytest.mark.parametrize("client_id", [b"\xff", b"\xff\0\0\0\1", b"\xff" * 20, b"\1", b"\1" + mac(1) + b"x", b"\0" * 9])
def test_i2_identifiers_that_look_like_something_else(client_id: bytes) -> None:
    """CVE-2012-3570"""
    policy = Policy(reservations=(Reservation(duids=(b"\0\1x",)), Reservation(client_ids=(b"\0x",))))
    segment = Segment(policy)
    assert segment.lease(1, o61=client_id) == segment.lease(1, o61=client_id)


@pytest.mark.parametrize("size", [128, 129, 255])
def test_i3_long_identifiers_are_kept_whole(size: int) -> None:
    """CVE-2019-6472 [tooLongClientId]"""
    segment = Segment()
    segment.lease(1, o61=b"\0" * size)
    rows = [x.lease for x in segment.effects if isinstance(x, f.SaveLease)]
    assert [row.identity for row in rows] == [b"\0" * (size + 1)]
    survives(discover(o61=b"\0" * 256).encode(), "client-id-too-long")


# -- messages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too-short"),
        (b"\1", "too-short"),
        (HEADER[:239], "too-short"),
        (HEADER[:236] + b"\0\0\0\0", "bad-cookie"),
        (HEADER, "bootp"),
        (HEADER + b"\xff", "bootp"),
        (HEADER + b"\0" * 300, "bootp"),
        (b"\2" + HEADER[1:] + b"\x35\1\1\xff", "reply"),
        (b"\0" + HEADER[1:] + b"\x35\1\1\xff", "not-a-request"),
        (HEADER[:2] + b"\xff" + HEADER[3:] + b"\x35\1\1\xff", "hlen"),
        (HEADER[:1] + b"\0" + HEADER[2:] + b"\x35\1\1\xff", "hardware-address"),
        (HEADER + b"\x35\2\1\1\xff", "bad-message-type"),
        (HEADER + b"\x35\0\xff", "bad-message-type"),
        (HEADER + b"\x35\1\0\xff", "bad-message-type"),
        (HEADER + b"\x35\1\x63\xff", "message-type"),
    ],
)
def test_i4_i35_crafted_messages(data: bytes, reason: str) -> None:
    """CVE-2011-2748, CVE-2011-2749, CVE-2019-1212, CVE-2025-33050. Each is counted and logged with its reason (A18)."""
    segment = survives(data, reason)
    assert [line["reason"] for line in segment.logged("datagram-dropped")] == [reason]


@pytest.mark.parametrize(
    "frame",
    [
        b"", bytes(41), bytes(14) + b"\x45" + bytes(40),
        bytes(12) + b"\x08\x00\x4f" + bytes(8) + b"\x11" + bytes(30),
        bytes(12) + b"\x08\x00\x45\0\xff\xff" + bytes(5) + b"\x11" + bytes(30),
        bytes(12) + b"\x08\x00\x45\0\0\x1c" + bytes(5) + b"\x11" + bytes(14) + b"\xff\xff" + bytes(20),
        bytes(12) + b"\x08\x00\x45\0\0\x1c" + bytes(5) + b"\x11" + bytes(14) + b"\0\7" + bytes(20),
    ],
)  # fmt: skip
def test_i5_lengths_in_frames_that_do_not_add_up(frame: bytes) -> None:
    """CVE-2015-8605"""
    assert parse_udp_frame(frame) is None


def test_i6_nothing_is_kept_of_what_is_refused() -> None:
    """CVE-2018-5733, CVE-2022-2928: ten thousand bad packets of as many clients leave bounded traces."""
    segment = Segment(Policy(relays=(Network(RELAY),), leasequery_sources=(Network(RELAY),)))
    for number in range(10_000):
        client = b"\x02\0" + number.to_bytes(4, "big")
        segment.send(say(number % 20, client, giaddr=RELAY + number % 2, o50=number, o82=b"\1\xff"), wait_s=0)
        segment.effects.clear()
        segment.replies.clear()
    assert len(segment.node.leases()) <= POOL.address_count
    assert len(segment.node.statistics()) < 200


# -- names ---------------------------------------------------------------------------------------------------

BAD_NAMES = [
    b"\4\0\0\x40" + b"a" * 64, b"\4\0\0\0\0\0", b"\4\0\0\3ab", b"\4\0\0\xc0\3", b"\4\0\0\xc0\0", b"\4\0\0\1a\xc0\3",
    b"\0\0\0" + b"a" * 250, b"\0\0\0..", b"\4", b"\xff\xff\xff\xff",
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_NAMES)
def test_i7_bad_fqdns_cost_nobody_an_address(value: bytes) -> None:
    """A12, CVE-2022-2929: overlong, empty, unterminated labels, compression pointers, cycles."""
    segment = Segment(Policy(reservations=(Reservation(hostnames=(b"x",)),)))
    assert 81 not in segment.ask(discover(o81=value)).message.options


@pytest.mark.parametrize(
    "name", [b"", b"\0", b"a" * 255, b"a" * 256, b"-" * 70, b"\x01\x02", b"\xff\xfe", b" ", b"..."]
)
def test_i8_bad_host_names(name: bytes) -> None:
    """A12, CVE-2019-6473, CVE-2025-11232"""
    segment = Segment(Policy(reservations=(Reservation(hostnames=(b"x",)),)))
    segment.lease(1, o12=name)
    (kept,) = [lease.hostname for lease in segment.node.leases()]
    assert kept in (name.rstrip(b"\0"), b"")
    assert not any(byte < 32 for byte in kept)


@pytest.mark.parametrize("kind", [1, 3, 4, 7, 8, 10])
@pytest.mark.parametrize("to", [SERVER, EVERYBODY])
def test_i10_no_subnet_whatever_is_asked(kind: int, to: int) -> None:
    """CVE-2025-40779"""
    policy = Policy(
        subnets=(Subnet(Network(address("10.0.0.0"), 25)),),
        relays=(Network(0, 0),),
        leasequery_sources=(Network(0, 0),),
    )
    message = say(
        kind, ciaddr=RELAY, giaddr=RELAY, o50=5, o82=b"\5\4\1\2\3\4", o118=b"\7\7\7\7", o55=b"\x52", o81=b"\4\0\0\0"
    )
    segment = Segment(policy)
    segment.send(message, to=to, source=RELAY)
    assert [r.kind for r in segment.replies if r.kind != c.LEASEUNKNOWN] == []
    assert still_serves(segment)


HOSTILE_TEXTS = [
    b"a\nb",
    b"\x1b[2J",
    b"%s%n",
    b"'; rm -rf /",
    b"$(id)",
    b"<script>",
    b"a b",
    b"\r\n\r\n",
    "\u202e".encode(),
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_i11_i12_i13_i14_text_of_clients_reaches_neither_hooks_nor_log_names(text: bytes) -> None:
    """CVE-2002-0702, CVE-2011-0997, GHSA-hhmc-92hw-535f: hooks get addresses alone; log events are fixed names."""
    segment = Segment()
    bound = segment.lease(1, o12=text, o60=text, o77=text)
    segment.send(request(2, o50=bound, o54=SERVER, o12=text, o56=text))
    segment.send(say(c.RELEASE, 1, ciaddr=bound, o12=text))
    hooks = [x.arguments for x in segment.effects if isinstance(x, f.RunHook)]
    assert {word for hook in hooks for word in hook} <= {"lease", "release", "endlearning", "02:00:00:01:00:01"} | {
        f"10.0.0.{n}" for n in range(256)
    }
    for log in (x for x in segment.effects if isinstance(x, f.Log)):
        assert log.event.replace("-", "").isalpha()
        assert not any(isinstance(value, bytes) for value in log.fields.values())
        assert text.decode("latin-1") not in map(str, log.fields.values())


@pytest.mark.parametrize("size", [255, 4000])
def test_i15_very_long_names(size: int) -> None:
    segment = Segment()
    segment.lease(1, o12=b"a" * size, o81=b"\0\0\0" + b"a" * size)
    assert all(len(lease.hostname) <= 255 for lease in segment.node.leases())


@pytest.mark.parametrize("size", [0, 1, 100, 299, 575, 576, 65535])
def test_i16_maximum_sizes(size: int) -> None:
    """CVE-2007-5365"""
    segment = Segment(options=dict.fromkeys(range(200, 220), b"x" * 200))
    offer = segment.ask(discover(o57=size.to_bytes(2, "big"), o55=bytes(range(200, 220))))
    assert 300 <= len(offer.effect.payload) <= (1500 if size > 576 else 576) - 28


@pytest.mark.parametrize("code", [50, 51, 53, 54, 57, 58, 59, 80, 108, 116, 118])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 8, 255])
def test_i17_a_number_of_the_wrong_size_is_no_number(code: int, size: int) -> None:
    """CVE-2018-20679, CVE-2019-5747, rule A7."""
    sizes = {50: 4, 51: 4, 53: 1, 54: 4, 57: 2, 58: 4, 59: 4, 80: 0, 108: 4, 116: 1, 118: 4}
    if size == sizes[code]:
        return
    segment = Segment(Policy(rapid_commit=True))
    replies = segment.send(discover(**{f"o{code}": b"\xfe" * size}))
    if code == 53:
        assert replies == []
    else:
        assert [r.kind for r in replies] == [c.OFFER]
        assert replies[0].message.lease_time_s == 300


def test_i17_an_option_to_the_end_of_the_buffer() -> None:
    segment = Segment()
    assert segment.ask(HEADER + b"\x35\1\1" + b"\x0c\4host").kind == c.OFFER
    assert segment.ask(HEADER + b"\x35\1\1" + b"\x0c\5host").kind == c.OFFER
    assert segment.ask(HEADER + b"\x35\1\1" + b"\x0c").kind == c.OFFER


def test_i18_nothing_hides_behind_a_pad_or_an_end() -> None:
    """A3, RFC 2132 3.1 and RFC 2132 3.2. odhcpd read Pad and End as options with a length."""
    segment = Segment()
    assert segment.send(HEADER + b"\0\3\x35\1\1\xff") == [], "Pad is one byte: 3 is the option that follows"
    assert segment.ask(HEADER + b"\0\0\x35\1\1\xff").kind == c.OFFER
    assert segment.send(HEADER + b"\xff\3\x35\1\1") == []


@pytest.mark.parametrize(
    "value", [b"\1", b"\1\xff", b"\1\4ab", b"\1\0\2", b"\5\4\1\2", b"\x0b\4\1", b"\0\0\xff\xff", b"\1\xfa" + b"x" * 250]
)
@pytest.mark.parametrize("giaddr", [0, RELAY])
def test_i19_relay_information(value: bytes, giaddr: int) -> None:
    segment = Segment(Policy(relays=(Network(RELAY),), classes=(ClientClass("p", circuit_ids=(b"x",)),)))
    offer = segment.ask(discover(giaddr=giaddr, o82=value))
    assert offer.message.options[82] == value


def test_i19_too_much_relay_information_is_left_out() -> None:
    segment = Segment(Policy(relays=(Network(RELAY),)))
    offer = segment.ask(discover(giaddr=RELAY, o82=b"\1\xff" + b"x" * 255 + b"\2\xff" + b"x" * 255))
    assert 82 not in offer.message.options
    assert len(offer.effect.payload) <= 548
    assert segment.count("dhcp.options_omitted") == 1


def test_i19_two_options_82_are_one() -> None:
    segment = Segment(Policy(relays=(Network(RELAY),)))
    head = Message(xid=1, chaddr=chaddr_of(1), giaddr=RELAY).encode()[:240]
    offer = segment.ask(head + b"\x35\1\1\x52\3\1\1a\x52\3\2\1b\xff")
    assert offer.message.options[82] == b"\1\1a\2\1b"


@pytest.mark.parametrize("overload", [b"\0", b"\1", b"\2", b"\3", b"\4", b"\xff", b"", b"\1\1"])
@pytest.mark.parametrize("fill", [b"\xff", b"\0", b"\x34\1\3", b"\x0c\xff", b"\x35\1\7"])
def test_i20_overload(overload: bytes, fill: bytes) -> None:
    """Option 52 inside the fields is not obeyed; fields full of anything end."""
    fields = {"file": (fill * 128)[:128], "sname": (fill * 64)[:64]}
    message = discover(o52=overload, **fields)
    segment = Segment()
    segment.send(message)
    assert len(segment.replies) <= 1
    assert still_serves(segment)


@pytest.mark.parametrize("fragment", [b"\x0c\1a", b"\x0c\0", b"\x3d\2\0a", b"\x51\3\0\0\0", b"\x37\1\1"])
def test_i21_hundreds_of_fragments(fragment: bytes) -> None:
    data = HEADER + b"\x35\1\1" + fragment * 400
    segment = Segment()
    segment.send(data)
    assert still_serves(segment)


def test_i21_an_option_of_64_kilobytes() -> None:
    data = HEADER + b"\x35\1\1" + (b"\x0c\xff" + b"a" * 255) * 250
    assert Message.decode(data).options[12] == b"a" * 255 * 250
    assert Segment().ask(data).kind == c.OFFER


@pytest.mark.parametrize("code", [43, 124, 125, 175])
def test_i22_nested_lengths(code: int) -> None:
    survives(discover(**{f"o{code}": b"\1\xff\0\0\0\0"}).encode())


def test_i23_no_pattern_is_run_over_what_clients_send() -> None:
    """CVE-2011-4539: classes compare prefixes and whole values; long values cost no more than their length."""
    policy = Policy(classes=tuple(ClientClass(f"c{n}", vendor_prefixes=(b"a" * n + b"!",)) for n in range(1, 200)))
    assert Segment(policy).ask(discover(o60=b"a" * 60_000)).kind == c.OFFER


# -- behaviour -----------------------------------------------------------------------------------------------


def test_i24_forged_declines_and_releases() -> None:
    segment = Segment()
    bound = [segment.lease(client) for client in range(10, 20)]
    for address_ in bound:
        segment.send(say(c.DECLINE, 1, o50=address_), wait_s=0)
        segment.send(say(c.RELEASE, 1, ciaddr=address_), wait_s=0)
    assert {lease.state for lease in segment.node.leases()} == {"leased"}


def test_i25_random_macs_do_not_keep_others_from_an_address() -> None:
    segment = Segment(Policy(conflicts=Conflicts(probe=Probe.NEVER)))
    for number in range(2000):
        segment.send(discover(b"\x06\0" + number.to_bytes(4, "big")), wait_s=0)
        segment.pass_time(0.01)
    segment.pass_time(5)
    assert still_serves(segment)
    assert segment.count("dhcp.waiting") <= 4096


def test_i25_random_identifiers_under_one_mac() -> None:
    segment = Segment(Policy(limits=Limits(discover_per_s=0)))
    for number in range(300):
        segment.send(discover(1, o61=b"\0" + number.to_bytes(4, "big")), wait_s=0)
    assert len(segment.node.leases()) == 8
    assert still_serves(segment)


def test_i25_requests_that_name_other_servers() -> None:
    segment = Segment()
    for number in range(500):
        segment.send(request(1, o50=POOL.prefix + number % 256, o54=RELAY), wait_s=0)
    assert segment.replies == []
    assert segment.node.leases() == []


def test_i26_a_sweep_of_init_reboots_finds_little_and_takes_one_address() -> None:
    segment = Segment()
    segment.lease(50)
    for number in range(256):
        segment.send(request(1, o50=POOL.prefix + number), wait_s=0)
    assert sum(r.kind == c.NAK for r in segment.replies) <= 6
    assert len([lease for lease in segment.node.leases() if lease.chaddr == chaddr_of(1)]) <= 1


@pytest.mark.parametrize(
    "message",
    [
        discover(giaddr=RELAY), discover(giaddr=address("192.0.2.66")), request(ciaddr=address("192.0.2.66")),
        say(c.INFORM, ciaddr=address("192.0.2.66")), say(c.LEASEQUERY, giaddr=address("192.0.2.66")),
    ],
    ids=["relay", "victim as relay", "victim renews", "victim informs", "victim queries"],
)  # fmt: skip
def test_i27_no_reflection_beyond_our_networks(message: Message) -> None:
    segment = Segment()
    segment.send(message, source=address("192.0.2.66"))
    outside = [r for r in segment.replies if r.effect.address not in POOL and r.effect.address != EVERYBODY]
    assert outside == []


def test_i28_answers_of_another_server_raise_an_alarm_and_nothing_else() -> None:
    segment = Segment()
    reply = Message(op=2, chaddr=chaddr_of(1), yiaddr=5, options={53: b"\2", 54: b"\1\2\3\4"}).encode()
    for _ in range(50):
        segment.send(reply, source=RELAY, wait_s=0)
    assert segment.logged("foreign-dhcp-server") == [{"address": "10.9.0.1", "link": "client0"}]
    assert drops(segment) == {"reply": 50}


def test_i29_our_own_frames_looped_back() -> None:
    segment = Segment()
    payload = segment.ask(discover()).effect.payload
    segment.send(payload, source=SERVER)
    assert segment.logged("foreign-dhcp-server") == []
    segment.feed(e.SwarmReceived(b"anything", NODE_ADDRESS, True))
    assert segment.count("swarm.drop.own") == 1


@pytest.mark.parametrize("wanted", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_i30_lease_times(wanted: int) -> None:
    """CVE-2012-3955: the end of every lease is what was granted, and lies within what was promised."""
    segment = Segment()
    segment.lease(1, o51=wanted)
    (lease,) = segment.node.leases()
    granted_s = segment.replies[-1].message.lease_time_s or 0
    assert 60 <= granted_s <= 300
    assert lease.expires_at == segment.now + granted_s


ODD_ADDRESSES = [
    "0.0.0.0",
    "255.255.255.255",
    "127.0.0.1",
    "224.0.0.1",
    "10.0.0.0",
    "10.0.0.255",
    "10.0.0.1",
    "0.0.0.1",
]


@pytest.mark.parametrize("odd", ODD_ADDRESSES)
@pytest.mark.parametrize("kind", [c.DISCOVER, c.REQUEST, c.DECLINE, c.RELEASE, c.INFORM])
@pytest.mark.parametrize("where", ["o50", "ciaddr", "giaddr"])
def test_i31_odd_addresses(odd: str, kind: int, where: str) -> None:
    """A17, B7: nobody is given one of these, nor answered there."""
    segment = Segment(Policy(relays=(Network(0, 0),)))
    segment.send(say(kind, **{where: address(odd)}))
    for reply in segment.replies:
        assert reply.address != address(odd) or not reply.address
        assert reply.kind in (c.OFFER, c.ACK, c.NAK)
        if reply.effect.mac is not None and reply.effect.address != EVERYBODY:
            assert not reply.effect.mac[0] & 1
        assert reply.effect.address not in {address(one) for one in ODD_ADDRESSES} - {EVERYBODY} or kind == c.INFORM
    assert not {lease.address for lease in segment.node.leases()} & {address(one) for one in ODD_ADDRESSES}


@pytest.mark.parametrize(
    ("chaddr", "is_served"),
    [(bytes(6), False), (b"\xff" * 6, False), (b"\x01\0\x5e\0\0\1", False), (SERVER_MAC, True), (mac(1), True)],
    ids=["zeros", "broadcast", "multicast", "the server's own", "a client's"],
)
def test_i31_odd_hardware_addresses(chaddr: bytes, is_served: bool) -> None:
    segment = Segment()
    assert bool(segment.send(discover(chaddr))) is is_served
    assert all(not r.effect.mac[0] & 1 for r in segment.replies if r.effect.mac and r.effect.address != EVERYBODY)


def test_i34_relay_state_is_not_kept() -> None:
    """CVE-2017-14494, CVE-2022-0934: a relay costs a bounded cache of those configured."""
    segment = Segment(Policy(relays=(Network(address("10.8.0.0"), 16),)))
    for number in range(3000):
        segment.send(discover(1, giaddr=address("10.9.0.0") + number), wait_s=0)
    assert drops(segment) == {"relay-not-allowed": 3000}


# -- I36: any bytes at all -----------------------------------------------------------------------------------

SHARED = Segment(
    Policy(
        relays=(Network(0, 0),), leasequery_sources=(Network(0, 0),), rapid_commit=True,
        reservations=(Reservation((mac(1),), address=address("10.0.0.77")), Reservation(hostnames=(b"a",))),
        classes=(ClientClass("x", vendor_prefixes=(b"a",)), ClientClass("y", circuit_ids=(b"a",))),
        limits=Limits(discover_per_s=0, nak_per_s=0, total_nak_per_s=0),
    )
)  # fmt: skip
_OPTIONS = st.lists(
    st.tuples(st.integers(0, 255), st.binary(max_size=12) | st.binary(max_size=300)).map(
        lambda o: bytes((o[0], min(255, len(o[1])))) + o[1]
    ),
    max_size=12,
).map(b"".join)
_HEAD = st.builds(
    lambda kind, ciaddr, giaddr, chaddr, flags, hlen, options: Message(
        hlen=hlen, flags=flags, ciaddr=ciaddr, giaddr=giaddr, chaddr=chaddr.ljust(16, b"\0"),
        options={53: bytes((kind,))},
    ).encode()[:-1] + options,
    st.integers(0, 20), st.sampled_from([0, 0, RELAY, POOL.prefix + 9, EVERYBODY]) | st.integers(0, 0xFFFFFFFF),
    st.sampled_from([0, 0, RELAY, POOL.prefix + 1]), st.binary(max_size=16), st.sampled_from([0, 0x8000]),
    st.integers(0, 20), _OPTIONS,
)  # fmt: skip


@settings(max_examples=1500)
@given(
    data=_HEAD | st.binary(max_size=600), source=st.integers(0, 0xFFFFFFFF),
    to=st.sampled_from([SERVER, EVERYBODY]), wait_s=st.sampled_from([0.0, 0.0, 0.3, 20.0]),
)  # fmt: skip
def test_i36_no_datagram_raises_and_every_answer_is_sound(data: bytes, source: int, to: int, wait_s: float) -> None:
    SHARED.replies.clear()
    SHARED.effects.clear()
    SHARED.send(data, source=source, to=to, wait_s=0)
    SHARED.pass_time(wait_s)
    for reply in SHARED.replies:
        assert reply.message.op == c.BOOTREPLY
        assert 300 <= len(reply.effect.payload) <= 1500 - 28
        assert reply.effect.address != 0
        assert reply.kind in (c.OFFER, c.ACK, c.NAK, c.LEASEACTIVE, c.LEASEUNKNOWN, c.LEASEUNASSIGNED)
        assert not reply.address or (reply.address in POOL and reply.address & 0xFF not in (0, 1, 255))
        if reply.address == address("10.0.0.77"):
            assert reply.message.chaddr[:6] == mac(1)
    holders = [(lease.address, lease.chaddr) for lease in SHARED.node.leases() if lease.state == "leased"]
    assert len({one for one, _ in holders}) == len(holders)
