"""Datagrams in batches: recvmmsg(2) and sendmmsg(2), which Python's socket module does not have."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

_TRY_LATER = (errno.EAGAIN, errno.EINTR)


class IoVec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_size_t), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_size_t),
        ("name_size", ctypes.c_uint),
        ("parts", ctypes.c_size_t),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_size_t),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


MESSAGE_SIZE = ctypes.sizeof(Message)
_IOVEC_SIZE = ctypes.sizeof(IoVec)
_CONTROL_SIZE_AT, _FLAGS_AT, _LENGTH_AT = _Header.control_size.offset, _Header.flags.offset, Message.length.offset
# Of a received message: bytes of control data, flags, bytes of payload.
_RECEIVED = struct.Struct(f"@{_CONTROL_SIZE_AT}xNi{_LENGTH_AT - _FLAGS_AT - 4}xI{MESSAGE_SIZE - _LENGTH_AT - 4}x")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)


def send(descriptor: int, messages: int, count: int) -> int:
    """Send ``count`` messages that stand at address ``messages``; returns how many went, at least one.

    Raises OSError when the first one cannot be sent.
    """
    done: int = _libc.sendmmsg(descriptor, messages, count, socket.MSG_DONTWAIT)
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return done


def receive(descriptor: int, messages: int, count: int) -> int:
    """Receive up to ``count`` pending messages to address ``messages``; 0 if none is pending. Raises OSError."""
    done: int = _libc.recvmmsg(descriptor, messages, count, socket.MSG_DONTWAIT, None)
    if done >= 0:
        return done
    number = ctypes.get_errno()
    if number in _TRY_LATER:
        return 0
    raise OSError(number, os.strerror(number))


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
        self._headers = bytearray(count * MESSAGE_SIZE)
        self._parts = bytearray(count * _IOVEC_SIZE)
        # Views pin the memory: a bytearray that is exported cannot move.
        self._views = [
            (ctypes.c_char * len(area)).from_buffer(area) if area else None
            for area in (self.payload, self.names, self.control, self._headers, self._parts)
        ]
        payload, names, control, headers, parts = (ctypes.addressof(v) if v is not None else 0 for v in self._views)
        self._address = headers
        for index in range(count):
            part = IoVec.from_buffer(self._parts, index * _IOVEC_SIZE)
            part.base, part.size = payload + index * size, size
            header = Message.from_buffer(self._headers, index * MESSAGE_SIZE).header
            header.parts, header.part_count = parts + index * _IOVEC_SIZE, 1
            if names:
                header.name, header.name_size = names + index * name_size, name_size
            if control:
                header.control, header.control_size = control + index * control_size, control_size
        self._pristine = bytes(self._headers)
        self._sizes = memoryview(self._parts).cast("P")  # base and size in turn

    def receive(self, descriptor: int) -> list[tuple[int, int, int]]:
        """Take what is pending, at most ``count`` messages: of each the size of its control data, its flags and its
        length. Raises OSError."""
        self._headers[:] = self._pristine  # the kernel has overwritten the sizes of names and control data
        count = receive(descriptor, self._address, self.count)
        return list(_RECEIVED.iter_unpack(memoryview(self._headers)[: count * MESSAGE_SIZE])) if count else []

    def fill(self, index: int, payload: bytes) -> None:
        """Make ``payload``, at most ``size`` bytes, the one of message ``index``."""
        start, length = index * self.size, len(payload)
        self.payload[start : start + length] = payload
        self._sizes[2 * index + 1] = length

    def send(self, descriptor: int, first: int, end: int) -> int:
        """Send the messages from ``first`` to before ``end``; returns how many went, at least one. Raises OSError for
        the first one."""
        return send(descriptor, self._address + first * MESSAGE_SIZE, end - first)


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
        self._send()
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
            self._send()

    def flush(self) -> list[OSError]:
        """Send what waits. Returns what went wrong since the last time, one error for each datagram lost."""
        if self._waiting:
            self._send()
        if not self._errors:
            return []
        errors, self._errors = self._errors, []
        return errors

    def _send(self) -> None:
        first, end, self._waiting = 0, self._waiting, 0
        while first < end:
            try:
                first += self._slots.send(self._descriptor, first, end)
            except OSError as error:
                self._errors.append(error)
                first += 1  # the datagram that could not be sent is lost; those behind it may fare better
