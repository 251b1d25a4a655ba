"""Errors of the browser's console, which fail every test of the page."""

import pytest
from playwright.async_api import Page

from tests.page.actions import eventually

pytestmark = pytest.mark.long


async def test_a_violation_of_the_policy_is_an_error_of_the_console(
    url: str, page: Page, complaints: list[str]
) -> None:
    await page.goto(url)
    await page.evaluate("document.body.setAttribute('style', 'color: red')")

    async def is_told() -> bool:
        return any("Content Security Policy" in complaint for complaint in complaints)

    await eventually(is_told)
    complaints.clear()
