"""Numbers of the peer protocol, as classic nodes speak it."""

MULTICAST_GROUP = bytes.fromhex("ff020000000000000000000000001234")
MULTICAST_PORT = 1234
UNICAST_PORT = 1235

UPDATECLAIM = 1
INQUIRE = 2
RENEWLEASE = 16
LEASEACK = 17
LEASENAK = 18
RELEASE = 19
# Commands that only our nodes speak. Classic nodes drop a command they do not know.
FIRST_EXTENSION = 32
LAST_EXTENSION = 47
HELLO = 32
HANDOVER = 33
HANDOVER_ACK = 34
LOOKUP = 35
FOUND = 36
LOCATE = 37
REPLICATE = 38
REPLICATE_ACK = 39
REDIRECT = 40
SURRENDER = 41
SURRENDER_ACK = 42
SEALED = 43
CHALLENGE = 44
HEARSAY = 45

# What a node that says HELLO can do: a message is only sent to whoever can read it.
CAN_HANDOVER = 1
CAN_LOOKUP = 2  # LOOKUP, FOUND, LOCATE
CAN_REPLICATE = 4
CAN_REDIRECT = 8
CAN_SURRENDER = 16
CAN_HEARSAY = 32

# The state of a lease that one node tells another.
LEASE_LEASED = 1
LEASE_RELEASED = 2
LEASE_EXPIRED = 3
LEASE_DECLINED = 4
LEASE_GONE = 5  # nothing is known of this address any more

NODE_ID_SIZE = 8
HEADER_SIZE = 16
MAX_DATAGRAM = 1500  # classic nodes read no more
CLASSIC_CLAIMS_PER_PACKET = 32  # what classic nodes send; they accept as many as fit
MAX_CLAIMS_PER_PACKET = 205  # 16 + 205 x 7 = 1451 bytes: within an Ethernet MTU beside the IPv6 and UDP headers
SEALED_CLAIMS_PER_PACKET = 199  # a seal adds 42 bytes
MAX_INQUIRIES_PER_PACKET = 255  # the count is one byte; 16 + 255 x 4 = 1036 bytes
MAX_EXTENSION_PAYLOAD = 1436  # with the header 1452 bytes, all that an Ethernet MTU leaves beside IPv6 and UDP
MAX_FIELDS = 255  # the count is one byte
# What our own messages keep to: the smallest IPv6 MTU (1280) less the headers of IPv6 and UDP (48) and of a message
# (16), and less what a seal adds, so that they pass any link in one piece.
MAX_EXTENSION_TARGET = 1120
