"""Prometheus metrics of a node. docs/metrics.md describes them; a test holds the two together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..health import PROBLEM_NAMES
from ..latency import Histogram

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Statistics that are no counters, told by metrics of their own or not at all.
_GAUGES = frozenset({"dhcp.waiting", "swarm.forwards", "ddhcp.peers"})
# There from the start: an alert on the increase of a counter does not see it come into being, only grow.
_WATCHED_EVENTS = ("blocks_lost", "disputes_won", "claims_yielded")
_DIRECTIONS = {"recv": "received", "send": "sent"}

Labelled = dict[tuple[str, ...], int]


class Counters:
    """The node's counters, whose names have grown with the classic tool's, sorted into metrics with labels."""

    def __init__(self, statistics: Mapping[str, int]) -> None:
        self.dhcp_packets: Labelled = {}
        self.dhcp_messages: Labelled = {}
        self.dhcp_bytes: Labelled = {}
        self.dhcp_drops: Labelled = {}
        self.dhcp_outcomes: Labelled = {}
        self.swarm_packets: Labelled = {}
        self.swarm_bytes: Labelled = {}
        self.swarm_messages: Labelled = {}
        self.swarm_drops: Labelled = {}
        self.swarm_events: Labelled = {(event,): 0 for event in _WATCHED_EVENTS}
        self.daemon_events: Labelled = {}
        for name, value in statistics.items():
            if name not in _GAUGES and not name.startswith("ddhcp."):
                self._sort_in(name, value)

    def _sort_in(self, name: str, value: int) -> None:
        area, _, rest = name.partition(".")
        direction = _DIRECTIONS.get(rest[:4]) if rest[4:5] == "_" else None
        subject = rest[5:]
        match area, direction:
            case "dhcp", None if rest.startswith("drop."):
                self.dhcp_drops[rest.removeprefix("drop."),] = value
            case "dhcp", None:
                self.dhcp_outcomes[rest,] = value
            case "dhcp", str() if subject == "pkg":
                self.dhcp_packets[direction,] = value
            case "dhcp", str() if subject == "byte":
                self.dhcp_bytes[direction,] = value
            case "dhcp", str():
                self.dhcp_messages[direction, subject] = value
            case ("mcast" | "direct") as channel, str() if subject in ("pkg", "byte"):
                into = self.swarm_packets if subject == "pkg" else self.swarm_bytes
                into[direction, "multicast" if channel == "mcast" else "unicast"] = value
            case "mcast" | "direct" | "swarm", str():
                key = (direction, subject)
                self.swarm_messages[key] = self.swarm_messages.get(key, 0) + value
            case "swarm", None if rest.startswith("drop."):
                self.swarm_drops[rest.removeprefix("drop."),] = value
            case "daemon", _:
                self.daemon_events[rest,] = value
            case _:
                self.swarm_events[rest if area == "swarm" else name,] = value


def _counter(name: str, text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    metric = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        metric.add_metric(key, value)
    return metric


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        metric.add_metric((key,), value)
    return metric


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    rows = histogram.cumulative()
    buckets = [("+Inf" if bound == float("inf") else repr(bound), number) for bound, number in rows]
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum_s)


class _Snapshot(Collector):
    def __init__(self, status: Mapping[str, Any], histograms: Mapping[str, Histogram], requests: Labelled) -> None:
        self._status = status
        self._histograms = histograms
        self._requests = requests

    def collect(self) -> Iterator[Metric]:
        yield from _node(self._status)
        yield from _counters(Counters(self._status["statistics"]))
        yield _histogram(
            "ddhcp_dhcp_handling_seconds", "Time from a DHCP message to the decision about it, without the disk",
            self._histograms["handling"],
        )  # fmt: skip
        yield _histogram(
            "ddhcp_store_commit_seconds", "Time that a commit to the store took", self._histograms["commit"]
        )
        yield _counter("ddhcp_http_requests", "HTTP requests by status", ("status",), self._requests)


def _node(status: Mapping[str, Any]) -> Iterable[Metric]:
    info = InfoMetricFamily("ddhcp", "The node")
    info.add_metric(
        (), {"version": status["version"], "node_id": status["node_id"], "pool": status["pool"]["network"]}
    )  # fmt: skip
    yield info
    yield _gauge("ddhcp_start_time_seconds", "When the daemon was started, in Unix time", status["started_at"])
    yield _gauge("ddhcp_pool_addresses", "Addresses of the pool", status["pool"]["addresses"])
    yield _gauge("ddhcp_pool_block_size", "Addresses of a block", status["pool"]["block_size"])
    yield _gauges("ddhcp_pool_blocks", "Blocks of the pool, as this node sees them", "state", status["blocks"])
    leases = {state: status["leases"][state] for state in ("leased", "offered", "free")}
    yield _gauges("ddhcp_leases", "Addresses of this node's blocks", "state", leases)
    yield _gauge("ddhcp_clients_waiting", "Clients that wait for an address", status["leases"]["waiting"])
    peers = {kind: status["peers"][kind] for kind in ("ddhcp", "classic")}
    peers["unknown"] = status["peers"]["known"] - sum(peers.values())
    yield _gauges("ddhcp_peers", "Other nodes that were heard", "kind", peers)
    yield _gauge("ddhcp_server_link_up", "Whether the server link carries packets", status["server_link"] == "up")
    yield _gauge("ddhcp_client_links_missing", "Client links that do not serve", len(status["clients_missing"]))
    yield _gauge("ddhcp_learning", "Whether the node still only listens", status["learning"])
    yield _gauge("ddhcp_store_failing", "Whether the latest commit failed", status["store_error"] is not None)
    margin_s = status["promise_margin_s"]
    if margin_s is not None:
        yield _gauge(
            "ddhcp_promise_margin_seconds", "Time until the first claim of ours ends if no refresh is heard", margin_s
        )
    found = {problem["name"] for problem in status["problems"]}
    yield _gauges(
        "ddhcp_problem", "Whether something is wrong", "name", {name: name in found for name in PROBLEM_NAMES}
    )


def _counters(found: Counters) -> Iterable[Metric]:
    yield _counter("ddhcp_dhcp_packets", "DHCP packets", ("direction",), found.dhcp_packets)
    yield _counter("ddhcp_dhcp_bytes", "Bytes of DHCP packets", ("direction",), found.dhcp_bytes)
    yield _counter("ddhcp_dhcp_messages", "DHCP messages by type", ("direction", "type"), found.dhcp_messages)
    yield _counter("ddhcp_dhcp_drops", "DHCP packets dropped", ("reason",), found.dhcp_drops)
    yield _counter("ddhcp_dhcp_outcomes", "What else became of DHCP requests", ("outcome",), found.dhcp_outcomes)
    labels = ("direction", "channel")
    yield _counter("ddhcp_swarm_packets", "Packets between nodes", labels, found.swarm_packets)
    yield _counter("ddhcp_swarm_bytes", "Bytes of packets between nodes", labels, found.swarm_bytes)
    yield _counter("ddhcp_swarm_messages", "Messages between nodes", ("direction", "message"), found.swarm_messages)
    yield _counter("ddhcp_swarm_drops", "Packets of nodes dropped", ("reason",), found.swarm_drops)
    yield _counter("ddhcp_swarm_events", "What else happened between nodes", ("event",), found.swarm_events)
    yield _counter("ddhcp_daemon_events", "Errors and losses of the daemon", ("event",), found.daemon_events)


def exposition(status: Mapping[str, Any], histograms: Mapping[str, Histogram], requests: Labelled) -> bytes:
    """The text that Prometheus scrapes, for one status of the API. ``requests``: HTTP requests by status."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(status, histograms, requests))
    return generate_latest(registry)
