"""The real daemon in a realm: what it refuses, what it survives, how it answers and how it stops."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ddhcp.testbed import kernel
from ddhcp.testbed.links import Netlink
from ddhcp.testbed.mesh import Mesh
from ddhcp.testbed.nodes import DDHCP, Node
from ddhcp.testbed.programs import DHCLIENT
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
SOURCE = Path(__file__).resolve().parents[2] / "src"
NODE = ("-L", "-t", "2", "-B", "60", "-b", "3")
BLOCK_PATIENCE_S = 20
PATIENCE_S = 10


# -- bad input ----------------------------------------------------------------------------------------------


def refusal(mesh: Mesh, *arguments: str, prefix: tuple[str, ...] = (), realm: int = 0) -> str:
    """Run a node that must refuse to start; the one line that it says."""
    with kernel.entered(mesh.network.require_realm(realm)):
        result = subprocess.run(
            [*prefix, sys.executable, *DDHCP, *arguments],
            capture_output=True,
            text=True,
            env={**mesh.network.node_environment(realm), "PYTHONPATH": str(SOURCE)},
            timeout=PATIENCE_S,
        )
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("-c", "nosuch0"), "nosuch0"),
        (("-c", "server0"), "server0"),  # it has no IPv4 address
        (("-N", "10.0.0.0"), "10.0.0.0"),
        (("-N", "10.0.0/24"), "10.0.0/24"),
        (("-N", "300.0.0.0/8"), "300.0.0.0/8"),
        (("-N", "10.0.0.0/7"), "7"),
        (("-N", "10.0.0.0/31"), "31"),
        (("-N", "10.0.0.1/24"), "host bits"),
        (("-N", "ten"), "ten"),
        (("-N", "10.0.0.0/30", "-b", "5"), "larger than the pool"),
        (("-b", "8"), "8"),
        (("-b", "-1"), "-1"),
        (("-b", "many"), "many"),
        (("-o", "6"), "6"),
        (("-o", "6:4:10.0.0"), "6"),
        (("-o", "300:1:1"), "300"),
        (("-o", "6:4:10.0.0.256"), "256"),
        (("-t", "1"), "1"),
        (("-t", "soon"), "soon"),
        (("-H", "/no/such/hook"), "/no/such/hook"),
        (("--no-such-option",), "--no-such-option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_gets_one_line_and_status_2(
    make_mesh: Callable[[int], Mesh], arguments: tuple[str, ...], part: str
) -> None:
    assert part in refusal(make_mesh(1), "-L", *arguments)


def test_an_unreadable_hook_is_refused(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0)
    assert str(hook) in refusal(make_mesh(1), "-L", "-H", str(hook))


def test_a_taken_port_is_refused(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(1)
    with kernel.entered(mesh.network.require_realm(0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 67))
        assert "67" in refusal(mesh, "-L")


@pytest.mark.parametrize("capability", ["net_raw", "net_bind_service"])
def test_a_missing_capability_is_named(make_mesh: Callable[[int], Mesh], capability: str) -> None:
    prefix = ("setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")
    assert f"CAP_{capability.upper()}" in refusal(make_mesh(1), "-L", prefix=prefix)


def test_a_second_daemon_on_the_same_socket_is_refused(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(2)
    mesh.start(0, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    socket_path = str(mesh.nodes[0].socket)
    assert socket_path in refusal(mesh, *NODE, "-C", socket_path, realm=1)
    assert mesh.nodes[0].blocks(), "the first goes on"


# -- links come and go --------------------------------------------------------------------------------------


def hears_a_claim(node: Node) -> Callable[[], bool]:
    """Whether the node has received a claim since now."""
    before = node.statistics()["mcast.recv_updateclaim"]
    return lambda: node.statistics()["mcast.recv_updateclaim"] > before


@pytest.mark.parametrize("how", ["down and up", "deleted and made again"])
def test_the_server_link_may_go_and_come_back(make_mesh: Callable[[int], Mesh], how: str) -> None:
    mesh = make_mesh(2)
    for realm in range(2):
        mesh.start(realm, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    client = mesh.join(0, DHCLIENT)
    address = mesh.wait_for_lease(client, PATIENCE_S)
    with Netlink() as main:
        port = main.links()["srv0"].index
        if how == "down and up":
            main.set_down(port)
        else:
            main.delete(port)
    seen = len(mesh.clients.events(client))
    mesh.clients.stop(client)
    mesh.clients.start(client, DHCLIENT, tied=True)
    # Its own clients are served meanwhile, for as long as was promised for their block.
    assert mesh.wait_for_lease(client, PATIENCE_S, since=seen) == address
    heard = hears_a_claim(mesh.nodes[1])
    if how == "down and up":
        with Netlink() as main:
            main.set_up(port)
    else:
        mesh.network.ensure(2)
    wait_until(heard, PATIENCE_S, "a claim of the returned node at the other")
    assert mesh.nodes[0].running
    seen = len(mesh.clients.events(client))
    mesh.clients.stop(client)
    mesh.clients.roam(client, 1)
    mesh.clients.start(client, DHCLIENT, tied=True)
    assert mesh.wait_for_lease(client, PATIENCE_S, since=seen) == address, "the owner can be asked again"


@pytest.mark.parametrize("how", ["down and up", "deleted and made again"])
def test_the_client_link_may_go_and_come_back(make_mesh: Callable[[int], Mesh], how: str) -> None:
    mesh = make_mesh(1)
    mesh.start(0, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    with Netlink() as main:
        port = main.links()["clt0-up"].index
        if how == "down and up":
            main.set_down(port)
            wait_until(lambda: not mesh.network.realm(0).complete, PATIENCE_S, "the carrier's going")
            main.set_up(port)
        else:
            main.delete(port)
    mesh.network.ensure(1)
    client = mesh.join(0, DHCLIENT)
    mesh.wait_for_lease(client, PATIENCE_S)
    assert mesh.nodes[0].running


@pytest.mark.parametrize("how", ["down", "missing"])
def test_the_server_link_may_come_late(make_mesh: Callable[[int], Mesh], how: str) -> None:
    mesh = make_mesh(1)
    with Netlink(mesh.network.require_realm(0)) as inside:
        server = inside.links()["server0"].index
        if how == "down":
            inside.set_down(server)
        else:
            inside.delete(server)
    mesh.start(0, *NODE)
    wait_until(mesh.nodes[0].socket.exists, PATIENCE_S, "the control socket")
    assert mesh.nodes[0].blocks() == []
    mesh.network.ensure(1)
    mesh.wait_for_blocks(PATIENCE_S)


# -- control ------------------------------------------------------------------------------------------------


def control(node: Node, request: bytes) -> str:
    """What a classic tool gets for these bytes; it does not close its side first."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(node.socket))
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    return answer.decode()


def first_words(text: str) -> list[str]:
    return [line.split("\t")[0].split(" ")[0] for line in text.splitlines() if line.strip()]


def test_classic_requests_get_classic_answers(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(1)
    node = mesh.start(0, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    blocks = control(node, b"\x01")
    classic = (CAPTURES / "classic-ctl-b.txt").read_text()
    head = "index\tstate\towner\t\t\tclaim\tleases\ttimeout\n"
    assert head in classic
    assert head in blocks
    assert "\t4\t02DDC00200000000\t3\t0/0\t" in blocks, "an own block, its owner and its three inquiries"
    statistics = (CAPTURES / "classic-ctl-s.txt").read_text()
    assert first_words(control(node, b"\x06"))[: len(first_words(statistics))] == first_words(statistics)
    assert "54\t4\t10\t0\t0\t1\t\n" in control(node, b"\x02")
    control(node, b"\x03\x06\x04\x0a\x00\x00\x35")
    assert "6\t4\t10\t0\t0\t53\t\n" in control(node, b"\x02")
    control(node, b"\x04\x06")
    assert "6\t4\t10\t0\t0\t53\t\n" not in control(node, b"\x02")
    assert control(node, b"\x03\x35\x01\x01") == "error: option 53 is set by the server itself; leave it out\n"
    assert "53\t" not in control(node, b"\x02")
    assert node.statistics()["mcast.send_inquire"] >= 3
    control(node, b"\x07")
    assert node.statistics()["mcast.send_inquire"] == 0


def test_the_control_socket_is_for_its_owner_only(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(1)
    node = mesh.start(0, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    assert stat.S_IMODE(node.socket.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ("", False),
        ('network = "10.0.0.0/20"', False),
        ('network = "10.9.0.0/24"', True),
        ('network = "10.9.0.0/24"\n[dhcp]\nrelays = ["10.9.0.1"]', False),
    ],
)
def test_a_pool_beside_the_clients_network_is_warned_of(
    make_mesh: Callable[[int], Mesh], tmp_path: Path, settings: str, warns: bool
) -> None:
    path = tmp_path / "ddhcp.toml"
    path.write_text(settings)
    mesh = make_mesh(1)
    node = mesh.start(0, *NODE, "-F", str(path))
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    assert (" pool-elsewhere " in node.read_log()) is warns


# -- stopping -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(make_mesh: Callable[[int], Mesh], number: signal.Signals) -> None:
    mesh = make_mesh(1)
    node = mesh.start(0, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    assert node.stop(number) == 0
    assert "Traceback" not in node.read_log()
    assert not node.socket.exists()


def test_a_killed_daemon_leaves_a_socket_that_does_not_matter(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(1)
    mesh.start(0, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    mesh.nodes[0].stop(signal.SIGKILL)
    assert mesh.nodes[0].socket.exists()
    mesh.start(0, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    assert os.path.exists(mesh.nodes[0].socket)


# -- the documented command lines --------------------------------------------------------------------------


def test_the_documented_command_lines_work(make_mesh: Callable[[int], Mesh]) -> None:
    """``srv-start 0 ./ddhcp -t 3`` in a checkout, then ``dhclient -sf /dev/null -d -v clt0`` in the main namespace."""
    mesh = make_mesh(1)
    root = SOURCE.parent
    node = subprocess.Popen(["./network-test", "srv-start", "0", "./ddhcp", "-t", "3", "-L"], cwd=root)
    client = subprocess.Popen(
        ["dhclient", "-sf", "/dev/null", "-d", "-v", "clt0"], stderr=subprocess.PIPE, text=True, cwd=root
    )
    try:
        assert client.stderr is not None
        bound = next(line for line in client.stderr if line.startswith("bound to"))
        assert bound.startswith("bound to 10.0.")
        shown = subprocess.run(["./network-test", "ctl", "0", "-b"], cwd=root, capture_output=True, text=True)
        assert "/1\t" in shown.stdout, "one lease in the node's block"
        assert "ddhcp" in subprocess.run(["./network-test", "status"], cwd=root, capture_output=True, text=True).stdout
    finally:
        client.kill()
        client.wait()
        node.terminate()
        assert node.wait(PATIENCE_S) == 0
    assert mesh.network.realm(0).complete
