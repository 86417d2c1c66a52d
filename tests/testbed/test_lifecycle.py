"""Counting life cycle packets: what is counted, and what the formula says."""

from __future__ import annotations

import pytest

from ddhcp.testbed.lifecycle import Sent, classic_per_s, describe, predicted_per_s, summarise


def test_packets_bytes_and_the_worst_moment() -> None:
    instants = (0.0, 1.0, 1.05, 1.09, 1.11, 1.3)
    found = summarise([Sent(at, number % 2, 100) for number, at in enumerate(instants)], 2, 10.0)
    assert (found.packets, found.bytes, found.peak) == (6, 600, 3)
    assert found.packets_per_node_s == pytest.approx(0.3)
    assert found.bytes_per_node_s == pytest.approx(30.0)


def test_silence_is_a_result() -> None:
    found = summarise([], 3, 10.0)
    assert (found.packets, found.peak, found.packets_per_node_s) == (0, 0, 0.0)
    assert "3 nodes in 10.0 s: 0 packets" in describe(found)


def test_the_formula_at_the_defaults() -> None:
    """T 60 s, L 300 s: blocks are announced every 131 s at most, 15 % sooner on average; spare ones in a crowded pool
    three times in T."""
    assert 1 / predicted_per_s(60, 300, 1) == pytest.approx(131.67 * 0.85, rel=1e-3)
    assert 1 / predicted_per_s(60, 300, 1, crowded=True) == pytest.approx(55 / 3 * 0.85, rel=1e-3)
    assert 1 / classic_per_s(60, 1) == pytest.approx(16.0)


@pytest.mark.parametrize("blocks", [1, 32, 205])
def test_up_to_205_blocks_cost_the_same(blocks: int) -> None:
    assert predicted_per_s(60, 300, blocks) == predicted_per_s(60, 300, 1)


def test_more_blocks_need_more_packets() -> None:
    assert predicted_per_s(60, 300, 206) == 2 * predicted_per_s(60, 300, 1)
    assert classic_per_s(60, 33) == 2 * classic_per_s(60, 1)
    assert predicted_per_s(60, 300, 0) == 0.0
