"""The servers under test: how each is started with a fresh lease store, and when it is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path

INTERFACE = "client0"  # the server's end of the clients' link
SWARM_INTERFACE = "server0"
ADDRESS = IPv4Interface("10.77.0.1/16")
POOL_FIRST, POOL_LAST = "10.77.1.0", "10.77.200.255"
LEASE_TIME_S = 3600
BLOCK_BITS = 7


@dataclass(frozen=True, slots=True)
class Start:
    """How to run a server in the foreground: its command line and what to add to the environment."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """One server. ``missing``: why it cannot be measured, empty if it can. ``start``: given an empty directory and
    how many clients will come, writes the configuration and returns the command. ``max_clients``: a slow server
    gets no more. ``broadcast``: clients ask for broadcast answers. ``control_socket``: in that directory, where our
    daemon tells of its blocks.
    """

    name: str
    missing: Callable[[], str]
    start: Callable[[Path, int], Start]
    remark: str = ""
    max_clients: int = 1 << 16
    broadcast: bool = False
    control_socket: str = ""


def program(name: str) -> str | None:
    """Where a program is; servers live in directories that not every user's PATH has."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def all_servers() -> list[Server]:
    """Ours first, then its peers."""
    return [
        Server("ddhcp", _ddhcp_missing, _start_ddhcp, "durable: SQLite, full sync", control_socket="ddhcp.sock"),
        Server("kea, 2 threads", _needs("kea-dhcp4", "kea-dhcp4-server"), _start_kea_threads, "memfile, no fsync"),
        Server("kea, 1 thread", _needs("kea-dhcp4", "kea-dhcp4-server"), _start_kea_single, "memfile, no fsync"),
        Server("isc dhcpd", _needs("dhcpd", "isc-dhcp-server"), _start_dhcpd, "no ping check"),
        Server(
            "dnsmasq",
            _needs("dnsmasq", "dnsmasq-base"),
            _start_dnsmasq,
            "no ping, broadcast answers",
            max_clients=500,
            broadcast=True,
        ),
    ]


def _needs(name: str, package: str) -> Callable[[], str]:
    return lambda: "" if program(name) else f"{name} is not installed (Debian: {package})"


def _ddhcp_missing() -> str:
    try:
        found = importlib.util.find_spec("ddhcp.daemon.main") is not None
    except ModuleNotFoundError:
        found = False
    return "" if found else "the daemon cannot be imported; run `make venv`"


def _start_ddhcp(directory: Path, clients: int) -> Start:
    blocks = clients // (1 << BLOCK_BITS) + 2
    command = [sys.executable, "-m", "ddhcp.daemon.main", "-D", "-L", "-t", "2", "-b", str(BLOCK_BITS)]
    command += ["-s", str(blocks << BLOCK_BITS), "-N", str(ADDRESS.network), "-o", _lease_time_option()]
    command += ["-i", SWARM_INTERFACE, "-c", INTERFACE, "-C", str(directory / "ddhcp.sock")]
    return Start(command, {"DDHCP_RUNTIME_DIR": str(directory), "DDHCP_STATE_DIR": str(directory)})


def _lease_time_option() -> str:
    return "51:4:" + ".".join(str(byte) for byte in LEASE_TIME_S.to_bytes(4, "big"))


def _start_kea_threads(directory: Path, clients: int) -> Start:
    return _start_kea(directory, threads=2)


def _start_kea_single(directory: Path, clients: int) -> Start:
    return _start_kea(directory, threads=0)


def _start_kea(directory: Path, threads: int) -> Start:
    subnet = {
        "subnet": str(ADDRESS.network),
        "pools": [{"pool": f"{POOL_FIRST} - {POOL_LAST}"}],
        "option-data": [{"name": "routers", "data": str(ADDRESS.ip)}],
    }
    configuration = {
        "Dhcp4": {
            "interfaces-config": {"interfaces": [INTERFACE], "dhcp-socket-type": "raw"},
            "lease-database": {
                "type": "memfile",
                "persist": True,
                "name": str(directory / "leases.csv"),
                "lfc-interval": 0,
            },
            "multi-threading": {
                "enable-multi-threading": threads > 0,
                "thread-pool-size": threads,
                "packet-queue-size": 256,
            },
            "valid-lifetime": LEASE_TIME_S,
            "subnet4": [subnet],
            "loggers": [
                {
                    "name": "kea-dhcp4",
                    "severity": "ERROR",
                    "output_options": [{"output": str(directory / "kea.log")}],
                }
            ],
        }
    }
    path = directory / "kea.conf"
    path.write_text(json.dumps(configuration))
    places = dict.fromkeys(("KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"), str(directory))
    return Start([program("kea-dhcp4") or "kea-dhcp4", "-c", str(path)], places)


def _start_dhcpd(directory: Path, clients: int) -> Start:
    (directory / "leases").touch()
    (directory / "dhcpd.conf").write_text(
        f"authoritative;\nping-check off;\ndefault-lease-time {LEASE_TIME_S};\nmax-lease-time {LEASE_TIME_S};\n"
        f"subnet {ADDRESS.network.network_address} netmask {ADDRESS.netmask} {{\n"
        f"  range {POOL_FIRST} {POOL_LAST};\n  option routers {ADDRESS.ip};\n}}\n"
    )
    command = [program("dhcpd") or "dhcpd", "-4", "-f", "-q", "-cf", str(directory / "dhcpd.conf")]
    return Start([*command, "-lf", str(directory / "leases"), "-pf", str(directory / "dhcpd.pid"), INTERFACE])


def _start_dnsmasq(directory: Path, clients: int) -> Start:
    command = [program("dnsmasq") or "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"]
    command += [f"--interface={INTERFACE}", "--bind-interfaces", "--no-ping", "--dhcp-authoritative"]
    command += [f"--dhcp-range={POOL_FIRST},{POOL_LAST},{ADDRESS.netmask},{LEASE_TIME_S}", "--quiet-dhcp"]
    command += ["--dhcp-lease-max=100000", f"--dhcp-leasefile={directory / 'leases'}", "--user=root"]
    return Start([*command, f"--pid-file={directory / 'dnsmasq.pid'}", "--log-facility=/dev/null"])
