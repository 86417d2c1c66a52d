"""The demonstration: it tells the truth, with and without root, and says so when something did not happen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddhcp.testbed.links import Netlink

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_ROOT = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]
PATIENCE_S = 60  # what the demonstration may take


def words(told: subprocess.CompletedProcess[str]) -> str:
    """What was printed, without the line breaks of a terminal of this or that width."""
    return " ".join(told.stdout.split())


def tell(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


@pytest.mark.parametrize("client", ["dhclient", "udhcpc", "dhcpcd"])
def test_every_step_happens(isolated: None, client: str) -> None:
    told = tell(str(ROOT / "network-test"), "demo", "--client", client)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"runs {client}, unmodified" in told.stdout
    assert "All of it happened" in told.stdout
    assert "\x1b" not in told.stdout, "no colours where there is no terminal"
    with Netlink() as netlink:
        assert set(netlink.links()) == {"lo"}


def test_it_needs_neither_root_nor_a_dhcp_client(isolated: None) -> None:
    told = tell(*WITHOUT_ROOT, str(ROOT / "network-test"), "demo", "--client", "builtin")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "the testbed's own" in words(told)


def test_a_step_that_does_not_happen_is_a_failure(isolated: None) -> None:
    program = (
        "import sys; from ddhcp.testbed import demo; "
        "demo.NODE_ARGUMENTS = ('-t', '1'); "  # no node starts with that
        "sys.exit(demo.run())"
    )
    told = tell(sys.executable, "-c", program)
    assert told.returncode == 1
    assert "It did not happen" in words(told)
    assert "--tentative-timeout" in words(told), "the node's own words are shown"
