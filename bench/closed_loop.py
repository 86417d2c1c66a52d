"""The closed loop: a fixed number of exchanges in flight, the next begins when one ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.clients import NS_PER_S, Clients
from bench.frames import ACK, NAK, OFFER
from bench.statistics import quantile_ms

RETRY_S = 1.0  # a reply this late is taken for lost
MAX_TRIES = 5
SILENCE_S = 10.0  # a server that has not answered for so long has died; the rest of the clients fail
_CHECK_NS = NS_PER_S // 10
_IDLE_WAIT_S = 0.05
_NOTHING, _SEND, _DONE = 0, 1, 2


@dataclass(slots=True)
class Outcome:
    """What a loop measured. Latencies in nanoseconds: ``offer_ns`` from a DISCOVER to its OFFER, ``ack_ns`` from a
    REQUEST to its ACK, ``whole_ns`` of the exchange, retries included. ``generator_cpu_s``, ``server_cpu_s``: seconds
    on a processor (None: unknown)."""

    seconds: float = 0.0
    generator_cpu_s: float = 0.0
    server_cpu_s: float | None = None
    failed: int = 0
    retries: int = 0
    naks: int = 0
    offer_ns: list[int] = field(default_factory=list)
    ack_ns: list[int] = field(default_factory=list)
    whole_ns: list[int] = field(default_factory=list)

    def summary(self) -> dict[str, float | int | None]:
        """Rate per second, latency percentiles in milliseconds, the generator's share of a core, the server's
        microseconds on a processor per exchange; None where nothing was measured."""
        done, cpu_s = len(self.whole_ns), self.server_cpu_s
        return {
            "done": done,
            "failed": self.failed,
            "retries": self.retries,
            "naks": self.naks,
            "seconds": round(self.seconds, 6),
            "per_s": round(done / self.seconds, 1) if done and self.seconds else None,
            "p50_ms": quantile_ms(self.whole_ns, 0.50),
            "p95_ms": quantile_ms(self.whole_ns, 0.95),
            "p99_ms": quantile_ms(self.whole_ns, 0.99),
            "offer_p50_ms": quantile_ms(self.offer_ns, 0.50),
            "ack_p50_ms": quantile_ms(self.ack_ns, 0.50),
            "generator_cpu": round(self.generator_cpu_s / self.seconds, 3) if self.seconds else None,
            "server_cpu_us": round(cpu_s / done * 1e6, 1) if done and cpu_s is not None else None,
        }


class ClosedLoop:
    """Drives ``clients``, ``window`` at a time. ``server_cpu_s`` tells how long the server has been on a processor so
    far, in seconds."""

    def __init__(self, clients: Clients, window: int, server_cpu_s: Callable[[], float | None] = lambda: None) -> None:
        self._clients = clients
        self._window = window
        self._server_cpu_s = server_cpu_s
        self._began_ns = [0] * clients.count
        self._sent_ns = [0] * clients.count

    def acquire(self, order: Sequence[int]) -> Outcome:
        """DISCOVER, OFFER, REQUEST, ACK for each client of ``order``."""
        for client in order:
            self._clients.discover(client)
        return self._run(order, self._clients.begin_exchange, self._clients.discover, self._on_acquire)

    def renew(self, order: Sequence[int]) -> Outcome:
        """REQUEST, ACK in the RENEWING state for each client of ``order`` that holds an address. A client may stand in
        it several times; it waits for its former turn to end."""
        holders = self._clients.holders(order)
        for client in set(holders):
            self._clients.renew(client)
        return self._run(holders, self._clients.begin_exchange, lambda client: None, self._on_renew)

    def _run(
        self,
        order: Sequence[int],
        begin: Callable[[int], None],
        again: Callable[[int], None],
        on_reply: Callable[[int, int, int, int, Outcome], int],
    ) -> Outcome:
        outcome, clients, window = Outcome(), self._clients, self._window
        clock, link, began_ns, sent_ns = clients.clock, clients.link, self._began_ns, self._sent_ns
        flying: set[int] = set()
        tries: dict[int, int] = {}
        out: list[int] = []
        position, end = 0, len(order)
        server_cpu_s, cpu_s = self._server_cpu_s(), time.process_time()
        start_ns = now = clock()
        check_at = now + _CHECK_NS
        answered_at = now
        while (flying or position < end) and now - answered_at < SILENCE_S * NS_PER_S:
            while position < end and len(flying) < window and (client := order[position]) not in flying:
                position += 1
                begin(client)
                flying.add(client)
                began_ns[client] = sent_ns[client] = now
                out.append(client)
            if out:
                link.send(out)
                out = []
            count = link.receive(_IDLE_WAIT_S)
            now = clock()
            if count:
                answered_at = now
            for client, kind, address in clients.replies(count):
                if client not in flying:
                    clients.foreign += 1
                    continue
                follows = on_reply(client, kind, address, now, outcome)
                if follows == _SEND:
                    sent_ns[client] = now
                    out.append(client)
                elif follows == _DONE:
                    flying.discard(client)
                    outcome.whole_ns.append(now - began_ns[client])
            if now >= check_at:
                check_at = now + _CHECK_NS
                out += self._late(flying, tries, now, again, outcome)
        outcome.failed += len(flying) + end - position
        outcome.seconds = (clock() - start_ns) / NS_PER_S
        outcome.generator_cpu_s = time.process_time() - cpu_s
        used_s = self._server_cpu_s()
        if used_s is not None and server_cpu_s is not None:
            outcome.server_cpu_s = used_s - server_cpu_s
        return outcome

    def _late(
        self, flying: set[int], tries: dict[int, int], now: int, again: Callable[[int], None], outcome: Outcome
    ) -> list[int]:
        """Who has waited too long and sends again; who did so too often is given up."""
        late = [client for client in flying if now - self._sent_ns[client] > RETRY_S * NS_PER_S]
        sending = []
        for client in late:
            tries[client] = tries.get(client, 1) + 1
            if tries[client] > MAX_TRIES:
                outcome.failed += 1
                flying.discard(client)
                del tries[client]
                continue
            outcome.retries += 1
            again(client)
            self._sent_ns[client] = now
            sending.append(client)
        return sending

    def _on_acquire(self, client: int, kind: int, address: int, now: int, outcome: Outcome) -> int:
        clients = self._clients
        if not clients.asking[client]:
            if kind != OFFER:
                return _NOTHING
            outcome.offer_ns.append(now - self._sent_ns[client])
            clients.choose(client, address)
            return _SEND
        if kind == ACK:
            outcome.ack_ns.append(now - self._sent_ns[client])
            clients.addresses[client] = address
            return _DONE
        if kind == NAK:
            outcome.naks += 1
            clients.discover(client)
            return _SEND
        return _NOTHING

    def _on_renew(self, client: int, kind: int, address: int, now: int, outcome: Outcome) -> int:
        if kind == ACK and address == self._clients.addresses[client]:
            outcome.ack_ns.append(now - self._sent_ns[client])
            return _DONE
        outcome.naks += kind == NAK
        return _NOTHING
