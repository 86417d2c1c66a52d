"""The configuration file: what is read, and how everything that is wrong in it is told at once, by line and key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.core import NodeConfig, Pool
from ddhcp.core import policy as core
from ddhcp.daemon.assemble import node_config
from ddhcp.daemon.cli import parse as parse_command_line
from ddhcp.daemon.errors import SettingsError, StartError
from ddhcp.daemon.settings import Setting, Settings, dhcp, load, parse, schema
from ddhcp.daemon.settings.document import effective, example
from ddhcp.daemon.settings.kinds import BadValue
from ddhcp.daemon.settings.lines import lines_of_keys
from ddhcp.daemon.settings.policy import make_policy

NETWORK = IPv4Network("10.0.0.0/16")


def read(text: str) -> Settings:
    return parse(text.encode(), "f.toml")


def refused(text: str) -> list[str]:
    with pytest.raises(SettingsError) as refusal:
        read(text)
    return list(refusal.value.lines)


def command_line(line: str, path: Path) -> Settings:
    return parse_command_line([*line.split(), "-F", str(path)]).settings()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ddhcp.toml"
    path.write_text(text)
    return path


# -- what is read ---------------------------------------------------------------------------------------------


def test_three_lines_are_enough() -> None:
    settings = read(
        'server-interface = "bat0"\nclient-interfaces = ["br-client", "br-hall"]\nnetwork = "10.0.128.0/17"\n'
    )
    assert settings[schema.SERVER_INTERFACE] == "bat0"
    assert settings[schema.CLIENT_INTERFACES] == ("br-client", "br-hall")
    network = settings[schema.NETWORK_SETTING]
    assert network is not None
    assert node_config(settings, network).pool == Pool(0x0A008000, 17, 32)


def test_an_empty_file_means_the_defaults() -> None:
    assert node_config(read(""), NETWORK) == NodeConfig(Pool(0x0A000000, 16, 32))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), ('"90"', 90), ('"90s"', 90), ('"1h30m"', 5400), ('"2d"', 172800), ('"1w"', 604800)],
)
def test_times_are_seconds_or_text_with_units(written: str, seconds: int) -> None:
    assert read(f"[dhcp]\nlease-time = {written}")[dhcp.LEASE_TIME_OF_ALL] == seconds


def test_options_are_given_by_name_or_code() -> None:
    settings = read('[options]\nrouters = ["10.0.0.1", "10.0.0.2"]\n6 = "10.0.0.53"\ndomain-name = "mesh.example"\n')
    assert settings[dhcp.OPTIONS_OF_ALL] == {
        3: bytes([10, 0, 0, 1, 10, 0, 0, 2]), 6: bytes([10, 0, 0, 53]), 15: b"mesh.example",
    }  # fmt: skip


def test_a_host_a_class_and_a_subnet() -> None:
    policy = make_policy(
        read(
            """
            [dhcp]
            max-lease-time = "1d"
            deny = ["02:00:00:00:00:66"]
            relays = ["10.1.0.0/24", "10.0.9.1"]
            [conflicts]
            probe = "always"
            [limits]
            discover-per-second = 7
            [[reservation]]
            mac = "02:00:00:00:00:01"
            address = "10.0.0.17"
            options = { dns-servers = ["10.0.0.3"] }
            [[reservation]]
            client-id = ["01:02", "text:laptop"]
            called = "Laptop"
            lease-time = 7200
            [[class]]
            name = "phones"
            vendor-class = ["yealink", "snom"]
            mac-prefix = "00:15:65"
            boot-file = "phone.cfg"
            [[subnet]]
            network = "10.0.5.0/24"
            ranges = ["10.0.5.10 - 10.0.5.99"]
            routers = ["10.0.5.1"]
            relays = ["10.0.5.1"]
            """
        )
    )
    printer, laptop = policy.reservations
    assert printer.hardware_addresses == (bytes.fromhex("020000000001"),)
    assert printer.address == int(IPv4Address("10.0.0.17"))
    assert printer.profile.options == {6: bytes([10, 0, 0, 3])}
    assert printer.profile.lease_time_s is None, "as for everyone"
    assert (laptop.client_ids, laptop.hostnames) == ((b"\x01\x02", b"laptop"), (b"Laptop",))
    assert laptop.profile.lease_time_s == 7200
    assert policy.classes == (
        core.ClientClass(
            "phones", vendor_prefixes=(b"yealink", b"snom"), mac_prefixes=(bytes.fromhex("001565"),),
            profile=core.Profile(boot_file=b"phone.cfg"),
        ),
    )  # fmt: skip
    (hall,) = policy.subnets
    assert str(hall.network) == "10.0.5.0/24"
    assert [str(each) for each in hall.ranges] == ["10.0.5.10-10.0.5.99"]
    assert [str(each) for each in policy.relays] == ["10.1.0.0/24", "10.0.9.1/32"]
    assert policy.denied == {bytes.fromhex("020000000066")}
    assert policy.everyone.max_lease_s == 86400
    assert policy.conflicts.probe is core.Probe.ALWAYS
    assert policy.limits.discover_per_s == 7


# -- flags and file -------------------------------------------------------------------------------------------


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'server-interface = "bat0"\n[claiming]\nblock-timeout = 90\ntentative-timeout = 9\n'
        '[options]\nrouters = ["10.0.0.1"]\ndns-servers = ["10.0.0.1"]\n[log]\nlevel = "warning"\n',
    )
    settings = command_line("-B 50 -o 6:4:10.0.0.53 -o ntp-servers=10.0.0.5 -v", path)
    assert (settings[schema.SERVER_INTERFACE], settings[schema.BLOCK_TIMEOUT]) == ("bat0", 50)
    assert settings[schema.TENTATIVE_TIMEOUT] == 9
    assert settings[dhcp.OPTIONS_OF_ALL] == {
        3: bytes([10, 0, 0, 1]), 6: bytes([10, 0, 0, 53]), 42: bytes([10, 0, 0, 5]),
    }, "an option on the command line replaces that one option"  # fmt: skip
    assert settings[schema.LOG_LEVEL] == "info", "one step more than the file says"
    assert settings.source(schema.BLOCK_TIMEOUT) == "-B"
    assert settings.source(schema.TENTATIVE_TIMEOUT) == f"{path}:4"
    assert settings.source(schema.SPARE_LEASES) == "default"


def test_no_clients_goes_before_the_interfaces_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'client-interfaces = ["a"]')
    assert command_line("-S", path)[schema.CLIENT_INTERFACES] == ()


def test_a_file_is_checked_together_with_the_flags(tmp_path: Path) -> None:
    path = written(tmp_path, "[claiming]\nblock-timeout = 30\ntentative-timeout = 30\n")
    with pytest.raises(SettingsError) as refusal:
        command_line("", path)
    assert refusal.value.lines == (
        f"{path}:2: claiming.block-timeout: block timeout 30 s must be longer than the tentative timeout (30 s)",
    )
    assert command_line("-t 5", path)[schema.BLOCK_TIMEOUT] == 30
    with pytest.raises(SettingsError, match=r"^-B: block timeout 20 s"):
        command_line("-B 20", path)


def test_what_is_in_force_reads_back_as_the_same(tmp_path: Path) -> None:
    text = """
        network = "10.0.0.0/16"
        [claiming]
        learning-phase = false
        [dhcp]
        relays = ["10.0.9.1"]
        [options]
        domain-search = ["a.example", "b.example"]
        routes = ["10.1.0.0/16 via 10.0.0.1"]
        224 = "00ff"
        [[reservation]]
        mac = "02:00:00:00:00:01"
        options = { tftp-server-name = 'quote " and \\ in it' }
        [[subnet]]
        network = "10.0.5.0/24"
        ranges = ["10.0.5.10-10.0.5.99"]
        """
    settings = command_line("-s 9 -o routers=10.0.0.1", written(tmp_path, text))
    again = read(effective(settings))
    assert node_config(again, NETWORK) == node_config(settings, NETWORK)
    assert "spare-leases = 9  # -s" in effective(settings)


# -- what is wrong --------------------------------------------------------------------------------------------


def test_everything_wrong_is_told_at_once_by_line_and_key() -> None:
    assert refused(
        """server-interface = "bat0"
network = "10.0.0.1/16"
spare_leases = 3

[claiming]
block-timeout = "5x"
spare-lease = 3
learning-phase = "yes"
[dhcp]
lease-time = 0
deny = [
  "02:00:00:00:00:01",
  "zz",
]
[nothing]
x = 1
[options]
dns-servers = ["10.0.0.300"]
no-such-option = 1
[[reservation]]
mac = "02:00:00:00:00:01"
[[reservation]]
mac = "02:00:00:00:00"
adress = "10.0.0.1"
[[subnet]]
name = "hall"
"""
    ) == [
        "f.toml:2: network: '10.0.0.1/16' is not a network (10.0.0.1/16 has host bits set); write it as 10.0.0.0/16",
        "f.toml:3: spare_leases: unknown key; did you mean claiming.spare-leases?",
        "f.toml:6: claiming.block-timeout: '5x' is not a whole number of at most 10 digits",
        "f.toml:7: claiming.spare-lease: unknown key; did you mean spare-leases?",
        'f.toml:8: claiming.learning-phase: "yes" is neither true nor false',
        "f.toml:10: dhcp.lease-time: 0 s is out of range; give 1 to 4294967294 seconds",
        'f.toml:11: dhcp.deny[2]: "zz" is not a hardware address; write it as 02:00:5e:10:00:01',
        "f.toml:15: nothing: unknown key",
        "f.toml:18: options.dns-servers: option dns-servers (6) takes a list of IPv4 addresses: "
        "'10.0.0.300' is not an IPv4 address",
        "f.toml:19: options.no-such-option: unknown option 'no-such-option'; use a name like dns-servers or a number",
        'f.toml:23: reservation[2].mac: "02:00:00:00:00" is not a hardware address; write it as 02:00:5e:10:00:01',
        "f.toml:24: reservation[2].adress: unknown key; did you mean address?",
        "f.toml:25: subnet[1]: lacks network",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[claiming]\nx = ", "f.toml:2: "),
        ("a = 1\na = 2", "f.toml:2: "),
        ("claiming = 3", "f.toml:1: claiming: 3 is not a table; write [claiming]"),
        ("reservation = 3", "f.toml:1: reservation: write [[reservation]] before each of them"),
        ("[reservation]\nmac = '02:00:00:00:00:01'", "write [[reservation]]"),
        ("client-interfaces = 'a'", 'f.toml:1: client-interfaces: "a" is not a list; put it in brackets'),
        ("client-interfaces = ['a/b']", "client-interfaces[1]"),
        ("block-bits = 8", "f.toml:1: block-bits: 8 is out of range; give 0 to 7"),
        ("block-bits = 1.5", "is not a whole number"),
        ("block-bits = true", "true is not a whole number"),
        ("[log]\nformat = 'jsn'", "did you mean json?"),
        ("[log]\nfile = 'ddhcp.log'", "is not a full path"),
        ("[options]\n53 = '01'", "f.toml:2: options.53: option 53 is set by the server itself; leave it out"),
        ("[options]\n82 = '01'", "f.toml:2: options.82: option 82 is set by the server itself; leave it out"),
        ("[options]\nserver-identifier = '0.0.0.0'", "f.toml:2: options.server-identifier: option 54 (server iden"),
        ("[dhcp]\nforce-options = [6, 55]", "f.toml:2: dhcp.force-options[2]: option 55 is set by the server itself"),
        ("[[dhcp]]\nlease-time = 5", "f.toml:1: dhcp: [{ lease-time = 5 }] is not a table; write [dhcp]"),
        ("[options]\nlease-time = 300", "dhcp.lease-time"),
        ("[options]\n51 = 300", "dhcp.lease-time"),
        ("[options]\n6 = '10.0.0.1'\ndns-servers = ['10.0.0.1']", "given twice"),
        ("network = 1979-05-27", "not a network"),
        ("[limits]\nnak-per-second = nan", "out of range"),
        ("x = " + "[" * 5000, "f.toml"),
        ("block-bits = " + "9" * 5000, "f.toml"),
        ('[hook]\ncommand = "a\\u0000b"', "zero byte"),
        ("[hook]\ncommand = ''", "is empty"),
        ('"\\u001b[31m" = 1', "unknown key"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_a_line(text: str, says: str) -> None:
    lines = refused(text)
    assert says in "\n".join(lines)
    for line in lines:
        assert line.isprintable()
        assert len(line) < 400


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"f\.toml:2: this is not UTF-8 text"):
        parse(b"\n\xff", "f.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[reservation]]\nname = 'x'", "f.toml:1: reservation[1]: host x: give a hardware address"),
        (
            "[[reservation]]\nmac = '02:00:00:00:00:01'\n"
            "[[reservation]]\nmac = ['02:00:00:00:00:02', '02-00-00-00-00-01']",
            "f.toml:4: reservation[2].mac: 02:00:00:00:00:01 stands at reservation[1] already",
        ),
        (
            "[[reservation]]\ncalled = 'A'\n[[reservation]]\ncalled = 'a'",
            "f.toml:4: reservation[2].called: a stands at reservation[1] already",
        ),
        ("[dhcp]\nlease-time = 100\nmin-lease-time = 200", "f.toml:1: dhcp: lease time 100 s is not between"),
        ("[[class]]\nname = 'a'", "f.toml:1: class[1]: class a: give a criterion"),
        ("[[subnet]]\nnetwork = '10.0.5.0/24'\nranges = ['10.0.5.9-10.0.5.1']", "f.toml:1: subnet[1]: range"),
        (
            "[[reservation]]\ncalled = 'a'\naddress = '10.0.0.9'\n[[reservation]]\ncalled = 'b'\naddress = '10.9.0.9'",
            "f.toml:4: reservation[2]: host 10.9.0.9: 10.9.0.9 is not an address of the pool",
        ),
        ("[[subnet]]\nnetwork = '10.9.0.0/24'", "f.toml:1: subnet[1]: subnet 10.9.0.0/24"),
        (
            "[[subnet]]\nnetwork = '10.0.5.0/24'\n[[subnet]]\nnetwork = '10.0.5.128/25'",
            "f.toml:4: subnet[2].network: 10.0.5.128/25 overlaps 10.0.5.0/24 of subnet[1]",
        ),
        (
            "[[subnet]]\nnetwork = '10.0.5.128/25'\n[[subnet]]\nnetwork = '10.0.6.0/24'\n"
            "[[subnet]]\nnetwork = '10.0.5.0/24'",
            "f.toml:6: subnet[3].network: 10.0.5.0/24 overlaps 10.0.5.128/25 of subnet[1]",
        ),
        ("dhcp.lease-time = 100\ndhcp.min-lease-time = 200", "f.toml:1: dhcp: lease time 100 s is not between"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_is_refused_at_its_table(text: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as refusal:
        node_config(command_line("", path), NETWORK)
    assert str(refusal.value).replace(str(path), "f.toml").startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("network = '10.0.0.0/31'", "f.toml:1: network: prefix length /31 is not between /8 and /30"),
        ("network = '10.0.0.0/7'", "f.toml:1: network: prefix length /7 is not between /8 and /30"),
        ("\nnetwork = '224.0.0.0/8'", "f.toml:2: network: 224.0.0.0/8 has no addresses that a host may use"),
        ("network = '10.0.0.0/28'", "f.toml:1: network: a block of 32 addresses is larger than the pool of 16"),
        (
            "network = '10.0.0.0/28'\nblock-bits = 6",
            "f.toml:2: block-bits: a block of 64 addresses is larger than the pool of 16",
        ),
        ("[swarm]\nkey-mode = 'mixed'", "f.toml:2: swarm.key-mode: says what to do with a key; give one"),
        ("[http]\ntoken-file = '/token'", "f.toml:2: http.token-file: does nothing without HTTP; say where"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_at_the_one_to_blame(text: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as refusal:
        command_line("", path)
    (line,) = refusal.value.lines
    assert line.replace(str(path), "f.toml").startswith(says)


def test_a_pool_that_is_none_is_refused_by_its_flag_as_well(tmp_path: Path) -> None:
    path = written(tmp_path, "block-bits = 5")
    for line, says in (
        ("-N 127.0.0.0/8", r"^-N: 127\.0\.0\.0/8 has no addresses"),
        ("-N 10.0.0.0/28", rf"^{path}:1: block-bits: a block of 32"),
        ("-N 10.0.0.0/28 -b 6", "^-b: a block of 64"),
    ):
        with pytest.raises(SettingsError, match=says):
            command_line(line, path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(StartError, match="directory"):
        load(tmp_path)
    with pytest.raises(StartError, match="larger than"):
        load(Path("/dev/zero"))


def test_a_file_with_very_many_errors_tells_some() -> None:
    lines = refused("\n".join(f"wrong{n} = 1" for n in range(1000)))
    assert len(lines) == 51
    assert lines[-1] == "f.toml: 950 more"


# -- the example ----------------------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    return "\n".join(line[1:] if line[:1] == "#" and line[1:2] not in ("", " ") else line for line in text.split("\n"))


def test_the_example_is_a_valid_file_as_it_is_and_changes_nothing() -> None:
    assert node_config(read(example()), NETWORK) == node_config(Settings(), NETWORK)


def test_the_example_has_every_setting_and_is_valid_with_all_of_them() -> None:
    settings = read(uncommented(example()))
    missing = [s.key for s in schema.SETTINGS if not settings.is_given(s)]
    assert not missing
    assert [len(settings.all_of(entries)) for entries in schema.ENTRIES] == [1] * len(schema.ENTRIES)
    node_config(settings, NETWORK)


def test_the_example_names_every_default() -> None:
    text = " ".join(line.removeprefix("#").strip() for line in example().split("\n"))
    for setting in schema.SETTINGS:
        assert setting.help in text, setting.key


# -- lines ----------------------------------------------------------------------------------------------------


def test_lines_of_keys_in_every_form() -> None:
    text = '''a = 1
"b.c" = """
x = 1
[no]
""" # [comment]
[t] # [u]
'lit' = [
  { inner = 1 },  # ]
  "]",
]
d.e = { f = "}" }
[[list]]
k = 1
[list.sub]
k = """""two quotes"""""
[[list]]
k = \'\'\'
[[list]]\'\'\'
[ "sp aced" . x ]
y=1'''
    tomllib.loads(text)
    assert lines_of_keys(text) == {
        ("a",): 1, ("b.c",): 2, ("t",): 6, ("t", "lit"): 7, ("t", "d"): 11, ("t", "d", "e"): 11,
        ("list",): 12, ("list", 0): 12, ("list", 0, "k"): 13,
        ("list", 0, "sub"): 14, ("list", 0, "sub", "k"): 15, ("list", 1): 16, ("list", 1, "k"): 17,
        ("sp aced",): 19, ("sp aced", "x"): 19, ("sp aced", "x", "y"): 20,
    }  # fmt: skip


def refusal_of(read: Callable[[], object]) -> str:
    """What the reader says against something, "" if nothing; any other exception fails the test."""
    try:
        read()
    except (SettingsError, BadValue) as error:
        return str(error).replace("\n", "")
    return ""


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """I33."""
    lines_of_keys(text)
    assert refusal_of(lambda: parse(text.encode("utf-8", "surrogatepass"), "f")).isprintable()


@pytest.mark.parametrize("text", ["deny = " + "[" * 20_000, "x = " + "{ y = " * 20_000, "a." * 20_000 + "b = 1"])
def test_i33_values_nested_beyond_reason(text: str) -> None:
    """CVE-2021-25217, and CVE-2026-3608 for files."""
    refusal = refusal_of(lambda: parse(f"[dhcp]\n{text}\n".encode(), "f"))
    assert refusal.startswith("f:")
    assert len(refusal) < 500


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
_ALL = [*schema.SETTINGS, *(setting for entries in schema.ENTRIES for setting in (*entries.settings, *entries.profile))]


@given(st.sampled_from(_ALL), _VALUES)
def test_no_value_breaks_a_setting(setting: Setting[object], value: object) -> None:
    assert refusal_of(lambda: setting.kind.read(value)).isprintable()


@pytest.mark.parametrize("setting", schema.SETTINGS, ids=lambda setting: str(setting.key))
def test_every_setting_is_told_whole(setting: Setting[object]) -> None:
    assert setting.help
    assert not setting.help.endswith(".")
    assert setting.kind.describe()
    assert setting.table in schema.TABLES
    assert not setting.flags or setting.flag_help
    assert setting.default is not None or setting.default_text
