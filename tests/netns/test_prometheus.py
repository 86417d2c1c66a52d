"""Prometheus itself scrapes real nodes: the shipped dashboard's questions are answered, the shipped alerts go off."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ddhcp.dhcp import udp_frame
from ddhcp.testbed import layout
from ddhcp.testbed.mesh import Mesh
from ddhcp.testbed.programs import UDHCPC
from ddhcp.testbed.waiting import wait_until
from forwarder import Forwarder

pytestmark = pytest.mark.netns

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
PATIENCE_S = 30
LEASE_PATIENCE_S = 10
OFTEN = "500ms"  # scraped, and the rules looked at


class Prometheus:
    """The program, with a job "ddhcp" of these targets, and these rule files."""

    def __init__(self, directory: Path, targets: list[str], rules: list[Path]) -> None:
        directory.mkdir()
        settings = {
            "global": {"scrape_interval": OFTEN, "scrape_timeout": OFTEN, "evaluation_interval": OFTEN},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": "ddhcp", "static_configs": [{"targets": targets}]}],
        }
        (directory / "prometheus.yml").write_text(json.dumps(settings))  # which is YAML as well
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
                 f"--web.listen-address=127.0.0.1:{self._port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of one answer of its HTTP API; None as long as it does not answer. An error is the test's."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                return None
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        except urllib.error.URLError:
            return None

    def values(self, expression: str) -> list[float]:
        """What an expression gives now, without gaps."""
        found = self.ask("query", query=expression)
        numbers = [float(series["value"][1]) for series in found["result"]] if found else []
        return [number for number in numbers if math.isfinite(number)]

    def alerts(self, group: str) -> dict[str, str]:
        """The state of every alert of a group of rules."""
        found = self.ask("rules")
        rules = [
            rule for each in (found or {"groups": []})["groups"] if each["name"] == group for rule in each["rules"]
        ]
        return {rule["name"]: rule["state"] for rule in rules}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def watched(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> Iterator[tuple[Mesh, Prometheus]]:
    """Two nodes, and Prometheus with the shipped rules and with the same in a hurry."""
    mesh = make_mesh(2)
    with ExitStack() as stack:
        targets = []
        for realm in (0, 1):
            http = tmp_path / f"{realm}.sock"
            mesh.start(realm, "-L", "-t", "2", "-b", "3", "--http", f"unix:{http}")
            forwarder = Forwarder(http)
            stack.callback(forwarder.close)
            targets.append(f"127.0.0.1:{forwarder.port}")
        mesh.wait_for_blocks(10)
        shipped = (PACKAGING / "prometheus" / "ddhcp.rules.yml").read_text()
        rules = [tmp_path / "shipped.yml", tmp_path / "hasty.yml"]
        rules[0].write_text(shipped)
        rules[1].write_text(shipped.replace("name: ddhcp", "name: hasty").replace("for: 2m", "for: 1s"))
        prometheus = Prometheus(tmp_path / "prometheus", targets, rules)
        stack.callback(prometheus.close)
        yield mesh, prometheus


def panels() -> list[tuple[str, str]]:
    """Title and expression, its variables filled in, of all that the dashboard asks for; without the comparison that
    hides what is 0."""
    dashboard = json.loads((PACKAGING / "grafana" / "ddhcp.json").read_text())
    found = []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$job", "ddhcp").replace("$instance", ".*")
            expression = expression.replace("$__rate_interval", "15s").removesuffix(" > 0")
            found.append((panel["title"], expression))
    return found


def send_nonsense(realm: int) -> None:
    """Send the node of a realm what is no DHCP message."""
    frame = udp_frame(b"\x02\0\0\0\0\1", b"\xff" * 6, 0, 0xFFFFFFFF, 68, 67, b"no DHCP message")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
        link.bind((layout.realm_bridge(realm), 0))
        link.send(frame)


def test_the_dashboard_has_data_and_an_alert_goes_off(watched: tuple[Mesh, Prometheus]) -> None:
    mesh, prometheus = watched
    wait_until(lambda: prometheus.values('up{job="ddhcp"}') == [1, 1], PATIENCE_S, "both nodes to be scraped")
    mesh.wait_for_lease(mesh.join(0, UDHCPC), LEASE_PATIENCE_S)

    def empty() -> set[str]:
        without = {expression for _, expression in panels() if not prometheus.values(expression)}
        # In a mesh that is in order the nodes drop nothing of one another; that question is only to be understood.
        return {expression for expression in without if "ddhcp_swarm_drops_total" not in expression}

    send_nonsense(0)
    wait_until(lambda: empty() == set(), PATIENCE_S, "an answer to every question")
    wait_until(lambda: prometheus.values('sum(ddhcp_leases{state="leased"})') == [1], PATIENCE_S, "the lease")
    assert set(prometheus.alerts("ddhcp").values()) == {"inactive"}

    mesh.nodes[1].process.kill()
    wait_until(lambda: prometheus.alerts("ddhcp")["DdhcpDown"] == "pending", PATIENCE_S, "the alert to be pending")
    wait_until(lambda: prometheus.alerts("hasty")["DdhcpDown"] == "firing", PATIENCE_S, "the alert to fire")
