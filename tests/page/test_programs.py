"""Programs of "Use this by API" make what is set, also with a sound and behind a key."""

from hashlib import sha256
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.audio.files import RATE, pcm_file, tone
from tests.fakes import FakeGenerator
from tests.page.actions import choose, open_sounds, record
from tests.page.conftest import KEY
from tests.page.programs import run_programs

pytestmark = pytest.mark.long

SOUND = pcm_file(tone(4.0), RATE)
FILE_LIKE_PROMPT = "@bells <drums>; type=text"


async def saved_sound(page: Page, folder: Path, name: str) -> bytes:
    """Download the sound of the program."""
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name=f"Download {name}").click()
    download = await waiting.value
    assert download.suggested_filename == name
    await download.save_as(folder / name)
    return (folder / name).read_bytes()


async def test_programs_with_a_trimmed_sound_and_a_key(
    guarded_url: str, backend: FakeGenerator, page: Page, tmp_path: Path
) -> None:
    """The key is a variable of the environment; a prompt like the name of a file is a prompt."""
    await page.goto(guarded_url)
    await page.get_by_label("API key").fill(KEY)
    await page.keyboard.press("Tab")
    await open_sounds(page)
    await choose(page, SOUND)
    await page.get_by_label("From", exact=True).fill("1")
    await page.get_by_label("To", exact=True).fill("2.5")
    await page.get_by_label("Prompt", exact=True).fill(FILE_LIKE_PROMPT)
    await page.get_by_label("Seconds", exact=True).fill("2.5")
    await page.get_by_text("Use this by API").click()
    await saved_sound(page, tmp_path, "beginning.wav")
    programs = await run_programs(page, tmp_path, 2.5, MUSICGEN_API_KEY=KEY)
    assert all("MUSICGEN_API_KEY" in program and KEY not in program for program in programs)
    async with page.expect_response("**/v1/audio/generations"):
        await page.get_by_role("button", name="Generate").click()
    await expect(page.locator(".track")).to_have_count(1)
    assert len(backend.requests) == 4
    sounds = [request.audio_prompt for request in backend.requests]
    assert len({sound and sound.file_sha256 for sound in sounds}) == 1, "the page's own, too"
    assert sounds[0] is not None
    assert sounds[0].duration_s == pytest.approx(1.5, abs=0.01)
    assert {request.prompt for request in backend.requests} == {FILE_LIKE_PROMPT}


async def test_programs_with_a_whole_melody(
    url: str, backend: FakeGenerator, page: Page, tmp_path: Path
) -> None:
    """The file is the user's, and keeps its extension."""
    backend.melody = ("small",)
    await page.goto(url)
    await open_sounds(page)
    await choose(page, SOUND)
    await page.get_by_label("Seconds", exact=True).fill("2")
    await page.get_by_text("Use this by API").click()
    assert (
        sha256(await saved_sound(page, tmp_path, "melody.wav")).digest() == sha256(SOUND).digest()
    )
    await run_programs(page, tmp_path, 2)
    assert [request.melody is None for request in backend.requests] == [False] * 3
    await page.get_by_role("button", name="Remove the sound").click()
    await expect(page.locator("#api-sound")).to_be_hidden()


async def test_a_program_reads_a_recording(url: str, page: Page, tmp_path: Path) -> None:
    await page.goto(url)
    await open_sounds(page)
    await record(page)
    await page.get_by_text("Use this by API").click()
    assert await saved_sound(page, tmp_path, "beginning.webm")
    await expect(page.locator("#api-code")).to_contain_text("-F audio_prompt=@beginning.webm")
