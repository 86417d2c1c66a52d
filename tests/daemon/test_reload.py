"""Reading the configuration anew: what is taken, what needs a restart, and that a broken file changes nothing."""

from __future__ import annotations

import logging
import os
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ddhcp.daemon.assemble import node_config
from ddhcp.daemon.cli import parse
from ddhcp.daemon.errors import SettingsError
from ddhcp.daemon.hooks import parse_command
from ddhcp.daemon.reload import Reloader
from ddhcp.daemon.service import ServiceManager
from ddhcp.daemon.settings import Settings, dhcp, schema

NETWORK = IPv4Network("10.0.0.0/16")


def hook(settings: Settings) -> list[str] | None:
    command = settings[schema.HOOK]
    return parse_command(command) if command is not None else None


def reloader(path: Path, *flags: str) -> Reloader:
    invocation = parse(["-F", str(path), *flags])
    return Reloader(
        invocation.settings(), invocation.settings, make_config=lambda settings: node_config(settings, NETWORK),
        make_hook=hook, make_handler=lambda settings: logging.NullHandler(),
    )  # fmt: skip


def test_what_can_be_taken_is_and_the_rest_is_told(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('server-interface = "a"\nblock-bits = 4\n[dhcp]\nlease-time = 300\n')
    service = reloader(path)
    path.write_text(
        'server-interface = "b"\nblock-bits = 5\n[dhcp]\nlease-time = 600\n[claiming]\nspare-leases = 7\n'
        '[options]\nrouters = ["10.0.0.1"]\n[log]\nlevel = "debug"\n[hook]\ncommand = "true"\n'
        '[[reservation]]\nmac = "02:00:00:00:00:01"\n'
    )
    change = service.prepare()
    assert set(change.applied) == {
        "dhcp.lease-time", "claiming.spare-leases", "options", "log.level", "hook.command", "reservation",
    }  # fmt: skip
    assert set(change.needs_restart) == {"server-interface", "block-bits"}
    assert change.settings[schema.SERVER_INTERFACE] == "a", "as long as the daemon runs"
    assert (change.config.lease_time_s, change.config.spare_leases) == (600, 7)
    assert change.config.pool.block_size == 16
    assert len(change.config.policy.reservations) == 1
    assert change.log_level == logging.DEBUG
    assert change.handler is None, "only the level changed"
    assert change.hook is not None
    service.accept(change)
    again = service.prepare()
    assert again.applied == ()
    assert set(again.needs_restart) == {"server-interface", "block-bits"}, "told until it is done"


def test_settings_that_vanish_from_the_file_have_their_defaults_again(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text("[dhcp]\nlease-time = 600\n[[subnet]]\nnetwork = '10.0.5.0/24'\n")
    service = reloader(path)
    path.write_text("")
    change = service.prepare()
    assert set(change.applied) == {"dhcp.lease-time", "subnet"}
    assert change.config.lease_time_s == 300
    assert change.config.policy.subnets == ()


def test_flags_go_before_the_file_in_a_reload_as_well(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text("[claiming]\nspare-leases = 1\n")
    service = reloader(path, "-s", "9")
    path.write_text("[claiming]\nspare-leases = 3\n")
    assert service.prepare().applied == ()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[dhcp]\nlease-time = 'x'",
        "[hook]\ncommand = '/no/such/hook'",
        "[claiming]\nblock-timeout = 5",
        "[[reservation]]\nmac = '02:00:00:00:00:01'\naddress = '10.9.0.1'",
    ],
)
def test_a_broken_file_changes_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text("[dhcp]\nlease-time = 600\n")
    service = reloader(path)
    path.write_text(text)
    with pytest.raises(Exception, match=r"f\.toml|hook command"):
        service.prepare()
    path.write_text("[dhcp]\nlease-time = 600\n")
    change = service.prepare()
    assert change.applied == change.needs_restart == ()


def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text("[dhcp]\nlease-time = 600\n")
    service = reloader(path)
    path.unlink()
    with pytest.raises(Exception, match="No such file"):
        service.prepare()


def test_options_are_compared_by_what_they_mean(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('[options]\ndns-servers = ["10.0.0.1"]\n')
    service = reloader(path)
    path.write_text('[options]\n6 = "10.0.0.1"  # the same\n')
    change = service.prepare()
    assert change.applied == ()
    assert change.settings[dhcp.OPTIONS_OF_ALL] == {6: bytes([10, 0, 0, 1])}


# -- the service manager --------------------------------------------------------------------------------------


def test_a_service_manager_is_told_what_it_wants_to_know(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        service = ServiceManager(
            {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
        )
        service.ready()
        service.alive(100.0)
        service.alive(105.0)
        assert service.deadline() == 110.0
        service.alive(110.0)
        service.reloading()
        service.stopping()
        told = [manager.recv(200).decode() for _ in range(5)]
    assert told[:3] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert told[3].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert told[4] == "STOPPING=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "30000000"},
        {"NOTIFY_SOCKET": "/no/such/socket"},
        {"NOTIFY_SOCKET": "@ddhcp-nobody-listens"},
        {"NOTIFY_SOCKET": "/no/such/socket", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/no/such/socket", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    service = ServiceManager(environment)
    service.ready()
    service.alive(1.0)
    service.stopping()
    assert service.deadline() is None


def test_problems_are_lines() -> None:
    error = SettingsError(["a", "b"])
    assert str(error) == "a\nb"
