"""The DHCP clients that the test network can run, and how each is told what to do."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import hook
from .layout import HOST_INTERFACE

_SYSTEM_DIRECTORIES = "/usr/sbin:/usr/bin:/sbin:/bin"  # often missing from an ordinary user's PATH

# Retry soon: a machine of the test network needs no time to find its carrier.
_DHCLIENT_CONF = """\
initial-interval 1;
backoff-cutoff 2;
retry 3;
reboot 3;
timeout 10;
request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, interface-mtu;
"""

_DHCPCD_CONF = """\
clientid
ipv4only
noarp
nodelay
noipv4ll
reboot 3
timeout 10
option subnet_mask, broadcast_address, routers, domain_name, domain_name_servers, interface_mtu
require dhcp_server_identifier
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A DHCP client program.

    ``executable``: its name, ``None`` for the testbed's own. ``package``: Debian's package that has it. ``command``
    makes the command line that runs it in the foreground, given its path and the client's directory; ``renew_signal``
    makes it renew at once; ``release`` is the signal that makes it give its lease back, or what turns
    its command line into one that does. ``address_option`` precedes the address to ask for, with a program that
    does not remember the one it had. ``follows_carrier``: it asks again by itself when its carrier comes back.
    ``bound_line``: what it logs once it keeps a lease that it told its hook of, ``None`` if it keeps it before.
    """

    name: str
    executable: str | None
    package: str | None
    command: Callable[[str, Path], list[str]]
    renew_signal: signal.Signals | None
    release: signal.Signals | str
    address_option: str | None = None
    follows_carrier: bool = False
    bound_line: bytes | None = None

    def command_line(self, path: str, directory: Path, previous_address: str | None) -> list[str]:
        """The command line of a client that had ``previous_address`` (None: it is new) before."""
        remind = [self.address_option, previous_address] if self.address_option and previous_address else []
        return [*self.command(path, directory), *remind]

    def path(self) -> str | None:
        """Where the program is on this machine, ``None`` if it is not there."""
        if self.executable is None:
            return sys.executable
        return shutil.which(self.executable) or shutil.which(self.executable, path=_SYSTEM_DIRECTORIES)


def _dhclient(path: str, directory: Path) -> list[str]:
    files = ("-cf", "dhclient.conf", "-lf", "dhclient.leases", "-pf", "dhclient.pid", "-sf", "hook")
    options = (option if option.startswith("-") else str(directory / option) for option in files)
    return [path, "-4", "-d", "-v", *options, HOST_INTERFACE]


def _udhcpc(path: str, directory: Path) -> list[str]:
    pace = ("-t", "10", "-T", "1", "-A", "1")
    return [path, "-f", *pace, "-i", HOST_INTERFACE, "-s", str(directory / "hook")]


def _dhcpcd(path: str, directory: Path) -> list[str]:
    return [path, "-4", "-B", "-f", str(directory / "dhcpcd.conf"), "-c", str(directory / "hook"), HOST_INTERFACE]


def _builtin(path: str, directory: Path) -> list[str]:
    return [path, "-m", "ddhcp.testbed.dhcpclient", HOST_INTERFACE, str(directory / "hook")]


DHCLIENT = Program("dhclient", "dhclient", "isc-dhcp-client", _dhclient, None, "-r", bound_line=b"bound to ")
UDHCPC = Program("udhcpc", "udhcpc", "udhcpc", _udhcpc, signal.SIGUSR1, signal.SIGUSR2, "-r")
DHCPCD = Program("dhcpcd", "dhcpcd", "dhcpcd-base", _dhcpcd, signal.SIGHUP, signal.SIGALRM, follows_carrier=True)
BUILTIN = Program("builtin", None, None, _builtin, signal.SIGUSR1, signal.SIGUSR2)

REAL_PROGRAMS = (DHCLIENT, UDHCPC, DHCPCD)
PROGRAMS = {program.name: program for program in (*REAL_PROGRAMS, BUILTIN)}


def available() -> Program:
    """The first real DHCP client on this machine, or the testbed's own if there is none."""
    return next((program for program in REAL_PROGRAMS if program.path()), BUILTIN)


def write_files(program: Program, directory: Path) -> None:
    """Write what the program reads into the client's directory: its hook and its configuration."""
    script = directory / "hook"
    words = [sys.executable, "-I", "-S", hook.__file__, str(directory), program.name]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o700)
    (directory / "dhclient.conf").write_text(_DHCLIENT_CONF)
    (directory / "dhcpcd.conf").write_text(_DHCPCD_CONF)
