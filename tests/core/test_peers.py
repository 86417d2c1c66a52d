"""What a node remembers of the others."""

from __future__ import annotations

from test_node import PEER, POOL, claimed

from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.peers import GREETINGS, Peers
from ddhcp.swarm import RENEWLEASE, Extension, Hello, SwarmCodec, read_extension

FIRST, SECOND = b"\xfe\x80" + bytes(13) + b"\1", b"\xfe\x80" + bytes(13) + b"\2"


def test_a_peer_whose_hellos_were_lost_leaves_no_classic_node_behind() -> None:
    peers = Peers()
    for address in (FIRST, SECOND):
        peers.hear(address, bytes(8), 1000.0).hello_count = GREETINGS
        peers.hear(address, bytes(8), 1001.0)
    for address, still_there in ((FIRST, True), (SECOND, False)):
        peer = peers.hear(address, bytes(8), 1200.0)
        peer.is_ours = True
        peers.turned_out_ours()
        assert peers.has_classic(1300.0) is still_there


def test_a_peer_that_owns_nothing_is_asked_what_it_is_too() -> None:
    """Else it would count as one that may be classic for as long as it asks about its clients' leases (I8)."""
    swarm = claimed(1)
    codec = SwarmCodec(b"\x01" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    question = codec.lease_message(RENEWLEASE, bytes((10, 0, 15, 5)), 9, 300, bytes(16))
    effects = swarm.feed(0, e.SwarmReceived(question, PEER, False))
    told = [codec.decode(x.data)[1] for x in effects if isinstance(x, f.SendUnicast)]
    assert [type(read_extension(m)) for m in told if isinstance(m, Extension)] == [Hello]
