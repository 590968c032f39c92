"""A real browser looks an address up, asks for its removal, and watches it until it is delisted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from scanner.daemon import Daemon
from scanner.model import parse_address
from scanner.settings import MailSection
from scanner.store import NominationIn
from scanner.web.sessions import new_secret
from tests.scanner.smarthost import smarthost
from tests.web.conftest import OpenProxy, daemon_settings, doors

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROXY = "127.77.0.9"
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
pytestmark = pytest.mark.slow


@contextmanager
def browsing(chromium: Path) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium),
            # Nothing but loopback, whatever a browser does by itself.
            args=[
                "--no-sandbox",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--disable-background-networking",
            ],
        )
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page whose console must stay empty: a blocked script or style would say so there."""
    context = browser.new_context(**options)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    assert said == []
    context.close()


def heading(page: Page, text: str) -> None:
    """Waits for it: a key press starts a navigation and does not wait for its end."""
    page.locator("h1", has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


def fits(page: Page) -> None:
    """Nothing hangs over the side."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def accessible(page: Page) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    assert [(item["id"], [node["html"] for node in item["nodes"]][:3]) for item in found] == []


async def listed(daemon: Daemon) -> None:
    """Nominated as by a trap, visited and proven."""
    await daemon.store.nominate([NominationIn(parse_address(PROXY), sample=b"spam")], time.time())
    daemon.ring()
    while not await daemon.store.lookup(parse_address(PROXY)):
        await trio.sleep(0.1)


def owner(chromium: Path, web: str, shots: Path, close: Any) -> None:
    """What the owner of the proxy does."""
    with browsing(chromium) as browser:
        with page_of(browser, viewport=DESK) as page:
            page.goto(web)
            page.get_by_label("IPv4 or IPv6 address").fill(f"  {PROXY} ")
            page.keyboard.press("Enter")
            heading(page, f"{PROXY} is listed")
            page.get_by_text("Squid", exact=True).click()
            page.get_by_text("http_access deny all").wait_for()
            accessible(page)
            page.screenshot(path=shots / "listed.png", full_page=True)
            close()
            page.get_by_role("button", name="Retest and remove").click()
            page.wait_for_url("**/removal/*")
            address = page.url
            page.locator(".state strong", has_text="Removed").wait_for(timeout=40_000)  # no reload: the stream did it
            steps = dict.fromkeys(page.locator(".steps strong").all_inner_texts())  # one that is held up says so again
            assert list(steps) == ["Requested", "Retesting", "Closed once", "Removed"]
            accessible(page)
            page.screenshot(path=shots / "removed.png", full_page=True)
            page.get_by_role("link", name="What the lists say").click()
            heading(page, f"{PROXY} is not listed")
        with page_of(browser, viewport=PHONE, java_script_enabled=False) as page:
            page.goto(address)
            assert page.locator(".state strong").inner_text() == "Removed"


@pytest.mark.timeout(110)
async def test_from_lookup_to_delisting(chromium: Path, tmp_path: Path) -> None:
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            proxy = await nursery.start(OpenProxy(PROXY).run)
            settings = daemon_settings(tmp_path, proxy.port)
            daemon = await nursery.start(Daemon(settings).run)
            await listed(daemon)
            close = partial(trio.from_thread.run_sync, proxy.close)
            await trio.to_thread.run_sync(owner, chromium, f"{doors(daemon)[0]}/", tmp_path, close)
            nursery.cancel_scope.cancel()


def appellant(chromium: Path, web: str, door: str, shots: Path, close: Any) -> None:
    """The owner asks in vain, appeals, and an operator has it retested after the repair."""
    desk = door.partition("/operator")[0]
    with browsing(chromium) as browser, page_of(browser, viewport=PHONE) as page:
        page.goto(f"{web}lookup/{PROXY}")
        page.get_by_label("E-mail address").fill("owner@example.org")
        accessible(page)
        page.screenshot(path=shots / "form.png", full_page=True)
        page.get_by_role("button", name="Retest and remove").click()
        page.wait_for_url("**/removal/*")
        status = page.url
        page.locator(".state strong", has_text="Still open").wait_for(timeout=40_000)
        page.get_by_text("We are wrong?").click()
        page.get_by_label("What should the operator know?").fill("It is a honeypot.\nPlease look again.")
        fits(page)
        accessible(page)
        page.screenshot(path=shots / "still-open.png", full_page=True)
        page.get_by_role("button", name="Appeal").click()
        page.locator(".state strong", has_text="Waiting for a person").wait_for()
        fits(page)
        accessible(page)
        page.screenshot(path=shots / "appeal.png", full_page=True)
        with page_of(browser, viewport=DESK, color_scheme="dark") as operator:
            operator.goto(door)
            operator.get_by_label("Password").fill("correct horse battery")
            operator.get_by_role("button", name="Set it").click()
            operator.get_by_role("link", name="1 appeal waits").click()
            accessible(operator)
            operator.screenshot(path=shots / "queue.png", full_page=True)
            operator.get_by_role("link", name=PROXY).click()
            heading(operator, f"Appeal about {PROXY}")
            operator.get_by_text("Please look again.").wait_for()
            fits(operator)
            accessible(operator)
            operator.screenshot(path=shots / "desk.png", full_page=True)
            operator.set_viewport_size(PHONE)
            fits(operator)
            operator.screenshot(path=shots / "desk-phone.png", full_page=True)
            close()
            operator.get_by_role("button", name="Retest once more").click()
            operator.get_by_text("Being retested").wait_for()
            page.reload()
            page.get_by_role("link", name="Watch it").click()
            page.locator(".state strong", has_text="Removed").wait_for(timeout=40_000)
            operator.goto(f"{desk}/operator/appeals")
            operator.get_by_text("Off the list").wait_for()
        page.goto(status)
        page.locator(".state strong", has_text="Off the list").wait_for()
        accessible(page)
        page.screenshot(path=shots / "settled.png", full_page=True)


@pytest.mark.timeout(110)
async def test_an_appeal(chromium: Path, tmp_path: Path) -> None:
    with trio.fail_after(100), smarthost() as host:
        async with trio.open_nursery() as nursery:
            proxy = await nursery.start(OpenProxy(PROXY).run)
            mail = MailSection(smarthost=f"127.0.0.1:{host.port}", sender="removal@dnsbl.test")
            settings = daemon_settings(tmp_path, proxy.port).model_copy(update={"mail": mail})
            daemon = await nursery.start(Daemon(settings).run)
            await listed(daemon)
            door = await invited(daemon)
            web, close = f"{doors(daemon)[0]}/", partial(trio.from_thread.run_sync, proxy.close)
            await trio.to_thread.run_sync(appellant, chromium, web, door, tmp_path, close)
            nursery.cancel_scope.cancel()
    assert [b"still open" in message for message in host.messages] == [True]  # one, and of the request that was asked


async def invited(daemon: Daemon) -> str:
    """The link by which alice gets a password."""
    link, kept = new_secret()
    await daemon.store.invite("alice", kept, time.time() + 60, time.time())
    return f"{doors(daemon)[1]}/operator/link/{link}"


def everybody(chromium: Path, web: str, link: str, stop: str, shots: Path) -> None:
    public = ["/", "/lookup?address=x", f"/lookup/{PROXY}", "/nominate", "/opt-out", f"/control/{PROXY}"]
    public += ["/policy", "/status", "/api/docs", "/nope", f"/no-mail/{stop}"]
    desk = link.partition("/operator")[0]
    with browsing(chromium) as browser:
        with page_of(browser) as page:
            page.goto(link)
            accessible(page)
            page.get_by_label("Password").fill("correct horse battery")
            page.get_by_role("button", name="Set it").click()
            page.get_by_text("Signed in as alice").wait_for()
            session = page.context.storage_state()
        places = [web.rstrip("/") + path for path in public]
        rooms = ("", "/appeals", "/listings", "/exclusions", "/sign-in")
        places += [f"{desk}/operator{path}" for path in rooms]
        for scheme in ("light", "dark"):
            for size in (PHONE, DESK):
                context = browser.new_context(viewport=size, color_scheme=scheme, storage_state=session)
                page = context.new_page()
                for number, place in enumerate(places):
                    page.goto(place)
                    fits(page)
                    accessible(page)
                    page.screenshot(path=shots / f"{number:02}-{scheme}-{size['width']}.png", full_page=True)
                context.close()


@pytest.mark.timeout(310)
async def test_pages_fit_and_are_accessible(chromium: Path, tmp_path: Path) -> None:
    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            proxy = await nursery.start(OpenProxy(PROXY).run)
            settings = daemon_settings(tmp_path, proxy.port)
            daemon = await nursery.start(Daemon(settings).run)
            await listed(daemon)
            await daemon.store.nominate([NominationIn(parse_address("127.77.0.10"), comment="no sample")], time.time())
            door = await invited(daemon)
            web = f"{doors(daemon)[0]}/"
            assert daemon.web is not None
            stop = daemon.web.site.marks.token("0" * 32)
            await trio.to_thread.run_sync(everybody, chromium, web, door, stop, tmp_path)
            nursery.cancel_scope.cancel()
