"""Datagrams in batches: room for many, received or sent with one system call."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any, Final

from . import mmsg

# Of a received message: bytes of control data, flags, bytes of payload.
_RECEIVED: Final = struct.Struct(
    f"@{mmsg.CONTROL_SIZE_AT}xNi{mmsg.LENGTH_AT - mmsg.FLAGS_AT - 4}xI{mmsg.MESSAGE_SIZE - mmsg.LENGTH_AT - 4}x"
)

SO_TIMESTAMPNS: Final = 35  # <asm-generic/socket.h>: the kernel tells when it took a datagram in, by the wall clock
HEADER: Final = struct.Struct("@Nii")  # struct cmsghdr: size, level and type of a piece of control data
STAMP: Final = struct.Struct(f"@{HEADER.size}sll")  # so it tells: the header, then struct timespec
_STAMP_HEADER: Final = HEADER.pack(STAMP.size, int(socket.SOL_SOCKET), SO_TIMESTAMPNS)


def waited_s(header: bytes, seconds: int, nanoseconds: int, wall_now: float) -> float:
    """How long ago the kernel took a datagram in, by the fields of its stamp; 0 if that is none. A step of the wall
    clock meanwhile counts in: what waited just then may be taken for late, and is as good as lost."""
    if header != _STAMP_HEADER:
        return 0.0
    late_s = wall_now - (seconds + nanoseconds / 1e9)
    return late_s if late_s > 0.0 else 0.0


class Slots:
    """Room for ``count`` messages, as recvmmsg fills it and sendmmsg reads it.

    Message i has ``size`` bytes of ``payload`` from i × ``size`` on, ``name_size`` of ``names`` for its address, and
    ``control_size`` of ``control``.
    """

    def __init__(self, count: int, size: int, name_size: int = 0, control_size: int = 0) -> None:
        self.count = count
        self.size = size
        self.payload = bytearray(count * size)
        self.names = bytearray(count * name_size)
        self.control = bytearray(count * control_size)
        self._headers = bytearray(count * mmsg.MESSAGE_SIZE)
        self._parts = bytearray(count * mmsg.IOVEC_SIZE)
        # An area that is exported cannot move.
        payload, names, control, headers, parts = map(
            mmsg.pin, (self.payload, self.names, self.control, self._headers, self._parts)
        )
        self._pins = (payload, names, control, headers, parts)
        self._address = headers[1]
        mmsg.lay_out(
            self._headers, self._parts, count, (payload[1], size), (names[1], name_size), (control[1], control_size)
        )
        self._pristine = bytes(self._headers)
        self._view = memoryview(self.payload)  # a bytearray would copy what is put into it twice
        self._sizes = memoryview(self._parts).cast("P")  # base and size in turn
        self._lengths = [size] * count

    def receive(self, descriptor: int) -> list[tuple[int, int, int]]:
        """Take what is pending, at most ``count`` messages: of each the size of its control data, its flags and its
        length. Raises OSError."""
        self._headers[:] = self._pristine  # the kernel has overwritten the sizes of names and control data
        count = mmsg.receive(descriptor, self._address, self.count)
        return list(_RECEIVED.iter_unpack(memoryview(self._headers)[: count * mmsg.MESSAGE_SIZE])) if count else []

    def names_of(self, count: int, form: struct.Struct) -> list[tuple[Any, ...]]:
        """The socket addresses of the first ``count`` messages; ``form`` is that of one, as long as ``name_size``."""
        return list(form.iter_unpack(memoryview(self.names)[: count * form.size])) if count else []

    def control_of(self, count: int, form: struct.Struct) -> list[tuple[Any, ...]]:
        """The same of their control data, as long as ``control_size``. What the kernel did not write is what it wrote
        earlier."""
        return list(form.iter_unpack(memoryview(self.control)[: count * form.size])) if count else []

    def fill(self, index: int, payload: bytes) -> None:
        """Make ``payload``, at most ``size`` bytes, the one of message ``index``."""
        start, length = index * self.size, len(payload)
        self._view[start : start + length] = payload
        if self._lengths[index] != length:  # most replies are as long as the one before
            self._lengths[index] = length
            self._sizes[2 * index + 1] = length

    def send(self, descriptor: int, first: int, end: int) -> int:
        """Send the messages from ``first`` to before ``end``; returns how many went, at least one. Raises OSError for
        the first one."""
        return mmsg.send(descriptor, self._address + first * mmsg.MESSAGE_SIZE, end - first)


class SendQueue:
    """Datagrams that leave through one socket together. ``control`` data is the same for all of them."""

    def __init__(self, sock: socket.socket, count: int, size: int, name_size: int = 0, control_size: int = 0) -> None:
        self._socket = sock
        self._descriptor = sock.fileno()
        self._slots = Slots(count, size, name_size, control_size)
        self._name_size = name_size
        self._waiting = 0
        self._errors: list[OSError] = []

    def set_control(self, control: bytes) -> None:
        """Send what is added from now on with this control data, at most ``control_size`` bytes of it."""
        self.send_waiting()
        slots = self._slots
        slots.control[:] = control.ljust(len(slots.control) // slots.count, b"\0") * slots.count

    def add(self, payload: bytes, name: bytes = b"") -> None:
        """Have ``payload`` sent to the socket address ``name``. Raises OSError if it is longer than ``size``."""
        slots, index = self._slots, self._waiting
        if len(payload) > slots.size:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        slots.fill(index, payload)
        if name:
            slots.names[index * self._name_size : (index + 1) * self._name_size] = name
        self._waiting += 1
        if self._waiting == slots.count:
            self.send_waiting()

    def flush(self) -> list[OSError]:
        """Send what waits. Returns what went wrong since the last time, one error for each datagram lost."""
        if self._waiting:
            self.send_waiting()
        if not self._errors:
            return []
        errors, self._errors = self._errors, []
        return errors

    def send_waiting(self) -> None:
        """Send what waits. What goes wrong is told by :meth:`flush`."""
        first, end, self._waiting = 0, self._waiting, 0
        while first < end:
            try:
                first += self._slots.send(self._descriptor, first, end)
            except OSError as error:
                self._errors.append(error)
                first += 1  # the datagram that could not be sent is lost; those behind it may fare better
