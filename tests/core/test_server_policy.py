"""Relays, subnets, reservations, classes, deny lists, probes and lease queries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddhcp.core import NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.policy import (
    AddressRange,
    ClientClass,
    Conflicts,
    Limits,
    Network,
    Policy,
    Probe,
    Profile,
    Reservation,
    Subnet,
)
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from segment import POOL, SERVER, SERVER_MAC, Segment, address, chaddr_of, discover, mac, request, say

RELAY = address("10.9.0.1")
RELAYED = Policy(relays=(Network(RELAY),))
BIG = Pool(address("10.0.0.0"), 20, 32)
WARD, LAB = Network(address("10.0.4.0"), 24), Network(address("10.0.5.0"), 24)
SUBNETS = Policy(
    subnets=(
        Subnet(
            WARD, "ward", ranges=(AddressRange(address("10.0.4.100"), address("10.0.4.199")),),
            routers=(address("10.0.4.150"),), relays=(Network(address("10.0.4.1")),),
            profile=Profile({15: b"ward"}, lease_time_s=900),
        ),
        Subnet(LAB, "lab", relays=(Network(address("10.0.5.1")),)),
    )
)  # fmt: skip


def option(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value


# -- relays --------------------------------------------------------------------------------------------------


def test_i27_only_configured_relays_are_answered() -> None:
    """Whoever is not served is told apart by a reason (A18)."""
    segment = Segment(RELAYED)
    assert segment.send(discover(giaddr=address("10.9.0.2"))) == []
    assert segment.why(1) == ("ignored", "relay-not-allowed")
    assert segment.ask(discover(giaddr=RELAY)).kind == c.OFFER


def test_a17_our_own_address_is_no_relay() -> None:
    segment = Segment(Policy(relays=(Network(0, 0),)))
    assert segment.send(discover(giaddr=SERVER)) == []
    assert segment.why(1) == ("ignored", "own-giaddr")


def test_e1_c14_relayed_answers() -> None:
    """RFC 2131 4.1, RFC 3046 2.2 [relayAgentInfoEcho]: to the relay's port 67, option 82 last and unaltered."""
    segment = Segment(RELAYED)
    information = option(1, b"port 7") + option(2, b"")
    offer = segment.ask(discover(giaddr=RELAY, o82=information, o61=b"\0id"))
    assert (offer.effect.address, offer.effect.port, offer.effect.mac) == (RELAY, 67, None)
    assert (offer.message.giaddr, offer.message.options[82]) == (RELAY, information)
    assert list(offer.message.options)[-1] == 82
    ack = segment.ask(request(giaddr=RELAY, o50=offer.address, o54=SERVER, o82=information, o61=b"\0id"))
    assert ack.message.options[82] == information
    nak = segment.ask(request(giaddr=RELAY, o50=address("192.168.0.1"), o82=information, o61=b"\0id"))
    assert (nak.effect.address, nak.effect.port, nak.message.flags, nak.message.options[82]) == (
        RELAY, 67, 0x8000, information,
    )  # fmt: skip


def test_c14_relay_and_what_it_added_are_logged() -> None:
    """RFC 3046 3.1: an operator finds the port of a client that was served, and of one that was not."""
    segment = Segment(Policy(relays=(Network(RELAY),), denied=frozenset({mac(3)})))
    added = {"giaddr": RELAY, "o82": option(1, b"port 7") + option(2, b"")}
    offer = segment.ask(discover(**added))
    segment.ask(request(o50=offer.address, o54=SERVER, **added))
    segment.ask(request(o50=address("192.168.0.1"), **added))
    segment.send(discover(3, **added))
    segment.lease(4)
    told = [segment.logged(event)[0] for event in ("lease-granted", "lease-refused", "client-ignored")]
    assert [(x["relay"], x["relay_info"]) for x in told] == [("10.9.0.1", "1=706f72742037, 2=")] * 3
    assert "relay" not in segment.logged("lease-granted")[-1]


def test_c3_any_address_of_the_server_names_it() -> None:
    """M1. RFC 2131 4.1: those of its other links too, and none that is not its own."""
    segment = Segment()
    elsewhere = address("172.16.0.1")
    segment.feed(e.ClientLinkUp(e.ClientLink("client1", elsewhere, 24, SERVER_MAC)))
    offer = segment.ask(discover())
    assert segment.ask(request(o50=offer.address, o54=elsewhere)).kind == c.ACK
    assert segment.send(request(o50=offer.address, o54=elsewhere + 1)) == []


def test_c3_a_configured_server_identifier_names_it() -> None:
    """M1: the same on every node, so that a client that moved renews at the node it came to."""
    anycast = address("172.16.0.1")
    segment = Segment(options={c.OPT_SERVER_ID: anycast.to_bytes(4, "big")})
    offer = segment.ask(discover())
    assert offer.message.server_identifier == anycast
    ack = segment.ask(request(o50=offer.address, o54=anycast))
    assert (ack.kind, ack.message.server_identifier) == (c.ACK, anycast)


def test_c3_server_identifier_override() -> None:
    """RFC 5107: option 54 as the relay wants it, which then names us."""
    segment = Segment(RELAYED)
    information = option(11, RELAY.to_bytes(4, "big"))
    offer = segment.ask(discover(giaddr=RELAY, o82=information))
    assert offer.message.server_identifier == RELAY
    ack = segment.ask(request(giaddr=RELAY, o50=offer.address, o54=RELAY, o82=information))
    assert (ack.kind, ack.message.server_identifier) == (c.ACK, RELAY)


@pytest.mark.parametrize("kind", [c.RELEASE, c.DECLINE])
def test_c3_who_gives_back_names_the_server_as_the_relay_wants_it(kind: int) -> None:
    segment = Segment(RELAYED)
    information = option(11, RELAY.to_bytes(4, "big"))
    offer = segment.ask(discover(giaddr=RELAY, o82=information))
    segment.ask(request(giaddr=RELAY, o50=offer.address, o54=RELAY, o82=information))
    address = {"ciaddr": offer.address} if kind == c.RELEASE else {"o50": offer.address}
    segment.send(say(kind, giaddr=RELAY, o54=RELAY, o82=information, **address))
    (lease,) = segment.node.leases()
    assert lease.state == ("released" if kind == c.RELEASE else "declined")


def test_c14_option_82_without_a_relay_is_returned_and_believed_nothing() -> None:
    """RFC 3046 2.2: a relay that passes unicast on may have added it; nothing is expected of it."""
    policy = Policy(classes=(ClientClass("port", circuit_ids=(b"a",), deny=True),))
    segment = Segment(policy)
    offer = segment.ask(discover(o82=option(1, b"a") + option(11, RELAY.to_bytes(4, "big"))))
    assert (offer.message.options[82], offer.message.server_identifier) == (
        option(1, b"a") + option(11, RELAY.to_bytes(4, "big")), SERVER,
    )  # fmt: skip


# -- subnets -------------------------------------------------------------------------------------------------


def subnets(policy: Policy = SUBNETS) -> Segment:
    return Segment(policy, pool=BIG, link=e.ClientLink("client0", SERVER, 20, SERVER_MAC))


def offered(segment: Segment, **fields: object) -> object:
    """A relayed client's offer, once its subnet's block is claimed."""
    segment.send(discover(7, **fields), wait_s=0)
    segment.pass_time(4)
    return segment.replies[-1].message


def test_b11_a_subnet_of_its_own_by_giaddr() -> None:
    """RFC 2131 4.3.1: an address of the subnet that giaddr stands for (B4)."""
    segment = subnets()
    message = offered(segment, giaddr=address("10.0.4.1"), o55=bytes((1, 3, 15, 28)))
    assert address("10.0.4.100") <= message.yiaddr <= address("10.0.4.199")  # type: ignore[attr-defined]
    options = segment.replies[-1].message.options
    assert options[1] == bytes((255, 255, 255, 0))
    assert options[28] == address("10.0.4.255").to_bytes(4, "big")
    assert options[3] == address("10.0.4.150").to_bytes(4, "big")
    assert options[15] == b"ward"
    assert segment.replies[-1].message.lease_time_s == 900
    ack = segment.ask(request(7, giaddr=address("10.0.4.1"), o50=segment.replies[-1].address, o54=SERVER))
    assert ack.kind == c.ACK


@pytest.mark.parametrize(
    ("fields", "network"),
    [
        ({"giaddr": address("10.0.5.1")}, LAB),
        ({"giaddr": address("10.0.4.1"), "o82": option(5, address("10.0.5.0").to_bytes(4, "big"))}, LAB),
        ({"giaddr": address("10.0.4.1"), "o118": address("10.0.5.0")}, LAB),
        ({"o118": address("10.0.4.0")}, WARD),
    ],
    ids=["giaddr", "link selection (RFC 3527)", "subnet selection (RFC 3011)", "subnet selection on the link"],
)
def test_b11_order(fields: dict[str, object], network: Network) -> None:
    """RFC 3527 3, RFC 3011 2, RFC 2131 4.3.1."""
    segment = subnets()
    message = offered(segment, **fields)
    assert message.yiaddr in network  # type: ignore[attr-defined]
    if "o118" in fields:
        assert message.options[118] == int(str(fields["o118"])).to_bytes(4, "big"), "echoed"  # type: ignore[attr-defined]


def test_i10_no_subnet_no_answer() -> None:
    policy = Policy(subnets=SUBNETS.subnets, relays=(Network(RELAY),))
    segment = subnets(policy)
    assert segment.send(discover(giaddr=RELAY)) == []
    assert segment.why(1) == ("ignored", "no-subnet")
    assert segment.send(request(giaddr=RELAY, o50=5, o12=b"x", o81=b"\4\0\0", o61=b"\0x")) == []


def test_clients_of_the_link_are_not_given_addresses_of_subnets() -> None:
    segment = subnets()
    for client in range(1, 200):
        segment.send(discover(client), wait_s=0)
    segment.pass_time(8)
    assert len(segment.replies) > 150
    assert not [r for r in segment.replies if r.address in WARD or r.address in LAB]


def test_d5_an_address_of_another_subnet_is_refused() -> None:
    segment = subnets()
    ward = offered(segment, giaddr=address("10.0.4.1")).yiaddr  # type: ignore[attr-defined]
    assert segment.ask(request(7, giaddr=address("10.0.5.1"), o50=ward)).kind == c.NAK
    assert segment.why(7) == ("refused", "wrong-network")


def test_a_client_that_moves_to_another_subnet_gets_an_address_there() -> None:
    segment = subnets()
    first = offered(segment, giaddr=address("10.0.4.1")).yiaddr  # type: ignore[attr-defined]
    segment.ask(request(7, giaddr=address("10.0.4.1"), o50=first, o54=SERVER))
    second = offered(segment, giaddr=address("10.0.5.1")).yiaddr  # type: ignore[attr-defined]
    assert (first in WARD, second in LAB) == (True, True)


def test_b7_addresses_of_relays_and_routers_are_not_leased() -> None:
    """Neither offered nor granted, though nothing but the list of relays and option 3 name them."""
    ward = Subnet(
        Network(address("10.0.4.0"), 27), relays=(Network(address("10.0.4.1")),),
        profile=Profile({3: address("10.0.4.2").to_bytes(4, "big")}),
    )  # fmt: skip
    segment = subnets(Policy(subnets=(ward,), conflicts=Conflicts(probe=Probe.NEVER)))
    for client in range(1, 40):
        segment.send(discover(client, giaddr=address("10.0.4.1")), wait_s=0)
    segment.pass_time(4)
    assert {reply.address for reply in segment.replies} == {address("10.0.4.0") + n for n in range(3, 31)}
    for taken in ("10.0.4.1", "10.0.4.2"):
        assert segment.ask(request(50, giaddr=address("10.0.4.1"), o50=address(taken))).kind == c.NAK


def test_renewing_past_the_relay() -> None:
    """The client's unicast comes by way of a router; its subnet is that of its address."""
    segment = subnets()
    bound = offered(segment, giaddr=address("10.0.4.1")).yiaddr  # type: ignore[attr-defined]
    segment.ask(request(7, giaddr=address("10.0.4.1"), o50=bound, o54=SERVER))
    ack = segment.ask(request(7, ciaddr=bound, o55=b"\1"), source=bound, to=SERVER)
    assert (ack.kind, ack.effect.address, ack.message.options[1]) == (c.ACK, bound, bytes((255, 255, 255, 0)))


# -- reservations --------------------------------------------------------------------------------------------

RESERVED = address("10.0.0.77")


@pytest.mark.parametrize(
    ("reservation", "fields"),
    [
        (Reservation((mac(5), mac(1)), address=RESERVED), {}),
        (Reservation((mac(1),), address=RESERVED), {"o61": b"\xff\0\0\0\1\0\3duid"}),
        (Reservation(client_ids=(b"\0box",), address=RESERVED), {"o61": b"\0box"}),
        (Reservation(client_ids=(b"\1" + mac(1),), address=RESERVED), {"o61": b"\1" + mac(1)}),
        (Reservation(client_ids=(b"\1" + mac(1),), address=RESERVED), {}),
        (Reservation(duids=(b"\0\3duid",), address=RESERVED), {"o61": b"\xff\0\0\0\1\0\3duid"}),
        (Reservation(hostnames=(b"Printer",), address=RESERVED), {"o12": b"printer\0"}),
        (Reservation(hostnames=(b"printer",), address=RESERVED), {"o81": b"\4\0\0\7printer\4mesh\0"}),
    ],
    ids=[
        "one of its MACs",
        "MAC beside DUID",
        "client id",
        "MAC as client id",
        "the same unsent",
        "DUID",
        "name",
        "FQDN",
    ],
)
def test_b5_g3_a_host_gets_its_reserved_address(reservation: Reservation, fields: dict[str, object]) -> None:
    """The block that holds the address is claimed for it."""
    segment = Segment(Policy(reservations=(reservation,)))
    segment.send(discover(1, **fields), wait_s=0)
    segment.pass_time(4)
    assert [r.address for r in segment.replies] == [RESERVED]
    ack = segment.ask(request(1, o50=RESERVED, o54=SERVER, **fields))
    assert (ack.kind, ack.address) == (c.ACK, RESERVED)
    assert segment.ask(request(1, ciaddr=RESERVED, **fields)).kind == c.ACK


def reserved(**fields: object) -> Segment:
    """A segment whose node owns the block of the reserved address, of client 1."""
    reservation = Reservation((mac(1),), address=RESERVED, **fields)  # type: ignore[arg-type]
    segment = Segment(Policy(reservations=(reservation,), conflicts=Conflicts(probe=Probe.NEVER)))
    segment.send(discover(1), wait_s=0)
    segment.pass_time(16)  # the offer lapses
    return segment


def test_nobody_else_is_offered_a_reserved_address() -> None:
    segment = reserved()
    assert segment.ask(discover(2, o50=RESERVED)).address != RESERVED
    nak = segment.ask(request(3, o50=RESERVED, o54=SERVER))
    assert (nak.kind, segment.why(3)) == (c.NAK, ("refused", "reserved-for-another"))
    for client in range(10, 100):
        segment.send(discover(client), wait_s=0)
    segment.pass_time(4)
    assert RESERVED not in {r.address for r in segment.replies[1:] if r.kind == c.OFFER}


def test_an_identifier_that_its_host_once_sent_does_not_win_a_reserved_address() -> None:
    """The reservation is by hardware address; whoever comes with another one is somebody else, and is offered nothing
    that it would then be refused (Q5)."""
    segment = reserved()
    segment.lease(1, o61=b"\0copied")
    assert segment.ask(request(2, o61=b"\0copied", xid=9)).kind == c.NAK
    offer = segment.ask(discover(2, o61=b"\0copied"))
    assert offer.address != RESERVED
    assert segment.ask(request(2, o50=offer.address, o54=SERVER, o61=b"\0copied")).kind == c.ACK


def test_b5_a_reserved_address_in_use_is_not_waited_for() -> None:
    """[reservationsWithConflicts]"""
    segment = reserved()
    segment.lease(1)
    segment.send(say(c.DECLINE, 1, o50=RESERVED))
    assert segment.ask(discover(1)).address != RESERVED
    assert segment.logged("reservation-unavailable")


def test_d10_a_host_that_was_given_a_reservation_is_moved_to_it() -> None:
    """NAK at INIT-REBOOT, and the next DISCOVER does give the reserved address: no loop (Q5)."""
    segment = reserved()
    reservation = Reservation((mac(2),), address=RESERVED - 1)
    segment.pass_time(1)
    before = segment.lease(2)
    policy = Policy(reservations=(*segment.config.policy.reservations, reservation))
    segment.feed(e.Reconfigure(NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, policy=policy)))
    assert segment.ask(request(2, ciaddr=before)).kind == c.ACK, "whoever renews may go on"
    nak = segment.ask(request(2, o50=before))
    assert (nak.kind, segment.why(2)) == (c.NAK, ("refused", "another-reserved"))
    assert segment.lease(2) == RESERVED - 1


def test_reservations_take_effect_without_restart_and_end_so() -> None:
    """W2."""
    segment = reserved()
    segment.feed(e.Reconfigure(NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False)))
    assert segment.ask(discover(2, o50=RESERVED)).address == RESERVED


def test_w2_a_name_and_options_without_an_address() -> None:
    reservation = Reservation((mac(1),), hostname=b"printer", profile=Profile({6: b"\1\2\3\4"}, lease_time_s=7200))
    segment = Segment(Policy(reservations=(reservation,)))
    offer = segment.ask(discover(1, o55=b"\6"))
    assert (offer.message.options[12], offer.message.options[6], offer.message.lease_time_s) == (
        b"printer", b"\1\2\3\4", 7200,
    )  # fmt: skip
    assert 12 not in segment.ask(discover(2, o55=b"\6")).message.options


def test_denied_hosts() -> None:
    policy = Policy(
        reservations=(Reservation((mac(1),), deny=True),), denied=frozenset((mac(2),)),
        classes=(ClientClass("toys", mac_prefixes=(b"\x02\xff",), deny=True),),
    )  # fmt: skip
    segment = Segment(policy)
    for client, reason in ((1, "denied-host"), (2, "denied"), (b"\x02\xff\0\0\0\1", "denied-class")):
        assert segment.send(discover(client)) == []
        assert segment.why(client) == ("ignored", reason)
    assert segment.ask(discover(3)).kind == c.OFFER


# -- classes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "fields", "is_member"),
    [
        (ClientClass("x", vendor_prefixes=(b"PXE", b"udhcp")), {"o60": b"udhcp 1.36"}, True),
        (ClientClass("x", vendor_prefixes=(b"PXE",)), {"o60": b"xPXE"}, False),
        (ClientClass("x", vendor_prefixes=(b"PXE",)), {}, False),
        (ClientClass("x", user_classes=(b"iPXE",)), {"o77": b"iPXE"}, True),
        (ClientClass("x", user_classes=(b"iPXE",)), {"o77": b"\3abc\4iPXE"}, True),
        (ClientClass("x", mac_prefixes=(b"\x02\0\0\1",)), {}, True),
        (ClientClass("x", mac_prefixes=(b"\x02\1",)), {}, False),
        (ClientClass("x", circuit_ids=(b"7",)), {"giaddr": RELAY, "o82": option(1, b"7")}, True),
        (ClientClass("x", circuit_ids=(b"7",)), {"o82": option(1, b"7")}, False),
        (ClientClass("x", remote_ids=(b"sw1",), circuit_ids=(b"7",)), {"giaddr": RELAY, "o82": option(1, b"7")}, False),
    ],
)  # fmt: skip
def test_classes_by_what_their_members_send(each: ClientClass, fields: dict[str, object], is_member: bool) -> None:
    each = ClientClass(
        "x", each.vendor_prefixes, each.user_classes, each.mac_prefixes, each.circuit_ids, each.remote_ids,
        Profile({15: b"class"}),
    )  # fmt: skip
    segment = Segment(Policy(classes=(each,), relays=(Network(RELAY),)), options={15: b"everyone"})
    offer = segment.ask(discover(1, o55=b"\x0f", **fields))
    assert offer.message.options[15] == (b"class" if is_member else b"everyone")


def test_a_host_of_its_own_beats_its_class_and_that_the_rest() -> None:
    policy = Policy(
        classes=(ClientClass("x", mac_prefixes=(b"\x02",), profile=Profile({15: b"class", 6: b"\6\6\6\6"})),),
        reservations=(Reservation((mac(1),), profile=Profile({15: b"host"})),),
    )
    segment = Segment(policy, options={15: b"all", 6: b"\1\1\1\1", 42: b"\2\2\2\2"})
    options = segment.ask(discover(1, o55=bytes((15, 6, 42)))).message.options
    assert (options[15], options[6], options[42]) == (b"host", b"\6\6\6\6", b"\2\2\2\2")


# -- the swarm -----------------------------------------------------------------------------------------------


RESERVING = Policy(
    reservations=(
        Reservation((mac(1),), address=address("10.0.3.77")),
        Reservation(hostnames=(b"printer",), address=address("10.0.3.78")),
    )
)
OF_ALL = NodeConfig(BIG, tentative_timeout_s=3, learning_phase=False, policy=RESERVING)


def swarm_of(count: int) -> VirtualSwarm:
    swarm = VirtualSwarm(count, OF_ALL)
    swarm.run_for(5)
    return swarm


@pytest.mark.parametrize(("client", "fields", "wanted"), [(1, {}, "10.0.3.77"), (4, {"o12": b"printer"}, "10.0.3.78")])
def test_a_reserved_address_follows_its_host_through_the_swarm(
    client: int, fields: dict[str, object], wanted: str
) -> None:
    """C6: the first node claims the block; at the next one its owner is asked, and the host keeps its address."""
    swarm = swarm_of(3)
    swarm.client_sends(0, discover(client, **fields))
    swarm.run_for(4)
    (first,) = [a.message for a in swarm.answers if a.node == 0]
    assert first.yiaddr == address(wanted)
    swarm.client_sends(0, request(client, o50=first.yiaddr, o54=SERVER, **fields))
    swarm.client_sends(1, discover(client, xid=8, **fields))
    swarm.run_for(1)
    second = [a.message for a in swarm.answers if a.node == 1]
    assert [(m.message_type, m.yiaddr) for m in second] == [(c.OFFER, address(wanted))]
    swarm.client_sends(1, request(client, xid=9, o50=address(wanted), o54=SERVER, **fields))
    swarm.run_for(1)
    assert swarm.answers[-1].message.message_type == c.ACK


def test_c6_nodes_that_reserve_other_addresses_notice() -> None:
    """M5. Both of them, once for each change; options may differ."""
    swarm = swarm_of(2)

    def noticed(policy: Policy) -> list[int]:
        swarm.feed(1, e.Reconfigure(replace(OF_ALL, policy=policy)))
        swarm.run_for(1)
        swarm.feed(0, e.ServerLinkDown())
        swarm.feed(0, e.ServerLinkUp(b"\x02" + bytes(5), swarm.addresses[0]))  # it says HELLO again
        swarm.run_for(1)
        return [node.statistics().get("swarm.plans_differ", 0) for node in swarm.nodes]

    same = tuple(reversed(RESERVING.reservations))
    assert noticed(Policy(reservations=same, classes=(ClientClass("any", mac_prefixes=(b"\2",)),))) == [0, 0]
    assert noticed(Policy(reservations=same[:1])) == [1, 1]
    assert noticed(Policy(reservations=same[:1], relays=(Network(RELAY),))) == [1, 1]
    assert noticed(Policy()) == [2, 2]
    assert noticed(RESERVING) == [2, 2]
    assert noticed(replace(RESERVING, subnets=SUBNETS.subnets)) == [3, 3]


def test_a_reserved_address_that_was_never_leased_is_had_from_its_blocks_owner() -> None:
    swarm = swarm_of(3)
    swarm.client_sends(0, discover(1))
    swarm.run_for(20)  # node 0 owns the block; its offer lapsed
    swarm.client_sends(2, discover(1, xid=8))
    swarm.run_for(1)
    assert [a.message.yiaddr for a in swarm.answers if a.node == 2] == [address("10.0.3.77")]
    swarm.client_sends(2, request(1, xid=9, o50=address("10.0.3.77"), o54=SERVER))
    swarm.run_for(1)
    assert swarm.answers[-1].message.message_type == c.ACK


def test_no_node_gives_a_reserved_address_to_another_client() -> None:
    swarm = swarm_of(2)
    swarm.client_sends(0, discover(1))
    swarm.run_for(20)
    swarm.client_sends(1, discover(2, xid=8, o50=address("10.0.3.77")))
    swarm.run_for(1)
    assert swarm.answers[-1].message.yiaddr != address("10.0.3.77")
    swarm.client_sends(1, request(2, xid=9, o50=address("10.0.3.77"), o54=SERVER))
    swarm.run_for(1)
    assert swarm.answers[-1].message.message_type == c.NAK


# -- probes --------------------------------------------------------------------------------------------------


def probes(segment: Segment) -> list[f.ProbeAddress]:
    return [x for x in segment.effects if isinstance(x, f.ProbeAddress)]


def used_by_another(**conflicts: object) -> tuple[Segment, int]:
    """A segment on which client 2 had an address and gave it back."""
    segment = Segment(Policy(conflicts=Conflicts(**conflicts)))  # type: ignore[arg-type]
    bound = segment.lease(2)
    segment.send(say(c.RELEASE, 2, ciaddr=bound))
    segment.effects.clear()
    return segment, bound


def test_b8_a_reused_address_is_probed_before_the_offer() -> None:
    """RFC 2131 2.2, RFC 5227. Nobody answers: the OFFER comes when the time is up."""
    segment, bound = used_by_another()
    assert segment.send(discover(1, o50=bound), wait_s=0) == []
    assert probes(segment) == [f.ProbeAddress("client0", bound, 0.2)]
    segment.pass_time(0.19)
    assert segment.replies[-1].message.chaddr != chaddr_of(1)
    segment.pass_time(0.02)
    assert (segment.replies[-1].kind, segment.replies[-1].address) == (c.OFFER, bound)


def test_b8_somebody_answers() -> None:
    segment, bound = used_by_another()
    segment.send(discover(1, o50=bound), wait_s=0)
    segment.feed(e.AddressProbed("client0", bound, True, b"\x02\xee\0\0\0\1"))
    offer = segment.replies[-1]
    assert (offer.kind, offer.message.chaddr) == (c.OFFER, chaddr_of(1))
    assert offer.address != bound
    assert {lease.address: lease.state for lease in segment.node.leases()}[bound] == "declined"
    assert segment.logged("address-in-use")[0]["by"] == "02:EE:00:00:00:01"


def test_b8_the_client_itself_answers() -> None:
    segment, bound = used_by_another()
    segment.send(discover(1, o50=bound), wait_s=0)
    segment.feed(e.AddressProbed("client0", bound, True, mac(1)))
    assert segment.replies[-1].address == bound


def test_b8_a_certain_no_does_not_wait() -> None:
    segment, bound = used_by_another()
    segment.send(discover(1, o50=bound), wait_s=0)
    segment.feed(e.AddressProbed("client0", bound, False))
    assert segment.replies[-1].address == bound


@pytest.mark.parametrize("by", [None, mac(1), b"\x02\xee\0\0\0\1"])
def test_b8_a_client_that_has_the_address_already_is_answered_whatever_the_probe_finds(by: bytes | None) -> None:
    """It comes back while its lease runs, in a block that was adopted meanwhile: others may use its addresses."""
    segment = Segment()
    bound = segment.lease(1)
    segment.node._leases.taint(bound)
    assert segment.send(discover(1), wait_s=0) == []
    segment.feed(e.AddressProbed("client0", bound, by is not None, by or b""))
    offer = segment.replies[-1]
    assert (offer.kind, offer.message.chaddr) == (c.OFFER, chaddr_of(1))
    assert (offer.address == bound) is (by in (None, mac(1)))


def test_b8_a_repeated_discover_does_not_probe_again() -> None:
    segment, bound = used_by_another()
    for xid in range(5):
        segment.send(discover(1, o50=bound, xid=xid), wait_s=0)
    segment.pass_time(0.3)
    assert len(probes(segment)) == 1
    assert segment.replies[-1].address == bound


def test_b8_no_probe_for_a_new_address_nor_for_the_clients_own_nor_at_request() -> None:
    """RFC 2131 3.1 step 4, 3.2 step 2: the client itself may answer."""
    segment, bound = used_by_another()
    segment.ask(discover(3), wait_s=0)
    segment.ask(discover(2, o50=bound), wait_s=0)
    segment.ask(request(2, o50=bound, o54=SERVER), wait_s=0)
    segment.ask(request(2, o50=bound), wait_s=0)
    assert probes(segment) == []


@pytest.mark.parametrize(("mode", "count"), [(Probe.NEVER, 0), (Probe.ALWAYS, 2)])
def test_b8_switch(mode: Probe, count: int) -> None:
    segment, bound = used_by_another(probe=mode)
    segment.send(discover(1, o50=bound), wait_s=0)
    segment.send(discover(3), wait_s=0)
    assert len(probes(segment)) == count


def test_b8_an_address_that_was_declined_is_probed_when_its_probation_ends() -> None:
    segment = Segment()
    bound = segment.lease(1)
    segment.send(say(c.DECLINE, 1, o50=bound))
    segment.pass_time(601)
    segment.effects.clear()
    segment.send(discover(2, o50=bound), wait_s=0)
    assert [x.address for x in probes(segment)] == [bound]


def test_b8_not_behind_a_relay() -> None:
    segment = Segment(Policy(relays=(Network(RELAY),), conflicts=Conflicts(probe=Probe.ALWAYS)))
    assert segment.ask(discover(giaddr=RELAY), wait_s=0).kind == c.OFFER


# -- DHCPLEASEQUERY ------------------------------------------------------------------------------------------

QUERIES = Policy(leasequery_sources=(Network(RELAY),))


def query(**fields: object) -> object:
    return say(c.LEASEQUERY, bytes(6), **({"giaddr": RELAY, "hlen": 0, "htype": 0} | fields))


def test_f8_active() -> None:
    """RFC 4388 6.4.3, by address, client identifier and hardware address."""
    segment = Segment(QUERIES)
    bound = segment.lease(1, o61=b"\0id")
    plain = segment.lease(2)
    segment.pass_time(99)
    for fields, address_, client in (
        ({"ciaddr": bound, "o55": b"\x33"}, bound, 1),
        ({"o61": b"\0id", "o55": b"\x33"}, bound, 1),
        ({"chaddr": chaddr_of(2), "hlen": 6, "htype": 1, "o55": b"\x33"}, plain, 2),
        ({"o61": b"\1" + mac(2), "o55": b"\x33"}, plain, 2),
    ):
        reply = segment.ask(query(**fields))  # type: ignore[arg-type]
        assert (reply.kind, reply.message.ciaddr, reply.message.chaddr) == (c.LEASEACTIVE, address_, chaddr_of(client))
        assert reply.message.lease_time_s == 201
        assert (reply.effect.address, reply.effect.port) == (RELAY, 67)
        assert (92 in reply.message.options) is ("ciaddr" not in fields)


def test_f8_unassigned_and_unknown() -> None:
    """RFC 4388 6.4.2."""
    segment = Segment(QUERIES)
    bound = segment.lease(1)
    foreign = POOL.first_address((POOL.index_of(bound) + 1) % POOL.block_count)
    segment.send(say(c.RELEASE, 1, ciaddr=bound))
    assert segment.ask(query(ciaddr=bound)).kind == c.LEASEUNASSIGNED  # type: ignore[arg-type]
    assert segment.ask(query(ciaddr=foreign)).kind == c.LEASEUNKNOWN  # type: ignore[arg-type]
    assert segment.ask(query(o61=b"\0nobody")).kind == c.LEASEUNKNOWN  # type: ignore[arg-type]


def test_f8_only_configured_sources() -> None:
    segment = Segment(QUERIES)
    assert segment.send(query(giaddr=RELAY + 1)) == []  # type: ignore[arg-type]
    assert segment.send(query(giaddr=0)) == []  # type: ignore[arg-type]
    assert segment.count("dhcp.drop.leasequery-source") == 2
    off = Segment()
    assert off.send(query()) == []  # type: ignore[arg-type]
    assert off.count("dhcp.drop.message-type") == 1


def test_limits_hold_for_each_client_alone() -> None:
    segment = Segment(Policy(limits=Limits(discover_burst=2, discover_per_s=1)))
    assert [len(segment.send(discover(n % 2 + 1, xid=n), wait_s=0)) for n in range(6)] == [1, 1, 1, 1, 0, 0]
