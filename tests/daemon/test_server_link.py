"""What the server link's sockets tell about a datagram."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from ddhcp.daemon import server_link
from ddhcp.daemon.server_link import Incoming, open_socket


def test_it_is_told_how_long_a_datagram_lay_in_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    incoming = Incoming()
    with (
        contextlib.closing(open_socket("lo")) as receiver,
        contextlib.closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sender,
    ):
        receiver.bind(("::1", 0))
        for ahead_s, waited_s in ((0.0, 0.0), (60.0, 60.0), (-60.0, 0.0)):
            sender.sendto(b"x", receiver.getsockname())
            now = time.time()
            monkeypatch.setattr(server_link.time, "time", lambda now=now, ahead_s=ahead_s: now + ahead_s)
            (event,) = incoming.take_from(receiver, is_multicast=True)
            monkeypatch.undo()
            assert (event.data, event.multicast) == (b"x", True)
            assert event.waited_s == pytest.approx(waited_s, abs=5.0)
        assert incoming.take_from(receiver, is_multicast=True) == []
