"""The Debian package: built, installed into a throw-away copy of this machine, and run as systemd would run it."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parents[2]
UNIT = "/lib/systemd/system/ddhcp@.service"
CONFIGURATION = 'server-interface = "server0"\nclient-interfaces = ["client0"]\nnetwork = "10.0.0.0/20"\n'


class Machine:
    """A root directory over this machine's own, in which nothing that is done lasts."""

    def __init__(self, directory: Path) -> None:
        run("mount", "-t", "tmpfs", "tmpfs", str(directory))
        self.root = directory / "root"
        for name in ("upper", "work", "root"):
            (directory / name).mkdir()
        layers = f"lowerdir=/,upperdir={directory}/upper,workdir={directory}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        for name in ("dev", "proc", "sys"):
            run("mount", "--rbind", f"/{name}", str(self.root / name))
        for name in ("run", "tmp", "var/lib/ddhcp", "etc/ddhcp"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
            run("mount", "-t", "tmpfs", "tmpfs", str(self.root / name))

    def run(self, *command: str) -> str:
        """Run a command in there; its output."""
        return run("chroot", str(self.root), *command)

    def path(self, name: str) -> Path:
        """Where a file of the machine is."""
        return self.root / name.lstrip("/")


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert result.returncode == 0, f"{shlex.join(command)}: {result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def machine(isolated: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    package = next((ROOT / "dist").glob("ddhcp_*_all.deb"), None)
    assert package is not None, "no package in dist/; run make deb first (make test does)"
    made = Machine(tmp_path_factory.mktemp("machine"))
    made.path("/tmp/ddhcp.deb").write_bytes(package.read_bytes())
    made.run("dpkg", "--install", "--force-depends", "/tmp/ddhcp.deb")
    yield made
    run("umount", "--recursive", "--lazy", str(made.root))


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
        assert owner == "root"
        machine.run("getent", "group", group)
        assert path.endswith("/ddhcp")


def unit_settings(machine: Machine) -> dict[str, str]:
    lines = (line for line in machine.path(UNIT).read_text().splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.replace("%i", "mesh") for key, _, value in (line.partition("=") for line in lines)}


def test_the_unit_serves_a_client_as_its_user_with_its_capabilities(machine: Machine, tmp_path: Path) -> None:
    """ExecStart as systemd runs it: as its user, with its capabilities and directories, told when it is ready."""
    run("ip", "netns", "add", "client")
    run("ip", "link", "add", "client0", "type", "veth", "peer", "name", "clt0", "netns", "client")
    run("ip", "link", "add", "server0", "type", "veth", "peer", "name", "far0")
    run("ip", "address", "add", "10.0.0.1/20", "dev", "client0")
    for name in ("client0", "server0", "far0"):
        run("ip", "link", "set", name, "up")
    run("ip", "-n", "client", "link", "set", "clt0", "up")
    settings = unit_settings(machine)
    machine.path("/etc/ddhcp/mesh.toml").write_text(f"{CONFIGURATION}[claiming]\nlearning-phase = false\n")
    machine.run("install", "-d", "-o", "ddhcp", "-g", "ddhcp", "-m", "0750", "/run/ddhcp/mesh", "/var/lib/ddhcp/mesh")
    machine.run("chmod", "755", "/run/ddhcp", "/var/lib/ddhcp")
    capabilities = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in settings["AmbientCapabilities"].split())
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.settimeout(20)
    notify.bind(str(machine.path("/run/notify")))
    machine.run("chmod", "666", "/run/notify")
    command = [
        "chroot", str(machine.root), "setpriv", "--reuid=ddhcp", "--regid=ddhcp", "--init-groups", "--no-new-privs",
        f"--bounding-set=-all,{capabilities}", f"--inh-caps=-all,{capabilities}", f"--ambient-caps=-all,{capabilities}",
        *shlex.split(settings["ExecStart"]),
    ]  # fmt: skip
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": "/run/notify"}
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        assert b"READY=1" in notify.recv(4096), (tmp_path / "log").read_text()
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        assert re.search(r"^Uid:\t(\d+)\t\1\t\1\t\1$", status, re.MULTILINE)
        assert not re.search(r"^Uid:\t0", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0000000000002400$", status, re.MULTILINE)  # NET_BIND_SERVICE and NET_RAW
        run(
            "ip", "netns", "exec", "client", "dhclient", "-1", "-v", "-sf", "/bin/true",
            "-lf", str(tmp_path / "leases"), "-pf", str(tmp_path / "pid"), "clt0",
        )  # fmt: skip
        pid_file = tmp_path / "pid"  # written by the dhclient that stays, maybe after its parent has ended
        os.kill(int(wait_until(lambda: pid_file.exists() and pid_file.read_text(), 10, "dhclient's pid file")), 15)
        assert "fixed-address 10.0." in (tmp_path / "leases").read_text()
        shown = machine.run("/usr/bin/ddhcpctl", "-C", "/run/ddhcp/mesh/ddhcp.sock", "-b")
        assert "\t0/1\t" in shown
    finally:
        daemon.terminate()
        assert daemon.wait(timeout=20) == 0, (tmp_path / "log").read_text()
        notify.close()
        for name in ("client0", "server0"):
            run("ip", "link", "delete", name)
        run("ip", "netns", "delete", "client")
    wait_until(lambda: not machine.path("/run/ddhcp/mesh/ddhcp.sock").exists(), 5, "the control socket to go")
    assert machine.path("/var/lib/ddhcp/mesh/leases.sqlite").stat().st_size > 0


def test_the_package_can_be_removed(machine: Machine) -> None:
    machine.run("dpkg", "--purge", "ddhcp")
    assert not machine.path("/usr/lib/ddhcp").exists()
    assert not machine.path("/usr/bin/ddhcp").exists()
