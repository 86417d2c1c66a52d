"""The soak run: that it notices what it is there to notice, and that a short one of it goes well."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddhcp.testbed import soak
from ddhcp.testbed.soak import GROWTH_BYTES, GROWTH_FILES, Holders, Samples, Verdict

ROOT = Path(__file__).resolve().parents[2]
MINE, YOURS = "10.0.0.8", "10.0.0.9"


@pytest.fixture
def verdict() -> Verdict:
    return Verdict()


@pytest.fixture
def holders(verdict: Verdict) -> Holders:
    holders = Holders(verdict)
    holders.grant("a", MINE, lease_s=20, now=100)
    return holders


# -- who holds what -----------------------------------------------------------------------------------------


def test_a_renewed_lease_and_one_after_its_end_are_fine(holders: Holders, verdict: Verdict) -> None:
    holders.grant("a", MINE, lease_s=20, now=110)
    assert holders.promised("a", 129) == MINE
    assert holders.promised("a", 130) is None
    holders.grant("b", MINE, lease_s=20, now=130)
    assert holders.promised("a", 131) is None
    holders.grant("a", YOURS, lease_s=20, now=131)
    assert verdict.failures == []


def test_two_holders_of_an_address_are_a_failure(holders: Holders, verdict: Verdict) -> None:
    holders.grant("b", MINE, lease_s=20, now=119)
    assert len(verdict.failures) == 1
    assert f"{MINE} went to b, but a holds it" in verdict.failures[0]


def test_an_address_given_back_is_free(holders: Holders, verdict: Verdict) -> None:
    holders.give_back("a")
    holders.grant("b", MINE, lease_s=20, now=101)
    holders.grant("a", YOURS, lease_s=20, now=101)
    assert verdict.failures == []


def test_another_address_than_the_promised_one_is_a_failure(holders: Holders, verdict: Verdict) -> None:
    holders.grant("a", YOURS, lease_s=20, now=110)
    assert len(verdict.failures) == 1
    assert f"a was promised {MINE} and got {YOURS}" in verdict.failures[0]


def test_a_refusal_is_a_failure_while_the_promise_runs(holders: Holders, verdict: Verdict) -> None:
    holders.grant("b", YOURS, lease_s=20, now=100)
    holders.lose("a", "NAK", now=110)
    assert len(verdict.failures) == 1
    holders.lose("b", "NAK", now=121)
    assert len(verdict.failures) == 1
    assert "a was refused" in verdict.failures[0]


def test_an_expired_lease_is_a_failure_unless_the_client_only_lost_its_carrier(
    holders: Holders, verdict: Verdict
) -> None:
    holders.lose("a", "EXPIRE", now=105)
    assert verdict.failures == []
    assert holders.promised("a", 106) == MINE
    holders.lose("a", "EXPIRE", now=120)
    assert len(verdict.failures) == 1
    assert f"a could not renew {MINE}" in verdict.failures[0]


def test_while_something_fails_leases_may_be_lost_but_no_address_has_two_clients(
    holders: Holders, verdict: Verdict
) -> None:
    verdict.is_disturbed = lambda: True
    holders.lose("a", "NAK", now=110)
    assert verdict.failures == []
    assert verdict.excused == 1
    holders.grant("a", MINE, lease_s=20, now=111)
    holders.grant("b", MINE, lease_s=20, now=112)
    assert len(verdict.failures) == 1


# -- memory, files, logs ------------------------------------------------------------------------------------


def samples(memory: list[int], files: list[int]) -> Samples:
    return Samples(pid=0, from_at=0, memory=memory, files=files)


def test_flat_memory_with_noise_is_fine(verdict: Verdict) -> None:
    base = 40_000_000
    taken = samples([base + (number % 7) * 50_000 for number in range(100)], [18, 19] * 50)
    assert "40." in taken.judge("node", verdict)
    assert verdict.failures == []


def test_growing_memory_and_leaked_files_are_failures(verdict: Verdict) -> None:
    base = 40_000_000
    step = GROWTH_BYTES // 40
    samples([base + number * step for number in range(100)], [18] * 100).judge("fat", verdict)
    samples([base] * 100, [18 + number * GROWTH_FILES // 20 for number in range(100)]).judge("leaky", verdict)
    assert len(verdict.failures) == 2
    assert "fat grew" in verdict.failures[0]
    assert "leaky had" in verdict.failures[1]


def test_too_few_samples_are_not_judged(verdict: Verdict) -> None:
    assert "too briefly" in samples([1, 10**9], [1, 1000]).judge("young", verdict)
    assert verdict.failures == []


def test_a_sample_counts_after_the_warm_up_only() -> None:
    taken = Samples(pid=1, from_at=time.monotonic() + 1000)
    taken.take()
    assert taken.memory == []
    taken.from_at = 0
    taken.take()
    assert taken.memory[0] > 0
    assert taken.files[0] >= 0


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("2026-01-01T00:00:00.000 info lease-granted address=10.0.0.8", False),
        ("2026-01-01T00:00:00.000 warning block-lost block=3", True),
        ("2026-01-01T00:00:00.000 error store-failed", True),
        ("error store-failed", True),
        ("Traceback (most recent call last):", True),
        ("2026-01-01T00:00:00.000 info lease-granted host=error", False),
    ],
)
def test_trouble_in_a_log_is_told_from_news(line: str, trouble: bool) -> None:
    assert (soak._TROUBLE.search(line) is not None) == trouble


# -- the command --------------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ddhcp.testbed.soak", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "src", timeout=120)


@pytest.mark.netns
def test_a_short_soak_finds_no_failure_and_keeps_the_logs(tmp_path: Path) -> None:
    result = run("--minutes", "0.25", "--clients", "20", "--seed", "3", "--logs", str(tmp_path / "logs"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("No failure.\n")
    done = {deed: int(count) for count, deed in re.findall(r"(\d+) (\w+)", result.stdout.partition("crowd:")[2])}
    assert min(done[deed] for deed in ("start", "renew", "roam", "release", "BOUND", "RENEW")) > 0
    logs = {path.name for path in (tmp_path / "logs").iterdir()}
    assert {"node0.log", "node1.log", "node2.log", "client0-log"} <= logs


@pytest.mark.parametrize("arguments", [("--minutes", "0"), ("--minutes", "nan"), ("--clients", "0"), ("--seed", "x")])
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
