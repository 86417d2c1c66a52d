"""Malformed packets by the thousand on both links of a real daemon with debug logging on (I6, I11, I35, I36)."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import flood

pytestmark = pytest.mark.netns

PACKETS = 20_000
MOST_GROWTH_KIB = 1024  # of some 40 000: the tables are full before it is measured


def test_malformed_packets_leave_the_daemon_serving_and_its_memory_flat(isolated: None, tmp_path: Path) -> None:
    """I6, I11."""
    outcome = flood.run(PACKETS, 1, debug=True, directory=tmp_path)
    assert outcome.problems() == []
    assert outcome.read > PACKETS * 0.9, "they got there"
    assert outcome.rss_after_kib - outcome.rss_kib < MOST_GROWTH_KIB
