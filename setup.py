"""The build: pure Python, or with ``DDHCP_COMPILE=1`` what every packet passes as a C extension made by mypyc.

Both come of one source. The compiled package contains the Python files as well: without its ``.so`` files it is pure.
``DDHCP_COMPILE=instrumented`` builds one that counts what it executes, ``profiled`` one that is laid out by these
counts, both by gcc and in the same directory: `make compiled` does the one, then the other.
"""

from __future__ import annotations

import os
import sys

from setuptools import Extension, setup

# What packets pass, by package. The rest is not worth the compiler's time and stays Python.
HOT = {
    "dhcp": "_delivery _frame _message _reply _request",
    "swarm": "_address _codec _extensions _messages",
    "core": (
        "ack_gate addresses ages announcing blocks choice claim_memory claims config consents context decisions "
        "effects endings familiar events extensions forwarding handover hearsay hello holds inquiring leases "
        "limits locates lookup node offers orphans outbox own_share peer_memory peers policy pool presence probing "
        "questions records refreshes replicas replication reopening replies restoring ring server shares supply sync "
        "terms told_leases trust"
    ),
    "sim": "classic clock engine host network watch",
    "daemon": "changes client_link committer datagrams event_log latency lease_rows links performer server_link",
}

# What the C compiler is told, by the value of DDHCP_COMPILE. Nothing but the entry point is seen from outside, so that
# calls within need no table. A warning takes half of all the time, since it looks up columns in a file of 70 MB. Counts
# of two threads may not add up; what was never executed is compiled as ever.
ALWAYS = ["-fvisibility=hidden", "-Wno-misleading-indentation"]
FLAGS = {
    "1": ALWAYS,
    "instrumented": [*ALWAYS, "-fprofile-generate"],
    "profiled": [
        *ALWAYS, "-fprofile-use", "-fprofile-partial-training", "-fprofile-correction", "-Wno-missing-profile",
    ],
}  # fmt: skip


def extensions() -> list[Extension]:
    """The C extensions to build; none unless asked for. Needs mypy and a C compiler."""
    kind = os.environ.get("DDHCP_COMPILE", "")
    if kind in ("", "0"):
        return []
    if kind not in FLAGS:
        sys.exit(f"DDHCP_COMPILE is {kind!r}; it may be {', '.join(FLAGS)}, or empty for pure Python")
    from mypyc.build import mypycify

    paths = [f"src/ddhcp/{package}/{name}.py" for package, names in HOT.items() for name in names.split()]
    modules: list[Extension] = mypycify(
        ["--config-file", "", *filter(os.path.exists, paths)], opt_level="2", debug_level="0", group_name="ddhcp"
    )
    for module in modules:
        module.extra_compile_args = [*module.extra_compile_args, *FLAGS[kind]]  # a list that they share
        module.extra_link_args = [*module.extra_link_args, *FLAGS[kind]]
    return modules


setup(ext_modules=extensions())
