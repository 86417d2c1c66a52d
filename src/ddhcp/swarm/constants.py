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

NODE_ID_SIZE = 8
HEADER_SIZE = 16
MAX_DATAGRAM = 1500  # classic nodes read no more
CLASSIC_CLAIMS_PER_PACKET = 32  # what classic nodes send; they accept as many as fit
MAX_CLAIMS_PER_PACKET = 205  # 16 + 205 x 7 = 1451 bytes: within an Ethernet MTU beside the IPv6 and UDP headers
MAX_INQUIRIES_PER_PACKET = 255  # the count is one byte; 16 + 255 x 4 = 1036 bytes
MAX_EXTENSION_PAYLOAD = 1436  # with the header 1452 bytes, all that an Ethernet MTU leaves beside IPv6 and UDP
