"""What the compiler is shown of the daemon at work, so that it lays out the code by the ways that packets take.

Runs the package in build/compiled, built with DDHCP_COMPILE=instrumented, whose processes count as they end. The
daemon itself takes part only as root, since it needs network namespaces; what then is not shown is compiled as ever.
"""

from __future__ import annotations

import os
import subprocess
import sys

from bench.node_cases import ROOT
from bench.peers import compiled_environment

NODE = ("bench.node", "--network", "10.0.0.0/16", "--peers", "10", "500", "--rounds", "3")
SWARMS = ("ddhcp.sim.main", "--seeds", "5", "--jobs", "1", "--quiet")
DAEMON = ("bench", "--only", "ddhcp", "--runs", "1", "--avalanche", "2000", "--json", os.devnull)


def main() -> int:
    """Returns the exit status: 0 if all was shown."""
    environment = {**os.environ, **compiled_environment()}
    shown = [NODE, SWARMS]
    if os.geteuid() == 0:
        shown.append(DAEMON)
    else:
        print("The daemon on sockets is not shown to the compiler: that needs root.", file=sys.stderr)
    for command in shown:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
