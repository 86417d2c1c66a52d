"""Figures, table and machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from bench.avalanche import Avalanche
from bench.closed_loop import Outcome
from bench.peers import CLASSIC_VARIABLE, all_peers
from bench.report import WIDTH, describe, machine, table
from bench.statistics import quantile_ms, ratio, summarise

MS = 10**6


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_quantiles(share: float, expected: float) -> None:
    assert quantile_ms([number * MS for number in range(100, 0, -1)], share) == expected
    assert quantile_ms([], share) is None


def test_medians_of_figures_and_the_worst_of_trouble() -> None:
    runs: list[dict[str, float | int | None]] = [
        {"per_s": 10.0, "retries": 0, "bound": 5, "p99_ms": None},
        {"per_s": 30.0, "retries": 2, "bound": 4, "p99_ms": 1.0},
        {"per_s": 20.0, "retries": 0, "bound": 5, "p99_ms": 3.0},
    ]
    assert summarise(runs) == {"per_s": 20.0, "retries": 2, "bound": 4, "p99_ms": 2.0}
    assert summarise([{"per_s": None}]) == {"per_s": None}
    assert summarise([]) == {}


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"), [(3.0, 2.0, 1.5), (None, 2.0, None), (3.0, None, None), (3.0, 0.0, None)]
)
def test_ratio(ours: float | None, theirs: float | None, expected: float | None) -> None:
    assert ratio(ours, theirs) == expected


def result(rate: float, retries: int = 0, duplicates: int = 0) -> dict[str, Any]:
    done = int(rate)
    phase = Outcome(1.0, 0.5, 0.1, 0, retries, 0, [MS] * done, [MS] * done, [2 * MS] * done).summary()
    return {
        "remark": "a remark",
        "version": "version 1",
        **dict.fromkeys(("unloaded", "acquire", "renew"), phase),
        "check": {"duplicates": duplicates, "foreign_replies": 0},
        "memory": {"server_rss_mb": 12.3},
        "avalanche": {**Avalanche(5000, 3.0, 0, [MS], {0: 1}).summary(), "duplicates": 0},
    }


def test_the_table_fits_a_terminal_and_hides_no_trouble() -> None:
    results = {
        "ddhcp": result(3000),
        "peer": result(1500, retries=3, duplicates=2),
        "other": {"missing": "it is " + "very " * 20 + "absent"},
    }
    text = table(results, "ddhcp")
    assert all(len(line) <= WIDTH for line in text.splitlines())
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith(("ddhcp  ", "peer  "))}
    assert text.count("\npeer ") == 3
    assert rows["peer"][:2] == ["peer", "5,000"]
    assert any(line.split()[:3] == ["peer", "1,500", "2.00"] for line in text.splitlines())
    assert "acquire retries: 3" in text
    assert "2 ADDRESSES GIVEN TWICE" in text
    assert "other: not measured: it is very" in text


def test_without_ours_there_are_no_ratios() -> None:
    text = table({"ddhcp": {"missing": "not built"}, "peer": result(1500)}, "ddhcp")
    assert any(line.split()[:3] == ["peer", "1,500", "-"] for line in text.splitlines())


def test_a_busy_machine_is_told(tmp_path: Path) -> None:
    found = machine(tmp_path)
    assert isinstance(found["sync_p50_ms"], float)
    assert list(tmp_path.iterdir()) == []
    assert "BUSY" in describe({**found, "load_before": 99.0})
    assert "BUSY" not in describe({**found, "load_before": 0.0})


def test_a_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.peers.program", lambda name: None)
    monkeypatch.delenv(CLASSIC_VARIABLE, raising=False)
    missing = {peer.name: peer.missing() for peer in all_peers()}
    assert missing["kea-2"] == "kea-dhcp4 is not installed (Debian: kea-dhcp4-server)"
    assert CLASSIC_VARIABLE in missing["classic"]
    monkeypatch.setenv(CLASSIC_VARIABLE, str(tmp_path / "ddhcpd"))
    assert {peer.name: peer.missing() for peer in all_peers()}["classic"] == ""


def test_every_server_starts_within_its_directory(tmp_path: Path) -> None:
    for peer in all_peers():
        directory = tmp_path / peer.name
        directory.mkdir()
        start = peer.start(directory, 500)
        assert start.command
        files = [part for part in start.command if part != sys.executable]  # a checkout may lie in /tmp as well
        strays = [part for part in files if part.startswith("/tmp") and not part.startswith(str(directory))]
        assert strays == []
