"""The fuzz targets with seeds that parse and with mutations of them that are the same in every run. A run that is
guided by coverage is `make fuzz`."""

from __future__ import annotations

import random

import pytest
from fuzz_seeds import seeds
from fuzz_session import Session
from fuzz_source import Source
from fuzz_targets import TARGETS

from ddhcp import swarm
from ddhcp.ctl import protocol
from ddhcp.daemon.settings import reading
from ddhcp.dhcp import parse_request

INPUTS = {"session": 100, "settings": 200, "node": 2500}  # how many mutations of all seeds together
MOST_INPUTS = 5000


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


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_mutations(name: str) -> None:
    """I36: a property that breaks, or an exception, fails it."""
    target = TARGETS[name]()
    rng = random.Random(name)
    begin_with = seeds(name)
    for seed in begin_with:
        target(seed)
    for _ in range(INPUTS.get(name, MOST_INPUTS)):
        target(mutated(rng.choice(begin_with), rng))


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff"])
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_and_next_to_nothing(name: str, data: bytes) -> None:
    TARGETS[name]()(data)


def test_seeds_parse() -> None:
    for seed in seeds("dhcp"):
        message = parse_request(seed, leasequery=True) if seed[0] == 1 else None
        assert message is None or message.message_type
    for seed in seeds("control"):
        protocol.parse_request(seed)
    for seed in seeds("settings"):
        reading.parse(seed, "ddhcp.toml")
    kinds = set()
    for seed in seeds("swarm"):
        header, message = swarm.decode(seed)
        assert swarm.encode(header, message) == seed
        kinds.add(header.command)
        if isinstance(message, swarm.Extension) and message.command != swarm.SEALED:
            swarm.read_extension(message)
    assert kinds > set(range(swarm.FIRST_EXTENSION, swarm.FIRST_EXTENSION + 11)), "every kind of extension"


def test_the_stories_to_begin_with_get_somewhere() -> None:
    """A seed whose client gets no lease, or whose peer is not believed, would test nothing."""
    leased, heard = 0, 0
    for seed in seeds("session"):
        source = Source(seed)
        session = Session(source)
        session.play(source)
        leased += bool(session.leases)
        heard += bool(session.node.inspect.peers(session.now))
    assert leased > 5
    assert heard > 5
