"""What a start makes of the rows in the store, against entering them one by one as clients would."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ddhcp.core import NodeConfig, Pool
from ddhcp.core.addresses import AddressPlan
from ddhcp.core.context import Context
from ddhcp.core.leases import DECLINED, HELD, KEPT, LASTING, LEASED, LeaseState, LeaseTable
from ddhcp.core.policy import AddressRange, Network, Policy, Reservation, Subnet
from ddhcp.core.records import StoredLease
from ddhcp.core.restoring import Restoring

POOL = Pool(0x0A000000, 27, 4)
NOW = 1000.0
LEASE_TIME_S = 60
RESERVED = POOL.prefix + 5  # an address of the node itself
RESUMED = {0, 1, 2}
CLIENTS = range(4)


def chaddr(client: int) -> bytes:
    return (b"\x02\0\0\0\0" + bytes((client,))).ljust(16, b"\0")


def identity(client: int, identified: bool) -> bytes:
    return b"\0client" + bytes((client,)) if identified else b"\1" + chaddr(client)[:6]


@st.composite
def stored_leases(draw: st.DrawFn) -> StoredLease:
    client, ends_at = draw(st.sampled_from(CLIENTS)), NOW + draw(st.integers(-300, 300))
    granted_s = draw(st.sampled_from((0, LEASE_TIME_S)))
    return StoredLease(
        draw(st.integers(POOL.prefix, POOL.prefix + 15)), identity(client, draw(st.booleans())), chaddr(client),
        draw(st.sampled_from(("leased", "kept", "released", "expired", "declined"))), ends_at,
        draw(st.sampled_from((b"", b"host"))), granted_s, ends_at + draw(st.integers(0, 100)) if granted_s else 0.0,
    )  # fmt: skip


ROWS = st.lists(stored_leases(), max_size=14, unique_by=lambda row: row.address)


def make(replicas: int, *, is_restoring: bool = True) -> tuple[Context, LeaseTable]:
    """A node's table with the blocks that are its own again."""
    context = Context(NodeConfig(pool=POOL, lease_time_s=LEASE_TIME_S, replicas=replicas), random.Random(1))
    table = LeaseTable(POOL, AddressPlan(POOL, Policy()))
    table.reserve(RESERVED)
    if is_restoring:
        table.begin_restoring()
    for index in sorted(RESUMED):
        table.add_block(index)
    return context, table


def enter_one_by_one(table: LeaseTable, rows: list[StoredLease], keep_s: int) -> None:
    """The rule: the later of two leases of one client is its own, whatever it declined or had before."""
    in_order = sorted(rows, key=lambda row: (row.state == "leased", row.expires_at))
    past: list[tuple[StoredLease, LeaseState]] = []
    for row in in_order:
        if POOL.index_of(row.address) not in RESUMED or table.is_reserved(row.address):
            continue
        state = LeaseState(row.state)
        ends_at = row.latest_end(NOW) if state is LEASED else row.expires_at
        if state is LEASED and ends_at <= NOW and keep_s:
            state, ends_at = KEPT, ends_at + keep_s
        if ends_at > NOW and state in LASTING:
            lease = table.bind(row.address, row.identity, row.chaddr, state, ends_at, row.hostname)
            lease.granted_s, lease.held_until = row.granted_s, row.held_until
        elif state is DECLINED:
            table.taint(row.address)
        else:
            past.append((row, LeaseState.EXPIRED if state in HELD else state))
    for row, state in past:
        table.remember(row.address, row.identity, row.chaddr, state, row.expires_at, row.hostname)


def picture(table: LeaseTable) -> object:
    """Everything that a table answers."""
    bindings = {lease.address: (lease.stored(), lease.scheduled_at) for lease in table}
    of_clients = []
    for client in CLIENTS:
        for identified in (False, True):
            lease = table.of(identity(client, identified), chaddr(client))
            of_clients.append(None if lease is None else lease.address)
    counts = (table.free_count, table.leased_count, table.kept_count, table.declined_count, len(table))
    blocks = [(table.usage(index), table.free_in(index), table.is_unused(index)) for index in sorted(RESUMED)]
    taken = [table.taken_by(chaddr(client)) for client in CLIENTS]
    free = [address for address in range(POOL.prefix, POOL.broadcast + 1) if table.is_free(address)]
    tainted = [address for address in range(POOL.prefix, POOL.broadcast + 1) if table.is_tainted(address)]
    ends: list[object] = [table.next_expiry_at()]
    while (lease := table.pop_expired(NOW + 10_000)) is not None:
        ends.append((lease.address, lease.expires_at))
        table.end(lease, LeaseState.EXPIRED)
    return bindings, of_clients, counts, blocks, taken, free, tainted, ends


@pytest.mark.parametrize("replicas", [0, 2])
@given(rows=ROWS, shuffled=st.randoms(use_true_random=False))
def test_bindings_are_as_if_they_had_been_made_one_by_one(
    replicas: int, rows: list[StoredLease], shuffled: random.Random
) -> None:
    context, table = make(replicas)
    shuffled.shuffle(rows)
    Restoring(context, table, rows).enter(RESUMED, NOW)
    _, expected = make(replicas, is_restoring=False)
    enter_one_by_one(expected, rows, context.keep_s if replicas else 0)
    assert picture(table) == picture(expected)


@given(rows=ROWS)
def test_what_was_promised_covers_every_lease(rows: list[StoredLease]) -> None:
    context, table = make(0)
    restoring = Restoring(context, table, rows)
    ends = restoring.latest_ends()
    for row in rows:
        if row.state == "leased":
            assert ends[POOL.index_of(row.address)] >= row.expires_at
    restoring.enter(RESUMED, NOW)
    for lease in table:
        assert lease.state is not LEASED or lease.expires_at - NOW <= context.longest_lease_s


def test_rows_outside_the_pool_are_left_out() -> None:
    context, table = make(0)
    row = StoredLease(POOL.broadcast + 1, b"\1" + chaddr(1)[:6], chaddr(1), "leased", NOW + 10)
    restoring = Restoring(context, table, [row])
    restoring.enter(RESUMED, NOW)
    assert restoring.latest_ends() == {}
    assert len(table) == 0


SUBNET = Subnet(Network(0x0A000100, 24), ranges=(AddressRange(0x0A000110, 0x0A000190),), routers=(0x0A000120,))
HOST = Reservation((b"\2\0\0\0\0\1",), address=0x0A000311)


@pytest.mark.parametrize(
    ("prefix_len", "policy"),
    [
        (24, Policy()),  # small enough for .0 and .255 to be used
        (22, Policy()),
        (22, Policy(reservations=(HOST,), relays=(Network(0x0A000001, 32),))),
        (22, Policy(subnets=(SUBNET,))),
    ],
)
def test_a_block_has_the_addresses_that_are_for_anyone(prefix_len: int, policy: Policy) -> None:
    for block_size in (1, 4, 32, 128):
        pool = Pool(0x0A000000, prefix_len, block_size)
        plan = AddressPlan(pool, policy)
        for index in range(pool.block_count):
            first = pool.first_address(index)
            assert list(plan.for_anyone(index)) == [
                address for address in range(first, first + block_size) if plan.is_for_anyone(address)
            ]
