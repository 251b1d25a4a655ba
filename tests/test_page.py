"""The web pages in real Chromium: over the real service, and over the API alone for errors."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from playwright.async_api import (
    FilePayload,
    Locator,
    Page,
    Route,
    expect,
)

from serve_app.api.routes.page import STATIC
from serve_app.audio.file_format import FORMATS, Tagging
from serve_app.audio.wav import WavHeader
from serve_app.config.jobs import JobsConfig
from serve_app.errors import ModelLoading, QueueFull
from serve_app.launcher import Service
from serve_app.marks import DIGITAL_SOURCE_TYPE
from serve_app.types import Content, SamplingParams
from tests.audio.files import RATE, pcm_file, tone
from tests.browser import PATIENCE_MS, PHONE, open_tab, require_chromium
from tests.credentials import SOUND, actions, read, state, stored
from tests.fakes import FakeGenerator
from tests.served_api import served_api

require_chromium()
pytestmark = pytest.mark.long

README = (Path(__file__).parent.parent / "README.md").read_text()
KEY = "page-key-0123456789"
SCREENSHOTS = os.environ.get("MUSICGEN_SCREENSHOTS")  # a folder: `make screenshots` sets it
MELODY = pcm_file(tone(0.5), RATE)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """An empty tab. An uncaught error of the page fails the test."""
    async with open_tab() as page:
        yield page


@pytest.fixture
def backend() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def guarded_url(backend: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The API in an HTTP server, without a model, behind a key."""
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"page:{KEY}")
    with served_api(backend) as url:
        yield url


async def screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        await page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


async def generate(page: Page, prompt: str, seconds: int) -> None:
    await page.get_by_label("Prompt").fill(prompt)
    await page.get_by_label("Seconds").fill(str(seconds))
    await page.get_by_role("button", name="Generate").click()


def assert_marked(file: Path, seed: int) -> None:
    """Two seconds of "bells" that say that they were generated."""
    with av.open(file) as container:
        tags = {**container.metadata, **container.streams.audio[0].metadata}
        assert float(container.duration or 0) / av.time_base == pytest.approx(2.0, abs=0.1)
    assert tags["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert (tags["title"], tags["seed"]) == ("bells", str(seed))


def test_its_files_are_formatted_and_linted() -> None:
    deno = str(Path(sys.executable).parent / "deno")
    for command in (["fmt", "--check", "--line-width", "120"], ["lint"]):
        run = subprocess.run([deno, *command, STATIC], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def test_a_manifest_behind_the_samples_is_no_sound(tmp_path: Path) -> None:
    """The page reads the samples of a signed file, and those of one that is still being made."""
    file = tmp_path / "a.wav"
    script = (
        f'import {{ read }} from "{STATIC.as_uri()}/wav.js";'
        f'console.log(read(Deno.readFileSync("{file}")).samples.length);'
    )
    deno = str(Path(sys.executable).parent / "deno")
    header = WavHeader(32_000, 1, 2, {})
    for size in (2_000, None):
        manifest = b"C2PA" + (400).to_bytes(4, "little") + b"\xff" * 400 if size else b""
        file.write_bytes(header.build(size) + b"\x01" * 2_000 + manifest)
        run = subprocess.run([deno, "eval", script], capture_output=True, text=True, check=False)
        assert run.stdout.strip() == "1000", run.stderr


async def test_music_is_made_heard_and_downloaded(
    service: Service, page: Page, tmp_path: Path
) -> None:
    await page.goto(service.url)
    await page.get_by_role("button", name="lofi beat").click()
    await page.get_by_label("Seconds").fill("6")
    await page.get_by_label("Seed").fill("7")
    await page.get_by_role("button", name="Generate").click()
    status = page.get_by_role("status")
    await expect(status).to_contain_text("Making the track", timeout=PATIENCE_MS)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1, timeout=PATIENCE_MS)
    await expect(status).to_have_text("Done.")
    await expect(tracks.first).to_contain_text("6.0 s of audio")
    await expect(tracks.first).to_contain_text("seed 7")
    for chosen, extension in (("wav", "wav"), ("mp3", "mp3"), ("opus", "ogg")):
        async with page.expect_download() as waiting:
            await tracks.first.locator(f"[data-format={chosen}]").click()
        download = await waiting.value
        assert download.suggested_filename == f"lofi-beat-with-piano-80-bpm-7.{extension}"
        await download.save_as(tmp_path / download.suggested_filename)
        samples, rate = soundfile.read(tmp_path / download.suggested_filename)
        assert len(samples) / rate == pytest.approx(6.0, abs=0.1)
        assert np.sqrt(np.mean(samples**2)) > 1e-3, "it is not silent"
    await screenshot(page, "page-desktop")
    await page.set_viewport_size(PHONE)
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], "the page is as wide as the phone"
    await screenshot(page, "page-phone")


async def test_again_and_more_like_it(service: Service, page: Page) -> None:
    await page.goto(service.url)
    await page.get_by_label("Seed").fill("11")
    await generate(page, "bells", 1)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1, timeout=PATIENCE_MS)
    await tracks.first.get_by_role("button", name="More like this").click()
    await expect(tracks).to_have_count(4, timeout=PATIENCE_MS)
    for number, seed in enumerate((12, 13, 14)):
        await expect(tracks.nth(number)).to_contain_text(f"seed {seed}")
    await tracks.nth(1).get_by_role("button", name="Again with this seed").click()
    await expect(tracks).to_have_count(5, timeout=PATIENCE_MS)
    await expect(tracks.first).to_contain_text("seed 13")


async def test_cancelling_frees_the_slot(service: Service, page: Page) -> None:
    await page.goto(service.url)
    await generate(page, "a long pad", 60)
    await expect(page.get_by_role("status")).to_contain_text(
        "Making the track", timeout=PATIENCE_MS
    )
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("button", name="Generate")).to_be_enabled()
    await expect(page.get_by_role("alert")).to_be_hidden()
    stats = page.request
    for _ in range(100):
        [replica] = (await (await stats.get(f"{service.url}/stats")).json())["models"]["nano"]
        if replica["slots_used"] == 0:
            return
        await page.wait_for_timeout(50)
    pytest.fail("the slot is still taken")


async def test_the_readmes_audio_element_plays(service: Service, page: Page) -> None:
    [example] = re.findall(r"```html\n(.*?)```", README, re.DOTALL)
    await page.goto(f"{service.url}/health")  # a page of the service's origin
    await page.set_content(example.replace("http://127.0.0.1:8000", service.url))
    seconds = await page.evaluate(
        """async () => {
            const audio = document.querySelector("audio");
            audio.muted = true;
            await audio.play();
            await new Promise((heard) => audio.ontimeupdate = () => audio.currentTime > 0.3 && heard());
            return audio.currentTime;
        }"""
    )
    assert seconds > 0.3


@pytest.mark.parametrize("response_format", ["mp3", "wav", "flac", "opus"])
async def test_a_plain_audio_element_costs_one_track(
    backend: FakeGenerator, page: Page, response_format: str
) -> None:
    """It plays, goes back, and plays to the end; where the length is known, so is the duration."""
    query = f"prompt=lofi+beat&duration_s=3&response_format={response_format}"
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
    assert in_the_end == pytest.approx(3.0, abs=0.15)
    assert position == pytest.approx(3.0, abs=0.15)
    if response_format in ("mp3", "wav"):
        assert at_first == pytest.approx(3.0, abs=0.15)


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
    guarded_url: str, backend: FakeGenerator, page: Page
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
    await page.get_by_role("button", name="Generate").click()
    await expect(page.locator(".track")).to_contain_text("seed 21")
    assert backend.requests[-1].sampling.seed == 21
    await expect(alert).to_be_hidden()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Download as MP3").click()
    assert (await waiting.value).suggested_filename == "bells-21.mp3"


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
    await screenshot(page, "docs-desktop")
    assert elsewhere == []
    assert messages == []


async def operations(page: Page, url: str) -> int:
    """Count the operations of the OpenAPI document."""
    document = await (await page.request.get(f"{url}/openapi.json")).json()
    return sum(len(methods) for methods in document["paths"].values())


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


async def downloaded(track: Locator, page: Page, file_format: str, folder: Path) -> Path:
    """The file that the page offers for a track."""
    async with page.expect_download() as waiting:
        await track.locator(f"[data-format={file_format}]").click()
    download = await waiting.value
    file = folder / download.suggested_filename
    await download.save_as(file)
    return file


@pytest.fixture
def kept_url(backend: FakeGenerator, tmp_path: Path) -> Iterator[str]:
    """The API with jobs in an HTTP server, without a model and without keys."""
    backend.longest_s = 120.0
    config = JobsConfig(store=f"sqlite:///{tmp_path / 'jobs.db'}")
    with served_api(backend, jobs=config) as url:
        yield url


async def generate_long(page: Page, prompt: str) -> None:
    await expect(page.get_by_label("Seconds")).to_have_attribute("max", "120")
    await generate(page, prompt, 40)


async def test_a_long_track_comes_back_at_the_next_visit(kept_url: str, page: Page) -> None:
    await page.goto(kept_url)
    await page.get_by_label("Seed").fill("7")
    await generate_long(page, "a long way")
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    await expect(tracks.first).to_contain_text("40.0 s of audio")
    await expect(tracks.first).to_contain_text("seed 7")
    await page.reload()
    await expect(tracks).to_have_count(1)
    await expect(tracks.first).to_contain_text("a long way")
    duration = "audio => audio.duration || new Promise(done => audio.onloadedmetadata = () => done(audio.duration))"
    assert await tracks.first.locator("audio").evaluate(duration) == pytest.approx(40, abs=0.1)


async def test_an_unfinished_track_survives_a_reload_and_a_lost_connection(
    kept_url: str, backend: FakeGenerator, page: Page
) -> None:
    backend.error = ModelLoading("No replica is ready")  # the job waits
    await page.goto(kept_url)
    await generate_long(page, "patience")
    status = page.get_by_role("status")
    await expect(status).to_contain_text(re.compile("Waiting|Making"))
    await page.reload()
    await expect(status).to_contain_text(re.compile("Waiting|Making"))
    lost = re.compile(r"/v1/jobs/\w+$")
    await page.route(lost, lambda route: route.abort())
    await expect(status).to_have_text("The service cannot be reached: trying again")
    await page.unroute(lost)
    backend.error = None
    await expect(page.locator(".track")).to_have_count(1)
    await expect(status).to_have_text("Done.")


async def test_a_long_track_is_canceled(kept_url: str, backend: FakeGenerator, page: Page) -> None:
    backend.error = ModelLoading("No replica is ready")  # the job waits
    await page.goto(kept_url)
    await generate_long(page, "never mind")
    await expect(page.get_by_role("status")).to_contain_text(re.compile("Waiting|Making"))
    async with page.expect_response(re.compile("/cancel$")) as waiting:
        await page.get_by_role("button", name="Cancel").click()
    assert (await waiting.value).ok
    await page.reload()
    await expect(page.locator("#now")).to_be_hidden()


async def forget_tracks(page: Page) -> None:
    """Empty the page's store of tracks, so that the service alone has them."""
    await page.evaluate(
        """() => new Promise((resolve, reject) => {
            const request = indexedDB.open("musicgen");
            request.onerror = () => reject(request.error);
            request.onsuccess = () => {
                const transaction = request.result.transaction("tracks", "readwrite");
                transaction.objectStore("tracks").clear();
                transaction.oncomplete = () => { request.result.close(); resolve(); };
            };
        })"""
    )


FILE = re.compile(r"/v1/jobs/\w+/audio$")
REMEMBERED = "JSON.parse(localStorage.getItem('musicgen-jobs') ?? '[]').length"


async def test_a_file_that_fails_is_fetched_again(kept_url: str, page: Page) -> None:
    """Neither a busy service nor one that restarts loses a track, now and at the next visit."""
    await page.goto(kept_url)
    tracks = page.locator(".track")
    statuses = [503, 429]

    async def fail(route: Route) -> None:
        await (route.fulfill(status=statuses.pop()) if statuses else route.continue_())

    await page.route(FILE, fail)
    await generate_long(page, "patience")
    await expect(tracks).to_have_count(1, timeout=PATIENCE_MS)
    statuses.append(500)
    await forget_tracks(page)
    await page.reload()
    await expect(tracks).to_have_count(1, timeout=PATIENCE_MS)
    assert statuses == []
    assert await page.evaluate(REMEMBERED) == 1


async def test_a_lost_submission_is_repeated_with_its_key(kept_url: str, page: Page) -> None:
    """The service has taken it, but the answer does not arrive: there is one job, and one track."""
    keys: list[str] = []

    async def lose(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            return await route.continue_()
        assert (await route.fetch()).status == 202
        return await route.abort()

    await page.goto(kept_url)
    await page.route("**/v1/jobs", lose)
    await generate_long(page, "once")
    await expect(page.locator(".track")).to_have_count(1, timeout=PATIENCE_MS)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    listed = await (await page.request.get(f"{kept_url}/v1/jobs")).json()
    assert len(listed["data"]) == 1


async def test_music_is_made_while_earlier_tracks_arrive(kept_url: str, page: Page) -> None:
    """Ten of them at a time, the newest first; they leave the form and its progress alone."""
    made = await submitted(page, kept_url, 12)
    release = asyncio.Event()
    asked: list[str] = []

    async def hold(route: Route) -> None:
        asked.append(route.request.url.split("/")[-2])
        await release.wait()
        await route.continue_()

    await page.route(FILE, hold)
    await page.goto(kept_url)
    await page.evaluate("ids => localStorage.setItem('musicgen-jobs', JSON.stringify(ids))", made)
    await page.reload()
    await expect(page.get_by_label("Model")).to_have_value("small")
    await expect(page.locator("#now")).to_be_hidden()
    await generate(page, "bells", 2)
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1, timeout=PATIENCE_MS)
    await expect(page.get_by_role("status")).to_have_text("Done.")
    release.set()
    await expect(tracks).to_have_count(11, timeout=PATIENCE_MS)
    await expect(tracks.first).to_contain_text("bells")
    await expect(tracks.nth(1)).to_contain_text("track 11")
    await expect(tracks.last).to_contain_text("track 2")
    assert asked == made[:1:-1]
    more = page.get_by_role("button", name="Show earlier tracks")
    await more.click()
    await expect(tracks).to_have_count(13, timeout=PATIENCE_MS)
    await expect(tracks.last).to_contain_text("track 0")
    await expect(more).to_be_hidden()
    assert asked == made[::-1]


async def submitted(page: Page, url: str, count: int) -> list[str]:
    """Make jobs without the page; return their ids once they have ended."""
    ids = []
    for number in range(count):
        body = {"prompt": f"track {number}", "duration_s": 1}
        answer = await page.request.post(f"{url}/v1/jobs", data=body, headers={"prefer": "wait=30"})
        assert answer.status == 200
        ids.append(str((await answer.json())["id"]))
    return ids


async def test_cancel_leaves_earlier_tracks_alone(
    kept_url: str, backend: FakeGenerator, page: Page
) -> None:
    backend.error = ModelLoading("No replica is ready")  # jobs wait
    await page.goto(kept_url)
    await generate_long(page, "the first")
    await expect(page.get_by_role("status")).to_contain_text(re.compile("Waiting|Making"))
    await page.reload()
    await expect(page.get_by_role("status")).to_contain_text(re.compile("Waiting|Making"))
    await generate_long(page, "the second")
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while await page.evaluate(REMEMBERED) != 2:  # noqa: ASYNC110 (the CSP forbids Playwright's)
            await asyncio.sleep(0.05)
    async with page.expect_response(re.compile("/cancel$")):
        await page.get_by_role("button", name="Cancel").click()
    backend.error = None
    await expect(page.locator(".track")).to_have_count(1, timeout=PATIENCE_MS)
    await expect(page.locator(".track")).to_contain_text("the first")
    assert await page.evaluate(REMEMBERED) == 1


async def test_earlier_tracks_come_once_the_key_is_entered(
    backend: FakeGenerator, page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend.longest_s = 120.0
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"page:{KEY}")
    config = JobsConfig(store=f"sqlite:///{tmp_path / 'jobs.db'}")
    with served_api(backend, jobs=config) as url:
        await page.goto(url)
        await page.get_by_label("API key").fill(KEY)
        await page.keyboard.press("Tab")
        await generate_long(page, "kept")
        await expect(page.locator(".track")).to_have_count(1)
        await page.evaluate("sessionStorage.clear()")  # as at the next visit
        await forget_tracks(page)
        await page.reload()
        await expect(page.get_by_role("alert")).to_contain_text("The request has no API key")
        assert await page.evaluate(REMEMBERED) == 1
        await page.get_by_label("API key").fill(KEY)
        await page.keyboard.press("Tab")
        await expect(page.locator(".track")).to_have_count(1)
        await expect(page.get_by_role("alert")).to_be_hidden()


async def test_a_service_without_jobs_makes_long_tracks_as_streams(
    backend: FakeGenerator, page: Page
) -> None:
    backend.longest_s = 120.0
    with served_api(backend, jobs=JobsConfig(enabled=False)) as url:
        await page.goto(url)
        await generate_long(page, "at once")
        await expect(page.locator(".track")).to_have_count(1)
    assert backend.requests[-1].streamed


async def open_sounds(page: Page) -> None:
    """Open the part of the form for a sound, once the page knows what the models take."""
    await expect(page.get_by_label("Model")).to_have_value("small")
    await page.get_by_text("Begin with a sound").click()


async def test_a_melody_is_uploaded_where_the_model_takes_one(
    backend: FakeGenerator, page: Page
) -> None:
    """Its tracks are repeated and varied with it; without it the prompt is required again."""
    backend.melody = ("small",)
    with served_api(backend) as url:
        await page.goto(url)
        await open_sounds(page)
        file: FilePayload = {"name": "hummed.wav", "mimeType": "audio/wav", "buffer": MELODY}
        await page.get_by_label("Audio file").set_input_files(file)
        await expect(page.get_by_role("note")).to_have_text("hummed.wav")
        melody = page.get_by_role("radio", name="the melody")
        await expect(melody).to_be_checked()
        await page.get_by_label("Model").select_option("large")
        await expect(melody).to_be_hidden()
        await page.get_by_label("Model").select_option("auto")
        await expect(melody).to_be_checked()
        await page.get_by_label("Model").select_option("small")
        await generate(page, "", 2)
        tracks = page.locator(".track")
        await expect(tracks).to_have_count(1)
        await tracks.first.get_by_role("button", name="More like this").click()
        await expect(tracks).to_have_count(4)
        await page.get_by_role("button", name="Remove the sound").click()
        await expect(page.get_by_role("note")).to_contain_text("None")
        assert await page.get_by_label("Prompt").evaluate("(prompt) => prompt.required")
        await tracks.last.get_by_role("button", name="Again with this seed").click()
        await expect(tracks).to_have_count(5)
    lengths = [request.melody and request.melody.duration_s for request in backend.requests]
    assert lengths == [0.5] * 5


async def test_a_melody_is_recorded(backend: FakeGenerator, page: Page) -> None:
    """Chromium's own microphone of tests beeps once a second."""
    backend.melody = ("small",)
    with served_api(backend) as url:
        await page.goto(url)
        await open_sounds(page)
        await page.get_by_role("button", name="Record").click()
        await expect(page.get_by_role("note")).to_have_text("Recording …")
        await page.wait_for_timeout(1500)
        await page.get_by_role("button", name="Stop").click()
        await expect(page.get_by_role("note")).to_have_text("Your recording")
        await generate(page, "", 2)
        await expect(page.locator(".track")).to_have_count(1)
    melody = backend.requests[-1].melody
    assert melody is not None
    assert melody.duration_s == pytest.approx(1.5, abs=0.7)
    assert np.abs(melody.samples).max() > 0.01, "the microphone was heard"


async def test_a_recording_ends_with_the_request_for_its_track(
    backend: FakeGenerator, page: Page
) -> None:
    backend.melody = ("small",)
    with served_api(backend) as url:
        await page.goto(url)
        await open_sounds(page)
        await page.get_by_role("button", name="Record").click()
        await expect(page.get_by_role("note")).to_have_text("Recording …")
        await page.wait_for_timeout(500)
        await generate(page, "brass band", 2)
        await expect(page.locator(".track")).to_have_count(1)
        await expect(page.get_by_role("note")).to_have_text("Your recording")
    assert backend.requests[-1].melody is not None


async def test_a_long_track_follows_its_melody_and_is_varied_while_the_page_has_it(
    kept_url: str, backend: FakeGenerator, page: Page
) -> None:
    backend.melody = ("small",)
    await page.goto(kept_url)
    await open_sounds(page)
    file: FilePayload = {"name": "hummed.wav", "mimeType": "audio/wav", "buffer": MELODY}
    await page.get_by_label("Audio file").set_input_files(file)
    await expect(page.get_by_role("note")).to_have_text("hummed.wav")
    await generate_long(page, "a long way")
    tracks = page.locator(".track")
    await expect(tracks).to_have_count(1)
    assert backend.requests[-1].melody is not None
    more = tracks.first.get_by_role("button", name="More like this")
    await expect(more).to_be_enabled()
    await forget_tracks(page)
    await page.reload()
    await expect(tracks).to_have_count(1)
    await expect(more).to_be_disabled()
