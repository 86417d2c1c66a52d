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
from ..ctl.protocol import Command, Request
from . import report
from .client_link import ClientSockets
from .clock import boot_time
from .committer import Batch, Committer
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
_STORE_EFFECTS = (f.SaveBlock, f.ForgetBlock, f.SaveLease, f.ForgetLease)
# Sends that fail for lack of the link: the link's state says the rest.
_LINK_ERRORS = (errno.ENETDOWN, errno.ENETUNREACH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL)

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
        self._committer = Committer(store)
        self._hooks = hooks
        self._server_name = server_interface
        self._client_names = tuple(client_interfaces)
        self._server: ServerLink | None = None
        self._server_seen: Interface | None = None
        self._clients: dict[str, ClientSockets] = {}
        self._selector = selectors.DefaultSelector()
        self._timer = BootTimer()
        self._monitor = ChangeMonitor()
        self._batch = Batch()
        self._relook_at: float | None = None
        self._stop_by: float | None = None
        self._has_stopped = False
        self._reported: set[str] = set()
        self._counters = {"daemon.exceptions": 0, "daemon.send_errors": 0, "daemon.commit_errors": 0}
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

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop in good order."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._signal_writer.fileno(), warn_on_full_buffer=False)
        try:
            self._start()
            while not (self._has_stopped and self._committer.is_idle):
                self._turn()
                if self._stop_by is not None and boot_time() >= self._stop_by:
                    break
        finally:
            signal.set_wakeup_fd(-1)
            self._close()

    # --- one turn -------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._arm()
        for key, _ in self._selector.select():
            callback: Callback = key.data
            self._guard(callback, boot_time())
        self._flush()
        if self._hooks is not None:
            for descriptor in self._hooks.start_queued():
                self._watch(descriptor, partial(self._on_hook_ended, descriptor))

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
            if signature not in self._reported:
                self._reported.add(signature)
                self._log.write(logging.ERROR, "internal-error", {"where": where, "error": str(error)}, traceback=True)

    def _arm(self) -> None:
        deadlines = [self._node.deadline(), self._relook_at, self._stop_by]
        if self._hooks is not None:
            deadlines.append(self._hooks.deadline())
        if self._control is not None:
            deadlines.append(self._control.deadline())
        self._timer.arm(min((at for at in deadlines if at is not None), default=None))

    def _on_timer(self, now: float) -> None:
        self._timer.clear()
        deadline = self._node.deadline()
        if deadline is not None and deadline <= now:
            self._feed(e.Wake(), now)
        if self._relook_at is not None and self._relook_at <= now:
            self._look(now)
        if self._hooks is not None:
            self._hooks.kill_overdue(now)
        if self._control is not None:
            self._control.end_overdue(now)

    def _feed(self, event: e.Event, now: float) -> None:
        self._perform(self._node.handle(event, now), now)

    # --- effects --------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[f.Effect], now: float) -> None:
        batch = self._batch
        for effect in effects:
            if isinstance(effect, _STORE_EFFECTS):
                if self._store.is_durable:
                    batch.rows.append(effect)
            elif isinstance(effect, f.Log):
                self._log.write(effect.level, effect.event, effect.fields)
            elif isinstance(effect, f.RunHook):
                if self._hooks is not None:
                    self._hooks.call(effect.arguments)
            elif isinstance(effect, f.Stopped):
                self._has_stopped = True
            elif effect.durable and self._store.is_durable and (batch.rows or not self._committer.is_idle):
                batch.waiting.append(effect)
            else:
                self._send(effect, now)

    def _flush(self) -> None:
        """Give what this turn wants stored to the disk, and what waits on it along with it."""
        if self._batch.rows or self._batch.waiting:
            self._committer.put(self._batch)
            self._batch = Batch()

    def _on_committed(self, now: float) -> None:
        for batch in self._committer.take_done():
            if batch.error is not None:
                self._counters["daemon.commit_errors"] += 1
                self._log.write(
                    logging.ERROR, "store-failed",
                    {"error": batch.error, "answers_withheld": len(batch.waiting), "advice": "check the disk"},
                )  # fmt: skip
                continue
            for effect in batch.waiting:
                self._send(effect, now)

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
            if self._server is None or (event := self._server.receive(sock)) is None:
                return
            self._guard(partial(self._feed, event), now)

    def _on_dhcp(self, sockets: ClientSockets, now: float) -> None:
        for _ in range(BATCH):
            event = sockets.receive()
            if event is None:
                return
            self._guard(partial(self._feed, event), now)

    # --- interfaces -----------------------------------------------------------------------------

    def _start(self) -> None:
        now = boot_time()
        remembered = self._store.load()
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
        self._monitor.drain()
        self._look(now)

    def _look(self, now: float) -> None:
        """Compare the interfaces with what we have open, and make the two agree."""
        self._relook_at = None
        self._look_at_server(now)
        for name in self._client_names:
            self._look_at_client(name, now)

    def _look_at_server(self, now: float) -> None:
        interface = look(self._server_name)
        if interface is None or not interface.is_up or interface.link_local is None or not interface.mac:
            if self._server is not None:
                self._close_server()
                self._log.write(logging.WARNING, "server-link-down", {"interface": self._server_name})
                self._feed(e.ServerLinkDown(), now)
            self._relook_at = now + RELOOK_S
            return
        before = self._server_seen
        if self._server is not None and before is not None and before.index == interface.index:
            if (before.mac, before.link_local) != (interface.mac, interface.link_local):
                self._server_seen = interface
                self._feed(e.ServerLinkUp(interface.mac, interface.link_local), now)
            return
        if self._server is not None:
            self._close_server()
            self._feed(e.ServerLinkDown(), now)
        try:
            server = ServerLink(interface)
        except OSError as error:
            self._log.write(
                logging.WARNING, "server-link-failed", {"interface": self._server_name, "error": error.strerror}
            )
            self._relook_at = now + RELOOK_S
            return
        self._server, self._server_seen = server, interface
        self._watch(server.multicast.fileno(), partial(self._on_swarm, server.multicast))
        self._watch(server.unicast.fileno(), partial(self._on_swarm, server.unicast))
        self._log.write(logging.INFO, "server-link-up", {"interface": self._server_name})
        self._feed(e.ServerLinkUp(interface.mac, interface.link_local), now)

    def _close_server(self) -> None:
        assert self._server is not None
        self._unwatch(self._server.multicast.fileno())
        self._unwatch(self._server.unicast.fileno())
        self._server.close()
        self._server = self._server_seen = None

    def _look_at_client(self, name: str, now: float) -> None:
        interface = look(name)
        sockets = self._clients.get(name)
        if interface is None or not interface.is_up or interface.ipv4 is None:
            if sockets is not None:
                self._close_client(sockets)
                self._log.write(logging.WARNING, "client-link-down", {"interface": name})
                self._feed(e.ClientLinkDown(name), now)
            self._relook_at = now + RELOOK_S
            return
        if sockets is not None and sockets.interface == interface:
            return
        if sockets is not None and sockets.interface.index == interface.index:
            sockets.interface = interface
            self._feed(e.ClientLinkUp(sockets.link()), now)
            return
        if sockets is not None:
            self._close_client(sockets)
        try:
            sockets = ClientSockets(interface)
        except OSError as error:
            self._log.write(logging.WARNING, "client-link-failed", {"interface": name, "error": error.strerror})
            self._relook_at = now + RELOOK_S
            return
        self.adopt_client(sockets)
        self._log.write(logging.INFO, "client-link-up", {"interface": name})
        self._feed(e.ClientLinkUp(sockets.link()), now)

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
                return ""
            case Command.STATISTICS:
                return report.statistics_text(self.statistics())
            case Command.STATISTICS_RESET:
                text = report.statistics_text(self.statistics())
                self._feed(e.ResetStatistics(), now)
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
        dropped = self._hooks.dropped if self._hooks is not None else 0
        return self._node.statistics() | self._counters | {"daemon.hooks_dropped": dropped}

    def _close(self) -> None:
        self._flush()
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
        self._log.write(logging.INFO, "stopped")


def log_level(verbosity: int) -> int:
    """The log level for a number of ``-v`` (or the classic level byte): 0 warnings, 1 events, 2 and more everything."""
    return (logging.WARNING, logging.INFO)[verbosity] if verbosity < 2 else logging.DEBUG
