"""What a node remembers of the others."""

from __future__ import annotations

from itertools import pairwise

from test_node import CONFIG, PEER, POOL, claimed

from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.hello import ASK_PAUSE_S
from ddhcp.core.peers import GREETINGS, KNOWN_FOR_S, LOOK_AGAIN_S, MAX_PEERS, Peers
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import RENEWLEASE, Extension, Hello, ReplicateAck, SwarmCodec, read_extension

FIRST, SECOND = b"\xfe\x80" + bytes(13) + b"\1", b"\xfe\x80" + bytes(13) + b"\2"


def test_a_peer_whose_hellos_were_lost_leaves_no_classic_node_behind() -> None:
    peers = Peers()
    for address in (FIRST, SECOND):
        peers.hear(address, bytes(8), 1000.0).hello_count = GREETINGS
        peers.hear(address, bytes(8), 1001.0)
    for address, still_there in ((FIRST, True), (SECOND, False)):
        peer = peers.hear(address, bytes(8), 1200.0)
        peer.is_ours = True
        peers.turned_out_ours(peer)
        assert peers.has_classic(1300.0) is still_there


def test_a_peer_that_says_what_it_is_when_first_heard_counts_as_of_unknown_kind_no_more() -> None:
    """Else each node that boots would have all the others announce as if a classic one listened, for two minutes."""
    peers = Peers()
    peers.hear(FIRST, bytes(8), 1000.0)
    ours = peers.hear(SECOND, bytes(8), 1050.0)
    ours.is_ours = True
    peers.turned_out_ours(ours)
    assert peers.has_classic(1119.0), "the first one still may be classic"
    assert not peers.has_classic(1121.0)


def sharing() -> tuple[Peers, list[bytes]]:
    """No peers yet, and with whom the pool is shared."""
    peers = Peers()
    told: list[bytes] = []
    peers.on_sharing = lambda peer: told.append(peer.address)
    return peers, told


def test_the_pool_is_shared_with_whoever_was_heard_or_is_said_to_own_blocks() -> None:
    peers, told = sharing()
    for _ in range(2):
        peers.hear(FIRST, bytes(8), 1000.0)
        peers.note_missing(SECOND, bytes(8), 3000.0, 1000.0)
        peers.note_missing(bytes(16), bytes(8), 3000.0, 1000.0)
    assert told == [FIRST, SECOND]


def test_the_pool_is_no_longer_shared_with_whoever_was_long_not_heard_and_owns_nothing() -> None:
    peers, told = sharing()
    peers.hear(FIRST, bytes(8), 1000.0)
    peers.note_missing(SECOND, bytes(8), 3000.0, 1000.0)
    assert not peers.has_sharing_ended(999.0 + KNOWN_FOR_S)
    assert peers.has_sharing_ended(1000.0 + KNOWN_FOR_S)
    assert [peer.address for peer in peers if peer.has_share] == [SECOND]
    assert not peers.has_sharing_ended(2999.0)
    assert peers.has_sharing_ended(3000.0)
    for _ in range(2):
        peers.hear(FIRST, bytes(8), 3001.0)
    assert told == [FIRST, SECOND, FIRST]
    peers.hear(FIRST, bytes(8), 3500.0)
    assert not peers.has_sharing_ended(3600.0)
    assert not peers.has_sharing_ended(4099.0)
    assert peers.has_sharing_ended(4100.0 + LOOK_AGAIN_S)


def test_the_pool_is_no_longer_shared_with_whoever_had_to_be_forgotten() -> None:
    peers, _ = sharing()

    def hear(number: int, now: float) -> None:
        peers.hear(FIRST[:8] + number.to_bytes(8, "big"), bytes(8), now)

    for number in range(MAX_PEERS):
        hear(number, 1000.0)
    assert not peers.has_sharing_ended(1000.0)
    hear(MAX_PEERS, 1000.0)
    assert peers.has_sharing_ended(1000.0)
    assert not peers.has_sharing_ended(1000.0)
    hear(MAX_PEERS + 1, 1001.0)
    assert not peers.has_sharing_ended(1001.0), "not all are looked at for each"
    assert peers.has_sharing_ended(1000.0 + LOOK_AGAIN_S)


def test_who_is_heard_again_and_again_is_not_forgotten_for_a_crowd_of_strangers() -> None:
    peers = Peers()
    for number in range(8):
        peers.hear(FIRST[:8] + number.to_bytes(8, "big"), bytes(8), 1000.0)
    for number in range(8, 3 * MAX_PEERS):
        if number % 1000 == 0:
            for known in range(0, 8, 2):
                peers.hear(FIRST[:8] + known.to_bytes(8, "big"), bytes(8), 1000.0 + number)
        peers.hear(FIRST[:8] + number.to_bytes(8, "big"), bytes(8), 1000.0 + number)
        assert len(peers) <= MAX_PEERS
    known = [number for number in range(8) if peers.get(FIRST[:8] + number.to_bytes(8, "big")) is not None]
    assert known == [0, 2, 4, 6]
    latest = [FIRST[:8] + number.to_bytes(8, "big") for number in range(3 * MAX_PEERS - 1000, 3 * MAX_PEERS)]
    assert all(peers.get(address) is not None for address in latest)


def test_whoever_speaks_for_the_first_time_is_known_however_many_others_go_on_speaking() -> None:
    peers = Peers()
    addresses = [FIRST[:8] + number.to_bytes(8, "big") for number in range(MAX_PEERS + 1)]
    for now in (1000.0, 1010.0):
        for address in addresses[:MAX_PEERS]:
            peers.hear(address, bytes(8), now)
    newcomer = peers.hear(addresses[MAX_PEERS], bytes(8), 1020.0)
    assert peers.get(addresses[MAX_PEERS]) is newcomer
    assert len(peers) == MAX_PEERS


CODEC = SwarmCodec(b"\x01" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)


def asked_who_it_is(swarm: VirtualSwarm, data: bytes, *, multicast: bool = False) -> bool:
    """Whether node 0 asks a peer for its kind when that sends it a datagram."""
    effects = swarm.feed(0, e.SwarmReceived(data, PEER, multicast))
    told = [CODEC.decode(x.data)[1] for x in effects if isinstance(x, f.SendUnicast)]
    return [type(read_extension(m)) for m in told if isinstance(m, Extension)] == [Hello]


def settled() -> VirtualSwarm:
    """One node that asked everybody so long ago that all answers have come."""
    swarm = claimed(1)
    swarm.run_for(ASK_PAUSE_S)
    return swarm


def test_a_peer_that_owns_nothing_is_asked_what_it_is_too() -> None:
    """Else it would count as one that may be classic for as long as it asks about its clients' leases (I8)."""
    swarm = settled()
    assert asked_who_it_is(swarm, CODEC.lease_message(RENEWLEASE, bytes((10, 0, 15, 5)), 9, 300, bytes(16)))


REFRESH = CODEC.update_claim([(99, 60)])


def asked_at(swarm: VirtualSwarm, seconds: int) -> list[int]:
    """After how many seconds node 0 asks a peer that announces a block every ten, and answers nothing."""
    asked = []
    for after_s in range(0, seconds, 10):
        if asked_who_it_is(swarm, REFRESH, multicast=True):
            asked.append(after_s)
        swarm.run_for(10)
    return asked


def test_a_peer_that_answers_nothing_is_asked_ever_less_often() -> None:
    """A partition may have swallowed all the HELLOs, or the answers: nobody is taken for classic for ever."""
    asked = asked_at(settled(), 3 * 3600)
    pauses = [later - sooner for sooner, later in pairwise(asked)]
    assert pauses[:4] == [30, 30, 30, 60]
    assert pauses == sorted(pauses)
    assert len(asked) < 12
    assert asked[-1] > 3600


def test_a_peer_taken_for_classic_that_speaks_as_ours_do_is_asked_again() -> None:
    """For as long as it counts as classic, every refresh of this node is more frequent (I8)."""
    swarm = claimed(1)
    asked_at(swarm, 3600)
    extension = CODEC.write(ReplicateAck(()))
    assert asked_who_it_is(swarm, extension)
    assert not asked_who_it_is(swarm, extension), "not for each of its words"
    swarm.run_for(60)
    assert asked_who_it_is(swarm, extension)


class Hellos(VirtualSwarm):
    """Notes the HELLOs that name no blocks: when, from which node, and whether to all."""

    def __init__(self, count: int) -> None:
        self.hellos: list[tuple[float, int, bool]] = []
        super().__init__(count, CONFIG)

    def _perform(self, number: int, effect: f.Effect) -> None:
        if isinstance(effect, f.SendMulticast | f.SendUnicast):
            message = CODEC.decode(effect.data)[1]
            said = read_extension(message) if isinstance(message, Extension) else None
            if isinstance(said, Hello) and not said.blocks:
                self.hellos.append((self.now, number, isinstance(effect, f.SendMulticast)))
        super()._perform(number, effect)


def test_of_a_swarm_that_boots_at_once_each_node_says_what_it_is_in_a_few_packets() -> None:
    swarm = Hellos(30)
    swarm.run_for(20)
    assert len(swarm.hellos) < 30 * 4, "not one for each pair"
    for node in swarm.nodes:
        assert [peer.is_ours for peer in node._peers] == [True] * 29


def test_a_newcomer_is_answered_by_each_alone_and_not_by_all_at_once() -> None:
    swarm = Hellos(30)
    swarm.run_for(20)
    swarm.hellos.clear()
    swarm.nodes[0]._context.incarnation = b"another!"
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    swarm.run_for(5)
    answers = [at for at, number, to_all in swarm.hellos if number and not to_all]
    assert len(answers) == 29
    assert max(answers) - min(answers) > 0.15
    assert sorted(answers)[2] - min(answers) > 0


def test_who_asks_all_for_others_sake_is_not_answered_again_and_again() -> None:
    """It asks because of peers that are classic: of the others it knows by then what they are."""
    swarm = Hellos(30)
    swarm.run_for(20)
    for _ in range(2):
        swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
        swarm.run_for(20)
    swarm.hellos.clear()
    swarm.nodes[0]._extensions.greeting.greet_all(swarm.now)
    swarm.feed(0, e.ServerLinkUp(b"\x02\0\0\0\x01\0", swarm.addresses[0]))
    swarm.run_for(10)
    assert [number for _, number, _ in swarm.hellos if number] == []


def test_many_of_unknown_kind_are_asked_at_once_and_each_by_itself_before_it_is_taken_for_classic() -> None:
    """It may miss what is said to all."""
    swarm = Hellos(1)
    swarm.run_for(20)
    strangers = [b"\xfe\x80" + bytes(13) + bytes((0x80 + number,)) for number in range(20)]
    for _ in range(13):
        for number, address in enumerate(strangers):
            codec = SwarmCodec(bytes((number + 1,)) * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
            swarm.feed(0, e.SwarmReceived(codec.update_claim([(40 + number, 60)]), address, True))
        swarm.run_for(10)
    asked = [to_all for at, _, to_all in swarm.hellos if at > 1020]
    assert 1 <= asked.count(True) <= 3
    assert asked.count(False) >= 3 * len(strangers)
    assert all(peer.hello_count >= GREETINGS for peer in swarm.nodes[0]._peers)
