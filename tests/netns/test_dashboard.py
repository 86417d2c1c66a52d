"""The dashboard in Debian's Chromium, over a real mesh: what a person sees, and what stays text."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ddhcp.core import dotted
from ddhcp.testbed.dhcpclient import Crowd, DhcpClient
from ddhcp.testbed.mesh import Mesh
from ddhcp.testbed.programs import UDHCPC
from forwarder import Forwarder

pytestmark = pytest.mark.netns

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
PATIENCE_MS = 20_000
LEASE_PATIENCE_S = 10
TOKEN = "a-token-that-nobody-guesses"
T = TypeVar("T")
EVIL = "<img src=x onerror=document.title=1>"


class Site:
    """A mesh of two realms whose node 0 serves HTTP."""

    def __init__(self, mesh: Mesh, directory: Path) -> None:
        self.mesh = mesh
        self._elsewhere = ThreadPoolExecutor(1)
        token = directory / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        self._http = ("--http", f"unix:{directory}/http.sock", "--http-token-file", str(token))
        self.start()
        mesh.start(1, "-L", "-t", "2", "-b", "3")
        mesh.wait_for_blocks(10)
        self.forwarder = Forwarder(directory / "http.sock")
        self.url = f"http://127.0.0.1:{self.forwarder.port}/"

    def do(self, action: Callable[[], T]) -> T:
        """Do something with the mesh while the browser runs: both have an event loop, so not in one thread. It is the
        same thread for all of it, since what a thread starts ends with it."""
        return self._elsewhere.submit(action).result()

    def close(self) -> None:
        self.forwarder.close()
        self._elsewhere.shutdown()

    def lease(self) -> tuple[int, str]:
        """A new client in realm 0 and its address."""

        def join() -> tuple[int, str]:
            client = self.mesh.join(0, UDHCPC)
            return client, self.mesh.wait_for_lease(client, LEASE_PATIENCE_S)

        return self.do(join)

    def start(self) -> None:
        self.mesh.start(0, "-L", "-t", "2", "-b", "3", *self._http)


@pytest.fixture
def site(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> Iterator[Site]:
    site = Site(make_mesh(2), tmp_path)
    yield site
    site.close()


@pytest.fixture
def browser(site: Site) -> Iterator[Browser]:
    with sync_playwright() as playwright:  # in the namespace that the mesh is in
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    with closing(browser.new_context(viewport={"width": 1280, "height": 900})) as context:
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        page.goto(site.url)
        yield page
        assert complaints == []


def lease_row(page: Page, text: str):  # type: ignore[no-untyped-def]
    return page.locator("#leases tr", has_text=text)


def test_the_page_shows_the_mesh(site: Site, page: Page) -> None:
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#health")).to_have_text("healthy")
    expect(page.locator("#leases-empty")).to_be_visible()
    expect(page.locator("#peers tr")).to_have_count(1)
    expect(page.locator("#peers tr")).to_contain_text("ddhcp")
    expect(page.locator("#legend li")).to_have_count(2)
    _, address = site.lease()
    expect(lease_row(page, address)).to_contain_text("leased")  # by itself: the event told the page to look
    expect(page.locator("#events li").filter(has_text=address)).to_have_count(1)
    expect(page.locator("#card-leases")).to_have_text("1")


def test_a_client_that_roams_is_followed(site: Site, page: Page) -> None:
    client, address = site.lease()
    expect(lease_row(page, address)).to_contain_text("here")
    other = page.locator("#peers tr td").first.text_content() or "?"
    site.do(lambda: site.mesh.clients.roam(client, 1))
    site.do(lambda: site.mesh.clients.renew(client))
    expect(lease_row(page, address)).to_contain_text(other)
    expect(page.locator("#events li").filter(has_text="client-moved")).to_have_count(1)


def test_the_page_survives_the_daemons_restart(site: Site, page: Page) -> None:
    _, address = site.lease()
    expect(lease_row(page, address)).to_be_visible()
    site.mesh.nodes[0].process.kill()
    site.mesh.nodes[0].process.wait()
    expect(page.locator("#problems")).to_contain_text("does not answer")
    expect(page.locator("#link")).to_have_text("reconnecting")
    expect(lease_row(page, address)).to_be_visible()  # what was known last
    site.do(site.start)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#problems")).to_be_empty()
    expect(page.locator("#events li").filter(has_text="resumed").first).to_be_visible()
    expect(lease_row(page, address)).to_contain_text("leased")


def test_what_a_client_calls_itself_stays_text(site: Site, page: Page) -> None:
    expect(page).to_have_title(re.compile("ddhcp fe80"))  # the page names its node when it first hears of it
    title = page.title()
    client = DhcpClient(b"\x02\0\0\0\0\x77", random.Random(1), hostname=EVIL.encode())
    with closing(Crowd("clt0", [client])) as crowd:
        client.start(time.monotonic())
        assert crowd.run(lambda: client.address != 0, LEASE_PATIENCE_S)
    row = lease_row(page, dotted(client.address))
    expect(row).to_contain_text(EVIL)
    assert page.locator("main img").count() == 0
    expect(page).to_have_title(title)
    page.locator("#search").fill("onerror")
    expect(page.locator("#leases tr")).to_have_count(1)
    page.locator("#search").fill("nobody")
    expect(page.locator("#leases-empty")).to_contain_text("No lease matches")


def test_a_lease_is_explained_and_ended(site: Site, page: Page) -> None:
    _, address = site.lease()
    lease_row(page, address).get_by_role("button", name=address, exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("this node decides here")
    dialog.get_by_label("Token").fill("wrong")
    dialog.get_by_role("button", name="End the lease").click()
    expect(dialog).to_contain_text("needs the token")
    dialog.get_by_label("Token").fill(TOKEN)
    dialog.get_by_role("button", name="End the lease").click()
    expect(dialog).to_contain_text("was given back")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(lease_row(page, address)).to_contain_text("released")


def test_the_map_is_walked_and_zoomed_with_the_keyboard(site: Site, page: Page) -> None:
    expect(page.locator("#map-window")).to_contain_text("10.0.0.0 – 10.0.15.255")
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#map-cell")).to_contain_text("10.0.0.0 – 10.0.0.7 (block 0): free")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#map-cell")).to_contain_text("(block 1)")
    page.keyboard.press("Enter")
    expect(page.locator("#map-window")).to_contain_text("10.0.0.0 – 10.0.3.255")
    page.keyboard.press("Home")
    expect(page.locator("#map-window")).to_contain_text("10.0.15.255")
    mine = page.locator("#legend button", has_text="this node")
    mine.click()
    expect(mine).to_have_attribute("aria-pressed", "true")


def test_it_fits_every_screen_in_dark_and_light(page: Page) -> None:
    expect(page.locator("#health")).to_have_text("healthy")
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Change between dark and light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")  # the choice is kept
