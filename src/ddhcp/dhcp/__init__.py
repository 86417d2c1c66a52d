"""DHCPv4: messages, replies, where a reply goes, and the frames that carry it. Pure.

:func:`parse_request` reads what a client sent, :func:`identity` says who it is, :func:`build_reply` writes an answer,
:func:`delivery` says where it goes and :func:`udp_frame` wraps it for a raw socket. :func:`encode_option` and
:func:`format_option` are for people. The numbers are in :mod:`ddhcp.dhcp.constants`.
"""

from . import constants
from ._delivery import Delivery, delivery
from ._frame import UdpFrame, checksum, parse_udp_frame, udp_frame
from ._message import DecodeError, Message, is_unicast, pack_option
from ._names import Fqdn, encode_fqdn_reply
from ._nested import suboptions, vendor_identifying
from ._reply import MIN_REPLY, OptionSet, ReplyTemplate, build_reply
from ._request import MAX_CLIENT_ID, REASONS, hardware_identity, identity, parse_request
from ._table import OPTIONS, Kind, OptionInfo, option_code, option_name
from ._text import encode_option, format_message, format_option, message_type_name, printable

__all__ = [
    "MAX_CLIENT_ID",
    "MIN_REPLY",
    "OPTIONS",
    "REASONS",
    "DecodeError",
    "Delivery",
    "Fqdn",
    "Kind",
    "Message",
    "OptionInfo",
    "OptionSet",
    "ReplyTemplate",
    "UdpFrame",
    "build_reply",
    "checksum",
    "constants",
    "delivery",
    "encode_fqdn_reply",
    "encode_option",
    "format_message",
    "format_option",
    "hardware_identity",
    "identity",
    "is_unicast",
    "message_type_name",
    "option_code",
    "option_name",
    "pack_option",
    "parse_request",
    "parse_udp_frame",
    "printable",
    "suboptions",
    "udp_frame",
    "vendor_identifying",
]
