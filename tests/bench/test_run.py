"""The whole benchmark over a real link, against the echo."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from bench.peers import CEILING
from bench.run import main

pytestmark = pytest.mark.netns


def test_measure_the_generator_itself(isolated: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results" / "bench.json"
    status = main(["--only", CEILING, "--clients", "60", "--rounds", "2", "--runs", "1", "--json", str(path)])
    result = json.loads(path.read_text())["servers"][CEILING]
    phases = {name: (result[name]["done"], result[name]["failed"]) for name in ("unloaded", "acquire", "renew")}
    assert phases == {"unloaded": (30, 0), "acquire": (60, 0), "renew": (120, 0)}
    assert result["check"] == {"duplicates": 0, "foreign_replies": 0}
    assert CEILING in capsys.readouterr().out
    assert status == 0
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"ddhcp-bench-{os.getpid()}" not in left
