"""I3 (one owner), I4 (messages after a heal), I7 (no leak) and I8 (idle packets): the blocks once the network is
stable."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.announcing import tells_of_leases
from ..watch import Watch

MESSAGES_PER_DISPUTE = 12  # c of I4: three inquiries and a claim, said and answered by two nodes, with room for losses
MESSAGES_PER_CLAIM = 6  # three inquiries, the claim, and two more announcements in case that is lost
IDLE_TOLERANCE = 1.25
ADOPTION_TURNS = 10  # tentative timeouts after which survivors that are not the first have had their turn to adopt


class OwnerChecker:
    """I3: from ``settled_at`` on no two nodes claim one block by turns."""

    def __init__(self, watch: Watch, classic: frozenset[int]) -> None:
        self._watch = watch
        self._classic = classic
        self.settled_at: float | None = None
        self._owners: dict[int, list[int]] = {}
        self._reported: set[int] = set()
        watch.on_claims.append(self._on_claims)

    def _on_claims(self, number: int, claims: list[tuple[int, int]]) -> None:
        settled_at = self.settled_at
        if settled_at is None or self._watch.engine.now < settled_at:
            return
        for index, timeout_s in claims:
            owners = self._owners.setdefault(index, [])
            if timeout_s == 0:
                self._owners[index] = [owner for owner in owners if owner != number]
            elif not owners or owners[-1] != number:
                if number in owners and index not in self._reported:
                    self._report(index, owners, number)
                owners.append(number)

    def _report(self, index: int, owners: list[int], number: int) -> None:
        self._reported.add(index)
        if self._classic.intersection((owners[-1], number)):
            return
        self._watch.violation(
            "I3", f"block {index} has two owners in a stable network: n{owners[-1]} and n{number}",
            self._watch.story_of(index),
        )  # fmt: skip

    def reset(self) -> None:
        """The network is disturbed again."""
        self.settled_at = None
        self._owners.clear()


@dataclass(slots=True)
class Healing:
    """What happened after the faults ended: disputed blocks, multicasts within the window, and how many I4 allows."""

    disputed: int
    waiting: int
    began_with: int
    multicasts: int = 0
    allowed: int = 0


class HealChecker:
    """I4: multicasts after a heal are bounded by a constant for each disputed block and node."""

    WINDOW_S = 60.0

    def __init__(self, watch: Watch, nodes: int) -> None:
        self._watch = watch
        self._nodes = nodes
        self.result: Healing | None = None

    def begin(self, waiting: int) -> None:
        """The faults have ended. ``waiting``: clients without an address."""
        now = self._watch.engine.now
        disputed = sum(len(witness.claimants(now)) > 1 for witness in self._watch.blocks.values())
        self.result = Healing(disputed, waiting, self._watch.multicasts)
        self._watch.engine.after(self.WINDOW_S, self._end)

    def _end(self) -> None:
        result = self.result
        if result is None:
            return
        setup = self._watch.setup
        result.multicasts = self._watch.multicasts - result.began_with
        refreshes = self._nodes * (1 + self.WINDOW_S / (setup.block_timeout_s / 5))
        result.allowed = int(MESSAGES_PER_DISPUTE * (result.disputed + self._nodes + result.waiting) + refreshes)
        if result.multicasts > result.allowed and setup.classic == 0:
            self._watch.violation(
                "I4", f"{result.multicasts} multicasts in {self.WINDOW_S:.0f} s after the heal, {result.allowed} are "
                f"allowed for {result.disputed} disputed blocks, {self._nodes} nodes, {result.waiting} waiting clients",
            )  # fmt: skip


@dataclass(slots=True)
class Idleness:
    """Multicasts in a quiet window, and how many I8 allows."""

    seconds: float
    multicasts: int
    allowed: float

    @property
    def packets_per_s(self) -> float:
        """The standing cost of the protocol."""
        return self.multicasts / self.seconds if self.seconds else 0.0


class IdleChecker:
    """I8: while nothing happens, a node announces all its blocks in one packet, as seldom as its shortest promise
    allows, or that it owns none, three times in a promise. That a dead owner's promise ends is something: survivors
    inquire its block, and one announces it; and so is that a node needs a block, as for a client that comes back when
    its lease has ended: it inquires, claims and repeats that; and so is that a client asks in vain, as the pool is
    full: who knows it is asked (LOCATE)."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._shortest: dict[int, int] | None = None
        self._began = (0.0, 0, 0)
        self._held: set[tuple[int, int]] = set()  # (node, block): claimed when it began,
        self._begun: set[tuple[int, int]] = set()  # and those that were claimed only after that
        watch.on_claims.append(self._on_claims)

    def begin(self) -> None:
        """From now on nothing happens."""
        self._shortest = {}
        now = self._watch.engine.now
        self._held = {
            (number, index)
            for index, witness in self._watch.blocks.items()
            for number, (_, until) in witness.claims.items()
            if until > now
        }
        self._begun.clear()
        self._began = (now, self._watch.multicasts, self._watch.discovers)

    def _on_claims(self, number: int, claims: list[tuple[int, int]]) -> None:
        if self._shortest is not None and claims:
            timeout_s = min(timeout_s for _, timeout_s in claims)
            self._shortest[number] = min(timeout_s, self._shortest.get(number, timeout_s))
            self._begun.update({(number, index) for index, _ in claims} - self._held)

    def end(self, *, check: bool) -> Idleness:
        """The quiet window is over."""
        began_at, began_with, discovers_before = self._began
        setup = self._watch.setup
        seconds = self._watch.engine.now - began_at
        allowed = 0.0
        for timeout_s in (self._shortest or {}).values():
            has_leases = tells_of_leases(timeout_s, setup.block_timeout_s)
            period_s = ((timeout_s - setup.lease_s if has_leases else timeout_s * 0.9) - 5) / 3
            allowed += 2 + seconds / (0.7 * max(1.0, period_s))
        owning_nothing = setup.nodes - len(self._shortest or {})
        allowed += owning_nothing * (1 + seconds / (0.7 * setup.promise_s / 3))
        self._shortest = None
        allowed += MESSAGES_PER_CLAIM * len(self._begun)
        allowed += self._watch.discovers - discovers_before
        allowed += MESSAGES_PER_DISPUTE * self._orphaned(began_at - ADOPTION_TURNS * setup.tentative_timeout_s)
        idle = Idleness(seconds, self._watch.multicasts - began_with, allowed * IDLE_TOLERANCE)
        if check and idle.multicasts > idle.allowed:
            self._watch.violation(
                "I8", f"{idle.multicasts} multicasts in {seconds:.0f} quiet seconds, {idle.allowed:.0f} are allowed"
            )
        return idle

    def _orphaned(self, since: float) -> int:
        """How many blocks there are with a promise that ended after ``since`` without having been given up."""
        now = self._watch.engine.now
        return sum(
            any(since <= until <= now for _, until in witness.claims.values())
            for witness in self._watch.blocks.values()
        )


@dataclass(slots=True)
class LeakChecker:
    """I7: what a dead owner left is free again within its bound. ``bound_s``: after the end of the last promise."""

    watch: Watch
    bound_s: float
    _empty: dict[int, set[int]] = field(default_factory=dict)

    def known(self, number: int, held: list[int], alive: frozenset[int]) -> None:
        """Node ``number`` keeps its hands off the blocks ``held``. Each needs a reason: somebody alive claims it, or it
        was promised not long ago."""
        now = self.watch.engine.now
        for index in held:
            witness = self.watch.block(index)
            if any(owner in alive and until > now for owner, (_, until) in witness.claims.items()):
                continue
            last = witness.last_until
            if last is not None and last + self.bound_s < now:
                self.watch.violation(
                    "I7", f"n{number} still holds block {index} taken, whose last promise ended {now - last:.0f} s ago",
                    self.watch.story_of(index),
                )  # fmt: skip

    def empty(self, number: int, empty: set[int], allowed: int) -> None:
        """Node ``number`` owns the blocks ``empty``, in which no client has an address; ``allowed``: how many it needs
        as spares. Called twice, long enough apart for a needless block to be given up."""
        before = self._empty.get(number)
        self._empty[number] = empty
        if before is None:
            return
        kept = before & empty
        if len(kept) > allowed:
            index = min(kept)
            self.watch.violation(
                "I7", f"n{number} keeps {len(kept)} blocks that nobody needs, {allowed} would do; block {index} is one",
                self.watch.story_of(index),
            )  # fmt: skip
