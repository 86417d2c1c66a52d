"""The API against its own description: schemathesis makes requests, good and bad, from the OpenAPI document."""

from __future__ import annotations

import logging
import os
import random
import select
import threading
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import events as e
from ddhcp.daemon.api import Answer, Api
from ddhcp.daemon.bridge import Bridge
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.health import Facts
from ddhcp.daemon.http import parse_listen
from ddhcp.daemon.http.openapi import description
from ddhcp.daemon.http.service import HttpServer
from ddhcp.daemon.latency import COMMIT_BOUNDS_S, HANDLING_BOUNDS_S, Histogram
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c

TOKEN = "a-token-that-nobody-guesses"
CLIENTS = 40


class Daemon:
    """A node with leases, served over HTTP; a thread stands for the loop."""

    def __init__(self) -> None:
        self._log = EventLog(logging.NullHandler(), logging.INFO)
        self._node = Node(NodeConfig(Pool(0x0A000000, 20, 32), learning_phase=False), random.Random(1))
        self._lease()
        self._bridge = Bridge(Api(self._node, self, self._log.recent, clock=lambda: 40.0))
        histograms = {"handling": Histogram(HANDLING_BOUNDS_S), "commit": Histogram(COMMIT_BOUNDS_S)}
        self._http = HttpServer(parse_listen("127.0.0.1:0"), self._bridge, self._log, histograms, token=TOKEN)
        self._http.start()
        self.url = f"http://127.0.0.1:{self._http.address[1]}/api/v1"
        self._ending = os.eventfd(0)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _lease(self) -> None:
        handle = self._node.handle
        handle(e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, bytes(6))), 0.0)
        handle(e.Start(), 0.0)
        handle(e.ServerLinkUp(b"\x02\0\0\0\0\1", b"\xfe\x80" + bytes(13) + b"\1"), 0.0)
        now = 0.0
        while now < 30.0:
            now = max(now + 0.01, self._node.deadline() or now)
            handle(e.Wake(), now)
        for number in range(CLIENTS):
            options = {c.OPT_MESSAGE_TYPE: bytes((c.DISCOVER,)), c.OPT_HOSTNAME: b"h\xff\x1b" + bytes((65 + number,))}
            chaddr = bytes((2, 0, 0, 0, 0, number)).ljust(16, b"\0")
            handle(
                e.DhcpReceived("client0", Message(xid=1, chaddr=chaddr, options=options).encode(), 0, 0xFFFFFFFF), 31.0
            )

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._bridge.fileno(), self._ending], [], [])
            if self._ending in ready:
                return
            self._bridge.run(40.0)

    def feed_event(self, event: e.Event) -> None:
        self._node.handle(event, 40.0)

    def statistics(self) -> dict[str, int]:
        return self._node.statistics()

    def facts(self) -> Facts:
        return Facts("server0", True, ("client0",), (), "sqlite", None, 40.0)

    def drain(self) -> None:
        """Nothing stops here."""

    def reload(self) -> Answer:
        return {"changed": []}

    def close(self) -> None:
        self._http.close()
        os.eventfd_write(self._ending, 1)
        self._thread.join()
        self._bridge.close()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.close()


schema = schemathesis.openapi.from_dict(description()).exclude(path="/events/stream")  # which does not end


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_api_does_what_its_description_says(case: schemathesis.Case, daemon: Daemon) -> None:
    response = case.call(base_url=daemon.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
