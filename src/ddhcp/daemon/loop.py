"""The event loop: what is ready gets its turn, and the turn's effects leave together. Nothing is decided here."""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ..core import Node
from ..core import events as e
from .bridge import Bridge
from .client_link import ClientSockets
from .clock import boot_time
from .committer import Committer
from .control import ControlSocket
from .errors import StartError
from .event_log import EventLog
from .guard import Callback, Guard
from .hooks import Hooks
from .http import Listen
from .links import Links
from .names import NamesFile
from .operator import Operator
from .performer import Performer
from .reload import Change, Reloader
from .service import ServiceManager
from .settings import schema
from .store import Remembered, Store
from .timer import BootTimer
from .writer import Writer

if TYPE_CHECKING:
    from .http.service import HttpServer

STOP_WITHIN_S = 5.0  # for handing blocks over and writing what is left
AFTER_EXCEPTION_S = 1.0  # a deadline whose handling failed is not tried again sooner

_COUNTERS = tuple(
    f"daemon.{name}"
    for name in (
        "exceptions",
        "receive_errors",
        "oversized",
        "send_errors",
        "commit_errors",
        "answers_withheld",
        "foreign_sources",
    )
)


def _leave_to_the_loop(number: int, frame: FrameType | None) -> None:
    """A signal's handler: its number is written to the loop's descriptor as well."""


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
        reloader: Reloader | None = None,
        service: ServiceManager | None = None,
        writer: Writer | None = None,
    ) -> None:
        self._node = node
        self._reloader = reloader
        self._service = service or ServiceManager({})
        self._log = log
        self._remembered = store.load()
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._guard = Guard(log, self._counters)
        self._committer = Committer(store, writer)
        self._hooks = hooks
        self._selector = selectors.DefaultSelector()
        self._timer = BootTimer()
        self._links = Links(
            self._selector, log, server_interface=server_interface, client_interfaces=client_interfaces,
            counters=self._counters,
        )  # fmt: skip
        self._performer = Performer(
            node, store, self._committer, log, hooks, self._counters, self._links.send, self._guard.report
        )
        self._links.feed = self._performer.take
        self._operator = Operator(
            node, log, self._links, performer=self._performer, is_durable=store.is_durable, counters=self._counters,
            statistics=self.statistics, stop=self._stop, reload=self.reload,
        )  # fmt: skip
        self._control: ControlSocket | None = None
        self._bridge: Bridge | None = None
        self._http: HttpServer | None = None
        self._names: NamesFile | None = None
        self._held_until = 0.0
        self._stop_by: float | None = None
        self._signals, self._signal_writer = socket.socketpair()
        for sock in (self._signals, self._signal_writer):
            sock.setblocking(False)
        self._watch(self._timer.fileno(), self._on_timer)
        self._watch(self._committer.fileno(), self._performer.on_committed)
        self._watch(self._signals.fileno(), self._on_signal)

    def open_control(self, path: Path) -> None:
        """Listen for control requests. Raises :class:`~ddhcp.daemon.errors.StartError`."""
        self._control = ControlSocket(path, self._selector, self._operator.answer)

    def open_http(self, listen: Listen, names: tuple[str, ...], token: str | None) -> None:
        """Serve HTTP as well. Raises :class:`~ddhcp.daemon.errors.StartError`."""
        from .http.service import HttpServer  # only now: see ddhcp.daemon.http

        bridge = self._make_bridge()
        histograms = {"handling": self._performer.handling, "commit": self._committer.durations}
        self._http = HttpServer(listen, bridge, self._log, histograms, names=names, token=token)

    def open_names(self, path: Path, domain: str | None, style: str) -> None:
        """Keep a file of the leases' names."""
        self._names = NamesFile(path, domain, style, self._make_bridge(), self._log)

    def _make_bridge(self) -> Bridge:
        if self._bridge is None:
            self._bridge = Bridge(self._operator.api)
            self._watch(self._bridge.fileno(), self._bridge.run)
        return self._bridge

    def adopt_client(self, sockets: ClientSockets) -> None:
        """Serve on an interface whose sockets are open already."""
        self._links.adopt_client(sockets)

    def take_signals(self) -> None:
        """From now on SIGTERM, SIGINT and SIGHUP are events of the loop."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _leave_to_the_loop)
        signal.set_wakeup_fd(self._signal_writer.fileno(), warn_on_full_buffer=False)

    def run(self, on_ready: Callable[[], None] = lambda: None) -> bool:
        """Serve until SIGTERM or SIGINT, then stop in good order. ``on_ready()`` is called when the blocks and leases
        of the run before are in force. False if it ended because nothing can be made durable any more."""
        try:
            self._guard.run(self._start, boot_time())
            on_ready()
            while not (self._performer.has_stopped and self._committer.is_idle):
                self._turn()
                if self._committer.failure:
                    self._log.write(logging.ERROR, "store-process-ended", {"because": self._committer.failure})
                    return False
                if self._stop_by is not None and boot_time() >= self._stop_by:
                    break
        finally:
            self._performer.flush()
            self._links.flush()
            self._log.write(logging.INFO, "stopped")
        return True

    def statistics(self) -> dict[str, int]:
        """The node's counters and the daemon's own."""
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
        for part in (self._http, self._names):
            if part is not None:
                part.close()
        if self._bridge is not None:
            self._bridge.close()
        self._committer.close()
        self._links.close()
        self._timer.close()
        self._selector.close()
        self._signals.close()
        self._signal_writer.close()

    # --- one turn -------------------------------------------------------------------------------

    def _start(self, now: float) -> None:
        remembered, self._remembered = self._remembered, Remembered()  # it may be much
        if remembered.set_aside is not None:
            self._log.write(logging.ERROR, "store-corrupt", {"set_aside": remembered.set_aside})
        if remembered.skipped:
            self._log.write(logging.WARNING, "store-rows-skipped", {"rows": remembered.skipped})
        self._links.announce_adopted(now)
        blocks, leases = tuple(remembered.blocks), tuple(remembered.leases)
        self._performer.take(e.Start(blocks, leases, tuple(remembered.claims), tuple(remembered.peers)), now)
        self._links.look(now)
        self._performer.flush()
        if self._http is not None:
            self._http.start()
        if self._names is not None:
            self._names.start()

    def _turn(self) -> None:
        self._guard.run(self._arm, boot_time())
        watched = self._selector.get_map()
        for key, _ in self._selector.select():
            # An earlier callback of this turn may have closed the descriptor, and another may have its number by now.
            if watched.get(key.fd) == key:
                self._guard.run(key.data, boot_time())
        self._performer.flush()
        self._links.flush()
        if self._hooks is not None:
            self._guard.run(self._start_hooks, boot_time())
        self._service.alive(boot_time())

    def _watch(self, descriptor: int, callback: Callback) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    # --- time -----------------------------------------------------------------------------------

    def _arm(self, now: float) -> None:
        deadline = self._node.deadline()
        if deadline is not None:
            deadline = max(deadline, self._held_until)
        deadlines = [deadline, self._links.deadline(), self._stop_by, self._service.deadline()]
        if self._hooks is not None:
            deadlines.append(self._hooks.deadline())
        if self._control is not None:
            deadlines.append(self._control.deadline())
        self._timer.arm(min((at for at in deadlines if at is not None), default=None))

    def _on_timer(self, now: float) -> None:
        self._timer.clear()
        self._guard.run(self._wake, now)
        relook_at = self._links.deadline()
        if relook_at is not None and relook_at <= now:
            self._guard.run(self._links.look, now)
        if self._hooks is not None:
            self._guard.run(self._hooks.kill_overdue, now)
        if self._control is not None:
            self._guard.run(self._control.end_overdue, now)

    def _wake(self, now: float) -> None:
        deadline = self._node.deadline()
        if deadline is None or max(deadline, self._held_until) > now:
            return
        self._held_until = now + AFTER_EXCEPTION_S  # stands if handling raises: else the loop would spin
        self._performer.feed(e.Wake(), now)
        self._held_until = 0.0

    # --- signals and hooks ----------------------------------------------------------------------

    def _on_signal(self, now: float) -> None:
        for number in self._signals.recv(64):
            if number == signal.SIGHUP:
                self._log.reopen()
                self._log.write(logging.INFO, "log-reopened")
                if self._reloader is not None:
                    with contextlib.suppress(ValueError):  # it is in the log
                        self.reload(now)
            elif self._stop_by is None:
                self._stop(signal.Signals(number).name, now)
            else:
                self._stop_by = now  # asked twice: do not wait

    def _stop(self, reason: str, now: float) -> None:
        """Stop in good order; ``reason`` is told in the log."""
        if self._stop_by is None:
            self._log.write(logging.INFO, "stopping", {"signal": reason})
            self._service.stopping()
            self._stop_by = now + STOP_WITHIN_S
            self._performer.feed(e.Stop(), now)

    def reload(self, now: float) -> dict[str, object]:
        """Read the configuration anew and take what of it can be taken. Raises ValueError, and changes nothing, if it
        cannot be used."""
        if self._reloader is None:
            raise ValueError("this daemon was started without a configuration file; restart it to change its options")
        self._service.reloading()
        try:
            change = self._reloader.prepare()
        except StartError as error:
            lines = str(error).splitlines()
            self._log.write(logging.ERROR, "reload-failed", {"because": lines[0], "problems": len(lines)})
            raise ValueError("; ".join(lines)) from None
        finally:
            self._service.ready()
        self._performer.feed(e.Reconfigure(change.config), now)
        self._take(change, now)
        self._reloader.accept(change)
        answer: dict[str, object] = {"applied": list(change.applied), "needs_restart": list(change.needs_restart)}
        told = {"applied": ",".join(change.applied), "needs_restart": ",".join(change.needs_restart)}
        self._log.write(logging.INFO, "reloaded", {name: keys or "none" for name, keys in told.items()})
        return answer

    def _take(self, change: Change, now: float) -> None:
        """What a change means for the daemon around the node."""
        if self._hooks is not None:
            self._hooks.command = change.hook
            self._hooks.events = frozenset(change.settings[schema.HOOK_EVENTS])
        if change.handler is not None:
            self._log.redirect(change.handler)
        if schema.LOG_LEVEL.key in change.applied:
            self._log.level = change.log_level
        if schema.CLIENT_INTERFACES.key in change.applied:
            self._links.serve(change.settings[schema.CLIENT_INTERFACES], now)

    def _start_hooks(self, now: float) -> None:
        assert self._hooks is not None
        for descriptor in self._hooks.start_queued():
            self._watch(descriptor, partial(self._on_hook_ended, descriptor))

    def _on_hook_ended(self, descriptor: int, now: float) -> None:
        self._selector.unregister(descriptor)
        if self._hooks is not None:
            self._hooks.reap(descriptor)
