"""Why an address or a client is served, or is not: the facts that decide it, in sentences."""

from __future__ import annotations

from collections.abc import Iterable

from ..core import Node, Pool, dotted
from ..core.blocks import BlockState
from ..core.decisions import Decision
from ..core.records import StoredLease
from ..core.views import BlockView, Totals
from .rows import address_text, block_row, lease_row, mac_text

_OUTCOMES = {
    "offered": "answered with an offer",
    "granted": "acknowledged",
    "refused": "refused (DHCPNAK)",
    "ignored": "left unanswered",
    "waiting": "put aside until an address is free",
    "asking": "passed on to the node that decides",
    "ended": "taken: the lease has ended",
}
_REASONS = {
    "no-free-address": "no address of ours was free; it is offered one as soon as a block is claimed",
    "other-node": "the address is of another node's block",
    "other-server-chosen": "the client chose another server's offer, which is on its network too",
    "owner-unknown": "nobody is known to own the address's block; if an owner exists, it may answer",
    "unknown-client": "it asks for a lease that this node knows nothing of",
    "unknown-lease": "it asks for a lease that this node knows nothing of",
    "not-promised": "the server link is down and what was promised for the block runs out",
    "not-ours": "the address is not one of this server's",
    "reserved-for-another": "the address is reserved for another client",
    "another-reserved": "another address is reserved for this client",
    "no-owner": "nobody owns the block of the address any more; the client starts over",
    "wrong-network": "the address does not belong to the network that the client is in",
    "in-use": "somebody else holds the address",
    "not-available": "the address cannot be leased now, or the client holds another one",
    "owner-refused": "the node that owns the address refused",
    "owner-silent": "its block's owner has fallen silent; this node takes the block over first",
    "denied": "the configuration denies this hardware address (dhcp.deny)",
    "denied-host": "the configuration denies this host (deny of its [[reservation]])",
    "denied-class": "the configuration denies clients of its class (deny of a [[class]])",
    "no-subnet": "it came through a relay of whose network no subnet is configured",
    "own-giaddr": "it carries this node's own address as its relay's",
    "relay-not-allowed": "its relay is not among those that are allowed",
    "discover-rate": "it asks more often than one client may",
    "nak-rate": "it was refused so often that it gets no answer for now",
    "too-many-identities": "its hardware address holds as many leases as one may, under other client identifiers",
    "too-many-waiting": "too many clients wait for an address already",
    "request-without-address": "it names no address, and has no lease here",
    "inform-from-elsewhere": "it came from an address that is not of the client's network",
    "release-of-no-lease": "the client does not hold that address here",
    "stale": "it lay unread for long, and the client may have got the address back elsewhere since",
    "decline-of-no-lease": "the client does not hold that address here",
}
# With these it is not a matter of free addresses, however many there are.
_DENIALS = frozenset({"denied", "denied-host", "denied-class", "no-subnet", "own-giaddr", "relay-not-allowed"})


def explain_address(node: Node, pool: Pool, address: int, now: float) -> dict[str, object]:
    """Everything this node knows of one address."""
    answer: dict[str, object] = {"address": dotted(address), "in_pool": address in pool}
    if address not in pool:
        return answer | {
            "block": None, "lease": None, "reserved": False,
            "decisions": [_decision_row(*each, now) for each in _about_address(node, address, None)],
            "because": [f"{dotted(address)} is not in the pool {pool}: this swarm never hands it out, and a client on "
                        "this network that asks for it is refused."],
        }  # fmt: skip
    index = pool.index_of(address)
    inspect = node.inspect
    block, lease = inspect.block(index, now), inspect.lease(address)
    reserved = inspect.is_reserved(address)
    because = [*_about_block(pool, index, block, inspect.totals())]
    host = next((host for host in node.reservations() if host.address == address), None)
    if host is not None:
        because.append(f"The configuration reserves it for host {host.name}: nobody else gets it.")
    if address in node.held():
        because.append("An operator holds it back (ddhcpctl reserve): it is leased to nobody until that ends.")
    elif reserved:
        because.append("The address is reserved (network, broadcast, server or router): it is never leased.")
    elif lease is not None:
        because += _about_lease_and_place(lease, inspect.place(address), now)
    elif block is not None and block.state == BlockState.OURS:
        because.append("It was never leased by this node since it owns the block: it is free.")
    decisions = _about_address(node, address, lease)
    return answer | {
        "block": block_row(block, pool) if block is not None else None,
        "lease": lease_row(lease, pool, now, place=inspect.place(lease.address)) if lease is not None else None,
        "reserved": reserved,
        "decisions": [_decision_row(chaddr, decision, now) for chaddr, decision in decisions],
        "because": because,
    }


def explain_client(node: Node, pool: Pool, chaddr: bytes, now: float) -> dict[str, object]:
    """Everything this node knows of one client."""
    inspect = node.inspect
    lease = inspect.lease_of(chaddr)
    decisions = node.decisions.of(chaddr)
    decision = decisions[-1] if decisions else None
    because = [_about_decision(decision, now)] if decision is not None else []
    is_denied = decision is not None and decision.reason in _DENIALS
    block: BlockView | None = None
    if lease is not None:
        because += _about_lease_and_place(lease, inspect.place(lease.address), now)
        index = pool.index_of(lease.address)
        block = inspect.block(index, now)
        because += _about_block(pool, index, block, inspect.totals())
    else:
        because.append(
            f"This node has no lease of {mac_text(chaddr)} in its own blocks. If the client holds an address of "
            "another node's block, its owner knows of it: explain the address to learn who that is."
        )
        if not is_denied:
            because += _why_no_new_lease(inspect.totals())
        if decision is None:
            because.append(
                "Nothing was heard from it lately: is it in another realm, or do its packets not arrive here?"
            )
    return {
        "mac": mac_text(chaddr),
        "lease": lease_row(lease, pool, now, place=inspect.place(lease.address)) if lease is not None else None,
        "block": block_row(block, pool) if block is not None else None,
        "decision": _decision_row(chaddr, decision, now) if decision is not None else None,
        "decisions": [_decision_row(chaddr, each, now) for each in decisions],
        "because": because,
    }


def _about_address(node: Node, address: int, lease: StoredLease | None) -> list[tuple[bytes, Decision]]:
    """What was decided about an address, and about the client that has it; the oldest first."""
    found: Iterable[tuple[bytes, Decision]] = node.decisions.about(address)
    if lease is not None:
        of_holder = ((lease.chaddr, decision) for decision in node.decisions.of(lease.chaddr))
        found = {*found, *of_holder}
    return sorted(found, key=lambda each: each[1].at)


def _decision_row(chaddr: bytes, decision: Decision, now: float) -> dict[str, object]:
    return {
        "mac": mac_text(chaddr),
        "ago_s": round(max(0.0, now - decision.at), 1),
        "times": decision.times,
        "message": decision.message,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "why": _why(decision),
        "address": dotted(decision.address) if decision.address else None,
    }


def _why(decision: Decision) -> str:
    return _REASONS.get(decision.reason, decision.reason.replace("-", " "))


def _about_decision(decision: Decision, now: float) -> str:
    about = f" for {dotted(decision.address)}" if decision.address else ""
    reason = _why(decision)
    outcome = _OUTCOMES.get(decision.outcome, decision.outcome)
    text = f"Its last {decision.message}{about}, {max(0, round(now - decision.at))} s ago, was {outcome}"
    return f"{text}: {reason}." if reason else f"{text}."


def _about_block(pool: Pool, index: int, block: BlockView | None, totals: Totals) -> list[str]:
    first = pool.first_address(index)
    name = f"Block {index} ({dotted(first)} to {dotted(first + pool.block_size - 1)})"
    if block is None:
        return [f"{name} is free: nobody leases from it. A request for an address in it gets no answer from this node."]
    match BlockState(block.state):
        case BlockState.OURS:
            if block.timeout_s <= 0:
                return [
                    f"{name} is ours, but what we promised for it ran out: it serves nothing until it is refreshed."
                ]
            return [f"{name} is ours, for another {block.timeout_s} s without a refresh: this node decides here."]
        case BlockState.CLAIMED:
            return [
                f"{name} belongs to node {block.owner.hex()} at {address_text(block.owner_address)} for another "
                f"{block.timeout_s} s: that node decides, and this one asks it when a client comes by."
            ]
        case BlockState.CLAIMING:
            return [
                f"{name} is being claimed by this node: inquiry {block.claim_count} of 3 is out. Nothing is leased yet."
            ]
        case BlockState.TENTATIVE:
            return [f"{name} is wanted by another node, which has not claimed it yet; nobody leases from it."]
        case _:
            return [f"{name} is never used: none of its addresses can be leased."]


def _about_lease_and_place(lease: StoredLease, place: bytes, now: float) -> list[str]:
    if not place or lease.state != "leased":
        return [_about_lease(lease, now)]
    return [_about_lease(lease, now), f"The client was last heard in the realm of the node at {address_text(place)}."]


def _about_lease(lease: StoredLease, now: float) -> str:
    who, left_s = mac_text(lease.chaddr), int(lease.expires_at - now)
    address = dotted(lease.address)
    match lease.state:
        case "leased":
            return (
                f"{address} is leased to {who} for another {max(0, left_s)} s; anybody else who asks for it is refused."
            )
        case "offered":
            return f"{address} is offered to {who}, who has not taken it yet ({max(0, left_s)} s left)."
        case "kept":
            return (
                f"The lease of {address} to {who} has ended here; a peer may have prolonged it, so the address is kept "
                f"for that client for another {max(0, left_s)} s."
            )
        case "released":
            return f"{address} was given back by {who}; it is free, and kept for that client while others get others."
        case "expired":
            return f"The lease of {address} to {who} ran out {max(0, -left_s)} s ago; it is free, kept for that client."
        case "declined":
            return (
                f"{who} found {address} in use by somebody else; it is not handed out for another {max(0, left_s)} s."
            )
        case other:
            return f"{address} is {other} ({who})."


def _why_no_new_lease(totals: Totals) -> list[str]:
    reasons = []
    if not totals.link_up:
        reasons.append("The server link is down, so no block can be claimed.")
    if totals.is_learning:
        reasons.append("The node is still learning who owns what; it claims its first block after that.")
    if totals.is_stopping:
        reasons.append("The node is stopping and offers nothing new.")
    if totals.leases_free:
        reasons.append(f"It would be offered one of {totals.leases_free} free addresses as soon as it asks.")
    else:
        reasons.append("No address of ours is free right now; a client that asks waits until a block is claimed.")
    return reasons
