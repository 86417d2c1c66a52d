"""Bad values on the command line, one by one and together: one line each, before anything is opened."""

from __future__ import annotations

import shlex

import pytest

from ddhcp.core import Pool
from ddhcp.daemon.cli import default_store_path, parse
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.main import main

_BAD = [
    "--frobnicate", "surplus", "-c", "-i", "-b", "-b 8", "-b -1", "-b five", "-b 1.5", "-b 1_0", "-b \u0663",
    "-t x", "-t -1", "-B ''", "-n 1e3", "-s +1", f"-s {'9' * 5000}",
    "-N 10.0.0.0", "-N 10.0.0.1/16", "-N 10.0.0/16", "-N fe80::/64", "-N 10.0.0.0/33", "-N ''", "-N /",
    "-o 3", "-o 3:4", "-o 3:4:10.0.0", "-o 0:1:1", "-o 255:1:1", "-o 256:1:1", "-o 3:1:256", "-o 3:-1:1", "-o :::",
    "-o 51:2:1.44", "-o 51:0:", "-d -D", "-S -c eth0", "--log-format xml", "--netw 10.0.0.0/8",
]  # fmt: skip
_REFUSED_LATER = [
    ("-t 1", "tentative-timeout"),
    ("-t 60 -B 60", "block timeout"),
    ("-B 65536", "block-timeout"),
    ("-o 51:4:0.0.0.0", "lease time"),
    ("-N 10.0.0.0/4", "-N"),
    ("-N 10.0.0.0/31", "-N"),
    ("-N 10.0.0.0/29 -b 5", "-b"),
]


@pytest.mark.parametrize("line", _BAD, ids=lambda line: line[:20])
def test_a_bad_value_is_refused_in_one_line(line: str) -> None:
    with pytest.raises(StartError) as refused:
        parse(shlex.split(line))
    text = str(refused.value)
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize(("line", "about"), _REFUSED_LATER)
def test_values_that_do_not_fit_together_stop_the_start(
    line: str, about: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Were the values accepted, the start would still fail, and say so about a place called none.
    assert main(["-S", "-i", "lo", "--store", "/dev/null/none", "-C", "/dev/null/none", *shlex.split(line)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("ddhcp: ")
    assert told.err.count("\n") == 1
    assert about in told.err
    assert "/none" not in told.err


def test_stores_of_different_pools_and_interfaces_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDHCP_RUNTIME_DIR", "/run/x")
    pools = [Pool(0x0A000000, 24, 32), Pool(0x0A000000, 16, 32), Pool(0x0A000000, 24, 16)]
    assert len({default_store_path(interface, pool) for interface in ("a", "b") for pool in pools}) == 6


def test_help_and_version_end_with_success(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("-h", "-V"):
        with pytest.raises(SystemExit) as ended:
            parse([option])
        assert ended.value.code == 0
        assert "ddhcp" in capsys.readouterr().out
