"""What a running daemon can be asked, and told, by its operator: one place for the control socket and HTTP.

A request is an object with a "command" and its arguments, an answer an object whose "api" is :data:`API_VERSION`. Keys
are only ever added within a version. Every answer takes bounded time: lists come in pages (see
:mod:`ddhcp.core.inspection`), and a page with a "next" is not the last, even when it is short or empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from ipaddress import AddressValueError, IPv4Address
from typing import Protocol

from .. import __version__
from ..core import Node, Pool, dotted
from ..core import events as e
from ..core.blocks import BlockState
from ..core.leases import LeaseState
from ..core.policy import OWN_OPTIONS
from ..core.records import StoredLease
from ..core.views import PeerView
from ..ctl.answers import STATE_NAMES
from ..ctl.protocol import MAX_OPTION_CODE, MAX_OPTION_LEN, MIN_OPTION_CODE
from ..dhcp.constants import OPT_LEASE_TIME, OPT_SERVER_ID
from .clock import boot_time
from .explaining import explain_address, explain_client
from .health import Facts, level_of, problems
from .recent import RecentEvents
from .rows import address_text, block_row, lease_row, mac_text, matcher, matches, parse_mac, peer_row, reservation_row

API_VERSION = 1
DEFAULT_PAGE = 200
MAX_PAGE = 1000  # rows in one answer: some 200 kB of JSON, encoded in about 5 ms
MAX_SEARCH = 64  # characters
MAX_CELLS = 4096  # of one map
MAX_NUMBER = 1 << 53  # larger ones are not exact in JSON everywhere

_LEASE_STATES = tuple(state.value for state in LeaseState)

Arguments = Mapping[str, object]
Answer = dict[str, object]


_OWN_NUMBERS = {OPT_LEASE_TIME: "lease time", OPT_SERVER_ID: "server identifier"}  # options the server reads itself


class RequestError(ValueError):
    """A request that cannot be granted; the text is one line for people. ``kind``: "bad-request", "not-found" or
    "conflict"."""

    def __init__(self, text: str, kind: str = "bad-request") -> None:
        super().__init__(text)
        self.kind = kind


def check_option(code: int, value: bytes) -> None:
    """Raise :class:`RequestError` for a value that cannot be what the server has to make of it, and for an option that
    it makes itself."""
    if code in OWN_OPTIONS and code not in _OWN_NUMBERS:
        raise RequestError(f"option {code} is set by the server itself; leave it out")
    if code in _OWN_NUMBERS and (len(value) != 4 or not any(value)):
        raise RequestError(f"option {code} ({_OWN_NUMBERS[code]}) has 4 bytes that are not all 0")


class Host(Protocol):
    """What the API needs of the daemon around the node."""

    def feed_event(self, event: e.Event) -> None:
        """Have the node handle an event and perform the effects."""

    def statistics(self) -> dict[str, int]:
        """All counters and gauges."""

    def facts(self) -> Facts:
        """Links and store."""

    def drain(self) -> None:
        """Hand all blocks over, then stop."""

    def reload(self) -> Answer:
        """Read the configuration anew. Raises ValueError with one line if that cannot be done."""


class Api:
    """Answers requests about one node. All methods belong to the loop's thread. ``clock``: the node's."""

    def __init__(self, node: Node, host: Host, recent: RecentEvents, clock: Callable[[], float] = boot_time) -> None:
        self._node = node
        self._host = host
        self._recent = recent
        self._clock = clock
        self._started_at = time.time()
        self._commands: dict[str, Callable[[Arguments], Answer]] = {
            "status": self._status,
            "statistics": self._statistics,
            "blocks": self._blocks,
            "map": self._map,
            "leases": self._leases,
            "peers": self._peers,
            "events": self._events,
            "explain": self._explain,
            "options": self._options,
            "set-option": self._set_option,
            "remove-option": self._remove_option,
            "reservations": self._reservations,
            "reserve": self._reserve,
            "unreserve": self._unreserve,
            "release": self._release,
            "drain": self._drain,
            "reload": self._reload,
        }

    @cached_property
    def _pool(self) -> Pool:
        view = self._node.view()
        return Pool(view.prefix, view.prefix_len, view.block_size)

    @property
    def commands(self) -> tuple[str, ...]:
        """The names of all commands."""
        return tuple(self._commands)

    def answer(self, arguments: Arguments) -> Answer:
        """Answer one request. Raises :class:`RequestError`, or ValueError for one that the daemon refuses."""
        handler = self._commands.get(str(arguments.get("command")))
        if handler is None:
            raise RequestError(f"unknown command in the request; this daemon knows: {', '.join(self._commands)}")
        return {"api": API_VERSION} | handler(arguments)

    # --- questions ------------------------------------------------------------------------------

    def _status(self, arguments: Arguments) -> Answer:
        node, inspect, facts, pool, now = self._node, self._node.inspect, self._host.facts(), self._pool, self._clock()
        view, totals, peers = node.view(), inspect.totals(), inspect.peers(now)
        wrong = problems(view, inspect.address, totals, peers, facts, self._recent)
        margin_s = inspect.promise_margin_s(now)
        return {
            "version": __version__,
            "instance": self._recent.instance,
            "started_at": round(self._started_at, 3),
            "uptime_s": int(facts.uptime_s),
            "node_id": view.node_id.hex(),
            "address": address_text(inspect.address),
            "health": level_of(wrong),
            "problems": [problem.as_json() for problem in wrong],
            "learning": totals.is_learning,
            "stopping": totals.is_stopping,
            "server_interface": facts.server_interface,
            "server_link": "up" if facts.server_link_up else "down",
            "client_interfaces": list(facts.client_interfaces),
            "clients_missing": list(facts.clients_missing),
            "store": facts.store,
            "store_error": facts.store_error,
            "pool": {
                "network": str(pool),
                "addresses": pool.address_count,
                "block_size": pool.block_size,
                "blocks": pool.block_count,
            },
            "blocks": dict(zip(STATE_NAMES, totals.blocks, strict=True)),
            "leases": {
                "leased": totals.leases_leased,
                "offered": totals.leases_offered,
                "free": totals.leases_free,
                "remembered": totals.bindings,
                "waiting": totals.clients_waiting,
            },
            "peers": _peer_counts(peers),
            "promise_margin_s": None if margin_s is None else round(margin_s, 1),
            "times": {
                "tentative_timeout_s": view.tentative_timeout_s,
                "block_timeout_s": view.block_timeout_s,
                "lease_time_s": node.lease_time_s,
            },
            "spare_leases": view.spare_leases,
            "claiming": {
                "prefers": "availability" if inspect.prefers_availability else "safety",
                "only_own_share": inspect.is_cautious(now),
                "orphans": totals.orphans,
                "held": totals.held,
            },
            "latest_event": self._recent.latest,
            "statistics": self._host.statistics(),
        }

    def _statistics(self, arguments: Arguments) -> Answer:
        return {"statistics": self._host.statistics()}

    def _blocks(self, arguments: Arguments) -> Answer:
        first = _number(arguments, "after", 0, self._pool.block_count)
        limit = _number(arguments, "limit", DEFAULT_PAGE, MAX_PAGE, least=1)
        views, following = self._node.inspect.blocks(first, limit, self._clock())
        return {"blocks": [block_row(view, self._pool) for view in views], "next": following}

    def _map(self, arguments: Arguments) -> Answer:
        """Who owns how much of a window of the pool, cell by cell; ``first`` and ``count`` are blocks."""
        count = self._pool.block_count
        first = _number(arguments, "first", 0, count - 1)
        end = min(count, first + _number(arguments, "count", count, count, least=1))
        cells = _number(arguments, "cells", MAX_CELLS, MAX_CELLS, least=1)
        cell_size = max(1, -(-(end - first) // cells))
        cell_size = 1 << (cell_size - 1).bit_length()
        first -= first % cell_size
        start = _number(arguments, "after", first, count)
        census = self._node.inspect.census(max(first, start), end, cell_size)
        me = self._node.inspect.address
        owners = sorted(census.node_ids)
        slots = {owner: slot for slot, owner in enumerate(owners)}
        return {
            "first": first,
            "end": end,
            "cell_size": cell_size,
            "owners": [
                {"address": address_text(owner), "node_id": census.node_ids[owner].hex(), "self": owner == me}
                for owner in owners
            ],
            # cell number within the window, then (owner's place in "owners", state, blocks) for each owner in it
            "cells": [
                [cell - first // cell_size, [[slots[owner], state, n] for (owner, state), n in counts.items()]]
                for cell, counts in sorted(census.cells.items())
            ],
            "next": census.next_index,
        }

    def _leases(self, arguments: Arguments) -> Answer:
        first = _address(arguments, "after") if arguments.get("after") is not None else 0
        limit = _number(arguments, "limit", DEFAULT_PAGE, MAX_PAGE, least=1)
        search = _text(arguments, "search", MAX_SEARCH)
        state = _text(arguments, "state", MAX_SEARCH)
        if state and state not in _LEASE_STATES:
            raise RequestError(f'"state" has to be one of {", ".join(_LEASE_STATES)}')
        copies = arguments.get("copies", False)
        if not isinstance(copies, bool):
            raise RequestError('"copies" has to be true or false')
        text, digits = matcher(search)
        match = partial(matches, text=text, digits=digits)
        rows, following = self._node.inspect.leases(
            first,
            limit,
            lambda lease: (not state or lease.state == state) and (not text or match(lease)),
            copies=copies,
        )
        now = self._clock()
        return {
            "leases": [self._lease_row(row, now, is_copy=copies) for row in rows],
            "next": dotted(following) if following is not None else None,
        }

    def _lease_row(self, lease: StoredLease, now: float, *, is_copy: bool) -> Answer:
        inspect = self._node.inspect
        if not is_copy:
            return lease_row(lease, self._pool, now, place=inspect.place(lease.address))
        block = inspect.block(self._pool.index_of(lease.address), now)
        return lease_row(lease, self._pool, now, owner=block.owner_address if block is not None else b"")

    def _peers(self, arguments: Arguments) -> Answer:
        limit = _number(arguments, "limit", MAX_PAGE, MAX_PAGE, least=1)
        peers = self._node.inspect.peers(self._clock())
        rows = [peer_row(peer) for peer in reversed(peers[-limit:])]
        return {"peers": rows, "left_out": len(peers) - len(rows)}

    def _events(self, arguments: Arguments) -> Answer:
        limit = _number(arguments, "limit", DEFAULT_PAGE, MAX_PAGE, least=1)
        if arguments.get("after") is None:
            found, missed = self._recent.last(limit), 0
        else:
            found, missed = self._recent.after(_number(arguments, "after", 0, MAX_NUMBER), limit)
        return {
            "instance": self._recent.instance,
            "events": [event.as_json() for event in found],
            "missed": missed,
            "latest": self._recent.latest,
        }

    def _explain(self, arguments: Arguments) -> Answer:
        subject = _text(arguments, "subject", MAX_SEARCH)
        now = self._clock()
        if (chaddr := parse_mac(subject)) is not None:
            return explain_client(self._node, self._pool, chaddr, now)
        try:
            address = int(IPv4Address(subject))
        except AddressValueError:
            raise RequestError(
                f"{subject!r} is neither an IPv4 address (10.0.0.5) nor a hardware address (02:00:00:00:00:01)"
            ) from None
        return explain_address(self._node, self._pool, address, now)

    def _options(self, arguments: Arguments) -> Answer:
        options = self._node.options()
        return {
            "lease_time_s": self._node.lease_time_s,
            "options": [{"code": code, "value": value.hex()} for code, value in sorted(options.items())],
        }

    def _reservations(self, arguments: Arguments) -> Answer:
        hosts = self._node.reservations()
        return {
            "hosts": [reservation_row(host) for host in hosts[:MAX_PAGE]],
            "left_out": max(0, len(hosts) - MAX_PAGE),
            "held": [dotted(address) for address in self._node.held()],
        }

    # --- actions --------------------------------------------------------------------------------

    def _set_option(self, arguments: Arguments) -> Answer:
        code = _number(arguments, "code", None, MAX_OPTION_CODE, least=MIN_OPTION_CODE)
        try:
            value = bytes.fromhex(_text(arguments, "value", 2 * MAX_OPTION_LEN))
        except ValueError:
            raise RequestError('"value" has to be an even number of hexadecimal digits, 510 at most') from None
        check_option(code, value)
        self._host.feed_event(e.SetOption(code, value))
        return self._options(arguments)

    def _remove_option(self, arguments: Arguments) -> Answer:
        code = _number(arguments, "code", None, MAX_OPTION_CODE, least=MIN_OPTION_CODE)
        self._host.feed_event(e.RemoveOption(code))
        return self._options(arguments)

    def _release(self, arguments: Arguments) -> Answer:
        address = _address(arguments, "address")
        lease = self._node.inspect.lease(address)
        if lease is None or lease.state != "leased":
            owner = (
                self._node.inspect.block(self._pool.index_of(address), self._clock()) if address in self._pool else None
            )
            hint = ""
            if owner is not None and owner.state == BlockState.CLAIMED:
                hint = f"; its block belongs to the node at {address_text(owner.owner_address)}, ask that one"
            raise RequestError(f"{dotted(address)} is not leased by this node{hint}", "not-found")
        self._host.feed_event(e.EndLease(address))
        return {"released": dotted(address), "mac": mac_text(lease.chaddr)}

    def _reserve(self, arguments: Arguments) -> Answer:
        address = _address(arguments, "address")
        if address not in self._pool:
            raise RequestError(f"{dotted(address)} is not in the pool {self._pool}")
        self._host.feed_event(e.HoldAddress(address))
        if address not in self._node.held():
            raise RequestError(
                f"{dotted(address)} cannot be held: it is never handed out anyway, or too many are held", "conflict"
            )
        return {"held": [dotted(held) for held in self._node.held()]}

    def _unreserve(self, arguments: Arguments) -> Answer:
        address = _address(arguments, "address")
        if address not in self._node.held():
            raise RequestError(f"{dotted(address)} is not held", "not-found")
        self._host.feed_event(e.HoldAddress(address, held=False))
        return {"held": [dotted(held) for held in self._node.held()]}

    def _drain(self, arguments: Arguments) -> Answer:
        ours = self._node.inspect.totals().blocks[BlockState.OURS]
        takers = sum(peer.is_ours is True for peer in self._node.inspect.peers(self._clock()))
        self._host.drain()
        return {"draining": True, "blocks": ours, "takers": takers}

    def _reload(self, arguments: Arguments) -> Answer:
        return self._host.reload()


def _peer_counts(peers: list[PeerView]) -> dict[str, int]:
    return {
        "known": len(peers),
        "ddhcp": sum(peer.is_ours is True for peer in peers),
        "classic": sum(peer.is_ours is False for peer in peers),
    }


def _number(arguments: Arguments, name: str, default: int | None, most: int, least: int = 0) -> int:
    value = arguments.get(name)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise RequestError(f'"{name}" has to be a whole number from {least} to {most}')
    return value


def _text(arguments: Arguments, name: str, longest: int) -> str:
    value = arguments.get(name, "")
    if not isinstance(value, str) or len(value) > longest:
        raise RequestError(f'"{name}" has to be text of at most {longest} characters')
    return value


def _address(arguments: Arguments, name: str) -> int:
    text = _text(arguments, name, MAX_SEARCH)
    try:
        return int(IPv4Address(text))
    except AddressValueError:
        raise RequestError(f'"{name}" has to be an IPv4 address such as 10.0.0.5') from None
