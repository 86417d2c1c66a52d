"""docs/api.md against the API: no path, method or command that it leaves out or makes up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from ddhcp.core import Node
from ddhcp.daemon.api import Api, Host
from ddhcp.daemon.http.openapi import description
from ddhcp.daemon.recent import RecentEvents

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_every_path_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| `/api/v1([^`]*)` \| ([A-Z, ]+) \|", TEXT, re.MULTILINE)
    documented = {
        (re.sub(r"[A-Z]{2,}", "*", path), method) for path, methods in rows for method in methods.strip().split(", ")
    }
    described = {
        (re.sub(r"\{[a-z]+\}", "*", path), method.upper())
        for path, methods in description()["paths"].items()
        for method in methods
    }
    assert documented == described


def test_every_command_is_documented_and_no_other() -> None:
    table = TEXT.partition("| command | arguments |")[2]
    documented = {
        name
        for first in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
        for name in re.findall(r"`([a-z-]+)`", first)
    }
    api = Api(cast(Node, None), cast(Host, None), RecentEvents())
    assert documented == set(api.commands)
