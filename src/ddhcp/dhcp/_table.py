"""The known options: their codes, their names, and what their values are."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from ..values import dataclass

_MAX_CODE = 254


class Kind(enum.Enum):
    """What an option's value is; the text tells how it is written."""

    ADDRESS = "an IPv4 address"
    ADDRESSES = "a list of IPv4 addresses"
    PAIRS = 'a list of pairs of IPv4 addresses ("10.0.0.0 10.0.0.1")'
    U8 = "a number from 0 to 255"
    U16 = "a number from 0 to 65535"
    U32 = "a number from 0 to 4294967295"
    I32 = "a number from -2147483648 to 2147483647"
    U8S = "a list of numbers from 0 to 255"
    U16S = "a list of numbers from 0 to 65535"
    BOOL = "true or false"
    FLAG = "true (its presence is its meaning)"
    STRING = "text"
    DOMAIN = "a domain name"
    DOMAINS = "a list of domain names"
    ROUTES = 'a list of routes ("10.0.0.0/8 via 10.0.0.1")'
    SUBOPTIONS = 'a list of sub-options ("1=0a0b")'
    VENDOR = 'a list of vendor data ("3561=0a0b", the enterprise number first)'
    MESSAGE_TYPE = "a message type"
    FQDN = "bytes in hexadecimal"
    BYTES = "bytes in hexadecimal"


@dataclass(slots=True, frozen=True)
class OptionInfo:
    """A known option: ``code``, ``name`` as in configurations, ``kind`` of value, the ``source`` that defines it."""

    code: int
    name: str
    kind: Kind
    source: str


_K = Kind
_RFC_2132: tuple[tuple[int, str, Kind], ...] = (
    (1, "subnet-mask", _K.ADDRESS),
    (2, "time-offset", _K.I32),
    (3, "routers", _K.ADDRESSES),
    (4, "time-servers", _K.ADDRESSES),
    (5, "name-servers", _K.ADDRESSES),
    (6, "dns-servers", _K.ADDRESSES),
    (7, "log-servers", _K.ADDRESSES),
    (8, "cookie-servers", _K.ADDRESSES),
    (9, "lpr-servers", _K.ADDRESSES),
    (10, "impress-servers", _K.ADDRESSES),
    (11, "resource-location-servers", _K.ADDRESSES),
    (12, "host-name", _K.STRING),
    (13, "boot-size", _K.U16),
    (14, "merit-dump", _K.STRING),
    (15, "domain-name", _K.STRING),
    (16, "swap-server", _K.ADDRESS),
    (17, "root-path", _K.STRING),
    (18, "extensions-path", _K.STRING),
    (19, "ip-forwarding", _K.BOOL),
    (20, "non-local-source-routing", _K.BOOL),
    (21, "policy-filter", _K.PAIRS),
    (22, "max-datagram-reassembly", _K.U16),
    (23, "default-ip-ttl", _K.U8),
    (24, "path-mtu-aging-timeout", _K.U32),
    (25, "path-mtu-plateau-table", _K.U16S),
    (26, "interface-mtu", _K.U16),
    (27, "all-subnets-local", _K.BOOL),
    (28, "broadcast-address", _K.ADDRESS),
    (29, "perform-mask-discovery", _K.BOOL),
    (30, "mask-supplier", _K.BOOL),
    (31, "router-discovery", _K.BOOL),
    (32, "router-solicitation-address", _K.ADDRESS),
    (33, "static-routes", _K.PAIRS),
    (34, "trailer-encapsulation", _K.BOOL),
    (35, "arp-cache-timeout", _K.U32),
    (36, "ieee802-3-encapsulation", _K.BOOL),
    (37, "default-tcp-ttl", _K.U8),
    (38, "tcp-keepalive-interval", _K.U32),
    (39, "tcp-keepalive-garbage", _K.BOOL),
    (40, "nis-domain", _K.STRING),
    (41, "nis-servers", _K.ADDRESSES),
    (42, "ntp-servers", _K.ADDRESSES),
    (43, "vendor-specific", _K.SUBOPTIONS),
    (44, "netbios-name-servers", _K.ADDRESSES),
    (45, "netbios-dd-servers", _K.ADDRESSES),
    (46, "netbios-node-type", _K.U8),
    (47, "netbios-scope", _K.STRING),
    (48, "font-servers", _K.ADDRESSES),
    (49, "x-display-managers", _K.ADDRESSES),
    (50, "requested-address", _K.ADDRESS),
    (51, "lease-time", _K.U32),
    (52, "overload", _K.U8),
    (53, "message-type", _K.MESSAGE_TYPE),
    (54, "server-identifier", _K.ADDRESS),
    (55, "parameter-request-list", _K.U8S),
    (56, "message", _K.STRING),
    (57, "max-message-size", _K.U16),
    (58, "renewal-time", _K.U32),
    (59, "rebinding-time", _K.U32),
    (60, "vendor-class", _K.STRING),
    (61, "client-identifier", _K.BYTES),
    (64, "nisplus-domain", _K.STRING),
    (65, "nisplus-servers", _K.ADDRESSES),
    (66, "tftp-server-name", _K.STRING),
    (67, "boot-file-name", _K.STRING),
    (68, "mobile-ip-home-agents", _K.ADDRESSES),
    (69, "smtp-servers", _K.ADDRESSES),
    (70, "pop3-servers", _K.ADDRESSES),
    (71, "nntp-servers", _K.ADDRESSES),
    (72, "www-servers", _K.ADDRESSES),
    (73, "finger-servers", _K.ADDRESSES),
    (74, "irc-servers", _K.ADDRESSES),
    (75, "streettalk-servers", _K.ADDRESSES),
    (76, "streettalk-directory-assistance-servers", _K.ADDRESSES),
)
_LATER: tuple[tuple[int, str, Kind, str], ...] = (
    (62, "netware-domain", _K.STRING, "RFC 2242"),
    (63, "netware-information", _K.SUBOPTIONS, "RFC 2242"),
    (77, "user-class", _K.BYTES, "RFC 3004"),
    (78, "slp-directory-agents", _K.BYTES, "RFC 2610"),
    (79, "slp-service-scope", _K.BYTES, "RFC 2610"),
    (80, "rapid-commit", _K.FLAG, "RFC 4039"),
    (81, "client-fqdn", _K.FQDN, "RFC 4702"),
    (82, "relay-agent-information", _K.SUBOPTIONS, "RFC 3046"),
    (83, "isns", _K.BYTES, "RFC 4174"),
    (85, "nds-servers", _K.ADDRESSES, "RFC 2241"),
    (86, "nds-tree-name", _K.STRING, "RFC 2241"),
    (87, "nds-context", _K.STRING, "RFC 2241"),
    (88, "bcmcs-controller-domains", _K.DOMAINS, "RFC 4280"),
    (89, "bcmcs-controllers", _K.ADDRESSES, "RFC 4280"),
    (90, "authentication", _K.BYTES, "RFC 3118"),
    (91, "client-last-transaction-time", _K.U32, "RFC 4388"),
    (92, "associated-addresses", _K.ADDRESSES, "RFC 4388"),
    (93, "client-architecture", _K.U16S, "RFC 4578"),
    (94, "client-network-interface", _K.BYTES, "RFC 4578"),
    (95, "ldap-url", _K.STRING, "RFC 3679"),
    (97, "client-machine-identifier", _K.BYTES, "RFC 4578"),
    (98, "user-authentication", _K.STRING, "RFC 2485"),
    (99, "civic-location", _K.BYTES, "RFC 4776"),
    (100, "posix-timezone", _K.STRING, "RFC 4833"),
    (101, "timezone-name", _K.STRING, "RFC 4833"),
    (108, "ipv6-only-preferred", _K.U32, "RFC 8925"),
    (114, "captive-portal", _K.STRING, "RFC 8910"),
    (116, "auto-configure", _K.U8, "RFC 2563"),
    (117, "name-service-search", _K.U16S, "RFC 2937"),
    (118, "subnet-selection", _K.ADDRESS, "RFC 3011"),
    (119, "domain-search", _K.DOMAINS, "RFC 3397"),
    (120, "sip-servers", _K.BYTES, "RFC 3361"),
    (121, "routes", _K.ROUTES, "RFC 3442"),
    (122, "cablelabs-client-configuration", _K.SUBOPTIONS, "RFC 3495"),
    (123, "geographic-location", _K.BYTES, "RFC 6225"),
    (124, "vendor-identifying-class", _K.VENDOR, "RFC 3925"),
    (125, "vendor-identifying-data", _K.VENDOR, "RFC 3925"),
    (136, "pana-agents", _K.ADDRESSES, "RFC 5192"),
    (137, "lost-server", _K.DOMAIN, "RFC 5223"),
    (138, "capwap-controllers", _K.ADDRESSES, "RFC 5417"),
    (139, "mos-addresses", _K.SUBOPTIONS, "RFC 5678"),
    (140, "mos-domains", _K.SUBOPTIONS, "RFC 5678"),
    (141, "sip-ua-domains", _K.DOMAINS, "RFC 6011"),
    (142, "andsf-servers", _K.ADDRESSES, "RFC 6153"),
    (143, "sztp-redirect", _K.BYTES, "RFC 8572"),
    (144, "geospatial-location", _K.BYTES, "RFC 6225"),
    (145, "forcerenew-nonce-capable", _K.U8S, "RFC 6704"),
    (146, "recursive-dns-selection", _K.BYTES, "RFC 6731"),
    (147, "dots-agent-name", _K.DOMAIN, "RFC 8973"),
    (148, "dots-agents", _K.ADDRESSES, "RFC 8973"),
    (150, "tftp-servers", _K.ADDRESSES, "RFC 5859"),
    (151, "status-code", _K.BYTES, "RFC 6926"),
    (152, "base-time", _K.U32, "RFC 6926"),
    (153, "start-time-of-state", _K.U32, "RFC 6926"),
    (154, "query-start-time", _K.U32, "RFC 6926"),
    (155, "query-end-time", _K.U32, "RFC 6926"),
    (156, "dhcp-state", _K.U8, "RFC 6926"),
    (157, "data-source", _K.U8, "RFC 6926"),
    (158, "pcp-servers", _K.BYTES, "RFC 7291"),
    (159, "port-parameters", _K.BYTES, "RFC 7618"),
    (161, "mud-url", _K.STRING, "RFC 8520"),
    (162, "encrypted-dns", _K.BYTES, "RFC 9463"),
    (175, "etherboot", _K.SUBOPTIONS, "iPXE"),
    (208, "pxelinux-magic", _K.BYTES, "RFC 5071"),
    (209, "pxelinux-config-file", _K.STRING, "RFC 5071"),
    (210, "pxelinux-path-prefix", _K.STRING, "RFC 5071"),
    (211, "pxelinux-reboot-time", _K.U32, "RFC 5071"),
    (212, "ipv6-rapid-deployment", _K.BYTES, "RFC 5969"),
    (213, "access-network-domain", _K.DOMAIN, "RFC 5986"),
    (249, "microsoft-routes", _K.ROUTES, "MS-DHCPE"),
    (252, "proxy-auto-discovery", _K.STRING, "WPAD"),
)

OPTIONS: Mapping[int, OptionInfo] = {
    info.code: info
    for info in sorted(
        [
            *(OptionInfo(code, name, kind, "RFC 2132") for code, name, kind in _RFC_2132),
            *(OptionInfo(*row) for row in _LATER),
        ],
        key=lambda info: info.code,
    )
}
"""The known options by code."""

# Names that other servers' configurations use.
_ALIASES = {
    "router": 3,
    "dns-server": 6,
    "domain-name-servers": 6,
    "hostname": 12,
    "mtu": 26,
    "broadcast": 28,
    "ntp-server": 42,
    "search": 119,
    "classless-static-route": 121,
    "classless-static-routes": 121,
    "ms-classless-static-routes": 249,
    "wpad": 252,
}
_CODES: Mapping[str, int] = {info.name: info.code for info in OPTIONS.values()} | _ALIASES


def option_code(option: int | str) -> int:
    """The code of an option given by name or number. Raises ValueError."""
    if isinstance(option, str):
        code = _CODES.get(option.lower())
        if code is None and option.isascii() and option.isdecimal() and len(option) <= len(str(_MAX_CODE)):
            code = int(option)
        if code is None:
            raise ValueError(f"unknown option {option!r}; use a name like dns-servers or a number")
        option = code
    if not 0 < option <= _MAX_CODE:
        raise ValueError(f"option code {option} is not between 1 and {_MAX_CODE}")
    return option


def option_name(code: int) -> str:
    """The option's name, or "option-" and its number if it has none."""
    info = OPTIONS.get(code)
    return info.name if info is not None else f"option-{code}"
