"""Long tracks are durable jobs: they survive a reload and a lost connection."""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from serve_app.config.jobs import JobsConfig
from serve_app.errors import ModelLoading
from tests.browser import PATIENCE_MS
from tests.fakes import FakeGenerator
from tests.page.actions import forget_tracks, generate, generate_long, make_impatient
from tests.page.conftest import KEY
from tests.served_api import served_api

pytestmark = pytest.mark.long

FILE = re.compile(r"/v1/jobs/\w+/audio$")
REMEMBERED = "JSON.parse(localStorage.getItem('musicgen-jobs') ?? '[]').length"


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
    await make_impatient(page)
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


async def test_a_file_that_fails_is_fetched_again(kept_url: str, page: Page) -> None:
    """Neither a busy service nor one that restarts loses a track, now and at the next visit."""
    await make_impatient(page)
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

    await make_impatient(page)
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
        answer = await page.request.post(f"{url}/v1/jobs", data=body, headers={"prefer": "wait=60"})
        assert answer.status == 200
        ids.append(str((await answer.json())["id"]))
    return ids


async def test_cancel_leaves_earlier_tracks_alone(
    kept_url: str, backend: FakeGenerator, page: Page
) -> None:
    backend.error = ModelLoading("No replica is ready")  # jobs wait
    await make_impatient(page)
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
