"""What the swarm key costs for each packet: sealing, opening, and the whole way through a node's trust.

Usage: python -m bench.seal [--json]. Processor time of one core, the best of several runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

from ddhcp.core.trust import Trust
from ddhcp.swarm import LEASEACK, Challenge, Key, KeyRing, Sealer, SwarmCodec

SENDER, RECEIVER = b"\xfe\x80" + bytes(13) + b"\x01", b"\xfe\x80" + bytes(13) + b"\x02"
RUNS = 5
PACKETS = 5000


def packets() -> dict[str, bytes]:
    """Messages by name: the smallest and the largest that are common."""
    codec = SwarmCodec(b"12345678", 0x0A000000, 16, 32)
    return {
        "LEASEACK": codec.lease_message(LEASEACK, bytes(4), 1, 300, bytes(16)),
        "UPDATECLAIM, 1 block": codec.update_claim([(1, 700)]),
        "UPDATECLAIM, 32 blocks": codec.update_claim([(index, 700) for index in range(32)]),
        "UPDATECLAIM, 199 blocks": codec.update_claim([(index, 700) for index in range(199)]),
    }


def microseconds(run: Callable[[], None], packet_count: int) -> float:
    """Processor time for each packet."""
    best = float("inf")
    for _ in range(RUNS):
        started = time.process_time_ns()
        run()
        best = min(best, time.process_time_ns() - started)
    return best / packet_count / 1000


def trust_between(ring: KeyRing) -> tuple[Trust, Trust]:
    """Two nodes' trust that have proved themselves to each other."""
    ends: dict[bytes, Trust] = {}
    on_the_way: list[tuple[bytes, bytes, bytes]] = []
    codec = SwarmCodec(b"12345678", 0x0A000000, 16, 32)

    def make(own: bytes, epoch: bytes) -> Trust:
        def write(challenge: Challenge) -> bytes:
            return codec.write(challenge)

        return Trust(
            ring, epoch, own_address=lambda: own, write=write,
            send=lambda data, destination: on_the_way.append((data, own, destination)), count=lambda name: None,
        )  # fmt: skip

    ends[SENDER], ends[RECEIVER] = make(SENDER, b"epoch001"), make(RECEIVER, b"epoch002")
    first = ends[SENDER].for_all(codec.inquire([]))[0]
    ends[RECEIVER].incoming(first, SENDER, True, 10.0)
    while on_the_way:
        data, source, destination = on_the_way.pop(0)
        ends[destination].incoming(data, source, False, 10.0)
    return ends[SENDER], ends[RECEIVER]


def measure() -> list[dict[str, float | int | str]]:
    """One row for each message."""
    key = Key.derive(b"a key for the benchmark")
    ring = KeyRing(key, (key,))
    rows: list[dict[str, float | int | str]] = []
    for name, packet in packets().items():
        sealer = Sealer(ring, b"epoch001")
        opener = Sealer(ring, b"epoch002")
        sealed = sealer.seal(packet, SENDER, RECEIVER)
        sender, receiver = trust_between(ring)

        def through(sender: Trust = sender, receiver: Trust = receiver, packet: bytes = packet) -> None:
            for _ in range(PACKETS):
                assert receiver.incoming(sender.for_one(packet, RECEIVER), SENDER, False, 11.0)

        def seal(sealer: Sealer = sealer, packet: bytes = packet) -> None:
            for _ in range(PACKETS):
                sealer.seal(packet, SENDER, RECEIVER)

        def open_it(opener: Sealer = opener, sealed: bytes = sealed) -> None:
            for _ in range(PACKETS):
                opener.open(sealed, SENDER, RECEIVER)

        rows.append(
            {
                "message": name,
                "bytes": len(packet),
                "seal_us": round(microseconds(seal, PACKETS), 2),
                "open_us": round(microseconds(open_it, PACKETS), 2),
                "both_with_replay_check_us": round(microseconds(through, PACKETS), 2),
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.seal", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    rows = measure()
    if parser.parse_args().json:
        print(json.dumps(rows))
        return
    print(f"{'message':<26}{'bytes':>6}{'seal':>10}{'open':>10}{'both ends':>12}   (microseconds of processor time)")
    for row in rows:
        print(
            f"{row['message']:<26}{row['bytes']:>6}{row['seal_us']:>10}{row['open_us']:>10}"
            f"{row['both_with_replay_check_us']:>12}"
        )


if __name__ == "__main__":
    main()
