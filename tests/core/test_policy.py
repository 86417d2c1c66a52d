"""What a policy refuses, and in which words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ddhcp.core import ConfigError, NodeConfig, Pool
from ddhcp.core import policy as p

POOL = Pool(0x0A000000, 24, 32)
MAC = b"\x02\0\0\0\0\1"
HOST = p.Reservation((MAC,), address=0x0A000005)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: p.Network(0x0A000001, 24), "10.0.0.1/24 has bits set beyond its length"),
        (lambda: p.Network(0, 33), "/33"),
        (lambda: p.AddressRange(0x0A000009, 0x0A000001), "10.0.0.9-10.0.0.1 ends before it begins"),
        (lambda: p.Profile({54: b"1234"}), "option 54 is set by the server"),
        (lambda: p.Profile(forced=frozenset((51,))), "option 51"),
        (lambda: p.Profile(lease_time_s=0), "lease time 0 s"),
        (lambda: p.Profile(max_lease_s=0xFFFFFFFF), "max lease 4294967295 s"),
        (lambda: p.Profile(min_lease_s=100, max_lease_s=60), "min lease 100 s is longer"),
        (lambda: p.Profile(lease_time_s=30, min_lease_s=60), "lease time 30 s is not between"),
        (lambda: p.Profile(boot_file=b"x" * 255), "boot file"),
        (lambda: p.Profile(v6only_wait_s=-1), "IPv6-only"),
        (lambda: p.Reservation(address=1), "host 0.0.0.1: give a hardware address"),
        (lambda: p.Reservation((b"\1" * 6,)), "is no device's hardware address"),
        (lambda: p.Reservation((MAC,), hostname=b"a b"), "has spaces"),
        (lambda: p.Reservation((MAC,), client_ids=(b"",)), "client identifier"),
        (lambda: p.ClientClass("all"), "class all: give a criterion"),
        (lambda: p.ClientClass("all", vendor_prefixes=(b"",)), "empty value"),
        (lambda: p.ClientClass("all", mac_prefixes=(bytes(7),)), "at most 6"),
        (lambda: p.Subnet(p.Network(0x0A000000, 25), routers=(0x0A0000FE,)), "router 10.0.0.254 is not inside"),
        (lambda: p.Subnet(p.Network(0x0A000000, 25), ranges=(p.AddressRange(1, 2),)), "range 0.0.0.1-0.0.0.2"),
        (lambda: p.Conflicts(probe_timeout_s=5), "probe timeout 5 s"),
        (lambda: p.Conflicts(probation_s=0), "probation 0 s"),
        (lambda: p.Conflicts(max_declined_share=0), "share"),
        (lambda: p.Limits(discover_burst=-1), "discover-burst"),
        (lambda: p.Policy(denied=frozenset((b"\2",))), "denied hardware address 02"),
        (lambda: p.Policy(reservations=(HOST, p.Reservation((MAC,)))), "hardware address of two hosts, 02:00"),
        (lambda: p.Policy(reservations=(HOST, p.Reservation(hostnames=(b"x",), address=HOST.address))), "10.0.0.5"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_one_line(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (p.Policy(reservations=(p.Reservation((MAC,), address=0x0B000001),)), "11.0.0.1 is not an address of the pool"),
        (p.Policy(reservations=(p.Reservation((MAC,), address=0x0A0000FF),)), "10.0.0.255"),
        (p.Policy(subnets=(p.Subnet(p.Network(0x0A000100, 25)),)), "10.0.1.0/25 is not inside the pool"),
        (p.Policy(subnets=(p.Subnet(p.Network(0x0A000000, 28)),)), "smaller than a block"),
        (
            p.Policy(subnets=(p.Subnet(p.Network(0x0A000000, 25)), p.Subnet(p.Network(0x0A000040, 26)))),
            "subnet 10.0.0.64/26 overlaps subnet 10.0.0.0/25",
        ),
    ],
)
def test_a_policy_must_fit_the_pool(policy: p.Policy, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        NodeConfig(POOL, policy=policy)
    assert words in str(error.value)


def test_networks_and_ranges_know_what_they_hold() -> None:
    network = p.Network(0x0A000000, 25)
    assert network.last == 0x0A00007F
    assert 0x0A00007F in network
    assert 0x0A000080 not in network
    assert 0xC0000201 in p.Network(0, 0)
    assert 5 in p.AddressRange(5, 5)
