"""Every setting there is. How to add one: docs/development.md, "How to add a setting"."""

from __future__ import annotations

import re
from ipaddress import IPv4Network

from ...core import Pool, PoolError
from ...core import config as core
from ..hooks import EVENT_NAMES
from ..http.listen import parse_listen
from . import dhcp
from .kinds import INTERFACE, NETWORK, PATH, STORE, SWITCH, BadValue, Choice, ListOf, Seconds, Text, Whole, shown
from .policy import policy_problems
from .setting import Check, Entries, Problem, Setting, Settings

MAX_BLOCK_BITS = 7
MAX_CLIENT_INTERFACES = 64  # each has two sockets and an entry in every wait
MAX_SPARE_LEASES = 65536  # what one node keeps ready; more would be most of a pool
MAX_HTTP_NAMES = 16
MAX_DOMAIN = 180  # characters; with a host's label before it, a name has at most 253
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_YEAR_S = 366 * 86400


def check_domain(text: str) -> None:
    """Raises BadValue unless it is a domain name."""
    if len(text) > MAX_DOMAIN or not _DOMAIN.fullmatch(text):
        raise BadValue(f"{shown(text)} is not a domain name; write it as mesh.example.org")


def check_listen(text: str) -> None:
    """Raises BadValue unless HTTP can be served there."""
    try:
        parse_listen(text)
    except ValueError as error:
        raise BadValue(str(error)) from None


# --- links and pool ---------------------------------------------------------------------------------

SERVER_INTERFACE = Setting(
    "server-interface", INTERFACE, "server0",
    "The interface on which to talk to the other servers. It needs no IPv4 address and may appear later",
    example="bat0", flags=("-i", "--server-interface"),
    flag_help="talk to the other servers on IFACE; needs no IPv4 address",
)  # fmt: skip
CLIENT_INTERFACES = Setting(
    "client-interfaces", ListOf(INTERFACE, MAX_CLIENT_INTERFACES), ("client0",),
    "The interfaces on which to serve clients; each needs an IPv4 address. An empty list: take part in the swarm only",
    example=["br-client"], flags=("-c", "--client-interface"), reloadable=True,
    flag_help="handle clients' requests on IFACE, which needs an IPv4 address; repeatable",
)  # fmt: skip
NETWORK_SETTING: Setting[IPv4Network | None] = Setting(
    "network", NETWORK, None,
    "The address pool, /8 to /30, the same on every node", "the network of the first client interface's address",
    example="10.0.0.0/16", flags=("-N", "--network"), flag_help="the pool, /8 to /30",
)  # fmt: skip
BLOCK_BITS = Setting(
    "block-bits", Whole(0, MAX_BLOCK_BITS, "BITS"), core.DEFAULT_BLOCK_BITS,
    "A block, what one node claims at a time, has 2^this many addresses; the same on every node",
    flags=("-b", "--block-bits"), flag_help="a block has 2^BITS addresses, 0 to 7",
)  # fmt: skip

# --- claiming ---------------------------------------------------------------------------------------

TENTATIVE_TIMEOUT = Setting(
    "claiming.tentative-timeout", Seconds(core.MIN_TENTATIVE_TIMEOUT_S, core.MAX_BLOCK_TIMEOUT_S - 1),
    core.DEFAULT_TENTATIVE_TIMEOUT_S, "Time required for a block to be claimed: others may object for so long",
    flags=("-t", "--tentative-timeout"), reloadable=True,
    flag_help="time required for a block to be claimed, 2 or more",
)  # fmt: skip
BLOCK_TIMEOUT = Setting(
    "claiming.block-timeout", Seconds(1, core.MAX_BLOCK_TIMEOUT_S), core.DEFAULT_BLOCK_TIMEOUT_S,
    "How long a claim holds unless it is refreshed; blocks with leases are claimed for longer. Longer than the "
    "tentative timeout",
    flags=("-B", "--block-timeout"), reloadable=True,
    flag_help="how long a claim holds unless it is refreshed; blocks with leases are claimed for longer",
)  # fmt: skip
NEEDLESS_TIMEOUT = Setting(
    "claiming.needless-timeout", Seconds(0, _YEAR_S), core.DEFAULT_NEEDLESS_TIMEOUT_S,
    "Give up a block that nobody needed for this long",
    flags=("-n", "--needless-timeout"), reloadable=True, flag_help="give up a block that nobody needed for this long",
)  # fmt: skip
SPARE_LEASES = Setting(
    "claiming.spare-leases", Whole(0, MAX_SPARE_LEASES), core.DEFAULT_SPARE_LEASES,
    "Free leases kept ready, so that a new client does not wait for a block to be claimed",
    flags=("-s", "--spare-leases"), reloadable=True, flag_help="free leases kept ready",
)  # fmt: skip
PREFER_AVAILABILITY = Setting(
    "claiming.prefer-availability", SWITCH, False,
    "While a known node is missing, claim any free block, not only those that the missing node, if it lives beyond a "
    "parted link, does not claim too: fewer clients wait, and an address may get two clients", reloadable=True,
)  # fmt: skip
MAX_NEW_BLOCKS = Setting(
    "claiming.max-new-blocks", Whole(1, 65536), core.DEFAULT_MAX_NEW_BLOCKS_PER_MIN,
    "How many blocks this node claims in a minute at most, so that one node's demand does not empty the pool at once",
    reloadable=True,
)  # fmt: skip
LEARNING_PHASE = Setting(
    "claiming.learning-phase", SWITCH, True,
    "Listen after the start before claiming: for the block timeout, or 0.4 of it where no classic node is heard",
    flags=("-L", "--no-learning"), flag_value=False, flag_help="deactivate the learning phase after the start",
)  # fmt: skip

# --- the swarm --------------------------------------------------------------------------------------

KEY_FILE: Setting[str | None] = Setting(
    "swarm.key-file", PATH, None,
    "The key that all servers share: messages of whoever lacks it are not heard. A file, or a directory of files while "
    "keys are changed: all are accepted, and the one whose name sorts last signs. Read again on SIGHUP",
    "none: messages are not authenticated, and classic nodes can take part",
    example="/etc/ddhcp/keys", flags=("--key-file",),
    flag_help="the key that all servers share, or a directory of keys (default: none)",
)  # fmt: skip
KEY_MODE = Setting(
    "swarm.key-mode", Choice("strict", "mixed"), "strict",
    "With a key: hear only who has it, or (mixed, while servers are given the key one after the other) the others as "
    "well, but believe those less",
    flags=("--key-mode",), reloadable=True,
    flag_help="hear only who has the key, or the others as well while keys are given out",
)  # fmt: skip
REPLICAS = Setting(
    "swarm.replicas", Whole(0, core.MAX_REPLICAS), core.DEFAULT_REPLICAS,
    "How many other servers know every lease of this one, so that its clients keep their addresses when it fails",
    flags=("--replicas",), flag_help="how many other servers know this one's leases",
)  # fmt: skip
REPLICAS_BEFORE_ACK = Setting(
    "swarm.replicas-before-ack", Whole(0, core.MAX_REPLICAS), 0,
    "How many other servers must know a lease before its client is answered, waited for 0.6 s at most: leases then "
    "survive a server that is lost with its disk at that very moment",
    reloadable=True,
)  # fmt: skip

# --- running ----------------------------------------------------------------------------------------

HOOK: Setting[str | None] = Setting(
    "hook.command", Text("a command line; no shell is involved", "COMMAND"), None,
    "Run with what happened: lease, release or inform with the address and the MAC, or endlearning", "none",
    example="/etc/ddhcp/hook", flags=("-H", "--hook"), reloadable=True,
    flag_help="run COMMAND lease|release|inform IP MAC, or endlearning",
)  # fmt: skip
HOOK_EVENTS = Setting(
    "hook.events", ListOf(Choice(*EVENT_NAMES), len(EVENT_NAMES)), (),
    "What the hook is told besides, each by a call of its own with the values in its environment", "none",
    example=["claim", "unclaim", "conflict", "peer-up", "peer-down"], flags=("--hook-event",), reloadable=True,
    flag_help="run the hook for this as well; repeatable",
)  # fmt: skip
STORE_PATH: Setting[str | None] = Setting(
    "store.path", STORE, None,
    "The database of leases; \"memory\" for none, so that a restart forgets them",
    "a file named by server interface and pool in the state directory, /var/lib/ddhcp for root",
    example="/var/lib/ddhcp/leases.sqlite", flags=("--store",),
    flag_help="database of leases, or 'memory' for none (default: in the state directory)",
)  # fmt: skip
RENEWAL_SLACK = Setting(
    "store.renewal-slack", Seconds(0, 86400), core.DEFAULT_RENEWAL_SLACK_S,
    "Renewals of one lease in this time after a write need no other write, which spares flash memory; the price is "
    "that after a crash an address may stay taken for one more lease time. 0: every renewal is written",
    reloadable=True,
)  # fmt: skip
CONTROL_SOCKET: Setting[str | None] = Setting(
    "control.socket", PATH, None, "The socket on which ddhcpctl talks to the daemon", "ddhcp.sock in the runtime "
    "directory, /run/ddhcp for root", example="/run/ddhcp/ddhcp.sock", flags=("-C", "--control"),
    flag_help="control socket",
)  # fmt: skip
HTTP_LISTEN: Setting[str | None] = Setting(
    "http.listen", Text("ADDRESS:PORT, a port of the loopback address, or unix:PATH", "ADDRESS:PORT", check_listen),
    None, "Where to serve metrics, the JSON API and the dashboard", "nowhere", example="127.0.0.1:8067",
    flags=("--http",),
    flag_help="serve metrics, the JSON API and a dashboard there; PORT alone is on the loopback address, unix:PATH a "
    "socket",
)  # fmt: skip
HTTP_NAMES = Setting(
    "http.names", ListOf(Text("a host name", "NAME"), MAX_HTTP_NAMES), (),
    "Host names under which browsers may ask, besides addresses and localhost: for a reverse proxy", "none",
    example=["mesh.example.org"], flags=("--http-name",),
    flag_help="a host name under which browsers may ask, besides addresses; repeatable",
)  # fmt: skip
HTTP_TOKEN_FILE: Setting[str | None] = Setting(
    "http.token-file", PATH, None,
    "A file with the word that requests must bear which change something (Authorization: Bearer)",
    "none; nothing can be changed over HTTP", example="/etc/ddhcp/http.token", flags=("--http-token-file",),
    flag_help="file with the token that changes over HTTP need; without it nothing can be changed",
)  # fmt: skip
NAMES_FILE: Setting[str | None] = Setting(
    "names.file", PATH, None,
    "Keep a file of the leases' host names there, for a name server", "none", example="/run/ddhcp/names/hosts",
    flags=("--hosts-file",), flag_help="keep a file of the leases' host names there, for a name server",
)  # fmt: skip
NAMES_DOMAIN: Setting[str | None] = Setting(
    "names.domain", Text("a domain name", "DOMAIN", check_domain), None,
    "The domain that the names are in", "none; names stand alone", example="mesh.example.org", flags=("--domain",),
    flag_help="the domain of the names in the hosts file",
)  # fmt: skip
NAMES_FORMAT = Setting(
    "names.format", Choice("hosts", "unbound"), "hosts",
    "As /etc/hosts, which dnsmasq and others read, or as local-data to be included by unbound",
)  # fmt: skip
PID_FILE: Setting[str | None] = Setting(
    "process.pid-file", PATH, None, "Where to write the process id", "none; with -d, beside the control socket",
    example="/run/ddhcp/ddhcp.pid", flags=("--pid-file",),
    flag_help="where to write the process id (default with -d: beside the control socket)",
)  # fmt: skip
DAEMONIZE = Setting(
    "process.daemonize", SWITCH, False, "Run in the background", flags=("-d", "--daemonize"), flag_value=True,
    flag_help="run in the background",
)  # fmt: skip
USER: Setting[str | None] = Setting(
    "process.user", Text("the name of a user", "USER"), None,
    "Become this user after the start, with no capabilities but those for port 67 and raw frames. Its directories are "
    "made if they do not exist; others must be writable for it", "stay who started it", example="ddhcp",
    flags=("--user",), flag_help="become USER, keeping only what sockets need",
)  # fmt: skip
GROUP: Setting[str | None] = Setting(
    "process.group", Text("the name of a group", "GROUP"), None, "The group to become", "that of the user",
    example="ddhcp", flags=("--group",), flag_help="the group to become",
)  # fmt: skip
LOG_FILE: Setting[str | None] = Setting(
    "log.file", PATH, None, "Log to this file, which is opened anew on SIGHUP", "none",
    example="/var/log/ddhcp.log", flags=("--log-file",), flag_help="log to a file, reopened on SIGHUP", reloadable=True,
)  # fmt: skip
SYSLOG = Setting(
    "log.syslog", SWITCH, False, "Log to syslog, unless there is a log file", "false; with -d, true",
    flags=("--syslog",), flag_value=True, flag_help="log to syslog (default with -d)", reloadable=True,
)  # fmt: skip
LOG_FORMAT = Setting(
    "log.format", Choice("text", "json"), "text", "How a line is written", flags=("--log-format",),
    flag_help="how a line is written", reloadable=True,
)  # fmt: skip
LOG_LEVEL = Setting(
    "log.level", Choice("warning", "info", "debug"), "info",
    "The least important events that are logged; each -v on the command line goes one step further", reloadable=True,
)  # fmt: skip

# The tables of the file, in its order, with a line about each.
TABLES = {
    "": "",
    "claiming": "How this node claims blocks of the pool.",
    "swarm": "What the servers share.",
    "dhcp": "What clients get.",
    "conflicts": "Addresses that somebody else uses.",
    "limits": "What clients may cost.",
    "hook": "A program of yours that is told what happens.",
    "store": "Where leases survive a restart.",
    "control": "How ddhcpctl reaches the daemon.",
    "http": "Metrics, a JSON API and a dashboard, for those who may reach it.",
    "names": "The leases' host names, for a name server.",
    "process": "The daemon as a process.",
    "log": "What is logged, and where to.",
    "options": "DHCP options for every client.",
}

SETTINGS: tuple[Setting[object], ...] = (
    SERVER_INTERFACE, CLIENT_INTERFACES, NETWORK_SETTING, BLOCK_BITS,
    TENTATIVE_TIMEOUT, BLOCK_TIMEOUT, NEEDLESS_TIMEOUT, SPARE_LEASES, LEARNING_PHASE, PREFER_AVAILABILITY,
    MAX_NEW_BLOCKS,
    KEY_FILE, KEY_MODE, REPLICAS, REPLICAS_BEFORE_ACK,
    HOOK, HOOK_EVENTS, STORE_PATH, RENEWAL_SLACK, CONTROL_SOCKET,
    HTTP_LISTEN, HTTP_NAMES, HTTP_TOKEN_FILE, NAMES_FILE, NAMES_DOMAIN, NAMES_FORMAT,
    PID_FILE, DAEMONIZE, USER, GROUP, LOG_FILE, SYSLOG, LOG_FORMAT, LOG_LEVEL,
    *dhcp.SETTINGS,
)  # fmt: skip
ENTRIES: tuple[Entries, ...] = dhcp.ENTRIES


def _timeouts(settings: Settings) -> list[Problem]:
    block_s, tentative_s = settings[BLOCK_TIMEOUT], settings[TENTATIVE_TIMEOUT]
    if tentative_s < block_s:
        return []
    to_blame = BLOCK_TIMEOUT if settings.is_given(BLOCK_TIMEOUT) else TENTATIVE_TIMEOUT
    reason = f"block timeout {block_s} s must be longer than the tentative timeout ({tentative_s} s)"
    return [Problem(reason, to_blame.place)]


def _pool(settings: Settings) -> list[Problem]:
    network = settings[NETWORK_SETTING]
    if network is None:
        return []  # known at the start only
    for to_blame, bits in ((NETWORK_SETTING, 0), (BLOCK_BITS, settings[BLOCK_BITS])):
        try:
            Pool(int(network.network_address), network.prefixlen, 1 << bits)
        except PoolError as error:
            return [Problem(str(error), to_blame.place if settings.is_given(to_blame) else NETWORK_SETTING.place)]
    return []


def _missing_half(settings: Settings) -> list[Problem]:
    """Settings that do nothing without another one."""
    problems = []
    if settings.is_given(KEY_MODE) and settings[KEY_FILE] is None:
        problems.append(
            Problem("says what to do with a key; give one with --key-file (swarm.key-file)", KEY_MODE.place)
        )
    if settings.is_given(HTTP_TOKEN_FILE) and settings[HTTP_LISTEN] is None:
        reason = "does nothing without HTTP; say where to serve with --http ADDRESS:PORT (http.listen)"
        problems.append(Problem(reason, HTTP_TOKEN_FILE.place))
    return problems


CHECKS: tuple[Check, ...] = (_timeouts, _pool, _missing_half, policy_problems)
