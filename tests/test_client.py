"""The Python clients over the real API in a real HTTP server, without a model."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from serve_app.client import ApiError, AsyncMusicGenClient, Audio, MusicGenClient, Progress, Track
from serve_app.errors import QueueFull, ReplicaFailed
from tests.fakes import FakeGenerator
from tests.served_api import served_api

KEY = "client-key-0123456789"


@pytest.fixture
def backend() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def url(backend: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"client:{KEY}")
    monkeypatch.setenv("MUSICGEN_API_KEY", KEY)
    with served_api(backend) as url:
        yield url


def test_a_track(url: str, tmp_path: Path) -> None:
    with MusicGenClient(url) as client:
        track = client.generate("lofi beat", duration_s=1, seed=7, response_format="flac")
    assert track.model == "small"
    assert track.seed == 7
    assert track.license == "CC-BY-NC-4.0"
    assert track.sample_rate == 32_000
    assert track.duration_s == 1.0
    assert track.queue_s == 0.25
    assert track.time_to_first_audio_s == 0.5
    assert track.generation_s == 2.004
    assert track.compute_s == 1.5
    assert track.cost_usd == 0.0005
    assert track.real_time_factor == pytest.approx(0.5, abs=0.01)
    track.save(tmp_path / "track.flac")
    assert soundfile.info(tmp_path / "track.flac").duration == 1.0


def test_a_stream(url: str) -> None:
    with MusicGenClient(url) as client:
        events = list(client.stream("lofi beat", duration_s=1, seed=7, response_format="pcm"))
        whole = client.generate("lofi beat", duration_s=1, seed=7, response_format="pcm")
    assert [type(event) for event in events] == [Progress, Progress, Audio, Audio, Track]
    assert events[0] == Progress(0.0, 1, 0.0, 0.5)
    assert isinstance(events[-1], Track)
    assert events[-1] == whole
    assert b"".join(event.content for event in events if isinstance(event, Audio)) == whole.content


async def test_the_async_client_does_the_same(url: str) -> None:
    async with AsyncMusicGenClient(url) as client:
        track = await client.generate("lofi beat", duration_s=1, seed=7)
        events = [event async for event in client.stream("lofi beat", duration_s=1, seed=7)]
        served = await client.models()
        with pytest.raises(ApiError, match="is not served here"):
            await client.generate("a", model="huge")
        with pytest.raises(ApiError, match="is not served here"):
            await anext(client.stream("a", model="huge"))
    assert isinstance(events[-1], Track)
    assert np.array_equal(
        np.frombuffer(events[-1].content[44:], np.int16),
        np.frombuffer(track.content[44:], np.int16),
    )
    assert [one["id"] for one in served] == ["small", "large"]


def test_an_error_tells_the_services_status_code_and_detail(
    url: str, backend: FakeGenerator
) -> None:
    backend.error = QueueFull("Too many wait.", retry_after_s=12)
    with MusicGenClient(url) as client, pytest.raises(ApiError, match="Too many wait") as error:
        client.generate("a", duration_s=1)
    assert error.value.status == 429
    assert error.value.code == "queue_full"
    assert error.value.retry_after_s == 12


def test_a_stream_that_fails_late_raises(url: str, backend: FakeGenerator) -> None:
    backend.late_error = ReplicaFailed("The replica died.")
    with MusicGenClient(url) as client, pytest.raises(ApiError, match="The replica died"):
        list(client.stream("a", duration_s=1))


def test_a_wrong_key_is_refused(url: str) -> None:
    with MusicGenClient(url, key="wrong") as client, pytest.raises(ApiError) as error:
        client.models()
    assert error.value.status == 401
    assert error.value.code == "unauthorized"
    assert error.value.retry_after_s is None


@pytest.mark.parametrize("body", ["<html>Bad gateway", "[]", '"text"', ""])
def test_a_proxys_error_needs_no_problem_details(body: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text=body))
    client = MusicGenClient("http://test", transport=transport)
    with client, pytest.raises(ApiError, match="The server answered 502 Bad Gateway") as error:
        client.models()
    assert error.value.code == "unknown"


def test_a_track_is_shown_without_its_bytes(url: str) -> None:
    with MusicGenClient(url) as client:
        track = client.generate("lofi beat", duration_s=1, seed=7)
    shown = repr(track)
    assert "seed=7" in shown
    assert "content" not in shown
    assert "RIFF" not in shown


FACTS = {
    "x-musicgen-model": "small", "x-musicgen-seed": "7", "x-musicgen-license": "MIT",
    "x-musicgen-sample-rate": "32000", "x-musicgen-duration-s": "1.000",
    "x-musicgen-queue-s": "0.0", "x-musicgen-time-to-first-audio-s": "0.1",
    "x-musicgen-generation-s": "0.5", "x-musicgen-real-time-factor": "2.00",
    "x-musicgen-compute-s": "0.5",
}  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "lacking"),
    [
        ({}, "lacks a valid model, seed, license"),
        (FACTS | {"x-musicgen-seed": "seven"}, "lacks a valid seed:"),
    ],
)
def test_an_answer_without_the_facts_of_a_track_is_an_error(
    headers: dict[str, str], lacking: str
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, text="<html>"))
    client = MusicGenClient("http://test", transport=transport)
    with client, pytest.raises(ApiError, match=lacking) as error:
        client.generate("a")
    assert error.value.status == 502
    assert error.value.code == "bad_answer"
    assert error.value.detail.endswith("is the URL that of a musicgen-serve?")


def test_a_cost_may_be_absent() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=FACTS, content=b"RIFF"))
    with MusicGenClient("http://test", transport=transport) as client:
        assert client.generate("a").cost_usd is None


def test_done_without_the_facts_of_a_track_is_an_error() -> None:
    answer = httpx.Response(
        200,
        headers={"content-type": "text/event-stream"},
        text='event: done\ndata: {"seed": 7}\n\n',
    )
    client = MusicGenClient("http://test", transport=httpx.MockTransport(lambda _: answer))
    with client, pytest.raises(ApiError, match="lacks a valid model, license"):
        list(client.stream("a"))


@pytest.mark.parametrize("text", ["<html>", "[]", "{}"])
def test_an_answer_without_a_list_of_models_is_an_error(text: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=text))
    client = MusicGenClient("http://test", transport=transport)
    with client, pytest.raises(ApiError, match="lacks the list of models"):
        client.models()
