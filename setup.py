"""The build: pure Python, or with ``DDHCP_COMPILE=1`` what every packet passes as a C extension made by mypyc.

Both come of one source. The compiled package contains the Python files as well: without its ``.so`` files it is pure.
"""

from __future__ import annotations

import os

from setuptools import setup

# What packets pass, by package. The rest is not worth the compiler's time and stays Python.
HOT = {
    "dhcp": "_delivery _frame _message _reply _request",
    "swarm": "_address _codec _extensions _messages",
    "core": (
        "ack_gate addresses ages announcing blocks choice claim_memory claims config context decisions "
        "effects endings familiar events extensions forwarding handover hearsay hello holds inquiring leases "
        "limits locates lookup node offers orphans outbox peer_memory peers policy pool presence probing "
        "questions records refreshes replicas replication reopening replies restoring ring server shares supply sync "
        "terms told_leases trust"
    ),
    "sim": "classic clock engine host network watch",
    "daemon": "changes client_link committer datagrams event_log latency lease_rows links performer server_link",
}


def extensions() -> list[object]:
    """The C extensions to build; none unless asked for. Needs mypy and a C compiler."""
    if os.environ.get("DDHCP_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    paths = [f"src/ddhcp/{package}/{name}.py" for package, names in HOT.items() for name in names.split()]
    modules: list[object] = mypycify(
        ["--config-file", "", *filter(os.path.exists, paths)], opt_level="2", debug_level="0", group_name="ddhcp"
    )
    return modules


setup(ext_modules=extensions())
