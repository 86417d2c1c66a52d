"""The swarm's keys: a file, or a directory of files while keys are changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ..swarm import MIN_KEY_BYTES, Key, KeyRing
from .errors import StartError

MAX_KEYS = 16  # a rotation needs two; each message is tried with one only, whatever their number
MAX_KEY_FILE_BYTES = 4096  # far more than a key; a larger file is something else
_HOW = "make one with: (umask 077; head -c 32 /dev/urandom | base64 > FILE)"

KeySource = Callable[[], KeyRing]


def load_keys(path: Path, *, is_mixed: bool) -> KeyRing:
    """The keys in a file, or in a directory: there the file whose name sorts last signs, and all are accepted. Names
    that begin with a dot or end with a tilde are left alone. Raises :class:`StartError`."""
    names = _names(path)
    keys = {name: _read(name) for name in names}
    try:
        return KeyRing(keys[names[-1]], tuple(keys.values()), is_mixed)
    except ValueError as error:
        raise StartError(f"keys in {path}: {error}; remove one of them") from None


def _names(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        names = sorted(entry for entry in path.iterdir() if not (entry.name[0] == "." or entry.name[-1] == "~"))
    except OSError as error:
        raise StartError(f"key directory {path}: {error.strerror}; check its owner and permissions") from None
    if not names:
        raise StartError(f"key directory {path} holds no key; {_HOW}")
    if len(names) > MAX_KEYS:
        raise StartError(f"key directory {path} holds {len(names)} files, more than {MAX_KEYS}; remove old keys")
    return names


def _read(path: Path) -> Key:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise StartError(f"key file {path} does not exist; {_HOW}") from None
    except OSError as error:
        raise StartError(f"key file {path}: {error.strerror}; check its owner and permissions") from None
    with os.fdopen(descriptor, "rb") as file:
        _check(path, os.fstat(descriptor))
        material = file.read(MAX_KEY_FILE_BYTES + 1).strip()
    if len(material) > MAX_KEY_FILE_BYTES:
        raise StartError(f"key file {path} has more than {MAX_KEY_FILE_BYTES} bytes; is it a key? {_HOW}")
    if len(material) < MIN_KEY_BYTES:
        raise StartError(f"key file {path} holds {len(material)} bytes, a key has {MIN_KEY_BYTES} or more; {_HOW}")
    return Key.derive(material)


def _check(path: Path, status: os.stat_result) -> None:
    """A key that others can read is none, and one that others can write is theirs."""
    if not stat.S_ISREG(status.st_mode):
        raise StartError(f"key file {path} is not a regular file")
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise StartError(f"key file {path} is open to others (mode {stat.filemode(status.st_mode)}); chmod 600 {path}")
    if status.st_uid not in (0, os.geteuid()):
        raise StartError(f"key file {path} belongs to another user (id {status.st_uid}); chown it to root")
