"""The system calls recvmmsg(2) and sendmmsg(2), which Python's socket module does not have."""

from __future__ import annotations

import ctypes
import errno
import os
import socket

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
IOVEC_SIZE = ctypes.sizeof(IoVec)
# Where in a message its fields lie.
CONTROL_SIZE_AT, FLAGS_AT, LENGTH_AT = _Header.control_size.offset, _Header.flags.offset, Message.length.offset

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


def pin(area: bytearray) -> tuple[object, int]:
    """What keeps the memory of ``area`` in its place for as long as it is kept, and the address of it; 0 for none."""
    if not area:
        return None, 0
    view = (ctypes.c_char * len(area)).from_buffer(area)
    return view, ctypes.addressof(view)


def lay_out(
    headers: bytearray, parts: bytearray, count: int, payload: tuple[int, int], name: tuple[int, int],
    control: tuple[int, int],
) -> None:  # fmt: skip
    """Write ``count`` messages into ``headers``, each with a part of its own in ``parts``. Of payload, socket address
    and control data: where they begin, and how many bytes of it each message has; 0 bytes for none."""
    first_part = ctypes.addressof((ctypes.c_char * len(parts)).from_buffer(parts))
    for index in range(count):
        part = IoVec.from_buffer(parts, index * IOVEC_SIZE)
        part.base, part.size = payload[0] + index * payload[1], payload[1]
        header = Message.from_buffer(headers, index * MESSAGE_SIZE).header
        header.parts, header.part_count = first_part + index * IOVEC_SIZE, 1
        if name[1]:
            header.name, header.name_size = name[0] + index * name[1], name[1]
        if control[1]:
            header.control, header.control_size = control[0] + index * control[1], control[1]
