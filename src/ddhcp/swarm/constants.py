"""Numbers of the peer protocol, as classic nodes speak it."""

from __future__ import annotations

from typing import Final

MULTICAST_GROUP = bytes.fromhex("ff020000000000000000000000001234")
MULTICAST_PORT: Final = 1234
UNICAST_PORT: Final = 1235

UPDATECLAIM: Final = 1
INQUIRE: Final = 2
RENEWLEASE: Final = 16
LEASEACK: Final = 17
LEASENAK: Final = 18
RELEASE: Final = 19
# Commands that only our nodes speak. Classic nodes drop a command they do not know.
FIRST_EXTENSION: Final = 32
LAST_EXTENSION: Final = 47
HELLO: Final = 32
HANDOVER: Final = 33
HANDOVER_ACK: Final = 34
LOOKUP: Final = 35
FOUND: Final = 36
LOCATE: Final = 37
REPLICATE: Final = 38
REPLICATE_ACK: Final = 39
REDIRECT: Final = 40
SURRENDER: Final = 41
SURRENDER_ACK: Final = 42
SEALED: Final = 43
CHALLENGE: Final = 44
HEARSAY: Final = 45

# What a node that says HELLO can do: a message is only sent to whoever can read it.
CAN_HANDOVER: Final = 1
CAN_LOOKUP: Final = 2  # LOOKUP, FOUND, LOCATE
CAN_REPLICATE: Final = 4
CAN_REDIRECT: Final = 8
CAN_SURRENDER: Final = 16
CAN_HEARSAY: Final = 32
CAN_CONSENT: Final = 64  # to blocks that a HELLO names

# The state of a lease that one node tells another.
LEASE_LEASED: Final = 1
LEASE_RELEASED: Final = 2
LEASE_EXPIRED: Final = 3
LEASE_DECLINED: Final = 4
LEASE_GONE: Final = 5  # nothing is known of this address any more

NODE_ID_SIZE: Final = 8
HEADER_SIZE: Final = 16
MAX_DATAGRAM: Final = 1500  # classic nodes read no more
CLASSIC_CLAIMS_PER_PACKET: Final = 32  # what classic nodes send; they accept as many as fit
MAX_CLAIMS_PER_PACKET: Final = 205  # 16 + 205 x 7 = 1451 bytes: within an Ethernet MTU beside the IPv6 and UDP headers
SEALED_CLAIMS_PER_PACKET: Final = 199  # a seal adds 42 bytes
MAX_INQUIRIES_PER_PACKET: Final = 255  # the count is one byte; 16 + 255 x 4 = 1036 bytes
MAX_EXTENSION_PAYLOAD: Final = 1436  # with the header 1452 bytes, all that an Ethernet MTU leaves beside IPv6 and UDP
MAX_FIELDS: Final = 255  # the count is one byte
# What our own messages keep to: the smallest IPv6 MTU (1280) less the headers of IPv6 and UDP (48) and of a message
# (16), and less what a seal adds, so that they pass any link in one piece.
MAX_EXTENSION_TARGET: Final = 1120
