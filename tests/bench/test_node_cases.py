"""What the benchmark measures of our node alone: the subject works, and the findings are told."""

from __future__ import annotations

import pytest
from bench.node import LEASE_TIME_S, Costs, Subject, compare, stored
from bench.node_cases import describe
from bench.scale import LINES, draw

from ddhcp.core import Pool

POOL = Pool(0x0A000000, 24, 32)


def test_a_node_that_heard_peers_keeps_to_its_half() -> None:
    subject = Subject(POOL, 500, 60)
    subject.settle(60)
    assert {block.index for block in subject.node.block_views(subject.now) if block.state == 4} <= {0, 1, 2, 3}


def test_every_new_client_and_every_renewal_is_answered() -> None:
    costs = Costs(POOL, 3, 10)
    for _ in range(2):
        costs.measure()
    found = costs.found()
    assert set(found) == {"new_us", "new_p99_us", "new_mean_us", "claim_us", "renew_us", "renew_p99_us"}
    assert all(value > 0 for value in found.values())


def test_every_pool_is_measured_with_blocks_of_every_size_among_few_and_many_peers() -> None:
    found = compare(["10.0.0.0/24", "10.0.0.0/8"], [3, 5], [1, 3], 1)
    assert [(case["block_size"], case["network"], case["peers"]) for case in found] == [
        (size, network, peers) for size in (8, 32) for network in ("10.0.0.0/24", "10.0.0.0/8") for peers in (1, 3)
    ]


def test_too_many_clients_for_the_pool_are_told() -> None:
    subject = Subject(POOL, 0, 1000)
    with pytest.raises(RuntimeError, match="claims no blocks"):
        subject.settle(1000)


def test_the_store_of_many_leases_has_each_address_once() -> None:
    blocks, leases = stored(Pool(0x0A000000, 8, 32), 100, 0.0)
    assert len({lease.address for lease in leases}) == 100
    assert {lease.expires_at for lease in leases} == {LEASE_TIME_S}
    assert [block.index for block in blocks] == [8, 9, 10, 11]


def test_what_failed_is_said() -> None:
    text = describe({"flat": [], "lease": None, "start": {}, "roam": None, "failed": ["roam: no such device"]})
    assert "failed: roam: no such device" in text


def test_the_plot_has_a_line_for_each_kind() -> None:
    assert draw().count("<polyline") == len(LINES)


def test_a_mesh_is_told_with_what_it_cost() -> None:
    mesh = {
        "nodes": 50, "clients": 2000, "bound": 1999, "seconds": 10.2, "retries": 3, "duplicates": 0, "cpu_s": 12.5,
        "packets": 4321, "node_cpu_ms": 250.0, "node_packets": 86.4,
    }  # fmt: skip
    text = describe({"flat": [], "lease": None, "start": {}, "roam": None, "mesh": [mesh, None], "failed": []})
    assert "mesh of 50: 1999 of 2000 clients bound after 10.20 s, 3 retries, 0 twice" in text
    assert "12.5 s of processor, 4,321 packets; a node 250 ms, 86 packets" in text
