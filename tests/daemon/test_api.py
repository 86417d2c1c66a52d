"""What the API says about nodes of a virtual swarm, and what it has them do."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import events as e
from ddhcp.core.inspection import MAX_LOOKED_AT, in_order
from ddhcp.core.peers import GREETINGS
from ddhcp.core.policy import Policy, Reservation
from ddhcp.daemon.api import API_VERSION, MAX_PAGE, Answer, Api, RequestError
from ddhcp.daemon.health import Facts
from ddhcp.daemon.recent import MAX_EVENTS, RecentEvents
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import SwarmCodec

POOL = Pool(0x0A000000, 20, 32)
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False)
SERVER_ID = 0x0A000001
CLASSIC = b"\xfe\x80" + bytes(13) + b"\x99"


class Host:
    """A node of a virtual swarm, with links that are up and a store that works."""

    def __init__(self, swarm: VirtualSwarm, number: int) -> None:
        self.swarm, self.number = swarm, number
        self.recent = RecentEvents()
        self.drained = False
        self.uptime_s = 10.0
        self.store_error: str | None = None
        self.api = Api(swarm.nodes[number], self, self.recent, clock=lambda: swarm.now)

    def feed_event(self, event: e.Event) -> None:
        self.swarm.feed(self.number, event)

    def statistics(self) -> dict[str, int]:
        return self.swarm.nodes[self.number].statistics()

    def facts(self) -> Facts:
        return Facts("server0", True, ("client0",), (), "sqlite", self.store_error, self.uptime_s)

    def drain(self) -> None:
        self.drained = True

    def reload(self) -> Answer:
        return {"changed": []}

    def ask(self, command: str, **arguments: object) -> Answer:
        answer = self.api.answer({"command": command, **arguments})
        assert answer["api"] == API_VERSION
        return dict(json.loads(json.dumps(answer)))

    def all(self, command: str, key: str, **arguments: object) -> list[dict[str, object]]:
        """Every row of a list, page by page."""
        rows: list[dict[str, object]] = []
        after = None
        while True:
            answer = self.ask(command, **arguments, **({} if after is None else {"after": after}))
            rows += answer[key]  # type: ignore[arg-type]
            after = answer["next"]
            if after is None:
                return rows


def client(number: int) -> bytes:
    return (b"\x02\0\0\0\x02" + bytes((number,))).ljust(16, b"\0")


def lease(swarm: VirtualSwarm, node: int, number: int, hostname: bytes = b"") -> str:
    """Have a client lease an address at ``node``."""

    def message(kind: int, **options: bytes) -> Message:
        given = {c.OPT_MESSAGE_TYPE: bytes((kind,))} | {int(k[1:]): v for k, v in options.items()}
        if hostname:
            given[c.OPT_HOSTNAME] = hostname
        return Message(xid=number + 1, chaddr=client(number), options=given)

    (offer,) = swarm.client_sends(node, message(c.DISCOVER))
    wanted = offer.yiaddr.to_bytes(4, "big")
    (ack,) = swarm.client_sends(node, message(c.REQUEST, o50=wanted, o54=SERVER_ID.to_bytes(4, "big")))
    assert ack.message_type == c.ACK
    return str(IPv4Address(ack.yiaddr))


@pytest.fixture
def host() -> Host:
    swarm = VirtualSwarm(3, CONFIG)
    swarm.run_for(5)
    return Host(swarm, 0)


def test_status_of_a_healthy_node(host: Host) -> None:
    lease(host.swarm, 0, 1)
    status = host.ask("status")
    assert status["health"] == "ok"
    assert status["problems"] == []
    assert status["pool"] == {"network": "10.0.0.0/20", "addresses": 4096, "block_size": 32, "blocks": 128}
    assert status["blocks"] == {"free": 125, "tentative": 0, "claimed": 2, "claiming": 0, "ours": 1, "blocked": 0}
    assert status["leases"]["leased"] == 1  # type: ignore[index]
    assert status["peers"] == {"known": 2, "ddhcp": 2, "classic": 0}
    assert status["address"] == "fe80::1"
    assert 0 < status["promise_margin_s"] <= CONFIG.block_timeout_s * 20  # type: ignore[operator]


def problem_names(host: Host) -> set[str]:
    return {problem["name"] for problem in host.ask("status")["problems"]}  # type: ignore[attr-defined]


def test_what_is_wrong_is_named(host: Host) -> None:
    host.store_error = "disk full"
    assert problem_names(host) == {"store-failing"}
    host.store_error = None
    host.recent.add(logging.WARNING, "block-lost", {"block": 1})
    assert problem_names(host) == {"disputes"}


def test_a_node_alone_for_long_is_told(host: Host) -> None:
    host.swarm.cut = lambda sender, receiver: True
    host.uptime_s = 1000.0
    host.swarm.run_for(3 * CONFIG.block_timeout_s + 1)
    assert "no-peers" in problem_names(host)


def test_equal_node_ids_are_told(host: Host) -> None:
    node_id = host.swarm.nodes[0].view().node_id
    data = SwarmCodec(node_id, POOL.prefix, POOL.prefix_len, POOL.block_size).update_claim([(99, 60)])
    host.feed_event(e.SwarmReceived(data, CLASSIC, True))
    assert problem_names(host) == {"equal-node-ids"}


def test_nodes_that_reserve_other_addresses_are_told(host: Host) -> None:
    policy = Policy(reservations=(Reservation((bytes((2, 0, 0, 0, 0, 9)),), address=POOL.prefix + 99),))
    host.swarm.feed(1, e.Reconfigure(replace(CONFIG, policy=policy)))
    host.swarm.run_for(1)
    assert problem_names(host) == {"plans-differ"}
    host.feed_event(e.Reconfigure(replace(CONFIG, policy=policy)))
    host.swarm.feed(2, e.Reconfigure(replace(CONFIG, policy=policy)))
    host.swarm.run_for(1)
    assert problem_names(host) == set()


def test_a_pool_that_fills_up_is_told(host: Host) -> None:
    data = SwarmCodec(b"\x02" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    free = [i for i in range(128) if host.swarm.nodes[0].inspect.block(i, host.swarm.now) is None]
    host.feed_event(e.SwarmReceived(data.update_claim([(i, 600) for i in free[:-5]]), CLASSIC, True))
    assert "pool-nearly-full" in problem_names(host)


def test_blocks_come_in_pages_in_order(host: Host) -> None:
    whole = host.ask("blocks")["blocks"]
    assert [row["state_name"] for row in whole].count("ours") == 1  # type: ignore[attr-defined]
    assert host.all("blocks", "blocks", limit=1) == whole
    assert all(row["owner_address"].startswith("fe80::") for row in whole)  # type: ignore[attr-defined]


def test_leases_are_found_by_address_hardware_address_and_name(host: Host) -> None:
    first = lease(host.swarm, 0, 1, b"printer")
    second = lease(host.swarm, 0, 2, b"Laptop<script>")
    everything = host.all("leases", "leases", limit=1)
    assert [row["address"] for row in everything] == sorted([first, second], key=IPv4Address)

    def found(search: str) -> list[object]:
        return [row["address"] for row in host.all("leases", "leases", search=search)]

    assert found(first) == [first]
    assert found("02:00:00:00:02:02") == [second]
    assert found("0200.0000.0201") == []  # dots are those of addresses
    assert found("02-00-00-00-02-01") == [first]
    assert found("laptop<") == [second]
    assert found("nobody") == []
    assert host.all("leases", "leases", state="released") == []


def test_peers_tell_ours_from_classic(host: Host) -> None:
    codec = SwarmCodec(b"\x09" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    for _ in range(GREETINGS + 1):  # the first is asked together with others, a moment later
        host.feed_event(e.SwarmReceived(codec.update_claim([(99, 200)]), CLASSIC, True))
        host.swarm.run_for(31)
    kinds = {row["address"]: row["kind"] for row in host.ask("peers")["peers"]}  # type: ignore[attr-defined]
    assert kinds == {"fe80::2": "ddhcp", "fe80::3": "ddhcp", "fe80::99": "classic"}


def test_a_peers_lost_refreshes_are_estimated(host: Host) -> None:
    codec = SwarmCodec(b"\x09" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)

    def loss() -> object:
        (row,) = [row for row in host.ask("peers")["peers"] if row["address"] == "fe80::99"]  # type: ignore[attr-defined]
        return row["loss"]

    def announce(timeout_s: int = 600) -> None:
        host.feed_event(e.SwarmReceived(codec.update_claim([(99, timeout_s)]), CLASSIC, True))

    announce()
    period_s = next(peer for peer in host.swarm.nodes[0]._peers if peer.address == CLASSIC).expected_s
    for share in (0.02, 0.8, 0.2, 1.0, 0.9):  # now and then earlier than it must: a new block was claimed
        host.swarm.run_for(share * period_s)
        announce()
    assert loss() == 0
    host.swarm.run_for(1.8 * period_s)
    announce(20)
    assert loss() == pytest.approx(1 / 8, abs=0.001)
    host.swarm.run_for(500)  # its claim has ended: it had nothing to refresh
    announce()
    assert loss() == pytest.approx(1 / 9, abs=0.001)


def test_explain_says_who_decides(host: Host) -> None:
    address = lease(host.swarm, 0, 1)
    ours = host.ask("explain", subject=address)
    assert ours["lease"]["mac"] == "02:00:00:00:02:01"  # type: ignore[index]
    assert "this node decides" in " ".join(ours["because"])  # type: ignore[arg-type]
    theirs = next(row for row in host.ask("blocks")["blocks"] if row["state_name"] == "claimed")  # type: ignore[attr-defined]
    other = host.ask("explain", subject=theirs["last"])
    assert theirs["owner_address"] in " ".join(other["because"])  # type: ignore[arg-type]
    assert "is not in the pool" in " ".join(host.ask("explain", subject="192.0.2.1")["because"])  # type: ignore[arg-type]
    assert host.ask("explain", subject="10.0.0.1")["reserved"] is True
    free = host.ask("explain", subject="10.0.15.5")
    assert free["block"] is None or free["because"]


def test_explain_a_client(host: Host) -> None:
    address = lease(host.swarm, 0, 1)
    assert host.ask("explain", subject="02-00-00-00-02-01")["lease"]["address"] == address  # type: ignore[index]
    unknown = host.ask("explain", subject="02:00:00:00:02:77")
    assert unknown["lease"] is None
    assert "no lease" in " ".join(unknown["because"])  # type: ignore[arg-type]


def test_a_client_that_roams_is_followed(host: Host) -> None:
    address = lease(host.swarm, 0, 1)

    def renew(node: int, xid: int) -> None:
        options = {c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,))}
        request = Message(xid=xid, chaddr=client(1), ciaddr=int(IPv4Address(address)), options=options)
        host.swarm.client_sends(node, request, source=request.ciaddr)
        host.swarm.run_for(0.1)

    assert host.ask("leases")["leases"][0]["at"] is None  # type: ignore[index]
    renew(1, 70)
    assert host.ask("leases")["leases"][0]["at"] == "fe80::2"  # type: ignore[index]
    assert "realm of the node at fe80::2" in " ".join(host.ask("explain", subject=address)["because"])  # type: ignore[arg-type]
    renew(0, 71)
    assert host.ask("leases")["leases"][0]["at"] is None  # type: ignore[index]


def test_copies_of_other_nodes_leases_are_listed_with_their_lessor(host: Host) -> None:
    address = lease(host.swarm, 0, 1, b"printer")
    host.swarm.run_for(5)
    (row,) = Host(host.swarm, 1).ask("leases", copies=True, search="printer")["leases"]  # type: ignore[misc]
    assert (row["address"], row["hostname"], row["lessor"]) == (address, "printer", "fe80::1")
    assert Host(host.swarm, 1).ask("leases")["leases"] == []


def test_release_frees_an_address_of_ours(host: Host) -> None:
    address = lease(host.swarm, 0, 1)
    assert host.ask("release", address=address) == {
        "api": 1, "released": address, "mac": "02:00:00:00:02:01"
    }  # fmt: skip
    host.swarm.run_for(0.1)  # its replicas hear of it
    (row,) = host.ask("leases")["leases"]  # type: ignore[misc]
    assert row["state"] == "released"
    with pytest.raises(RequestError, match="not leased") as refusal:
        host.ask("release", address=address)
    assert refusal.value.kind == "not-found"


def test_release_names_the_owner_of_another_nodes_address(host: Host) -> None:
    elsewhere = lease(host.swarm, 1, 1)
    with pytest.raises(RequestError, match="fe80::2"):
        host.ask("release", address=elsewhere)


def test_a_held_address_is_leased_to_nobody_until_it_is_let_go(host: Host) -> None:
    mine = next(row for row in host.ask("blocks")["blocks"] if row["state_name"] == "ours")  # type: ignore[attr-defined]
    first = int(IPv4Address(mine["first"]))
    addresses = [str(IPv4Address(first + i)) for i in range(32)]
    for address in addresses[1:]:
        if not host.ask("explain", subject=address)["reserved"]:
            host.ask("reserve", address=address)
    held = host.ask("reservations")["held"]
    assert isinstance(held, list)
    free = host.ask("status")["leases"]["free"]  # type: ignore[index]
    for address in held:
        assert "holds it back" in " ".join(host.ask("explain", subject=address)["because"])  # type: ignore[arg-type]
    host.ask("unreserve", address=held[0])
    assert host.ask("status")["leases"]["free"] == free + 1  # type: ignore[index]
    with pytest.raises(RequestError, match="not held"):
        host.ask("unreserve", address=held[0])
    with pytest.raises(RequestError, match="never handed out"):
        host.ask("reserve", address="10.0.0.1")
    with pytest.raises(RequestError, match="not in the pool"):
        host.ask("reserve", address="192.0.2.1")


def test_a_held_lease_runs_out_and_its_address_stays_held(host: Host) -> None:
    address = lease(host.swarm, 0, 1)
    host.ask("reserve", address=address)
    host.ask("release", address=address)
    assert lease(host.swarm, 0, 1) != address
    free = host.ask("status")["leases"]["free"]  # type: ignore[index]
    host.ask("unreserve", address=address)
    assert host.ask("status")["leases"]["free"] == free + 1  # type: ignore[index]


def test_a_refused_client_is_explained(host: Host) -> None:
    address = lease(host.swarm, 0, 1)
    options = {c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,)), 50: int(IPv4Address(address)).to_bytes(4, "big")}
    (nak,) = host.swarm.client_sends(0, Message(xid=9, chaddr=client(2), options=options))
    assert nak.message_type == c.NAK
    found = host.ask("explain", subject="02:00:00:00:02:02")
    assert found["decision"]["outcome"] == "refused"  # type: ignore[index]
    assert "somebody else holds the address" in found["because"][0]  # type: ignore[index]


def test_what_came_before_is_told(host: Host) -> None:
    address = lease(host.swarm, 0, 1)
    mac, other = "02:00:00:00:02:01", "02:00:00:00:02:02"
    host.swarm.run_for(5)
    told = host.ask("explain", subject=mac)["decisions"]
    assert [(row["message"], row["outcome"], row["address"]) for row in told] == [  # type: ignore[attr-defined]
        ("DISCOVER", "offered", address), ("REQUEST", "granted", address)
    ]  # fmt: skip
    assert told[-1]["ago_s"] == pytest.approx(5, abs=1)  # type: ignore[index]
    options = {c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,)), 50: int(IPv4Address(address)).to_bytes(4, "big")}
    for xid in (9, 10):
        host.swarm.client_sends(0, Message(xid=xid, chaddr=client(2), options=options))
    of_address = host.ask("explain", subject=address)["decisions"]
    assert [(row["mac"], row["times"]) for row in of_address] == [(mac, 1), (mac, 1), (other, 2)]  # type: ignore[attr-defined]
    assert of_address[-1]["reason"] == "in-use"  # type: ignore[index]
    assert of_address[-1]["why"] == "somebody else holds the address"  # type: ignore[index]


def test_a_renewal_that_another_node_asked_for_is_told(host: Host) -> None:
    address = lease(host.swarm, 0, 1)
    options = {c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,))}
    for number in (1, 2):  # the second is an impostor
        request = Message(xid=70 + number, chaddr=client(number), ciaddr=int(IPv4Address(address)), options=options)
        host.swarm.client_sends(1, request, source=request.ciaddr)
        host.swarm.run_for(0.1)
    told = host.ask("explain", subject=address)["decisions"]
    assert [(row["mac"], row["message"], row["outcome"]) for row in told][-2:] == [  # type: ignore[attr-defined]
        ("02:00:00:00:02:01", "RENEWLEASE", "granted"), ("02:00:00:00:02:02", "RENEWLEASE", "refused")
    ]  # fmt: skip


def test_a_denied_client_is_told_to_be_denied_and_not_that_it_would_be_served() -> None:
    swarm = VirtualSwarm(1, replace(CONFIG, policy=Policy(denied=frozenset({client(3)[:6]}))))
    swarm.run_for(5)
    host = Host(swarm, 0)
    assert (
        swarm.client_sends(0, Message(xid=1, chaddr=client(3), options={c.OPT_MESSAGE_TYPE: bytes((c.DISCOVER,))}))
        == []
    )
    text = " ".join(host.ask("explain", subject="02:00:00:00:02:03")["because"])  # type: ignore[arg-type]
    assert "denies this hardware address" in text
    assert "would be offered" not in text


def test_options_are_set_and_removed(host: Host) -> None:
    host.ask("set-option", code=6, value="0a000035")
    assert {"code": 6, "value": "0a000035"} in host.ask("options")["options"]  # type: ignore[operator]
    host.ask("remove-option", code=6)
    assert 6 not in {row["code"] for row in host.ask("options")["options"]}  # type: ignore[attr-defined]


def test_drain_and_reload_reach_the_daemon(host: Host) -> None:
    assert host.ask("drain") == {"api": 1, "draining": True, "blocks": 1, "takers": 2}
    assert host.drained
    assert host.ask("reload") == {"api": 1, "changed": []}


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("nonsense", {}),
        ("leases", {"limit": 0}),
        ("leases", {"limit": MAX_PAGE + 1}),
        ("leases", {"limit": True}),
        ("leases", {"after": 5}),
        ("leases", {"search": "x" * 65}),
        ("blocks", {"after": -1}),
        ("blocks", {"after": "1"}),
        ("map", {"first": 128}),
        ("events", {"after": -1}),
        ("explain", {}),
        ("explain", {"subject": "10.0.0.0/8"}),
        ("set-option", {"code": 0, "value": ""}),
        ("set-option", {"code": 6, "value": "0g"}),
        ("set-option", {"value": "00"}),
        ("set-option", {"code": 54, "value": "0a00000003"}),
        ("set-option", {"code": 51, "value": "00000000"}),
        ("set-option", {"code": 53, "value": "01"}),
        ("set-option", {"code": 82, "value": "0100"}),
        ("release", {"address": "nowhere"}),
    ],
)
def test_bad_arguments_are_refused_in_one_line(host: Host, command: str, arguments: dict[str, object]) -> None:
    with pytest.raises(RequestError) as refusal:
        host.ask(command, **arguments)
    assert "\n" not in str(refusal.value)
    assert refusal.value.kind == "bad-request"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    command=st.sampled_from(
        ["status", "blocks", "map", "leases", "peers", "events", "explain", "release", "set-option"]
    ),
    arguments=st.dictionaries(
        st.sampled_from(["after", "limit", "search", "state", "first", "count", "cells", "subject", "address", "code"]),
        JSON,
    ),
)
def test_any_arguments_are_answered_or_refused(command: str, arguments: dict[str, object]) -> None:
    swarm = VirtualSwarm(1, CONFIG)
    host = Host(swarm, 0)
    with contextlib.suppress(RequestError):
        assert host.ask(command, **arguments)


# -- the map -------------------------------------------------------------------------------------------------


def test_the_map_counts_every_block_once(host: Host) -> None:
    answer = host.ask("map", cells=16)
    assert answer["cell_size"] == 8
    counted = sum(n for _, owners in answer["cells"] for _, _, n in owners)  # type: ignore[misc, attr-defined]
    assert counted == len(host.ask("blocks")["blocks"])  # type: ignore[arg-type]
    assert [owner["self"] for owner in answer["owners"]].count(True) == 1  # type: ignore[attr-defined]
    assert answer["next"] is None


def test_the_map_of_a_window_is_aligned(host: Host) -> None:
    answer = host.ask("map", first=9, count=16, cells=4)
    assert (answer["first"], answer["end"], answer["cell_size"]) == (8, 25, 4)


def test_the_largest_pool_is_mapped_in_bounded_steps() -> None:
    pool = Pool(0x0A000000, 8, 4)
    node = Node(NodeConfig(pool, learning_phase=False), random.Random(1))
    node.handle(e.Start(), 0.0)
    node.handle(e.ServerLinkUp(bytes(6), b"\xfe\x80" + bytes(13) + b"\1"), 0.0)
    codec = SwarmCodec(b"\x09" * 8, pool.prefix, pool.prefix_len, pool.block_size)
    claimed = random.Random(2).sample(range(pool.block_count), MAX_LOOKED_AT + 500)
    for start in range(0, len(claimed), 150):
        packet = codec.update_claim([(i, 600) for i in claimed[start : start + 150]])
        node.handle(e.SwarmReceived(packet, CLASSIC, True), 1.0)
    first, counted, steps = 0, 0, 0
    following: int | None = 0
    while following is not None:
        census = node.inspect.census(following, pool.block_count, 1024)
        counted += sum(sum(counts.values()) for counts in census.cells.values())
        following, steps = census.next_index, steps + 1
    assert counted == len(claimed) + node.inspect.totals().blocks[3]
    assert steps == -(-pool.block_count // MAX_LOOKED_AT)
    rows, following = node.inspect.blocks(first, 100, 2.0)
    assert len(rows) <= 100
    assert following is not None


@given(
    indices=st.sets(st.integers(0, 300)),
    first=st.integers(0, 300),
    end=st.integers(0, 300),
    budget=st.integers(1, 400),
)
def test_in_order_misses_and_repeats_nothing(indices: set[int], first: int, end: int, budget: int) -> None:
    found: list[int] = []
    following = first
    while following < end:
        page, following = in_order(indices, following, end, budget)
        found += page
    assert found == sorted(i for i in indices if first <= i < end)


# -- recent events -------------------------------------------------------------------------------------------


def test_events_are_numbered_and_bounded(host: Host) -> None:
    for number in range(MAX_EVENTS + 10):
        host.recent.add(logging.INFO, "tick", {"n": number})
    answer = host.ask("events", after=3, limit=2)
    assert [event["seq"] for event in answer["events"]] == [11, 12]  # type: ignore[attr-defined]
    assert answer["missed"] == 7
    assert answer["latest"] == MAX_EVENTS + 10
    assert [event["seq"] for event in host.ask("events", limit=1)["events"]] == [MAX_EVENTS + 10]  # type: ignore[attr-defined]
    assert host.ask("events", after=MAX_EVENTS + 10)["events"] == []
    assert host.ask("events", after=MAX_EVENTS + 99)["events"] == []


def test_values_of_events_are_plain_and_short(host: Host) -> None:
    host.recent.add(
        logging.WARNING, "odd", {"raw": b"\xff\x00", "long": "x" * 999, "list": list(range(99)), "none": None}
    )
    (event,) = host.ask("events")["events"]  # type: ignore[misc]
    fields = event["fields"]
    assert fields["raw"] == "\\xff\x00"
    assert len(fields["long"]) == 257
    assert fields["list"] == list(range(64))
    assert fields["none"] is None
    assert abs(event["time"] - time.time()) < 60


def test_a_listener_hears_of_every_event_until_it_leaves() -> None:
    recent = RecentEvents()
    heard: list[int] = []
    listener: Callable[[], None] = lambda: heard.append(recent.latest)  # noqa: E731
    recent.listen(listener)
    recent.add(logging.INFO, "one")
    recent.unlisten(listener)
    recent.add(logging.INFO, "two")
    assert heard == [1]
