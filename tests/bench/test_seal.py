"""The benchmark of the seal measures what it says."""

from __future__ import annotations

import pytest

from bench import seal


def test_every_message_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "PACKETS", 20)
    monkeypatch.setattr(seal, "RUNS", 1)
    rows = seal.measure()
    assert [row["message"] for row in rows] == list(seal.packets())
    assert all(float(row["both_with_replay_check_us"]) > 0 for row in rows)
