"""What a node remembers of the other nodes it heard."""

from __future__ import annotations

from dataclasses import dataclass

from ..swarm import AddressOrder

MAX_PEERS = 4096  # the longest unheard is forgotten beyond this, so that a flood of senders costs bounded memory


@dataclass(slots=True)
class Peer:
    """One node, told apart by its source address (node ids are not unique among newer classic builds).

    ``order``: the byte order it was last seen to use unambiguously, None if never. ``is_ours``: it answered a HELLO,
    so it speaks the extensions. ``hello_count``/``hello_at``: HELLOs sent to it and when the last one left.
    """

    address: bytes
    node_id: bytes
    heard_at: float
    order: AddressOrder | None = None
    is_ours: bool = False
    hello_count: int = 0
    hello_at: float = 0.0


class Peers:
    """The peers by source address, the most recently heard last."""

    def __init__(self) -> None:
        self._peers: dict[bytes, Peer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def hear(self, address: bytes, node_id: bytes, now: float) -> Peer:
        """Note that the node at ``address`` spoke."""
        peer = self._peers.pop(address, None)
        if peer is None:
            peer = Peer(address, node_id, now)
            if len(self._peers) >= MAX_PEERS:
                del self._peers[next(iter(self._peers))]
        peer.node_id, peer.heard_at = node_id, now
        self._peers[address] = peer
        return peer

    def get(self, address: bytes) -> Peer | None:
        """The peer at ``address`` if it was ever heard."""
        return self._peers.get(address)

    def ours(self, heard_since: float) -> list[Peer]:
        """The peers that speak our extensions and were heard since that instant."""
        return [peer for peer in self._peers.values() if peer.is_ours and peer.heard_at >= heard_since]
