"""What earns the simulator trust: with any one remedy switched off it finds the failure that the remedy prevents."""

from __future__ import annotations

import pytest

from ddhcp.sim.main import main
from ddhcp.sim.scenarios import SCENARIOS, Scenario
from ddhcp.sim.setup import REMEDY_NAMES


def test_every_remedy_has_a_script() -> None:
    assert {scenario.remedy for scenario in SCENARIOS} == set(REMEDY_NAMES)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{scenario.name}-{scenario.remedy}")
def test_a_remedy_makes_the_difference(scenario: Scenario) -> None:
    assert scenario.fails(has_remedy=False), "the simulator does not find the failure"
    assert not scenario.fails(has_remedy=True), "the remedy does not prevent the failure"


def test_the_command_plays_a_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "S9"]) == 0
    assert capsys.readouterr().out == "S9: holds with monotonic-time, fails without (without replication, probing)\n"
    assert main(["--scenario", "S99"]) == 2
