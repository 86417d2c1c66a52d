"""The closed loop's bookkeeping, with a model server behind the link."""

from __future__ import annotations

import pytest
from bench.clients import Clients
from bench.closed_loop import MAX_TRIES, RETRY_S, SILENCE_S, ClosedLoop
from bench.frames import ACK, DISCOVER, NAK, OFFER, REQUEST, ClientFrames
from tests.bench.model import ModelLink

COUNT = 32
MS = 10**6


class Bench:
    """Clients, a link to a model server and a loop over them."""

    def __init__(self, window: int = 4, **model: object) -> None:
        frames = ClientFrames(COUNT)
        self.link = ModelLink(frames, **model)  # type: ignore[arg-type]
        self.clients = Clients(self.link, frames, self.link.clock)
        self.loop = ClosedLoop(self.clients, window)

    def sent(self, kind: int) -> int:
        return len([message for message in self.link.sent if message[2] == kind])


def answer(number: int, kind: int) -> int:
    return OFFER if kind == DISCOVER else ACK


@pytest.mark.parametrize("type_last", [False, True])
def test_every_client_gets_an_address_and_renews_it(type_last: bool) -> None:
    bench = Bench(type_last=type_last)
    acquired = bench.loop.acquire(range(20))
    assert (len(acquired.whole_ns), acquired.failed, acquired.retries, len(bench.link.sent)) == (20, 0, 0, 40)
    assert bench.clients.addresses == [0x0A4D0100 + client for client in range(20)] + [0] * 12
    assert (bench.clients.duplicates(), bench.clients.foreign) == (0, 0)
    renewed = bench.loop.renew([*range(20), *range(20)])
    assert (len(renewed.whole_ns), len(renewed.ack_ns), len(bench.link.sent)) == (40, 40, 80)


def test_no_more_than_the_window_is_in_flight() -> None:
    bench = Bench(window=3)
    bench.loop.acquire(range(20))
    waiting = most = 0
    for _, _, kind in bench.link.sent:
        waiting += 1 if kind == DISCOVER else 0
        most = max(most, waiting)
        waiting -= 1 if kind == REQUEST else 0
    assert most <= 3
    assert bench.sent(DISCOVER) == 20


def test_one_client_waits_for_its_former_turn() -> None:
    bench = Bench(window=4)
    bench.loop.acquire([0])
    assert len(bench.loop.renew([0, 0, 0]).whole_ns) == 3


def test_who_holds_no_address_does_not_renew() -> None:
    bench = Bench()
    bench.loop.acquire([1])
    assert len(bench.loop.renew([0, 1, 2]).whole_ns) == 1


def test_lost_messages_are_sent_again_and_counted() -> None:
    bench = Bench(answer=lambda number, kind: 0 if number in (0, 5) else answer(number, kind))
    outcome = bench.loop.acquire(range(8))
    assert (len(outcome.whole_ns), outcome.failed, outcome.retries) == (8, 0, 2)
    assert max(outcome.whole_ns) > RETRY_S * 1e9


def test_a_lost_renewal_is_sent_again() -> None:
    bench = Bench(answer=lambda number, kind: 0 if number == 4 else answer(number, kind))
    bench.loop.acquire([0, 1])
    outcome = bench.loop.renew([0, 1])
    assert (len(outcome.whole_ns), outcome.retries) == (2, 1)


def test_who_is_not_heard_is_given_up() -> None:
    bench = Bench(answer=lambda number, kind: 0)
    outcome = bench.loop.acquire(range(3))
    assert (len(outcome.whole_ns), outcome.failed, outcome.retries) == (0, 3, 3 * (MAX_TRIES - 1))
    assert outcome.summary()["p50_ms"] is None
    assert outcome.summary()["per_s"] is None


def test_a_dead_server_ends_the_measurement() -> None:
    bench = Bench(window=1, answer=lambda number, kind: 0)
    outcome = bench.loop.acquire(range(COUNT))
    assert outcome.failed == COUNT
    assert outcome.seconds < SILENCE_S + 2 * RETRY_S


def test_a_refused_client_begins_anew() -> None:
    bench = Bench(answer=lambda number, kind: NAK if number == 1 else answer(number, kind), window=1)
    outcome = bench.loop.acquire([0])
    assert [kind for _, _, kind in bench.link.sent] == [DISCOVER, REQUEST, DISCOVER, REQUEST]
    assert (outcome.naks, len(outcome.whole_ns)) == (1, 1)


def test_two_clients_with_one_address_are_noticed() -> None:
    bench = Bench(same=True)
    bench.loop.acquire(range(3))
    assert bench.clients.duplicates() == 2


def test_latency_runs_from_the_first_message() -> None:
    outcome = Bench(window=1).loop.acquire(range(2))
    assert (outcome.offer_ns, outcome.ack_ns, outcome.whole_ns) == ([MS] * 2, [MS] * 2, [2 * MS] * 2)
    assert outcome.summary()["per_s"] == 500.0


def test_the_servers_processor_time_is_that_of_the_phase() -> None:
    frames = ClientFrames(COUNT)
    link = ModelLink(frames)
    used = iter([5.0, 5.5])
    loop = ClosedLoop(Clients(link, frames, link.clock), 4, lambda: next(used))
    assert loop.acquire(range(10)).summary()["server_cpu_us"] == 50_000.0


def test_answers_to_former_transactions_count_for_nothing() -> None:
    bench = Bench()
    bench.link.send([0])
    assert bench.clients.replies(bench.link.receive(0)) == []
    assert bench.clients.foreign == 1


def test_probe() -> None:
    assert Bench().clients.probe(0, 1.0)
    assert not Bench(answer=lambda number, kind: 0).clients.probe(0, 1.0)
