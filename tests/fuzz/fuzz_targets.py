"""What is fuzzed: one function for each reader of bytes from outside, with properties that any input can break.

A target takes bytes and returns nothing. It fails by raising: AssertionError for a broken property, anything else for
an error that the reader must not let out. Every log line is formatted as with debug logging on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
from collections.abc import Callable
from ipaddress import IPv4Network

from fuzz_peers import KEYS
from fuzz_session import fuzz_session
from fuzz_source import Source

from ddhcp import dhcp, swarm
from ddhcp.core import Node
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.ctl import protocol
from ddhcp.daemon.assemble import node_config
from ddhcp.daemon.committer import Committer
from ddhcp.daemon.errors import SettingsError, StartError
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.logs import EventFormatter
from ddhcp.daemon.operator import Operator
from ddhcp.daemon.performer import Performer
from ddhcp.daemon.settings import Settings, reading, schema
from ddhcp.daemon.store import MemoryStore
from segment import POOL, Segment

SOURCE = b"\xfe\x80" + bytes(13) + b"\x09"
RECEIVED = ("dhcp.recv_pkg", "mcast.recv_pkg", "direct.recv_pkg")
FORMATTER = EventFormatter(with_time=False)
MAX_COUNTERS = 300  # far more than there are names of counters
SEAL_REASONS = {"unsealed", "bad-seal", "unknown-key"}


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


def fuzz_seal(data: bytes) -> None:
    """What was sealed opens as it was, for its receiver alone and only whole; all else is refused with a reason."""
    source = Source(data)
    sealer = swarm.Sealer(KEYS, source.fixed(swarm.INCARNATION_SIZE))
    sender, receiver = source.fixed(16), source.fixed(16)
    at, change = source.number(2), source.number(1)
    message = source.bytes(len(data))
    assert _refusal(sealer, message, sender, receiver) in SEAL_REASONS | {None}
    if len(message) < swarm.HEADER_SIZE or swarm.is_sealed(message):
        return
    sealed = sealer.seal(message, sender, receiver)
    if len(sealed) > swarm.MAX_DATAGRAM:
        return
    opened = sealer.open(sealed, sender, receiver)
    assert (opened.data, opened.epoch, opened.number) == (message, sealer.epoch, sealer.number)
    if sender != receiver:
        assert _refusal(sealer, sealed, receiver, sender) == "bad-seal"
    if change:
        at %= len(sealed)
        forged = sealed[:at] + bytes((sealed[at] ^ change,)) + sealed[at + 1 :]
        assert _refusal(sealer, forged, sender, receiver) in SEAL_REASONS


def _refusal(sealer: swarm.Sealer, data: bytes, sender: bytes, receiver: bytes) -> str | None:
    """Why a datagram is not believed, None if it is."""
    try:
        sealer.open(data, sender, receiver)
    except swarm.DecodeError as error:
        return error.reason
    return None


def fuzz_settings(data: bytes) -> None:
    """A file is read and makes a node, or is refused with lines that can be shown."""
    refusal = ""
    try:
        settings = reading.combine(reading.parse(data, "ddhcp.toml"), Settings())
        network = settings[schema.NETWORK_SETTING] or IPv4Network("10.0.0.0/24")
        Node(node_config(settings, network), random.Random(1))
    except (SettingsError, StartError) as error:
        refusal = str(error)
    assert all(line.isprintable() for line in refusal.splitlines())


def _raise(error: Exception) -> None:
    raise error


class _Lines(logging.Handler):
    """A log that is read by nobody but must be one line for each event."""

    def emit(self, record: logging.LogRecord) -> None:
        assert FORMATTER.format(record).isprintable()


class _Links:
    """The interfaces of a daemon that has none."""

    server_name, server_is_up, client_names = "server0", True, ("client0",)

    def clients_up(self) -> list[str]:
        return ["client0"]


class ControlTarget:
    """A daemon's control socket, from the bytes to the answer, with debug logging on; kept from one input to the
    next."""

    def __init__(self) -> None:
        segment = Segment()
        for client in range(1, 6):
            segment.lease(client, o12=b"host\n" + bytes((client,)))
        log = EventLog(_Lines(), logging.DEBUG)
        counters = {"daemon.exceptions": 0}
        store = MemoryStore()
        self._performer = Performer(
            segment.node, store, Committer(store), log, None, counters, lambda effect, now: None, report=_raise
        )
        self._operator = Operator(
            segment.node, log, _Links(), performer=self._performer, is_durable=False, counters=counters,  # type: ignore[arg-type]
            statistics=segment.node.statistics, stop=lambda reason, now: None, reload=lambda now: {},
        )  # fmt: skip

    def __call__(self, data: bytes) -> None:
        """A request that was read is the same when written and read again; it has an answer, or one line says why
        not."""
        protocol.request_is_complete(data)
        refusal, answer = "", ""
        with contextlib.suppress(BlockingIOError):
            try:
                request = protocol.parse_request(data)
                assert protocol.parse_request(request.encode()) == request
                answer = self._operator.answer(request)
                if request.command == protocol.Command.JSON:
                    json.loads(answer)
            except ValueError as error:
                refusal = str(error)
        assert refusal.isprintable()
        assert all(line.replace("\t", " ").isprintable() for line in answer.splitlines())


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


TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "dhcp": lambda: fuzz_dhcp,
    "swarm": lambda: fuzz_swarm,
    "seal": lambda: fuzz_seal,
    "control": ControlTarget,
    "settings": lambda: fuzz_settings,
    "node": NodeTarget,
    "session": lambda: fuzz_session,
}
