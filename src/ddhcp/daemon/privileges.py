"""Becoming an ordinary user who keeps the two capabilities that sockets need, and nothing else, for good."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import struct
from collections.abc import Iterable
from pathlib import Path

from ..values import dataclass
from .errors import StartError

CAP_NET_BIND_SERVICE, CAP_NET_RAW = 10, 13  # linux/capability.h
# Port 67; frames to clients without an address. Both again whenever an interface comes back.
KEPT = (CAP_NET_BIND_SERVICE, CAP_NET_RAW)
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 8, 23, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITY = 63


@dataclass(frozen=True, slots=True)
class Identity:
    """Who to become."""

    user: str
    uid: int
    gid: int


def find_identity(user: str | None, group: str | None) -> Identity | None:
    """Look up who to become, None if no user is given. Raises :class:`StartError`."""
    if user is None:
        if group is not None:
            raise StartError(f"group {group} without a user does nothing; give --user as well")
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise StartError(f"there is no user {user!r}; make one, for example: useradd --system {user}") from None
    try:
        gid = grp.getgrnam(group).gr_gid if group is not None else entry.pw_gid
    except KeyError:
        raise StartError(f"there is no group {group!r}; make one, or leave --group out") from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise StartError(f"only root can become user {user}; start ddhcp as root, or leave --user out")
    return Identity(user, entry.pw_uid, gid)


def give_directories(paths: Iterable[Path], identity: Identity) -> None:
    """Make directories that do not exist yet and give them to the user to be. Those that exist are as their owner wants
    them. Raises OSError."""
    for path in paths:
        if not path.exists():
            path.mkdir(mode=0o700, parents=True)
            os.chown(path, identity.uid, identity.gid)


def drop(identity: Identity) -> None:
    """Become that user, in the calling thread and those that it starts: call it before there are others. Raises
    :class:`StartError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if os.geteuid() == 0:
            _drop_bounding_set(libc)
            _prctl(libc, _PR_SET_KEEPCAPS, 1)
            os.setgroups([])
            os.setresgid(identity.gid, identity.gid, identity.gid)
            os.setresuid(identity.uid, identity.uid, identity.uid)
        _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)  # hooks get none
        _keep_capabilities(libc)
        _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise StartError(f"cannot become user {identity.user}: {error.strerror}; leave --user out") from None


def _drop_bounding_set(libc: ctypes.CDLL) -> None:
    for capability in range(_MAX_CAPABILITY + 1):
        if capability not in KEPT and libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            _prctl(libc, _PR_CAPBSET_DROP, capability)


def _keep_capabilities(libc: ctypes.CDLL) -> None:
    """Have :data:`KEPT` permitted and effective, nothing inheritable."""
    kept = sum(1 << capability for capability in KEPT)
    head = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("6I", kept & 0xFFFFFFFF, kept & 0xFFFFFFFF, 0, kept >> 32, kept >> 32, 0)
    if libc.capset(head, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
