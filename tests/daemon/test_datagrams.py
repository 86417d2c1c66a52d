"""Batches of datagrams over real sockets."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from ddhcp.daemon.datagrams import SendQueue, Slots

NAME = struct.Struct("!HHI8x")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A sender and a receiver on the loopback."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", 0))
        yield sender, receiver


def name_of(sock: socket.socket) -> bytes:
    address, port = sock.getsockname()
    return NAME.pack(socket.htons(socket.AF_INET), port, int.from_bytes(socket.inet_aton(address), "big"))


def payloads(slots: Slots, sock: socket.socket) -> list[bytes]:
    received = slots.receive(sock.fileno())
    return [bytes(slots.payload[i * slots.size :][:length]) for i, (_, _, length) in enumerate(received)]


def test_everything_arrives_in_order_and_in_several_batches(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    queue, slots = SendQueue(sender, 4, 100, NAME.size), Slots(3, 100)
    sent = [bytes([number]) * number for number in range(10)]
    for payload in sent:
        queue.add(payload, name_of(receiver))
    assert queue.flush() == []
    received: list[bytes] = []
    while batch := payloads(slots, receiver):
        assert len(batch) <= 3
        received += batch
    assert received == sent


def test_nothing_waits_after_a_flush(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    queue, slots = SendQueue(sender, 4, 100, NAME.size), Slots(4, 100)
    queue.add(b"once", name_of(receiver))
    queue.flush()
    queue.flush()
    assert payloads(slots, receiver) == [b"once"]
    assert payloads(slots, receiver) == []


def test_one_that_cannot_be_sent_costs_no_other(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    queue, slots = SendQueue(sender, 8, 100, NAME.size), Slots(8, 100)
    nowhere = NAME.pack(socket.htons(socket.AF_INET), 0, 0x7F000001)  # no port
    for payload, name in ((b"a", name_of(receiver)), (b"b", nowhere), (b"c", nowhere), (b"d", name_of(receiver))):
        queue.add(payload, name)
    assert [error.errno for error in queue.flush()] == [errno.EINVAL, errno.EINVAL]
    assert queue.flush() == []
    assert payloads(slots, receiver) == [b"a", b"d"]


def test_a_payload_that_fits_no_slot_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    queue = SendQueue(pair[0], 2, 10, NAME.size)
    with pytest.raises(OSError, match="too long"):
        queue.add(bytes(11), name_of(pair[1]))
    assert queue.flush() == []


def test_a_datagram_longer_than_its_slot_is_marked(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    slots = Slots(2, 10, NAME.size)
    sender.sendto(bytes(11), receiver.getsockname())
    sender.sendto(bytes(10), receiver.getsockname())
    assert [bool(flags & socket.MSG_TRUNC) for _, flags, _ in slots.receive(receiver.fileno())] == [True, False]


def test_control_data_comes_along_each_time(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    receiver.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    slots = Slots(2, 10, NAME.size, socket.CMSG_SPACE(12))
    for _ in range(3):
        sender.sendto(b"x", receiver.getsockname())
        ((size, _, length),) = slots.receive(receiver.fileno())
        assert (size, length) == (socket.CMSG_SPACE(12), 1)
        assert slots.control[24:28] == socket.inet_aton("127.0.0.1")
        assert slots.names[4:8] == socket.inet_aton("127.0.0.1")


def test_a_broken_descriptor_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        Slots(1, 10).receive(-1)
