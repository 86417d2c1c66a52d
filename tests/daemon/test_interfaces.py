"""Interfaces as the kernel has them, and notice of their changes."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from ddhcp.daemon.interfaces import ChangeMonitor, look
from ddhcp.testbed.waiting import wait_until

PATIENCE_S = 10
MAC = "02:00:00:00:0e:01"


@pytest.fixture
def netlink(isolated: None) -> Iterator[IPRoute]:
    """Netlink in a network of the test's own, in which the interfaces that it makes with ``edge`` names are removed."""
    with IPRoute() as route:
        yield route
        for link in route.get_links():
            if link.get("ifname").startswith("edge") and not link.get("ifname").endswith("b"):
                route.link("del", index=link["index"])


def sysctl(interface: str, name: str, value: int) -> None:
    Path(f"/proc/sys/net/ipv6/conf/{interface}/{name}").write_text(str(value))


def make_pair(netlink: IPRoute, name: str = "edge0") -> int:
    """A cable from ``name`` to ``name`` + b, both ends up; the index of the first."""
    netlink.link("add", kind="veth", ifname=name, address=MAC, mtu=1400, peer={"ifname": f"{name}b"})
    sysctl(name, "accept_dad", 0)
    for end in (name, f"{name}b"):
        netlink.link("set", index=socket.if_nametoindex(end), state="up")
    return socket.if_nametoindex(name)


def number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


def test_what_there_is_to_know(netlink: IPRoute) -> None:
    index = make_pair(netlink)
    for address in ("10.9.0.7", "10.9.0.8", "192.168.3.1"):
        netlink.addr("add", index=index, address=address, prefixlen=20)
    # The kernel makes the link-local address a moment after the carrier is there.
    wait_until(lambda: (interface := look("edge0")) and interface.link_local, 10, "the link-local address")
    found = look("edge0")
    assert found is not None
    assert (found.name, found.index, found.mtu, found.is_up) == ("edge0", index, 1400, True)
    assert found.mac == bytes.fromhex(MAC.replace(":", ""))
    assert found.ipv4 == (number("10.9.0.7"), 20), "the first one"
    assert found.link_local == socket.inet_pton(socket.AF_INET6, "fe80::ff:fe00:e01")


def test_an_interface_without_addresses(netlink: IPRoute) -> None:
    index = make_pair(netlink)
    netlink.flush_addr(index=index)
    found = look("edge0")
    assert found is not None
    assert (found.ipv4, found.link_local) == (None, None)


@pytest.mark.parametrize("name", ["edge1", "", "a name longer than any", "näme", "edge0/", "\udc80"])
def test_what_is_not_there(netlink: IPRoute, name: str) -> None:
    make_pair(netlink)
    assert look(name) is None


@pytest.mark.parametrize("end", ["edge0", "edge0b"])
def test_an_interface_that_is_down_or_without_carrier_is_not_up(netlink: IPRoute, end: str) -> None:
    make_pair(netlink)
    netlink.link("set", index=socket.if_nametoindex(end), state="down")
    found = look("edge0")
    assert found is not None
    assert not found.is_up


def test_a_tentative_link_local_address_is_not_usable(netlink: IPRoute) -> None:
    netlink.link("add", kind="veth", ifname="edge0", peer={"ifname": "edge0b"})
    sysctl("edge0", "accept_dad", 1)
    sysctl("edge0", "dad_transmits", 100)
    for end in ("edge0b", "edge0"):
        netlink.link("set", index=socket.if_nametoindex(end), state="up")
    addresses = netlink.get_addr(family=socket.AF_INET6, index=socket.if_nametoindex("edge0"))
    assert [message.get("address")[:4] for message in addresses] == ["fe80"], "the kernel is still trying it"
    found = look("edge0")
    assert found is not None
    assert found.link_local is None


def test_on_a_point_to_point_link_the_own_address_counts(netlink: IPRoute) -> None:
    index = make_pair(netlink)
    netlink.addr("add", index=index, address="10.9.9.2", local="10.9.9.1", prefixlen=32)
    found = look("edge0")
    assert found is not None
    assert found.ipv4 == (number("10.9.9.1"), 32)


def test_many_addresses_elsewhere_do_not_matter(netlink: IPRoute) -> None:
    crowded, index = make_pair(netlink, "edge1"), make_pair(netlink, "edge0")
    for host in range(1, 1000):
        netlink.addr("add", index=crowded, address=str(ipaddress.IPv4Address(0x0A0A0000 + host)), prefixlen=16)
    netlink.addr("add", index=index, address="10.9.0.1", prefixlen=24)
    mine, other = look("edge0"), look("edge1")
    assert mine is not None
    assert mine.ipv4 == (number("10.9.0.1"), 24)
    assert other is not None
    assert other.ipv4 == (number("10.10.0.1"), 16)


# -- notice -------------------------------------------------------------------------------------------------------


def noticed(monitor: ChangeMonitor) -> set[int] | None:
    ready, _, _ = select.select([monitor.fileno()], [], [], PATIENCE_S)
    assert ready, "no notice"
    return monitor.drain()


def test_every_change_is_noticed(netlink: IPRoute) -> None:
    index = make_pair(netlink)
    with closing(ChangeMonitor()) as monitor:
        monitor.drain()
        netlink.addr("add", index=index, address="10.9.0.1", prefixlen=24)
        assert noticed(monitor) == set()
        netlink.addr("del", index=index, address="10.9.0.1", prefixlen=24)
        assert noticed(monitor) == set()
        netlink.addr("add", index=index, address="fe80::77", prefixlen=64)
        assert noticed(monitor) == set()
        netlink.link("set", index=index, state="down")
        assert noticed(monitor) == set()
        netlink.link("set", index=index, mtu=1300)
        assert noticed(monitor) == set()


def test_a_deleted_link_is_named(netlink: IPRoute) -> None:
    index = make_pair(netlink)
    other = socket.if_nametoindex("edge0b")
    with closing(ChangeMonitor()) as monitor:
        monitor.drain()
        netlink.link("del", index=index)
        assert noticed(monitor) == {index, other}


def test_a_port_that_leaves_its_bridge_is_not_deleted(netlink: IPRoute) -> None:
    index = make_pair(netlink)
    netlink.link("add", kind="bridge", ifname="edgebr")
    netlink.link("set", index=index, master=socket.if_nametoindex("edgebr"))
    with closing(ChangeMonitor()) as monitor:
        monitor.drain()
        netlink.link("set", index=index, master=0)
        assert noticed(monitor) == set()


def test_lost_notices_are_told(netlink: IPRoute) -> None:
    index = make_pair(netlink)
    with closing(ChangeMonitor()) as monitor:
        for host in range(1, 2000):  # more than the socket holds
            netlink.addr("add", index=index, address=str(ipaddress.IPv4Address(0x0A0A0000 + host)), prefixlen=16)
        assert noticed(monitor) is None
        another = make_pair(netlink, "edge1")
        monitor.drain()
        netlink.link("del", index=another)
        assert another in (noticed(monitor) or ()), "it goes on after that"


def test_nothing_stays_open(netlink: IPRoute) -> None:
    make_pair(netlink)
    before = os.listdir("/proc/self/fd")
    for name in ("edge0", "edge1", "lo"):
        look(name)
    ChangeMonitor().close()
    assert os.listdir("/proc/self/fd") == before
