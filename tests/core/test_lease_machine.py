"""The lease table against a model that anybody can check, under any order of operations."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ddhcp.core import Pool
from ddhcp.core.addresses import AddressPlan
from ddhcp.core.leases import ACTIVE, TAKEN, Lease, LeaseState, LeaseTable
from ddhcp.core.policy import Policy

POOL = Pool(0x0A000000, 27, 4)
BLOCKS = st.integers(0, POOL.block_count - 1)
ADDRESSES = st.integers(POOL.prefix, POOL.broadcast)
CLIENTS = st.integers(1, 6)
IDENTIFIED = st.booleans()


@dataclass
class Binding:
    """What the model knows of an address."""

    identity: bytes
    chaddr: bytes
    state: LeaseState
    expires_at: float


def chaddr(client: int) -> bytes:
    return (b"\x02\0\0\0\0" + bytes((client,))).ljust(16, b"\0")


def identity(client: int, identified: bool) -> bytes:
    """A client that sends an identifier, and one that is told by its hardware address."""
    return b"\0client" + bytes((client,)) if identified else b"\1" + chaddr(client)[:6]


class LeaseTableMachine(RuleBasedStateMachine):
    """``blocks``: the table's, each with whether it serves. ``bindings``: by address."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LeaseTable(POOL, AddressPlan(POOL, Policy()))
        self.now = 100.0
        self.blocks: dict[int, bool] = {}
        self.reserved: set[int] = set()
        self.bindings: dict[int, Binding] = {}

    def addresses_of(self, index: int) -> list[int]:
        first = POOL.first_address(index)
        return list(range(first, first + POOL.block_size))

    def is_free(self, address: int) -> bool:
        if not self.blocks.get(POOL.index_of(address)) or address in self.reserved:
            return False
        binding = self.bindings.get(address)
        return binding is None or binding.state not in TAKEN

    @rule(index=BLOCKS)
    def add_block(self, index: int) -> None:
        self.table.add_block(index)
        self.blocks.setdefault(index, True)

    @rule(index=BLOCKS)
    def drop_block(self, index: int) -> None:
        dropped = {lease.address for lease in self.table.drop_block(index)}
        gone = {address for address in self.addresses_of(index) if address in self.bindings}
        assert dropped == gone
        self.blocks.pop(index, None)
        for address in gone:
            del self.bindings[address]

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def suspend_and_resume(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.blocks)))
        if data.draw(st.booleans()):
            self.table.suspend_block(index)
            self.blocks[index] = False
        else:
            self.table.resume_block(index)
            self.blocks[index] = True

    @rule(address=ADDRESSES)
    def reserve(self, address: int) -> None:
        self.table.reserve(address)
        self.reserved.add(address)

    @precondition(lambda self: self.blocks)
    @rule(
        data=st.data(),
        client=CLIENTS,
        identified=IDENTIFIED,
        state=st.sampled_from(TAKEN),
        lasts_s=st.floats(0.5, 60),
    )
    def bind(self, data: st.DataObject, client: int, identified: bool, state: LeaseState, lasts_s: float) -> None:
        """As its callers do: an address that is free, or that this client has, in a block that serves."""
        free = [a for index in sorted(self.blocks) for a in self.addresses_of(index) if self.is_free(a)]
        own = [
            address
            for address, binding in sorted(self.bindings.items())
            if binding.state in ACTIVE and binding.chaddr == chaddr(client)
        ]
        if not free + own:
            return
        address = data.draw(st.sampled_from(free + own))
        key = identity(client, identified)
        lease = self.table.bind(address, key, chaddr(client), state, self.now + lasts_s)
        assert lease is self.table.at(address)
        self.bindings[address] = Binding(key, chaddr(client), state, self.now + lasts_s)

    def lease_of(self, data: st.DataObject) -> Lease | None:
        active = sorted(address for address, binding in self.bindings.items() if binding.state in ACTIVE)
        return self.table.at(data.draw(st.sampled_from(active))) if active else None

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if lease := self.lease_of(data):
            self.table.end(lease, LeaseState.RELEASED)
            self.bindings[lease.address].state = LeaseState.RELEASED

    @rule(data=st.data(), seconds=st.floats(1, 60))
    def keep(self, data: st.DataObject, seconds: float) -> None:
        lease = self.lease_of(data)
        if lease is not None and lease.state is LeaseState.LEASED:
            self.table.keep(lease, self.now + seconds)
            binding = self.bindings[lease.address]
            binding.state, binding.expires_at = LeaseState.KEPT, self.now + seconds

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        if lease := self.lease_of(data):
            self.table.forget(lease)
            del self.bindings[lease.address]

    @rule(seconds=st.floats(0.5, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = {a for a, b in self.bindings.items() if b.state in TAKEN and b.expires_at <= self.now}
        popped: set[int] = set()
        while (lease := self.table.pop_expired(self.now)) is not None:
            popped.add(lease.address)
            if lease.state is LeaseState.LEASED:
                self.table.end(lease, LeaseState.EXPIRED)
                self.bindings[lease.address].state = LeaseState.EXPIRED
            else:
                self.table.forget(lease)
                del self.bindings[lease.address]
        assert popped == due
        left = [b.expires_at for b in self.bindings.values() if b.state in TAKEN]
        earliest = self.table.next_expiry_at()
        assert not left or (earliest is not None and earliest <= min(left))

    @invariant()
    def bindings_are_the_models(self) -> None:
        found = {lease.address: (lease.identity, lease.state, lease.expires_at) for lease in self.table}
        assert found == {a: (b.identity, b.state, b.expires_at) for a, b in self.bindings.items()}

    @invariant()
    def free_addresses_are_the_models(self) -> None:
        free = {a for a in range(POOL.prefix, POOL.broadcast + 1) if self.is_free(a)}
        assert {a for a in range(POOL.prefix, POOL.broadcast + 1) if self.table.is_free(a)} == free
        assert self.table.free_count == len(free)
        for client in range(1, 5):
            picked = self.table.pick_free(identity(client, True))
            assert picked in free if free else picked is None
        assert self.table.offered_count == sum(b.state is LeaseState.OFFERED for b in self.bindings.values())

    @invariant()
    def counts_are_the_models(self) -> None:
        for index in self.blocks:
            states = [b.state for a, b in self.bindings.items() if POOL.index_of(a) == index]
            counted = states.count(LeaseState.OFFERED), states.count(LeaseState.LEASED)
            assert self.table.usage(index) == counted
            assert self.table.is_unused(index) == all(state not in TAKEN for state in states)
        states = [b.state for b in self.bindings.values()]
        assert self.table.leased_count == states.count(LeaseState.LEASED)
        assert self.table.kept_count == states.count(LeaseState.KEPT)
        assert self.table.declined_count == states.count(LeaseState.DECLINED)

    @invariant()
    def a_client_finds_a_binding_of_its_own(self) -> None:
        for client in range(1, 7):
            for identified in (False, True):
                found = self.table.of(identity(client, identified), chaddr(client))
                if found is not None:
                    assert found.chaddr == chaddr(client)
                    assert self.table.at(found.address) is found


TestLeaseTable = LeaseTableMachine.TestCase
TestLeaseTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
