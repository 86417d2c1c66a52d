"""The wheel, installed by pipx and by uv as the documents say, in a home of its own and without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "install.md"
PROGRAMS = {"ddhcp", "ddhcpctl", "ddhcpdctl", "ddhcp-plan", "ddhcp-sim", "network-test"}
DASHBOARD = "from ddhcp.daemon.http import service; import importlib.resources as r; "
DASHBOARD += "print(r.files('ddhcp').joinpath('daemon/http/static/index.html').read_text()[:15])"


@pytest.mark.parametrize("installer", ["pipx", "uv"])
def test_the_wheel_is_installed_in_one_line(installer: str, tmp_path: Path) -> None:
    (command,) = re.findall(rf"^{installer} .*$", PAGE.read_text(), re.MULTILINE)
    wheels = ROOT / "build" / "wheels"
    assert wheels.is_dir(), "no wheels of what ddhcp needs; make test fetches them"
    environment = {  # pipx, too, lets uv install where it finds it
        "HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "UV_PYTHON": sys.executable, "UV_OFFLINE": "1", "UV_FIND_LINKS": str(wheels), "UV_NO_CONFIG": "1",
    }  # fmt: skip

    def run(*words: str) -> str:
        result = subprocess.run(words, env=environment, cwd=ROOT / "dist", capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{words}: {result.stdout}\n{result.stderr}"
        return result.stdout

    run("sh", "-c", command)
    programs = tmp_path / ".local" / "bin"
    assert {path.name for path in programs.iterdir()} >= PROGRAMS
    assert run(str(programs / "ddhcp"), "--version").startswith("ddhcp ")
    run(str(programs / "ddhcp"), "--check-config", str(ROOT / "packaging" / "examples" / "mesh.toml"))
    run(str(programs / "ddhcpctl"), "--help")
    python = (programs / "ddhcp").resolve().parent / "python"
    assert run(str(python), "-c", DASHBOARD) == "<!doctype html>\n"
