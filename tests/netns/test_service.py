"""The daemon as a service: in the background, as a user with two capabilities, with a hook."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from ddhcp.testbed import kernel, layout
from ddhcp.testbed.mesh import Mesh
from ddhcp.testbed.nodes import DDHCP
from ddhcp.testbed.programs import DHCLIENT
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

SOURCE = Path(__file__).resolve().parents[2] / "src"
NODE = ("-L", "-t", "2", "-b", "3")
PATIENCE_S = 10
NOBODY = 65534


@pytest.fixture
def background(
    make_mesh: Callable[[int], Mesh], tmp_path: Path
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs ``ddhcp -d`` in realm 0 with its files in ``tmp_path``; what goes to the background ends with the test."""
    mesh = make_mesh(1)
    pid_file = tmp_path / "ddhcp.pid"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        files = ("-C", str(tmp_path / "ctl" / "ddhcp.sock"), "--pid-file", str(pid_file), "--store", "memory")
        log = ("--log-file", str(tmp_path / "log"))
        with kernel.entered(mesh.network.require_realm(0)):
            return subprocess.run(
                [sys.executable, *DDHCP, "-d", *NODE, *files, *log, *arguments],
                capture_output=True,
                text=True,
                env={**mesh.network.node_environment(0), "PYTHONPATH": str(SOURCE)},
                timeout=PATIENCE_S,
            )

    yield run
    if pid_file.exists() and (pid := pid_file.read_text().strip()):
        os.kill(int(pid), signal.SIGKILL)


def events(log: Path) -> list[str]:
    return [line.split()[2] for line in log.read_text().splitlines()] if log.exists() else []


def test_in_the_background_from_start_to_stop(
    background: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    started = background()
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    pid, log = int((tmp_path / "ddhcp.pid").read_text()), tmp_path / "log"
    assert (tmp_path / "ctl" / "ddhcp.sock").is_socket(), "it serves when the command returns"
    assert os.getsid(pid) != os.getsid(0)
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert "started" in events(log)

    log.rename(tmp_path / "log.1")
    os.kill(pid, signal.SIGHUP)
    wait_until(log.exists, PATIENCE_S, "the log to be opened anew")
    wait_until(lambda: "blocks-claimed" in events(log) + events(tmp_path / "log.1"), PATIENCE_S, "a block")

    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE_S, "its end")
    assert not (tmp_path / "ddhcp.pid").exists()
    assert not (tmp_path / "ctl" / "ddhcp.sock").exists()
    assert "stopped" in events(log)


def test_what_keeps_it_from_the_background_is_told_at_once(
    background: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    refused = background("-c", "nosuch0")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "nosuch0" in refused.stderr
    assert background().returncode == 0
    second = background("-C", str(tmp_path / "other.sock"))
    assert second.returncode == 2
    assert "pid" in second.stderr


def for_everyone(paths: Iterable[str], below: Path) -> list[Path]:
    """The same directories at places in ``below`` that any user can reach, as long as this mount namespace lives:
    a checkout in root's home directory is for root alone."""
    places = []
    for number, path in enumerate(paths):
        place = below / str(number)
        place.mkdir(parents=True)
        kernel.mount(path, str(place), "none", kernel.MS_BIND)
        places.append(place)
    return places


def test_it_needs_no_more_than_two_capabilities(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    mesh = make_mesh(1)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o711)
    capabilities = "+net_raw,+net_bind_service"
    command = (
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", f"--bounding-set=-all,{capabilities}",
        f"--inh-caps=-all,{capabilities}", f"--ambient-caps=-all,{capabilities}", sys.executable, *DDHCP, *NODE,
        "-C", str(home / "ddhcp.sock"), "--store", str(home / "leases.db"),
    )  # fmt: skip
    modules = for_everyone((str(SOURCE), sysconfig.get_path("purelib")), tmp_path / "modules")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, modules))}
    with kernel.entered(mesh.network.require_realm(0)):
        node = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        client = mesh.join(0, DHCLIENT)
        assert mesh.wait_for_lease(client, 2 * PATIENCE_S)
    finally:
        node.terminate()
        assert node.wait(PATIENCE_S) == 0, node.stderr and node.stderr.read().decode()
        for place in modules:
            kernel.unmount(str(place))


def test_the_hook_is_told_of_leases_their_end_and_the_end_of_learning(
    make_mesh: Callable[[int], Mesh], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
    hook.chmod(0o755)
    mesh = make_mesh(1)
    mesh.start(0, "-t", "2", "-B", "4", "-b", "3", "-H", str(hook))
    client = mesh.join(0, DHCLIENT)
    address = mesh.wait_for_lease(client, 2 * PATIENCE_S)
    mac = layout.client_mac(client).upper()
    mesh.clients.release(client)

    def lines() -> list[str]:
        return told.read_text().splitlines() if told.exists() else []

    wait_until(lambda: f"release {address} {mac}" in lines(), PATIENCE_S, "the hook's third call")
    assert lines() == ["endlearning", f"lease {address} {mac}", f"release {address} {mac}"]
