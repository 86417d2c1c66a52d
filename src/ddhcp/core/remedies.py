"""The remedies that keep one address with one client, by name.

Each can be switched off, in the simulator only, to see the failure that it prevents: a simulator that does not find
that failure then is not worth trusting. The daemon has no such switch.
"""

from __future__ import annotations

import enum


class Remedy(enum.Enum):
    """What a node does beyond the classic protocol. The value is the name on the simulator's command line."""

    PROMISE = "promise"  # a block is announced for longer than any lease in it runs
    STICKY_CLAIMS = "sticky-claims"  # an INQUIRE never weakens a claim that was heard
    SPACED_INQUIRIES = "spaced-inquiries"  # three inquiries over t, objections heeded to the end
    BLOCK_CHOICE = "block-choice"  # nodes that start together choose different blocks
    MISSING_PEERS = "missing-peers"  # a silent peer's share of the free blocks is left alone while its promise runs
    TIE_BREAK = "tie-break"  # equal node ids are told apart by source address
    CORRECT_OWNER = "correct-owner"  # an owner looks at who asks, and binds what it acknowledges
    ONE_ADDRESS = "one-address"  # a client that asks again gets what it has
    CLAIM_MEMORY = "claim-memory"  # others' claims are written down, for a restart out of their hearing
    QUARANTINE = "quarantine"  # a foreign claim that lapsed keeps its block closed until its leases have ended
    GUARDIAN = "guardian"  # one survivor holds a dead owner's block, so that others see it taken
    FENCING = "fencing"  # an owner whose promise ran out unheard stops serving
    DISPUTES = "disputes"  # the loser of a dispute hands its leases over, a contested client is refused
    REPLICATION = "replication"  # leases are known to other nodes, who go on with them
    HANDOVER = "handover"  # a node that stops gives its leases to a peer
    PROBING = "probing"  # a tainted address is probed before it is offered
    SYNC = "sync"  # a newcomer asks for all claims and is told at once
