"""I2: no lease outlasts what was promised for its block on the wire."""

from __future__ import annotations

from ...core.pool import dotted
from ...dhcp import Message
from ..watch import Watch

MARGIN_S = 1.0  # at the moment of granting; the nodes keep a wider one for transit and drift


class PromiseChecker:
    """Compares every grant of a node of ours with the UPDATECLAIMs that were sent for its block: by the granter, or by
    the owner for whom it stands in."""

    def __init__(self, watch: Watch, classic: frozenset[int]) -> None:
        self._watch = watch
        self._classic = classic
        watch.on_ack.append(self._on_ack)
        watch.on_lease_ack.append(self._on_lease_ack)

    def _on_ack(self, number: int, message: Message, granter: int) -> None:
        lease_s = message.lease_time_s
        if message.yiaddr and lease_s is not None and granter == number:
            self._check(number, message.yiaddr, lease_s)

    def _on_lease_ack(self, number: int, address: int, lease_s: int) -> None:
        self._check(number, address, lease_s or self._watch.setup.lease_s)

    def _check(self, number: int, address: int, lease_s: int) -> None:
        watch = self._watch
        if number in self._classic or address not in watch.setup.pool:
            return
        index = watch.setup.pool.index_of(address)
        now = watch.engine.now
        until = max((until for _, until in watch.block(index).claims.values()), default=0.0)
        if now + lease_s + MARGIN_S > until:
            watch.violation(
                "I2",
                f"n{number} grants {dotted(address)} for {lease_s} s, to {now + lease_s:.1f}, but promised block "
                f"{index} only until {until:.1f}",
                watch.story_of(index),
            )
