"""ARP probes as scapy reads them, and answers as scapy writes them."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import ARP, Ether

from ddhcp.daemon.prober import probe_frame, user_of

OURS, THEIRS = bytes.fromhex("02000000aa01"), bytes.fromhex("020000000001")
ADDRESS = 0x0A000005


def test_a_probe_names_no_sender() -> None:
    """RFC 5227 2.1.1."""
    frame = Ether(probe_frame(OURS, ADDRESS))
    assert (frame.dst, frame.src) == ("ff:ff:ff:ff:ff:ff", OURS.hex(":"))
    assert (frame[ARP].op, frame[ARP].psrc, frame[ARP].pdst) == (1, "0.0.0.0", "10.0.0.5")
    assert (frame[ARP].hwsrc, frame[ARP].hwdst) == (OURS.hex(":"), "00:00:00:00:00:00")


def arp(**fields: object) -> bytes:
    return bytes(Ether(src=THEIRS.hex(":"), dst=OURS.hex(":")) / ARP(hwsrc=THEIRS.hex(":"), **fields))


@pytest.mark.parametrize(
    ("frame", "user"),
    [
        (arp(op=2, psrc="10.0.0.5", pdst="0.0.0.0"), (ADDRESS, THEIRS)),
        (arp(op=1, psrc="10.0.0.5", pdst="10.0.0.1"), (ADDRESS, THEIRS)),
        (arp(op=1, psrc="10.0.0.5", pdst="10.0.0.5"), (ADDRESS, THEIRS)),
        (arp(op=1, psrc="0.0.0.0", pdst="10.0.0.5"), (ADDRESS, THEIRS)),
        (arp(op=2, psrc="0.0.0.0", pdst="10.0.0.5"), None),
        (arp(op=3, psrc="10.0.0.5", pdst="10.0.0.5"), None),
        (arp(op=2, psrc="10.0.0.5", pdst="0.0.0.0", hwtype=6), None),
        (arp(op=2, psrc="10.0.0.5")[:41], None),
        (b"", None),
    ],
    ids=["reply", "request", "announcement", "probe of another", "reply from nobody", "RARP", "token ring", "cut", ""],
)
def test_who_uses_an_address(frame: bytes, user: tuple[int, bytes] | None) -> None:
    assert user_of(frame, OURS) == user


def test_our_own_frames_are_no_answer() -> None:
    assert user_of(probe_frame(OURS, ADDRESS), OURS) is None
