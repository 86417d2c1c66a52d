"""The Debian package: built, installed into a throw-away copy of this machine, and run as systemd would run it."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import socket
import subprocess
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ddhcp.testbed import kernel
from ddhcp.testbed.dhcpclient import Crowd, DhcpClient
from ddhcp.testbed.waiting import wait_until
from machine import Machine, NoInit, run

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parents[2]
UNIT = "/lib/systemd/system/ddhcp@.service"
DENIED = "02:00:00:00:00:66"
PORT = 8067
NAMES = "/run/ddhcp/names/hosts"
PATIENCE_S = 30
CONFIGURATION = 'server-interface = "server0"\nclient-interfaces = ["client0"]\nnetwork = "10.0.0.0/20"\n'


@pytest.fixture(scope="module")
def machine(isolated: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    package = next((ROOT / "dist").glob("ddhcp_*_all.deb"), None)
    assert package is not None, "no package in dist/; run make deb first (make test does)"
    made = Machine(tmp_path_factory.mktemp("machine"))
    made.path("/var/lib/man-db/auto-update").unlink(missing_ok=True)  # an index of every manual takes long
    made.path("/tmp/ddhcp.deb").write_bytes(package.read_bytes())
    made.run("dpkg", "--install", "--force-depends", "/tmp/ddhcp.deb")
    yield made
    made.close()


def test_programs_pages_and_completions_are_installed(machine: Machine) -> None:
    for program in ("ddhcp", "ddhcpctl", "ddhcpdctl", "ddhcp-plan", "ddhcp-sim", "network-test"):
        machine.run(f"/usr/bin/{program}", "--help")
    assert machine.run("/usr/bin/ddhcp", "--version").startswith("ddhcp ")
    for page in ("man8/ddhcp.8", "man8/ddhcpctl.8", "man5/ddhcp.toml.5", "man1/ddhcp-plan.1", "man1/ddhcp-sim.1"):
        assert machine.path(f"/usr/share/man/{page}.gz").exists()
    for place in ("bash-completion/completions/ddhcpctl", "zsh/vendor-completions/_ddhcpctl"):
        assert machine.path(f"/usr/share/{place}").exists()
    assert machine.path("/usr/share/fish/vendor_completions.d/ddhcpctl.fish").exists()
    place = "/usr/share/bash-completion/completions/ddhcpctl"
    completed = machine.run(
        "bash", "-c", f'. {place}; COMP_WORDS=(ddhcpctl ex) COMP_CWORD=1; _shtab_ddhcpctl; echo "${{COMPREPLY[@]}}"'
    )
    assert completed == "explain\n"


def test_the_programs_use_what_the_package_brings(machine: Machine) -> None:
    launcher = machine.path("/usr/bin/ddhcp").read_text()
    probe = launcher.replace("sys.exit(program.load()())", "import ddhcp, rich; print(ddhcp.__file__, rich.__file__)")
    machine.path("/tmp/ddhcp").write_text(probe)
    machine.run("chmod", "755", "/tmp/ddhcp")
    assert machine.run("/tmp/ddhcp") == "/usr/lib/ddhcp/ddhcp/__init__.py /usr/lib/ddhcp/rich/__init__.py\n"


def test_the_examples_are_valid(machine: Machine) -> None:
    for name in ("mesh.toml", "ddhcp.toml"):
        machine.run("/usr/bin/ddhcp", "--check-config", f"/usr/share/doc/ddhcp/examples/{name}")


def test_systemd_accepts_the_unit(machine: Machine) -> None:
    machine.path("/etc/ddhcp/mesh.toml").write_text(CONFIGURATION)
    machine.run("cp", UNIT, "/tmp/ddhcp@mesh.service")
    assert machine.run("systemd-analyze", "verify", "--man=no", "/tmp/ddhcp@mesh.service") == ""
    text = machine.run("systemd-analyze", "security", "--offline=yes", "/tmp/ddhcp@mesh.service")
    found = re.search(r"Overall exposure level for ddhcp@mesh.service: ([0-9.]+)", text)
    assert found is not None
    assert float(found[1]) <= 2.0


def test_users_and_directories_are_made(machine: Machine) -> None:
    assert machine.run("getent", "passwd", "ddhcp").startswith("ddhcp:x:")
    for line in machine.path("/usr/lib/tmpfiles.d/ddhcp.conf").read_text().splitlines():
        kind, path, mode, owner, group, _ = line.split()
        assert (kind, len(mode)) == ("d", 4)
        assert owner in {"root", "ddhcp"}
        machine.run("getent", "group", group)
        assert "/ddhcp" in path


@pytest.fixture
def links(isolated: None) -> Iterator[None]:
    """The interfaces that the configuration names, and a namespace for clients with the other end of one."""
    run("ip", "netns", "add", "client")
    run("ip", "link", "add", "client0", "type", "veth", "peer", "name", "clt0", "netns", "client")
    run("ip", "link", "add", "server0", "type", "veth", "peer", "name", "far0")
    run("ip", "address", "add", "10.0.0.1/20", "dev", "client0")
    for name in ("client0", "server0", "far0"):
        run("ip", "link", "set", name, "up")
    run("ip", "-n", "client", "link", "set", "clt0", "up")
    yield
    for name in ("client0", "server0"):
        run("ip", "link", "delete", name)
    run("ip", "netns", "delete", "client")


def lease(directory: Path) -> str:
    """The address that dhclient gets."""
    leases, pid_file = directory / "leases", directory / "pid"
    run(
        "ip", "netns", "exec", "client", "dhclient", "-1", "-v", "-sf", "/bin/true",
        "-lf", str(leases), "-pf", str(pid_file), "clt0",
    )  # fmt: skip
    # Written by the dhclient that stays, maybe after its parent has ended.
    os.kill(int(wait_until(lambda: pid_file.exists() and pid_file.read_text(), 10, "dhclient's pid file")), 15)
    found = re.search(r"fixed-address (10\.0\.[0-9.]+);", leases.read_text())
    assert found is not None
    return found[1]


def test_the_service_lives_from_boot_to_boot(machine: Machine, links: None, tmp_path: Path) -> None:
    """A configuration and one command; a client, what is seen of it, a crash, a drain, a reboot. Where systemd cannot
    run as init, as much of it as can be without."""
    fast = machine.path("/etc/systemd/system/ddhcp@.service.d/fast.conf")
    fast.parent.mkdir(parents=True)
    fast.write_text("[Service]\nRestartSec=100ms\n")
    machine.path("/etc/ddhcp/mesh.toml").write_text(
        f'{CONFIGURATION}[claiming]\nlearning-phase = false\ntentative-timeout = 2\n[dhcp]\ndeny = ["{DENIED}"]\n'
        f'[http]\nlisten = "{PORT}"\n[names]\nfile = "{NAMES}"\n'
    )
    try:
        machine.boot()
    except NoInit as problem:
        warnings.warn(f"systemd cannot run as init here: {problem}", stacklevel=1)
        as_systemd_would(machine, tmp_path)
        return
    run_there = machine.run

    def there(*command: str) -> bool:
        return subprocess.run(machine.command(*command), stdin=subprocess.DEVNULL, check=False).returncode == 0

    run_there("systemctl", "enable", "--now", "ddhcp@mesh")
    assert re.search(r"^CapEff:\t0000000000002400$", process(machine), re.MULTILINE)  # NET_BIND_SERVICE and NET_RAW
    assert not re.search(r"^Uid:.*\b0\b", process(machine), re.MULTILINE)
    address = lease(tmp_path)
    assert [row["address"] for row in json.loads(fetch("/api/v1/leases"))["leases"]] == [address]
    assert 'ddhcp_leases{state="leased"} 1.0' in fetch("/metrics")
    assert fetch("/").startswith("<!doctype html>")
    assert address in run_there("journalctl", "DDHCP_EVENT=lease-granted")
    read_names = (
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "cat",
        NAMES,
    )  # as a name server does
    wait_until(lambda: there("test", "-e", NAMES), PATIENCE_S, "the file of names")
    assert "ddhcp" in run_there(*read_names)

    denied = DhcpClient(bytes.fromhex(DENIED.replace(":", "")), random.Random(1))
    with kernel.entered(Path("/run/netns/client")), closing(Crowd("clt0", [denied])) as crowd:
        denied.start(time.monotonic())
        crowd.run(lambda: DENIED.upper() in run_there("ddhcpctl", "events"), PATIENCE_S)
    assert "dhcp.deny" in run_there("ddhcpctl", "explain", DENIED)

    run_there("systemctl", "kill", "--signal=KILL", "ddhcp@mesh")
    wait_until(lambda: state(machine) == ("active", "1"), PATIENCE_S, "systemd to start it again")
    assert address in run_there("ddhcpctl", "leases")

    run_there("ddhcpctl", "drain")
    wait_until(lambda: state(machine) == ("inactive", "1"), PATIENCE_S, "it to be drained, and to stay so")

    machine.reboot()
    wait_until(lambda: state(machine) == ("active", "0"), PATIENCE_S, "it to be started at boot")
    assert address in run_there("ddhcpctl", "leases")
    run_there("systemctl", "stop", "ddhcp@mesh")
    assert machine.path("/var/lib/ddhcp/mesh/leases.sqlite").stat().st_size > 0


def state(machine: Machine) -> tuple[str, str]:
    """Whether the service is active, and how often systemd has started it again."""
    shown = machine.run("systemctl", "show", "--property=ActiveState,NRestarts", "ddhcp@mesh")
    found = dict(line.split("=", 1) for line in shown.splitlines())
    return found["ActiveState"], found["NRestarts"]


def process(machine: Machine) -> str:
    """What the kernel says of the service's process."""
    pid = machine.run("systemctl", "show", "--property=MainPID", "--value", "ddhcp@mesh").strip()
    return machine.run("cat", f"/proc/{pid}/status")


def fetch(path: str) -> str:
    """What the daemon answers over HTTP."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=PATIENCE_S) as answer:
        text: str = answer.read().decode()
    return text


def as_systemd_would(machine: Machine, directory: Path) -> None:
    """ExecStart as its user, with its capabilities and directories, told when it is ready."""
    lines = (line for line in machine.path(UNIT).read_text().splitlines() if "=" in line and not line.startswith("#"))
    settings = {key: value.replace("%i", "mesh") for key, _, value in (line.partition("=") for line in lines)}
    machine.run("install", "-d", "-o", "ddhcp", "-g", "ddhcp", "-m", "0750", "/run/ddhcp/mesh", "/var/lib/ddhcp/mesh")
    machine.run("chmod", "755", "/run/ddhcp", "/var/lib/ddhcp")
    capabilities = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in settings["AmbientCapabilities"].split())
    command = machine.command(
        "setpriv", "--reuid=ddhcp", "--regid=ddhcp", "--init-groups", "--no-new-privs",
        f"--bounding-set=-all,{capabilities}", f"--inh-caps=-all,{capabilities}", f"--ambient-caps=-all,{capabilities}",
        *shlex.split(settings["ExecStart"]),
    )  # fmt: skip
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": "/run/notify"}
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notify, (directory / "log").open("wb") as log:
        notify.settimeout(PATIENCE_S)
        notify.bind(str(machine.path("/run/notify")))
        machine.run("chmod", "666", "/run/notify")
        daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            assert b"READY=1" in notify.recv(4096), (directory / "log").read_text()
            status = Path(f"/proc/{daemon.pid}/status").read_text()
            assert not re.search(r"^Uid:.*\b0\b", status, re.MULTILINE)
            assert re.search(r"^CapEff:\t0000000000002400$", status, re.MULTILINE)
            assert lease(directory) in machine.run("/usr/bin/ddhcpctl", "-C", "/run/ddhcp/mesh/ddhcp.sock", "leases")
        finally:
            daemon.terminate()
            assert daemon.wait(timeout=PATIENCE_S) == 0, (directory / "log").read_text()


def test_the_package_can_be_removed(machine: Machine) -> None:
    machine.run("dpkg", "--purge", "ddhcp")
    assert not machine.path("/usr/lib/ddhcp").exists()
    assert not machine.path("/usr/bin/ddhcp").exists()
