"""The command line: classic flags and their long spellings, defaults, and what is refused before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ddhcp.core import Pool
from ddhcp.daemon.cli import Arguments, build_parser, default_store_path, parse
from ddhcp.daemon.errors import StartError

SHORT = (
    "-c a -c b -i bat0 -t 3 -L -d -N 10.0.128.0/17 -o 51:4:0.0.1.44 -o 6:4:10.0.0.53 -b 2 -B 20 -n 100 -s 5"
    " -C /run/x.sock -H true -v"
)
LONG = (
    "--client-interface a --client-interface b --server-interface bat0 --tentative-timeout 3 --no-learning --daemonize"
    " --network 10.0.128.0/17 --option 51:4:0.0.1.44 --option 6:4:10.0.0.53 --block-bits 2 --block-timeout 20"
    " --needless-timeout 100 --spare-leases 5 --control /run/x.sock --hook true --verbose"
)


def parsed(line: str) -> Arguments:
    return parse(line.split())


def test_short_and_long_spellings_mean_the_same() -> None:
    given = parsed(SHORT)
    assert given == parsed(LONG)
    assert given.client_interfaces == ("a", "b")
    assert given.pool_network is not None
    assert given.pool(given.pool_network) == Pool(0x0A008000, 17, 4)
    assert (given.tentative_timeout_s, given.block_timeout_s, given.needless_timeout_s) == (3, 20, 100)
    assert (given.lease_time_s, given.options) == (300, {6: bytes([10, 0, 0, 53])})
    assert given.syslog, "a daemon without terminal logs to syslog unless told otherwise"


def test_defaults_are_the_classic_ones() -> None:
    given = parsed("")
    assert (given.server_interface, given.client_interfaces) == ("server0", ("client0",))
    assert (given.block_bits, given.tentative_timeout_s, given.block_timeout_s) == (5, 12, 60)
    assert (given.needless_timeout_s, given.spare_leases, given.lease_time_s) == (300, 2, 300)
    assert given.learning_phase
    assert not given.daemonize
    assert parsed("-S").client_interfaces == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-t", "-t"),
        ("-t x", "whole number"),
        ("-t -3", "-t"),
        ("-b 8", "0 to 7"),
        ("-N 10.0.0.1/24", "host bits"),
        ("-N fe80::/64", "10.0.0.0/16"),
        ("-o 51:1:5", "4 bytes"),
        ("-o x", "CODE:LEN"),
        ("-d -D", "-D"),
        ("-S -c a", "-S"),
        ("--log-format xml", "xml"),
        ("stray", "stray"),
    ],
)
def test_nonsense_is_refused_in_one_line(line: str, says: str) -> None:
    with pytest.raises(StartError) as refused:
        parsed(line)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_paths_stay_right_when_the_daemon_changes_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = parsed("-C s --store db --pid-file p --log-file l")
    here = str(tmp_path)
    assert [str(given.control), given.store, str(given.pid_file), given.log_file] == [
        f"{here}/{name}" for name in ("s", "db", "p", "l")
    ]
    assert parsed("--store memory").store == "memory"


def test_the_help_names_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDHCP_RUNTIME_DIR", "/tmp/50%")
    text = build_parser().format_help()
    for flag in "hcitLdDNobBnsSCHvV":
        assert f" -{flag}" in text
    assert "/tmp/50%/ddhcp.sock" in text


def test_the_store_is_named_by_interface_and_pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pool = Pool(0x0A000000, 20, 8)
    monkeypatch.setenv("DDHCP_RUNTIME_DIR", str(tmp_path))
    assert default_store_path("server0", pool) == tmp_path / "server0-10.0.0.0-20-8.sqlite"
    monkeypatch.delenv("DDHCP_RUNTIME_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_store_path("server0", pool).parent == Path("/var/lib/ddhcp")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert default_store_path("server0", pool).parent == Path("/home/me/state/ddhcp")
