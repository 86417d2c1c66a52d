"""The real daemon probes by ARP: an address that a machine uses without a lease is not offered."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ddhcp.testbed import kernel, layout
from ddhcp.testbed.mesh import Mesh
from ddhcp.testbed.programs import UDHCPC
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

PATIENCE_S = 20.0
TAKEN = "10.0.7.7"


def test_an_address_in_use_is_not_offered(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    """B8, with real ARP: a squatter holds the address that is reserved for the client."""
    mesh = make_mesh(1)
    squatter, client = mesh.clients.add(0), mesh.clients.add(0)
    with kernel.entered(mesh.clients.namespace(squatter)):
        subprocess.run(["ip", "address", "add", f"{TAKEN}/16", "dev", layout.HOST_INTERFACE], check=True)
    path = tmp_path / "ddhcp.toml"
    path.write_text(
        f'[conflicts]\nprobe = "always"\n[[reservation]]\nmac = "{mesh.clients.get(client).mac}"\naddress = "{TAKEN}"\n'
    )
    node = mesh.start(0, "-F", str(path), "-L", "-t", "2", "-b", "3")
    mesh.wait_for_blocks(PATIENCE_S)
    mesh.clients.start(client, UDHCPC, tied=True)
    address = mesh.wait_for_lease(client, PATIENCE_S)
    assert address != TAKEN
    wait_until(lambda: " address-in-use" in node.read_log(), PATIENCE_S, "the log to tell of the conflict")
    assert f"by={mesh.clients.get(squatter).mac.upper()}" in node.read_log()


def test_a_free_address_is_offered_after_the_probe(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    mesh = make_mesh(1)
    client = mesh.clients.add(0)
    path = tmp_path / "ddhcp.toml"
    mac = mesh.clients.get(client).mac
    path.write_text(f'[conflicts]\nprobe = "always"\n[[reservation]]\nmac = "{mac}"\naddress = "{TAKEN}"\n')
    mesh.start(0, "-F", str(path), "-L", "-t", "2", "-b", "3")
    mesh.wait_for_blocks(PATIENCE_S)
    capture = mesh.capture_at_client(client)
    mesh.clients.start(client, UDHCPC, tied=True)
    assert mesh.wait_for_lease(client, PATIENCE_S) == TAKEN
    probes = [frame for frame in capture.frames() if frame[12:14] == b"\x08\x06" and frame[38:42] == b"\x0a\0\7\7"]
    capture.close()
    assert any(frame[28:32] == bytes(4) for frame in probes), "RFC 5227: from nobody's address"
