"""The figures of a run, as the performance page tells them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench.document import DOCUMENT, END, MARK, SECTIONS, fill

CLOSED = {"per_s": 1000.0, "p99_ms": 5.0, "server_cpu_us": 50.0}


def results() -> dict[str, Any]:
    """What a run without the parts of our node alone finds: ours half as fast as Kea, for half the work."""
    ours = {
        "acquire": CLOSED, "renew": {**CLOSED, "per_s": 3000.0},
        "unloaded": {"offer_p50_ms": 0.2, "ack_p50_ms": 1.2},
        "avalanche": {
            "clients": 5000, "bound": 5000, "seconds": 2.9, "retries": 3, "most_retries": 1, "duplicates": 0,
        },
    }  # fmt: skip
    kea = {"acquire": {**CLOSED, "per_s": 2000.0, "server_cpu_us": 100.0}, "renew": {**CLOSED, "per_s": 2000.0}}
    machine = {
        "cores": 2, "processor": "some", "kernel": "6", "python": "3.11", "memory_mb": 24000, "sync_p50_ms": 0.2,
        "load_before": 0.1, "load_after": 2.0, "taken_s": 480,
    }  # fmt: skip
    settings = {"clients": 2000, "window": 64, "rounds": 10, "runs": 3, "avalanche": 5000, "within": 1.0}
    servers = {"ddhcp": ours, "kea-2": kea, "dnsmasq": {"missing": "it is not installed"}}
    return {"machine": machine, "settings": settings, "servers": servers, "node": None}


def goal(found: dict[str, Any], name: str) -> str:
    return next(line for line in SECTIONS["goals"](found).splitlines() if line.startswith(f"| {name}"))


def test_a_goal_has_its_figure_and_whether_it_is_met() -> None:
    assert goal(results(), "New clients").endswith("| 0.50 × Kea's rate, for 0.50 × its processor time | no |")
    assert goal(results(), "5,000 new clients").endswith(
        "| 5,000 bound after 2.90 s, 0 twice, 3 retries, at most 1 of one | yes |"
    )
    assert goal(results(), "Unloaded").endswith("| 0.20 ms and 1.20 ms | no |")
    assert "1.50 × Kea's rate" in goal(results(), "Renewals")


def test_what_was_not_measured_is_said() -> None:
    assert goal(results(), "Start with 100,000 leases").endswith("| not measured | open |")


@pytest.mark.parametrize(("peak", "verdict"), [(1, "open"), (3, "no")])
def test_a_goal_is_not_met_by_a_comparison_with_what_was_not_there(peak: int, verdict: str) -> None:
    idle = {"ours": {"packets": 10, "bytes": 850, "seconds": 120, "peak": peak, "cpu_share": 0.0}}
    found = {**results(), "node": {"idle": idle}}
    assert goal(found, "Idle mesh").endswith(f"| {verdict} |")
    assert goal(found, "Renewals").endswith("| open |")


def flat_case(block_size: int, network: str, new_us: float, mean_us: float) -> dict[str, Any]:
    return {
        "block_size": block_size, "network": network, "peers": 10, "new_us": new_us, "new_mean_us": mean_us,
        "claim_us": 400.0, "new_p99_us": 200.0, "renew_us": 8.0, "renew_p99_us": 30.0,
    }  # fmt: skip


@pytest.mark.parametrize(("dearest_us", "verdict"), [(44.0, "yes"), (44.5, "no")])
def test_pools_are_compared_within_one_block_size(dearest_us: float, verdict: str) -> None:
    flat = [
        flat_case(4, "10.0.0.0/24", 30.0, 50.0), flat_case(4, "10.0.0.0/8", 30.0, 50.0),
        flat_case(32, "10.0.0.0/24", 22.0, 40.0), flat_case(32, "10.0.0.0/8", 22.0, dearest_us),
    ]  # fmt: skip
    found = {**results(), "node": {"flat": flat}}
    line = goal(found, "The same cost")
    assert line.endswith(f"| {verdict} |")
    assert "blocks of 4: a new client 1.00 × (median), all in all 1.00 × (mean), a renewal 1.00 ×" in line
    text = SECTIONS["flat"](found)
    assert f"all in all {dearest_us / 40:.2f} × (mean)" in text
    told = f"a new client {30 / 22:.2f} × (median), all in all {50 / (20 + dearest_us / 2):.2f} × (mean)."
    assert f"Blocks of 4 against blocks of 32: {told}" in text


def test_a_server_that_is_missing_has_no_line() -> None:
    lines = SECTIONS["servers"](results()).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| ddhcp, compiled", "| Kea, 2 threads, no sync"]


def test_only_what_stands_between_marks_is_replaced() -> None:
    text = f"before\n{MARK.format('machine')}\nold\n{END}\nafter\n"
    filled = fill(text, results())
    assert filled.startswith("before\n")
    assert filled.endswith("after\n")
    assert "old" not in filled
    assert "8.0 minutes" in filled
    assert fill(filled, results()) == filled


def test_a_mark_without_an_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no"):
        fill(MARK.format("machine"), results())


def test_the_page_has_a_place_for_every_section() -> None:
    text = DOCUMENT.read_text()
    assert all(MARK.format(name) in text for name in SECTIONS)
    assert text.count(END) == len(SECTIONS)


def test_results_are_plain_json(tmp_path: Path) -> None:
    assert json.loads(json.dumps(results())) == results()
