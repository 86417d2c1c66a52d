"""The simulator itself: the same seed gives the same trace, and what it reports is what happened."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from ddhcp.sim.faults import FOR_GOOD, Fault
from ddhcp.sim.main import main
from ddhcp.sim.setup import Setup
from ddhcp.sim.simulation import Simulation, run

SMALL = Setup(nodes=4, clients=8, safety_s=300.0, lease_s=60, block_timeout_s=20, tentative_timeout_s=3, block_bits=3)

PROGRAM = """
from ddhcp.sim.draw import draw_setup
from ddhcp.sim.simulation import Simulation, run
for classic in (0.0, 0.5):
    setup = draw_setup(7, {"nodes": 6, "clients": 12, "classic": classic, "safety_s": 300.0})
    print(run(Simulation(setup, 7)).digest)
"""


def test_same_seed_same_trace_whatever_the_hash_seed() -> None:
    """Invariant I11."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    }
    assert len(digests) == 1
    assert len(digests.pop().split()) == 2


def test_clients_leave_a_machine_that_stops_for_good_while_the_faults_end() -> None:
    """It still is up then, giving its blocks away; nobody could serve them there."""
    stop = Fault("stop", SMALL.safety_s - 0.001, SMALL.safety_s, (2,), FOR_GOOD)
    simulation = Simulation(SMALL, 1, faults=[stop])
    report = run(simulation)
    assert report.invariants() == []
    assert not any(client.host is simulation.hosts[2] for client in simulation.clients.values())


def test_other_seed_other_trace() -> None:
    assert run(Simulation(SMALL, 1)).digest != run(Simulation(SMALL, 2)).digest


def test_clients_of_an_undisturbed_swarm_are_served() -> None:
    simulation = Simulation(SMALL.replaced(faults=()), 3)
    report = run(simulation)
    assert report.violations == []
    assert report.unserved == 0
    assert report.allocations >= 8
    assert report.duplicate_seconds == 0
    assert report.converged_s is not None


def test_the_trace_tells_what_happened() -> None:
    trace = io.StringIO()
    run(Simulation(SMALL.replaced(faults=()), 3, trace=trace))
    text = trace.getvalue()
    for words in ("UPDATECLAIM", "INQUIRE", "DISCOVER", "> c0 ACK 10.0.", "n3 starts", "### liveness phase"):
        assert words in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--without", "prayer"],
        ["--faults", "earthquake"],
        ["--hours", "0"],
        ["--hours", "nan"],
        ["--hours", "inf"],
        ["--fault-length", "nan"],
        ["--fault-length", "-1"],
        ["--trace", "-", "--seeds", "2"],
        ["--classic", "2"],
        ["--lease", "-5"],
        ["--trace", "/"],
        ["--json", "/nonexistent/reports"],
    ],
)
def test_a_senseless_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(arguments)
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert "ddhcp-sim" in capsys.readouterr().err


def test_the_command_reports_each_seed(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--seeds 2 --nodes 3 --clients 3 --lease 60 --hours 0.05 --faults none --quiet --twice --json -"
    assert main(arguments.split()) == 0
    assert [line[:10] for line in capsys.readouterr().out.splitlines()] == ['{"seed": 0', '{"seed": 1']
