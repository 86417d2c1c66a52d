"""A swarm with a key: it works as one without, and who lacks the key, or has only recordings, is not heard."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.trust import WINDOW, _Session
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c
from ddhcp.sim import VirtualSwarm
from ddhcp.swarm import Key, KeyRing, SwarmCodec, is_sealed

POOL = Pool(0x0A000000, 20, 32)
KEY, OTHER = Key.derive(b"0123456789abcdef"), Key.derive(b"another sixteen bytes")
RING = KeyRing(KEY, (KEY,))
STRICT = NodeConfig(POOL, tentative_timeout_s=3, learning_phase=False, keys=RING)
MIXED = replace(STRICT, keys=KeyRing(KEY, (KEY,), is_mixed=True))
PLAIN = replace(STRICT, keys=None)
SERVER_ID = 0x0A000001
STRANGER = b"\xfe\x80" + bytes(13) + b"\x99"


def chaddr(number: int) -> bytes:
    return (b"\x02\0\0\0\x02" + bytes((number,))).ljust(16, b"\0")


def message(kind: int, client: int = 1, xid: int = 7, **options: int) -> Message:
    encoded = {int(name[1:]): value.to_bytes(4, "big") for name, value in options.items()}
    return Message(xid=xid, chaddr=chaddr(client), options={c.OPT_MESSAGE_TYPE: bytes((kind,))} | encoded)


def swarm_of(*configs: NodeConfig, seed: int = 0) -> VirtualSwarm:
    """A swarm whose nodes have different configurations."""
    swarm = VirtualSwarm(len(configs), configs[0], seed=seed)
    for number, config in enumerate(configs):
        if config is not configs[0]:
            begin(swarm, number, config)
    swarm.run_for(STRICT.tentative_timeout_s + 2)
    return swarm


def begin(swarm: VirtualSwarm, number: int, config: NodeConfig) -> None:
    swarm.nodes[number] = Node(config, random.Random(swarm.rng.random()))
    swarm.feed(number, e.ClientLinkUp(e.ClientLink("client0", SERVER_ID, 20, b"\x02\0\0\0\0\x01")))
    swarm.feed(number, e.Start())
    swarm.feed(number, e.ServerLinkUp(b"\x02\0\0\0\x01" + bytes((number,)), swarm.addresses[number]))


def lease(swarm: VirtualSwarm, node: int, client: int = 1) -> int:
    (offer,) = swarm.client_sends(node, message(c.DISCOVER, client))
    (ack,) = swarm.client_sends(node, message(c.REQUEST, client, o50=offer.yiaddr, o54=SERVER_ID))
    return ack.yiaddr


def states(swarm: VirtualSwarm, node: int) -> dict[int, int]:
    return {view.index: view.state for view in swarm.nodes[node].block_views(swarm.now)}


def own_block(swarm: VirtualSwarm, node: int) -> int:
    (index,) = [index for index, state in states(swarm, node).items() if state == 4]
    return index


def recorded(swarm: VirtualSwarm, sender: int) -> list[tuple[float, e.SwarmReceived]]:
    """Note everything that a node sends by multicast from now on."""
    log: list[tuple[float, e.SwarmReceived]] = []
    carry = swarm._carry

    def listen(source: int, receiver: int, data: bytes, *, is_multicast: bool) -> None:
        if source == sender and is_multicast:
            log.append((swarm.now, e.SwarmReceived(data, swarm.addresses[source], True)))
        carry(source, receiver, data, is_multicast=is_multicast)

    swarm._carry = listen  # type: ignore[method-assign]
    return log


@pytest.mark.parametrize("config", [STRICT, MIXED])
def test_a_swarm_with_a_key_agrees_and_lets_clients_roam(config: NodeConfig) -> None:
    swarm = swarm_of(config, config, config)
    assert len({own_block(swarm, number) for number in range(3)}) == 3
    address = lease(swarm, 0)
    swarm.client_sends(1, message(c.REQUEST, xid=20, o50=address))
    swarm.run_for(1)
    assert (swarm.answers[-1].node, swarm.answers[-1].message.message_type) == (1, c.ACK)
    assert states(swarm, 2)[own_block(swarm, 0)] == 2


def test_nothing_leaves_a_strict_node_unsealed() -> None:
    swarm = swarm_of(STRICT, STRICT)
    seen: list[bytes] = []
    carry = swarm._carry

    def listen(source: int, receiver: int, data: bytes, *, is_multicast: bool) -> None:
        seen.append(data)
        carry(source, receiver, data, is_multicast=is_multicast)

    swarm._carry = listen  # type: ignore[method-assign]
    begin(swarm, 1, STRICT)
    lease(swarm, 0)
    swarm.run_for(60)
    assert len(seen) > 10
    assert all(map(is_sealed, seen))


@pytest.mark.parametrize("outsider", [PLAIN, replace(STRICT, keys=KeyRing(OTHER, (OTHER,)))])
def test_who_lacks_the_key_is_not_heard(outsider: NodeConfig) -> None:
    swarm = swarm_of(STRICT, STRICT, outsider)
    theirs = own_block(swarm, 2)
    assert states(swarm, 0).get(theirs, 0) != 2
    statistics = swarm.nodes[0].statistics()
    assert statistics.get("swarm.drop.unsealed", 0) + statistics.get("swarm.drop.unknown-key", 0) > 0
    assert len(swarm.nodes[0]._peers) == 1


def test_one_lost_packet_of_the_proof_does_no_lasting_harm() -> None:
    for seed in range(20):
        swarm = VirtualSwarm(2, STRICT, seed=seed, loss=0.3)
        swarm.run_for(8)
        swarm.loss = 0
        swarm.run_for(70)
        assert states(swarm, 0)[own_block(swarm, 1)] == 2
        assert states(swarm, 1)[own_block(swarm, 0)] == 2


def test_a_message_is_heard_once() -> None:
    swarm = swarm_of(STRICT, STRICT)
    log = recorded(swarm, 0)
    swarm.run_for(60)
    assert log
    for _, event in log:
        assert swarm.feed(1, event) == []
    assert swarm.nodes[1].statistics()["swarm.drop.replayed"] == len(log)


def test_a_recording_is_not_believed_after_the_receiver_started_anew() -> None:
    """The sender gave its block up meanwhile; its claim, played again, must not bring it back."""
    swarm = swarm_of(STRICT, STRICT)
    log = recorded(swarm, 0)
    block = own_block(swarm, 0)
    swarm.run_for(60)
    claims = [event for _, event in log]
    assert claims
    swarm.feed(0, e.Stop())
    swarm.run_for(1)
    begin(swarm, 1, STRICT)
    for event in claims:
        swarm.feed(1, event)
    swarm.run_for(5)
    assert states(swarm, 1).get(block, 0) != 2


def test_a_recording_of_a_living_epoch_is_not_believed_after_the_receiver_started_anew() -> None:
    swarm = swarm_of(STRICT, STRICT)
    log = recorded(swarm, 0)
    swarm.run_for(60)
    old = [event for at, event in log if at < swarm.now - 5]
    assert old
    begin(swarm, 1, STRICT)
    before = swarm.nodes[1].statistics()["mcast.recv_updateclaim"]
    for event in old:
        swarm.feed(1, event)
    swarm.run_for(0.02)  # the sender has proved itself by now, and has not claimed anew
    statistics = swarm.nodes[1].statistics()
    assert statistics["swarm.drop.replayed"] >= 1
    assert statistics["mcast.recv_updateclaim"] == before


def test_a_message_sent_back_to_its_sender_is_not_believed() -> None:
    swarm = swarm_of(STRICT, STRICT)
    log = recorded(swarm, 0)
    swarm.run_for(60)
    thrown_back = e.SwarmReceived(log[-1][1].data, swarm.addresses[1], True)
    assert swarm.feed(0, thrown_back) == []
    assert swarm.nodes[0].statistics()["swarm.drop.bad-seal"] == 1


def test_what_made_a_newcomer_known_is_heard_once_it_is_proved() -> None:
    swarm = swarm_of(STRICT)
    index = own_block(swarm, 0)
    other = VirtualSwarm(2, STRICT, seed=5)
    other.nodes[0] = swarm.nodes[0]
    other.now = swarm.now
    other.run_for(0.2)
    codec_inquiries = other.nodes[0].statistics()["mcast.recv_inquire"]
    assert codec_inquiries >= 1  # the newcomer's first words were not lost
    assert own_block(other, 0) == index


def test_keys_are_changed_while_the_swarm_runs() -> None:
    swarm = swarm_of(STRICT, STRICT)
    steps = [KeyRing(KEY, (KEY, OTHER)), KeyRing(OTHER, (KEY, OTHER)), KeyRing(OTHER, (OTHER,))]
    for step, ring in enumerate(steps):
        for number in (0, 1):
            swarm.feed(number, e.Reconfigure(replace(STRICT, keys=ring)))
            lease(swarm, 0, 10 + 2 * step + number)
            swarm.run_for(20)
    for number in (0, 1):
        statistics = swarm.nodes[number].statistics()
        assert "swarm.drop.unknown-key" not in statistics
        assert "swarm.drop.bad-seal" not in statistics


# -- mixed ---------------------------------------------------------------------------------------


def test_a_mixed_node_works_with_nodes_of_either_kind() -> None:
    swarm = swarm_of(MIXED, PLAIN, STRICT)
    swarm.run_for(60)
    assert states(swarm, 0)[own_block(swarm, 1)] == 2
    assert states(swarm, 1)[own_block(swarm, 0)] == 2
    assert states(swarm, 0)[own_block(swarm, 2)] == 2
    address = lease(swarm, 1)
    swarm.client_sends(0, message(c.REQUEST, xid=20, o50=address))
    swarm.run_for(1)
    assert (swarm.answers[-1].node, swarm.answers[-1].message.message_type) == (0, c.ACK)


def strangers_claim(index: int) -> e.SwarmReceived:
    codec = SwarmCodec(b"\xff" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    return e.SwarmReceived(codec.update_claim([(index, 600)]), STRANGER, True)


def test_a_plain_claim_takes_no_sealed_block_in_mixed_mode() -> None:
    swarm = swarm_of(MIXED, MIXED)
    ours, theirs = own_block(swarm, 0), own_block(swarm, 1)
    effects = swarm.feed(0, strangers_claim(ours))
    assert states(swarm, 0)[ours] == 4
    assert any(isinstance(effect, f.SendMulticast) for effect in effects)  # the claim is upheld
    swarm.feed(0, strangers_claim(theirs))
    assert swarm.nodes[0]._claims.owner_address(theirs) == swarm.addresses[1]
    assert swarm.nodes[0].statistics()["swarm.drop.outweighed-claim"] == 1
    swarm.feed(0, strangers_claim(100))
    assert states(swarm, 0)[100] == 2  # of what nobody sealed a plain claim is believed


def test_in_mixed_mode_nobody_speaks_for_who_seals() -> None:
    swarm = swarm_of(MIXED, MIXED)
    theirs = own_block(swarm, 1)
    codec = SwarmCodec(b"\x02\0\0\0\x01\x01\0\0", POOL.prefix, POOL.prefix_len, POOL.block_size)
    given_up = e.SwarmReceived(codec.update_claim([(theirs, 0)]), swarm.addresses[1], True)
    swarm.feed(0, given_up)
    assert states(swarm, 0)[theirs] == 2


# -- numbers -------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(st.lists(st.integers(1, 3 * WINDOW), max_size=60))
def test_no_number_is_accepted_twice_and_a_new_one_within_the_window_is(numbers: list[int]) -> None:
    session = _Session()
    session.begin(b"epoch", 0, 1)
    accepted: set[int] = set()
    for number in numbers:
        is_new = number not in accepted and number > session.highest - WINDOW - 1
        if number <= session.highest - WINDOW:
            is_new = is_new and number >= session.highest - WINDOW
        assert session.accept(number) == is_new
        if is_new:
            accepted.add(number)


def test_what_is_older_than_the_proof_is_taken_for_seen() -> None:
    session = _Session()
    session.begin(b"epoch", 100, 97)
    assert [number for number in range(90, 103) if session.accept(number)] == [97, 98, 99, 101, 102]
