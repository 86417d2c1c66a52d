"""The event loop: descriptors to events, events through the core, effects to where they belong. Nothing is decided
here."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import selectors
import signal
import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from ..core import Node
from ..core import effects as f
from ..core import events as e
from ..core.blocks import BlockState
from ..core.records import StoredBlock
from ..ctl.protocol import Command, Request
from . import report
from .client_link import ClientSockets, explain
from .clock import boot_time
from .committer import Committer
from .control import ControlSocket
from .hooks import Hooks
from .interfaces import ChangeMonitor, Interface, look
from .logs import EventLog
from .server_link import ServerLink
from .store import Store
from .timer import BootTimer

BATCH = 64  # datagrams taken from one socket before others get their turn; one commit serves them all
STOP_WITHIN_S = 5.0  # for handing blocks over and writing what is left
RELOOK_S = 2.0  # how often an interface that is missing is looked for besides netlink's hints
AFTER_EXCEPTION_S = 1.0  # a deadline whose handling failed is not tried again sooner
MAX_REPORTED = 256  # different exceptions that are logged, each once
_STORE_EFFECTS = (f.SaveBlock, f.ForgetBlock, f.SaveLease, f.ForgetLease)
# Sends that fail for lack of the link: the link's state says the rest.
_LINK_ERRORS = (errno.ENETDOWN, errno.ENETUNREACH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL)

_COUNTERS = tuple(
    f"daemon.{name}"
    for name in ("exceptions", "receive_errors", "send_errors", "commit_errors", "answers_withheld", "foreign_sources")
)
_LINK_LOCAL = b"\xfe\x80"

Callback = Callable[[float], None]


class Loop:
    """Runs one node until it is told to stop."""

    def __init__(
        self,
        node: Node,
        log: EventLog,
        store: Store,
        *,
        server_interface: str,
        client_interfaces: Iterable[str],
        hooks: Hooks | None,
    ) -> None:
        self._node = node
        self._log = log
        self._store = store
        self._remembered = store.load()
        self._committer = Committer(store)
        self._hooks = hooks
        self._server_name = server_interface
        self._client_names = tuple(client_interfaces)
        self._server: ServerLink | None = None
        self._clients: dict[str, ClientSockets] = {}
        self._selector = selectors.DefaultSelector()
        self._timer = BootTimer()
        self._monitor = ChangeMonitor()
        self._rows: list[f.StoreEffect] = []
        self._waiting: list[f.Effect] = []
        self._held_until = 0.0
        self._relook_at: float | None = None
        self._link_states: dict[str, str] = {}
        self._stop_by: float | None = None
        self._has_stopped = False
        self._reported: set[str] = set()
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._control: ControlSocket | None = None
        self._signals, self._signal_writer = socket.socketpair()
        for sock in (self._signals, self._signal_writer):
            sock.setblocking(False)
        self._watch(self._timer.fileno(), self._on_timer)
        self._watch(self._monitor.fileno(), self._on_change)
        self._watch(self._committer.fileno(), self._on_committed)
        self._watch(self._signals.fileno(), self._on_signal)

    def open_control(self, path: Path) -> None:
        """Listen for control requests. Raises :class:`~ddhcp.daemon.errors.StartError`."""
        self._control = ControlSocket(path, self._selector, self._answer)

    def adopt_client(self, sockets: ClientSockets) -> None:
        """Serve on an interface whose sockets are open already."""
        self._clients[sockets.interface.name] = sockets
        self._watch(sockets.udp.fileno(), partial(self._on_dhcp, sockets))

    def take_signals(self) -> None:
        """From now on SIGTERM, SIGINT and SIGHUP are events of the loop."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._signal_writer.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop in good order."""
        try:
            self._guard(self._start, boot_time())
            while not (self._has_stopped and self._committer.is_idle):
                self._turn()
                if self._stop_by is not None and boot_time() >= self._stop_by:
                    break
        finally:
            self._flush()
            self._log.write(logging.INFO, "stopped")

    # --- one turn -------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._guard(self._arm, boot_time())
        watched = self._selector.get_map()
        for key, _ in self._selector.select():
            # An earlier callback of this turn may have closed the descriptor, and another may have its number by now.
            if watched.get(key.fd) == key:
                self._guard(key.data, boot_time())
        self._flush()
        if self._hooks is not None:
            self._guard(self._start_hooks, boot_time())

    def _guard(self, callback: Callback, now: float) -> None:
        """An exception is a bug of ours; it costs one event and one log line, never the loop."""
        try:
            callback(now)
        except Exception as error:
            self._counters["daemon.exceptions"] += 1
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
            signature = f"{type(error).__name__} {where}"
            if signature not in self._reported and len(self._reported) < MAX_REPORTED:
                self._reported.add(signature)
                self._log.write(logging.ERROR, "internal-error", {"where": where, "error": str(error)}, traceback=True)

    def _arm(self, now: float) -> None:
        deadline = self._node.deadline()
        if deadline is not None:
            deadline = max(deadline, self._held_until)
        deadlines = [deadline, self._relook_at, self._stop_by]
        if self._hooks is not None:
            deadlines.append(self._hooks.deadline())
        if self._control is not None:
            deadlines.append(self._control.deadline())
        self._timer.arm(min((at for at in deadlines if at is not None), default=None))

    def _on_timer(self, now: float) -> None:
        self._timer.clear()
        self._guard(self._wake, now)
        if self._relook_at is not None and self._relook_at <= now:
            self._guard(self._look, now)
        if self._hooks is not None:
            self._guard(self._hooks.kill_overdue, now)
        if self._control is not None:
            self._guard(self._control.end_overdue, now)

    def _wake(self, now: float) -> None:
        deadline = self._node.deadline()
        if deadline is None or max(deadline, self._held_until) > now:
            return
        self._held_until = now + AFTER_EXCEPTION_S  # stands if handling raises: else the loop would spin
        self._feed(e.Wake(), now)
        self._held_until = 0.0

    def _feed(self, event: e.Event, now: float) -> None:
        self._perform(self._node.handle(event, now), now)

    # --- effects --------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[f.Effect], now: float) -> None:
        for effect in effects:
            if isinstance(effect, _STORE_EFFECTS):
                if self._store.is_durable:
                    self._rows.append(effect)
            elif isinstance(effect, f.Log):
                self._log.write(effect.level, effect.event, effect.fields)
            elif isinstance(effect, f.RunHook):
                if self._hooks is not None:
                    self._hooks.call(effect.arguments)
            elif isinstance(effect, f.Stopped):
                self._has_stopped = True
            elif effect.durable and (self._rows or not self._committer.is_clean):
                self._waiting.append(effect)
            else:
                self._send(effect, now)

    def _flush(self) -> None:
        """Give what this turn wants stored to the disk, and what waits on it along with it."""
        if self._rows or self._waiting:
            self._committer.put(self._rows, self._waiting)
            self._rows, self._waiting = [], []

    def _on_committed(self, now: float) -> None:
        for batch in self._committer.take_done():
            if batch.error is not None:
                self._counters["daemon.commit_errors"] += 1
                self._counters["daemon.answers_withheld"] += len(batch.waiting)
                self._log.write(
                    logging.ERROR, "store-failed",
                    {"error": batch.error, "answers_withheld": len(batch.waiting), "advice": "check the disk"},
                )  # fmt: skip
                continue
            if batch.is_first:
                self._save_everything(now)
            for effect in batch.waiting:
                self._send(effect, now)

    def _save_everything(self, now: float) -> None:
        """The store lost its file: write what the node knows into the new one."""
        leases = self._node.leases()
        self._log.write(logging.ERROR, "store-begun-anew", {"leases": len(leases)})
        self._rows.extend(f.SaveLease(lease) for lease in leases)
        for block in self._node.block_views(now):
            if block.state == BlockState.OURS:
                # Views count whole seconds, rounded up: what is remembered must not exceed what was promised.
                self._rows.append(f.SaveBlock(StoredBlock(block.index, now + block.timeout_s - 1)))

    def _send(self, effect: f.Effect, now: float) -> None:
        try:
            if isinstance(effect, f.SendDhcp):
                sockets = self._clients.get(effect.link)
                if sockets is not None:
                    sockets.send(effect)
            elif isinstance(effect, f.SendMulticast | f.SendUnicast) and self._server is not None:
                self._server.send(effect)
        except OSError as error:
            self._counters["daemon.send_errors"] += 1
            if error.errno not in _LINK_ERRORS:
                self._log.write(logging.WARNING, "send-failed", {"error": error.strerror})
            if isinstance(effect, f.SendMulticast):
                self._feed(e.SendFailed(), now)

    # --- sockets --------------------------------------------------------------------------------

    def _watch(self, descriptor: int, callback: Callback) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def _unwatch(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def _on_swarm(self, sock: socket.socket, now: float) -> None:
        for _ in range(BATCH):
            server = self._server
            if server is None or sock not in (server.multicast, server.unicast):
                return  # the link was lost or made anew while its datagrams were handled
            try:
                event = server.receive(sock)
            except OSError:
                self._counters["daemon.receive_errors"] += 1
                return
            if event is None:
                return
            if event.source[:2] != _LINK_LOCAL:  # nodes talk by link-local addresses only (PROTOCOL, Transport)
                self._counters["daemon.foreign_sources"] += 1
                continue
            self._guard(partial(self._feed, event), now)

    def _on_dhcp(self, sockets: ClientSockets, now: float) -> None:
        for _ in range(BATCH):
            if self._clients.get(sockets.interface.name) is not sockets:
                return
            try:
                event = sockets.receive()
            except OSError:
                self._counters["daemon.receive_errors"] += 1
                return
            if event is None:
                return
            self._guard(partial(self._feed, event), now)

    # --- interfaces -----------------------------------------------------------------------------

    def _start_hooks(self, now: float) -> None:
        assert self._hooks is not None
        for descriptor in self._hooks.start_queued():
            self._watch(descriptor, partial(self._on_hook_ended, descriptor))

    def _start(self, now: float) -> None:
        remembered = self._remembered
        if remembered.set_aside is not None:
            self._log.write(logging.ERROR, "store-corrupt", {"set_aside": remembered.set_aside})
        if remembered.skipped:
            self._log.write(logging.WARNING, "store-rows-skipped", {"rows": remembered.skipped})
        for sockets in self._clients.values():
            self._feed(e.ClientLinkUp(sockets.link()), now)
        self._feed(e.Start(tuple(remembered.blocks), tuple(remembered.leases)), now)
        self._look(now)
        self._flush()

    def _on_change(self, now: float) -> None:
        deleted = self._monitor.drain()
        server = self._server
        if server is not None and (deleted is None or server.interface.index in deleted):
            self._close_server()
            self._feed(e.ServerLinkDown(), now)
        for sockets in list(self._clients.values()):
            if deleted is None or sockets.interface.index in deleted:
                self._close_client(sockets)
                self._feed(e.ClientLinkDown(sockets.interface.name), now)
        self._look(now)

    def _look(self, now: float) -> None:
        """Compare the interfaces with what we have open, and make the two agree."""
        self._relook_at = now + RELOOK_S  # stands if looking fails
        are_up = [self._look_at_server(now)]
        are_up += [self._look_at_client(name, now) for name in self._client_names]
        if all(are_up):
            self._relook_at = None

    def _tell_link(self, kind: str, name: str, state: str) -> None:
        """Log what became of a link, once for each change."""
        if self._link_states.get(name) == state:
            return
        self._link_states[name] = state
        if state == "up":
            self._log.write(logging.INFO, f"{kind}-link-up", {"interface": name})
        else:
            self._log.write(logging.WARNING, f"{kind}-link-down", {"interface": name, "because": state})

    def _look_at_server(self, now: float) -> bool:
        name = self._server_name
        interface = look(name)
        lack = _lack(interface) or _server_lack(interface)
        if interface is None or interface.link_local is None or lack is not None:
            if self._server is not None:
                self._close_server()
                self._feed(e.ServerLinkDown(), now)
            self._tell_link("server", name, lack or "")
            return False
        if self._server is not None and self._server.interface.index == interface.index:
            before = self._server.interface
            if (before.mac, before.link_local) != (interface.mac, interface.link_local):
                self._server.interface = interface
                self._feed(e.ServerLinkUp(interface.mac, interface.link_local), now)
            return True
        if self._server is not None:
            self._close_server()
            self._feed(e.ServerLinkDown(), now)
        try:
            server = ServerLink(interface)
        except OSError as error:
            self._tell_link("server", name, error.strerror or str(error))
            return False
        self._server = server
        self._watch(server.multicast.fileno(), partial(self._on_swarm, server.multicast))
        self._watch(server.unicast.fileno(), partial(self._on_swarm, server.unicast))
        self._tell_link("server", name, "up")
        self._feed(e.ServerLinkUp(interface.mac, interface.link_local), now)
        return True

    def _close_server(self) -> None:
        assert self._server is not None
        self._unwatch(self._server.multicast.fileno())
        self._unwatch(self._server.unicast.fileno())
        self._server.close()
        self._server = None

    def _look_at_client(self, name: str, now: float) -> bool:
        interface = look(name)
        sockets = self._clients.get(name)
        lack = _lack(interface) or _client_lack(interface)
        if interface is None or lack is not None:
            if sockets is not None:
                self._close_client(sockets)
                self._feed(e.ClientLinkDown(name), now)
            self._tell_link("client", name, lack or "")
            return False
        if sockets is not None and sockets.interface == interface:
            return True
        if sockets is not None and sockets.interface.index == interface.index:
            sockets.interface = interface
            self._feed(e.ClientLinkUp(sockets.link()), now)
            return True
        if sockets is not None:
            self._close_client(sockets)
        try:
            sockets = ClientSockets(interface)
        except OSError as error:
            self._tell_link("client", name, explain(error))
            return False
        self.adopt_client(sockets)
        self._tell_link("client", name, "up")
        self._feed(e.ClientLinkUp(sockets.link()), now)
        return True

    def _close_client(self, sockets: ClientSockets) -> None:
        self._unwatch(sockets.udp.fileno())
        sockets.close()
        del self._clients[sockets.interface.name]

    # --- people ---------------------------------------------------------------------------------

    def _on_signal(self, now: float) -> None:
        for number in self._signals.recv(64):
            if number == signal.SIGHUP:
                self._log.reopen()
                self._log.write(logging.INFO, "log-reopened")
            elif self._stop_by is None:
                self._log.write(logging.INFO, "stopping", {"signal": signal.Signals(number).name})
                self._stop_by = now + STOP_WITHIN_S
                self._feed(e.Stop(), now)
            else:
                self._stop_by = now  # asked twice: do not wait

    def _on_hook_ended(self, descriptor: int, now: float) -> None:
        self._unwatch(descriptor)
        if self._hooks is not None:
            self._hooks.reap(descriptor)

    def _answer(self, request: Request) -> str:
        """The text that answers a control request. Raises ValueError to refuse it."""
        node, now = self._node, boot_time()
        match request.command:
            case Command.SHOW_BLOCKS:
                return report.blocks_text(node.view(), node.block_views(now))
            case Command.SHOW_OPTIONS:
                return self._options_text()
            case Command.SET_OPTION:
                self._feed(e.SetOption(request.code, request.payload), now)
                return self._options_text()
            case Command.REMOVE_OPTION:
                self._feed(e.RemoveOption(request.code), now)
                return self._options_text()
            case Command.SET_LOG_LEVEL:
                self._log.level = log_level(request.level)
                self._log.write(logging.INFO, "log-level", {"level": logging.getLevelName(self._log.level).lower()})
                return ""
            case Command.STATISTICS:
                return report.statistics_text(self.statistics())
            case Command.STATISTICS_RESET:
                text = report.statistics_text(self.statistics())
                self._feed(e.ResetStatistics(), now)
                self._counters = dict.fromkeys(self._counters, 0)
                return text
            case _:
                return self._answer_json(request)

    def _answer_json(self, request: Request) -> str:
        if request.arguments.get("command") != "status":
            raise ValueError("unknown command in the JSON request; this daemon knows: status")
        view = self._node.view()
        status = {
            "node_id": view.node_id.hex(),
            "server_interface": self._server_name,
            "server_link": "up" if self._server is not None else "down",
            "client_interfaces": sorted(self._clients),
            "store": "sqlite" if self._store.is_durable else "memory",
            "statistics": self.statistics(),
        }
        return json.dumps(status) + "\n"

    def _options_text(self) -> str:
        return report.options_text(self._node.options(), self._node.lease_time_s, not self._client_names)

    def statistics(self) -> dict[str, int]:
        """The node's counters and the loop's own."""
        dropped = {
            "daemon.answers_dropped": self._committer.dropped,
            "daemon.hooks_dropped": self._hooks.dropped if self._hooks is not None else 0,
        }
        return self._node.statistics() | self._counters | dropped

    def close(self) -> None:
        """Write what is left and give everything back."""
        signal.set_wakeup_fd(-1)
        if self._control is not None:
            self._control.close()
        self._committer.close()
        if self._server is not None:
            self._close_server()
        for sockets in list(self._clients.values()):
            self._close_client(sockets)
        self._monitor.close()
        self._timer.close()
        self._selector.close()
        self._signals.close()
        self._signal_writer.close()


def _lack(interface: Interface | None) -> str | None:
    """What keeps an interface from carrying packets, or None."""
    if interface is None:
        return "there is no such interface"
    return None if interface.is_up else "the interface is down or has no carrier"


def _server_lack(interface: Interface | None) -> str | None:
    assert interface is not None
    if not interface.mac:
        return "it has no Ethernet address"
    return None if interface.link_local else "it has no usable IPv6 link-local address (yet)"


def _client_lack(interface: Interface | None) -> str | None:
    assert interface is not None
    return None if interface.ipv4 else "it has no IPv4 address"


def log_level(verbosity: int) -> int:
    """The log level for a number of ``-v`` (or the classic level byte): 0 warnings, 1 events, 2 and more everything."""
    return (logging.WARNING, logging.INFO)[verbosity] if verbosity < 2 else logging.DEBUG
