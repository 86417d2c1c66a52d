"""The open loop: all clients come within a moment, whatever the server makes of it, and each repeats itself by
RFC 2131 4.1 until it is bound."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.clients import NS_PER_S, Clients
from bench.frames import ACK, NAK, OFFER
from bench.statistics import quantile_ms

BACKOFF_S = (4.0, 8.0, 16.0, 32.0, 64.0)
JITTER_S = 1.0


@dataclass(slots=True)
class Avalanche:
    """What became of the clients. ``bound_ns``: of each bound client, nanoseconds from its first DISCOVER to its ACK.
    ``seconds``: from the start until the last was bound, or until patience ended. ``retries``: per client that came,
    how often it had to send again."""

    clients: int
    seconds: float = 0.0
    naks: int = 0
    bound_ns: list[int] = field(default_factory=list)
    retries: dict[int, int] = field(default_factory=dict)

    def summary(self) -> dict[str, float | int | None]:
        """Counts, seconds, and latency percentiles in milliseconds."""
        return {
            "clients": self.clients,
            "bound": len(self.bound_ns),
            "seconds": round(self.seconds, 3),
            "p50_ms": quantile_ms(self.bound_ns, 0.50),
            "p95_ms": quantile_ms(self.bound_ns, 0.95),
            "p99_ms": quantile_ms(self.bound_ns, 0.99),
            "retries": sum(self.retries.values()),
            "most_retries": max(self.retries.values(), default=0),
            "naks": self.naks,
        }


class OpenLoop:
    """Lets ``clients`` come in the order of ``rng``."""

    def __init__(self, clients: Clients, rng: random.Random) -> None:
        self._clients = clients
        self._rng = rng
        self._due_ns: dict[int, int] = {}  # of each client not yet bound; an entry of the queue that differs is stale
        self._queue: list[tuple[int, int]] = []
        self._began_ns: dict[int, int] = {}

    def run(self, arriving: Sequence[int], within_s: float, patience_s: float) -> Avalanche:
        """All of ``arriving`` come within ``within_s``, evenly at random; ends when they are bound or after
        ``patience_s``."""
        clients, outcome = self._clients, Avalanche(len(arriving))
        for client in arriving:
            clients.discover(client)
        start_ns = now = clients.clock()
        for client in arriving:
            self._wake(client, now + int(self._rng.uniform(0, within_s) * NS_PER_S))
        give_up_ns = start_ns + int(patience_s * NS_PER_S)
        while self._due_ns and now < give_up_ns:
            if out := self._due(now, outcome):
                clients.link.send(out)
            wait_ns = (min(self._queue[0][0], give_up_ns) if self._queue else give_up_ns) - clients.clock()
            count = clients.link.receive(max(0.0, wait_ns / NS_PER_S))
            now = clients.clock()
            replies = clients.replies(count)
            if out := [who for who, kind, address in replies if self._on_reply(who, kind, address, now, outcome)]:
                clients.link.send(out)
        outcome.seconds = (now - start_ns) / NS_PER_S
        return outcome

    def _due(self, now: int, outcome: Avalanche) -> list[int]:
        """Whose time to send has come."""
        out = []
        while self._queue and self._queue[0][0] <= now:
            due_ns, client = heapq.heappop(self._queue)
            if self._due_ns.get(client) != due_ns:
                continue
            if client in self._began_ns:
                outcome.retries[client] += 1
            else:
                self._began_ns[client] = now
                outcome.retries[client] = 0
            self._back_off(client, now, outcome)
            out.append(client)
        return out

    def _back_off(self, client: int, now: int, outcome: Avalanche) -> None:
        step_s = BACKOFF_S[min(outcome.retries[client], len(BACKOFF_S) - 1)]
        self._wake(client, now + int((step_s + self._rng.uniform(-JITTER_S, JITTER_S)) * NS_PER_S))

    def _wake(self, client: int, due_ns: int) -> None:
        self._due_ns[client] = due_ns
        heapq.heappush(self._queue, (due_ns, client))

    def _on_reply(self, client: int, kind: int, address: int, now: int, outcome: Avalanche) -> bool:
        """Whether the client has something to send now."""
        clients = self._clients
        if client not in self._due_ns:
            clients.foreign += 1
            return False
        if not clients.asking[client]:
            if kind != OFFER:
                return False
            clients.choose(client, address)
        elif kind == ACK:
            clients.addresses[client] = address
            outcome.bound_ns.append(now - self._began_ns[client])
            del self._due_ns[client]
            return False
        elif kind == NAK:
            outcome.naks += 1
            outcome.retries[client] += 1
            clients.discover(client)
        else:
            return False
        self._back_off(client, now, outcome)
        return True
