"""Asking the loop, and asking it once for what many want to know."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ..api import MAX_CELLS
from ..bridge import Bridge, Busy

Object = dict[str, Any]

ANSWER_WITHIN_S = 5.0
STATUS_FOR_S = 0.5  # how old a status may be; however many ask, the loop computes two a second
MAP_FOR_S = 2.0
MAX_MAPS = 16  # windows of the pool kept
MAX_STEPS = 512  # questions that one map or list may take: all of a /8 needs 256
PAUSE_S = 0.002  # between two of them, so that packets have the loop most of the time
SAMPLE_EVERY_S = 10.0
SAMPLES = 360  # an hour


class Unavailable(Exception):
    """The loop did not answer in time."""


class Snapshots:
    """Questions to the loop, from the HTTP thread's event loop."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._kept: dict[tuple[object, ...], tuple[float, asyncio.Future[Object]]] = {}
        self.history: deque[Object] = deque(maxlen=SAMPLES)

    async def ask(self, command: str, **arguments: object) -> Object:
        """One answer of the API. Raises ValueError for a refused request, :class:`~ddhcp.daemon.bridge.Busy`, or
        :class:`Unavailable`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Object] = loop.create_future()

        def settle(answer: object) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)  # type: ignore[arg-type]

        def done(answer: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, answer)

        given = {name: value for name, value in arguments.items() if value is not None}
        self._bridge.ask({"command": command, **given}, done)
        try:
            return await asyncio.wait_for(future, ANSWER_WITHIN_S)
        except TimeoutError:
            raise Unavailable("the daemon did not answer in time") from None

    async def _shared(self, key: tuple[object, ...], for_s: float, make: Callable[[], Awaitable[Object]]) -> Object:
        """What ``make`` gives, at most ``for_s`` old; those who ask meanwhile wait for the same."""
        now = time.monotonic()
        kept = self._kept.get(key)
        if kept is not None and now - kept[0] < for_s and not _failed(kept[1]):
            return await asyncio.shield(kept[1])
        while len(self._kept) >= MAX_MAPS:
            self._kept.pop(next(iter(self._kept)))
        future = asyncio.ensure_future(make())
        self._kept.pop(key, None)
        self._kept[key] = (now, future)
        return await asyncio.shield(future)

    async def status(self) -> Object:
        """The node's status."""
        return await self._shared(("status",), STATUS_FOR_S, lambda: self.ask("status"))

    async def map(self, first: int | None, count: int | None, cells: int | None) -> Object:
        """Who owns how much of a window of the pool, whole."""
        key = ("map", first, count, cells)
        return await self._shared(key, MAP_FOR_S, lambda: self._map(first, count, cells or MAX_CELLS))

    async def _map(self, first: int | None, count: int | None, cells: int) -> Object:
        whole: Object | None = None
        after: int | None = None
        owners: dict[tuple[str | None, str], Object] = {}
        places: dict[tuple[str | None, str], int] = {}
        found: dict[int, dict[tuple[int, int], int]] = {}
        for _ in range(MAX_STEPS):
            answer = await self.ask("map", first=first, count=count, cells=cells, after=after)
            whole = whole or answer
            slots = []
            for owner in answer["owners"]:
                key = (owner["address"], owner["node_id"])
                owners[key] = owner
                slots.append(places.setdefault(key, len(places)))
            for cell, counts in answer["cells"]:
                into = found.setdefault(cell, {})
                for slot, state, blocks in counts:
                    at = (slots[slot], state)
                    into[at] = into.get(at, 0) + blocks
            after = answer["next"]
            if after is None:
                break
            await asyncio.sleep(PAUSE_S)
        assert whole is not None
        return whole | {
            "owners": list(owners.values()),
            "cells": [[cell, [[s, state, n] for (s, state), n in at.items()]] for cell, at in sorted(found.items())],
            "next": after,
        }

    async def page(self, command: str, key: str, limit: int, after: object, **arguments: object) -> Object:
        """A full page of a list, unless it ends before, or takes too many questions."""
        rows: list[Object] = []
        answer: Object = {}
        for _ in range(MAX_STEPS):
            answer = await self.ask(command, limit=limit - len(rows), after=after, **arguments)
            rows += answer[key]
            after = answer["next"]
            if after is None or len(rows) >= limit:
                break
            await asyncio.sleep(PAUSE_S)
        return answer | {key: rows, "next": after}

    async def sample(self) -> None:
        """Keep the history of the last hour, for ever."""
        while True:
            # A failure is a gap in the picture; whoever asks directly is told what is wrong.
            with contextlib.suppress(ValueError, KeyError, Busy, Unavailable):
                self.history.append(_sample(await self.status()))
            await asyncio.sleep(SAMPLE_EVERY_S)


def _failed(future: asyncio.Future[Object]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def _sample(status: Object) -> Object:
    counters = status["statistics"]
    return {
        "time": round(time.time(), 1),
        "leased": status["leases"]["leased"],
        "free": status["leases"]["free"],
        "ours": status["blocks"]["ours"],
        "taken": status["pool"]["blocks"] - status["blocks"]["free"],
        "peers": status["peers"]["known"],
        "requests": counters.get("dhcp.recv_pkg", 0),
        "answers": counters.get("dhcp.send_pkg", 0),
        "naks": counters.get("dhcp.send_nak", 0),
        "swarm": counters.get("mcast.recv_pkg", 0) + counters.get("direct.recv_pkg", 0),
    }
