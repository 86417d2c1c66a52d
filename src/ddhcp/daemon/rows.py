"""Blocks, leases and peers as plain data: one shape for the control socket, the HTTP interface and the tool."""

from __future__ import annotations

import math
import re
from ipaddress import IPv6Address

from ..core import Pool, dotted
from ..core.policy import Reservation
from ..core.records import StoredLease
from ..core.views import BlockView, PeerView
from ..ctl.answers import STATE_NAMES

UNKNOWN = bytes(16)
_SIX_BYTES = re.compile(r"[0-9a-f]{12}")
ETHERNET_SIZE = 6


def address_text(address: bytes) -> str | None:
    """A link-local address as text, None for the zeros that stand for an unknown one."""
    return None if address == UNKNOWN or not address else str(IPv6Address(address))


def mac_text(chaddr: bytes) -> str:
    """A hardware address as in the log: upper-case hexadecimal with colons."""
    return chaddr[:ETHERNET_SIZE].hex(":").upper()


def parse_mac(text: str) -> bytes | None:
    """The chaddr (16 bytes) that ``text`` names: twelve hexadecimal digits with colons, dashes, dots or nothing between
    them. None if it is anything else."""
    digits = re.sub(r"[:.\-]", "", text).lower()
    return bytes.fromhex(digits).ljust(16, b"\0") if _SIX_BYTES.fullmatch(digits) else None


def hostname_text(hostname: bytes) -> str | None:
    """What a client calls itself, with bytes that are no UTF-8 escaped; None if it has no name."""
    return hostname.decode("utf-8", "backslashreplace") or None


def block_row(block: BlockView, pool: Pool) -> dict[str, object]:
    """One block."""
    first = pool.first_address(block.index)
    return {
        "index": block.index,
        "first": dotted(first),
        "last": dotted(first + pool.block_size - 1),
        "state": block.state,
        "state_name": STATE_NAMES[block.state],
        "owner": block.owner.hex(),
        "owner_address": address_text(block.owner_address),
        "claim_count": block.claim_count,
        "offered": block.offered,
        "leased": block.leased,
        "timeout_s": block.timeout_s,
    }


def lease_row(
    lease: StoredLease, pool: Pool, now: float, *, place: bytes = b"", owner: bytes = b""
) -> dict[str, object]:
    """One binding. ``expires_in_s`` is negative for one that has ended. ``at``: the other node in whose realm the
    client renewed last, None if that was here. ``lessor``: the node whose lease it is, None for our own."""
    return {
        "address": dotted(lease.address),
        "mac": mac_text(lease.chaddr),
        "client_id": lease.identity[1:].hex() if lease.identity[:1] == b"\0" else None,
        "hostname": hostname_text(lease.hostname),
        "state": lease.state,
        "expires_in_s": math.ceil(lease.expires_at - now),
        "block": pool.index_of(lease.address),
        "at": address_text(place),
        "lessor": address_text(owner),
    }


def reservation_row(reservation: Reservation) -> dict[str, object]:
    """A host of the configuration."""
    return {
        "name": reservation.name,
        "address": None if reservation.address is None else dotted(reservation.address),
        "macs": [mac_text(mac) for mac in reservation.hardware_addresses],
        "deny": reservation.deny,
    }


def peer_row(peer: PeerView) -> dict[str, object]:
    """One peer. ``kind``: "ddhcp" speaks our extensions, "classic" does not, "unknown" is being asked."""
    heard = peer.refreshes + peer.refreshes_lost
    return {
        "address": address_text(peer.address),
        "node_id": peer.node_id.hex(),
        "kind": "unknown" if peer.is_ours is None else "ddhcp" if peer.is_ours else "classic",
        "software": peer.software or None,
        "heard_ago_s": round(peer.heard_ago_s, 1),
        "refresh_s": None if peer.refresh_s is None else round(peer.refresh_s, 1),
        "refreshes": peer.refreshes,
        "loss": round(peer.refreshes_lost / heard, 3) if heard else None,
        "has_key": peer.is_trusted,
    }


def matcher(search: str) -> tuple[str, str]:
    """(text to find in addresses and names, digits to find in hardware addresses or "") for a search."""
    lowered = search.strip().lower()
    digits = re.sub(r"[:.\-]", "", lowered)
    looks_like_mac = re.fullmatch(r"[0-9a-f:\-]+", lowered) is not None and len(digits) >= 2
    return lowered, digits if looks_like_mac else ""


def matches(lease: StoredLease, text: str, digits: str) -> bool:
    """Whether a lease's address, hardware address or name contains what :func:`matcher` made of a search."""
    if text in dotted(lease.address):
        return True
    if digits and digits in lease.chaddr[:ETHERNET_SIZE].hex():
        return True
    return bool(lease.hostname) and text in lease.hostname.decode("utf-8", "backslashreplace").lower()
