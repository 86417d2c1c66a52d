"""What was acknowledged is there after a crash, although not every renewal is written."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.errors import ConfigError
from ddhcp.core.policy import Conflicts, Policy, Probe
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.swarm import SwarmCodec, UpdateClaim
from segment import keep

POOL = Pool(0x0A000000, 20, 32)
UNPROBED = Policy(conflicts=Conflicts(probe=Probe.NEVER))
CONFIG = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, policy=UNPROBED)
LEASE_S = CONFIG.lease_time_s
SERVER_ID = 0x0A000001
LINK_LOCAL = b"\xfe\x80" + bytes(13) + b"\x01"
MAC = b"\x02" + bytes(5)


def chaddr(client: int) -> bytes:
    return (b"\x02\0\0\0\x02" + bytes((client,))).ljust(16, b"\0")


@dataclass
class Machine:
    """A node with a disk, which survives crashes of the node. ``acknowledged``: by client, address and end."""

    config: NodeConfig = CONFIG
    now: float = 1000.0
    leases: dict[int, StoredLease] = field(default_factory=dict)
    blocks: dict[int, StoredBlock] = field(default_factory=dict)
    acknowledged: dict[int, tuple[int, float]] = field(default_factory=dict)
    writes: int = 0
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.node = Node(self.config, random.Random(int(self.now)))
        self.feed(e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, 20, MAC)))
        self.feed(e.Start(tuple(self.blocks.values()), tuple(self.leases.values())))
        self.feed(e.ServerLinkUp(MAC, LINK_LOCAL))

    def feed(self, event: e.Event) -> list[Message]:
        replies = []
        for effect in self.node.handle(event, self.now):
            keep(effect, self.blocks, self.leases)
            self.writes += isinstance(effect, f.SaveLease)
            if isinstance(effect, f.SendDhcp):
                replies.append(Message.decode(effect.payload))
        return replies

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.node.deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            self.feed(e.Wake())
        self.now = end

    def crash(self, down_s: float) -> None:
        self.now += down_s
        self.start()

    def says(self, client: int, kind: int, *, ciaddr: int = 0, **options: int) -> list[Message]:
        encoded = {int(name[1:]): value.to_bytes(4, "big") for name, value in options.items()}
        message = Message(
            xid=7, chaddr=chaddr(client), ciaddr=ciaddr, options={c.OPT_MESSAGE_TYPE: bytes((kind,))} | encoded
        )
        replies = self.feed(e.DhcpReceived("client0", message.encode(), ciaddr, 0xFFFFFFFF))
        for reply in replies:
            if reply.message_type == c.ACK and reply.lease_time_s is not None:
                self.acknowledged[client] = (reply.yiaddr, self.now + reply.lease_time_s)
        return replies

    def lease(self, client: int) -> int:
        (offer,) = self.says(client, c.DISCOVER)
        (ack,) = self.says(client, c.REQUEST, o50=offer.yiaddr, o54=SERVER_ID)
        assert ack.message_type == c.ACK
        return ack.yiaddr

    def renew(self, client: int, lease_s: int | None = None) -> list[Message]:
        address, _ = self.acknowledged[client]
        return self.says(client, c.REQUEST, ciaddr=address, **({"o51": lease_s} if lease_s else {}))

    def missing(self) -> list[int]:
        """Clients whose running lease the node does not know, or takes to end earlier than was acknowledged."""
        known = {lease.address: lease for lease in self.node.leases() if lease.state == "leased"}
        return [
            client
            for client, (address, end) in self.acknowledged.items()
            if end > self.now
            and (
                address not in known
                or known[address].chaddr != chaddr(client)
                or known[address].expires_at < end - 1e-6
            )
        ]


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.pass_time(4)
    return machine


def test_renewals_of_the_slack_need_one_write(machine: Machine) -> None:
    machine.lease(1)
    before = machine.writes
    renewals = 0
    for _ in range(10 * CONFIG.renewal_slack_s // (LEASE_S // 2)):
        machine.pass_time(LEASE_S / 2)
        (ack,) = machine.renew(1)
        assert ack.lease_time_s == LEASE_S
        renewals += 1
    assert machine.writes - before <= renewals / 24


def test_without_slack_every_renewal_is_written() -> None:
    machine = Machine(replace(CONFIG, renewal_slack_s=0))
    machine.pass_time(4)
    machine.lease(1)
    before = machine.writes
    for _ in range(5):
        machine.pass_time(LEASE_S / 2)
        machine.renew(1)
    assert machine.writes - before == 5


def test_whatever_changes_beside_the_end_is_written(machine: Machine) -> None:
    address = machine.lease(1)
    named = Message(
        xid=7, chaddr=chaddr(1), ciaddr=address,
        options={c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,)), 12: b"laptop"},
    )  # fmt: skip
    machine.feed(e.DhcpReceived("client0", named.encode(), address, 0xFFFFFFFF))
    assert machine.leases[address].hostname == b"laptop"
    before = machine.writes
    machine.feed(e.DhcpReceived("client0", named.encode(), address, 0xFFFFFFFF))
    assert machine.writes == before, "the same name again is nothing new"
    machine.says(1, c.RELEASE, ciaddr=address, o54=SERVER_ID)
    assert machine.leases[address].state == "released"
    machine.lease(1)
    assert machine.leases[address].state == "leased"


def test_a_longer_lease_than_the_row_covers_is_written(machine: Machine) -> None:
    address = machine.lease(1)
    machine.renew(1, lease_s=100)
    machine.feed(e.SetOption(51, (2 * LEASE_S).to_bytes(4, "big")))
    (ack,) = machine.renew(1)
    assert ack.lease_time_s == 2 * LEASE_S
    assert machine.leases[address].granted_s == 2 * LEASE_S
    machine.crash(1)
    assert machine.missing() == []


def test_after_a_crash_a_lease_is_held_for_one_lease_time_more_at_most(machine: Machine) -> None:
    address = machine.lease(1)
    machine.pass_time(10)
    machine.crash(5)
    (row,) = [lease for lease in machine.node.leases() if lease.address == address]
    assert machine.acknowledged[1][1] <= row.expires_at <= machine.now + LEASE_S


def test_a_client_that_changed_its_address_has_the_new_one_after_a_crash(machine: Machine) -> None:
    first = machine.lease(1)
    machine.pass_time(LEASE_S + 1)  # it ends, which is not written
    assert machine.lease(2) != first
    (offer,) = machine.says(3, c.DISCOVER, o50=first)
    assert offer.yiaddr == first
    machine.says(3, c.REQUEST, o50=first, o54=SERVER_ID)
    second = machine.lease(1)
    assert second != first
    machine.crash(1)
    assert machine.missing() == []
    (offer,) = machine.says(1, c.DISCOVER)
    assert offer.yiaddr == second


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.just("lease"), st.integers(1, 3)),
        st.tuples(st.just("renew"), st.integers(1, 3)),
        st.tuples(st.just("release"), st.integers(1, 3)),
        st.tuples(st.just("crash"), st.integers(0, 60)),
    ),
    min_size=5, max_size=40,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(_STEPS)
@example([("wait", 33), ("lease", 1), ("wait", 315), ("wait", 400), ("lease", 1), ("crash", 0)])
def test_no_acknowledged_lease_is_missing_after_any_crash(steps: list[tuple[str, int]]) -> None:
    """H2."""
    machine = Machine(replace(CONFIG, renewal_slack_s=900))
    machine.pass_time(4)
    for step, number in steps:
        if step == "wait":
            machine.pass_time(number)
        elif step == "crash":
            machine.crash(number)
        elif step == "lease":
            for offer in machine.says(number, c.DISCOVER):
                machine.says(number, c.REQUEST, o50=offer.yiaddr, o54=SERVER_ID)
        elif number in machine.acknowledged and step == "renew":
            machine.renew(number)
        elif number in machine.acknowledged:
            address, _ = machine.acknowledged.pop(number)
            machine.says(number, c.RELEASE, ciaddr=address, o54=SERVER_ID)
        assert machine.missing() == [], f"after {step} {number}"


# -- a changed configuration ----------------------------------------------------------------------------------


def test_a_changed_configuration_drops_no_lease_and_holds_for_what_follows(machine: Machine) -> None:
    address = machine.lease(1)
    changed = replace(machine.config, lease_time_s=900, options={6: bytes([10, 0, 0, 53])}, spare_leases=40)
    machine.feed(e.Reconfigure(changed))
    assert machine.missing() == []
    (ack,) = machine.renew(1)
    assert (ack.yiaddr, ack.lease_time_s) == (address, 900)
    assert ack.options[6] == bytes([10, 0, 0, 53])
    machine.pass_time(10)
    assert machine.node.statistics()["ddhcp.blocks.ours"] == 2, "the spares take a second block"
    (block,) = [view for view in machine.node.block_views(machine.now) if view.leased]
    assert block.timeout_s > 900, "promised for longer than the longer lease"


def test_what_the_operator_set_stays_unless_the_configuration_changed_there(machine: Machine) -> None:
    machine.feed(e.SetOption(6, bytes([10, 0, 0, 1])))
    machine.feed(e.SetOption(51, (1234).to_bytes(4, "big")))
    machine.feed(e.Reconfigure(replace(machine.config, spare_leases=3)))
    assert machine.node.options()[6] == bytes([10, 0, 0, 1])
    assert machine.node.lease_time_s == 1234
    machine.feed(e.Reconfigure(replace(machine.config, lease_time_s=600, options={6: bytes([10, 0, 0, 2])})))
    assert machine.node.options()[6] == bytes([10, 0, 0, 2])
    assert machine.node.lease_time_s == 600


def test_the_pool_of_a_running_node_cannot_change(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="pool"):
        machine.feed(e.Reconfigure(replace(machine.config, pool=Pool(0x0A000000, 16, 32))))


def test_a_stop_while_the_link_is_away_promises_nothing_more() -> None:
    """An address stays declined for longer than its block is promised; nobody hears of that when the node stops."""
    machine = Machine(replace(CONFIG, lease_time_s=60))
    machine.pass_time(10)
    address = machine.lease(1)
    promised_until = machine.now + 2 * 60 + 100
    machine.says(1, c.DECLINE, o50=address, o54=SERVER_ID)
    machine.feed(e.ServerLinkDown())
    machine.feed(e.Stop())
    (block,) = machine.blocks.values()
    assert machine.now < block.promised_until <= promised_until


def test_after_its_last_word_a_node_grants_nothing() -> None:
    """That may still wait for the disk, and tells for how long the leases run that there were then."""
    machine = Machine(replace(CONFIG, lease_time_s=60))
    machine.pass_time(10)
    machine.lease(1)
    machine.feed(e.Stop())
    machine.now += 1
    assert machine.renew(1) == []


def test_after_a_restart_the_claim_goes_out_before_any_renewal_that_counts_on_it() -> None:
    """The store has the block: its announcement waits for no commit, so no renewal overtakes it."""
    machine = Machine(replace(CONFIG, lease_time_s=60))
    machine.pass_time(10)
    machine.lease(1)
    node = Node(machine.config, random.Random(1))
    node.handle(e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, 20, MAC)), machine.now)
    node.handle(e.Start(tuple(machine.blocks.values()), tuple(machine.leases.values())), machine.now)
    multicasts = [
        effect
        for effect in node.handle(e.ServerLinkUp(MAC, LINK_LOCAL), machine.now)
        if isinstance(effect, f.SendMulticast)
    ]
    codec = SwarmCodec(bytes(8), POOL.prefix, POOL.prefix_len, POOL.block_size)
    (claim,) = [effect for effect in multicasts if isinstance(codec.decode(effect.data)[1], UpdateClaim)]
    assert not claim.durable
