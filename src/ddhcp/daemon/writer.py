"""The process that writes the store beside the daemon: the daemon's interpreter goes on serving meanwhile, and a disk
that hangs holds up nobody but those who wait for it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import marshal
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, Protocol

from ..core.effects import Key, StoreEffect, key_of
from ..values import dataclass
from .changes import pack, unpack
from .store import Handover, SqliteStore

FIRST_RETRY_S = 0.5  # after a commit that failed; doubled each time up to MAX_RETRY_S
MAX_RETRY_S = 30.0
_NAME = b"ddhcp-store"  # as the kernel shows it
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_SIZE = struct.Struct("@Q")
_MAX_MESSAGE_BYTES = 1 << 16
_LARGE_BATCH_BYTES = 1 << 20  # the shared memory of one so large is given back: only a store begun anew gets it
_MAX_ERROR_CHARACTERS = 4096


@dataclass(slots=True, frozen=True)
class Result:
    """What became of a commit. ``is_retry``: it was of rows that had failed before, and of nothing else. ``error``: why
    nothing is on disk, None if it is. ``is_first``: the store was begun anew. ``seconds``: how long it took."""

    is_retry: bool
    error: str | None
    is_first: bool
    seconds: float


class WriterEnded(OSError):
    """The writing process is gone: nothing can be made durable any more."""


class Writer:
    """The daemon's end of the writing process, which is forked here and waits until it is given a store.

    It gets one batch at a time, through memory that both share, so that giving it one never blocks. ``fileno()``
    becomes readable when :meth:`results` has something; ``pid`` is the number of the process. It ends with the daemon,
    however that ends. Make it before there are threads and before anything large is in memory.
    """

    def __init__(self) -> None:
        self._memory = os.memfd_create("ddhcp-batch", os.MFD_CLOEXEC)
        self._size = 0
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._start(theirs, self._memory)
        self._socket.setblocking(False)

    def _start(self, theirs: socket.socket, memory: int) -> None:
        daemon = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _be_writer(daemon, theirs, memory)
        theirs.close()
        self._ended = os.pidfd_open(self.pid)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def begin(self, handover: Handover) -> None:
        """Have it write this store from now on, which no process has open. Raises :class:`WriterEnded`."""
        self._tell(marshal.dumps(handover))

    def write(self, rows: Iterable[StoreEffect]) -> None:
        """Have a batch written; the former one must have come back. Raises :class:`WriterEnded`."""
        data = pack(rows)
        if self._size > _LARGE_BATCH_BYTES:
            os.ftruncate(self._memory, 0)
        self._size = len(data)
        os.pwrite(self._memory, data, 0)
        self._tell(_SIZE.pack(len(data)))

    def _tell(self, message: bytes) -> None:
        try:
            self._socket.send(message)
        except OSError as error:
            raise WriterEnded(str(error)) from None

    def results(self, wait_s: float = 0.0) -> Iterator[Result]:
        """What is known by now, in order, or within ``wait_s`` if nothing is. Raises :class:`WriterEnded`."""
        if wait_s > 0:
            select.select([self._socket], [], [], wait_s)
        while True:
            try:
                data = self._socket.recv(_MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                raise WriterEnded(str(error)) from None
            if not data:
                raise WriterEnded("it ended by itself")
            yield Result(*marshal.loads(data))

    def end(self, within_s: float) -> bool:
        """Let it end, once what failed before has been tried a last time. One that takes longer is killed, and then
        False is returned: it may still be at the file, if the disk hangs."""
        self._socket.close()
        os.close(self._memory)
        ended, _, _ = select.select([self._ended], [], [], within_s)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        else:
            os.waitpid(self.pid, 0)
        os.close(self._ended)
        return bool(ended)


def _be_writer(daemon: int, sock: socket.socket, memory: int) -> NoReturn:
    """What the forked process does. It must not return: the stack below it is the daemon's."""
    status = 1
    try:
        _let_go(daemon, sock.fileno(), memory)
        serve(sock, memory, SqliteStore.taken_over)
        status = 0
    finally:
        os._exit(status)


def _let_go(daemon: int, *kept: int) -> None:
    """End when the daemon does, however it does, and keep nothing of it: not its locks, sockets or terminal, none of
    its signals, and no copies of its memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    libc.prctl(_PR_SET_NAME, _NAME, 0, 0, 0)
    if os.getppid() != daemon:  # it has ended meanwhile
        os._exit(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the daemon, which tells us when to end
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    gc.freeze()
    gc.enable()


class Writable(Protocol):
    """What of a store the writing process needs."""

    def commit(self, effects: Iterable[StoreEffect]) -> bool:
        """As that of :class:`~ddhcp.daemon.store.Store`."""

    def disconnect(self) -> None:
        """Close the file."""


def serve(sock: socket.socket, memory: int, take_over: Callable[[Handover], Writable]) -> None:
    """Commit what comes until the daemon hangs up. Rows of a failed commit are kept, the latest of each key, and
    written with the next batch or when the disk is tried again."""
    if not (handover := _heard(sock)):
        return
    store = take_over(marshal.loads(handover))
    unwritten: dict[Key, StoreEffect] = {}
    retry_s = FIRST_RETRY_S
    while True:
        is_retry = bool(unwritten) and not select.select([sock], [], [], retry_s)[0]
        if not is_retry:
            if not (size := _heard(sock)):
                break
            unwritten |= {key_of(row): row for row in unpack(os.pread(memory, _SIZE.unpack(size)[0], 0))}
        error, is_first, seconds = _commit(store, unwritten)
        if error is None:
            unwritten, retry_s = {}, FIRST_RETRY_S
        else:
            retry_s = min(retry_s * 2, MAX_RETRY_S)
        with contextlib.suppress(BrokenPipeError):  # then the next thing heard is that it hung up
            sock.send(marshal.dumps((is_retry, error, is_first, seconds)))
    _commit(store, unwritten)
    store.disconnect()


def _heard(sock: socket.socket) -> bytes:
    """The daemon's next message; b"" if it hung up, whether or not it had read all of ours."""
    try:
        return sock.recv(_MAX_MESSAGE_BYTES)
    except ConnectionResetError:
        return b""


def _commit(store: Writable, rows: dict[Key, StoreEffect]) -> tuple[str | None, bool, float]:
    """Why it failed, whether the store was begun anew, and how many seconds it took."""
    if not rows:
        return None, False, 0.0
    began = time.perf_counter()
    try:
        is_first = store.commit(rows.values())
    except Exception as error:  # whatever it is, nothing of this batch may leave, and the process must go on
        return (str(error) or type(error).__name__)[:_MAX_ERROR_CHARACTERS], False, 0.0
    return None, is_first, time.perf_counter() - began
