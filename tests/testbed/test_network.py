"""The test network: what it consists of, how it is built twice, killed half way, taken away, used without root."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddhcp.testbed import hook, kernel, layout, main, network, processes, programs
from ddhcp.testbed.clients import Clients
from ddhcp.testbed.links import Netlink
from ddhcp.testbed.network import NETNS_DIRECTORY, Network, TestbedError
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def net(isolated: None) -> Iterator[Network]:
    found = Network()
    yield found
    found.stop()


def links() -> dict[str, int]:
    with Netlink() as netlink:
        return {name: link.index for name, link in netlink.links().items()}


def assert_nothing_left() -> None:
    assert set(links()) == {"lo"}
    assert list(NETNS_DIRECTORY.iterdir()) == []
    assert not network.STATE_DIRECTORY.exists()


def test_realms_have_the_documented_names_and_addresses(net: Network) -> None:
    net.ensure(2)
    assert {"br-srv", "srv0", "srv1", "clt0", "clt1"} <= set(links())
    assert sorted(p.name for p in NETNS_DIRECTORY.iterdir()) == ["ddhcpd0", "ddhcpd1"]
    for realm in range(2):
        with Netlink(NETNS_DIRECTORY / f"ddhcpd{realm}") as inside:
            found = inside.links()
            assert set(found) == {"lo", "server0", "client0"}
            assert inside.ipv4_addresses(found["client0"].index) == ["10.0.0.1"]
            assert inside.ipv4_addresses(found["server0"].index) == []
            assert inside.ipv6_link_local(found["server0"].index) is not None
            assert found["client0"].mac == layout.GATEWAY_MAC, "a roamed client's ARP cache must stay true"


def test_link_local_addresses_are_usable_at_once(net: Network) -> None:
    net.ensure(1)
    command = ["ip", "-o", "-6", "addr", "show", "dev", "server0", "scope", "link"]
    with kernel.entered(NETNS_DIRECTORY / "ddhcpd0"):
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "fe80:" in shown
    assert "tentative" not in shown


def test_building_twice_changes_nothing(net: Network) -> None:
    net.ensure(2)
    before = links()
    net.ensure(2)
    assert links() == before


def test_growing_and_shrinking_leave_the_other_realms_alone(net: Network) -> None:
    net.ensure(2)
    before = links()
    net.ensure(3)
    assert before.items() <= links().items()
    net.ensure(2)
    assert links() == before
    assert not (NETNS_DIRECTORY / "ddhcpd2").exists()


def test_stopping_leaves_nothing_and_works_twice(net: Network) -> None:
    net.ensure(2)
    Clients(net).add(1)
    assert net.stop() == []
    assert_nothing_left()
    assert net.stop() == []
    assert_nothing_left()


@pytest.mark.parametrize("interface", ["srv0", "clt0", "clt0-up", "br-srv"])
def test_a_deleted_interface_is_made_again(net: Network, interface: str) -> None:
    net.ensure(1)
    with Netlink() as netlink:
        netlink.delete(netlink.links()[interface].index)
    assert not net.realm(0).complete
    net.ensure(1)
    assert net.realm(0).complete


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


STEPS = [
    (kernel, "bind_new_network_namespace"),
    (kernel, "mount"),
    (kernel, "share_mounts_below"),
    (network, "prepare_namespace"),
    (network, "connect"),
    (Netlink, "add_bridge"),
    (Netlink, "add_veth"),
    (Netlink, "set_master"),
    (Netlink, "add_address"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("rebuilt", [False, True], ids=["stopped", "rebuilt"])
def test_a_run_killed_at_any_step_is_put_right(
    net: Network, monkeypatch: pytest.MonkeyPatch, owner: object, step: str, after: bool, rebuilt: bool
) -> None:
    real = getattr(owner, step)

    def killed(*arguments: object, **named: object) -> None:
        if after:
            real(*arguments, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(Killed):
            net.ensure(1)
    if rebuilt:
        net.ensure(1)
        assert net.realm(0).complete
    net.stop()
    assert_nothing_left()


def test_foreign_interfaces_are_refused_and_left_alone(net: Network) -> None:
    subprocess.run(["ip", "link", "add", "clt0", "type", "veth", "peer", "name", "foreign"], check=True)
    try:
        before = links()
        with pytest.raises(TestbedError, match="clt0 exists that network-test did not make"):
            net.ensure(1)
        assert links() == before
        net.stop()
        assert links() == before
    finally:
        subprocess.run(["ip", "link", "delete", "clt0"], check=True)


def test_foreign_namespaces_are_refused_and_left_alone(net: Network) -> None:
    subprocess.run(["ip", "netns", "add", "ddhcpd0"], check=True)
    try:
        with pytest.raises(TestbedError, match="ddhcpd0 exists that network-test did not make"):
            net.ensure(1)
        net.stop()
        assert (NETNS_DIRECTORY / "ddhcpd0").exists()
    finally:
        subprocess.run(["ip", "netns", "delete", "ddhcpd0"], check=True)


def test_only_processes_of_the_test_network_are_ended(net: Network) -> None:
    net.ensure(1)
    enter = ["ip", "netns", "exec", "ddhcpd0", "sleep", "1000"]
    foreign = subprocess.Popen(enter)
    ours = subprocess.Popen(enter, env={**os.environ, processes.MARK: "test"})
    try:
        wait_until(lambda: len([p for p in net.processes() if p.command[0] == "sleep"]) == 2, 5, "both sleeping")
        left = net.stop()
        assert [process.pid for process in left] == [foreign.pid]
        assert ours.wait(5) == -signal.SIGTERM
        assert foreign.poll() is None
    finally:
        for process in (foreign, ours):
            process.kill()
            process.wait()


def test_a_state_directory_that_others_can_use_is_refused(isolated: None, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    with pytest.raises(TestbedError, match="only this user can use"):
        Network(state).ensure(1)
    state.rmdir()
    state.symlink_to(tmp_path)
    with pytest.raises(TestbedError, match="only this user can use"):
        Network(state).ensure(1)


def test_a_client_moves_with_its_interface_and_address(net: Network) -> None:
    net.ensure(2)
    clients = Clients(net)
    client = clients.add(0)
    with Netlink(clients.namespace(client)) as inside:
        before = inside.links()["eth0"]
        inside.add_address(before.index, "10.0.0.77", 20)
        clients.roam(client, 1)
        after = inside.links()["eth0"]
    assert (after.index, after.mac, after.running) == (before.index, before.mac, True)
    assert clients.get(client).realm == 1
    assert clients.on_realm(0) == []
    assert clients.on_realm(1) == [client]
    assert clients.address(client) == "10.0.0.77"


def test_dhclient_has_its_lease_only_once_it_keeps_it(net: Network) -> None:
    """It writes the lease after its hook has ended: one that is ended in between asks for an address anew."""
    net.ensure(1)
    clients = Clients(net)
    client = clients.add(0)
    directory = clients.directory(client)
    log = directory / hook.LOG_FILE
    log.write_text("bound to 10.0.0.9 -- renewal in 5 seconds.\nDHCPACK of 10.0.0.77 from 10.0.0.1\n")
    told = {"reason": "BOUND", "interface": "eth0", "new_ip_address": "10.0.0.77", "new_subnet_mask": "255.255.240.0"}
    with kernel.entered(clients.namespace(client)):
        hook.main([str(directory), "dhclient"], told)
    assert clients.address(client) == "10.0.0.77"
    assert clients.leased(client) is None
    with log.open("a") as more:
        more.write("bound to 10.0.0.77 -- renewal in 5 seconds.\n")
    assert clients.leased(client) == "10.0.0.77"


def test_realms_are_separate_for_clients_and_joined_for_servers(net: Network) -> None:
    net.ensure(2)
    with Netlink() as netlink:
        found = netlink.links()
        swarm = found["br-srv"].index
        assert {n for n, link in found.items() if link.master == swarm} == {"srv0", "srv1"}
        assert {n for n, link in found.items() if link.master == found["clt0"].index} == {"clt0-up"}


# -- the command line ---------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run network-test as a user does, from the checkout."""
    return subprocess.run(
        [str(ROOT / "network-test"), *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60
    )


def test_commands_from_net_init_to_net_stop(net: Network) -> None:
    assert run("net-init", "2").returncode == 0
    assert run("net-init", "2").returncode == 0
    shown = run("srv-start", "1", "ip", "-o", "-4", "addr", "show", "client0")
    assert "10.0.0.1/20" in shown.stdout
    assert "ddhcpd1" in run("status").stdout
    assert run("net-stop").returncode == 0
    assert run("net-stop").returncode == 0
    assert_nothing_left()


def test_a_node_is_stopped_by_its_realm(net: Network) -> None:
    net.ensure(2)
    assert run("srv-stop", "0").stdout == "realm 0: no node was running\n"
    for realm in ("0", "1"):
        assert run("srv-start", realm, "./ddhcp", "-d", "-L", "-t", "3").returncode == 0
    assert "ddhcp -d -L -t 3" in run("status").stdout
    assert run("srv-stop", "0").stdout == "realm 0: node stopped\n"
    assert not net.realm(0).processes
    assert net.realm(1).processes


def test_a_node_is_told_its_own_runtime_directory(net: Network) -> None:
    net.ensure(2)
    told = [run("srv-start", str(realm), "sh", "-c", "stat -c '%a %n' $DDHCP_RUNTIME_DIR").stdout for realm in (0, 1)]
    assert all(line.startswith("700 /run/ddhcp-testbed/") for line in told)
    assert told[0] != told[1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("net-init", "0"), 1, "not a number of realms"),
        (("net-init", "9999"), 1, "not a number of realms"),
        (("srv-start", "5", "true"), 1, "there is no realm 5"),
        (("srv-start", "0"), 1, "name the command"),
        (("srv-start", "0", "no-such-command"), 127, "no such command"),
        (("srv-stop", "5"), 1, "there is no realm 5"),
        (("clt-start", "5"), 1, "there is no realm 5"),
        (("clt-start", "0", "0"), 1, "not a number of clients"),
        (("clt-stop", "5"), 1, "there is no realm 5"),
        (("roam", "3", "0"), 1, "there is no client 3"),
        (("ctl", "5", "-b"), 1, "there is no realm 5"),
    ],
)
def test_mistakes_get_one_line(net: Network, arguments: tuple[str, ...], status: int, message: str) -> None:
    net.ensure(1)
    result = run(*arguments)
    assert result.returncode == status
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_clients_without_a_server_are_started_and_stopped(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_LEASE_PATIENCE_S", 0.2)
    net.ensure(1)
    assert main.main(["clt-start", "0", "2", "--client", "builtin"]) == 0
    clients = Clients(net)
    assert clients.on_realm(0) == [0, 1]
    assert all("ddhcp.testbed.dhcpclient" in clients.get(n).programs[0].command for n in (0, 1))
    assert main.main(["clt-stop", "0"]) == 0
    assert clients.numbers() == []
    assert net.processes() == []


# -- without root -------------------------------------------------------------------------------------------

# Keeps only what maps this user to root in a new user namespace; CAP_SYS_ADMIN and CAP_NET_ADMIN are gone.
WITHOUT_ROOT = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]


def run_without_root(runtime: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WITHOUT_ROOT, str(ROOT / "network-test"), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        timeout=60,
    )


def test_without_root_the_network_lives_between_commands(isolated: None, tmp_path: Path) -> None:
    before = links()
    refused = run_without_root(tmp_path, "status")
    assert refused.returncode == 1
    assert "there is no test network" in refused.stderr
    made = run_without_root(tmp_path, "net-init", "2")
    assert made.returncode == 0, made.stderr
    try:
        shown = run_without_root(tmp_path, "srv-start", "1", "ip", "-o", "-4", "addr", "show", "client0")
        assert "10.0.0.1/20" in shown.stdout
        assert "clt1" in run_without_root(tmp_path, "exec", "ip", "-br", "link").stdout
        assert links() == before, "the network of the machine is untouched"
    finally:
        stopped = run_without_root(tmp_path, "net-stop")
    assert stopped.returncode == 0
    assert run_without_root(tmp_path, "net-stop").returncode == 0
    assert "there is no test network" in run_without_root(tmp_path, "status").stderr


# -- the DHCP client programs -------------------------------------------------------------------------------


def test_a_process_in_a_chroot_can_be_isolated(isolated: None, tmp_path: Path) -> None:
    """There "/" is no mount point, so it cannot be made private as a whole."""
    for name in ("proc", "run", "sys"):
        (tmp_path / name).mkdir()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            kernel.unshare(kernel.CLONE_NEWNS)
            kernel.mount("proc", str(tmp_path / "proc"), "proc", 0)
            os.chroot(tmp_path)
            os.chdir("/")
            kernel.isolate()
            status = 0 if os.path.isdir("/run/netns") else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not (tmp_path / "run" / "netns").exists()


def test_a_missing_program_is_named_with_its_package(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.shutil, "which", lambda *arguments, **named: None)
    net.ensure(1)
    clients = Clients(net)
    client = clients.add(0)
    with pytest.raises(TestbedError, match="apt-get install isc-dhcp-client"):
        clients.start(client, programs.DHCLIENT)
    assert programs.available() is programs.BUILTIN


def test_the_hook_names_events_alike_for_every_program(tmp_path: Path) -> None:
    told = {
        "udhcpc": (["bound"], {"ip": "10.0.0.9", "lease": "300", "serverid": "10.0.0.1"}),
        "dhcpcd": (
            [],
            {
                "reason": "BOUND",
                "new_ip_address": "10.0.0.9",
                "new_dhcp_lease_time": "300",
                "new_dhcp_server_identifier": "10.0.0.1",
            },
        ),
    }
    (tmp_path / hook.LOG_FILE).touch()
    for program, (arguments, environment) in told.items():
        assert hook.main([str(tmp_path), program, *arguments], environment) == 0
    events = (tmp_path / hook.EVENTS_FILE).read_text().splitlines()
    assert len(events) == 2
    assert all('"reason": "BOUND", "address": "10.0.0.9", "lease_s": 300, "server": "10.0.0.1"' in e for e in events)


def test_the_hook_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / hook.LOG_FILE).touch()
    command = [sys.executable, "-I", "-S", hook.__file__, str(tmp_path), "udhcpc", "deconfig"]
    assert subprocess.run(command, env={}, check=False).returncode == 0
