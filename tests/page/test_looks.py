"""The looks of the whole page: with a sound, an error and its statistics; without motion for those who avoid it."""

import json
from typing import Literal

import pytest
from playwright.async_api import Page, Route, expect

from tests.audio.files import RATE, pcm_file, tone
from tests.page.actions import choose, generate
from tests.page.test_shell import AXE, open_all

pytestmark = pytest.mark.long

WIDTHS = (390, 768, 1280, 1920)
SCHEMES = ("light", "dark")
# Elements, with their pseudo-elements, whose look changes for longer than a hundredth of a second.
_MOVING = """
  [...document.querySelectorAll("*")].filter((element) =>
    ["", "::before", "::after"].some((part) => {
      const { transitionDuration, animationDuration } = getComputedStyle(element, part);
      return `${transitionDuration}, ${animationDuration}`.split(", ").some((one) => parseFloat(one) > 0.01);
    })
  ).length
"""


async def show_all(page: Page, url: str) -> None:
    """Open every part of the page, choose a sound, and let a request fail."""

    async def fail(route: Route) -> None:
        await route.fulfill(status=500, json={"detail": "The disk is full, " * 8})

    await page.goto(url)
    await open_all(page)
    await choose(page, pcm_file(tone(12.0), RATE))
    await expect(page.locator("#trim-text")).to_contain_text("too long")
    await page.route("**/v1/audio/generations", fail)
    await generate(page, "bells", 3)
    await expect(page.get_by_role("alert")).to_contain_text("The disk is full")


async def assert_accessible(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    result = json.loads(await page.evaluate("axe.run().then(JSON.stringify)"))
    broken = {one["id"]: [node["html"] for node in one["nodes"]] for one in result["violations"]}
    assert (width, broken) == (width, {})


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_sound_and_an_error_are_accessible_and_fit_every_width(
    url: str, page: Page, scheme: Literal["light", "dark"]
) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await show_all(page, url)
    await page.evaluate(AXE + "; 0")
    for width in WIDTHS:
        await assert_accessible(page, width)


async def test_the_statistics_are_accessible(url: str, page: Page) -> None:
    await page.goto(f"{url}/stats")
    await expect(page.get_by_role("table").first).to_be_visible()
    await page.evaluate(AXE + "; 0")
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in WIDTHS:
            await assert_accessible(page, width)


async def test_nothing_moves_for_those_who_avoid_motion(url: str, page: Page) -> None:
    await page.goto(url)
    await open_all(page)
    assert await page.evaluate(_MOVING) > 0, "what moves for others is found"
    await page.emulate_media(reduced_motion="reduce")
    assert await page.evaluate(_MOVING) == 0
