"""The links of a node: interfaces that come, change and go, the sockets on them, and the datagrams."""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
from collections.abc import Callable, Iterable, MutableMapping
from functools import partial

from ..core import effects as f
from ..core import events as e
from .client_link import BATCH, ClientSockets, explain
from .event_log import EventLog
from .guard import Callback
from .interfaces import ChangeMonitor, Interface, look
from .prober import Prober
from .server_link import ServerLink

RELOOK_S = 2.0  # how often an interface that is missing is looked for besides netlink's hints
# Sends that fail for lack of the link: the link's state says the rest.
_LINK_ERRORS = (errno.ENETDOWN, errno.ENETUNREACH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL)
_LINK_LOCAL = b"\xfe\x80"

Feed = Callable[[e.Event, float], None]


class Links:
    """The server link and the client links of one node.

    ``feed(event, now)``, which the owner sets before the first event, is told what happens on them. Their descriptors
    are watched in ``selector``, with callbacks that take the instant.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        log: EventLog,
        *,
        server_interface: str,
        client_interfaces: Iterable[str],
        counters: MutableMapping[str, int],
    ) -> None:
        self._selector = selector
        self._log = log
        self._counters = counters
        self.feed: Feed = lambda event, now: None
        self.server_name = server_interface
        self.client_names = tuple(client_interfaces)
        self._server: ServerLink | None = None
        self._clients: dict[str, ClientSockets] = {}
        self._states: dict[str, str] = {}
        self._relook_at: float | None = None
        self._probers: dict[str, Prober] = {}
        self._monitor = ChangeMonitor()
        self._watch(self._monitor.fileno(), self._on_change)

    @property
    def server_is_up(self) -> bool:
        """Whether the server link can carry packets."""
        return self._server is not None

    def clients_up(self) -> list[str]:
        """The names of the client interfaces that serve, sorted."""
        return sorted(self._clients)

    def adopt_client(self, sockets: ClientSockets) -> None:
        """Serve on an interface whose sockets are open already."""
        self._clients[sockets.interface.name] = sockets
        self._watch(sockets.udp.fileno(), partial(self._on_dhcp, sockets))

    def serve(self, names: Iterable[str], now: float) -> None:
        """Serve on these client interfaces from now on, and on no others."""
        self.client_names = tuple(names)
        for name in [name for name in self._clients if name not in self.client_names]:
            self._close_client(self._clients[name])
            self._states.pop(name, None)
            self.feed(e.ClientLinkDown(name), now)
        self.look(now)

    def announce_adopted(self, now: float) -> None:
        """Tell the node of the client links that were adopted before it started."""
        for sockets in self._clients.values():
            self.feed(e.ClientLinkUp(sockets.link()), now)

    def deadline(self) -> float | None:
        """When :meth:`look` wants to be called next; None if never."""
        return self._relook_at

    def _probe(self, effect: f.ProbeAddress, now: float) -> None:
        """Ask on a client link who uses an address. Raises OSError."""
        sockets = self._clients.get(effect.link)
        if sockets is None:
            return
        prober = self._probers.get(effect.link)
        if prober is None:
            prober = self._probers[effect.link] = Prober(sockets.interface)
            self._watch(prober.fileno(), partial(self._on_arp, effect.link))
        prober.probe(effect, now)

    def _on_arp(self, name: str, now: float) -> None:
        prober = self._probers.get(name)
        if prober is None:
            return
        for _ in range(BATCH):
            try:
                event = prober.receive(now)
            except OSError:
                event = None
                self._counters["daemon.receive_errors"] += 1
            if event is None:
                break
            self.feed(event, now)
        if prober.is_done(now):  # not before an ARP frame comes: it is the frames that would go on waking us
            self._close_prober(name)

    def _close_prober(self, name: str) -> None:
        prober = self._probers.pop(name, None)
        if prober is not None:
            self._unwatch(prober.fileno())
            prober.close()

    def close(self) -> None:
        """Give all sockets back."""
        if self._server is not None:
            self._close_server()
        for sockets in list(self._clients.values()):
            self._close_client(sockets)
        self._unwatch(self._monitor.fileno())
        self._monitor.close()

    def _watch(self, descriptor: int, callback: Callback) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def _unwatch(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    # --- datagrams ------------------------------------------------------------------------------

    def send(self, effect: f.Effect, now: float) -> None:
        """Send what an effect says, if its link is there; a reply to a client waits for :meth:`flush`."""
        try:
            if isinstance(effect, f.SendDhcp):
                sockets = self._clients.get(effect.link)
                if sockets is not None:
                    sockets.send(effect)
            elif isinstance(effect, (f.SendUnicast, f.SendMulticast)):
                if self._server is not None:
                    self._server.send(effect)
                elif isinstance(effect, f.SendMulticast):  # it waited for the disk while the link went away
                    self.feed(e.SendFailed(), now)
            elif isinstance(effect, f.ProbeAddress):
                self._probe(effect, now)
        except OSError as error:
            self._note(error)
            if isinstance(effect, f.SendMulticast):
                self.feed(e.SendFailed(), now)

    def flush(self) -> None:
        """Send the replies to clients, and the datagrams to peers, that wait."""
        if self._server is not None:
            for error in self._server.flush():
                self._note(error)
        for sockets in self._clients.values():
            for error in sockets.flush():
                self._note(error)

    def _note(self, error: OSError) -> None:
        """A datagram could not be sent."""
        self._counters["daemon.send_errors"] += 1
        if error.errno not in _LINK_ERRORS:
            self._log.write(logging.WARNING, "send-failed", {"error": error.strerror})

    def _on_swarm(self, sock: socket.socket, now: float) -> None:
        server = self._server
        if server is None or sock not in (server.multicast, server.unicast):
            return
        try:
            events = server.receive(sock)
        except OSError:
            self._counters["daemon.receive_errors"] += 1
            return
        for event in events:
            if self._server is not server:
                return  # the link was lost or made anew while its datagrams were handled
            if event.source[:2] != _LINK_LOCAL:  # nodes talk by link-local addresses only (PROTOCOL, Transport)
                self._counters["daemon.foreign_sources"] += 1
                continue
            self.feed(event, now)

    def _on_dhcp(self, sockets: ClientSockets, now: float) -> None:
        oversized = sockets.oversized
        try:
            events = sockets.receive()
        except OSError:
            self._counters["daemon.receive_errors"] += 1
            return
        self._counters["daemon.oversized"] += sockets.oversized - oversized
        feed = self.feed
        for event in events:
            feed(event, now)

    # --- interfaces -----------------------------------------------------------------------------

    def _on_change(self, now: float) -> None:
        deleted = self._monitor.drain()
        server = self._server
        if server is not None and (deleted is None or server.interface.index in deleted):
            self._close_server()
            self.feed(e.ServerLinkDown(), now)
        for sockets in list(self._clients.values()):
            if deleted is None or sockets.interface.index in deleted:
                self._close_client(sockets)
                self.feed(e.ClientLinkDown(sockets.interface.name), now)
        self.look(now)

    def look(self, now: float) -> None:
        """Compare the interfaces with what we have open, and make the two agree."""
        self._relook_at = now + RELOOK_S  # stands if looking fails
        are_up = [self._look_at_server(now)]
        are_up += [self._look_at_client(name, now) for name in self.client_names]
        if all(are_up):
            self._relook_at = None

    def _tell_link(self, kind: str, name: str, state: str) -> None:
        """Log what became of a link, once for each change."""
        if self._states.get(name) == state:
            return
        self._states[name] = state
        if state == "up":
            self._log.write(logging.INFO, f"{kind}-link-up", {"interface": name})
        else:
            self._log.write(logging.WARNING, f"{kind}-link-down", {"interface": name, "because": state})

    def _look_at_server(self, now: float) -> bool:
        name = self.server_name
        interface = look(name)
        lack = _lack(interface) or _server_lack(interface)
        if interface is None or interface.link_local is None or lack is not None:
            if self._server is not None:
                self._close_server()
                self.feed(e.ServerLinkDown(), now)
            self._tell_link("server", name, lack or "")
            return False
        if self._server is not None and self._server.interface.index == interface.index:
            before = self._server.interface
            if (before.mac, before.link_local) != (interface.mac, interface.link_local):
                self._server.interface = interface
                self.feed(e.ServerLinkUp(interface.mac, interface.link_local), now)
            return True
        if self._server is not None:
            self._close_server()
            self.feed(e.ServerLinkDown(), now)
        try:
            server = ServerLink(interface)
        except OSError as error:
            self._tell_link("server", name, error.strerror or str(error))
            return False
        self._server = server
        self._watch(server.multicast.fileno(), partial(self._on_swarm, server.multicast))
        self._watch(server.unicast.fileno(), partial(self._on_swarm, server.unicast))
        self._tell_link("server", name, "up")
        self.feed(e.ServerLinkUp(interface.mac, interface.link_local), now)
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
                self.feed(e.ClientLinkDown(name), now)
            self._tell_link("client", name, lack or "")
            return False
        if sockets is not None and sockets.interface == interface:
            return True
        if sockets is not None and sockets.interface.index == interface.index:
            sockets.interface = interface
            self.feed(e.ClientLinkUp(sockets.link()), now)
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
        self.feed(e.ClientLinkUp(sockets.link()), now)
        return True

    def _close_client(self, sockets: ClientSockets) -> None:
        self._close_prober(sockets.interface.name)
        self._unwatch(sockets.udp.fileno())
        sockets.close()
        del self._clients[sockets.interface.name]


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
