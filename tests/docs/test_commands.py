"""Every command in the documents is run, page by page, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import docs_pages as pages
import pytest
from docs_exceptions import NOT_RUN, RUN_INSTEAD
from docs_pages import HERE, PAGES, ROOT

from ddhcp.daemon.settings.reading import combine, parse
from ddhcp.daemon.settings.setting import Settings

LONGEST_S = 180
SHOWN = {"ini", "json", "text", "yaml"}


def part(directory: str, page: Path) -> str:
    """What belongs to a page besides its own commands: ``before`` is done first, as the page takes it for granted;
    ``beside`` runs what stands within its sentences, in the end."""
    path = (HERE / directory / pages.name(page)).with_suffix(".sh")
    return path.read_text() if path.exists() else ""


def commands(page: Path) -> str:
    """The blocks of a page as one script: what is typed is run, what is a file is written."""
    script = []
    for block in pages.blocks(page):
        if block.title is not None:
            script.append(
                f"mkdir -p {Path(block.title).parent}\ncat > {block.title} <<'END_OF_FILE'\n{block.text}END_OF_FILE"
            )
        elif block.language == "sh":
            script.append(adapted(block.text))
    return "\n".join(script)


def adapted(text: str) -> str:
    """Commands without those that are not run, and with those that are run in another form."""
    whole = re.sub(r"\\\n\s*", "", text)
    found = []
    for line in whole.splitlines():
        (bare,) = pages.lines(line) or [""]
        if bare not in NOT_RUN:
            found.append(RUN_INSTEAD.get(bare, line))
    return "\n".join(found)


def script(page: Path) -> str:
    return f"{commands(page)}\n{adapted(part('beside', page))}"


WITH_COMMANDS = [page for page in PAGES if script(page).strip()]


@pytest.mark.netns
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=pages.name)
def test_the_commands_of_a_page_work(page: Path, tmp_path: Path) -> None:
    """In namespaces of its own, on the machine that ``machine.sh`` makes: with the interfaces that the pages name, and
    booted by systemd if the page needs it."""
    whole = f"set -eux\n{part('before', page)}\n{script(page)}"
    environment = {**os.environ, "WORK": str(tmp_path), "ROOT": str(ROOT), "PYTHON": sys.executable, "COLUMNS": "80"}
    if re.search(r"\bsystemctl ", whole):
        environment["INIT"] = "systemd"
    result = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
         "bash", str(HERE / "machine.sh"), whole],
        env=environment, capture_output=True, text=True, timeout=LONGEST_S, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=pages.name)
def test_nothing_to_type_stands_where_it_is_not_run(page: Path) -> None:
    """Commands are in blocks that say so. Those within a sentence are run somewhere, or excused."""
    unfenced = re.findall(r"^\n {4,}(?![ *-]|\d)(.+)$", pages.prose(page), re.MULTILINE)
    assert unfenced == [], "a block without a fence: say what it is"
    for block in pages.blocks(page):
        assert block.language in {"sh", "toml"} | SHOWN
        if block.language != "sh":
            assert [line for line in pages.lines(block.text) if pages.program(line) in pages.PROGRAMS] == []
    run = [line for each in PAGES for line in (*pages.typed(each), *pages.lines(part("beside", each)))] + list(NOT_RUN)
    assert [span for span in pages.spans(page) if not any(f"{line} ".startswith(f"{span} ") for line in run)] == []


def test_nothing_is_excused_that_is_not_there() -> None:
    there = {line for page in PAGES for line in (*pages.typed(page), *pages.spans(page))}
    there |= {line for page in PAGES for line in pages.lines(part("beside", page))}
    assert (set(NOT_RUN) | set(RUN_INSTEAD)) - there == set()


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.language == "toml" for b in pages.blocks(p))], ids=pages.name
)
def test_settings_that_are_shown_are_valid(page: Path) -> None:
    for block in pages.blocks(page):
        if block.language == "toml":
            combine(parse(block.text.encode(), page.name), Settings())


def test_there_are_pages_with_commands() -> None:
    assert {"tutorial.md", "how-to/batman-adv.md", "how-to/sizing.md", "README.md"} <= {
        pages.name(page) for page in WITH_COMMANDS
    }
