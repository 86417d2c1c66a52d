"""The audit: that it finds what it is there to find, in every kind of record that clients keep."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.testbed.audit import (
    TOLERANCE_S,
    Holding,
    Noted,
    crowd_records,
    dhclient_file,
    dhcpcd_file,
    held_twice,
    holdings,
)
from ddhcp.testbed.dhcpclient import Change

MINE, YOURS = "10.0.0.8", "10.0.0.9"


def boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def spans(*records: tuple[float, str, str | None, int | None]) -> list[tuple[str, float, float]]:
    return [(held.address, held.since, held.until) for held in holdings("a", [Noted(*record) for record in records])]


def test_a_lease_runs_from_the_acknowledgement_to_its_end_and_is_prolonged_by_renewals() -> None:
    assert spans((100, "BOUND", MINE, 20), (110, "RENEW", MINE, 20), (125, "REBIND", MINE, 20)) == [(MINE, 100, 145)]


def test_after_its_end_it_begins_anew() -> None:
    assert spans((100, "BOUND", MINE, 20), (130, "BOUND", MINE, 20)) == [(MINE, 100, 120), (MINE, 130, 150)]


@pytest.mark.parametrize("reason", ["NAK", "RELEASE", "DECLINE"])
def test_what_is_refused_or_given_back_is_held_no_longer(reason: str) -> None:
    assert spans((100, "BOUND", MINE, 20), (105, reason, None, None)) == [(MINE, 100, 105)]


@pytest.mark.parametrize("reason", ["EXPIRE", "FAIL", "STOP", "DECONFIG"])
def test_a_client_that_loses_its_carrier_or_its_patience_holds_its_lease_still(reason: str) -> None:
    assert spans((100, "BOUND", MINE, 20), (105, reason, None, None)) == [(MINE, 100, 120)]


def test_another_address_ends_the_one_before() -> None:
    assert spans((100, "BOUND", MINE, 20), (110, "BOUND", YOURS, 20)) == [(MINE, 100, 110), (YOURS, 110, 130)]


def test_an_address_with_two_clients_is_found_however_they_overlap() -> None:
    long = Holding("a", MINE, 100, 200)
    for since, until in ((90, 110), (110, 120), (190, 300), (90, 300)):
        (line,) = held_twice([long, Holding("b", MINE, since, until)])
        assert "a held 10.0.0.8" in line
        assert "b held 10.0.0.8" in line
    middle = [long, Holding("b", MINE, 110, 120), Holding("c", MINE, 150, 160)]
    assert len(held_twice(middle)) == 2


def test_one_after_the_other_one_client_twice_and_different_addresses_are_fine() -> None:
    first = Holding("a", MINE, 100, 200)
    assert held_twice([first, Holding("b", MINE, 200, 300), Holding("b", YOURS, 100, 300)]) == []
    assert held_twice([first, Holding("a", MINE, 150, 250)]) == [], "its program and its lease file tell the same"
    assert held_twice([first, Holding("b", MINE, 200 - TOLERANCE_S / 2, 300)]) == []


def test_the_records_of_a_crowd() -> None:
    now = time.monotonic()
    (held,) = holdings("a", crowd_records([Change(now, "BOUND", 0x0A000008, lease_s=20)]))
    assert held.address == MINE
    assert held.since == pytest.approx(boot_time(), abs=5)
    assert held.until - held.since == 20


def test_the_lease_file_of_dhclient(tmp_path: Path) -> None:
    path = tmp_path / "dhclient.leases"
    now = datetime.now(UTC).replace(microsecond=0)
    path.write_text(
        "".join(
            f"""lease {{
  interface "eth0";
  fixed-address {address};
  option subnet-mask 255.255.240.0;
  option dhcp-lease-time {lease_s};
  option dhcp-message-type 5;
  renew 4 {now:%Y/%m/%d %H:%M:%S};
  rebind 4 {now:%Y/%m/%d %H:%M:%S};
  expire 4 {now + timedelta(seconds=lease_s + after_s):%Y/%m/%d %H:%M:%S};
}}
"""
            for address, lease_s, after_s in ((MINE, 60, 0), (MINE, 60, 30), (YOURS, 90, 40))
        )
    )
    mine, yours = dhclient_file("a", path)
    assert (mine.address, yours.address) == (MINE, YOURS)
    assert mine.since == pytest.approx(boot_time(), abs=5)
    assert mine.until == yours.since == pytest.approx(mine.since + 40)
    assert yours.until == pytest.approx(yours.since + 90)


def test_the_lease_file_of_dhcpcd(tmp_path: Path) -> None:
    path = tmp_path / "eth0.lease"
    assert dhcpcd_file("a", path) == []
    options = {c.OPT_MESSAGE_TYPE: bytes((c.ACK,)), c.OPT_LEASE_TIME: (60).to_bytes(4, "big")}
    path.write_bytes(Message(op=c.BOOTREPLY, yiaddr=0x0A000008, options=options).encode())
    (held,) = dhcpcd_file("a", path)
    assert held.address == MINE
    assert held.since == pytest.approx(boot_time(), abs=5)
    assert held.until - held.since == pytest.approx(60)
    path.write_bytes(b"torn")
    assert dhcpcd_file("a", path) == []
