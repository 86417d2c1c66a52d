"""A node whose API is asked over a bridge, as HTTP and the names file do, from other threads than the loop's."""

from __future__ import annotations

import logging
import os
import select
import threading

from ddhcp.core import Node
from ddhcp.core import events as e
from ddhcp.daemon.api import Answer, Api
from ddhcp.daemon.bridge import Bridge
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.health import Facts


class BridgedNode:
    """``node``, and a thread that stands for the loop: it answers what comes over ``bridge``. ``now``: its clock."""

    def __init__(self, node: Node, now: float) -> None:
        self.log = EventLog(logging.NullHandler(), logging.INFO)
        self.node = node
        self.now = now
        self.drained = threading.Event()
        self.store_error: str | None = None
        self.api = Api(self.node, self, self.log.recent, clock=lambda: self.now)
        self.bridge = Bridge(self.api)
        self._ending = os.eventfd(0)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self.bridge.fileno(), self._ending], [], [])
            if self._ending in ready:
                return
            self.bridge.run(self.now)

    def feed_event(self, event: e.Event) -> None:
        self.node.handle(event, self.now)

    def statistics(self) -> dict[str, int]:
        return self.node.statistics()

    def facts(self) -> Facts:
        return Facts("server0", True, ("client0",), (), "sqlite", self.store_error, 5.0)

    def drain(self) -> None:
        self.drained.set()

    def reload(self) -> Answer:
        raise ValueError("there is no configuration file")

    def close(self) -> None:
        """Answer no more."""
        os.eventfd_write(self._ending, 1)
        self._thread.join()
        self.bridge.close()
