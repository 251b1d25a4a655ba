"""Signed links: valid for one purpose, for a time."""

import asyncio
import base64
import hashlib
import hmac
from time import time

import pytest

from serve_app.config.jobs import JobsConfig
from serve_app.errors import Unauthorized
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.links import Grant, Links, audio_purpose
from tests.jobs.patience import PATIENCE_S
from tests.jobs.rooms import JobRoom, submission


async def test_a_token_gives_back_its_value_for_its_purpose_alone(room: JobRoom) -> None:
    links = room.service.links
    token = links.token(Grant("audio/a/0", "a/1/0.wäv"))
    assert links.value_of("audio/a/0", token) == "a/1/0.wäv"
    with pytest.raises(Unauthorized, match="not valid"):
        links.value_of("audio/a/1", token)


async def test_a_token_expires(room: JobRoom) -> None:
    token = room.service.links.token(Grant("p", "v"), -2.0)
    with pytest.raises(Unauthorized, match="expired"):
        room.service.links.value_of("p", token)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda _: "a.b",
        lambda token: token + "x",
        lambda token: "9" + token,
        lambda token: "²" + token[1:],
        lambda token: "9" * 30 + token[10:],
        lambda token: token.replace(".", ".é", 1),
        lambda token: token[:-1] + "é",
    ],
)
async def test_a_changed_token_is_refused(room: JobRoom, change: object) -> None:
    assert callable(change)
    token = room.service.links.token(Grant("p", "v"))
    with pytest.raises(Unauthorized, match="not valid"):
        room.service.links.value_of("p", change(token))


async def test_another_stores_key_makes_other_tokens(room: JobRoom) -> None:
    stranger = Links(JobsConfig())
    stranger._key = bytes(32)
    with pytest.raises(Unauthorized):
        room.service.links.value_of("p", stranger.token(Grant("p", "v")))


async def test_no_token_holds_before_the_key_is_read() -> None:
    """An empty key would let anybody sign."""
    links = Links(JobsConfig())
    expiry = int(time()) + 60
    signature = hmac.digest(b"", f"p\n{expiry}\nv".encode(), hashlib.sha256)
    encoded = [base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in (b"v", signature)]
    with pytest.raises(JobStoreUnavailable):
        links.value_of("p", f"{expiry}.{encoded[0]}.{encoded[1]}")
    with pytest.raises(JobStoreUnavailable):
        links.token(Grant("p", "v"))


async def test_no_failure_ends_the_reading_of_the_clock(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks beside it, such as the worker's, would end with it."""
    monkeypatch.setattr("serve_app.jobs.links._CLOCK_S", 0.001)
    failures: list[Exception] = [JobStoreUnavailable("away"), RuntimeError("of the pooler")]
    read = asyncio.Event()

    async def now() -> float:
        if failures:
            raise failures.pop()
        read.set()
        return 1e9

    monkeypatch.setattr(room.store, "now", now)
    following = asyncio.create_task(room.service.links.follow(room.store))
    async with asyncio.timeout(PATIENCE_S):
        await read.wait()
    following.cancel()


async def test_links_begin_with_the_public_url_or_the_requests_own(room: JobRoom) -> None:
    details = {"base_url": "http://here/music"}
    job, _ = await room.service.submit(submission(details=details))
    done = await room.succeed(await room.claim())
    address = room.service.links.audio(done, 0)
    assert address is not None
    start, _, token = address.partition("?token=")
    assert start == f"http://here/music/v1/jobs/{job.id}/audio/0"
    assert room.service.links.value_of(audio_purpose(job.id, 0), token) == done.results[0].key
    public = Links(JobsConfig(public_url="https://music.example/"))
    assert public.job(job) == f"https://music.example/v1/jobs/{job.id}"
    assert public.at("http://here") == "https://music.example"
