"""Fixtures for tests that need network namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from ddhcp.testbed import kernel
from ddhcp.testbed.links import Netlink
from ddhcp.testbed.mesh import Mesh

hypothesis.settings.register_profile("busy-machine", deadline=None)  # how long an example takes is not what is tested
hypothesis.settings.load_profile("busy-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scenarios", action="store_true", help="write down what tests/scenarios/*.txt lead to now"
    )


@pytest.fixture(scope="session")
def isolated() -> None:
    """The test process has a network and a /run of its own, so nothing that a test does is seen outside, and nothing
    outside disturbs it. It stays so to the end of the session."""
    kernel.isolate()
    if Path("/var/lib/dhcp").is_dir():
        kernel.mount("tmpfs", "/var/lib/dhcp", "tmpfs", 0)  # where dhclient keeps leases unless told otherwise
    with Netlink() as netlink:
        netlink.set_up(netlink.links()["lo"].index)


@pytest.fixture
def make_mesh(isolated: None) -> Iterator[Callable[[int], Mesh]]:
    """Makes a mesh of so many realms, at most one in a test; it ends with the test."""
    made: list[Mesh] = []

    def make(realms: int) -> Mesh:
        made.append(Mesh(realms))
        return made[-1]

    yield make
    for mesh in made:
        for path in sorted([*mesh.network.state.glob("node*.log"), *mesh.network.state.glob("clients/*/log")]):
            print(f"--- {path}\n{path.read_text(errors='replace')}")  # pytest shows it if the test failed
        mesh.close()
