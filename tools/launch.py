"""Runs one of the project's commands from a checkout in which it is not installed (see ``launch``)."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

MODULES = {
    "ddhcp": "ddhcp.daemon.main",
    "ddhcpctl": "ddhcp.ctl.main",
    "ddhcp-plan": "ddhcp.plan.main",
    "ddhcp-sim": "ddhcp.sim.main",
    "network-test": "ddhcp.testbed.main",
}


def main() -> int:
    """Run the command named by the first argument; its exit status."""
    root = Path(__file__).resolve().parent.parent
    name = sys.argv[1]
    for package in ("pyroute2", "rich"):
        if importlib.util.find_spec(package) is None:
            print(f"{name}: the Python package {package} is missing; run `make venv` in {root}", file=sys.stderr)
            return 2
    sys.path.insert(0, str(root / "src"))
    sys.argv = [name, *sys.argv[2:]]
    status: int = importlib.import_module(MODULES[name]).main()
    return status


if __name__ == "__main__":
    sys.exit(main())
