"""Sounds that are chosen, removed or recorded while another one is still being read."""

import pytest
from playwright.async_api import FilePayload, Page, expect

from tests.audio.files import RATE, pcm_file, tone
from tests.page.actions import becomes, choose, open_sounds

pytestmark = pytest.mark.long

SHORT = pcm_file(tone(0.5), RATE)
# Reading a file named "large.wav" takes until `read()` is called; `decoded` counts the sounds that are decoded.
_SLOW_FILES = """
  const bytes = Blob.prototype.arrayBuffer;
  const read = new Promise((resolve) => globalThis.read = resolve);
  Blob.prototype.arrayBuffer = async function () {
    if (this.name === "large.wav") await read;
    return bytes.call(this);
  };
  const { decodeAudioData } = BaseAudioContext.prototype;
  globalThis.decoded = 0;
  BaseAudioContext.prototype.decodeAudioData = async function (data) {
    const sound = await decodeAudioData.call(this, data);
    globalThis.decoded += 1;
    return sound;
  };
"""
# The browser asks for the microphone until `answer()` is called; `microphones` are those that were given.
_SLOW_PERMISSION = """
  const media = MediaDevices.prototype;
  const { getUserMedia } = media;
  const answered = new Promise((resolve) => globalThis.answer = resolve);
  globalThis.microphones = [];
  media.getUserMedia = async function (wanted) {
    await answered;
    const microphone = await getUserMedia.call(this, wanted);
    microphones.push(microphone);
    return microphone;
  };
"""
_LIVE = "microphones.flatMap((one) => one.getTracks()).filter((one) => one.readyState === 'live')"


async def choose_large(page: Page) -> None:
    file: FilePayload = {"name": "large.wav", "mimeType": "audio/wav", "buffer": SHORT}
    await page.get_by_label("Audio file").set_input_files(file)


async def finish_reading(page: Page) -> None:
    """Let the large file be read, after the other one."""
    await page.evaluate("read()")
    await becomes(page, "decoded", 2)


async def test_the_sound_that_is_chosen_last_counts(url: str, page: Page) -> None:
    await page.add_init_script(_SLOW_FILES)
    await page.goto(url)
    await open_sounds(page)
    await choose_large(page)
    await choose(page, SHORT)
    await finish_reading(page)
    await expect(page.get_by_role("note")).to_have_text("hummed.wav")


async def test_a_sound_that_is_removed_while_another_is_read_stays_away(
    url: str, page: Page
) -> None:
    await page.add_init_script(_SLOW_FILES)
    await page.goto(url)
    await open_sounds(page)
    await choose(page, SHORT)
    await choose_large(page)
    await page.get_by_role("button", name="Remove the sound").click()
    await finish_reading(page)
    await expect(page.get_by_role("note")).to_contain_text("None")


async def test_two_clicks_on_record_take_one_microphone(url: str, page: Page) -> None:
    await page.add_init_script(_SLOW_PERMISSION)
    await page.goto(url)
    await open_sounds(page)
    await page.get_by_role("button", name="Record").dblclick()
    await page.evaluate("answer()")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("note")).to_have_text("Your recording")
    assert await page.evaluate("microphones.length") == 1
    assert await page.evaluate(f"{_LIVE}.length") == 0
