"""The address pool: a prefix cut into equal blocks (PROTOCOL: pool, block, block index)."""

from __future__ import annotations

from typing import Final

from ..values import dataclass, field

MIN_PREFIX_LEN = 8  # a shorter prefix would be more than a private network can hold
MAX_PREFIX_LEN = 30  # a longer one has no address left beside network and broadcast
MAX_BLOCK_SIZE = 128  # the wire carries the block size in one byte and classic nodes stop at 2^7


_NOBODYS = (0, 127)  # first octets: "this network", and loopback (RFC 6890)
_MULTICAST = 224  # and all above, which are reserved
_OCTETS: Final = tuple(map(str, range(256)))  # a log line for each lease has an address in it


class PoolError(ValueError):
    """The prefix or block size cannot form a pool; the text says why."""


def dotted(address: int) -> str:
    """The address as a dotted quad, e.g. ``dotted(0x0A000001) == "10.0.0.1"``."""
    octets = _OCTETS
    high = f"{octets[address >> 24 & 255]}.{octets[address >> 16 & 255]}"
    return f"{high}.{octets[address >> 8 & 255]}.{octets[address & 255]}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A prefix and the size of the blocks it is cut into.

    ``prefix`` is the network address as an integer, ``prefix_len`` in bits, ``block_size`` in addresses
    (a power of two). Raises :class:`PoolError` when these do not fit together.
    """

    prefix: int
    prefix_len: int
    block_size: int
    address_count: int = field(init=False)
    block_count: int = field(init=False)
    _block_shift: int = field(init=False)

    def __post_init__(self) -> None:
        if not MIN_PREFIX_LEN <= self.prefix_len <= MAX_PREFIX_LEN:
            raise PoolError(f"prefix length /{self.prefix_len} is not between /{MIN_PREFIX_LEN} and /{MAX_PREFIX_LEN}")
        if not 1 <= self.block_size <= MAX_BLOCK_SIZE or self.block_size & (self.block_size - 1):
            raise PoolError(f"block size {self.block_size} is not a power of two between 1 and {MAX_BLOCK_SIZE}")
        addresses = 1 << (32 - self.prefix_len)
        if not 0 <= self.prefix < 1 << 32 or self.prefix & (addresses - 1):
            raise PoolError(f"{dotted(self.prefix & 0xFFFFFFFF)}/{self.prefix_len} has host bits set")
        if self.prefix >> 24 in _NOBODYS or self.prefix >> 24 >= _MULTICAST:
            raise PoolError(f"{dotted(self.prefix)}/{self.prefix_len} has no addresses that a host may use")
        if self.block_size > addresses:
            raise PoolError(f"a block of {self.block_size} addresses is larger than the pool of {addresses}")
        object.__setattr__(self, "address_count", addresses)
        object.__setattr__(self, "block_count", addresses // self.block_size)
        object.__setattr__(self, "_block_shift", self.block_size.bit_length() - 1)

    def __contains__(self, address: int) -> bool:
        return 0 <= address - self.prefix < self.address_count

    def index_of(self, address: int) -> int:
        """The index of the block that holds ``address``, which must lie in the pool."""
        return (address - self.prefix) >> self._block_shift

    def first_address(self, index: int) -> int:
        """The first address of block ``index`` (0 <= index < block_count)."""
        return self.prefix + (index << self._block_shift)

    @property
    def netmask(self) -> int:
        """The subnet mask of the prefix."""
        return 0xFFFFFFFF ^ (self.address_count - 1)

    @property
    def broadcast(self) -> int:
        """The last address of the prefix."""
        return self.prefix + self.address_count - 1

    def __str__(self) -> str:
        return f"{dotted(self.prefix)}/{self.prefix_len}"
