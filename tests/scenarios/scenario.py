"""Runs scenario scripts: nodes, clients and peers on a link without faults of its own, in virtual time.

A script is a list of steps. A step has comment lines (``#``), command lines, ``----``, and what the commands led to:
every message, every change of a block's or a binding's state, everything stored, logged, counted as dropped or told to
the hook. An empty line ends it. The commands:

    swarm nodes=2 pool=10.0.0.0/24 block=16 [t=3] [T=60] [lease=300] [spare=2] [needless=300] [learning]
    start N...              nodes that come up now          stop N / crash N / restart N (with what it had stored)
    run SECONDS             time passes                     link N up|down (its server link)
    cut N M / mend          what N and M send to each other is lost / no more
    lose COUNT              the next so many datagrams between nodes are lost
    blocks                  what every node knows of the blocks

    A@N MESSAGE [ADDRESS]   client A, in the realm of node N, sends discover, select (a REQUEST that names a server),
                            reboot, renew (by unicast), rebind, release, decline or inform; ``ask`` is a REQUEST without
                            an address; ``join`` is a discover whose first offer it selects. ``server=ADDRESS``,
                            ``lease=SECONDS`` and ``xid=NUMBER`` set those fields.
    low inquires BLOCK...   a peer that is no node of ours; the node id of ``low`` is below all, of ``high`` above all,
    low claims BLOCK for SECONDS                                  that of ``twin`` equals node 0's
    low renews ADDRESS for A [big]; low releases ADDRESS for A [big]; low acks; low naks (the last question it got)
    low says HEX            multicast of these bytes; ``low whispers HEX`` to node 0 alone

A BLOCK is a number or ``n0.block``, node 0's first; an ADDRESS is dotted, or ``A.address``, the last that client A was
offered or given, or BLOCK:OFFSET.
"""

from __future__ import annotations

import heapq
import logging
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

from ddhcp.core import Node, NodeConfig, Pool, dotted
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.blocks import BlockState
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.swarm import (
    LEASEACK,
    LEASENAK,
    RELEASE,
    RENEWLEASE,
    DecodeError,
    Extension,
    Inquire,
    LeaseMessage,
    SwarmCodec,
    UpdateClaim,
)

SEPARATOR = "----"
DELAY_S = 0.001
LINK = "client0"
PEER_IDS = {"low": bytes(8), "high": b"\xff" * 8, "twin": b"\x02\0\0\0\x01\0\0\0"}
PEER_ADDRESSES = {name: b"\xfe\x80" + bytes(13) + bytes((0xF0 + i,)) for i, name in enumerate(PEER_IDS)}
LEASE_COMMANDS = {RENEWLEASE: "RENEWLEASE", LEASEACK: "LEASEACK", LEASENAK: "LEASENAK", RELEASE: "RELEASE"}
EXTENSIONS = {32: "HELLO", 33: "HANDOVER", 34: "HANDOVER-ACK", 35: "LOOKUP", 36: "FOUND"}
COUNTED = (".drop.", "unpromised", "unknown_owner", "no_address", "unanswered", "suppressed")
CLIENT_MESSAGES = {
    "discover": c.DISCOVER, "join": c.DISCOVER, "select": c.REQUEST, "reboot": c.REQUEST, "renew": c.REQUEST,
    "rebind": c.REQUEST, "ask": c.REQUEST, "release": c.RELEASE, "decline": c.DECLINE, "inform": c.INFORM,
}  # fmt: skip


@dataclass
class Step:
    """Comment lines, command lines, and the lines expected of them."""

    comments: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)


def read(path: Path) -> list[Step]:
    """The steps of a script."""
    steps: list[Step] = []
    for paragraph in path.read_text().split("\n\n"):
        head, separator, tail = paragraph.strip("\n").partition(f"\n{SEPARATOR}")
        lines = head.splitlines()
        step = Step([x for x in lines if x.startswith("#")], [x for x in lines if not x.startswith("#")])
        if separator:
            step.expected = tail.strip("\n").splitlines()
        if lines:
            steps.append(step)
    return steps


def write(path: Path, steps: list[Step], outputs: list[list[str]]) -> None:
    """The script again, with these outputs."""
    paragraphs = []
    for step, output in zip(steps, outputs, strict=True):
        results = [SEPARATOR, *output] if step.commands else []
        paragraphs.append("\n".join([*step.comments, *step.commands, *results]))
    path.write_text("\n\n".join(paragraphs) + "\n")


@dataclass
class Member:
    """A node with its surroundings: what is on its disk, and what was last seen of its state."""

    node: Node
    mac: bytes
    address: bytes
    is_up: bool = False
    blocks: dict[int, StoredBlock] = field(default_factory=dict)
    leases: dict[int, StoredLease] = field(default_factory=dict)
    seen_blocks: dict[int, int] = field(default_factory=dict)
    seen_leases: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    seen_counters: dict[str, int] = field(default_factory=dict)


@dataclass
class Client:
    """A DHCP client: ``joins`` while it waits for an offer to select."""

    name: str
    chaddr: bytes
    address: int = 0
    xid: int = 0
    joins: bool = False
    realm: int = 0


class World:
    """Everything that a script's commands act on. :meth:`run` takes one step's commands and returns their output."""

    def __init__(self) -> None:
        self.now = 0.0
        self._members: list[Member] = []
        self._clients: dict[str, Client] = {}
        self._asked: dict[str, tuple[int, LeaseMessage]] = {}
        self._in_flight: list[tuple[float, int, int, e.SwarmReceived]] = []
        self._sequence = 0
        self._cuts: set[tuple[int, int]] = set()
        self._to_lose = 0
        self._output: list[str] = []

    def run(self, commands: list[str]) -> list[str]:
        """Carry out the commands, in order; what they led to."""
        self._output = []
        for command in commands:
            self._command(command.split())
        return self._output or ["(nothing)"]

    def _command(self, words: list[str]) -> None:
        verb, *rest = words
        if "@" in verb:
            self._client_sends(verb, rest)
        elif verb in PEER_IDS:
            self._peer_sends(verb, rest)
        else:
            getattr(self, f"_do_{verb}")(*rest)

    # -- commands ---------------------------------------------------------------------------------------------

    def _do_swarm(self, *words: str) -> None:
        given = dict(word.partition("=")[::2] for word in words)
        prefix, length = given["pool"].split("/")
        self.pool = Pool(_parse_dotted(prefix), int(length), int(given["block"]))
        self.config = NodeConfig(
            self.pool,
            tentative_timeout_s=int(given.get("t", 3)),
            block_timeout_s=int(given.get("T", 60)),
            lease_time_s=int(given.get("lease", 300)),
            spare_leases=int(given.get("spare", 2)),
            needless_timeout_s=int(given.get("needless", 300)),
            learning_phase="learning" in given,
        )
        self.codec = SwarmCodec(bytes(8), self.pool.prefix, self.pool.prefix_len, self.pool.block_size)
        self.gateway = self.pool.prefix + 1
        for number in range(int(given["nodes"])):
            mac, address = b"\x02\0\0\0\x01" + bytes((number,)), b"\xfe\x80" + bytes(13) + bytes((number + 1,))
            self._members.append(Member(self._new_node(number), mac, address))

    def _new_node(self, number: int) -> Node:
        return Node(self.config, random.Random(number))

    def _do_start(self, *numbers: str) -> None:
        for number in map(int, numbers):
            member = self._members[number]
            member.is_up = True
            link = e.ClientLink(LINK, self.gateway, self.pool.prefix_len, b"\x02\0\0\0\0\x01")
            self._feed(number, e.ClientLinkUp(link))
            self._feed(number, e.Start(tuple(member.blocks.values()), tuple(member.leases.values())))
            self._feed(number, e.ServerLinkUp(member.mac, member.address))

    def _do_stop(self, number: str) -> None:
        self._feed(int(number), e.Stop())

    def _do_crash(self, number: str) -> None:
        self._members[int(number)].is_up = False

    def _do_restart(self, number: str) -> None:
        member = self._members[int(number)]
        self._members[int(number)] = replace(member, node=self._new_node(int(number)), seen_counters={})
        self._do_start(number)

    def _do_link(self, number: str, way: str) -> None:
        member = self._members[int(number)]
        up, down = e.ServerLinkUp(member.mac, member.address), e.ServerLinkDown()
        self._feed(int(number), up if way == "up" else down)

    def _do_cut(self, one: str, other: str) -> None:
        self._cuts |= {(int(one), int(other)), (int(other), int(one))}

    def _do_mend(self) -> None:
        self._cuts.clear()

    def _do_lose(self, count: str) -> None:
        self._to_lose = int(count)

    def _do_run(self, seconds: str) -> None:
        until = self.now + float(seconds)
        while True:
            deadlines = [(m.node.deadline(), i) for i, m in enumerate(self._members) if m.is_up]
            wakes = [(max(at, self.now), 0, i) for at, i in deadlines if at is not None]
            arrivals = [(self._in_flight[0][0], 1, 0)] if self._in_flight else []
            at, is_arrival, number = min(wakes + arrivals, default=(until + 1, 0, 0))
            if at > until:
                break
            self.now = at
            if is_arrival:
                _, _, receiver, event = heapq.heappop(self._in_flight)
                if self._members[receiver].is_up:
                    self._feed(receiver, event)
            else:
                self._feed(number, e.Wake())
        self.now = until

    def _do_blocks(self) -> None:
        for number, member in enumerate(self._members):
            if not member.is_up:
                continue
            for view in member.node.inspect.blocks(0, self.pool.block_count, self.now)[0]:
                owner = f" of {self._name(view.owner_address)}" if any(view.owner_address) else ""
                usage = f", {view.offered} offered, {view.leased} leased" if view.leased is not None else ""
                state = BlockState(view.state).name.lower()
                self._output.append(f"n{number} block {view.index} {state}{owner} for {view.timeout_s} s{usage}")

    # -- clients and peers ------------------------------------------------------------------------------------

    def _client_sends(self, who: str, words: list[str]) -> None:
        name, realm = who.split("@")
        verb, *rest = words
        given = dict(word.split("=") for word in rest if "=" in word)
        positional = [word for word in rest if "=" not in word]
        number = len(self._clients) + 1
        chaddr = (b"\x02\0\0\0\x02" + bytes((number,))).ljust(c.CHADDR_SIZE, b"\0")
        client = self._clients.setdefault(name, Client(name, chaddr))
        client.xid = int(given["xid"]) if "xid" in given else client.xid + 1
        client.realm, client.joins = int(realm), verb == "join"
        address = self._address(positional[0]) if positional else 0
        message = Message(
            xid=client.xid, chaddr=client.chaddr, options={c.OPT_MESSAGE_TYPE: bytes((CLIENT_MESSAGES[verb],))}
        )
        if verb in ("renew", "rebind", "release", "inform"):
            message.ciaddr = address
        elif address:
            message.options[c.OPT_REQUESTED_ADDRESS] = address.to_bytes(4, "big")
        if verb in ("select", "release", "decline"):
            server = self._address(given["server"]) if "server" in given else self.gateway
            message.options[c.OPT_SERVER_ID] = server.to_bytes(4, "big")
        if "lease" in given:
            message.options[c.OPT_LEASE_TIME] = int(given["lease"]).to_bytes(4, "big")
        destination = self.gateway if verb in ("renew", "release") else c.BROADCAST_ADDRESS
        self._feed(client.realm, e.DhcpReceived(LINK, message.encode(), message.ciaddr, destination))

    def _peer_sends(self, name: str, words: list[str]) -> None:
        codec = SwarmCodec(PEER_IDS[name], self.pool.prefix, self.pool.prefix_len, self.pool.block_size)
        verb, *rest = words
        if verb == "inquires":
            self._from_peer(name, codec.inquire([self._block(word) for word in rest]))
        elif verb == "claims":
            split = rest.index("for")
            claims = [(self._block(word), int(rest[split + 1])) for word in rest[:split]]
            self._from_peer(name, codec.update_claim(claims))
        elif verb in ("renews", "releases"):
            address, client = self._address(rest[0]), self._clients[rest[2]]
            order = "big" if "big" in rest else "little"
            command = RENEWLEASE if verb == "renews" else RELEASE
            number = self._owner(address)
            message = codec.lease_message(command, address.to_bytes(4, order), client.xid, 0, client.chaddr)
            self._from_peer(name, message, to=number)
        elif verb in ("acks", "naks"):
            number, question = self._asked[name]
            command = LEASEACK if verb == "acks" else LEASENAK
            answer = codec.lease_message(command, question.address_field, question.xid, 0, question.chaddr)
            self._from_peer(name, answer, to=number)
        else:
            self._from_peer(name, bytes.fromhex(rest[0]), to=0 if verb == "whispers" else None)

    def _owner(self, address: int) -> int:
        index = self.pool.index_of(address)
        return next((i for i, m in enumerate(self._members) if m.seen_blocks.get(index) == BlockState.OURS), 0)

    def _from_peer(self, name: str, data: bytes, to: int | None = None) -> None:
        for number in range(len(self._members)) if to is None else (to,):
            if self._members[number].is_up:
                self._feed(number, e.SwarmReceived(data, PEER_ADDRESSES[name], to is None))

    def _block(self, word: str) -> int:
        if not word.startswith("n"):
            return int(word)
        seen = self._members[int(word[1:].removesuffix(".block"))].seen_blocks
        return next(index for index, state in sorted(seen.items()) if state == BlockState.OURS)

    def _address(self, word: str) -> int:
        if word.endswith(".address"):
            return self._clients[word.removesuffix(".address")].address
        if ":" in word:
            block, offset = word.split(":")
            return self.pool.first_address(self._block(block)) + int(offset)
        return _parse_dotted(word)

    # -- what nodes do ----------------------------------------------------------------------------------------

    def _feed(self, number: int, event: e.Event) -> None:
        member = self._members[number]
        effects = member.node.handle(event, self.now)
        self._tell_changes(number, member)
        for effect in effects:
            self._perform(number, member, effect)

    def _say(self, number: int, text: str) -> None:
        self._output.append(f"{self.now:9.3f} n{number} {text}")

    def _tell_changes(self, number: int, member: Member) -> None:
        blocks = {view.index: view.state for view in member.node.block_views(self.now)}
        for index in sorted(blocks.keys() | member.seen_blocks.keys()):
            old, new = member.seen_blocks.get(index, 0), blocks.get(index, 0)
            if old != new:
                self._say(number, f"block {index}: {BlockState(old).name.lower()} -> {BlockState(new).name.lower()}")
        member.seen_blocks = blocks
        leases = {lease.address: (lease.state, lease.chaddr) for lease in member.node.leases()}
        for address in sorted(leases.keys() | member.seen_leases.keys()):
            was, now = member.seen_leases.get(address), leases.get(address)
            if was != now:
                self._say(number, f"{dotted(address)}: {self._binding(was)} -> {self._binding(now)}")
        member.seen_leases = leases
        counters = {k: v for k, v in member.node.statistics().items() if any(part in k for part in COUNTED)}
        for name in sorted(counters):
            if counters[name] > member.seen_counters.get(name, 0):
                self._say(number, f"counts {name}")
        member.seen_counters = counters

    def _binding(self, binding: tuple[str, bytes] | None) -> str:
        return "free" if binding is None else f"{binding[0]} by {self._client_name(binding[1])}"

    def _perform(self, number: int, member: Member, effect: f.Effect) -> None:
        if isinstance(effect, f.SendMulticast):
            self._say(number, f"> all {self._text(effect.data)}")
            for receiver in range(len(self._members)):
                if receiver != number:
                    self._carry(number, receiver, effect.data, is_multicast=True)
        elif isinstance(effect, f.SendUnicast):
            self._say(number, f"> {self._name(effect.destination)} {self._text(effect.data)}")
            self._unicast(number, effect)
        elif isinstance(effect, f.SendDhcp):
            self._answer(number, effect)
        elif isinstance(effect, f.SaveBlock):
            member.blocks[effect.block.index] = effect.block
            self._say(number, f"stores block {effect.block.index} until {effect.block.promised_until:.1f}")
        elif isinstance(effect, f.ForgetBlock):
            member.blocks.pop(effect.index, None)
            self._say(number, f"forgets block {effect.index}")
        elif isinstance(effect, f.SaveLease):
            lease = effect.lease
            member.leases[lease.address] = lease
            binding = self._binding((lease.state, lease.chaddr))
            self._say(number, f"stores {dotted(lease.address)} {binding} until {lease.expires_at:.1f}")
        elif isinstance(effect, f.ForgetLease):
            member.leases.pop(effect.address, None)
            self._say(number, f"forgets {dotted(effect.address)}")
        elif isinstance(effect, f.RunHook):
            self._say(number, f"hook {' '.join(effect.arguments)}")
        elif isinstance(effect, f.Log):
            self._say(number, f"log {logging.getLevelName(effect.level).lower()} {effect.event}")
        elif isinstance(effect, f.Stopped):
            member.is_up = False
            self._say(number, "stopped")

    def _carry(self, sender: int, receiver: int, data: bytes, *, is_multicast: bool) -> None:
        if (sender, receiver) in self._cuts:
            return
        if self._to_lose:
            self._to_lose -= 1
            return
        self._sequence += 1
        event = e.SwarmReceived(data, self._members[sender].address, is_multicast)
        heapq.heappush(self._in_flight, (self.now + DELAY_S, self._sequence, receiver, event))

    def _unicast(self, number: int, effect: f.SendUnicast) -> None:
        for receiver, member in enumerate(self._members):
            if member.address == effect.destination:
                self._carry(number, receiver, effect.data, is_multicast=False)
        for name, address in PEER_ADDRESSES.items():
            if address == effect.destination:
                message = self.codec.decode(effect.data)[1]
                if isinstance(message, LeaseMessage):
                    self._asked[name] = number, message

    def _answer(self, number: int, effect: f.SendDhcp) -> None:
        message = Message.decode(effect.payload)
        name = self._client_name(message.chaddr)
        kind = c.MESSAGE_TYPE_NAMES[message.message_type]
        parts = [kind]
        if message.yiaddr:
            parts.append(dotted(message.yiaddr))
        if message.lease_time_s is not None:
            parts.append(f"{message.lease_time_s} s")
        if c.OPT_MESSAGE in message.options:
            parts.append(f'"{message.options[c.OPT_MESSAGE].decode()}"')
        to = "everybody" if effect.address == c.BROADCAST_ADDRESS else dotted(effect.address)
        self._say(number, f"> {name} {' '.join(parts)}, to {to}")
        client = self._clients.get(name)
        if client is None or not message.yiaddr:
            return
        client.address = message.yiaddr
        if client.joins and kind == "OFFER":
            self._client_sends(f"{name}@{client.realm}", ["select", dotted(message.yiaddr), f"xid={client.xid}"])

    # -- names ------------------------------------------------------------------------------------------------

    def _name(self, address: bytes) -> str:
        names = {member.address: f"n{number}" for number, member in enumerate(self._members)}
        names |= {peer: name for name, peer in PEER_ADDRESSES.items()}
        return names.get(address, "?")

    def _client_name(self, chaddr: bytes) -> str:
        return next((client.name for client in self._clients.values() if client.chaddr == chaddr), "?")

    def _text(self, data: bytes) -> str:
        try:
            _, message = self.codec.decode(data)
        except DecodeError as error:
            return f"undecodable: {error.reason}"
        if isinstance(message, UpdateClaim):
            return "UPDATECLAIM " + ", ".join(f"{claim.index} for {claim.timeout_s}" for claim in message.claims)
        if isinstance(message, Inquire):
            return " ".join(["INQUIRE", *map(str, message.indices)])
        if isinstance(message, Extension):
            name = EXTENSIONS.get(message.command, f"extension {message.command}")
            return f"{name}, {len(message.payload)} bytes"
        little, big = (int.from_bytes(message.address_field, order) for order in ("little", "big"))
        address, order = (little, "") if little in self.pool else (big, " big-endian")
        parts = [LEASE_COMMANDS[message.command], dotted(address) + order, "for", self._client_name(message.chaddr)]
        if message.lease_time_s:
            parts.append(f"{message.lease_time_s} s")
        return " ".join(parts)


def _parse_dotted(text: str) -> int:
    a, b, c_, d = map(int, text.split("."))
    return a << 24 | b << 16 | c_ << 8 | d
