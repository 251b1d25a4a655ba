"""Tabs of real Chromium."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DESKTOP = ViewportSize(width=1100, height=900)
PHONE = ViewportSize(width=390, height=844)
PATIENCE_MS = 60_000
EXPECTED_MS = 60_000  # of a change of the page, on a machine whose cores are all busy
# The last two: a microphone that beeps, and is granted.
ARGUMENTS = [
    "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip


def require_chromium() -> None:
    """Skip the module, or the test, without Chromium; fail in CI, where it must not be missing."""
    if CHROMIUM is None:
        reason = "Chromium is not installed: `apt-get install chromium` (Debian), or Google Chrome"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason, allow_module_level=True)


@asynccontextmanager
async def launched_browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=EXPECTED_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE_MS
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def open_tab(
    browser: Browser, service_workers: Literal["allow", "block"] = "allow"
) -> AsyncIterator[Page]:
    """Open an empty tab with storage of its own. An uncaught error of the page fails the test at its end."""
    errors: list[str] = []
    page = await browser.new_page(viewport=DESKTOP, service_workers=service_workers)
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    await page.context.close()
    assert errors == []
