"""What Grafana and Prometheus are given: rules that promtool accepts, and no metric that the daemon does not have."""

from __future__ import annotations

import json
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.daemon.health import PROBLEM_NAMES
from ddhcp.daemon.http.metrics import exposition
from ddhcp.daemon.latency import COMMIT_BOUNDS_S, HANDLING_BOUNDS_S, Histogram

ROOT = Path(__file__).parents[2]
RULES = ROOT / "packaging" / "prometheus" / "ddhcp.rules.yml"
DASHBOARD = ROOT / "packaging" / "grafana" / "ddhcp.json"
DOCUMENT = ROOT / "docs" / "metrics.md"
NAME = re.compile(r"\bddhcp_[a-z_]+\b")

STATUS: dict[str, Any] = {
    "version": "1", "node_id": "00", "started_at": 1.0, "learning": False, "store_error": None, "promise_margin_s": 5.0,
    "pool": {"network": "10.0.0.0/20", "addresses": 4096, "block_size": 32, "blocks": 128},
    "blocks": {"free": 1}, "leases": {"leased": 1, "offered": 0, "free": 0, "waiting": 0}, "server_link": "up",
    "peers": {"known": 0, "ddhcp": 0, "classic": 0}, "clients_missing": [], "problems": [],
}  # fmt: skip


def exposed() -> str:
    node = Node(NodeConfig(Pool(0x0A000000, 20, 32)), random.Random(1))
    histograms = {"handling": Histogram(HANDLING_BOUNDS_S), "commit": Histogram(COMMIT_BOUNDS_S)}
    statistics = node.statistics() | {"daemon.exceptions": 0}
    return exposition(STATUS | {"statistics": statistics}, histograms, {("200",): 1}).decode()


def names() -> set[str]:
    """Every name that an expression may use."""
    found = set()
    for line in exposed().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
            found |= {name + suffix for suffix in suffixes}
    return found


def expressions() -> list[str]:
    rules = re.findall(r"^ +expr: (.+)$", RULES.read_text(), re.MULTILINE)
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    notes = [note["expr"] for note in dashboard["annotations"]["list"]]
    variables = [variable["query"] for variable in dashboard["templating"]["list"]]
    return rules + panels + notes + variables


def test_promtool_accepts_the_rules() -> None:
    checked = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_promtool_accepts_the_metrics() -> None:
    checked = subprocess.run(["promtool", "check", "metrics"], input=exposed(), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_promtool_accepts_every_expression(tmp_path: Path) -> None:
    """Expressions of the dashboard, with its variables filled in, as rules."""
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, expression in enumerate(e for e in expressions() if not e.startswith(("label_values", "prometheus"))):
        plain = expression.replace("$job", "ddhcp").replace("$instance", ".*").replace("$__rate_interval", "1m")
        lines += [f"  - record: a{number}", f"    expr: {json.dumps(plain)}"]
    file = tmp_path / "rules.yml"
    file.write_text("\n".join(lines) + "\n")
    checked = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_grafanas_own_types_know_everything_in_the_dashboard() -> None:
    """What is read into them and written again is the same: no key is unknown, no value of another type."""
    register_default_plugins()
    shipped = json.loads(DASHBOARD.read_text())
    for note in shipped["annotations"]["list"]:
        note.pop("titleFormat")  # the data source's own, of which those types know nothing
    assert without_defaults(json.loads(json.dumps(Dashboard.from_json(shipped), cls=JSONEncoder)), shipped) == shipped


def without_defaults(written: Any, shipped: Any) -> Any:
    """``written`` with those keys only that ``shipped`` has."""
    if isinstance(written, dict) and isinstance(shipped, dict):
        return {key: without_defaults(value, shipped[key]) for key, value in written.items() if key in shipped}
    if isinstance(written, list) and isinstance(shipped, list) and len(written) == len(shipped):
        return [without_defaults(*pair) for pair in zip(written, shipped, strict=True)]
    return written


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert all(x < 24 for x, _ in cells)  # a row has that many columns
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_that_is_asked_for_exists(expression: str) -> None:
    assert set(NAME.findall(expression)) <= names()


def test_an_event_that_an_alert_watches_is_counted_from_the_start() -> None:
    """Else its first occurrence would be no increase of anything."""
    asked = re.findall(r'ddhcp_swarm_events_total\{[^}]*event=~?"([^"]+)"', "\n".join(expressions()))
    events = {event for each in asked for event in each.split("|")}
    assert events == {"blocks_lost", "disputes_won", "claims_yielded"}
    for event in events:
        assert f'ddhcp_swarm_events_total{{event="{event}"}} 0.0' in exposed()


def test_every_problem_that_is_asked_for_exists() -> None:
    asked = re.findall(r'ddhcp_problem\{[^}]*name="([^"]+)"', "\n".join(expressions()))
    assert asked
    assert set(asked) <= set(PROBLEM_NAMES)


def test_every_metric_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| `(ddhcp_[a-z_]+)`", DOCUMENT.read_text(), re.MULTILINE))
    types = {line.split()[2] for line in exposed().splitlines() if line.startswith("# TYPE ")}
    assert documented == types


def test_every_problem_is_documented() -> None:
    text = DOCUMENT.read_text()
    assert [name for name in PROBLEM_NAMES if f"`{name}`" not in text] == []
