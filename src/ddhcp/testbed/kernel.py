"""Linux namespaces and mounts: the few system calls that Python 3.11 does not offer."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SHARED = 0x100000
MNT_DETACH = 2
CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21

_PR_SET_PDEATHSIG = 1
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (unshare(2)). Raises :class:`OSError`."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that ``fd`` refers to (setns(2)). Raises :class:`OSError`."""
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises :class:`OSError`."""
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode() or None
    )
    _check(result, f"mount {target}")


def unmount(target: str) -> None:
    """Detach a mount (umount2(2), lazily). Raises :class:`OSError`."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def die_with_parent() -> None:
    """Have the kernel kill this process as soon as its parent ends; to be called between fork and exec."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def has_capabilities() -> bool:
    """Whether this process may make namespaces and interfaces (CAP_SYS_ADMIN and CAP_NET_ADMIN)."""
    wanted = 1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & wanted == wanted
    return False


@contextlib.contextmanager
def entered(namespace: Path) -> Iterator[None]:
    """Run the block with the calling thread in the network namespace bound to the file ``namespace``."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        join(namespace)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def join(namespace: Path) -> None:
    """Move the calling thread for good into the network namespace bound to the file ``namespace``."""
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd, CLONE_NEWNET)
    finally:
        os.close(fd)


def bind_new_network_namespace(target: Path) -> None:
    """Make a network namespace and keep it alive by a mount on the (existing, empty) file ``target``."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET)
        try:
            mount("/proc/thread-self/ns/net", str(target), "none", MS_BIND)
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def namespace_inode(path: Path) -> int | None:
    """The inode that identifies the namespace which ``path`` refers to; ``None`` if it refers to none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino if found.st_dev == Path("/proc/self/ns/net").stat().st_dev else None


def share_mounts_below(directory: Path) -> None:
    """Make ``directory`` a shared mount, as iproute2 does with /run/netns.

    Without it the first ``ip netns add`` would bind the directory over itself with all mounts in it, and a
    namespace removed later would live on in the hidden copy.
    """
    try:
        mount("", str(directory), "none", MS_SHARED | MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        mount(str(directory), str(directory), "none", MS_BIND | MS_REC)
        mount("", str(directory), "none", MS_SHARED | MS_REC)


def become_root_in_user_namespace() -> None:
    """Give this (single-threaded) process a user namespace in which it is root. Raises :class:`OSError`."""
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def isolate() -> None:
    """Move this process into its own network and mount namespaces, with an empty /run (and /run/netns).

    Nothing done afterwards to interfaces, named namespaces or /run is seen outside, and all of it ends with the last
    process inside. Without the capabilities it needs it makes a user namespace first. Raises :class:`OSError`.
    """
    if not has_capabilities():
        become_root_in_user_namespace()
    unshare(CLONE_NEWNET | CLONE_NEWNS)
    keep_mounts_private()
    mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
    Path("/run/netns").mkdir()
    for switch in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
        switch.write_text("0")  # the machine's firewall rules are not meant for these bridges


def keep_mounts_private() -> None:
    """Have no other mount namespace see what is mounted from now on."""
    try:
        mount("none", "/", "none", MS_REC | MS_PRIVATE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # "/" is a directory within a mount, as after chroot(8): then each mount point that can be seen.
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            target = re.sub(r"\\([0-7]{3})", lambda escaped: chr(int(escaped[1], 8)), line.split()[4])
            with contextlib.suppress(OSError):  # hidden under a later mount
                mount("none", target, "none", MS_PRIVATE)


def disable_checksum_offload(interface: str) -> None:
    """Have the interface (of the calling thread's network namespace) send finished checksums.

    A veth hands datagrams on with the checksum still open; a real Ethernet never does, and a capture or a
    client that reads raw frames would see wrong ones.
    """
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCETHTOOL, request.ljust(40, b"\0"))
