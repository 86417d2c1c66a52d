"""What every program says of itself: on a terminal of 80 columns, by the name under which it is called."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import pytest

from ddhcp.ctl.main import build_parser as ctl
from ddhcp.daemon.cli import build_parser as daemon
from ddhcp.plan.main import build_parser as plan
from ddhcp.sim.main import build_parser as sim
from ddhcp.testbed.main import build_parser as network_test

COLUMNS = 80


def with_subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from with_subcommands(each)


@pytest.mark.parametrize("build", [ctl, daemon, plan, sim, network_test], ids=lambda build: build.__module__)
def test_help_fits_a_terminal(build: Callable[[], argparse.ArgumentParser], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    for parser in with_subcommands(build()):
        text = parser.format_help()
        assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
        assert "``" not in text
