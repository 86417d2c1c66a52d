"""Writes the man pages and the shell completions, from the very definitions that ``--help`` prints.

Usage: python packaging/pages.py DIRECTORY
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from ddhcp import __version__
from ddhcp.ctl.main import build_parser as ctl_parser
from ddhcp.daemon.cli import build_parser as daemon_parser
from ddhcp.plan.main import build_parser as plan_parser
from ddhcp.testbed.main import build_parser as testbed_parser

# Program, its parser, and the manual's section: 8 for what an administrator runs, 1 for everybody's.
PROGRAMS: tuple[tuple[str, Callable[[], argparse.ArgumentParser], int, str], ...] = (
    ("ddhcp", daemon_parser, 8, "distributed DHCP server"),
    ("ddhcpctl", ctl_parser, 8, "look at a running ddhcp and change what it does"),
    ("ddhcp-plan", plan_parser, 1, "work out how large a pool, its blocks and its times should be"),
    ("network-test", testbed_parser, 1, "a mesh of realms in network namespaces, for trying ddhcp"),
)
COMPLETIONS = {"bash": "bash/{}", "zsh": "zsh/_{}", "fish": "fish/{}.fish"}
SEE_ALSO = "ddhcp(8), ddhcpctl(8), ddhcp.toml(5), ddhcp-plan(1), network-test(1)"


def man_page(parser: argparse.ArgumentParser, section: int, description: str) -> str:
    """The manual page of one program, in roff."""
    examples, parser.epilog = parser.epilog, None
    page = Manpage(parser)
    if examples:
        literal = examples.strip("\n").replace("\\", "\\\\").replace("-", "\\-")
        page.add_section("examples", ">", f".nf\n{literal}\n.fi")
    page.description, page.section = description, section
    page.source, page.manual = f"ddhcp {__version__}", "ddhcp manual"
    return f'{page}.SH "SEE ALSO"\n{SEE_ALSO}\n'


def write_all(directory: Path) -> list[Path]:
    """Write every page and completion below ``directory``; returns the files."""
    written = []
    for name, make_parser, section, description in PROGRAMS:
        pages = {f"man/{name}.{section}": man_page(make_parser(), section, description)}
        for shell, place in COMPLETIONS.items():
            pages[f"completions/{place.format(name)}"] = shtab.complete(make_parser(), shell)
        for place, text in pages.items():
            path = directory / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            written.append(path)
    return written


if __name__ == "__main__":
    for file in write_all(Path(sys.argv[1])):
        print(file)
