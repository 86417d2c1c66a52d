"""DHCPv4: messages, replies, where a reply goes, and the frames that carry it. Pure."""

from ._delivery import Delivery, delivery
from ._frame import UdpFrame, checksum, parse_udp_frame, udp_frame
from ._message import DecodeError, Message, encode_option, hardware_identity, identity, parse_request
from ._reply import MIN_REPLY, build_reply

__all__ = [
    "MIN_REPLY",
    "DecodeError",
    "Delivery",
    "Message",
    "UdpFrame",
    "build_reply",
    "checksum",
    "delivery",
    "encode_option",
    "hardware_identity",
    "identity",
    "parse_request",
    "parse_udp_frame",
    "udp_frame",
]
