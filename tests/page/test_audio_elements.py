"""Audio elements of this and other pages, which play streams."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.fakes import FakeGenerator
from tests.page.actions import generate
from tests.page.conftest import KEY
from tests.served_api import served_api

pytestmark = pytest.mark.long


@pytest.mark.parametrize("response_format", ["mp3", "wav", "flac", "opus"])
async def test_a_plain_audio_element_costs_one_track(
    backend: FakeGenerator, page: Page, response_format: str
) -> None:
    """It plays, goes back, and plays to the end; where the length is known, so is the duration."""
    query = f"prompt=lofi+beat&duration_s=1&response_format={response_format}"
    with served_api(backend) as url:
        await page.goto(f"{url}/health")  # a page of the service's origin
        await page.set_content(f'<audio muted src="{url}/v1/audio/stream?{query}"></audio>')
        durations = await page.evaluate(
            """async () => {
                const audio = document.querySelector("audio");
                const heard = (event) => new Promise((done) => audio[`on${event}`] = done);
                const played = heard("timeupdate");
                await audio.play();
                await played;
                const atFirst = audio.duration;
                audio.currentTime = 0.1;
                await heard("seeked");
                const ended = heard("ended");
                await audio.play();
                await ended;
                return [atFirst, audio.duration, audio.currentTime];
            }"""
        )
    assert len(backend.requests) == 1
    at_first, in_the_end, position = durations
    assert in_the_end == pytest.approx(1.0, abs=0.15)
    assert position == pytest.approx(1.0, abs=0.15)
    if response_format in ("mp3", "wav"):
        assert at_first == pytest.approx(1.0, abs=0.15)


async def test_a_page_plays_a_stream_behind_a_key(
    guarded_url: str, backend: FakeGenerator, page: Page
) -> None:
    """It fetches the address with its key, and gives it to the audio element."""
    await page.goto(guarded_url)
    played = await page.evaluate(
        """async (key) => {
            const headers = { authorization: `Bearer ${key}` };
            const answer = await fetch("v1/audio/stream?prompt=a&duration_s=2", { headers });
            await answer.body.cancel();
            return answer.url;
        }""",
        KEY,
    )
    assert played.startswith(f"{guarded_url}/v1/audio/streams/")
    answer = await page.request.get(played, headers={"range": "bytes=0-1"})
    assert answer.status == 206
    assert len(backend.requests) == 1


async def test_only_its_own_page_makes_music_without_keys(
    backend: FakeGenerator, page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A page of another origin tries what needs no preflight."""
    file = tmp_path / "page.html"
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    with served_api(backend) as url:
        await page.goto(url)
        await generate(page, "bells", 1)
        await expect(page.locator(".track")).to_have_count(1)
        assert len(backend.requests) == 1
        await page.goto(f"{url}/health")  # without the policy of the page, which has no such player
        played = await page.evaluate(_PLAY, f"{url}/v1/audio/stream?prompt=a&duration_s=1")
        assert played == "playable"
        assert len(backend.requests) == 2
        file.write_text("<!doctype html><title>Another page</title>")
        await page.goto(file.as_uri())  # Chromium keeps pages over plain HTTP from 127.0.0.1 itself
        refused = await page.evaluate(_PLAY, f"{url}/v1/audio/stream?prompt=a&duration_s=1")
        assert refused == "refused"
        for path in ("/", "/generate", "/v1/audio/generations"):
            await page.evaluate(_POST, url + path)
    assert len(backend.requests) == 2


_PLAY = """
(address) => new Promise((resolve) => {
  const audio = new Audio(address);
  audio.oncanplay = () => resolve("playable");
  audio.onerror = () => resolve("refused");
  audio.load();
})
"""


_POST = """
(address) => fetch(address, { method: "POST", mode: "no-cors", body: '{"prompt": "a"}' })
  .then(() => "sent", () => "blocked")
"""
