"""DISCOVER, REQUEST, RELEASE, DECLINE, INFORM: rules B, D, E, F by number. Names in brackets are those of Kea's unit
tests that ask for the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddhcp.core import Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.announcing import MAX_TIMEOUT_S, PROMISE_MARGIN_S
from ddhcp.core.policy import LONGEST_GRANT_S, Broadcast, Conflicts, Limits, Network, Policy, Probe, Profile
from ddhcp.dhcp import constants as c
from segment import EVERYBODY, POOL, SERVER, Segment, address, chaddr_of, discover, mac, request, say

OTHER = address("192.0.2.7")
UNPROBED = Policy(conflicts=Conflicts(probe=Probe.NEVER))


# -- DISCOVER ------------------------------------------------------------------------------------------------


def test_b1_the_current_binding_comes_first() -> None:
    """RFC 2131 4.3.1."""
    segment = Segment()
    bound = segment.lease()
    assert segment.ask(discover(o50=bound + 1)).address == bound


def test_b2_the_former_binding_comes_next() -> None:
    """RFC 2131 4.3.1."""
    segment = Segment()
    bound = segment.lease()
    segment.send(say(c.RELEASE, ciaddr=bound))
    assert segment.ask(discover(o50=bound + 1)).address == bound


def test_b2_unless_somebody_else_has_it_by_now() -> None:
    segment = Segment()
    bound = segment.lease(1)
    segment.send(say(c.RELEASE, 1, ciaddr=bound))
    assert segment.ask(discover(2, o50=bound)).address == bound
    assert segment.ask(discover(1)).address != bound


def test_b3_then_what_the_client_asks_for() -> None:
    """RFC 2131 4.3.1."""
    segment = Segment()
    index = POOL.index_of(segment.ask(discover(9)).address)
    wanted = POOL.first_address(index) + 17
    assert segment.ask(discover(o50=wanted)).address == wanted


@pytest.mark.parametrize("hint", ["0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "10.0.0.0", "10.0.0.255",
                                  "10.0.0.1", "192.168.1.1"])  # fmt: skip
def test_b3_i31_a_hint_that_cannot_be_is_ignored(hint: str) -> None:
    """[DiscoverInvalidHint]"""
    segment = Segment()
    offered = segment.ask(discover(o50=address(hint))).address
    assert offered != address(hint)
    assert offered in POOL


def test_b6_a_server_that_forgot_everything_offers_the_same_address_again() -> None:
    offered = [Segment().ask(discover(client)).address for client in (1, 2, 3, 1, 2, 3)]
    assert offered[:3] == offered[3:]
    assert len(set(offered)) == 3


def test_b6_the_longest_unused_address_is_used_again_first() -> None:
    segment = Segment(UNPROBED, pool=Pool(POOL.prefix, 29, 8))
    held = {client: segment.lease(client) for client in range(1, 6)}
    for client in (3, 1, 5):
        segment.send(say(c.RELEASE, client, ciaddr=held[client]))
    assert [segment.lease(client) for client in (11, 12, 13)] == [held[3], held[1], held[5]]


def test_b7_never_the_edges_of_a_24_in_a_larger_pool() -> None:
    """Q21."""
    segment = Segment(UNPROBED, pool=Pool(address("10.0.0.0"), 22, 128))
    for client in range(1, 600):
        segment.send(discover(client), wait_s=0)
    segment.pass_time(4)
    offered = {reply.address for reply in segment.replies}
    assert len(offered) > 500
    assert not {one & 0xFF for one in offered} & {0, 255}


def test_b7_never_network_broadcast_server_or_router() -> None:
    segment = Segment(UNPROBED, pool=Pool(POOL.prefix, 29, 8), options={3: address("10.0.0.2").to_bytes(4, "big")})
    offered = {reply.address for client in range(1, 12) for reply in segment.send(discover(client))}
    assert offered == {POOL.prefix + n for n in (3, 4, 5, 6)}


def test_b9_a_repeated_discover_gets_the_same_offer() -> None:
    """RFC 2131 4.3.1: nobody else is offered it before the client has reacted."""
    segment = Segment()
    assert segment.ask(discover(xid=1)).address == segment.ask(discover(xid=2)).address


def test_b10_without_an_address_there_is_no_answer_and_the_reason_is_known() -> None:
    segment = Segment(UNPROBED, pool=Pool(POOL.prefix, 30, 4))
    segment.lease(1)
    for _ in range(3):
        assert segment.send(discover(2), wait_s=0) == []
    assert segment.why(2) == ("waiting", "no-free-address")
    assert segment.count("dhcp.no_address") == 3
    waiting = {"mac": mac(2).hex(":").upper(), "network": str(Network(POOL.prefix, 30)), "link": "client0"}
    assert segment.logged("client-waiting")[-1:] == [waiting]
    assert len(segment.logged("client-waiting")) == 1, "once, however often it asks"


def test_b10_who_waits_is_offered_the_first_address_that_becomes_free() -> None:
    segment = Segment(UNPROBED, pool=Pool(POOL.prefix, 30, 4))
    bound = segment.lease(1)
    segment.send(discover(2), wait_s=0)
    (reply,) = segment.send(say(c.RELEASE, 1, ciaddr=bound))
    assert (reply.kind, reply.message.chaddr, reply.address) == (c.OFFER, chaddr_of(2), bound)


def test_many_discovers_of_one_client_take_one_address() -> None:
    """[ManyDiscovers], S14."""
    segment = Segment()
    assert len({segment.ask(discover(xid=number)).address for number in range(10)}) == 1


# -- REQUEST -------------------------------------------------------------------------------------------------


def test_d1_selecting_commits_before_the_ack_leaves() -> None:
    """RFC 2131 3.1 step 4, RFC 2131 2.1, H1."""
    segment = Segment()
    offer = segment.ask(discover())
    segment.effects.clear()
    ack = segment.ask(request(o50=offer.address, o54=SERVER))
    assert (ack.kind, ack.address) == (c.ACK, offer.address)
    rows = [x for x in segment.effects if isinstance(x, f.SaveLease)]
    assert [row.lease.address for row in rows] == [offer.address]
    assert ack.effect.durable
    assert segment.effects.index(rows[0]) < segment.effects.index(ack.effect)


def test_d1_selecting_another_free_address_than_was_offered() -> None:
    """[selectingRequestNonMatchingAddress] What may be granted is."""
    segment = Segment()
    offered = segment.ask(discover()).address
    other = offered + 1 if POOL.index_of(offered + 1) == POOL.index_of(offered) else offered - 1
    assert segment.ask(request(o50=other, o54=SERVER)).kind == c.ACK
    assert segment.ask(discover(2, o50=offered)).address == offered


def test_d2_another_server_was_chosen() -> None:
    """RFC 2131 4.3.2, M3: silence, and the offer is free again. Never a NAK: clients restart for ever (Q3)."""
    segment = Segment()
    offered = segment.ask(discover()).address
    assert segment.send(request(o50=OTHER, o54=OTHER)) == []
    assert segment.ask(discover(2, o50=offered)).address == offered
    assert segment.why(1) == ("ignored", "other-server-chosen")


def test_d3_selecting_what_is_taken() -> None:
    """RFC 2131 3.1 step 4."""
    segment = Segment()
    taken = segment.lease(2)
    nak = segment.ask(request(1, o50=taken, o54=SERVER))
    assert (nak.kind, segment.why(1)) == (c.NAK, ("refused", "in-use"))


def test_d4_a_repeated_request_is_acknowledged_again() -> None:
    segment = Segment()
    offered = segment.ask(discover()).address
    first = segment.ask(request(o50=offered, o54=SERVER))
    second = segment.ask(request(o50=offered, o54=SERVER))
    assert (first.address, second.address) == (offered, offered)
    assert segment.count("ddhcp.blocks.ours") == 1
    assert [lease.state for lease in segment.node.leases()] == ["leased"]


@pytest.mark.parametrize("wanted", ["192.168.7.9", "10.0.1.5", "255.255.255.255", "127.0.0.1"])
def test_d5_init_reboot_on_the_wrong_network(wanted: str) -> None:
    """RFC 2131 3.2 step 2 [initRebootRequest]"""
    segment = Segment()
    assert segment.ask(request(o50=address(wanted))).kind == c.NAK
    assert segment.why(1) == ("refused", "wrong-network")


def test_d5_not_authoritative() -> None:
    """F9 [notAuthoritative]"""
    segment = Segment(Policy(authoritative=False))
    assert segment.send(request(o50=address("192.168.7.9"))) == []


def test_d6_init_reboot_of_a_known_client() -> None:
    """RFC 2131 4.3.2."""
    segment = Segment()
    bound = segment.lease()
    assert segment.ask(request(o50=bound)).kind == c.ACK
    other = bound + 1 if POOL.index_of(bound + 1) == POOL.index_of(bound) else bound - 1
    assert segment.ask(request(o50=other)).kind == c.NAK


def test_d7_init_reboot_of_an_unknown_client() -> None:
    """RFC 2131 4.3.2: silence. Authoritative: a free address is granted again, as after the loss of the store
    [authoritative]."""
    segment = Segment()
    known = segment.ask(discover(9)).address
    wanted = POOL.first_address(POOL.index_of(known)) + 9
    assert segment.ask(request(2, o50=wanted)).kind == c.ACK
    silent = Segment(Policy(authoritative=False))
    assert silent.send(request(2, o50=wanted)) == []
    assert silent.why(2) == ("ignored", "unknown-client")


def test_d7_m2_an_address_of_a_block_that_is_nobodys() -> None:
    """RFC 2131 4.3.2. Its owner may be out of earshot: silence, whoever asks."""
    segment = Segment()
    index = POOL.index_of(segment.lease())
    foreign = POOL.first_address((index + 1) % POOL.block_count) + 5
    assert segment.send(request(2, o50=foreign)) == []
    assert segment.send(request(2, ciaddr=foreign)) == []
    assert segment.why(2) == ("ignored", "owner-unknown")


@pytest.mark.parametrize("to", [SERVER, EVERYBODY], ids=["renewing", "rebinding"])
def test_d8_d9_renewing_and_rebinding(to: int) -> None:
    """RFC 2131 4.3.2: ciaddr is trusted, and the answer goes there (E3) [ciaddr]"""
    segment = Segment()
    bound = segment.lease()
    segment.pass_time(100)
    ack = segment.ask(request(ciaddr=bound), source=bound, to=to)
    assert (ack.kind, ack.address, ack.message.ciaddr, ack.message.lease_time_s) == (c.ACK, bound, bound, 300)
    assert (ack.effect.address, ack.effect.port, ack.effect.mac) == (bound, 68, None)


def test_d8_renewing_what_somebody_else_has() -> None:
    segment = Segment()
    bound = segment.lease(2)
    assert segment.ask(request(1, ciaddr=bound), source=bound, to=SERVER).kind == c.NAK


def test_d8_renewing_an_unknown_lease_without_authority() -> None:
    """F9: a NAK to who asked this server alone, nothing to who asked everybody."""
    segment = Segment(Policy(authoritative=False))
    wanted = POOL.first_address(POOL.index_of(segment.ask(discover(9)).address)) + 9
    assert segment.ask(request(1, ciaddr=wanted), source=wanted, to=SERVER).kind == c.NAK
    assert segment.send(request(1, ciaddr=wanted), source=wanted) == []


def test_d11_a_request_that_names_no_address() -> None:
    """[directClientNoCiaddr]"""
    segment = Segment()
    assert segment.send(request()) == []
    bound = segment.lease()
    assert segment.ask(request()).address == bound


def test_d13_a_selecting_client_that_fills_ciaddr() -> None:
    """RFC 2131 4.3.2 wants zero there; it is ignored (A13)."""
    segment = Segment()
    offered = segment.ask(discover()).address
    ack = segment.ask(request(ciaddr=offered, o54=SERVER))
    assert (ack.kind, ack.address, ack.message.ciaddr) == (c.ACK, offered, 0)


# -- where it goes -------------------------------------------------------------------------------------------


def test_e2_e7_a_nak_is_broadcast_and_says_no_more_than_it_may() -> None:
    """RFC 2131 4.1, RFC 2131 4.3.2, and RFC 2131 4.3.1, Table 3."""
    segment = Segment(options={3: b"\x0a\0\0\1", 15: b"x"})
    taken = segment.lease(2)
    nak = segment.ask(request(1, o50=taken, o54=SERVER, o55=bytes((1, 3, 15)), o61=b"\0id"))
    assert (nak.effect.address, nak.effect.mac) == (EVERYBODY, b"\xff" * 6)
    assert sorted(nak.message.options) == [53, 54, 56, 61]
    assert (nak.message.yiaddr, nak.message.siaddr, nak.message.ciaddr) == (0, 0, 0)


def test_e4_e5_broadcast_and_frames() -> None:
    """RFC 2131 4.1."""
    segment = Segment()
    asked = segment.ask(discover(1, flags=0x8000))
    assert (asked.effect.address, asked.effect.mac, asked.message.flags) == (EVERYBODY, b"\xff" * 6, 0x8000)
    plain = segment.ask(discover(2))
    assert (plain.effect.address, plain.effect.mac) == (plain.address, mac(2))


@pytest.mark.parametrize(
    ("mode", "flags", "is_broadcast"), [(Broadcast.ALWAYS, 0, True), (Broadcast.NEVER, 0x8000, False)]
)
def test_e10_switches(mode: Broadcast, flags: int, is_broadcast: bool) -> None:
    segment = Segment(Policy(everyone=Profile(broadcast=mode)))
    assert (segment.ask(discover(flags=flags)).effect.mac == b"\xff" * 6) is is_broadcast


def test_e8_replies_leave_from_the_links_own_address() -> None:
    segment = Segment(options={54: address("10.0.0.3").to_bytes(4, "big")})
    offer = segment.ask(discover())
    assert (offer.effect.source, offer.message.server_identifier) == (SERVER, address("10.0.0.3"))


# -- RELEASE, DECLINE, INFORM --------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [{}, {"o54": SERVER}], ids=["without server identifier", "with it"])
def test_f1_release(named: dict[str, int]) -> None:
    """RFC 2131 4.3.4: no answer, and what was known of the client is kept."""
    segment = Segment()
    bound = segment.lease()
    assert segment.send(say(c.RELEASE, ciaddr=bound, **named)) == []
    assert [lease.state for lease in segment.node.leases()] == ["released"]


@pytest.mark.parametrize(
    ("client", "fields"),
    [(2, {}), (1, {"o61": b"\0other"}), (1, {"o54": OTHER}), (1, {"ciaddr": address("10.0.0.77")}), (1, {"ciaddr": 0})],
    ids=["HWAddress", "ClientId", "server", "IPAddress", "no address"],
)
def test_f1_i24_a_release_that_does_not_match(client: int, fields: dict[str, object]) -> None:
    """[releaseNonMatching...]"""
    segment = Segment()
    bound = segment.lease(1, o61=b"\0one")
    segment.send(say(c.RELEASE, client, **({"ciaddr": bound, "o61": b"\0one" if client == 1 else b"\0two"} | fields)))
    assert [lease.state for lease in segment.node.leases()] == ["leased"]
    assert segment.count("dhcp.drop.release-of-no-lease") == 1


def test_f1_a_second_release_changes_nothing() -> None:
    """[releaseAlreadyReleased]"""
    segment = Segment()
    bound = segment.lease()
    segment.send(say(c.RELEASE, ciaddr=bound))
    segment.send(say(c.RELEASE, ciaddr=bound))
    assert segment.count("dhcp.drop.release-of-no-lease") == 1


def test_f2_a_released_address_is_not_the_next_to_go() -> None:
    segment = Segment()
    bound = segment.lease(1)
    segment.send(say(c.RELEASE, 1, ciaddr=bound))
    assert segment.ask(discover(2)).address != bound


def test_f3_f5_a_declined_address_is_left_alone_and_the_client_gets_another() -> None:
    """RFC 2131 4.3.3: marked, and the administrator is told."""
    segment = Segment()
    bound = segment.lease()
    assert segment.send(say(c.DECLINE, o50=bound, o54=SERVER)) == []
    assert [lease.state for lease in segment.node.leases()] == ["declined"]
    other = segment.lease()
    assert other != bound
    assert segment.ask(discover(2, o50=bound)).address != bound
    assert segment.logged("address-declined")


@pytest.mark.parametrize("client", [1, 2])
def test_f3_i24_only_its_holder_may_decline(client: int) -> None:
    """[declineAfterRelease]"""
    segment = Segment()
    bound = segment.lease(1)
    if client == 1:
        segment.send(say(c.RELEASE, 1, ciaddr=bound))
    segment.send(say(c.DECLINE, client, o50=bound))
    assert segment.count("dhcp.drop.decline-of-no-lease") == 1
    assert segment.count("dhcp.declined") == 0


def test_f3_declining_an_expired_lease() -> None:
    """[declineAfterExpire]"""
    segment = Segment()
    bound = segment.lease()
    segment.pass_time(301)
    segment.send(say(c.DECLINE, o50=bound))
    assert segment.count("dhcp.declined") == 0


def test_f4_probation_ends_after_minutes() -> None:
    segment = Segment(UNPROBED)
    bound = segment.lease()
    segment.send(say(c.DECLINE, o50=bound))
    segment.pass_time(601)
    assert segment.ask(discover(2, o50=bound)).address == bound


def test_f4_i24_a_client_that_walks_through_the_pool_takes_three_addresses_out() -> None:
    """Q15."""
    segment = Segment(Policy(conflicts=Conflicts(max_declined_share=1)))
    tried = []
    for _ in range(12):
        tried.append(segment.lease())
        segment.send(say(c.DECLINE, o50=tried[-1]))
        segment.pass_time(2)
    assert segment.count("dhcp.declined") == 3
    assert all(tried[n] != tried[n + 1] for n in range(11)), "F5"


def test_f4_no_more_than_a_share_is_declined() -> None:
    segment = Segment(Policy(conflicts=Conflicts(max_declined_share=0.1)))
    for client in range(1, 20):
        bound = segment.lease(client)
        segment.send(say(c.DECLINE, client, o50=bound))
    assert segment.count("dhcp.declined") <= 7


def test_f4_conflicts_survive_a_restart() -> None:
    segment = Segment()
    bound = segment.lease()
    segment.send(say(c.DECLINE, o50=bound))
    (row,) = [x.lease for x in segment.effects if isinstance(x, f.SaveLease) and x.lease.state == "declined"]
    assert (row.address, row.expires_at) == (bound, segment.now - 0.25 + 600)


def test_e6_f6_inform() -> None:
    """RFC 2131 3.4, RFC 2131 4.3.5: options to ciaddr, no lease, no yiaddr, nothing allocated."""
    segment = Segment(options={15: b"mesh"})
    ack = segment.ask(say(c.INFORM, ciaddr=address("10.0.0.200"), o55=bytes((15, 51, 58))))
    assert (ack.kind, ack.address, ack.effect.address) == (c.ACK, 0, address("10.0.0.200"))
    assert not {51, 58, 59} & ack.message.options.keys()
    assert ack.message.options[15] == b"mesh"
    assert segment.node.leases() == []


def test_e6_i27_inform_from_elsewhere_is_not_answered() -> None:
    segment = Segment()
    assert segment.send(say(c.INFORM, ciaddr=OTHER)) == []
    assert segment.why(1) == ("ignored", "inform-from-elsewhere")
    assert segment.ask(say(c.INFORM), source=address("10.0.0.9")).effect.address == address("10.0.0.9")


# -- lease times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "granted"),
    [(None, 600), (0, 120), (1, 120), (119, 120), (300, 300), (3600, 3600), (3601, 3600), (0x7FFFFFFF, 3600),
     (0x80000000, 3600), (0xFFFFFFFF, 3600)],
)  # fmt: skip
def test_c9_i30_negotiation(wanted: int | None, granted: int) -> None:
    """RFC 2131 4.3.1, 3.3. For ever is not to be had."""
    segment = Segment(Policy(everyone=Profile(min_lease_s=120, max_lease_s=3600)), lease_time_s=600)
    options = {} if wanted is None else {"o51": wanted}
    offer = segment.ask(discover(**options))
    ack = segment.ask(request(o50=offer.address, o54=SERVER, **options))
    assert (offer.message.lease_time_s, ack.message.lease_time_s) == (granted, granted)


@pytest.mark.parametrize("wanted", [None, 1_000_000, 0xFFFFFFFF])
def test_c9_no_lease_is_longer_than_a_block_is_promised_for(wanted: int | None) -> None:
    """C7: what is offered is what is granted, and the operator is told."""
    segment = Segment(Policy(everyone=Profile(max_lease_s=2_000_000)), lease_time_s=604_800)
    options = {} if wanted is None else {"o51": wanted}
    offer = segment.ask(discover(**options)).message
    ack = segment.ask(request(o50=offer.yiaddr, o54=SERVER, **options)).message
    assert (offer.lease_time_s, ack.lease_time_s) == (LONGEST_GRANT_S, LONGEST_GRANT_S)
    assert segment.logged("lease-time-limited") == [{"configured": 2_000_000, "seconds": LONGEST_GRANT_S}]
    assert LONGEST_GRANT_S == MAX_TIMEOUT_S - PROMISE_MARGIN_S


def test_a_lease_time_that_a_reload_makes_too_long_is_told() -> None:
    segment = Segment()
    segment.feed(e.Reconfigure(replace(segment.config, lease_time_s=604_800)))
    assert segment.logged("lease-time-limited") == [{"configured": 604_800, "seconds": LONGEST_GRANT_S}]
    assert segment.ask(discover()).message.lease_time_s == LONGEST_GRANT_S


def test_c7_a_lease_is_as_long_as_it_was_offered() -> None:
    """Also in a block whose lapse was promised for less when it was offered."""
    segment = Segment(lease_time_s=3600)
    offer = segment.ask(discover()).message
    ack = segment.ask(request(o50=offer.yiaddr, o54=SERVER)).message
    assert offer.lease_time_s == ack.lease_time_s == 3600


def test_c8_timers_are_spread_and_in_order() -> None:
    """RFC 2131 4.4.5, in OFFER too."""
    segment = Segment(UNPROBED, lease_time_s=1000)
    offers = [segment.ask(discover(client)).message for client in range(1, 25)]
    assert all(0 < (o.t1_s or 0) < (o.t2_s or 0) < 1000 for o in offers)
    assert len({o.t1_s for o in offers}) > 10
    assert all(450 <= (o.t1_s or 0) <= 500 and 825 <= (o.t2_s or 0) <= 875 for o in offers)


@pytest.mark.parametrize("lease_s", range(1, 12))
def test_c8_timers_of_the_shortest_leases_are_in_order_or_not_there(lease_s: int) -> None:
    """RFC 2131 4.4.5."""
    segment = Segment(UNPROBED, lease_time_s=lease_s)
    for client in range(1, 9):
        offer = segment.ask(discover(client)).message
        timers = (offer.t1_s, offer.t2_s)
        assert timers == (None, None) or 0 < (offer.t1_s or 0) < (offer.t2_s or 0) < lease_s


# -- rapid commit and IPv6-only ------------------------------------------------------------------------------


def test_c17_rapid_commit() -> None:
    """RFC 4039 4, M10: an ACK with option 80, only to who asks, only when switched on."""
    segment = Segment(Policy(rapid_commit=True))
    ack = segment.ask(discover(o80=b""))
    assert (ack.kind, ack.message.options[80], ack.effect.durable) == (c.ACK, b"", True)
    assert [lease.state for lease in segment.node.leases()] == ["leased"]
    assert segment.ask(discover(2)).kind == c.OFFER
    assert Segment().ask(discover(o80=b"")).kind == c.OFFER


def test_c16_q8_ipv6_only() -> None:
    """RFC 8925 3.3 [v6OnlyPreferred]: only where set, only to who asks; no address is spent on it."""
    segment = Segment(Policy(everyone=Profile(v6only_wait_s=0)))
    offer = segment.ask(discover(o55=bytes((1, 108))))
    assert (offer.kind, offer.address, offer.message.options[108]) == (c.OFFER, 0, bytes(4))
    assert segment.node.leases() == []
    plain = segment.ask(discover(2, o55=b"\1"))
    assert plain.address
    assert 108 not in plain.message.options
    assert 108 not in Segment().ask(discover(o55=bytes((1, 108)))).message.options


# -- identity ------------------------------------------------------------------------------------------------


def test_g1_g2_client_identifiers() -> None:
    """D12: same hardware, new identifier."""
    segment = Segment()
    first = segment.lease(1, o61=b"\0a")
    assert segment.lease(1, o61=b"\0b") != first, "two identifiers are two clients"
    assert segment.lease(2, o61=b"\0a") == first, "[changingHWAddress]"


def test_g2_an_identifier_that_repeats_the_hardware_address_is_none() -> None:
    segment = Segment()
    assert segment.lease(1, o61=b"\1" + mac(1)) == segment.lease(1)


def test_g4_ignore_client_id() -> None:
    """[ignoreChangingClientId], Q11."""
    segment = Segment(Policy(ignore_client_id=True))
    assert segment.lease(1, o61=b"\0a") == segment.lease(1, o61=b"\0b") == segment.lease(1)


def test_two_allocations_do_not_overlap() -> None:
    """[twoAllocationsOverlap, oneAllocationOverlap]: one client by identifier, another by hardware address."""
    segment = Segment()
    first = segment.lease(1, o61=b"\0a")
    second = segment.lease(2)
    third = segment.lease(2, o61=b"\0a")
    assert first == third != second


@pytest.mark.parametrize(("echoes", "expected"), [(True, b"\0id"), (False, None)])
def test_c4_echo(echoes: bool, expected: bytes | None) -> None:
    """RFC 6842 3, Q20."""
    segment = Segment(Policy(echo_client_id=echoes))
    offer = segment.ask(discover(o61=b"\0id"))
    ack = segment.ask(request(o50=offer.address, o54=SERVER, o61=b"\0id"))
    nak = segment.ask(request(o50=address("192.168.0.1"), o61=b"\0id"))
    assert [x.message.options.get(61) for x in (offer, ack, nak)] == [expected] * 3
    assert 61 not in segment.ask(discover(2)).message.options


# -- limits --------------------------------------------------------------------------------------------------


def test_w11_identities_of_one_hardware_address_are_capped() -> None:
    """I25."""
    segment = Segment(Policy(limits=Limits(identities_per_mac=4)))
    answered = [bool(segment.send(discover(1, o61=b"\0" + bytes((n,))), wait_s=0)) for n in range(10)]
    assert answered == [True] * 4 + [False] * 6
    assert segment.why(1) == ("ignored", "too-many-identities")
    assert segment.ask(discover(2)).kind == c.OFFER


def test_w11_discovers_of_one_client_are_limited() -> None:
    segment = Segment()
    assert sum(len(segment.send(discover(1, xid=n), wait_s=0)) for n in range(100)) == 20
    assert segment.why(1) == ("ignored", "discover-rate")
    segment.pass_time(1)
    assert segment.ask(discover(1)).kind == c.OFFER


def test_i26_naks_are_limited() -> None:
    """A sweep through the pool: who is bound?"""
    segment = Segment()
    for other in range(10, 20):
        segment.lease(other)
    bound = [lease.address for lease in segment.node.leases()]
    answers = [segment.send(request(1, o50=one, xid=n), wait_s=0) for n in range(3) for one in bound]
    assert sum(map(len, answers)) == 5
    assert segment.why(1) == ("ignored", "nak-rate")


def test_i25_offers_that_nobody_takes_up_make_room() -> None:
    """B9: RFC 2131 3.1 step 4, before they lapse."""
    segment = Segment(UNPROBED)
    for client in range(1000, 1300):  # the whole pool, by clients that are none
        segment.send(discover(client), wait_s=0)
        segment.pass_time(0.1)
    segment.pass_time(1)
    bound = segment.lease(1)
    assert bound in POOL
    assert segment.count("dhcp.offers_recycled") > 0


def test_500_phones_at_once_are_all_served() -> None:
    """W11: the limits are harmless to a crowd. Each asks every 4 s until it has a lease."""
    segment = Segment(pool=Pool(address("10.0.0.0"), 20, 32))
    bound: dict[bytes, int] = {}
    for _ in range(8):
        for client in range(1, 501):
            if chaddr_of(client) not in bound:
                segment.send(discover(client), wait_s=0)
        segment.pass_time(4)
        for offer in segment.replies[:]:
            if offer.kind == c.OFFER and offer.message.chaddr not in bound:
                client = int.from_bytes(offer.message.chaddr[4:6], "big")
                ack = segment.ask(request(client, o50=offer.address, o54=SERVER))
                bound[offer.message.chaddr] = ack.address
        segment.replies.clear()
    assert len(bound) == len(set(bound.values())) == 500
    assert segment.logged("client-ignored") == []


@pytest.mark.parametrize("value", [b"", b"\x0a", b"\x0a\0\0\3\4", bytes(255)])
@pytest.mark.parametrize("code", [51, 54])
def test_what_an_operator_sets_does_not_keep_clients_from_being_served(code: int, value: bytes) -> None:
    """Lease time and server identifier are numbers of four bytes: what is none changes nothing."""
    segment = Segment()
    segment.feed(e.SetOption(code, value))
    offer = segment.ask(discover()).message
    assert (offer.server_identifier, offer.lease_time_s) == (SERVER, 300)
    segment.feed(e.SetOption(54, address("10.0.0.3").to_bytes(4, "big")))
    assert segment.ask(discover()).message.server_identifier == address("10.0.0.3")


# -- what is read and not obeyed -------------------------------------------------------------------------------


def test_a14_a_discover_that_names_a_server_is_served() -> None:
    """Table 5 forbids it."""
    assert Segment().ask(discover(o54=OTHER)).kind == c.OFFER


@pytest.mark.parametrize("secs", [0, 1, 256, 65535])
def test_a16_secs_changes_nothing(secs: int) -> None:
    assert Segment().ask(discover(secs=secs, hops=16)).message.secs == 0


def test_c18_a_name_is_completed_with_the_domain() -> None:
    """RFC 4702 4 [fqdn]: no DNS updates (N), the client's encoding, response codes 255."""
    segment = Segment(options={15: b"mesh.example"})
    assert segment.ask(discover(o81=b"\4\0\0\3foo")).message.options[81] == b"\x0c\xff\xff\3foo\4mesh\7example\0"
    assert segment.ask(discover(2, o81=b"\1\0\0foo")).message.options[81] == b"\x0a\xff\xfffoo.mesh.example."
    assert 81 not in segment.ask(discover(3)).message.options
