"""The command line: classic flags and their long spellings, defaults, and what is refused before anything runs."""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ddhcp.core import NodeConfig, Pool
from ddhcp.daemon.assemble import key_source, node_config
from ddhcp.daemon.cli import build_parser, default_store_path, parse
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.main import main
from ddhcp.daemon.settings import DEFAULT_PATH, Settings, dhcp, schema

SHORT = (
    "-c a -c b -i bat0 -t 3 -L -d -N 10.0.128.0/17 -o 51:4:0.0.1.44 -o 6:4:10.0.0.53 -b 2 -B 20 -n 100 -s 5"
    " -C /run/x.sock -H true -v"
)
LONG = (
    "--client-interface a --client-interface b --server-interface bat0 --tentative-timeout 3 --no-learning --daemonize"
    " --network 10.0.128.0/17 --option 51:4:0.0.1.44 --option 6:4:10.0.0.53 --block-bits 2 --block-timeout 20"
    " --needless-timeout 100 --spare-leases 5 --control /run/x.sock --hook true --verbose"
)


def parsed(line: str) -> Settings:
    return parse(line.split()).settings()


def test_short_and_long_spellings_mean_the_same() -> None:
    given = parsed(SHORT)
    assert given.given == parsed(LONG).given
    assert given[schema.CLIENT_INTERFACES] == ("a", "b")
    network = given[schema.NETWORK_SETTING]
    assert network is not None
    config = node_config(given, network)
    assert config.pool == Pool(0x0A008000, 17, 4)
    assert (config.tentative_timeout_s, config.block_timeout_s, config.needless_timeout_s) == (3, 20, 100)
    assert (config.lease_time_s, config.options) == (300, {6: bytes([10, 0, 0, 53])})


def test_defaults_are_the_classic_ones() -> None:
    given = parsed("")
    assert (given[schema.SERVER_INTERFACE], given[schema.CLIENT_INTERFACES]) == ("server0", ("client0",))
    config = node_config(given, IPv4Network("10.0.0.0/24"))
    assert config == NodeConfig(Pool(0x0A000000, 24, 32))
    assert (config.tentative_timeout_s, config.block_timeout_s) == (12, 60)
    assert (config.needless_timeout_s, config.spare_leases, config.lease_time_s) == (300, 2, 300)
    assert config.learning_phase
    assert not given[schema.DAEMONIZE]
    assert parsed("-S")[schema.CLIENT_INTERFACES] == ()


def test_options_may_be_given_by_name() -> None:
    given = parsed("-o routers=10.0.0.1,10.0.0.2 -o 6=10.0.0.53 -o lease-time=600 -o domain-name=a=b:c")
    assert given[dhcp.OPTIONS_OF_ALL] == {3: bytes([10, 0, 0, 1, 10, 0, 0, 2]), 6: bytes([10, 0, 0, 53]), 15: b"a=b:c"}
    assert given[dhcp.LEASE_TIME_OF_ALL] == 600


def test_the_server_identifier_may_be_named_as_with_the_classic_daemon() -> None:
    for line in ("-o 54:4:10.0.0.1", "-o server-identifier=10.0.0.1"):
        assert node_config(parsed(line), IPv4Network("10.0.0.0/24")).options == {54: bytes([10, 0, 0, 1])}


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
        ("-o 54:3:10.0.0", "option 54 (server identifier) has 4 bytes"),
        ("-o 54:4:0.0.0.0", "option 54 (server identifier) has 4 bytes"),
        ("-o 53:1:1", "-o/--option: option 53 is set by the server itself; leave it out"),
        ("-o 58=5", "option 58 is set by the server itself; leave it out"),
        ("-N 10.0.0.0/31", "-N: prefix length /31"),
        ("--http-token-file a", "--http-token-file: does nothing without HTTP"),
        ("-o x", "CODE:LEN"),
        ("-d -D", "-D"),
        ("-S -c a", "-S"),
        ("--log-format xml", "xml"),
        ("stray", "stray"),
        ("-o dns-server=x", "dns-servers"),
        ("-o nonsense=1", "nonsense"),
        ("-F", "-F"),
        ("--check-config a -F b", "-F"),
        ("--check-config --print-config", "--print-config"),
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
    paths = (schema.CONTROL_SOCKET, schema.STORE_PATH, schema.PID_FILE, schema.LOG_FILE)
    assert [given[path] for path in paths] == [f"{here}/{name}" for name in ("s", "db", "p", "l")]
    assert parsed("--store memory")[schema.STORE_PATH] == "memory"
    assert parse(["-F", "c"]).config == tmp_path / "c"


def test_the_help_names_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDHCP_RUNTIME_DIR", "/tmp/50%")
    text = build_parser().format_help()
    for flag in "hcitLdDNobBnsSCHvVF":
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


def test_the_configuration_can_be_checked_without_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ddhcp.toml"
    path.write_text('network = "10.0.0.0/16"\n')
    assert main(["--check-config", str(path)]) == 0
    assert main(["--check-config", "-F", str(path)]) == 0
    assert capsys.readouterr().out.count("valid") == 2
    path.write_text('network = "10.0.0.0/16"\nspare = 1\nblock-bits = 9\n[[subnet]]\n')
    assert main(["--check-config", str(path)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.rpartition("/")[2].split(": ")[0] for line in told] == ["ddhcp.toml:2", "ddhcp.toml:3", "ddhcp.toml:4"]
    assert all(line.startswith("ddhcp: ") for line in told)
    assert parse(["--check-config"]).config == DEFAULT_PATH


def test_what_does_not_fit_the_pool_is_found_by_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ddhcp.toml"
    path.write_text('network = "10.0.0.0/16"\n[[reservation]]\nmac = "02:00:00:00:00:01"\naddress = "10.1.0.1"\n')
    assert main(["--check-config", str(path)]) == 2
    assert f"{path}:2: reservation[1]: host 02:00:00:00:00:01: 10.1.0.1" in capsys.readouterr().err


def test_what_the_machine_does_not_have_is_told_at_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ddhcp.toml"
    path.write_text(
        '[swarm]\nkey-file = "/no/key"\n[hook]\ncommand = "/no/hook"\n[[subnet]]\nnetwork = "10.1.0.0/24"\n'
    )
    assert main(["--check-config", str(path)]) == 2
    assert [line.replace(str(path), "f.toml")[:60] for line in capsys.readouterr().err.splitlines()] == [
        "ddhcp: f.toml:4: hook.command: hook command '/no/hook' is not an executable"[:60],
        "ddhcp: f.toml:2: swarm.key-file: key file /no/key does not exist; make one"[:60],
        "ddhcp: f.toml:5: subnet[1]: subnet 10.1.0.0/24: 10.1.0.0/24 is not inside"[:60],
    ]
    assert main(["--check-config", str(path), "-H", "/no/other"]) == 2
    assert "ddhcp: -H: hook command '/no/other' is not an executable file" in capsys.readouterr().err


def test_settings_in_force_are_printed_with_their_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ddhcp.toml"
    path.write_text('network = "10.0.0.0/16"\n')
    assert main(["--print-config", "-F", str(path), "-t", "5"]) == 0
    printed = capsys.readouterr().out
    assert f'network = "10.0.0.0/16"  # {path}:1' in printed
    assert "tentative-timeout = 5  # -t" in printed
    assert "block-timeout = 60  # default" in printed


def test_a_key_mode_without_a_key_is_refused() -> None:
    with pytest.raises(StartError, match=r"^--key-mode: .*--key-file"):
        parsed("--key-mode mixed")
    assert key_source(parsed("")) is None
