"""Sealed messages: what was changed on the way, sent on to others or written without the key is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.swarm import (
    MULTICAST_GROUP,
    SEAL_OVERHEAD,
    SEALED_CLAIMS_PER_PACKET,
    DecodeError,
    Key,
    KeyRing,
    Sealer,
    SwarmCodec,
    is_sealed,
)

KEY, OTHER = Key.derive(b"0123456789abcdef"), Key.derive(b"another sixteen bytes")
A, B = b"\xfe\x80" + bytes(13) + b"\x0a", b"\xfe\x80" + bytes(13) + b"\x0b"
CODEC = SwarmCodec(b"12345678", 0x0A008000, 17, 4)
CLAIM = CODEC.update_claim([(7, 60), (9, 60)])


def sealer(*keys: Key, epoch: bytes = b"epoch001") -> Sealer:
    return Sealer(KeyRing(keys[0], keys), epoch)


def refusal(by: Sealer, data: bytes, source: bytes = A, destination: bytes = B) -> str | None:
    try:
        by.open(data, source, destination)
    except DecodeError as error:
        return error.reason
    return None


@given(st.binary(max_size=1400))
def test_what_is_opened_is_what_was_sealed(body: bytes) -> None:
    sender, message = sealer(KEY), CLAIM[:16] + body
    for number in (1, 2):
        sealed = sender.seal(message, A, B)
        assert len(sealed) == len(message) + SEAL_OVERHEAD
        opened = sealer(KEY).open(sealed, A, B)
        assert (opened.data, opened.epoch, opened.number) == (message, b"epoch001", number)


def test_the_swarm_is_still_to_be_read_in_the_header() -> None:
    sealed = sealer(KEY).seal(CLAIM, A, B)
    assert sealed[:14] == CLAIM[:14]
    assert is_sealed(sealed)
    assert not is_sealed(CLAIM)


def test_every_flipped_bit_is_noticed() -> None:
    sealed = sealer(KEY).seal(CLAIM, A, B)
    for position in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[position] ^= 1 << bit
            assert refusal(sealer(KEY), bytes(changed)) in {"bad-seal", "unknown-key", "unsealed"}


def test_every_truncation_and_every_trailer_is_noticed() -> None:
    sealed = sealer(KEY).seal(CLAIM, A, B)
    for size in range(len(sealed)):
        assert refusal(sealer(KEY), sealed[:size]) in {"bad-seal", "unsealed"}
    assert refusal(sealer(KEY), sealed + b"\0") == "bad-seal"


@pytest.mark.parametrize(("source", "destination"), [(B, B), (A, A), (B, A), (A, MULTICAST_GROUP)])
def test_a_message_is_for_its_receiver_and_from_its_sender_only(source: bytes, destination: bytes) -> None:
    sealed = sealer(KEY).seal(CLAIM, A, B)
    assert refusal(sealer(KEY), sealed, source, destination) == "bad-seal"


def test_nobody_without_the_key_is_believed() -> None:
    assert refusal(sealer(KEY), sealer(OTHER).seal(CLAIM, A, B)) == "unknown-key"
    forged = Key(OTHER.secret, KEY.key_id)
    assert refusal(sealer(KEY), sealer(forged).seal(CLAIM, A, B)) == "bad-seal"
    assert refusal(sealer(KEY), CLAIM) == "unsealed"


def test_a_seal_within_a_seal_is_refused() -> None:
    twice = sealer(KEY).seal(sealer(KEY).seal(CLAIM, A, B), A, B)
    assert refusal(sealer(KEY), twice) == "bad-seal"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert refusal(sealer(KEY), CLAIM[:14] + b"\x2b" + data) in {"bad-seal", "unknown-key", "unsealed"}


def test_keys_are_renewed_without_a_gap() -> None:
    """First everybody accepts the new key, then everybody signs with it, then the old one goes."""
    old, both_old, both_new, new = sealer(KEY), sealer(KEY, OTHER), sealer(OTHER, KEY), sealer(OTHER)
    for sender, receiver in [(old, both_old), (both_old, old), (both_new, both_old), (new, both_new), (both_new, new)]:
        assert refusal(receiver, sender.seal(CLAIM, A, B)) is None
    sender = sealer(KEY)
    sender.renew(KeyRing(OTHER, (KEY, OTHER)))
    assert refusal(new, sender.seal(CLAIM, A, B)) is None


def test_nonces_differ() -> None:
    one, two = sealer(KEY), sealer(KEY, epoch=b"epoch002")
    nonces = {one.nonce() for _ in range(100)} | {two.nonce() for _ in range(100)}
    assert len(nonces) == 200


def test_the_fullest_sealed_claim_passes_an_ethernet_link_unfragmented() -> None:
    full = CODEC.update_claim([(index, 60) for index in range(SEALED_CLAIMS_PER_PACKET)])
    size = len(sealer(KEY).seal(full, A, B))
    assert size <= 1500 - 40 - 8 < size + 7


def test_bad_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        Key.derive(b"short")
    with pytest.raises(ValueError, match="among those accepted"):
        KeyRing(KEY, (OTHER,))
    with pytest.raises(ValueError, match="the same"):
        KeyRing(KEY, (KEY, KEY))


def test_a_key_does_not_show_its_secret() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert repr(KEY.secret) not in repr(KeyRing(KEY, (KEY,)))
