"""What goes wrong between nodes and with them, made from outside: at the bridge, to processes, to their clocks.

Each fault is a context manager and is over at the end of its block, or is told to end. The daemons are not changed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import layout
from .links import Netlink
from .network import Network, TestbedError
from .nodes import Node

_TABLES = itertools.count()
_ANY_PORT = f"{layout.server_port(0)[:-1]}*"
_MULTICAST = "ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00"


@contextlib.contextmanager
def _at_the_bridge(rules: Iterable[str]) -> Iterator[None]:
    """Have the kernel judge each copy of a frame by these rules before it leaves a bridge in the calling process's
    network namespace: a flooded frame is judged for every port anew."""
    table = f"bridge ddhcp_fault{next(_TABLES)}"
    chain = "{ type filter hook forward priority 0; }"
    script = [f"add table {table}", f"add chain {table} forward {chain}"]
    script += [f"add rule {table} forward {rule}" for rule in rules]
    _nft("\n".join(script))
    try:
        yield
    finally:
        _nft(f"delete table {table}")


def _nft(script: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=script, text=True, capture_output=True, check=False)
    if done.returncode:
        raise TestbedError(f"nft: {done.stderr.strip()}")


def one_way(senders: Iterable[int], receivers: Iterable[int]) -> contextlib.AbstractContextManager[None]:
    """The nodes of the realms ``receivers`` do not hear those of ``senders``, who hear them."""
    return _at_the_bridge(_deaf(senders, tuple(receivers)))


def partition(side: Iterable[int], other: Iterable[int]) -> contextlib.AbstractContextManager[None]:
    """The nodes of the two lists of realms do not hear each other."""
    one, two = tuple(side), tuple(other)
    return _at_the_bridge([*_deaf(one, two), *_deaf(two, one)])


def _deaf(senders: Iterable[int], receivers: tuple[int, ...]) -> list[str]:
    return [
        f'iifname "{layout.server_port(sender)}" oifname "{layout.server_port(receiver)}" drop'
        for sender in senders
        for receiver in receivers
    ]


def multicast_loss(percent: int) -> contextlib.AbstractContextManager[None]:
    """Each node misses so many per cent of the others' multicasts, each node on its own."""
    return _at_the_bridge([f'oifname "{_ANY_PORT}" {_MULTICAST} numgen random mod 100 < {percent} drop'])


@contextlib.contextmanager
def frozen(node: Node) -> Iterator[None]:
    """The node's process stands still (SIGSTOP); what arrives meanwhile waits in its sockets."""
    node.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        node.process.send_signal(signal.SIGCONT)


def share_node_id(network: Network, realms: Iterable[int]) -> None:
    """Give the nodes of these realms, which are still to be started, one and the same node id: the hardware address of
    their interface, as with a copied disk image. The IPv6 address of each remains its own.

    The bridge stops to learn, and floods: so each gets what is sent to the common hardware address.
    """
    with Netlink() as main:
        links = main.links()
        for realm in network.realm_numbers():
            main.stop_learning(links[layout.server_port(realm)].index)
    for realm in realms:
        with Netlink(network.require_realm(realm)) as inside:
            inside.set_mac(inside.links()[layout.SERVER_INTERFACE].index, layout.SHARED_SERVER_MAC)


class WallClock:
    """A wall clock for one node that can be set while it runs, without that of the machine. Its monotonic clocks stay
    the kernel's.

    ``setup``: Python to start the node with (see :class:`~ddhcp.testbed.nodes.Node`). ``file``: where the clock's error
    is kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step_to(0)
        self.setup = f"""
import time
def _stepped(_kernels=time.time):
    with open({str(file)!r}) as file:
        return _kernels() + int(file.read())
time.time = _stepped
"""

    def step_to(self, error_s: int) -> None:
        """Set the clock so that it is ``error_s`` seconds fast (negative: slow)."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{error_s:+d}\n")
        os.replace(fresh, self._file)  # the node never reads half of it
