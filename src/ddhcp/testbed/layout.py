"""Names and addresses of the test network: what hangs where.

::

    main namespace                                     namespace ddhcpd0 (one for each node)
    +------------------------------------------+      +-------------------------------+
    | br-srv --- srv0 ------------- veth ------|------|-- server0  fe80::/64          |
    |        \\-- srv1 ... the other realms     |      |                               |
    |                                          |      |   ./ddhcp runs here           |
    | clt0 --- clt0-up ------------ veth ------|------|-- client0  10.0.0.1/20        |
    |      \\-- ddhcpc4 --- veth --+            |      +-------------------------------+
    +-----------------------------|------------+
                                  |                    namespace ddhcpc4 (one for each client)
                                  +--------------------|-- eth0   a real DHCP client runs here

``cltX`` is a bridge, the realm's Ethernet: a DHCP client may run on it in the main namespace, while clients of
their own hang on it as ports. So a client moves as in real life, by its cable: the far end of its link changes the
bridge, and the client sees its carrier go and come, with interface, MAC address and running programs
untouched. (With macvlan interfaces on a plain pair the client's interface would have to be deleted and made anew, which
no moving client does.)

Hardware addresses are fixed and locally administered, so two runs look the same in a capture. ``client0`` has one and
the same in all realms: every node is the gateway 10.0.0.1, and a client that moved still has that address in its ARP
cache; its unicast renewal only arrives if the hardware address is right in the new realm as well.
"""

from __future__ import annotations

import re

SWARM_BRIDGE = "br-srv"
GATEWAY = "10.0.0.1"
PREFIX_LEN = 20
SERVER_INTERFACE = "server0"
CLIENT_INTERFACE = "client0"
HOST_INTERFACE = "eth0"  # of a client, inside its namespace

INTERFACE_GROUP = 0x64646863  # "ddhc": the kernel sets an interface's group as it creates it, so it marks what is ours
MAX_REALMS = 250
MAX_CLIENTS = 10_000

_NODE_NAMESPACE = re.compile(r"ddhcpd(0|[1-9][0-9]*)")
_CLIENT_NAMESPACE = re.compile(r"ddhcpc(0|[1-9][0-9]*)")


def node_namespace(realm: int) -> str:
    """The network namespace in which the realm's node runs."""
    return f"ddhcpd{realm}"


def client_namespace(client: int) -> str:
    """The network namespace of a client; the far end of its link, in the main namespace, has the same name."""
    return f"ddhcpc{client}"


def server_port(realm: int) -> str:
    """The main namespace's end of the realm's server link."""
    return f"srv{realm}"


def realm_bridge(realm: int) -> str:
    """The realm's Ethernet, on which its clients hang."""
    return f"clt{realm}"


def realm_uplink(realm: int) -> str:
    """The port of :func:`realm_bridge` that leads to the node."""
    return f"clt{realm}-up"


def realm_of_namespace(name: str) -> int | None:
    """The realm whose node lives in the namespace ``name``, ``None`` for any other name."""
    match = _NODE_NAMESPACE.fullmatch(name)
    return int(match[1]) if match else None


def client_of_namespace(name: str) -> int | None:
    """The client that lives in the namespace ``name``, ``None`` for any other name."""
    match = _CLIENT_NAMESPACE.fullmatch(name)
    return int(match[1]) if match else None


def _mac(kind: int, number: int) -> str:
    return f"02:dd:c0:{kind:02x}:{number >> 8:02x}:{number & 255:02x}"


SWARM_BRIDGE_MAC = _mac(0, 0)
GATEWAY_MAC = _mac(1, 0)
SHARED_SERVER_MAC = _mac(5, 0)  # of nodes that are to have one node id


def server_mac(realm: int) -> str:
    """Hardware address of server0 in a realm; the node takes its id from it."""
    return _mac(2, realm)


def realm_bridge_mac(realm: int) -> str:
    """Hardware address of cltX: the chaddr of a DHCP client that runs on it."""
    return _mac(3, realm)


def client_mac(client: int) -> str:
    """Hardware address of a client, the same in every realm."""
    return _mac(4, client)
