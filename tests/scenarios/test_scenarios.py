"""Scenario scripts: each tells a story and lists everything that comes of it (see ``scenario.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario import World, read, write

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    steps = read(path)
    world = World()
    outputs = [world.run(step.commands) if step.commands else [] for step in steps]
    if request.config.getoption("rewrite_scenarios"):
        write(path, steps, outputs)
        return
    for step, output in zip(steps, outputs, strict=True):
        assert output == step.expected, (
            f"{path.name}, at {step.commands}: if this is meant to be so now, `make scenarios` writes it down"
        )


def test_scripts_are_found() -> None:
    assert len(SCRIPTS) >= 8


def test_a_rewritten_script_reads_the_same(tmp_path: Path) -> None:
    for path in SCRIPTS:
        steps = read(path)
        write(tmp_path / path.name, steps, [step.expected for step in steps])
        assert (tmp_path / path.name).read_text() == path.read_text()
