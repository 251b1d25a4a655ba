"""The page's service worker before networks that hang or ask for a login, and the notice of a lost connection."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser import open_tab
from tests.page.gatekeeper import Gatekeeper, Mode

pytestmark = pytest.mark.long

_ACTIVE = "navigator.serviceWorker.ready.then((one) => one.active.state)"
_KEPT = """
  caches.open("musicgen-shell").then((cache) => cache.keys().then((keys) => Promise.all(keys.map(
    async (key) => [new URL(key.url).pathname, await (await cache.match(key)).text()]
  ))))
"""
_INSTALLED = """
  navigator.serviceWorker.register("/service-worker.js").then(({ installing }) =>
    new Promise((resolve) => installing.onstatechange = () => resolve(installing.state)))
"""


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty tab with the page's service worker."""
    async with open_tab(browser) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def gatekeeper(url: str, page: Page) -> AsyncIterator[Gatekeeper]:
    """A server before the service, whose page has been visited."""
    async with Gatekeeper(url).running() as gatekeeper:
        await page.goto(gatekeeper.url)
        await page.evaluate(_ACTIVE)
        await page.reload()  # by the worker
        yield gatekeeper


async def test_the_kept_page_opens_where_the_network_hangs(
    gatekeeper: Gatekeeper, page: Page
) -> None:
    """The first file is awaited for seconds, those after it are not."""
    gatekeeper.mode = Mode.HANG
    await page.reload(timeout=15_000, wait_until="domcontentloaded")
    await expect(page.get_by_role("button", name="Jazz")).to_be_visible()
    assert gatekeeper.held > 0


async def test_no_page_of_a_login_is_kept(gatekeeper: Gatekeeper, page: Page) -> None:
    """A page of the service is sent to the login by the browser; a file of it is the kept one."""
    before = dict(await page.evaluate(_KEPT))
    assert "/static/main.js" in before
    gatekeeper.mode = Mode.LOGIN
    fetched = await page.evaluate("fetch('static/main.js').then((one) => one.text())")
    assert fetched == before["/static/main.js"]
    assert dict(await page.evaluate(_KEPT)) == before
    await page.reload()
    await expect(page).to_have_title("Log in")
    gatekeeper.mode = Mode.PASS
    await page.goto(gatekeeper.url)
    await expect(page).to_have_title("MusicGen")


async def test_a_worker_is_not_installed_with_the_page_of_a_login(
    gatekeeper: Gatekeeper, page: Page
) -> None:
    await page.evaluate(
        "navigator.serviceWorker.getRegistration().then((one) => one.unregister())"
        ".then(() => caches.delete('musicgen-shell'))"
    )
    gatekeeper.mode = Mode.LOGIN
    await page.goto(gatekeeper.url)
    await expect(page).to_have_title("Log in")
    assert await page.evaluate(_INSTALLED) == "redundant"
    assert await page.evaluate("caches.match('/').then((one) => one === undefined)")


async def test_a_lost_connection_is_told(url: str, page: Page) -> None:
    await page.goto(url)
    notice = page.locator("#offline")
    await expect(notice).to_be_hidden()
    await page.context.set_offline(True)
    await expect(notice).to_be_visible()
    await page.context.set_offline(False)
    await expect(notice).to_be_hidden()
