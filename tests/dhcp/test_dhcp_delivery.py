"""Where a reply goes: rules E1-E6 (RFC 2131 4.1, 4.3.2, 4.3.5) as a table."""

from __future__ import annotations

import pytest
from dhcp_samples import MAC
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.dhcp import Delivery, Message, delivery
from ddhcp.dhcp import constants as c

RELAY, CLIENT, OFFERED, SOURCE = 0x0A000001, 0x0A000102, 0x0A000203, 0x0A000304
BROADCAST = Delivery(0xFFFFFFFF, 68, b"\xff" * 6)
TO_RELAY = Delivery(RELAY, 67, None)
TO_CLIENT = Delivery(CLIENT, 68, None)
TO_SOURCE = Delivery(SOURCE, 68, None)
TO_HARDWARE = Delivery(OFFERED, 68, MAC)
B = 0x8000


def asked(kind: int, *, options: dict[int, bytes] | None = None, mac: bytes = MAC, **fields: int) -> Message:
    return Message(
        hlen=len(mac),
        chaddr=mac.ljust(16, b"\0"),
        options={c.OPT_MESSAGE_TYPE: bytes((kind,)), **(options or {})},
        **fields,  # type: ignore[arg-type]
    )


REQUESTED = {c.OPT_REQUESTED_ADDRESS: OFFERED.to_bytes(4, "big")}
TABLE = [
    # E1: a relay gets everything, at the server port
    ("E1 offer", asked(c.DISCOVER, giaddr=RELAY), c.OFFER, TO_RELAY),
    ("E1 offer, B", asked(c.DISCOVER, giaddr=RELAY, flags=B), c.OFFER, TO_RELAY),
    ("E1 ack, ciaddr", asked(c.REQUEST, giaddr=RELAY, ciaddr=CLIENT), c.ACK, TO_RELAY),
    ("E1 nak", asked(c.REQUEST, giaddr=RELAY), c.NAK, TO_RELAY),
    # E2: a NAK is broadcast, whatever the client says about itself
    ("E2 nak", asked(c.REQUEST), c.NAK, BROADCAST),
    ("E2 nak, ciaddr", asked(c.REQUEST, ciaddr=CLIENT), c.NAK, BROADCAST),
    ("E2 nak, B", asked(c.REQUEST, flags=B), c.NAK, BROADCAST),
    # E3: to an address that the client has
    ("E3 ack", asked(c.REQUEST, ciaddr=CLIENT), c.ACK, TO_CLIENT),
    ("E3 ack, B", asked(c.REQUEST, ciaddr=CLIENT, flags=B), c.ACK, TO_CLIENT),
    ("E3, A13 offer", asked(c.DISCOVER, ciaddr=CLIENT), c.OFFER, TO_HARDWARE),
    ("E3, A13 offer, B", asked(c.DISCOVER, ciaddr=CLIENT, flags=B), c.OFFER, BROADCAST),
    ("E3, A13 ack", asked(c.REQUEST, ciaddr=CLIENT, options=REQUESTED), c.ACK, TO_HARDWARE),
    ("E3, A13 ack, B", asked(c.REQUEST, ciaddr=CLIENT, options=REQUESTED, flags=B), c.ACK, BROADCAST),
    # E4: to all, because the client asks for it
    ("E4 offer", asked(c.DISCOVER, flags=B), c.OFFER, BROADCAST),
    ("E4 offer, all flags", asked(c.DISCOVER, flags=0xFFFF), c.OFFER, BROADCAST),
    ("E4 ack", asked(c.REQUEST, flags=B), c.ACK, BROADCAST),
    # E5: to the hardware address, or to all if it is none that a frame could go to
    ("E5 offer", asked(c.DISCOVER), c.OFFER, TO_HARDWARE),
    ("E5 offer, reserved flags", asked(c.DISCOVER, flags=0x7FFF), c.OFFER, TO_HARDWARE),
    ("E5 ack", asked(c.REQUEST), c.ACK, TO_HARDWARE),
    ("E5 no hardware address", asked(c.REQUEST, mac=b""), c.ACK, BROADCAST),
    ("E5 long hardware address", asked(c.REQUEST, mac=bytes(range(2, 10))), c.ACK, BROADCAST),
    ("E5, I31 zero", asked(c.REQUEST, mac=bytes(6)), c.ACK, BROADCAST),
    ("E5, I31 broadcast", asked(c.REQUEST, mac=b"\xff" * 6), c.ACK, BROADCAST),
    ("E5, I31 multicast", asked(c.REQUEST, mac=bytes.fromhex("01005e000001")), c.ACK, BROADCAST),
    # E6: INFORM
    ("E6 ciaddr", asked(c.INFORM, ciaddr=CLIENT), c.ACK, TO_CLIENT),
    ("E6 ciaddr, B", asked(c.INFORM, ciaddr=CLIENT, flags=B), c.ACK, TO_CLIENT),
    ("E6 source", asked(c.INFORM), c.ACK, TO_SOURCE),
    ("E6 relay", asked(c.INFORM, giaddr=RELAY), c.ACK, TO_RELAY),
]


@pytest.mark.parametrize(("request_", "kind", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table(request_: Message, kind: int, expected: Delivery) -> None:
    """A15, E1 to E6: whatever port a request came from, the answer goes to 67 or 68 (RFC 2131 4.1)."""
    offered = 0 if kind == c.NAK or request_.message_type == c.INFORM else OFFERED
    assert delivery(request_, kind, offered, SOURCE) == expected


def test_e6_inform_from_nowhere() -> None:
    assert delivery(asked(c.INFORM), c.ACK, 0) == BROADCAST


def test_no_frame_without_an_address() -> None:
    assert delivery(asked(c.DISCOVER), c.OFFER, 0) == BROADCAST


@given(
    kind=st.sampled_from(c.REQUEST_TYPES), answer=st.sampled_from([c.OFFER, c.ACK, c.NAK]),
    giaddr=st.integers(0, 0xFFFFFFFF), ciaddr=st.integers(0, 0xFFFFFFFF), flags=st.integers(0, 0xFFFF),
    hlen=st.integers(0, 16), chaddr=st.binary(min_size=16, max_size=16), yours=st.integers(0, 0xFFFFFFFF),
    source=st.integers(0, 0xFFFFFFFF),
)  # fmt: skip
def test_always_somewhere_a_packet_can_go(
    kind: int, answer: int, giaddr: int, ciaddr: int, flags: int, hlen: int, chaddr: bytes, yours: int, source: int
) -> None:
    message = Message(hlen=hlen, chaddr=chaddr, giaddr=giaddr, ciaddr=ciaddr, flags=flags, options={53: bytes((kind,))})
    to = delivery(message, answer, yours, source)
    assert to.address != 0
    assert to.port == (67 if giaddr else 68)
    if to.mac is not None and to != BROADCAST:
        assert len(to.mac) == 6
        assert not to.mac[0] & 1, "a unicast datagram in a frame to a group (I31)"
