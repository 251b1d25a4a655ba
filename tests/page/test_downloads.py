"""Files that the page offers, with their marks."""

from pathlib import Path

import av
import pytest
import soundfile
from playwright.async_api import Locator, Page, Route, expect

from serve_app.audio.file_format import FORMATS, Tagging
from serve_app.marks import DIGITAL_SOURCE_TYPE
from tests.browser import PATIENCE_MS
from tests.credentials import SOUND, actions, read, state, stored
from tests.fakes import FakeGenerator
from tests.page.actions import generate
from tests.page.conftest import KEY
from tests.served_api import served_api

pytestmark = pytest.mark.long


def assert_marked(file: Path, seed: int) -> None:
    """Two seconds of "bells" that say that they were generated."""
    with av.open(file) as container:
        tags = {**container.metadata, **container.streams.audio[0].metadata}
        assert float(container.duration or 0) / av.time_base == pytest.approx(2.0, abs=0.1)
    assert tags["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert (tags["title"], tags["seed"]) == ("bells", str(seed))


async def test_downloads_offer_the_formats_of_the_table(guarded_url: str, page: Page) -> None:
    await page.goto(guarded_url)
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_label("Seed").fill("5")
    await generate(page, "bells", 2)
    offered = page.get_by_role("group", name="Downloads").get_by_role("button")
    await expect(offered).to_have_count(len(FORMATS))
    names = await offered.evaluate_all("all => all.map((one) => one.dataset.format)")
    assert names == [*FORMATS]
    for number, file_format in enumerate(FORMATS.values()):
        async with page.expect_download() as waiting:
            await offered.nth(number).click()
        download = await waiting.value
        assert download.suggested_filename == f"bells-5.{file_format.suffix}"
        if file_format.tagging is not Tagging.NONE:
            assert_marked(await download.path(), seed=5)


async def test_variations_keep_their_marks(guarded_url: str, page: Page) -> None:
    await page.goto(guarded_url)
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_label("Seed").fill("5")
    await generate(page, "bells", 2)
    tracks = page.locator(".track")
    await tracks.first.get_by_role("button", name="More like this").click()
    await expect(tracks).to_have_count(4)
    async with page.expect_download() as waiting:
        await tracks.first.get_by_role("button", name="Download as WAV").click()
    assert_marked(await (await waiting.value).path(), seed=6)


async def test_downloads_of_a_service_that_sends_signed_files_only(
    backend: FakeGenerator, page: Page, tmp_path: Path
) -> None:
    """The page asks for the whole file where a stream is refused, and keeps its bytes."""
    with served_api(backend, stored(tmp_path, unsigned_formats="refuse")) as url:
        await page.goto(url)
        await generate(page, "bells", 2)
        tracks = page.locator(".track")
        await expect(tracks).to_have_count(1, timeout=PATIENCE_MS)
        await expect(page.get_by_role("alert")).to_be_hidden()
        await expect(tracks.first).to_contain_text("2.0 s of audio")
        wav = await downloaded(tracks.first, page, "wav", tmp_path)
        mp3 = await downloaded(tracks.first, page, "mp3", tmp_path)
        seconds = await tracks.first.locator("audio").evaluate(
            "async (audio) => { while (!audio.duration) await new Promise(requestAnimationFrame);"
            " return audio.duration; }"
        )
    assert state(wav.read_bytes(), "audio/wav") in SOUND
    assert len(soundfile.read(wav)[0]) == 64_000, "the manifest is not among the samples"
    assert seconds == pytest.approx(2.0, abs=0.01)
    converted = read(mp3.read_bytes(), "audio/mpeg")
    assert converted["validation_state"] in SOUND
    assert [action["action"] for action in actions(converted)] == [
        "c2pa.opened", "c2pa.transcoded"
    ]  # fmt: skip


async def test_a_second_click_waits_for_the_first_ones_file(url: str, page: Page) -> None:
    conversions: list[Route] = []

    async def hold(route: Route) -> None:
        conversions.append(route)

    await page.route("**/v1/audio/conversions", hold)
    await page.goto(url)
    await generate(page, "bells", 2)
    button = page.locator(".track").get_by_role("button", name="Download as MP3")
    await button.click()
    await expect(button).to_have_attribute("aria-busy", "true")
    await button.click()
    async with page.expect_download() as waiting:
        await conversions[0].continue_()
    assert (await waiting.value).suggested_filename.endswith(".mp3")
    await expect(button).to_have_attribute("aria-busy", "false")
    assert len(conversions) == 1


async def downloaded(track: Locator, page: Page, file_format: str, folder: Path) -> Path:
    """The file that the page offers for a track."""
    async with page.expect_download() as waiting:
        await track.locator(f"[data-format={file_format}]").click()
    download = await waiting.value
    file = folder / download.suggested_filename
    await download.save_as(file)
    return file
