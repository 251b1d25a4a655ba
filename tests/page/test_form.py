"""The form: keys of the keyboard, numbers, the API key, errors in words."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser import PHONE
from tests.fakes import FakeGenerator
from tests.page.actions import generate
from tests.page.conftest import KEY
from tests.page.slow_generator import SlowGenerator

pytestmark = pytest.mark.long


async def test_a_wrong_key_is_said_to_be_wrong(guarded_url: str, page: Page) -> None:
    await page.goto(guarded_url)
    alert = page.get_by_role("alert")
    key = page.get_by_label("API key")
    await expect(alert).to_contain_text("The request has no API key")
    await key.fill("guessed")
    await page.keyboard.press("Tab")
    await expect(alert).to_contain_text("The API key is wrong")
    await expect(key).to_have_attribute("aria-invalid", "true")
    await key.fill(KEY)
    await page.keyboard.press("Tab")
    await expect(alert).to_be_hidden()
    await expect(page.get_by_label("Model")).to_have_value("small")


async def test_a_refusal_that_comes_after_the_key_is_repeated_with_it(
    guarded_url: str, page: Page
) -> None:
    keys: list[str | None] = []
    entered = asyncio.Event()

    async def hold(route: Route) -> None:
        keys.append(route.request.headers.get("authorization"))
        answer = await route.fetch()
        await entered.wait()
        await route.fulfill(response=answer)

    await page.route("**/v1/models", hold)
    await page.goto(guarded_url)
    await page.evaluate(f"sessionStorage.setItem('musicgen-key', '{KEY}')")
    entered.set()
    await expect(page.get_by_label("Model")).to_have_value("small")
    await expect(page.get_by_role("alert")).to_be_hidden()
    assert keys == [None, f"Bearer {KEY}"]


async def test_no_valid_number_is_refused(url: str, backend: FakeGenerator, page: Page) -> None:
    await page.goto(url)
    await page.get_by_text("Advanced").click()
    numbers = {"Temperature": "0.337", "Top p": "0.913", "Guidance": "2.71828"}
    for label, value in numbers.items():
        await page.get_by_label(label, exact=True).fill(value)
    await generate(page, "bells", 0.37)
    await expect(page.locator(".track")).to_have_count(1)
    [request] = backend.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.cfg_coef) == (0.337, 0.913, 2.71828)
    assert request.duration_s == 0.37


async def test_the_form_is_used_by_keyboard_and_keeps_the_focus(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    await page.goto(url)
    prompt = page.get_by_label("Prompt")
    await prompt.fill("bells")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".track")).to_have_count(1)
    await expect(prompt).to_be_focused()
    stop = page.get_by_role("button", name="Stop the sound")
    await expect(stop).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(stop).to_be_hidden()
    button = page.get_by_role("button", name="Generate")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".track")).to_have_count(2)
    await expect(button).to_be_focused()
    assert len(backend.requests) == 2


async def test_escape_cancels_the_track_that_is_made(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    slow.allowed_s = 2.0
    await page.goto(slow_url)
    await generate(page, "bells", 8)
    await expect(page.get_by_role("status")).to_contain_text("Making the track: 2.0 s")
    await page.keyboard.press("Escape")
    await expect(page.locator(".track")).to_contain_text("Canceled after 2.0 s")
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


async def test_the_page_works_where_site_data_is_blocked(guarded_url: str, page: Page) -> None:
    """Reading `sessionStorage` or `localStorage` throws; the key lives as long as the page."""
    await page.add_init_script(
        "for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(globalThis, name,"
        " { get() { throw new DOMException('Access is denied for this document', 'SecurityError'); } });"
    )
    await page.goto(guarded_url)
    await page.get_by_label("API key").fill(KEY)
    await generate(page, "bells", 2)
    await expect(page.locator(".track")).to_have_count(1)
    await expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (502, "The service does not answer now: the server before it said 502 (Bad Gateway)."),
        (413, "The request is larger than the service takes: a server answered 413"),
    ],
)
async def test_answers_of_other_servers_are_told_in_words(
    url: str, page: Page, status: int, words: str
) -> None:
    async def answer(route: Route) -> None:
        await route.fulfill(status=status, body="<html>nginx</html>")

    await page.goto(url)
    await page.route("**/v1/audio/generations", answer)
    await generate(page, "bells", 2)
    await expect(page.get_by_role("alert")).to_contain_text(words)


async def test_fields_at_fault_have_the_names_of_the_page(url: str, page: Page) -> None:
    await page.goto(url)
    await page.locator("#form").evaluate("(form) => { form.noValidate = true; }")
    await generate(page, "bells", -1)
    await expect(page.get_by_role("alert")).to_contain_text("Seconds: ")


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
async def test_the_statistics_fit_their_width(url: str, page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": PHONE["height"]})
    await page.goto(f"{url}/stats")
    tables = page.get_by_role("table")
    await expect(tables.first).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    widths = "(table) => [table.scrollWidth, table.parentElement.clientWidth]"
    needed, given = await tables.first.evaluate(widths)
    assert needed <= given
