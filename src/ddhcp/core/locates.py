"""Questions for clients that are not known here: most of what a large swarm says while clients come.

A client that nobody knows is looked for everywhere (``lookup.py``), so every node hears of every such client, and
nearly always has nothing to say. Then only the counters change, and that the asking node was heard.
"""

from __future__ import annotations

from typing import Final

from ..swarm import LOCATE, DecodeError, Extension, Locate, read_extension
from .context import Context
from .events import SwarmReceived
from .leases import HELD, LeaseTable
from .lookup import Lookup
from .peers import Peers
from .replicas import Replicas
from .replication import Replication

_COMMAND_AT: Final = 14  # in a datagram


def may_be_locate(data: bytes) -> bool:
    """Whether a datagram may be such a question; it is no announcement then."""
    return len(data) > _COMMAND_AT and data[_COMMAND_AT] == LOCATE


class Locates:
    """Tells whether a datagram is such a question from a peer that was there before, and does what it takes."""

    def __init__(
        self,
        context: Context,
        leases: LeaseTable,
        peers: Peers,
        replication: Replication,
        replicas: Replicas,
        lookup: Lookup,
    ) -> None:
        self._context = context
        self._leases = leases
        self._peers = peers
        self._replication = replication
        self._replicas = replicas
        self._lookup = lookup

    def take(self, event: SwarmReceived, now: float) -> bool:
        """Take in a datagram for which :func:`may_be_locate` holds, if it is such a question; false, with nothing done,
        if it is not. To be asked only while nothing is due, and no message is sealed."""
        data = event.data
        if not event.multicast or event.waited_s:
            return False
        peer = self._peers.get(event.source)
        if (
            peer is None or not peer.is_ours or event.source == self._context.address
            or not peer.is_up
            or self._replication.minds(peer) or not self._peers.is_to_be_reckoned_with(peer, now)
        ):  # fmt: skip
            return False
        try:
            node_id, extension = self._context.codec.decode(data)
            if node_id != peer.node_id or not isinstance(extension, Extension):
                return False
            message = read_extension(extension)
        except DecodeError:
            return False  # to be counted with its reason
        if not isinstance(message, Locate):
            return False
        is_any_silent = self._lookup.is_any_silent(now)
        for client in message.clients:
            lease = self._leases.of(client.identity, client.chaddr)
            if lease is not None and lease.state in HELD:
                return False
            if is_any_silent and self._replicas.of_client(client.identity, client.chaddr) is not None:
                return False
        self._peers.hear_again(peer, now)
        tally = self._context.tally
        tally.heard += 1
        tally.heard_bytes += len(data)
        return True
