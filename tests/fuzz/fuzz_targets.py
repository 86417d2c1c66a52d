"""What is fuzzed: one function for each reader of bytes from outside, with properties that any input can break.

A target takes bytes and returns nothing. It fails by raising: AssertionError for a broken property, anything else for
an error that the reader must not let out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ddhcp import dhcp, swarm
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.ctl import protocol
from ddhcp.daemon.errors import SettingsError
from ddhcp.daemon.logs import EventFormatter
from ddhcp.daemon.settings import reading
from segment import POOL, Segment

SOURCE = b"\xfe\x80" + bytes(13) + b"\x09"
RECEIVED = ("dhcp.recv_pkg", "mcast.recv_pkg", "direct.recv_pkg")
FORMATTER = EventFormatter(with_time=False)
MAX_COUNTERS = 300  # far more than there are names of counters


def fuzz_dhcp(data: bytes) -> None:
    """What was read and written again reads the same; what is refused has a reason that is known."""
    try:
        message = dhcp.Message.decode(data)
    except dhcp.DecodeError:
        return
    message.options.pop(0, None)
    assert dhcp.Message.decode(message.encode()) == message
    assert all(text.isprintable() for text in dhcp.format_message(message).splitlines())
    for leasequery in (False, True):
        reason = None
        try:
            dhcp.parse_request(data, leasequery=leasequery)
        except dhcp.DecodeError as error:
            reason = error.reason
        assert reason is None or reason in dhcp.REASONS


def fuzz_swarm(data: bytes) -> None:
    """A message that was read is written as the bytes it came from; an extension means the same when written again."""
    try:
        header, message = swarm.decode(data)
    except swarm.DecodeError:
        return
    again = swarm.encode(header, message)
    assert swarm.decode(again) == (header, message)
    if not isinstance(message, swarm.Extension):
        return
    try:
        value = swarm.read_extension(message)
    except swarm.DecodeError:
        return
    command, count, payload = swarm.write_extension(value)
    assert swarm.read_extension(swarm.Extension(command, count, payload)) == value


def fuzz_control(data: bytes) -> None:
    """A request that was read is the same when written and read again; a refusal is one line."""
    protocol.request_is_complete(data)
    refusal, request = "", None
    try:
        request = protocol.parse_request(data)
    except ValueError as error:
        refusal = str(error)
    assert refusal.isprintable()
    assert request is None or protocol.parse_request(request.encode()) == request


def fuzz_settings(data: bytes) -> None:
    """A file is read, or refused with SettingsError and lines that can be shown."""
    refusal = ""
    try:
        reading.parse(data, "ddhcp.toml")
    except SettingsError as error:
        refusal = str(error)
    assert all(line.isprintable() for line in refusal.splitlines())


class NodeTarget:
    """A node that gets every input, by each way that bytes reach it; kept from one input to the next."""

    def __init__(self) -> None:
        self._segment = Segment()

    def __call__(self, data: bytes) -> None:
        segment = self._segment
        received = [segment.count(name) for name in RECEIVED]
        segment.feed(e.DhcpReceived(segment.link.name, data, 0, 0xFFFFFFFF))
        segment.feed(e.SwarmReceived(data, SOURCE, True))
        segment.feed(e.SwarmReceived(data, SOURCE, False))
        segment.pass_time(0.05)
        statistics = segment.node.statistics()
        assert [segment.count(name) for name in RECEIVED] == [number + 1 for number in received]
        assert all(value >= 0 for value in statistics.values())
        assert len(statistics) < MAX_COUNTERS
        assert len(segment.node.leases()) <= POOL.address_count
        for effect in segment.effects:
            if isinstance(effect, f.Log):
                record = logging.LogRecord("", effect.level, "", 0, effect.event, (), None)
                record.fields = effect.fields
                assert FORMATTER.format(record).isprintable()
        segment.effects.clear()
        segment.replies.clear()


def targets() -> dict[str, Callable[[bytes], None]]:
    """Every target by name, the node a new one."""
    return {
        "dhcp": fuzz_dhcp,
        "swarm": fuzz_swarm,
        "control": fuzz_control,
        "settings": fuzz_settings,
        "node": NodeTarget(),
    }
