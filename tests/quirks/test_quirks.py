"""Quirks of real clients, Q1 to Q24: the packet that such a client sends, and that it is served nevertheless."""

from __future__ import annotations

import pytest
from scapy.layers.dhcp import BOOTP, DHCP

from ddhcp.core import Pool
from ddhcp.core.policy import ClientClass, Conflicts, Policy, Probe, Profile, Reservation
from ddhcp.dhcp import Message, parse_udp_frame, suboptions, udp_frame, vendor_identifying
from ddhcp.dhcp import constants as c
from segment import EVERYBODY, POOL, SERVER, Segment, address, chaddr_of, discover, mac, request, say

ELSEWHERE = address("192.168.178.1")


def test_q1_networkmanager_sends_discover_with_its_old_address_in_ciaddr() -> None:
    """A13: it gets an offer, and not at that address (E3)."""
    segment = Segment()
    offer = segment.ask(discover(ciaddr=address("192.168.1.23"), o61=b"\1" + mac(1), o55=bytes((1, 3, 6))))
    assert (offer.kind, offer.message.ciaddr) == (c.OFFER, 0)
    assert (offer.effect.address, offer.effect.mac) == (offer.address, mac(1)), "not to the bogus ciaddr (E3)"


def test_q2_n_dhcp4_compares_xid_chaddr_and_client_id() -> None:
    segment = Segment()
    asked = discover(xid=0xDEADBEEF, o61=b"\xff\1\2\3\4\0\4" + bytes(16))
    offer = segment.ask(asked).message
    assert (offer.xid, offer.hlen, offer.chaddr, offer.options[61]) == (0xDEADBEEF, 6, asked.chaddr, asked.options[61])


def test_q2_it_refuses_offers_of_other_addresses_than_its_old_one() -> None:
    segment = Segment()
    bound = segment.lease()
    segment.pass_time(301)
    assert segment.ask(discover(o50=bound)).address == bound


@pytest.mark.parametrize("known", [True, False])
def test_q3_no_nak_to_who_chose_another_server(known: bool) -> None:
    """iPXE, n-dhcp4, Zephyr start over at any NAK and never bind."""
    segment = Segment()
    if known:
        segment.ask(discover())
    assert segment.send(request(o50=address("10.0.0.9"), o54=ELSEWHERE)) == []
    assert segment.send(request(o50=address("192.168.178.20"), o54=ELSEWHERE)) == []


def test_q4_a_nak_comes_at_once_and_from_the_address_it_names() -> None:
    """Zephyr looks at a NAK's source; without a NAK a client loses half a minute."""
    segment = Segment()
    nak = segment.ask(request(o50=address("192.168.178.20")), wait_s=0)
    assert (nak.kind, nak.message.server_identifier, nak.effect.source) == (c.NAK, SERVER, SERVER)


def test_q5_what_is_offered_is_granted() -> None:
    """systemd-networkd looped DISCOVER, OFFER, REQUEST, NAK without a pause."""
    segment = Segment(Policy(reservations=(Reservation((mac(3),), address=address("10.0.0.77")),)))
    for client in range(1, 30):
        for reply in segment.send(discover(client, o50=address("10.0.0.77"))):
            assert segment.ask(request(client, o50=reply.address, o54=SERVER)).kind == c.ACK


def test_q6_no_reply_is_shorter_than_300_bytes() -> None:
    segment = Segment()
    bound = segment.lease()
    segment.send(request(2, o50=bound, o54=SERVER))
    segment.send(say(c.INFORM, ciaddr=bound))
    assert {r.kind for r in segment.replies} == {c.OFFER, c.ACK, c.NAK}
    assert min(len(r.effect.payload) for r in segment.replies) >= 300


def test_q7_end_is_there_and_pads_come_only_behind_it() -> None:
    segment = Segment()
    area = segment.ask(discover()).effect.payload[240:]
    position = 0
    while area[position] != 255:
        assert area[position] != 0, "a Pad before End upsets old U-Boot"
        position += 2 + area[position + 1]
    assert not any(area[position + 1 :])


def test_q8_no_option_108_unless_it_is_meant() -> None:
    """Android rightly gives up IPv4 at a value of 0."""
    asked = discover(o55=bytes((1, 3, 6, 15, 26, 28, 51, 58, 59, 43, 114, 108)))
    assert 108 not in Segment().ask(asked).message.options


@pytest.mark.parametrize(("flags", "mac_to"), [(0x8000, b"\xff" * 6), (0, mac(1))])
def test_q9_the_broadcast_flag_is_obeyed_and_copied_back(flags: int, mac_to: bytes) -> None:
    segment = Segment()
    offer = segment.ask(discover(flags=flags))
    assert (offer.effect.mac, offer.message.flags) == (mac_to, flags)


def test_q10_lwip_sends_its_client_id_only_until_it_is_bound() -> None:
    segment = Segment()
    bound = segment.lease(1, o61=b"\1" + mac(1), o12=b"esp32")
    other = segment.lease(2, o61=b"\0esp", o12=b"esp32")
    for client, held in ((1, bound), (2, other)):
        ack = segment.ask(request(client, ciaddr=held), source=held, to=SERVER)
        assert (ack.kind, ack.address) == (c.ACK, held)
    assert segment.ask(discover(2, o61=b"\0esp")).address == other, "it is still the client that it was"


def test_q10_a_renewal_that_brings_the_host_name_at_last() -> None:
    segment = Segment()
    bound = segment.lease()
    segment.send(request(ciaddr=bound, o12=b"late"))
    assert [lease.hostname for lease in segment.node.leases()] == [b"late"]


def test_q10_a_stored_lease_of_another_network() -> None:
    """It keeps a NAKed address unless the NAK reaches it: by broadcast."""
    segment = Segment()
    nak = segment.ask(request(ciaddr=address("192.168.4.2")), source=address("192.168.4.2"))
    assert (nak.kind, nak.effect.address) == (c.NAK, EVERYBODY)


def test_q11_rom_loader_and_system_under_one_mac() -> None:
    """Two identifiers are two leases, one that repeats the MAC shares one of them (G2); with ignore-client-id one."""
    identifiers = [b"\0" + bytes(16), b"\1" + mac(1), b"\xff" + bytes(4) + b"\0\1duid"]
    apart, together = Segment(), Segment(Policy(ignore_client_id=True))
    assert len({apart.lease(1, o61=i) for i in identifiers}) == 2
    assert len({together.lease(1, o61=i) for i in identifiers}) == 1


def test_q11_a_reservation_by_mac_holds_whatever_identifier_comes() -> None:
    segment = Segment(Policy(reservations=(Reservation((mac(1),), hostname=b"box"),)))
    assert segment.ask(discover(1, o61=b"\xff\0\0\0\1\0\4" + bytes(16))).message.options[12] == b"box"


@pytest.mark.parametrize(("sent", "expected"), [(b"PC\0", b"mesh\0"), (b"PC", b"mesh")])
def test_q12_strings_end_in_nul_for_who_ends_its_own_so(sent: bytes, expected: bytes) -> None:
    segment = Segment(options={15: b"mesh"})
    assert segment.ask(discover(o12=sent, o55=b"\x0f")).message.options[15] == expected
    segment.send(request(o50=segment.replies[-1].address, o54=SERVER, o12=sent))
    assert [lease.hostname for lease in segment.node.leases()] == [b"PC"]


def test_q12_boot_file_and_server_name_end_in_nul() -> None:
    """UEFI firmware reads on and asks TFTP for "name\\xff"."""
    segment = Segment(Policy(everyone=Profile(boot_file=b"ipxe.efi", server_name=b"boot", next_server=5)))
    message = segment.ask(discover(o55=bytes((66, 67)))).message
    assert (message.options[67], message.options[66]) == (b"ipxe.efi\0", b"boot\0")


def test_q13_pxe_fields_in_offer_and_ack_without_a_vendor_class() -> None:
    """The ACK says what the OFFER said (C7)."""
    pxe = ClientClass("pxe", vendor_prefixes=(b"PXEClient",), profile=Profile(boot_file=b"pxe.0", next_server=5))
    segment = Segment(Policy(classes=(pxe,)))
    asked = {"o60": b"PXEClient:Arch:00000:UNDI:002001", "o55": bytes((1, 3, 60, 66, 67))}
    offer = segment.ask(discover(**asked))
    ack = segment.ask(request(o50=offer.address, o54=SERVER, **asked))
    for message in (offer.message, ack.message):
        assert (message.siaddr, message.file.rstrip(b"\0"), message.options[67]) == (5, b"pxe.0", b"pxe.0\0")
        assert 60 not in message.options
    assert segment.ask(discover(2)).message.file == bytes(128)


def test_q14_checksums_are_complete_and_those_of_others_are_not_looked_at() -> None:
    """A15, E9."""
    frame = udp_frame(mac(1), mac(2), SERVER, POOL.prefix + 9, 67, 68, b"payload")
    assert int.from_bytes(frame[40:42], "big") != 0
    partial = frame[:40] + b"\x12\x34" + frame[42:]
    read = parse_udp_frame(partial)
    assert read is not None
    assert read.payload == b"payload"


def test_q15_an_apple_that_declines_everything() -> None:
    segment = Segment(Policy(conflicts=Conflicts(probe=Probe.NEVER)))
    for _ in range(30):
        segment.send(say(c.DECLINE, o50=segment.lease(), o54=SERVER))
        segment.pass_time(1)
    assert segment.count("dhcp.declined") <= 3
    assert segment.lease(2)


def test_q16_a_new_mac_for_every_connection() -> None:
    """G5: they never come back. With leases of minutes the pool outlives them, oldest first."""
    segment = Segment(Policy(conflicts=Conflicts(probe=Probe.NEVER)), pool=Pool(POOL.prefix, 26, 32))
    for client in range(300):
        segment.lease(client)
        segment.pass_time(10)
    assert segment.count("ddhcp.blocks.ours") <= 2


def test_q17_a_roamed_client_that_sends_nothing_but_its_renewal() -> None:
    """M1, M2: the renewal is unicast to a server identifier that is answered in every realm."""
    segment = Segment()
    bound = segment.lease()
    segment.pass_time(150)
    assert segment.ask(request(ciaddr=bound), source=bound, to=SERVER).kind == c.ACK


@pytest.mark.parametrize("fields", [{"o12": b""}, {"o12": b"\0"}, {"o81": b"\0\0\0"}, {"o81": b"\4\0\0\0"},
                                    {"o81": b"\4\0\0\1a\0\1b"}, {"o60": b""}, {"o81": b""}])  # fmt: skip
def test_q18_empty_names_labels_and_classes(fields: dict[str, bytes]) -> None:
    segment = Segment()
    bound = segment.lease(1, **fields)
    segment.send(say(c.DECLINE, o50=bound, **fields))
    assert segment.count("dhcp.declined") == 1


def test_q19_a_server_identifier_in_every_reply_and_none_in_siaddr() -> None:
    segment = Segment()
    bound = segment.lease()
    segment.send(request(2, o50=bound, o54=SERVER))
    assert all(r.message.server_identifier == SERVER and r.message.siaddr == 0 for r in segment.replies)


def test_q20_an_echo_for_most_and_none_for_old_devices() -> None:
    assert Segment().ask(discover(o61=b"\0id")).message.options[61] == b"\0id"
    assert 61 not in Segment(Policy(echo_client_id=False)).ask(discover(o61=b"\0id")).message.options


def test_q21_windows_toggles_the_broadcast_flag_and_cannot_use_dot_zero() -> None:
    segment = Segment(pool=Pool(address("10.0.0.0"), 22, 128))
    first, second = segment.ask(discover(flags=0)), segment.ask(discover(flags=0x8000, xid=8))
    assert first.address == second.address
    assert first.address & 0xFF not in (0, 255)


def test_q22_a_phone_from_another_network_gets_a_fast_nak_and_no_configuration_in_it() -> None:
    segment = Segment(options={3: b"\x0a\0\0\1"})
    nak = segment.ask(request(o50=address("192.168.1.77"), o55=bytes((1, 3, 6, 51))), wait_s=0)
    assert (nak.kind, sorted(nak.message.options)) == (c.NAK, [53, 54, 56])


def test_q23_dhcpcd_sends_more_options_than_some_can_take() -> None:
    unknown = {f"o{code}": bytes((code,)) * 20 for code in range(160, 224)}
    segment = Segment()
    offer = segment.ask(discover(o55=bytes(range(1, 120)), o145=b"\1", o57=(1500).to_bytes(2, "big"), **unknown))
    assert offer.kind == c.OFFER
    assert not set(range(160, 224)) & offer.message.options.keys()


def test_q24_nested_options_are_read_on_demand_only() -> None:
    """iPXE's 175, vendor 43, CPEWAN's 124 and 125: whatever is in them, the client is served."""
    nested = {"o175": b"\xb1\x05\1\x80\x86", "o43": b"\1\xff\0\0\0\0", "o124": b"\0\0\x0d\xe9\xff", "o125": b"\0\0\0"}
    assert Segment().ask(discover(**nested)).kind == c.OFFER
    assert suboptions(nested["o175"], has_pad_and_end=True) == {}
    assert vendor_identifying(nested["o125"]) == {}


def test_scapy_reads_the_whole_conversation() -> None:
    segment = Segment(options={3: b"\x0a\0\0\1", 6: b"\x0a\0\0\1", 15: b"mesh"})
    segment.lease(1, o55=bytes((1, 3, 6, 15)), o12=b"host", o61=b"\1" + mac(1))
    kinds = []
    for reply in segment.replies:
        options = dict(x[:2] for x in BOOTP(reply.effect.payload)[DHCP].options if isinstance(x, tuple))
        kinds.append(options["message-type"])
        assert (options["router"], options["name_server"], options["domain"]) == ("10.0.0.1", "10.0.0.1", b"mesh")
    assert kinds == [c.OFFER, c.ACK]
    assert Message.decode(segment.replies[0].effect.payload).chaddr == chaddr_of(1)
