"""The address field of lease messages, whose byte order tells on the sender's machine."""

from __future__ import annotations

import enum
from typing import Final


class AddressOrder(enum.Enum):
    """LITTLE: as little-endian classic nodes write 10.0.161.160, ``a0 a1 00 0a``; BIG: ``0a 00 a1 a0``."""

    LITTLE = "little"
    BIG = "big"


_LITTLE: Final = AddressOrder.LITTLE
_BIG: Final = AddressOrder.BIG


def write_address(address: int, order: AddressOrder) -> bytes:
    """The 4 bytes of ``address`` in ``order``."""
    return address.to_bytes(4, "little" if order is _LITTLE else "big")


def read_address(
    field: bytes, prefix: int, prefix_len: int, known: AddressOrder | None
) -> tuple[int, AddressOrder, bool] | None:
    """Read an address field of 4 bytes: ``(address, order, unambiguous)``, or None if neither order gives an
    address in the pool.

    The reading that lies in the pool is meant; where both do, ``known`` (the order this peer was last seen to
    use unambiguously) decides, else little-endian. A palindrome reads the same both ways and tells nothing of
    the peer (PROTOCOL, Messages).
    """
    shift = 32 - prefix_len
    little, big = int.from_bytes(field, "little"), int.from_bytes(field, "big")
    little_fits, big_fits = little >> shift == prefix >> shift, big >> shift == prefix >> shift
    if little_fits and big_fits:
        order = known or _LITTLE
        return (little if order is _LITTLE else big), order, False
    if little_fits:
        return little, _LITTLE, True
    if big_fits:
        return big, _BIG, True
    return None
