"""The protocol between nodes: values, bytes, and the two byte orders of an address. Pure."""

from ._address import AddressOrder, read_address, write_address
from ._codec import DecodeError, Message, SwarmCodec
from ._messages import Claim, Extension, Inquire, LeaseMessage, UpdateClaim
from .constants import (
    CLASSIC_CLAIMS_PER_PACKET,
    HEADER_SIZE,
    INQUIRE,
    LEASEACK,
    LEASENAK,
    MAX_CLAIMS_PER_PACKET,
    MAX_DATAGRAM,
    MULTICAST_GROUP,
    MULTICAST_PORT,
    RELEASE,
    RENEWLEASE,
    UNICAST_PORT,
    UPDATECLAIM,
)

__all__ = [
    "CLASSIC_CLAIMS_PER_PACKET",
    "HEADER_SIZE",
    "INQUIRE",
    "LEASEACK",
    "LEASENAK",
    "MAX_CLAIMS_PER_PACKET",
    "MAX_DATAGRAM",
    "MULTICAST_GROUP",
    "MULTICAST_PORT",
    "RELEASE",
    "RENEWLEASE",
    "UNICAST_PORT",
    "UPDATECLAIM",
    "AddressOrder",
    "Claim",
    "DecodeError",
    "Extension",
    "Inquire",
    "LeaseMessage",
    "Message",
    "SwarmCodec",
    "UpdateClaim",
    "read_address",
    "write_address",
]
