"""The servers under test: how each is started with a fresh lease store, and why it cannot be."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
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
TENTATIVE_S = 2
AVALANCHE_SPARES = 200
CEILING = "(ceiling)"
FEW = "ddhcp-few"
CLASSIC_VARIABLE = "CLASSIC_DDHCPD"
_COMPILED = Path(__file__).parent.parent / "build" / "compiled"
_KIND = "core compiled by mypyc" if any(_COMPILED.glob("ddhcp__mypyc*.so")) else "pure Python"
_CLASSIC_MOST_SPARES = 255
_CLASSIC_CLIENTS = 150  # it takes no more at once than it has spares, the unloaded ones and the probe included
_SLOW_CLIENTS = 500  # where each acknowledgement waits for a sync of its own, and may take 20 ms
_SLOWEST_CLIENTS = 200  # where each writes the whole lease file
_SYSTEM_PYTHON = "/usr/bin/python3"
_OTHER_PLACES = (Path("/usr/sbin"), Path("/usr/local/sbin"))  # not in every user's PATH


@dataclass(frozen=True, slots=True)
class Start:
    """How to run a server in the foreground: its command line and what to add to the environment."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """One server.

    ``missing``: why it cannot be measured, empty if it can. ``start``: given an empty directory and how many spare
    leases to keep (for those that know such a thing), writes the configuration and returns the command. ``version``:
    its command that prints one. ``most_clients``: it gets no more. ``most_rounds``: each of them renews no more often.
    ``broadcast``: clients ask for broadcast answers. ``control_socket``: in that directory, where a node of a swarm
    tells of its blocks. ``once``: one run of it is enough. ``has_avalanche``: it is measured how it bears many clients
    at once.
    """

    name: str
    missing: Callable[[], str]
    start: Callable[[Path, int], Start]
    remark: str
    version: tuple[str, ...] = ()
    most_clients: int = 1 << 16
    most_rounds: int = 1 << 16
    broadcast: bool = False
    control_socket: str = ""
    once: bool = False
    has_avalanche: bool = True


def all_peers() -> list[Peer]:
    """Ours first, then its peers, at last what the load generator itself can do."""
    kea = _needs("kea-dhcp4", "kea-dhcp4-server")
    return [
        Peer(
            "ddhcp",
            _ddhcp_missing,
            _start_ddhcp,
            f"SQLite, full sync before each ACK; {_KIND}",
            (daemon_python(), "-V"),
            control_socket="ctl",
        ),
        Peer(
            "ddhcp-py",
            _pure_missing,
            _start_pure,
            "the same, pure Python",
            (daemon_python(), "-V"),
            control_socket="ctl",
        ),
        Peer("kea-2", kea, _start_kea_threads, "2 threads, memfile, no sync", ("kea-dhcp4", "-v")),
        Peer("kea-1", kea, _start_kea_single, "1 thread, memfile, no sync", ("kea-dhcp4", "-v"), once=True),
        Peer(
            "isc-dhcpd",
            _needs("dhcpd", "isc-dhcp-server"),
            _start_dhcpd,
            "no ping check, sync for each ACK",
            ("dhcpd", "--version"),
            most_clients=_SLOW_CLIENTS,
            once=True,
        ),
        Peer(
            "dnsmasq",
            _needs("dnsmasq", "dnsmasq-base"),
            _start_dnsmasq,
            "no ping check, whole lease file for each ACK, broadcast answers",
            ("dnsmasq", "--version"),
            most_clients=_SLOWEST_CLIENTS,
            most_rounds=2,
            broadcast=True,
            once=True,
        ),
        Peer(
            "classic",
            _classic_missing,
            _start_classic,
            "ddhcpd in C, no store, no checks; new clients bounded by its spares",
            most_clients=_CLASSIC_CLIENTS,
            control_socket="ctl",
        ),
        Peer(
            FEW,
            _classic_missing,
            _start_ddhcp,
            "ddhcp with as few clients as the classic daemon takes",
            most_clients=_CLASSIC_CLIENTS,
            control_socket="ctl",
            has_avalanche=False,
        ),
        Peer(
            CEILING,
            lambda: "",
            _start_echo,
            "the load generator against an echo in Python",
            once=True,
            has_avalanche=False,
        ),
    ]


def program(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name) or next((str(d / name) for d in _OTHER_PLACES if os.access(d / name, os.X_OK)), None)


def version(peer: Peer) -> str:
    """The first line that the program prints about its version, empty if there is no such command."""
    if not peer.version:
        return ""
    command = [program(peer.version[0]) or peer.version[0], *peer.version[1:]]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (finished.stdout + finished.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def _needs(name: str, package: str) -> Callable[[], str]:
    return lambda: "" if program(name) else f"{name} is not installed (Debian: {package})"


def _ddhcp_missing() -> str:
    try:
        found = importlib.util.find_spec("ddhcp.daemon.main") is not None
    except ModuleNotFoundError:
        found = False
    return "" if found else "the daemon cannot be imported; run `make venv`"


def _pure_missing() -> str:
    return _ddhcp_missing() if compiled_environment() else "the same as ddhcp, since nothing is compiled"


def compiled_environment() -> dict[str, str]:
    """What to add to the environment to run the compiled package; nothing if it was not built (`make compiled`)."""
    if not any(_COMPILED.glob("ddhcp__mypyc*.so")):
        return {}
    return {"PYTHONPATH": os.pathsep.join((str(_COMPILED), sysconfig.get_path("purelib")))}


@functools.cache
def daemon_python() -> str:
    """The interpreter of the daemons that are measured: the system's, as with a package of ours, if it is of the same
    version as this one; else this one. The same version may have been built to run by a third faster or slower."""
    ask = "import sqlite3, sys; print(sys.implementation.cache_tag)"
    try:
        answer = subprocess.run([_SYSTEM_PYTHON, "-c", ask], capture_output=True, text=True, check=False).stdout
    except OSError:
        return sys.executable
    return _SYSTEM_PYTHON if answer.strip() == sys.implementation.cache_tag else sys.executable


def daemon_command() -> list[str]:
    """The daemon, in the foreground; its options follow."""
    return [daemon_python(), "-m", "ddhcp.daemon.main", "-D"]


def _start_ddhcp(directory: Path, spares: int) -> Start:
    start = _start_pure(directory, spares)
    return Start(start.command, start.environment | compiled_environment())


def _start_pure(directory: Path, spares: int) -> Start:
    command = [*daemon_command(), "--store", str(directory / "leases.sqlite")]
    return Start(command + _node_options(directory, spares), {"DDHCP_STATE_DIR": str(directory)})


def _node_options(directory: Path, spares: int) -> list[str]:
    lease_time = ".".join(str(byte) for byte in LEASE_TIME_S.to_bytes(4, "big"))
    options = ["-L", "-t", str(TENTATIVE_S), "-b", str(BLOCK_BITS), "-s", str(spares), "-N", str(ADDRESS.network)]
    options += ["-o", f"51:4:{lease_time}", "-i", SWARM_INTERFACE, "-c", INTERFACE]
    return [*options, "-C", str(directory / "ctl")]


def classic_program() -> str | None:
    """Where the classic daemon is, if there is one."""
    return os.environ.get(CLASSIC_VARIABLE) or program("ddhcpd")


def _classic_missing() -> str:
    return "" if classic_program() else f"no ddhcpd in PATH, and {CLASSIC_VARIABLE} names none"


def _start_classic(directory: Path, spares: int) -> Start:
    return Start([classic_program() or "ddhcpd", "-D", *_node_options(directory, min(spares, _CLASSIC_MOST_SPARES))])


def _start_echo(directory: Path, spares: int) -> Start:
    return Start([sys.executable, "-m", "bench.echo", "--interface", INTERFACE])


def _start_kea_threads(directory: Path, spares: int) -> Start:
    return _start_kea(directory, threads=2)


def _start_kea_single(directory: Path, spares: int) -> Start:
    return _start_kea(directory, threads=0)


def _start_kea(directory: Path, threads: int) -> Start:
    subnet = {
        "subnet": str(ADDRESS.network),
        "pools": [{"pool": f"{POOL_FIRST} - {POOL_LAST}"}],
        "option-data": [{"name": "routers", "data": str(ADDRESS.ip)}],
    }
    store = {"type": "memfile", "persist": True, "name": str(directory / "leases.csv"), "lfc-interval": 0}
    configuration = {
        "Dhcp4": {
            "interfaces-config": {"interfaces": [INTERFACE], "dhcp-socket-type": "raw"},
            "lease-database": store,
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


def _start_dhcpd(directory: Path, spares: int) -> Start:
    (directory / "leases").touch()
    (directory / "dhcpd.conf").write_text(
        f"authoritative;\nping-check off;\ndefault-lease-time {LEASE_TIME_S};\nmax-lease-time {LEASE_TIME_S};\n"
        f"subnet {ADDRESS.network.network_address} netmask {ADDRESS.netmask} {{\n"
        f"  range {POOL_FIRST} {POOL_LAST};\n  option routers {ADDRESS.ip};\n}}\n"
    )
    command = [program("dhcpd") or "dhcpd", "-4", "-f", "-q", "-cf", str(directory / "dhcpd.conf")]
    return Start([*command, "-lf", str(directory / "leases"), "-pf", str(directory / "dhcpd.pid"), INTERFACE])


def _start_dnsmasq(directory: Path, spares: int) -> Start:
    command = [program("dnsmasq") or "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"]
    command += [f"--interface={INTERFACE}", "--bind-interfaces", "--no-ping", "--dhcp-authoritative"]
    command += [f"--dhcp-range={POOL_FIRST},{POOL_LAST},{ADDRESS.netmask},{LEASE_TIME_S}", "--quiet-dhcp"]
    command += ["--dhcp-lease-max=100000", f"--dhcp-leasefile={directory / 'leases'}", "--user=root"]
    return Start([*command, f"--pid-file={directory / 'dnsmasq.pid'}", "--log-facility=/dev/null"])
