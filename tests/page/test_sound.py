"""One sound at a time, which can be stopped and does not stutter."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.async_api import Page, expect

from tests.fakes import FakeGenerator
from tests.page.actions import becomes, generate
from tests.page.slow_generator import CHUNK_S, SlowGenerator
from tests.served_api import served_api

pytestmark = pytest.mark.long

# Records the audio devices of the page, and each part that it schedules on them.
_RECORDER = """
globalThis.contexts = [];
globalThis.scheduled = [];
globalThis.AudioContext = class extends AudioContext {
  constructor(...options) {
    super(...options);
    contexts.push(this);
  }
};
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when) {
  scheduled.push([when, this.buffer.duration, this.context.currentTime]);
  return start.call(this, when);
};
"""
# Of the status, once no chunk, one, two and so on have arrived.
_PROGRESS = [*(f"Making the track: {made} s" for made in (0.0, 0.3, 0.5, 0.8, 1.0, 1.3)), "Done."]
_SOUNDING = "contexts.filter((one) => one.state !== 'closed').length"


# Lets a test set the time of the page and of its audio devices, in seconds.
_CLOCK = """
globalThis.clock = 1;
performance.now = () => 1000 * clock;
Object.defineProperty(AudioContext.prototype, "currentTime", { get: () => clock });
"""


@pytest.fixture
def slow() -> SlowGenerator:
    """Makes 0.6 s of music a second, by the page's clock."""
    return SlowGenerator(speed=0.6, allowed_s=0.0)


@pytest.fixture
def slow_url(slow: SlowGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    with served_api(slow) as url:
        yield url


async def test_live_sound_ends_when_another_begins_and_by_its_button(url: str, page: Page) -> None:
    await page.add_init_script(_RECORDER)
    await page.goto(url)
    stop = page.get_by_role("button", name="Stop the sound")
    await expect(stop).to_be_hidden()
    await generate(page, "bells", 30)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    await expect(page.get_by_role("status")).to_have_text("Done.")
    await expect(stop).to_be_visible()
    await generate(page, "drums", 30)
    await expect(tracks).to_have_count(2)
    assert await page.evaluate("contexts.length") == 2
    await becomes(page, _SOUNDING, 1)  # the first ends as the second begins
    await stop.click()
    await becomes(page, _SOUNDING, 0)
    await expect(stop).to_be_hidden()
    await generate(page, "flute", 30)
    await expect(tracks).to_have_count(3)
    await tracks.last.locator("audio").evaluate("(audio) => audio.play()")
    await expect(stop).to_be_hidden()
    await becomes(page, _SOUNDING, 0)  # a track of the list stops the live sound


async def test_a_track_of_the_list_stops_another(
    url: str, backend: FakeGenerator, page: Page
) -> None:
    await page.goto(url)
    tracks = page.locator(".track")
    for number in (1, 2):
        await generate(page, "bells", 30)
        await expect(tracks).to_have_count(number)
    assert len(backend.requests) == 2
    players = [tracks.nth(number).locator("audio") for number in (0, 1)]
    await players[0].evaluate("(audio) => audio.play()")
    await players[1].evaluate("(audio) => audio.play()")
    paused = [await player.evaluate("(audio) => audio.paused") for player in players]
    assert paused == [True, False]


async def test_slow_music_is_buffered_and_plays_without_a_break(
    slow_url: str, slow: SlowGenerator, page: Page
) -> None:
    """The page tells how long it buffers."""
    await page.add_init_script(_RECORDER + _CLOCK)
    await page.goto(slow_url)
    await generate(page, "bells", 1.5)
    status = page.get_by_role("status")
    for number, text in enumerate(_PROGRESS):
        await page.evaluate(f"clock = {1 + number * CHUNK_S / slow.speed}")
        slow.allowed_s = number * CHUNK_S
        await expect(status).to_contain_text(text)
        if number in (1, 2):
            await expect(status).to_contain_text("it plays in about")
    assert await page.locator("#now").get_attribute("data-underruns") == "0"
    parts = await page.evaluate("scheduled")
    assert len(parts) == 6
    for (start, seconds, _), (following, _, now) in pairwise(parts):
        assert following == pytest.approx(start + seconds, abs=1e-6), "no gap"
        assert following >= now, "it was made in time"


async def test_the_sound_of_a_deleted_track_ends(url: str, page: Page) -> None:
    await page.add_init_script(_RECORDER)
    await page.goto(url)
    await generate(page, "bells", 30)
    track = page.locator(".track")
    await expect(page.get_by_role("status")).to_have_text("Done.")
    assert await page.evaluate(_SOUNDING) == 1
    await track.get_by_role("button", name="Delete").click()
    await expect(track).to_have_count(0)
    await expect(page.get_by_role("button", name="Stop the sound")).to_be_hidden()
    await becomes(page, _SOUNDING, 0)


async def test_live_sound_ends_although_its_end_is_told_late(url: str, page: Page) -> None:
    """All that was made has been played by then. The device has the rate of the music."""
    await page.goto(url)
    found = await page.evaluate(
        """async () => {
            const { LivePlayer } = await import("./static/live_player.js");
            const { start } = AudioBufferSourceNode.prototype;
            const played = new Promise((done) => AudioBufferSourceNode.prototype.start = function (when) {
                this.addEventListener("ended", done);
                return start.call(this, when);
            });
            const live = new LivePlayer(32_000, 1, 0.1);
            live.add(new Int16Array(3_200), 0);
            await played;
            const isHeard = !live.isStopped;
            live.complete();
            return [live.context.sampleRate, isHeard, live.isStopped];
        }"""
    )
    assert found == [32_000, True, True]
    await expect(page.get_by_role("button", name="Stop the sound")).to_be_hidden()


async def test_a_device_of_a_fixed_rate_plays_all_rates(url: str, page: Page) -> None:
    await page.add_init_script(
        "globalThis.AudioContext = class extends AudioContext {"
        " constructor(options) { if (options) throw new DOMException('', 'NotSupportedError'); super(); } };"
    )
    await page.goto(url)
    await generate(page, "bells", 30)
    await expect(page.locator(".track")).to_have_count(1)
    await expect(page.get_by_role("button", name="Stop the sound")).to_be_visible()
