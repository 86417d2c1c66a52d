"""A running daemon as the subcommands see it: our own through its API, a classic one as far as it can answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from .answers import parse_blocks, parse_options, parse_statistics
from .connection import TIMEOUT_S, CtlError, ask, collect
from .protocol import Command, Request

Object = dict[str, Any]
PAGE = 1000  # rows asked for at a time, the most that a daemon gives
UNKNOWN_ID = "0" * 16


class ClassicDaemon(CtlError):
    """The daemon does not know our requests."""


class Daemon:
    """The daemon behind a control socket. Every method raises :class:`CtlError` when it cannot be asked or refuses."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self._timeout_s = timeout_s

    def ask(self, command: str, **arguments: object) -> Object:
        """The answer to one API request."""
        given = {name: value for name, value in arguments.items() if value is not None}
        answer = self._request(Request(Command.JSON, arguments={"command": command, **given}))
        if not answer:
            raise ClassicDaemon(f"the daemon at {self.path} is a classic one: it knows nothing of {command!r}")
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise CtlError(f"the daemon at {self.path} answers something that is not a JSON object")
        return value

    def rows(self, command: str, key: str, limit: int | None = None, **arguments: object) -> Iterator[Object]:
        """The rows of a list, asked for page by page; ``limit`` of them at most."""
        after, left = None, limit
        while left is None or left > 0:
            answer = self.ask(command, after=after, limit=PAGE if left is None else min(PAGE, left), **arguments)
            rows = answer.get(key, [])
            yield from rows
            left = None if left is None else left - len(rows)
            after = answer.get("next")
            if after is None:
                return

    def map(self, cells: int) -> Object:
        """The whole pool in at most ``cells`` cells, put together from however many answers it takes."""
        whole: Object | None = None
        after = None
        owners: dict[tuple[str | None, str], int] = {}
        counts: dict[int, dict[tuple[int, int], int]] = {}
        while whole is None or after is not None:
            answer = self.ask("map", cells=cells, after=after)
            whole = whole or answer
            slots = [owners.setdefault((o["address"], o["node_id"]), len(owners)) for o in answer["owners"]]
            mine = {slots[i] for i, o in enumerate(answer["owners"]) if o["self"]}
            whole.setdefault("mine", set()).update(mine)
            for cell, found in answer["cells"]:
                into = counts.setdefault(cell, {})
                for slot, state, blocks in found:
                    into[slots[slot], state] = into.get((slots[slot], state), 0) + blocks
            after = answer["next"]
        mine = whole.pop("mine")
        whole["owners"] = [
            {"address": address, "node_id": node_id, "self": slot in mine}
            for (address, node_id), slot in owners.items()
        ]
        whole["cells"] = [
            [cell, [[slot, state, n] for (slot, state), n in found.items()]] for cell, found in sorted(counts.items())
        ]
        return whole

    # --- what a classic daemon can answer --------------------------------------------------------

    def classic_blocks(self) -> Object:
        """The block table of any daemon, with the addresses of each block worked out."""
        table: Object = parse_blocks(self._text(Command.SHOW_BLOCKS))
        network = IPv4Network(table.get("network", "0.0.0.0/0"), strict=False)
        size = table.get("block_size", 1)
        for row in table["blocks"]:
            first = int(network.network_address) + row["index"] * size
            row["first"], row["last"] = (str(IPv4Address(at & 0xFFFFFFFF)) for at in (first, first + size - 1))
            row["owner"], row["owner_address"] = row["owner"].lower(), None
        return table

    def classic_options(self, request: Request | None = None) -> Object:
        """The options of any daemon, after ``request`` (which sets or removes one) if that is given."""
        if request is not None:
            self._request(request)
        found = parse_options(self._text(Command.SHOW_OPTIONS))
        options: Any = found["options"]
        return {
            "lease_time_s": found.get("lease_time_s"),
            "options": [{"code": row["code"], "value": bytes(row["payload"]).hex()} for row in options],
        }

    def classic_statistics(self) -> Object:
        """The counters of any daemon."""
        return {"statistics": parse_statistics(self._text(Command.STATISTICS))}

    def _text(self, command: Command) -> str:
        answer = self._request(Request(command))
        if not answer:
            raise CtlError(f"the daemon at {self.path} closed the connection without an answer")
        try:
            return answer.decode("utf-8", "replace")
        except ValueError as error:
            raise CtlError(str(error)) from None

    def _request(self, request: Request) -> bytes:
        return collect(ask(self.path, request, self._timeout_s))


def map_of_blocks(table: Object, cells: int) -> Object:
    """What :meth:`Daemon.map` says, from a classic block table."""
    count = max(1, table.get("block_count", 1))
    cell_size = 1 << (max(1, -(-count // cells)) - 1).bit_length()
    own = str(table.get("node_id", "")).lower()
    owners: dict[str, int] = {}
    found: dict[int, dict[tuple[int, int], int]] = {}
    for row in table["blocks"]:
        key = (owners.setdefault(row["owner"], len(owners)), row["state"])
        into = found.setdefault(row["index"] // cell_size, {})
        into[key] = into.get(key, 0) + 1
    return {
        "first": 0,
        "end": count,
        "cell_size": cell_size,
        "owners": [{"address": None, "node_id": owner, "self": owner == own} for owner in owners],
        "cells": [[cell, [[slot, state, n] for (slot, state), n in at.items()]] for cell, at in sorted(found.items())],
    }
