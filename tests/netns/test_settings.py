"""The real daemon with a configuration file: three lines, reloading, and as an ordinary user."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ddhcp.ctl.connection import ask
from ddhcp.ctl.protocol import Command, Request
from ddhcp.testbed import kernel
from ddhcp.testbed.mesh import Mesh
from ddhcp.testbed.nodes import Node
from ddhcp.testbed.programs import UDHCPC
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

PATIENCE_S = 15.0
QUICK = ("-L", "-t", "2", "-b", "3")
NOBODY = "nobody"


def api(node: Node, command: str) -> dict[str, object]:
    answer = b"".join(ask(node.socket, Request(Command.JSON, arguments={"command": command})))
    found = json.loads(answer)
    assert isinstance(found, dict)
    return found


def logged(node: Node, event: str, count: int = 1) -> Callable[[], bool]:
    return lambda: node.read_log().count(f" {event}") >= count


def test_three_lines_lease_an_address(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    mesh = make_mesh(1)
    path = tmp_path / "ddhcp.toml"
    path.write_text('server-interface = "server0"\nclient-interfaces = ["client0"]\nnetwork = "10.0.0.0/16"\n')
    mesh.start(0, "-F", str(path), *QUICK)
    mesh.wait_for_blocks(PATIENCE_S)
    client = mesh.join(0, UDHCPC)
    assert mesh.wait_for_lease(client, PATIENCE_S).startswith("10.0.")


def test_a_reload_takes_what_can_be_taken(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    mesh = make_mesh(1)
    path = tmp_path / "ddhcp.toml"
    path.write_text("[dhcp]\nlease-time = 300\n")
    node = mesh.start(0, "-F", str(path), *QUICK)
    mesh.wait_for_blocks(PATIENCE_S)
    client = mesh.join(0, UDHCPC)
    address = mesh.wait_for_lease(client, PATIENCE_S)

    path.write_text('block-bits = 4\n[dhcp]\nlease-time = 900\n[options]\ndns-servers = ["10.0.0.53"]\n')
    answer = api(node, "reload")
    assert answer["applied"] == ["dhcp.lease-time", "options"]
    assert answer["needs_restart"] == [], "-b on the command line goes before the file"
    options = node.ask(Command.SHOW_OPTIONS)
    assert "900" in options
    assert "6\t4\t10\t0\t0\t53" in options
    assert node.leased() == 1
    assert mesh.clients.address(client) == address

    path.write_text('server-interface = "other0"\n[dhcp]\nlease-time = 600\n')
    os.kill(node.process.pid, signal.SIGHUP)
    wait_until(logged(node, "reloaded", 2), PATIENCE_S, "the second reload")
    assert "server-interface" not in node.read_log().splitlines()[0]
    (line,) = [line for line in node.read_log().splitlines() if " reloaded " in line and "server-interface" in line]
    assert "needs_restart" in line
    assert "600" in node.ask(Command.SHOW_OPTIONS)

    path.write_text("[dhcp]\nlease-time = 'soon'\n")
    os.kill(node.process.pid, signal.SIGHUP)
    wait_until(logged(node, "reload-failed"), PATIENCE_S, "the refusal")
    assert f"{path}:2: dhcp.lease-time" in node.read_log()
    assert "600" in node.ask(Command.SHOW_OPTIONS), "the former one stays in force"
    assert node.leased() == 1
    assert node.running


def test_client_interfaces_can_be_changed_by_a_reload(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    mesh = make_mesh(1)
    path = tmp_path / "ddhcp.toml"
    path.write_text('network = "10.0.0.0/16"\nclient-interfaces = []\n')
    node = mesh.start(0, "-F", str(path), *QUICK)
    wait_until(logged(node, "server-link-up"), PATIENCE_S, "the start")
    path.write_text('network = "10.0.0.0/16"\nclient-interfaces = ["client0"]\n')
    assert api(node, "reload")["applied"] == ["client-interfaces"]
    client = mesh.join(0, UDHCPC)
    mesh.wait_for_lease(client, PATIENCE_S)
    path.write_text('network = "10.0.0.0/16"\nclient-interfaces = []\n')
    api(node, "reload")
    assert api(node, "status")["client_interfaces"] == []


# -- an ordinary user -----------------------------------------------------------------------------------------


def status_of(pid: int) -> dict[str, str]:
    rows = (row.partition(":") for row in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in rows}


def test_an_ordinary_user_with_two_capabilities_serves(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(1)
    place = Path("/run/ddhcp-user")
    arguments = ("--user", NOBODY, "--store", f"{place}/state/leases.sqlite", "-C", f"{place}/run/ddhcp.sock")
    node = mesh.start(0, *QUICK, *arguments)
    node.socket = place / "run" / "ddhcp.sock"
    mesh.wait_for_blocks(PATIENCE_S)

    entry = pwd.getpwnam(NOBODY)
    kept = f"{1 << 10 | 1 << 13:016x}"
    for thread in Path(f"/proc/{node.process.pid}/task").iterdir():
        status = status_of(int(thread.name))
        assert status["Uid"].split() == [str(entry.pw_uid)] * 4
        assert status["Gid"].split() == [str(entry.pw_gid)] * 4
        assert status["Groups"] == ""
        assert (status["CapPrm"], status["CapEff"], status["CapBnd"]) == (kept, kept, kept)
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
        assert status["NoNewPrivs"] == "1"
    assert (place / "state").stat().st_uid == entry.pw_uid
    assert (place / "state" / "leases.sqlite").stat().st_uid == entry.pw_uid

    client = mesh.join(0, UDHCPC)
    mesh.wait_for_lease(client, PATIENCE_S)
    # Sockets are opened anew when an interface comes back, which needs both capabilities again.
    for state in ("down", "up"):
        with kernel.entered(mesh.network.require_realm(0)):
            subprocess.run(["ip", "link", "set", "client0", state], check=True)
        wait_until(logged(node, f"client-link-{state}"), PATIENCE_S, f"client0 {state}")
    other = mesh.join(0, UDHCPC)
    mesh.wait_for_lease(other, PATIENCE_S)
    assert node.stop() == 0


def test_a_hook_of_an_ordinary_user_has_no_capabilities(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(1)
    place = Path("/run/ddhcp-hook")
    place.mkdir()
    os.chmod(place, 0o777)
    hook = place / "hook"
    hook.write_text("#!/bin/sh\ngrep -E '^(Uid|CapEff|CapPrm)' /proc/self/status > " + f"{place}/seen\n")
    hook.chmod(0o755)
    arguments = ("--user", NOBODY, "--store", f"{place}/state/l.sqlite", "-C", f"{place}/run/s", "-H", str(hook))
    node = mesh.start(0, *QUICK, *arguments)
    node.socket = place / "run" / "s"
    mesh.wait_for_blocks(PATIENCE_S)
    mesh.wait_for_lease(mesh.join(0, UDHCPC), PATIENCE_S)
    wait_until(lambda: "CapEff" in _text(place / "seen"), PATIENCE_S, "the hook")
    seen = dict(line.split(":\t", 1) for line in _text(place / "seen").splitlines())
    assert seen["Uid"].split()[0] == str(pwd.getpwnam(NOBODY).pw_uid)
    assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == 0


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--user", "no-such-user"), "useradd"),
        (("--user", NOBODY, "--group", "no-such-group"), "no-such-group"),
        (("--group", "root"), "--user"),
    ],
)
def test_a_user_that_cannot_be_is_refused(
    make_mesh: Callable[[int], Mesh], arguments: tuple[str, ...], says: str
) -> None:
    mesh = make_mesh(1)
    node = mesh.start(0, *arguments)
    assert node.process.wait(PATIENCE_S) == 2
    assert says in node.read_log()
    assert len(node.read_log().splitlines()) == 1
