"""The pages beside it: the API's documentation and the statistics."""

import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser import PHONE
from tests.page.conftest import KEY

pytestmark = pytest.mark.long


async def test_stats_can_be_read(guarded_url: str, page: Page) -> None:
    await page.set_viewport_size(PHONE)
    await page.goto(f"{guarded_url}/stats")
    await expect(page.get_by_role("alert")).to_contain_text("The request has no API key")
    await page.get_by_label("API key").fill(KEY)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="small (default)")).to_be_visible()
    await expect(page.get_by_role("alert")).to_be_hidden()
    cells = page.get_by_role("table").first.get_by_role("cell")
    await expect(cells.first).to_have_text(re.compile(r"^\d+ of \d+$"))
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], "the page is as wide as the phone"


async def test_the_api_is_documented_and_tried_offline(guarded_url: str, page: Page) -> None:
    """Nothing comes from elsewhere, and the page's policy blocks nothing that it needs."""
    elsewhere: list[str] = []
    messages: list[str] = []

    async def refuse(route: Route) -> None:
        elsewhere.append(route.request.url)
        await route.abort()

    await page.route(lambda url: not url.startswith((guarded_url, "data:", "blob:")), refuse)
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    await page.goto(f"{guarded_url}/docs")
    models = page.locator("#operations-v1-list_models_v1_models_get")
    await expect(models).to_be_visible()
    await expect(page.locator(".opblock")).to_have_count(await operations(page, guarded_url))
    await page.get_by_role("button", name="Authorize").first.click()
    await page.locator(".modal-ux input").fill(KEY)
    await page.locator(".modal-ux").get_by_role("button", name="Apply credentials").click()
    await page.locator(".modal-ux").get_by_role("button", name="Close").first.click()
    await models.get_by_role("button").first.click()
    await models.get_by_role("button", name="Try it out").click()
    await models.get_by_role("button", name="Execute").click()
    answer = models.locator(".live-responses-table tbody")
    await expect(answer.locator(".response-col_status")).to_contain_text("200")
    await expect(answer).to_contain_text("facebook/musicgen-small")
    assert elsewhere == []
    assert messages == []


async def operations(page: Page, url: str) -> int:
    """Count the operations of the OpenAPI document."""
    document = await (await page.request.get(f"{url}/openapi.json")).json()
    return sum(len(methods) for methods in document["paths"].values())
