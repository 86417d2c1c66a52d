"""The command ``ddhcp``: from arguments to a running loop."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import random
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..core import ConfigError, Node, NodeConfig, Pool
from ..core import config as defaults
from ..ctl.protocol import RUNTIME_DIR_VARIABLE
from .cli import Arguments, default_store_path, parse
from .client_link import open_at_start
from .daemonize import Background, PidFile
from .errors import StartError
from .hooks import Hooks, parse_command
from .interfaces import Interface, look
from .logs import EventLog, make_handler
from .loop import Loop
from .operator import log_level
from .server_link import check_at_start
from .store import MemoryStore, SqliteStore, Store

_DEFAULT_PID_FILE = "ddhcp.pid"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon; returns the exit status."""
    background: Background | None = None
    try:
        given = parse(arguments)
        command = parse_command(given.hook) if given.hook is not None else None
        clients = [_client_interface(name) for name in given.client_interfaces]
        server = look(given.server_interface)  # it may appear later; clients' interfaces may not
        pool = _pool(given, clients)
        config = _config(given, pool)
        if given.daemonize:
            background = Background()
        return _run(given, config, command, server, clients, background)
    except (StartError, OSError) as error:
        if background is not None:
            background.fail(str(error))
        else:
            print(f"ddhcp: {error}", file=sys.stderr)
        return 2


def _run(
    given: Arguments,
    config: NodeConfig,
    hook: list[str] | None,
    server: Interface | None,
    clients: list[Interface],
    background: Background | None,
) -> int:
    try:
        handler = make_handler(file=given.log_file, syslog=given.syslog, as_json=given.log_json)
    except OSError as error:
        where = given.log_file or "syslog"
        raise StartError(f"cannot log to {where}: {error.strerror or error}; use --log-file PATH") from None
    log = EventLog(handler, log_level(given.verbosity + 1))
    with contextlib.ExitStack() as stack:
        if given.daemonize or given.pid_file is not None:
            stack.callback(PidFile(_pid_path(given)).remove)
        loop = _make_loop(given, config, hook, log)
        stack.callback(loop.close)
        loop.open_control(given.control)
        if server is not None:
            check_at_start(server)
        else:
            log.write(
                logging.WARNING,
                "server-interface-missing",
                {"interface": given.server_interface, "advice": "waiting for it to appear; is -i right?"},
            )
        for interface in clients:
            loop.adopt_client(open_at_start(interface))
        loop.take_signals()
        log.write(
            logging.INFO,
            "started",
            {"version": __version__, "pool": str(config.pool), "block_size": config.pool.block_size},
        )
        if background is not None:
            background.ready()
        _tell_systemd("READY=1")
        loop.run()
    return 0


def _make_loop(given: Arguments, config: NodeConfig, hook: list[str] | None, log: EventLog) -> Loop:
    return Loop(
        Node(config, random.Random(os.urandom(16))),
        log,
        _store(given, config.pool),
        server_interface=given.server_interface,
        client_interfaces=given.client_interfaces,
        hooks=Hooks(hook, log) if hook is not None else None,
    )


def _client_interface(name: str) -> Interface:
    interface = _require(name)
    if interface.ipv4 is None:
        raise StartError(
            f"client interface {name} has no IPv4 address, which clients need to reach the server; "
            f"give it one, for example: ip address add 10.0.0.1/20 dev {name}"
        )
    return interface


def _require(name: str) -> Interface:
    interface = look(name)
    if interface is None:
        known = ", ".join(sorted(other for _, other in socket.if_nameindex()))
        raise StartError(f"there is no interface {name!r}; this machine has: {known}")
    return interface


def _pool(given: Arguments, clients: list[Interface]) -> Pool:
    if given.pool_network is not None:
        return given.pool(given.pool_network)
    if clients:
        assert clients[0].ipv4 is not None
        address, prefix_len = clients[0].ipv4
        return given.pool(ipaddress.IPv4Network((address, prefix_len), strict=False))
    return given.pool(ipaddress.IPv4Network((defaults.DEFAULT_PREFIX, defaults.DEFAULT_PREFIX_LEN)))


def _config(given: Arguments, pool: Pool) -> NodeConfig:
    try:
        return NodeConfig(
            pool=pool,
            block_timeout_s=given.block_timeout_s,
            tentative_timeout_s=given.tentative_timeout_s,
            spare_leases=given.spare_leases,
            needless_timeout_s=given.needless_timeout_s,
            learning_phase=given.learning_phase,
            lease_time_s=given.lease_time_s,
            options=given.options,
            serves_clients=bool(given.client_interfaces),
        )
    except ConfigError as error:
        raise StartError(str(error)) from None


def _store(given: Arguments, pool: Pool) -> Store:
    if given.store == "memory":
        return MemoryStore()
    return SqliteStore(Path(given.store) if given.store else default_store_path(given.server_interface, pool))


def _pid_path(given: Arguments) -> Path:
    if given.pid_file is not None:
        return given.pid_file
    runtime = os.environ.get(RUNTIME_DIR_VARIABLE)
    return (Path(runtime) if runtime else given.control.parent) / _DEFAULT_PID_FILE


def _tell_systemd(state: str) -> None:
    """Report readiness to a service manager that asked for it (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


if __name__ == "__main__":
    sys.exit(main())
