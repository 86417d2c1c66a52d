"""Renewals that are alike: what is remembered of them changes no answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.familiar import MAX_FAMILIAR, MAX_SIZE, Familiar, Familiars
from ddhcp.core.policy import Policy
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from segment import SERVER, Segment, mac, request

CLIENTS = range(1, 5)
HOSTNAMES = [b"", b"laptop", b"laptop\0"]
LISTS = [b"", bytes((1, 3, 6, 15, 51)), bytes((3, 1, 12))]
ROUTERS = [b"\x0a\0\0\1", b"\x0a\0\0\2\x0a\0\0\3"]


@st.composite
def _renewals(draw: DrawFn) -> tuple[int, Message]:
    """Whose address is asked for, and how; the transaction is left open."""
    client, holder = draw(st.sampled_from(CLIENTS)), draw(st.sampled_from(CLIENTS))
    message = request(client)
    message.flags = draw(st.sampled_from([0, c.FLAG_BROADCAST]))
    choices = {c.OPT_HOSTNAME: HOSTNAMES, c.OPT_PARAMETER_LIST: LISTS, c.OPT_FQDN: [b"", b"\5\0\0\4host\0"]}
    for code, values in choices.items():
        message.options[code] = draw(st.sampled_from(values))
    if draw(st.booleans()):
        message.options[c.OPT_LEASE_TIME] = draw(st.sampled_from([1, 90, 100_000])).to_bytes(4, "big")
    return holder if draw(st.integers(0, 3)) == 0 else client, message


_CHANGES = st.one_of(
    st.sampled_from(ROUTERS).map(lambda value: e.SetOption(c.OPT_ROUTER, value)),
    st.sampled_from([1, 120, 300]).map(lambda lease_s: e.SetOption(c.OPT_LEASE_TIME, lease_s.to_bytes(4, "big"))),
    st.just(e.RemoveOption(c.OPT_ROUTER)),
    st.just(e.ServerLinkDown()),
)


@st.composite
def _stories(draw: DrawFn) -> list[float | e.Event | tuple[int, Message]]:
    """A few messages that come again and again, changes of the configuration, and time that passes."""
    kinds = st.sampled_from(draw(st.lists(_renewals(), min_size=1, max_size=4)))
    transactions = st.tuples(kinds, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1))
    again = transactions.map(lambda each: (each[0][0], each[0][1].repeated(each[1], each[2])))
    return draw(st.lists(st.one_of(again, again, again, _CHANGES, st.sampled_from([0.5, 100.0, 400.0])), max_size=40))


class _Twin:
    """A segment whose clients send the same messages, each with a tail of its own if ``is_varied``."""

    def __init__(self, *, is_varied: bool) -> None:
        self.segment = Segment()
        self.addresses = {client: self.segment.lease(client) for client in CLIENTS}
        self._tails = count(1) if is_varied else None

    def take(self, step: float | e.Event | tuple[int, Message]) -> list[f.Effect]:
        segment = self.segment
        before = len(segment.effects)
        if isinstance(step, float):
            segment.pass_time(step)
        elif isinstance(step, tuple):
            holder, message = step
            source = self.addresses[holder]
            data = replace(message, ciaddr=source).encode(min_size=300)
            tail = bytes(next(self._tails)) if self._tails is not None else b""
            segment.feed(e.DhcpReceived("client0", data + tail, source, SERVER))
        else:
            segment.feed(step)
        return segment.effects[before:]


@settings(max_examples=80, deadline=None)
@given(_stories())
def test_a_familiar_message_is_answered_like_one_never_seen(
    story: list[float | e.Event | tuple[int, Message]],
) -> None:
    known, varied = _Twin(is_varied=False), _Twin(is_varied=True)
    assert known.addresses == varied.addresses
    for step in story:
        assert known.take(step) == varied.take(step)


def test_a_renewal_that_comes_again_has_its_own_transaction() -> None:
    segment = Segment()
    address = segment.lease()
    for xid in (1, 2, 0xFFFFFFFF):
        (reply,) = segment.send(request(xid=xid, secs=xid & 0xFF, ciaddr=address), source=address, to=SERVER)
        assert (reply.kind, reply.message.xid, reply.address) == (c.ACK, xid, address)


def test_a_changed_option_is_in_the_next_answer() -> None:
    segment = Segment()
    address = segment.lease()
    for router in ROUTERS:
        segment.feed(e.SetOption(c.OPT_ROUTER, router))
        for _ in range(2):
            reply = segment.ask(request(ciaddr=address, o55=LISTS[1]), source=address, to=SERVER)
            assert reply.message.options[c.OPT_ROUTER] == router


def test_who_is_told_apart_in_another_way_is_another_client() -> None:
    """A reload may turn client identifiers on (G4)."""
    segment = Segment(Policy(ignore_client_id=True))
    address = segment.lease(1, o61=b"\x07one")
    renewal = request(1, ciaddr=address, o61=b"\x07one")
    assert segment.ask(renewal, source=address, to=SERVER).kind == c.ACK
    segment.feed(e.Reconfigure(replace(segment.config, policy=Policy())))
    assert segment.ask(renewal, source=address, to=SERVER).kind == c.ACK
    (lease,) = (lease for lease in segment.node.leases() if lease.address == address)
    assert lease.identity == b"\x00\x07one"


def test_a_reload_that_denies_a_client_is_obeyed() -> None:
    segment = Segment()
    address = segment.lease()
    renewal = request(ciaddr=address)
    assert segment.ask(renewal, source=address, to=SERVER).kind == c.ACK
    segment.feed(e.Reconfigure(replace(segment.config, policy=Policy(denied=frozenset((mac(1),))))))
    assert segment.send(renewal, source=address, to=SERVER) == []


def test_what_is_remembered_is_bounded() -> None:
    familiars = Familiars()
    message = Familiar(request(), b"key")
    for number in range(MAX_FAMILIAR + 10):
        familiars.remember(number.to_bytes(300, "big"), message)
    familiars.remember(bytes(MAX_SIZE + 1), message)
    assert len(familiars) == MAX_FAMILIAR
    assert familiars.find((9).to_bytes(300, "big")) is None
    assert familiars.find((10).to_bytes(300, "big")) is message
    assert familiars.find(bytes(MAX_SIZE + 1)) is None
