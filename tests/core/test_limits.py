"""Token buckets and remembered decisions: what they allow and what they cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core.decisions import KEPT_PER_CLIENT, MAX_CLIENTS, Decision, Decisions
from ddhcp.core.limits import MAX_BUCKETS, RateLimiter
from ddhcp.core.policy import Limits


def test_a_burst_then_the_rate() -> None:
    limiter = RateLimiter(2, 5)
    assert [limiter.allows(b"a", 10) for _ in range(7)] == [True] * 5 + [False] * 2
    assert limiter.allows(b"b", 10), "each key for itself"
    assert [limiter.allows(b"a", 11) for _ in range(3)] == [True, True, False]


def test_all_together() -> None:
    limiter = RateLimiter(0, 0, 1, 3)
    assert [limiter.allows(bytes((n,)), 5) for n in range(5)] == [True] * 3 + [False] * 2
    assert limiter.allows(b"x", 6)


def test_a_rate_of_zero_is_no_limit() -> None:
    limiter = RateLimiter(0, 0)
    assert all(limiter.allows(b"a", 0) for _ in range(1000))
    assert len(limiter) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=60))
def test_never_more_than_burst_and_rate(steps: list[tuple[int, float]]) -> None:
    limiter = RateLimiter(1.5, 4)
    now, passed = 0.0, dict.fromkeys(range(4), 0)
    for key, wait_s in steps:
        now += wait_s
        passed[key] += limiter.allows(bytes((key,)), now)
        assert passed[key] <= 4 + 1.5 * now + 1e-6


def test_memory_is_bounded() -> None:
    limiter, decisions = RateLimiter(1, 1), Decisions()
    for number in range(max(MAX_BUCKETS, MAX_CLIENTS) + 500):
        key = number.to_bytes(16, "big")
        limiter.allows(key, number)
        decisions.note(key, number, "DISCOVER", "offered")
    assert len(limiter) == MAX_BUCKETS
    assert len(decisions) == MAX_CLIENTS
    assert decisions.latest(bytes(16)) is None
    assert decisions.latest(key) == Decision(number, "DISCOVER", "offered", "", 0)


def test_of_each_client_the_last_decisions_are_remembered() -> None:
    decisions, client, other = Decisions(), bytes(16), b"\1" * 16
    for number in range(KEPT_PER_CLIENT + 3):
        decisions.note(client, number, "REQUEST", "refused", "in-use", address=number)
    decisions.note(other, 50.0, "REQUEST", "granted", "", KEPT_PER_CLIENT)
    kept = decisions.of(client)
    assert [decision.address for decision in kept] == list(range(3, KEPT_PER_CLIENT + 3))
    assert decisions.about(KEPT_PER_CLIENT) == [(client, kept[-3]), (other, decisions.latest(other))]
    assert decisions.of(b"\2" * 16) == []


def test_the_same_decision_again_is_counted() -> None:
    decisions, client = Decisions(), bytes(16)
    decisions.note(client, 1.0, "DISCOVER", "offered", "", 5)
    for at in range(2, 2 + 3 * KEPT_PER_CLIENT):
        decisions.note(client, at, "DISCOVER", "ignored", "denied")
    assert decisions.of(client) == [
        Decision(1.0, "DISCOVER", "offered", "", 5),
        Decision(at, "DISCOVER", "ignored", "denied", 0, times=3 * KEPT_PER_CLIENT),
    ]


def test_the_defaults_let_a_crowd_pass_and_cut_off_a_flood() -> None:
    """W11: ten thousand devices after a power cut, each asking three times, and a hundred thousand made-up ones."""
    limits = Limits()

    def allowed(clients: int, seconds: float, times: int) -> int:
        limiter = RateLimiter(
            limits.discover_per_s, limits.discover_burst, limits.total_discover_per_s, limits.total_discover_burst
        )
        step_s = seconds / (clients * times)
        moments = range(clients * times)
        return sum(limiter.allows((number % clients).to_bytes(6, "big"), 1000 + number * step_s) for number in moments)

    assert allowed(10_000, 10, times=3) == 30_000
    assert allowed(100_000, 1, times=1) <= limits.total_discover_burst + limits.total_discover_per_s
