"""What the form asks for and sends: the key, the sampling parameters, the seed."""

import pytest
from playwright.async_api import Page, Route, expect

from serve_app.errors import QueueFull
from serve_app.types import Content, SamplingParams
from tests.fakes import FakeGenerator
from tests.page.actions import generate
from tests.page.conftest import KEY
from tests.served_api import served_api

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("content", "lead"), [("music", "the music"), ("audio", "the sound")])
async def test_the_page_asks_for_what_the_model_makes(
    backend: FakeGenerator, page: Page, content: Content, lead: str
) -> None:
    backend.content = content
    with served_api(backend) as url:
        await page.goto(url)
        await expect(page.get_by_text(f"Describe {lead}:")).to_be_visible()


async def test_a_key_is_asked_for(guarded_url: str, page: Page) -> None:
    await page.goto(guarded_url)
    await expect(page.get_by_role("alert")).to_contain_text("The request has no API key")
    await page.get_by_label("API key").fill(KEY)
    await generate(page, "bells", 2)
    await expect(page.locator(".track")).to_have_count(1)
    await expect(page.locator(".track")).to_contain_text("$0.00050")
    await expect(page.get_by_label("Model")).to_contain_text(
        "auto: the largest that takes at most 60 s"
    )


async def test_sampling_inputs_derive_from_the_table(guarded_url: str, page: Page) -> None:
    await page.goto(guarded_url)
    await page.get_by_text("Advanced").click()
    schema = SamplingParams.model_json_schema()["properties"]
    for name in schema.keys() - {"seed"}:
        entry = page.locator(f"#sampling input[name={name}]")
        await expect(entry).to_be_visible()
        assert float(await entry.get_attribute("min") or "nan") == schema[name]["minimum"]
        assert float(await entry.get_attribute("max") or "nan") == schema[name]["maximum"]
        assert float(await entry.input_value()) == schema[name]["default"]
    await expect(page.locator("#sampling input")).to_have_count(len(schema) - 1)
    assert await page.get_by_label("Seed").get_attribute("min") == "0"


async def test_sampling_inputs_are_sent(
    guarded_url: str, backend: FakeGenerator, page: Page
) -> None:
    await page.goto(guarded_url)
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_text("Advanced").click()
    values = {"Temperature": "0.5", "Top k": "10", "Top p": "0.25", "Guidance": "4.5", "Seed": "3"}
    for label, value in values.items():
        await page.get_by_label(label, exact=True).fill(value)
    await generate(page, "bells", 2)
    await expect(page.locator(".track")).to_have_count(1)
    assert backend.requests[-1].sampling == SamplingParams(
        temperature=0.5, top_k=10, top_p=0.25, cfg_coef=4.5, seed=3
    )


async def test_a_typed_seed_waits_for_the_parameters(
    guarded_url: str, backend: FakeGenerator, page: Page, complaints: list[str]
) -> None:
    """Loading them fails with the page, and again at the first attempt to generate."""
    failures = 2

    async def fail(route: Route) -> None:
        nonlocal failures
        failures -= 1
        await (route.abort() if failures >= 0 else route.continue_())

    await page.route("**/openapi.json", fail)
    async with page.expect_event("requestfailed"):
        await page.goto(guarded_url)
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_label("Seed").fill("21")
    await generate(page, "bells", 2)
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("The service cannot be reached")
    assert backend.requests == []
    assert all("Failed to fetch" in complaint for complaint in complaints)
    complaints.clear()
    await page.get_by_role("button", name="Generate").click()
    await expect(page.locator(".track")).to_contain_text("seed 21")
    assert backend.requests[-1].sampling.seed == 21
    await expect(alert).to_be_hidden()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Download as MP3").click()
    assert (await waiting.value).suggested_filename == "bells-21.mp3"


async def test_errors_are_sentences(guarded_url: str, backend: FakeGenerator, page: Page) -> None:
    backend.error = QueueFull("Too many requests are waiting for this model.", retry_after_s=12)
    await page.goto(guarded_url)
    await page.get_by_label("API key").fill(KEY)
    await generate(page, "bells", 2)
    alert = page.get_by_role("alert")
    await expect(alert).to_have_text(
        "Too many requests are waiting for this model. Try again in 12 s."
    )
    backend.error = None
    await page.get_by_role("button", name="Generate").click()
    await expect(page.locator(".track")).to_have_count(1)
    await expect(alert).to_be_hidden()


async def test_it_is_used_by_keyboard_in_the_dark(guarded_url: str, page: Page) -> None:
    await page.emulate_media(color_scheme="dark")
    await page.goto(guarded_url)
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_label("Prompt").focus()
    await page.keyboard.type("bells")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.id") == "generate":
            break
    await page.keyboard.press("Enter")
    await expect(page.locator(".track")).to_have_count(1)
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in ground.removeprefix("rgb(").rstrip(")").split(",")) < 64
