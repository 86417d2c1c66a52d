"""Makes the pictures of the dashboard and of ddhcpctl in docs/images, from a mesh at work in network namespaces.

Usage (as root): python tools/pictures.py. Needs Debian's chromium.
"""

from __future__ import annotations

import contextlib
import os
import pty
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "tests"))

from ddhcp.core import dotted  # noqa: E402
from ddhcp.ctl.protocol import RUNTIME_DIR_VARIABLE  # noqa: E402
from ddhcp.testbed import kernel  # noqa: E402
from ddhcp.testbed.dhcpclient import Crowd, DhcpClient  # noqa: E402
from ddhcp.testbed.links import Netlink  # noqa: E402
from ddhcp.testbed.mesh import Mesh  # noqa: E402
from forwarder import Forwarder  # noqa: E402

REALMS = 5
HOSTNAMES = (
    "annas-laptop", "printer", "kitchen-radio", "pixel-7", "camera-east", "thermostat", "fairphone", "tv", "ereader",
    "weather", "studio-mac", "doorbell",
)  # fmt: skip
DENIED = b"\x02\0\0\0\0\x66"
COLUMNS = 100
ROWS = 34
PATIENCE_S = 30
FIRST_LOOK_S = 75  # until the lines of the last hour have a shape
ARGUMENTS = ("-L", "-t", "2", "-b", "3")


def clients(realm: int) -> list[DhcpClient]:
    """What is switched on in a realm."""
    rng = random.Random(realm)
    number = 12 if realm == 0 else rng.randint(3, 9)
    return [
        DhcpClient(bytes((2, 0, 0, 0, realm, i)), rng, hostname=HOSTNAMES[i % len(HOSTNAMES)].encode())
        for i in range(number)
    ]


def live(crowds: list[Crowd], seconds: float) -> None:
    """Let every client live for a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for crowd in crowds:
            crowd.run(lambda: False, 0.05)


@contextlib.contextmanager
def mesh_at_work(directory: Path) -> Iterator[tuple[Mesh, str]]:
    """A mesh with clients, of which one is denied and one has moved, and the address of the latter."""
    settings = directory / "mesh.toml"
    settings.write_text(f'[dhcp]\ndeny = ["{DENIED.hex(":")}"]\n')
    with Mesh(REALMS) as mesh, contextlib.ExitStack() as stack:
        mesh.start(0, "-F", str(settings), *ARGUMENTS, "--http", f"unix:{directory}/http.sock")
        for realm in range(1, REALMS):
            mesh.start(realm, *ARGUMENTS)
        mesh.wait_for_blocks(PATIENCE_S)
        crowds = [stack.enter_context(contextlib.closing(Crowd(f"clt{r}", clients(r)))) for r in range(REALMS)]
        denied = stack.enter_context(contextlib.closing(Crowd("clt0", [DhcpClient(DENIED, random.Random(0))])))
        for crowd in (*crowds, denied):
            for client in crowd.clients.values():
                client.start(time.monotonic())
                live([*crowds, denied], 0.4)
        live([*crowds, denied], 6)
        mover = next(iter(crowds[0].clients.values()))
        elsewhere = stack.enter_context(contextlib.closing(Crowd("clt2", [mover])))
        mover.renew(time.monotonic())
        live([elsewhere], 1)
        live([*crowds[1:], denied], FIRST_LOOK_S)
        yield mesh, dotted(mover.address)


def terminal(mesh: Mesh, name: str, *arguments: str) -> None:
    """Run ddhcpctl at a terminal and keep what it shows as docs/images/NAME.svg."""
    environment = os.environ | {
        "COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color",
        RUNTIME_DIR_VARIABLE: str(mesh.network.runtime_directory(0)),
    }  # fmt: skip
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ddhcp.ctl.main", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(ours, 65536):
                shown += chunk
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    text = Text.from_ansi(shown.decode().replace("\r\n", "\n"))
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text.assemble(("$ ", "dim"), (f"ddhcpctl {' '.join(arguments)}", "bold")))
        console.print(text)
        picture = console.export_svg(title="ddhcpctl", unique_id=name)
    # rich's pictures name a font to be fetched from elsewhere; the reader's own will do.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL).replace("Fira Code,", "")
    (IMAGES / f"{name}.svg").write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")


def dashboard(url: str) -> None:
    """The page in light and dark, and as a phone shows it."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        for name, scheme, width, height in (
            ("dashboard-light", "light", 1280, 860), ("dashboard-dark", "dark", 1280, 860),
            ("dashboard-phone", "light", 390, 1100),
        ):  # fmt: skip
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(url)
            page.locator("#leases tr").first.wait_for()
            page.locator("#link", has_text="live").wait_for()
            page.wait_for_timeout(2000)  # the map and the history are drawn
            page.screenshot(path=str(IMAGES / f"{name}.png"))
            context.close()
        browser.close()


def main() -> None:
    """Make every picture."""
    kernel.isolate()
    with Netlink() as netlink:
        netlink.set_up(netlink.links()["lo"].index)
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(1) as elsewhere:
        place = Path(directory)
        work = mesh_at_work(place)
        mesh, moved = elsewhere.submit(work.__enter__).result()
        try:
            forwarder = Forwarder(place / "http.sock")
            dashboard(f"http://127.0.0.1:{forwarder.port}/")
            forwarder.close()
            terminal(mesh, "ctl-status", "status")
            terminal(mesh, "ctl-blocks", "blocks")
            terminal(mesh, "ctl-top", "top", "--once")
            terminal(mesh, "ctl-explain", "explain", DENIED.hex(":"))
            terminal(mesh, "ctl-explain-address", "explain", moved)
        finally:
            elsewhere.submit(work.__exit__, None, None, None).result()


if __name__ == "__main__":
    main()
