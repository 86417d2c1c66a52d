"""Every command in the documents is run, page by page, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LONGEST_S = 180


def commands(page: Path) -> str:
    """The shell commands of a page as one script."""
    return "\n".join(FENCE.findall(page.read_text()))


WITH_COMMANDS = [page for page in PAGES if commands(page)]


@pytest.mark.netns
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_the_commands_of_a_page_work(page: Path, tmp_path: Path) -> None:
    """In namespaces of its own, on the machine that ``machine.sh`` makes: with the interfaces that the pages name;
    ``before/PAGE.sh`` does what a page takes for granted."""
    before = HERE / "before" / f"{page.stem}.sh"
    prepared = before.read_text() if before.exists() else ""
    script = f"set -eux\ncd {ROOT}\n{prepared}\n{commands(page)}"
    environment = {**os.environ, "WORK": str(tmp_path), "ROOT": str(ROOT), "COLUMNS": "80"}
    result = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
         "bash", str(HERE / "machine.sh"), script],
        env=environment, capture_output=True, text=True, timeout=LONGEST_S, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_there_are_pages_with_commands() -> None:
    names = {page.name for page in WITH_COMMANDS}
    assert {"tutorial.md", "batman-adv.md", "sizing.md"} <= names
