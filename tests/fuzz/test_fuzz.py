"""The fuzz targets with seeds that parse and with mutations of them that are the same in every run."""

from __future__ import annotations

import random

import pytest
from fuzz_targets import targets

from ddhcp import swarm
from ddhcp.ctl import protocol
from ddhcp.ctl.protocol import Command, Request
from ddhcp.daemon.settings import reading
from ddhcp.dhcp import parse_request
from segment import NODE_MAC, POOL, SERVER, discover, request, say

MUTATIONS = 400  # of each seed
POOL_PREFIX = b"\x0a\0\0\0"


def swarm_seeds() -> list[bytes]:
    def message(command: int, count: int, body: bytes) -> bytes:
        return NODE_MAC + b"\0\1" + POOL_PREFIX + bytes((POOL.prefix_len, 32, command, count)) + body

    seeds = [
        message(swarm.UPDATECLAIM, 1, b"\0\0\0\2\0\x3c\0"),
        message(swarm.INQUIRE, 1, b"\0\0\0\3"),
    ]
    nonce = bytes(range(swarm.NONCE_SIZE))
    for value in (swarm.Hello(True, 0, bytes(swarm.INCARNATION_SIZE), "ddhcp 1"), swarm.Challenge(nonce, nonce, 0)):
        command, count, payload = swarm.write_extension(value)
        seeds.append(message(command, count, payload))
    return seeds


DHCP = [
    discover(o61=b"\1abc", o12=b"host", o55=b"\1\3\6", o82=b"\1\2ab").encode(min_size=300),
    request(o50=SERVER + 9, o54=SERVER, o81=b"\4\0\0\4host\0").encode(min_size=300),
    say(7, ciaddr=SERVER + 9, o54=SERVER).encode(min_size=300),
]
SEEDS = {
    "dhcp": DHCP,
    "control": [
        Request(Command.SET_OPTION, code=6, payload=bytes(4)).encode(),
        Request(Command.JSON, arguments={"command": "leases"}).encode(),
        Request(Command.SET_LOG_LEVEL, level=3).encode(),
    ],
    "settings": [b'[dhcp]\nlease-time = 300\nrelays = ["10.9.0.1"]\n\n[claiming]\nspare-leases = 7\n'],
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: a byte, a cut, an insertion, a repetition."""
    value = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(value) + 1)
        match rng.randrange(4):
            case 0 if at < len(value):
                value[at] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
            case 1:
                del value[at : at + rng.randint(1, 8)]
            case 2:
                value[at:at] = rng.randbytes(rng.randint(1, 8))
            case _:
                value[at:at] = value[at : at + rng.randint(1, 32)]
    return bytes(value)


@pytest.mark.parametrize("name", sorted(targets()))
def test_seeds_and_mutations(name: str) -> None:
    target = targets()[name]
    rng = random.Random(name)
    for seed in [*DHCP, *swarm_seeds()] if name == "node" else SEEDS.get(name) or swarm_seeds():
        target(seed)
        for _ in range(MUTATIONS):
            target(mutated(seed, rng))


def test_seeds_parse() -> None:
    for seed in DHCP:
        parse_request(seed)
    for seed in SEEDS["control"]:
        protocol.parse_request(seed)
    for seed in SEEDS["settings"]:
        reading.parse(seed, "ddhcp.toml")
    for seed in swarm_seeds():
        assert swarm.encode(*swarm.decode(seed)) == seed
        _, message = swarm.decode(seed)
        if isinstance(message, swarm.Extension):
            swarm.read_extension(message)
