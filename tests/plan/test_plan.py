"""ddhcp-plan: what it recommends works out, and what cannot be is said in one line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core import NodeConfig, Pool
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.plan import Demand, PlanError, make_plan
from ddhcp.plan.main import duration_s, main
from ddhcp.sim import VirtualSwarm

DEMANDS = st.builds(
    Demand,
    nodes=st.integers(1, 2000),
    clients=st.integers(1, 15_000),  # twice as many with the longest leases and the shortest stays still fit a /8
    stay_s=st.integers(60, 10**6),
    lease_s=st.integers(60, 30_000),
    spares=st.integers(0, 50),
)


@given(DEMANDS)
def test_the_pool_holds_what_is_expected_at_the_busiest_time(demand: Demand) -> None:
    plan = make_plan(demand)
    needed_by_clients = plan.held_addresses
    kept_spare = demand.nodes * demand.spares
    assert plan.pool.num_addresses - 2 >= needed_by_clients + kept_spare
    assert plan.held_addresses >= demand.clients
    assert plan.blocks << plan.block_bits == plan.pool.num_addresses


@given(DEMANDS)
def test_the_daemon_accepts_the_plan(demand: Demand) -> None:
    plan = make_plan(demand)
    pool = Pool(int(plan.pool.network_address), plan.pool.prefixlen, 1 << plan.block_bits)
    NodeConfig(pool, spare_leases=demand.spares, lease_time_s=demand.lease_s)
    assert plan.promise_s <= 65535


@given(DEMANDS)
def test_more_clients_never_need_a_smaller_pool(demand: Demand) -> None:
    more = Demand(demand.nodes, demand.clients * 2, None, demand.stay_s, demand.lease_s, demand.spares)
    assert make_plan(more).pool.num_addresses >= make_plan(demand).pool.num_addresses


@pytest.mark.parametrize(
    ("demand", "said"),
    [
        ({"nodes": 0, "clients": 1}, "nodes: 0 is not positive"),
        ({"nodes": 1, "clients": 10, "busiest": 11}, "busiest: 11 is not between 1 and the 10 clients"),
        ({"nodes": 1, "clients": 1, "lease_s": 59}, "lease: 59 s is not between 60 and"),
        ({"nodes": 1, "clients": 1, "lease_s": 40_000}, "the longest that a claim can cover"),
        ({"nodes": 1, "clients": 1, "spares": -1}, "spares: -1 is negative"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused(demand: dict[str, int], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        Demand(**demand)


def test_more_than_a_private_network_is_refused() -> None:
    with pytest.raises(PlanError, match="more than a /8 has"):
        make_plan(Demand(nodes=10, clients=15_000_000))


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("4h", 14400), ("2d", 172800)])
def test_times_are_written_as_people_write_them(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("argument", ["", "h", "1.5h", "-1", "٣", "9" * 12])
def test_other_times_are_refused(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--nodes", "1", "--clients", "1", f"--stay={argument}"])
    assert stopped.value.code == 2
    assert "is not a time; write it as" in capsys.readouterr().err


def test_output_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "40", "--clients", "300"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "ddhcp -N 10.0.0.0/22 -b 2" in text
    assert main(["--nodes", "40", "--clients", "300", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pool"] == "10.0.0.0/22"


def test_what_cannot_be_planned_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "40", "--clients", "0"]) == 2
    assert capsys.readouterr().err == "ddhcp-plan: clients: 0 is not positive; give 1 or more\n"


def test_life_cycle_packets_are_as_planned() -> None:
    """An idle swarm whose every node has a client says as much as the plan predicts."""
    plan = make_plan(Demand(nodes=5, clients=5, lease_s=300))
    config = NodeConfig(Pool(0x0A000000, 20, 32), tentative_timeout_s=3, learning_phase=False, lease_time_s=300)
    swarm = VirtualSwarm(5, config, seed=1)
    swarm.run_for(30)
    for number in range(5):
        _lease(swarm, number)
    swarm.run_for(30)
    before = [node.statistics()["mcast.send_pkg"] for node in swarm.nodes]
    hours = 4
    for _ in range(hours * 30):  # every two minutes each client renews
        swarm.run_for(120)
        for number in range(5):
            _lease(swarm, number)
    sent = sum(node.statistics()["mcast.send_pkg"] for node in swarm.nodes) - sum(before)
    assert sent / (hours * 3600) == pytest.approx(plan.idle_packets_per_s, rel=0.15)


def _lease(swarm: VirtualSwarm, number: int) -> None:
    """A client at node ``number`` gets or renews its lease."""
    chaddr = bytes((2, 0, 0, 0, 9, number)) + bytes(10)
    kind = bytes((c.DISCOVER,))
    (offer,) = swarm.client_sends(number, Message(xid=number + 1, chaddr=chaddr, options={c.OPT_MESSAGE_TYPE: kind}))
    options = {
        c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,)),
        c.OPT_REQUESTED_ADDRESS: offer.yiaddr.to_bytes(4, "big"),
        c.OPT_SERVER_ID: offer.options[c.OPT_SERVER_ID],
    }
    (ack,) = swarm.client_sends(number, Message(xid=number + 1, chaddr=chaddr, options=options))
    assert ack.message_type == c.ACK
