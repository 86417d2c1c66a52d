"""The open loop's bookkeeping, with a model server behind the link."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from bench.avalanche import BACKOFF_S, JITTER_S, Avalanche, OpenLoop
from bench.clients import Clients
from bench.frames import ACK, DISCOVER, NAK, OFFER, REQUEST, ClientFrames
from tests.bench.model import ModelLink

COUNT = 50
SECOND = 10**9


def run(within_s: float = 1.0, patience_s: float = 200.0, **model: object) -> tuple[Avalanche, ModelLink, Clients]:
    frames = ClientFrames(COUNT)
    link = ModelLink(frames, **model)  # type: ignore[arg-type]
    clients = Clients(link, frames, link.clock)
    return OpenLoop(clients, random.Random(7)).run(range(COUNT), within_s, patience_s), link, clients


def answer(number: int, kind: int) -> int:
    return OFFER if kind == DISCOVER else ACK


def test_all_are_bound_without_a_retry() -> None:
    outcome, link, clients = run()
    assert (len(outcome.bound_ns), sum(outcome.retries.values()), outcome.naks) == (COUNT, 0, 0)
    assert (len(link.sent), clients.duplicates(), clients.foreign) == (2 * COUNT, 0, 0)
    assert all(clients.addresses)


def test_they_come_within_the_time_given() -> None:
    outcome, link, _ = run(within_s=10.0)
    came_s = [when / SECOND for when, _, kind in link.sent if kind == DISCOVER]
    assert 8.0 < max(came_s) < 10.1
    assert 0.0 <= min(came_s) < 2.0
    assert outcome.seconds >= max(came_s)


def test_unheard_clients_back_off() -> None:
    outcome, link, _ = run(answer=lambda number, kind: 0, within_s=0.5, patience_s=50.0)
    assert outcome.bound_ns == []
    assert outcome.seconds == pytest.approx(50.0, abs=0.1)
    when = [at / SECOND for at, client, _ in link.sent if client == 3]
    steps = [later - earlier for earlier, later in pairwise(when)]
    assert len(steps) == 3  # 4, 8 and 16 seconds; another 32 would pass the end
    assert all(abs(step - backoff) <= JITTER_S + 0.01 for step, backoff in zip(steps, BACKOFF_S, strict=False))
    assert outcome.summary()["most_retries"] == 3


def test_a_lost_request_is_sent_again() -> None:
    lost = Counter[int]()

    def lose_first_request(number: int, kind: int) -> int:
        lost[kind] += 1
        return 0 if kind == REQUEST and lost[kind] == 1 else answer(number, kind)

    outcome, link, _ = run(answer=lose_first_request)
    assert (len(outcome.bound_ns), sum(outcome.retries.values())) == (COUNT, 1)
    assert Counter(kind for _, _, kind in link.sent) == {DISCOVER: COUNT, REQUEST: COUNT + 1}
    assert max(outcome.bound_ns) > (BACKOFF_S[0] - JITTER_S) * SECOND


def test_a_refused_client_begins_anew() -> None:
    seen = Counter[int]()

    def refuse_first(number: int, kind: int) -> int:
        seen[kind] += 1
        return NAK if kind == REQUEST and seen[kind] == 1 else answer(number, kind)

    outcome, link, _ = run(answer=refuse_first)
    assert (outcome.naks, len(outcome.bound_ns), sum(outcome.retries.values())) == (1, COUNT, 1)
    assert Counter(kind for _, _, kind in link.sent) == {DISCOVER: COUNT + 1, REQUEST: COUNT + 1}


def test_addresses_given_twice_are_noticed() -> None:
    assert run(same=True)[2].duplicates() == COUNT - 1


def test_summary() -> None:
    outcome = Avalanche(3, 2.5, 1, [10**9, 2 * 10**9], {0: 0, 1: 2, 2: 1})
    assert outcome.summary() == {
        "clients": 3,
        "bound": 2,
        "seconds": 2.5,
        "p50_ms": 1000.0,
        "p95_ms": 2000.0,
        "p99_ms": 2000.0,
        "retries": 3,
        "most_retries": 2,
        "naks": 1,
    }
