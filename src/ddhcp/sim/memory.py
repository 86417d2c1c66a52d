"""What large simulations want of the machine's memory.

A thousand nodes take gigabytes, and each multicast touches a little of each: most of the time is waiting for memory,
and much of that is finding out where a page is.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

LARGE_NODES = 300  # from so many on it is worth a start
_ALLOCATOR = "PYTHONMALLOC"
_TUNABLES = "GLIBC_TUNABLES"


def use_large_pages() -> None:
    """Have this process's memory in large pages: it is started anew with Python's objects left to the C library's
    allocator, told to ask for them. Nothing happens where that has been done, or another allocator was asked for, or
    the C library is not glibc."""
    if not sys.platform.startswith("linux") or _ALLOCATOR in os.environ or _TUNABLES in os.environ:
        return
    environment = {**os.environ, _ALLOCATOR: "malloc", _TUNABLES: "glibc.malloc.hugetlb=1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look through millions of objects and find nothing: a running swarm
    makes no cycles (after 40 minutes of 60 nodes none were found). What is left of an earlier one is a large cycle."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
