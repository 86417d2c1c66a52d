"""What the documents tell the reader to type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
READMES = ("README.md", "bench/README.md", "packaging/examples/README.md")
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in READMES)]

_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'\btitle="([^"]+)"')
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_ASSIGNMENT = re.compile(r"\w+=\S*$")
# A word in capitals, dots or a choice stand for something that the reader has to fill in.
_FORM = re.compile(r"(?<![\w=@-])[A-Z]+(?![\w=])|_[A-Z]+_|\.\.\.|…|\|| \[")

# The first words of what is a command wherever it stands.
PROGRAMS = {
    "apt", "apt-get", "base64", "batctl", "chgrp", "chmod", "chown", "cp", "curl", "ddhcp", "ddhcp-plan", "ddhcp-sim",
    "ddhcpctl", "ddhcpd", "ddhcpdctl", "dhclient", "dhcpcd", "dnsmasq", "docker", "dpkg", "ethtool", "git", "grep",
    "head", "ip", "journalctl", "kill", "make", "man", "mkdir", "mkdocs", "mv", "network-test", "openssl", "ping",
    "pip", "pipx", "printf", "prometheus", "promtool", "pytest", "python", "python3", "rm", "scp", "sqlite3", "ssh",
    "sudo", "sysctl", "systemctl", "systemd-analyze", "tcpdump", "tshark", "udhcpc", "umask", "unbound",
    "unbound-control", "uv", "wget",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block: what is typed (``sh``), a file (with a title), or something that is shown."""

    language: str
    title: str | None
    text: str


def name(page: Path) -> str:
    """How a page is called in tests."""
    return str(page.relative_to(ROOT)).removeprefix("docs/")


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for indent, information, text in _FENCE.findall(page.read_text()):
        title = _TITLE.search(information)
        language = information.split()[0] if information.split() else ""
        found.append(Block(language, title[1] if title else None, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)))
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def lines(text: str) -> list[str]:
    """The command lines of a script: continued lines are one, comments and what is handed to a command are left out."""
    found: list[str] = []
    end = None
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if end is not None:
            end = None if line == end else end
            continue
        here = re.search(r"<<-?'?(\w+)'?", line)
        end = here[1] if here else None
        bare = re.sub(r"\s+#.*$", "", line).strip()
        if bare and not bare.startswith("#"):
            found.append(bare)
    return found


def program(line: str) -> str:
    """The program that a command line runs, without its directory."""
    words = line.lstrip("(").split()
    while words and _ASSIGNMENT.match(words[0]):
        words.pop(0)
    return words[0].rpartition("/")[2] if words else ""


def typed(page: Path) -> list[str]:
    """The command lines of a page's blocks."""
    return [line for block in blocks(page) if block.language == "sh" for line in lines(block.text)]


def spans(page: Path) -> Iterator[str]:
    """The commands within a page's sentences: with an argument, and nothing to be filled in."""
    for span in _SPAN.findall(prose(page)):
        text = " ".join(span.split())
        if " " in text and program(text) in PROGRAMS and not _FORM.search(text):
            yield text
