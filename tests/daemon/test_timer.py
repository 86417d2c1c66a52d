"""The boot-clock timer, on the kernel's own clock."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.timer import BootTimer

PATIENCE_S = 30


@pytest.fixture
def timer() -> Iterator[BootTimer]:
    made = BootTimer()
    yield made
    made.close()


def is_ready(timer: BootTimer, patience_s: float = 0) -> bool:
    return bool(select.select([timer.fileno()], [], [], patience_s)[0])


def test_it_fires_at_its_instant_and_not_before(timer: BootTimer) -> None:
    at = boot_time() + 0.05
    timer.arm(at)
    assert is_ready(timer, PATIENCE_S)
    assert boot_time() >= at


@pytest.mark.parametrize("at", [0.0, -5.0, 1e-12])
def test_an_instant_that_has_passed_means_now(timer: BootTimer, at: float) -> None:
    timer.arm(at)
    assert is_ready(timer, PATIENCE_S)


def test_it_fires_once_and_again_when_armed_anew(timer: BootTimer) -> None:
    for _ in range(3):
        timer.arm(1.0)  # the same instant each time: clearing forgets it
        assert is_ready(timer, PATIENCE_S)
        timer.clear()
        assert not is_ready(timer)


def test_it_can_be_put_off_and_disarmed(timer: BootTimer) -> None:
    timer.arm(1.0)
    assert is_ready(timer, PATIENCE_S)
    timer.arm(boot_time() + 3600)
    assert not is_ready(timer)
    timer.arm(1.0)
    assert is_ready(timer, PATIENCE_S)
    timer.arm(None)
    assert not is_ready(timer)


@pytest.mark.parametrize("at", [1e15, float("inf")])
def test_an_instant_beyond_all_clocks_is_never(timer: BootTimer, at: float) -> None:
    timer.arm(at)
    assert not is_ready(timer)


def test_clearing_one_that_did_not_fire_is_harmless(timer: BootTimer) -> None:
    timer.clear()
    assert not is_ready(timer)
