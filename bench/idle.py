"""Life cycle packets of idle meshes, ours and (if there is one) of the classic daemon, side by side: every node has one
client that holds a lease, and nothing happens. Run in a namespace of its own; prints one JSON object."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict

from bench.network import inside
from bench.peers import classic_program
from ddhcp.testbed import kernel, layout, lifecycle
from ddhcp.testbed.mesh import Mesh
from ddhcp.testbed.programs import BUILTIN

READY_S = 90.0
# Clients come within ten seconds and renew their leases, which last 300 s, at some 135 to 150 s; replicas are told of
# renewals. So it is heard between the first ones and the next.
SETTLE_S = 160.0
_POOL = "10.0.0.0/20"


def measure(nodes: int, seconds: float, *, is_classic: bool) -> lifecycle.LifeCycle:
    """What ``nodes`` nodes of one kind send."""
    program = classic_program() if is_classic else None
    with Mesh(nodes) as mesh:
        running = []
        for realm in range(nodes):
            options = ["-L", "-t", "2", "-s", "2", "-N", _POOL, "-i", "server0", "-c", "client0"]
            if program is None:
                mesh.start(realm, *options, "--store", "memory")
            else:
                command = [program, "-D", *options, "-C", str(mesh.network.runtime_directory(realm) / "ctl")]
                running.append(
                    subprocess.Popen(
                        inside(layout.node_namespace(realm), command), env=mesh.network.node_environment(realm),
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    )
                )  # fmt: skip
        try:
            clients = [mesh.join(realm, BUILTIN) for realm in range(nodes)]
            for client in clients:
                mesh.wait_for_lease(client, READY_S)
            time.sleep(SETTLE_S)
            return lifecycle.measure(mesh.network, seconds)
        finally:
            for process in running:
                process.terminate()
                process.wait()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="idle", description=__doc__)
    parser.add_argument("--nodes", type=int, default=10, metavar="N")
    parser.add_argument("--seconds", type=float, default=100.0, metavar="S")
    parser.add_argument("--classic", action="store_true")
    options = parser.parse_args()
    kernel.isolate()
    print(json.dumps(asdict(measure(options.nodes, options.seconds, is_classic=options.classic))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
