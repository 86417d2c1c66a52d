"""The events that a node logs, by their stable names: what each means and which fields it has.

Names and fields are an interface: scripts and alerts are written against them. They are added, never changed. A test
holds every log call of the program against this list, and docs/events.md is made from it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..values import dataclass, field

_D, _I, _W, _E = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

ADDRESS = "the IPv4 address"
MAC = "the client's hardware address, as it says it is"
LINK = "the client interface"
RELAY = "the relay agent that it came through, if it did"
RELAY_INFO = "what the relay agent added (option 82): sub-options and their values in hexadecimal"
REASON = "why"
BLOCK = "the block's number in the pool"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event. ``levels``: at which it is logged. ``fields``: name to meaning; not every line has all of them.
    ``action``: what an operator may want to do, "" for nothing."""

    name: str
    levels: tuple[int, ...]
    meaning: str
    fields: Mapping[str, str] = field(default_factory=dict)
    action: str = ""


def _event(name: str, level: int | tuple[int, ...], meaning: str, action: str = "", /, **fields: str) -> LogEvent:
    return LogEvent(name, level if isinstance(level, tuple) else (level,), meaning, fields, action)


EVENTS: tuple[LogEvent, ...] = (
    # --- clients
    _event(
        "lease-granted",
        _I,
        "A client was acknowledged an address, new or renewed.",
        address=ADDRESS,
        mac=MAC,
        seconds="how long the lease runs",
        link=LINK,
        relay=RELAY,
        relay_info=RELAY_INFO,
    ),
    _event(
        "lease-refused",
        _I,
        "A client was told that it may not have the address that it asked for (DHCPNAK).",
        address=ADDRESS,
        mac=MAC,
        reason=REASON,
        link=LINK,
        relay=RELAY,
        relay_info=RELAY_INFO,
    ),
    _event(
        "client-moved",
        _I,
        "A client with an address of ours renewed it in another realm, or is back in this one.",
        address=ADDRESS,
        mac=MAC,
        to="the link-local address of the other realm's node, or here",
    ),
    _event(
        "foreign-dhcp-server",
        _W,
        "Another DHCP server answered clients on a client interface.",
        "Find it; two servers that know nothing of each other give one address to two clients.",
        address="the other server's IPv4 address",
        link=LINK,
    ),
    _event("lease-released", _I, "A client gave its address back.", address=ADDRESS, mac=MAC),
    _event("lease-expired", _I, "A lease ended without being renewed.", address=ADDRESS, mac=MAC),
    _event(
        "client-ignored",
        _I,
        "A client's message got no answer.",
        "If the client should be served, the reason says what stands in the way.",
        mac=MAC,
        address=ADDRESS,
        message="what it sent",
        reason=REASON,
        link=LINK,
        relay=RELAY,
        relay_info=RELAY_INFO,
    ),
    _event(
        "client-waiting",
        _I,
        "A client asks for an address, and none is free. It is offered one as soon as there is one, such as when a "
        "block has been claimed; said once until it was silent for half a minute.",
        mac=MAC,
        network="the network that it is in",
        link=LINK,
        relay=RELAY,
        relay_info=RELAY_INFO,
    ),
    _event(
        "datagram-dropped",
        _D,
        "What arrived on the DHCP port is no message of a client.",
        reason="what is wrong with it, as in the counters dhcp.drop.*",
        source="the IPv4 address that it came from",
        link=LINK,
        mac="the hardware address that it has where a client's would be",
        bytes="its size",
    ),
    _event(
        "address-declined",
        _W,
        "A client found its address in use by somebody else (DHCPDECLINE).",
        "Look for a machine with that address set by hand.",
        address=ADDRESS,
        mac=MAC,
        link=LINK,
        seconds="how long the address is left alone",
    ),
    _event(
        "address-in-use",
        _W,
        "A probe found an address in use that nobody has leased.",
        "Look for a machine with that address set by hand.",
        address=ADDRESS,
        mac=MAC,
        by="the hardware address that answered",
        seconds="how long the address is left alone",
    ),
    _event(
        "too-many-declines",
        _W,
        "A client declined more addresses than it may; it is not believed.",
        "A faulty or hostile client.",
        address=ADDRESS,
        mac=MAC,
    ),
    _event(
        "reservation-unavailable",
        _W,
        "A client cannot have the address reserved for it, and gets another one or none.",
        mac=MAC,
        address=ADDRESS,
        reason=REASON,
    ),
    _event(
        "lease-time-limited",
        _W,
        "A longer lease time is configured than is ever given, because no claim promises a block for longer.",
        "Configure no longer one, so that the file says what clients get.",
        configured="the longest lease time in the configuration, in seconds",
        seconds="the longest that is given",
    ),
    _event(
        "addresses-contested",
        _W,
        "After a dispute about a block two clients hold the same addresses; each of these "
        "clients but one is refused when it renews.",
        block=BLOCK,
        addresses="the addresses",
    ),
    # --- blocks
    _event(
        "learning-ended",
        _I,
        "The node has listened long enough and claims blocks from now on.",
        known_blocks="how many blocks of others it knows",
    ),
    _event("blocks-claimed", _I, "Blocks are this node's from now on.", blocks="their numbers"),
    _event("blocks-given-up", _I, "Blocks that nobody needed were given up.", blocks="their numbers"),
    _event(
        "block-lost",
        (_I, _W),
        "Another node's claim of a block of this node's stands.",
        "Seldom: after a partition healed. Often: two swarms with one pool, or a link that works in one direction.",
        block=BLOCK,
    ),
    _event(
        "leases-moved",
        (_I, _W),
        "A block went to another node; its clients renew there.",
        block=BLOCK,
        leases="how many leases ran in it",
    ),
    _event(
        "promise-lapsed",
        _W,
        "A block could not be announced for so long that others may have taken it; nothing is "
        "leased from it until it was inquired again.",
        "Look at the server interface.",
        block=BLOCK,
    ),
    _event(
        "block-orphaned",
        _I,
        "A block's owner is silent; the block stays closed while its leases may run.",
        block=BLOCK,
        seconds="how long it stays closed",
    ),
    _event(
        "block-adopted",
        _W,
        "The block of an owner that is gone is held by this node, so that its clients can renew.",
        block=BLOCK,
        leases="how many of its leases are known",
        held_seconds="how long it is held",
    ),
    _event(
        "block-taken-over",
        _I,
        "A node that stops handed a block to this one.",
        block=BLOCK,
        leases="how many leases came with it",
        promised_seconds="how long it was promised for",
    ),
    _event(
        "block-handed-over",
        _I,
        "This node stops and handed a block to another one.",
        block=BLOCK,
        leases="how many leases went with it",
    ),
    _event(
        "pool-full",
        _W,
        "Clients wait for an address, and no block is free.",
        "Use a larger pool, shorter leases or smaller blocks.",
        pool="the pool",
        waiting="how many clients wait",
        advice="what to do",
    ),
    _event(
        "peer-up",
        _I,
        "Another node was heard for the first time, or again after having been silent for long.",
        address="its link-local address",
        node_id="its node id",
    ),
    _event(
        "peer-down",
        _I,
        "Another node was not heard for three block timeouts, or three of its refreshes. What it claimed holds for as "
        "long as it promised.",
        "Is it switched off, or cut off? A node that owns no block has nothing to say, and counts as gone.",
        address="its link-local address",
        node_id="its node id",
    ),
    _event(
        "peer-incompatible",
        _W,
        "Another node speaks a version of our messages that this one does not understand.",
        "Upgrade the older one.",
        software="what it says it is",
    ),
    _event(
        "peer-plan-differs",
        _W,
        "Another node reserves other addresses, or the same for other hosts, or knows other subnets: what one of the "
        "two keeps for a host, the other gives to anyone.",
        "Configure the same reservations with addresses, and the same subnets, on all nodes.",
        address="its address on the server link",
        node_id="its node id",
    ),
    # --- links
    _event("server-link-up", _I, "The server interface carries packets.", interface="its name"),
    _event("server-link-down", _W, "The server interface carries none.", interface="its name", because=REASON),
    _event(
        "server-interface-missing",
        _W,
        "The server interface does not exist yet; the daemon waits for it.",
        interface="its name",
        advice="what to do",
    ),
    _event("client-link-up", _I, "Clients are served on an interface.", interface="its name"),
    _event("client-link-down", _W, "Clients are not served on an interface.", interface="its name", because=REASON),
    _event(
        "pool-elsewhere",
        _W,
        "The network of a client interface's address has no address of the pool, and no relay agent is configured: "
        "clients cannot use what they get.",
        "Check network (-N) and the interface's address.",
        interface="its name",
        network="its network",
        pool="the pool",
    ),
    _event("send-failed", _W, "A datagram could not be sent.", error="what the system says"),
    # --- the store
    _event(
        "resumed", _I, "Blocks and leases of the run before are in force again.", blocks="how many", leases="how many"
    ),
    _event(
        "store-failed",
        _E,
        "The database could not be written. What was not written is not acknowledged; renewals that "
        "earlier writes cover go on. It is tried again.",
        "Look at the disk.",
        error="what the database says",
        answers_withheld="how many answers are not sent",
        advice="what to do",
    ),
    _event(
        "store-process-ended",
        _E,
        "The process that writes the database has ended, and with it the daemon does (exit status 1): nothing could be "
        "acknowledged any more. Whoever was acknowledged a lease has it on disk.",
        "See in the kernel's log whether it was killed for lack of memory; have a service manager restart the daemon.",
        because="what was seen of it",
    ),
    _event("store-recovered", _W, "The database can be written again.", seconds="how long it could not"),
    _event(
        "store-corrupt",
        _E,
        "The database was damaged. It was set aside, and a fresh one begun.",
        "Keep the file for an inquiry; look at the disk.",
        set_aside="where the damaged file is",
    ),
    _event("store-rows-skipped", _W, "Rows of the database made no sense and were left out.", rows="how many"),
    _event(
        "store-begun-anew",
        _E,
        "The database was gone or damaged while the daemon ran; everything known was written into a new one.",
        "Who deletes files in the state directory?",
        leases="how many leases",
    ),
    # --- running
    _event(
        "started", _I, "The daemon serves.", version="its version", pool="the pool", block_size="addresses in a block"
    ),
    _event("stopping", _I, "The daemon hands its blocks over and ends.", signal="who wants it so"),
    _event("stopped", _I, "The daemon has ended."),
    _event(
        "reloaded",
        _I,
        "The configuration was read anew.",
        "Restart for what needs it.",
        applied="keys whose change is in force",
        needs_restart="keys whose change is not",
    ),
    _event(
        "reload-failed",
        _E,
        "The configuration cannot be used; the former one stays in force.",
        "Correct the file: ddhcp --check-config says all that is wrong with it.",
        because="the first problem",
        problems="how many there are",
    ),
    _event("log-level", _I, "The operator changed what is logged.", level="the least important level that is logged"),
    _event("log-reopened", _I, "The log file was opened anew."),
    _event(
        "lines-suppressed",
        (_D, _I, _W, _E),
        "Too many lines of one event in a short time were left out.",
        of="the event",
        lines="how many lines",
    ),
    _event(
        "hook-failed", _E, "The hook command could not be run.", command="the program", error="what the system says"
    ),
    _event("hook-killed", _W, "A hook ran for too long and was killed.", pid="its process", seconds="the limit"),
    _event(
        "hook-dropped",
        _W,
        "Hooks take longer than events come; a call was left out.",
        "Make the hook faster.",
        dropped="how many so far",
    ),
    _event(
        "names-failed",
        _E,
        "The file of the leases' names cannot be written.",
        "Make its directory, and let the daemon's user write there; it is tried again with the next change.",
        path="the file",
        error="what the system says",
    ),
    _event("http-serving", _I, "The HTTP interface serves.", address="where", changes="whether it may change anything"),
    _event("http-error", _E, "The HTTP interface failed.", error="what happened", where="where in the program"),
    _event(
        "internal-error",
        _E,
        "A fault of the program: one event was not handled, everything else goes on.",
        "Please report it with the lines that follow.",
        where="where in the program",
        error="what happened",
    ),
)
BY_NAME: Mapping[str, LogEvent] = {event.name: event for event in EVENTS}
