"""The command ``ddhcp``: from arguments to a running loop."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import logging
import os
import random
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import __version__
from ..core import Node, NodeConfig, Pool
from ..core import config as defaults
from ..ctl.protocol import RUNTIME_DIR_VARIABLE, default_socket_path
from ..values import replace
from .assemble import key_source, node_config
from .cli import Invocation, default_store_path, parse
from .client_link import open_at_start
from .daemonize import Background, PidFile
from .errors import SettingsError, StartError
from .event_log import EventLog
from .hooks import Hooks, parse_command
from .http import parse_listen, read_token
from .interfaces import Interface, look
from .logs import make_handler
from .loop import Loop
from .privileges import Identity, drop, find_identity, give_directories
from .reload import Reloader, level_number
from .server_link import check_at_start
from .service import ServiceManager
from .settings import Settings, blaming, schema
from .store import MemoryStore, SqliteStore, Store
from .writer import Writer

GC_THRESHOLDS = (50_000, 20, 50)  # new objects until a young collection, and collections until an older generation's
_DEFAULT_PID_FILE = "ddhcp.pid"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon; returns the exit status."""
    background: Background | None = None
    try:
        invocation = parse(arguments)
        settings = invocation.settings()
        if invocation.action != "run":
            return _show(invocation, settings)
        command = _hook_command(settings)
        identity = find_identity(settings[schema.USER], settings[schema.GROUP])
        clients = [_client_interface(name) for name in settings[schema.CLIENT_INTERFACES]]
        server = look(settings[schema.SERVER_INTERFACE])  # it may appear later; clients' interfaces may not
        config = _config(settings, _network(settings, clients))
        if settings[schema.DAEMONIZE]:
            background = Background()
        return _run(settings, config, command, server, clients, background, invocation, identity)
    except (StartError, OSError) as error:
        if background is not None:
            background.fail(str(error))
        else:
            for line in str(error).splitlines():
                print(f"ddhcp: {line}", file=sys.stderr)
        return 2
    finally:
        gc.enable()


def _show(invocation: Invocation, settings: Settings) -> int:
    """What is asked for instead of running."""
    network = settings[schema.NETWORK_SETTING] or _default_network()
    wrong: list[str] = []
    for make in (lambda: _hook_command(settings), key_source(settings), lambda: node_config(settings, network)):
        try:
            if make is not None:
                make()
        except StartError as error:
            wrong.append(str(error))
    if wrong:
        raise SettingsError(wrong)
    if invocation.action == "print-config":
        from .settings.document import effective  # only now: a start is the faster for it

        print(effective(settings), end="")
    else:
        print(f"{invocation.config}: the configuration is valid")
    return 0


def _run(
    settings: Settings,
    config: NodeConfig,
    hook: list[str] | None,
    server: Interface | None,
    clients: list[Interface],
    background: Background | None,
    invocation: Invocation,
    identity: Identity | None,
) -> int:
    gc.disable()  # until all leases of the run before are there: none of them is garbage
    log = EventLog(_log_handler(settings), level_number(settings))
    service = ServiceManager()
    open_http = _http(settings)
    with contextlib.ExitStack() as stack:
        if settings[schema.DAEMONIZE] or settings[schema.PID_FILE] is not None:
            stack.callback(PidFile(_pid_path(settings)).remove)
        if identity is not None:
            give_directories(_own_directories(settings, config.pool), identity)
            drop(identity)  # before there are threads
        loop = _make_loop(settings, config, hook, log, service, _reloader(invocation, settings, config))
        stack.callback(loop.close)
        loop.open_control(_control_path(settings))
        open_http(loop)
        if (names := settings[schema.NAMES_FILE]) is not None:
            loop.open_names(Path(names), settings[schema.NAMES_DOMAIN], settings[schema.NAMES_FORMAT])
        if server is not None:
            check_at_start(server)
        else:
            log.write(
                logging.WARNING,
                "server-interface-missing",
                {"interface": settings[schema.SERVER_INTERFACE], "advice": "waiting for it to appear; is -i right?"},
            )
        for interface in clients:
            loop.adopt_client(open_at_start(interface))
            _warn_if_elsewhere(log, interface, config)
        loop.take_signals()
        log.write(
            logging.INFO,
            "started",
            {"version": __version__, "pool": str(config.pool), "block_size": config.pool.block_size},
        )
        is_sound = loop.run(lambda: _on_ready(background, service))
    return 0 if is_sound else 1


def _warn_if_elsewhere(log: EventLog, interface: Interface, config: NodeConfig) -> None:
    """Log that clients on ``interface`` are given addresses of a network that they are not in."""
    policy, pool = config.policy, config.pool
    if interface.ipv4 is None or policy.relays or any(subnet.relays for subnet in policy.subnets):
        return
    network = ipaddress.IPv4Network(interface.ipv4, strict=False)
    if not network.overlaps(ipaddress.IPv4Network((pool.prefix, pool.prefix_len))):
        log.write(
            logging.WARNING, "pool-elsewhere",
            {"interface": interface.name, "network": str(network), "pool": str(pool)},
        )  # fmt: skip


def _on_ready(background: Background | None, service: ServiceManager) -> None:
    if background is not None:
        background.ready()
    service.ready()
    _collect_rarely()


def _collect_rarely() -> None:
    """Have the garbage collector look less often: handling a packet leaves no cycles behind, but makes the objects by
    whose number it decides to look through all the others. What there is now it never looks at: next to nothing of it
    is garbage, and to find that out takes longer the more leases there are."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()


def _http(settings: Settings) -> Callable[[Loop], None]:
    """What opens the HTTP interface, with the token read already: its file may be readable for root alone."""
    listen = settings[schema.HTTP_LISTEN]
    token_file = settings[schema.HTTP_TOKEN_FILE]
    if listen is None:
        return lambda loop: None
    address, names = parse_listen(listen), settings[schema.HTTP_NAMES]
    token = read_token(token_file) if token_file is not None else None
    return lambda loop: loop.open_http(address, names, token)


def _log_handler(settings: Settings) -> logging.Handler:
    file = settings[schema.LOG_FILE]
    syslog = settings[schema.SYSLOG]
    if not settings.is_given(schema.SYSLOG) and settings[schema.DAEMONIZE] and file is None:
        syslog = True
    try:
        return make_handler(file=file, syslog=syslog, as_json=settings[schema.LOG_FORMAT] == "json")
    except OSError as error:
        raise StartError(f"cannot log to {file or 'syslog'}: {error.strerror or error}; use --log-file PATH") from None


def _config(settings: Settings, network: ipaddress.IPv4Network) -> NodeConfig:
    """What the node is told, the swarm's keys included, which are read now."""
    keys = key_source(settings)
    return replace(
        node_config(settings, network), software=f"ddhcp {__version__}", keys=keys() if keys is not None else None
    )


def _reloader(invocation: Invocation, settings: Settings, config: NodeConfig) -> Reloader | None:
    if invocation.config is None and settings[schema.KEY_FILE] is None:
        return None  # there is nothing to read again
    pool = config.pool
    network = ipaddress.IPv4Network((pool.prefix, pool.prefix_len))
    return Reloader(
        settings, invocation.settings, make_config=lambda new: _config(new, network), make_hook=_hook_command,
        make_handler=_log_handler,
    )  # fmt: skip


def _make_loop(
    settings: Settings,
    config: NodeConfig,
    hook: list[str] | None,
    log: EventLog,
    service: ServiceManager,
    reloader: Reloader | None,
) -> Loop:
    writer = Writer() if _store_path(settings, config.pool) is not None else None  # before all leases are in memory
    return Loop(
        Node(config, random.Random(os.urandom(16))),
        log,
        _store(settings, config.pool),
        server_interface=settings[schema.SERVER_INTERFACE],
        client_interfaces=settings[schema.CLIENT_INTERFACES],
        hooks=Hooks(hook, log, settings[schema.HOOK_EVENTS]),
        reloader=reloader,
        service=service,
        writer=writer,
    )


def _hook_command(settings: Settings) -> list[str] | None:
    hook = settings[schema.HOOK]
    return blaming(settings, schema.HOOK, lambda: parse_command(hook)) if hook is not None else None


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


def _network(settings: Settings, clients: list[Interface]) -> ipaddress.IPv4Network:
    network = settings[schema.NETWORK_SETTING]
    if network is not None:
        return network
    if clients:
        assert clients[0].ipv4 is not None
        return ipaddress.IPv4Network(clients[0].ipv4, strict=False)
    return _default_network()


def _default_network() -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network((defaults.DEFAULT_PREFIX, defaults.DEFAULT_PREFIX_LEN))


def _store(settings: Settings, pool: Pool) -> Store:
    path = _store_path(settings, pool)
    return SqliteStore(path) if path is not None else MemoryStore()


def _store_path(settings: Settings, pool: Pool) -> Path | None:
    path = settings[schema.STORE_PATH]
    if path == "memory":
        return None
    return Path(path) if path else default_store_path(settings[schema.SERVER_INTERFACE], pool)


def _own_directories(settings: Settings, pool: Pool) -> list[Path]:
    """Where the daemon makes files while it runs."""
    store = _store_path(settings, pool)
    return [_control_path(settings).parent, *([store.parent] if store is not None else [])]


def _control_path(settings: Settings) -> Path:
    path = settings[schema.CONTROL_SOCKET]
    return Path(path) if path is not None else default_socket_path()


def _pid_path(settings: Settings) -> Path:
    path = settings[schema.PID_FILE]
    if path is not None:
        return Path(path)
    runtime = os.environ.get(RUNTIME_DIR_VARIABLE)
    return (Path(runtime) if runtime else _control_path(settings).parent) / _DEFAULT_PID_FILE


if __name__ == "__main__":
    sys.exit(main())
