"""Documents that are made from definitions in the code are up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ddhcp.daemon.assemble import node_config
from ddhcp.daemon.settings import parse, schema

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for number, text in enumerate(CONFIGURATION.findall(page.read_text()))
]


def test_generated_documents_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "tools" / "documents.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("text", EXAMPLES)
def test_configurations_in_the_documents_can_be_used(text: str) -> None:
    settings = parse(text.encode(), "page.md")
    node_config(settings, settings[schema.NETWORK_SETTING] or IPv4Network("10.0.0.0/24"))
