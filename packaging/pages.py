"""Writes the man pages and the shell completions, from the very definitions that ``--help`` prints.

Usage: python packaging/pages.py DIRECTORY
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import shtab
from argparse_manpage.compat import get_reproducible_date
from argparse_manpage.manpage import Manpage

from ddhcp import __version__
from ddhcp.ctl.main import build_parser as ctl_parser
from ddhcp.daemon.cli import build_parser as daemon_parser
from ddhcp.daemon.settings.document import default_of
from ddhcp.daemon.settings.schema import ENTRIES, SETTINGS, TABLES
from ddhcp.daemon.settings.setting import Setting
from ddhcp.plan.main import build_parser as plan_parser
from ddhcp.sim.main import build_parser as sim_parser
from ddhcp.testbed.main import build_parser as testbed_parser

# Program, its parser, and the manual's section: 8 for what an administrator runs, 1 for everybody's.
PROGRAMS: tuple[tuple[str, Callable[[], argparse.ArgumentParser], int, str], ...] = (
    ("ddhcp", daemon_parser, 8, "distributed DHCP server"),
    ("ddhcpctl", ctl_parser, 8, "look at a running ddhcp and change what it does"),
    ("ddhcp-plan", plan_parser, 1, "work out how large a pool, its blocks and its times should be"),
    ("ddhcp-sim", sim_parser, 1, "swarms of ddhcp nodes in virtual time, with faults and checks"),
    ("network-test", testbed_parser, 1, "a mesh of realms in network namespaces, for trying ddhcp"),
)
COMPLETIONS = {"bash": "bash/{}", "zsh": "zsh/_{}", "fish": "fish/{}.fish"}
PATHS = ("PATH", "FILE")
CHOICE = re.compile(r"[a-z-]+(\|[a-z-]+)+")
SEE_ALSO = "ddhcp(8), ddhcpctl(8), ddhcp.toml(5), ddhcp-plan(1), ddhcp-sim(1), network-test(1)"


SETTINGS_INTRODUCTION = (
    "What ddhcp -F PATH reads, in the language TOML. Flags on the command line go before the file. Times are whole "
    'seconds, or text such as "90s", "5m", "12h" or "1d". ddhcp --check-config PATH says what is wrong with a file.'
)
SETTINGS_EXAMPLE = '''server-interface = "bat0"
client-interfaces = ["br-client"]
network = "10.0.0.0/16"'''


def man_page(parser: argparse.ArgumentParser, section: int, description: str) -> str:
    """The manual page of one program, in roff."""
    examples, parser.epilog = parser.epilog, None
    page = Manpage(parser)
    if examples:
        literal = examples.strip("\n").replace("\\", "\\\\").replace("-", "\\-")
        page.add_section("examples", ">", f".nf\n{literal}\n.fi")
    page.description, page.section = description, section
    page.source, page.manual = f"ddhcp {__version__}", "ddhcp manual"
    text = str(page).replace(_roff(page.date), page.date, 1)  # a date is no text
    another_usage = f"... {parser.prog} ["
    text = text.replace(another_usage, another_usage.replace(f" {parser.prog} ", f"\n.br\n.B {parser.prog}\n"), 1)
    return f'{text}.SH "SEE ALSO"\n{SEE_ALSO}\n'


def settings_page() -> str:
    """The manual page of ddhcp.toml, in roff, from the definitions of the settings."""
    lines = [
        f'.TH DDHCP.TOML "5" "{get_reproducible_date()}" "ddhcp {__version__}" "ddhcp manual"',
        ".SH NAME", r"ddhcp.toml \- configuration of ddhcp", ".SH DESCRIPTION", _roff(SETTINGS_INTRODUCTION),
        ".SH EXAMPLE", ".nf", _roff(SETTINGS_EXAMPLE), ".fi",
    ]  # fmt: skip
    for table, about in TABLES.items():
        own = [
            setting for setting in SETTINGS if setting.key == table or (setting.table == table and table != setting.key)
        ]
        if own:
            lines += [f".SH {_roff(f'[{table}]' if table else 'AT THE TOP OF THE FILE')}", _roff(about or "")]
            lines += [line for setting in own for line in _setting_lines(setting)]
    for entries in ENTRIES:
        lines += [f".SH {_roff(f'[[{entries.name}]]')}", _roff(f"{entries.help}.".replace("..", "."))]
        lines += [line for setting in entries.settings for line in _setting_lines(setting)]
    return "\n".join([*filter(None, lines), '.SH "SEE ALSO"', SEE_ALSO, ""])


def _setting_lines(setting: Setting[object]) -> list[str]:
    flags = f" Flags: {', '.join(setting.flags)}." if setting.flags else ""
    reload = " Taken by a reload." if setting.reloadable else ""
    text = f"{setting.help}. Value: {setting.kind.describe()}. Default: {default_of(setting)}.{flags}{reload}"
    return [".TP", f".B {_roff(setting.name)}", _roff(text)]


def _roff(text: str) -> str:
    """Text in which nothing is a request to the formatter."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return "\n".join(rf"\&{line}" if line[:1] in (".", "'") else line for line in escaped.splitlines())


def completing(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, which now tells what the values of its options can be: files, or one of a few words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                completing(each)
        elif isinstance(action.metavar, str) and action.metavar.startswith(PATHS):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab looks for it
        elif isinstance(action.metavar, str) and CHOICE.fullmatch(action.metavar):
            action.choices = action.metavar.split("|")
    return parser


def write_all(directory: Path) -> list[Path]:
    """Write every page and completion below ``directory``; returns the files."""
    written = []
    settings = directory / "man" / "ddhcp.toml.5"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(settings_page())
    written.append(settings)
    for name, make_parser, section, description in PROGRAMS:
        pages = {f"man/{name}.{section}": man_page(make_parser(), section, description)}
        for shell, place in COMPLETIONS.items():
            pages[f"completions/{place.format(name)}"] = shtab.complete(completing(make_parser()), shell)
        for place, text in pages.items():
            path = directory / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            written.append(path)
    return written


if __name__ == "__main__":
    for file in write_all(Path(sys.argv[1])):
        print(file)
