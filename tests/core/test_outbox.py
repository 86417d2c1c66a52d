"""The order of effects, whatever the disk and the link do: a model driver, drawn by hypothesis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core.effects import Effect, Log, ProlongLease, RunHook, SaveLease, SendDhcp, SendMulticast, StoreEffect
from ddhcp.core.outbox import GRANTED, Outbox
from ddhcp.core.records import StoredLease

ADDRESSES = st.integers(1, 4)


class Driver(Outbox):
    """A disk and a link that fail when told to. ``happened``: what left and what was told, in order."""

    def __init__(self) -> None:
        super().__init__(True)
        self.happened: list[Effect] = []
        self.flying: tuple[list[StoreEffect], list[Effect]] | None = None
        self.unwritten: list[StoreEffect] = []
        self.on_disk: dict[int, StoredLease] = {}
        self.link_works = True
        self.withheld_count = 0

    def send(self, effect: Effect, now: float) -> None:
        if isinstance(effect, SendMulticast) and not self.link_works:
            self.claims_unsent()
            return
        self.happened.append(effect)
        if isinstance(effect, SendDhcp) and effect.binding is not None:
            lease = self.on_disk.get(effect.binding)
            assert lease is not None, "acknowledged, but not on disk"
            assert lease.expires_at >= float(effect.payload), "on disk is an older row than the answer promises"

    def tell(self, effect: Log) -> None:
        self.happened.append(effect)

    def call(self, effect: RunHook) -> None:
        self.happened.append(effect)

    def withheld(self) -> None:
        self.withheld_count += 1

    def is_all_written(self) -> bool:
        return self.flying is None and not self.unwritten

    def stopped(self) -> None:
        raise AssertionError

    def begin(self) -> None:
        if self.flying is None and (batch := self.take_batch()) is not None:
            self.flying = (self.unwritten + batch[0], batch[1])
            self.unwritten = []

    def end(self, *, is_ok: bool) -> None:
        if self.flying is None:
            return
        (rows, waiting), self.flying = self.flying, None
        if is_ok:
            for row in rows:
                assert isinstance(row, SaveLease)
                self.on_disk[row.lease.address] = row.lease
            self.saved(rows)
            self.written(waiting, 0.0)
        else:
            self.unwritten = rows
            if self.failed(waiting)[1]:
                self.claims_unsent()


def lease(address: int, number: int) -> SaveLease:
    return SaveLease(StoredLease(address, b"i", bytes(16), "leased", float(number)))


def ack(address: int, number: int) -> SendDhcp:
    return SendDhcp("client0", b"%d" % number, 1, address, 68, None, durable=True, binding=address)


class Turns:
    """What a node wants, numbered: leases with their answers and news, renewals that need no row, announcements."""

    def __init__(self) -> None:
        self.number = 0
        self.latest: dict[int, int] = {}

    def granted(self, address: int) -> list[Effect]:
        self.number += 1
        self.latest[address] = self.number
        fields = {"number": self.number}
        return [
            lease(address, self.number), ack(address, self.number), Log(20, GRANTED, fields),
            RunHook(("lease", str(self.number))),
        ]  # fmt: skip

    def renewed(self, address: int, *, after_claim: int = 0) -> list[Effect]:
        if address not in self.latest:
            return []
        return [ProlongLease(address, after_claim), ack(address, self.latest[address])]

    def claimed(self, *, durable: bool) -> list[Effect]:
        self.number += 1
        return [SendMulticast(b"%d" % self.number, durable)]


@st.composite
def _steps(draw: st.DrawFn) -> list[tuple[str, int]]:
    kinds = st.sampled_from(["grant", "renew", "claim", "refresh", "begin", "ok", "fail", "link-down", "link-up"])
    return draw(st.lists(st.tuples(kinds, ADDRESSES), max_size=40))


def played(steps: list[tuple[str, int]]) -> Driver:
    driver, turns = Driver(), Turns()
    for kind, address in steps:
        if kind == "grant":
            driver.perform(turns.granted(address), 0.0)
        elif kind == "renew":
            driver.perform(turns.renewed(address), 0.0)
        elif kind in ("claim", "refresh"):
            driver.perform(turns.claimed(durable=kind == "claim"), 0.0)
        elif kind == "begin":
            driver.begin()
        elif kind in ("ok", "fail"):
            driver.end(is_ok=kind == "ok")
        else:
            driver.link_works = kind == "link-up"
    return driver


@given(_steps())
def test_what_an_answer_promises_is_on_disk_before_it_leaves(steps: list[tuple[str, int]]) -> None:
    """Asserted where it leaves. What was told of an answer is told at most once, and never of one that stayed."""
    driver = played(steps)
    told = [effect.fields["number"] for effect in driver.happened if isinstance(effect, Log)]
    sent = {int(effect.payload) for effect in driver.happened if isinstance(effect, SendDhcp)}
    assert len(told) == len(set(told))
    assert set(told) <= sent


@given(_steps())
def test_in_the_end_everything_leaves_in_order_if_the_disk_and_the_link_work(steps: list[tuple[str, int]]) -> None:
    calm = [step for step in steps if step[0] not in ("fail", "link-down")]
    driver = played(calm)
    for _ in range(2):
        driver.begin()
        driver.end(is_ok=True)
    assert driver.withheld_count == 0
    granted = sum(kind == "grant" for kind, _ in calm)
    assert sum(isinstance(effect, RunHook) for effect in driver.happened) == granted
    durable = [int(effect.data) for effect in driver.happened if isinstance(effect, SendMulticast) and effect.durable]
    assert durable == sorted(durable)
    assert len(durable) == sum(kind == "claim" for kind, _ in calm)


def test_an_answer_that_counts_on_an_announcement_which_did_not_leave_stays() -> None:
    driver, turns = Driver(), Turns()
    driver.link_works = False
    driver.perform([*turns.claimed(durable=True), *turns.granted(1)], 0.0)
    driver.begin()
    driver.end(is_ok=True)
    assert driver.happened == []
    assert driver.withheld_count == 1


def test_no_announcement_overtakes_one_that_was_to_wait_for_the_disk() -> None:
    """The disk is through with what came before, and has not been given what waits: the last word must be the last."""
    driver, turns = Driver(), Turns()
    driver.perform(turns.granted(1), 0.0)
    driver.begin()
    driver.perform(turns.claimed(durable=True), 0.0)
    driver.end(is_ok=True)
    driver.perform(turns.claimed(durable=True), 0.0)
    driver.begin()
    driver.end(is_ok=True)
    assert [effect.data for effect in driver.happened if isinstance(effect, SendMulticast)] == [b"2", b"3"]


def test_no_answer_overtakes_an_announcement_that_it_counts_on() -> None:
    """A renewal needs no row if that of an earlier one covers it. Others need not wait for a disk that is slow."""
    driver, turns = Driver(), Turns()
    driver.perform([*turns.claimed(durable=True), *turns.granted(1)], 0.0)
    driver.begin()
    driver.end(is_ok=True)
    driver.perform([lease(2, 2), *turns.claimed(durable=True)], 0.0)
    driver.perform(turns.renewed(1, after_claim=1), 0.0)
    driver.perform(turns.renewed(1, after_claim=2), 0.0)
    driver.begin()
    driver.perform(turns.renewed(1, after_claim=2), 0.0)
    driver.end(is_ok=True)
    driver.begin()
    driver.end(is_ok=True)
    driver.perform(turns.renewed(1, after_claim=2), 0.0)
    kinds = [type(effect) for effect in driver.happened if isinstance(effect, SendMulticast | SendDhcp)]
    assert kinds == [SendMulticast, SendDhcp, SendDhcp, SendMulticast, SendDhcp, SendDhcp, SendDhcp]


def test_nothing_is_told_of_an_answer_that_stays_beside_one_that_waits() -> None:
    driver, turns = Driver(), Turns()
    driver.link_works = False
    driver.perform([*turns.granted(1), *turns.claimed(durable=False), *turns.granted(2)], 0.0)
    driver.begin()
    driver.end(is_ok=True)
    assert driver.withheld_count == 2, "the first one, which waited, may count on it as well"
    assert driver.happened == []


def test_an_announcement_that_waited_for_a_disk_which_failed_was_not_made() -> None:
    driver, turns = Driver(), Turns()
    driver.perform([lease(1, 1), *turns.claimed(durable=True), *turns.granted(2)], 0.0)
    driver.begin()
    driver.perform(turns.granted(3), 0.0)
    driver.end(is_ok=False)
    driver.begin()
    driver.end(is_ok=True)
    assert driver.happened == []
    assert driver.withheld_count == 1, "the answer that came before the failure was known; its client asks again"
    driver.perform(turns.renewed(3), 0.0)
    assert len(driver.happened) == 1, "nothing waits any more"
