"""``network-test``: the command line of the test network."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence

from pyroute2.netlink.exceptions import NetlinkError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import kernel, layout, lifecycle, processes, programs, rootless
from .clients import Client, Clients
from .network import Network, TestbedError
from .waiting import wait_until

_LEASE_PATIENCE_S = 10.0

_EPILOG = """\
example, three realms with a node in the first and a client that moves:
  ./network-test net-init 3
  ./network-test srv-start 0 ./ddhcp -t 3
  ./network-test clt-start 0
  ./network-test roam 0 1
  ./network-test srv-stop 0
  ./network-test net-stop
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="network-test",
        description="A network of client realms in network namespaces on this machine,\nto try ddhcp in.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    sub = command("net-init", _net_init, "have a network of N realms; those that exist stay as they are")
    sub.add_argument("count", metavar="N", type=int)
    command("net-stop", _net_stop, "take the network away, with all nodes and clients in it")
    sub = command("srv-start", _srv_start, "run COMMAND in the namespace of realm N's node")
    sub.add_argument("realm", metavar="N", type=int)
    sub.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER)
    sub = command("srv-stop", _srv_stop, "end realm N's node in good order")
    sub.add_argument("realm", metavar="N", type=int)
    sub = command("clt-start", _clt_start, "start COUNT (1) clients with their own hardware addresses on realm N")
    sub.add_argument("realm", metavar="N", type=int)
    sub.add_argument("count", metavar="COUNT", type=int, nargs="?", default=1)
    sub.add_argument("--client", choices=sorted(programs.PROGRAMS), help="the DHCP client program to run")
    sub = command("clt-stop", _clt_stop, "take away the clients that are on realm N")
    sub.add_argument("realm", metavar="N", type=int)
    sub = command("roam", _roam, "move a client to another realm by its cable")
    sub.add_argument("client", metavar="CLIENT", type=int)
    sub.add_argument("realm", metavar="REALM", type=int)
    command("status", _status, "show realms, nodes and clients")
    sub = command("ctl", _ctl, "run ddhcpctl with ARGUMENTS for realm N's node")
    sub.add_argument("realm", metavar="N", type=int)
    sub.add_argument("words", metavar="ARGUMENTS", nargs=argparse.REMAINDER)
    sub = command("exec", _exec, "run COMMAND where the interfaces srvX and cltX are (needed without root only)")
    sub.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER)
    sub = command("lifecycle", _lifecycle, "count what the nodes send while nothing happens")
    sub.add_argument("--seconds", type=float, default=600.0, metavar="S", help="how long to listen (default: 600)")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub = command("demo", _demo, "watch a client keep its address while it moves through a mesh of three realms")
    sub.add_argument("--client", choices=sorted(programs.PROGRAMS), help="the DHCP client program to run")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (that of the process if None); its exit status."""
    arguments = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        if not kernel.has_capabilities() and run is not _demo:
            return _without_root(run, arguments)
        return run(arguments)
    except (TestbedError, NetlinkError, OSError) as error:
        print(f"network-test: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _without_root(run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    if run is _net_init:
        rootless.start()
    holder = rootless.Holder()
    if run is _net_stop and not holder.exists:
        return 0
    rootless.enter()
    status = run(arguments)
    if run is _net_stop:
        holder.end()
    return status


def _execute(words: Sequence[str], environment: dict[str, str]) -> int:
    """Become the command; returns only if that fails."""
    if not words:
        raise TestbedError("name the command to run")
    try:
        os.execvpe(words[0], list(words), environment)
    except FileNotFoundError:
        print(f"network-test: {words[0]}: no such command", file=sys.stderr)
        return 127
    except PermissionError:
        print(f"network-test: {words[0]}: not executable", file=sys.stderr)
        return 126


def _net_init(arguments: argparse.Namespace) -> int:
    Network().ensure(arguments.count, progress=print)
    if os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables"):
        with open("/proc/sys/net/bridge/bridge-nf-call-iptables") as switch:
            if switch.read().strip() != "0":
                print("Note: this machine's firewall also filters bridged frames, so it may keep clients from nodes.")
    return 0


def _net_stop(arguments: argparse.Namespace) -> int:
    for process in Network().stop():
        print(f"left alone: process {process.pid} ({' '.join(process.command)}), which network-test did not start")
    return 0


def _srv_start(arguments: argparse.Namespace) -> int:
    network = Network()
    namespace = network.require_realm(arguments.realm)
    environment = network.node_environment(arguments.realm)
    kernel.join(namespace)
    return _execute(arguments.words, environment)


def _srv_stop(arguments: argparse.Namespace) -> int:
    network = Network()
    network.require_realm(arguments.realm)
    running = [process for process in network.processes(layout.node_namespace(arguments.realm)) if process.ours]
    processes.terminate(running)
    print(f"realm {arguments.realm}: {'node stopped' if running else 'no node was running'}")
    return 0


def _ctl(arguments: argparse.Namespace) -> int:
    network = Network()
    network.require_realm(arguments.realm)
    program = "from ddhcp.ctl.main import main; raise SystemExit(main())"
    environment = {**network.node_environment(arguments.realm), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return _execute([sys.executable, "-P", "-c", program, *arguments.words], environment)


def _exec(arguments: argparse.Namespace) -> int:
    return _execute(arguments.words, {**os.environ, processes.MARK: "exec"})


def _clt_start(arguments: argparse.Namespace) -> int:
    if arguments.count < 1:
        raise TestbedError(f"{arguments.count} is not a number of clients")
    program = programs.PROGRAMS[arguments.client] if arguments.client else programs.available()
    if program is programs.BUILTIN and not arguments.client:
        print("No dhclient, udhcpc or dhcpcd here, so the clients run the testbed's own DHCP client.")
    clients = Clients(Network())
    numbers = []
    for _ in range(arguments.count):
        numbers.append(clients.add(arguments.realm))
        clients.start(numbers[-1], program)
    waiting = set(numbers)

    def all_have_a_lease() -> bool:
        for number in sorted(waiting):
            address = clients.leased(number)
            if address is not None:
                print(f"client {number}  {layout.client_mac(number)}  {program.name}  {address}")
                waiting.remove(number)
        return not waiting

    with contextlib.suppress(TimeoutError):
        wait_until(all_have_a_lease, _LEASE_PATIENCE_S, "leases")
    for number in sorted(waiting):
        print(f"client {number}  {layout.client_mac(number)}  {program.name}  no lease yet, it goes on trying")
    return 0


def _clt_stop(arguments: argparse.Namespace) -> int:
    network = Network()
    network.require_realm(arguments.realm)
    clients = Clients(network)
    for number in clients.on_realm(arguments.realm):
        clients.remove(number)
        print(f"client {number} removed")
    return 0


def _roam(arguments: argparse.Namespace) -> int:
    number, clients = arguments.client, Clients(Network())
    before, address = len(clients.events(number)), clients.address(number)
    clients.roam(number, arguments.realm)
    print(f"client {number} is on realm {arguments.realm}")
    if address is None:
        return 0
    clients.notice_move(number)

    try:
        now_has = wait_until(lambda: clients.leased(number, before), _LEASE_PATIENCE_S, "an answer")
    except TimeoutError:
        print(f"no node has confirmed {address} there yet; it goes on trying")
    else:
        print(f"it keeps {address}" if now_has == address else f"it had {address}, now it has {now_has}")
    return 0


def _program_names(client: Client) -> str:
    return ", ".join(sorted({os.path.basename(p.command[0]).split(":")[0] for p in client.programs})) or "none"


def _as_typed(command: Sequence[str]) -> str:
    """A process's command line as somebody would have typed it: without the interpreter and without directories."""
    words = list(command)
    if os.path.basename(words[0]).startswith("python") and len(words) > 1 and not words[1].startswith("-"):
        del words[0]
    return " ".join([os.path.basename(words[0]), *words[1:]])


def _status(arguments: argparse.Namespace) -> int:
    network, console = Network(), Console(highlight=False)
    clients = Clients(network)
    if not network.realm_numbers():
        console.print("There is no test network; `./network-test net-init 3` makes one.")
        return 0
    realms = Table("realm", "namespace", "server0", "state", "running there")
    for number in network.realm_numbers():
        realm = network.realm(number)
        running = "\n".join(f"{p.pid} {_as_typed(p.command)}" for p in realm.processes)
        realms.add_row(
            str(number),
            layout.node_namespace(number),
            realm.server_address or "no address",
            "complete" if realm.complete else "incomplete: run net-init again",
            escape(running) or "nothing",
        )
    console.print(realms)
    if clients.numbers():
        table = Table("client", "realm", "MAC address", "address", "DHCP client", "last event")
        for number in clients.numbers():
            client = clients.get(number)
            table.add_row(
                str(number),
                "none" if client.realm is None else str(client.realm),
                client.mac,
                client.address or "none",
                escape(_program_names(client)),
                escape(client.events[-1].reason) if client.events else "none",
            )
        console.print(table)
    return 0


def _lifecycle(arguments: argparse.Namespace) -> int:
    if not arguments.seconds > 0:
        raise TestbedError(f"{arguments.seconds:g} seconds is no time to listen for; use more than 0")
    console = Console(stderr=True)
    with console.status("listening") as status:
        found = lifecycle.measure(
            Network(), arguments.seconds, lambda left_s: status.update(f"listening, {left_s:.0f} s to go")
        )
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        print(lifecycle.describe(found))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from .demo import run  # only this command pays for what it imports

    return run(programs.PROGRAMS[arguments.client] if arguments.client else None)


if __name__ == "__main__":
    sys.exit(main())
