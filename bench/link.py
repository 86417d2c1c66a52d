"""A packet socket that sends and receives in batches (sendmmsg and recvmmsg, Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import select
import socket
import struct
from collections.abc import Sequence

from ddhcp.daemon.mmsg import MESSAGE_SIZE, IoVec, Message, receive, send

BATCH = 32
RECEIVE_SLOT = 1536  # a whole Ethernet frame
SOCKET_BUFFER = 16 << 20  # bytes; replies must not get lost on the generator's side
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_ETH_P_IP = 0x0800
_NEVER_MIND = (errno.EAGAIN, errno.EINTR, errno.ENOBUFS)


def _udp_to(port: int) -> bytes:
    """A socket filter that passes IPv4 UDP to ``port`` alone, so that nothing else wakes the reader. Steps of
    code, jump if true, jump if false, constant."""
    steps = (
        (0x28, 0, 0, 12),  # EtherType
        (0x15, 0, 6, _ETH_P_IP),
        (0x30, 0, 0, 23),  # IP protocol
        (0x15, 0, 4, 17),
        (0xB1, 0, 0, 14),  # X = IP header length
        (0x48, 0, 0, 16),  # UDP destination port
        (0x15, 0, 1, port),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )
    return b"".join(struct.pack("HBBI", *step) for step in steps)


class BatchLink:
    """Receives UDP to ``port`` on ``interface`` into ``incoming``, message i at ``starts[i]``, and sends frames out of
    ``outgoing``, where frame n is ``frame_size`` bytes from n × ``slot_size``. Without ``outgoing``, frame n is sent
    from where message n came to.

    ``outgoing`` may change between calls but must keep its size while the link lives. Raises :class:`OSError` without
    CAP_NET_RAW or such an interface.
    """

    def __init__(
        self,
        interface: str,
        port: int,
        frame_size: int,
        outgoing: bytearray | None = None,
        slot_size: int = RECEIVE_SLOT,
    ) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        program = ctypes.create_string_buffer(_udp_to(port))
        head = struct.pack("HP", len(program) // 8, ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        for option, forced in ((socket.SO_RCVBUF, _SO_RCVBUFFORCE), (socket.SO_SNDBUF, _SO_SNDBUFFORCE)):
            self._socket.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            with contextlib.suppress(PermissionError):  # in a user namespace the system's limit stands
                self._socket.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER)
        self._socket.bind((interface, _ETH_P_IP))
        self._descriptor = self._socket.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

        self.incoming = bytearray(BATCH * RECEIVE_SLOT)
        self.starts = range(0, BATCH * RECEIVE_SLOT, RECEIVE_SLOT)
        self._incoming = (ctypes.c_char * len(self.incoming)).from_buffer(self.incoming)
        self._receive_parts = (IoVec * BATCH)()
        self._receive_messages = _messages(self._receive_parts)
        for part, start in zip(self._receive_parts, self.starts, strict=True):
            part.base, part.size = ctypes.addressof(self._incoming) + start, RECEIVE_SLOT

        self._slot_size = slot_size
        outgoing = self.incoming if outgoing is None else outgoing
        self._outgoing = (ctypes.c_char * len(outgoing)).from_buffer(outgoing)
        self._outgoing_base = ctypes.addressof(self._outgoing)
        self._send_parts = (IoVec * BATCH)()
        self._send_messages = _messages(self._send_parts)
        for part in self._send_parts:
            part.size = frame_size
        # The same memory as pairs of words: setting a base through a structure costs twice as much.
        self._send_words = (ctypes.c_size_t * (2 * BATCH)).from_buffer(self._send_parts)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._descriptor

    def send(self, numbers: Sequence[int]) -> None:
        """Send the frames with these numbers, in order. Raises :class:`OSError`."""
        words, base, slot_size = self._send_words, self._outgoing_base, self._slot_size
        for begin in range(0, len(numbers), BATCH):
            some = numbers[begin : begin + BATCH]
            at = 0
            for number in some:
                words[at] = base + number * slot_size
                at += 2
            self._send_batch(len(some))

    def _send_batch(self, count: int) -> None:
        messages = ctypes.addressof(self._send_messages)
        sent = 0
        while sent < count:
            try:
                sent += send(self._descriptor, messages + sent * MESSAGE_SIZE, count - sent)
            except OSError as error:
                if error.errno not in _NEVER_MIND:
                    raise

    def receive(self, wait_s: float) -> int:
        """How many messages came, at most ``BATCH``; waits up to ``wait_s`` for the first. They stand in
        ``incoming`` until the next call. Raises :class:`OSError`."""
        count = self._receive_now()
        if count == 0 and wait_s > 0 and self._poll.poll(wait_s * 1000):
            count = self._receive_now()
        return count

    def length(self, index: int) -> int:
        """The bytes of message ``index``."""
        length: int = self._receive_messages[index].length
        return length

    def _receive_now(self) -> int:
        return receive(self._descriptor, ctypes.addressof(self._receive_messages), BATCH)


def _messages(parts: ctypes.Array[IoVec]) -> ctypes.Array[Message]:
    messages = (Message * BATCH)()
    for index, message in enumerate(messages):
        message.header.parts, message.header.part_count = ctypes.addressof(parts[index]), 1
    return messages
