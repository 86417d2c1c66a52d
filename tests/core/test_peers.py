"""What a node remembers of the others."""

from __future__ import annotations

from ddhcp.core.peers import GREETINGS, Peers

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
