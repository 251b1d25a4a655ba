"""The blocking client over the real API, and over servers that break HTTP."""

import asyncio
import io
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from serve_app.client import (
    NO_RETRIES,
    ApiError,
    Audio,
    AudioFile,
    MusicGenClient,
    Progress,
    Retries,
    Track,
)
from serve_app.errors import GenerationFailed, QueueFull
from serve_app.types import AudioChunk, GenerationRequest, StreamItem
from tests.client.conftest import KEY
from tests.client.facts import FACTS, HEADER_LINES, TRACK, WAV, WAV_TYPE, event, problem
from tests.edge.conftest import PATIENCE_S, refusing_address
from tests.fakes import FakeGenerator
from tests.raw_server import answer, raw_server
from tests.served_api import served_api
from tools import sync_client

SOON = Retries(first_delay_s=0.01)
EVENTS = "content-type: text/event-stream"
HTML = b"<html>Please log in"
HTML_TYPE = "content-type: text/html"
DONE = event("done", FACTS)


def test_it_is_generated_from_the_client_for_asyncio() -> None:
    for source, target in sync_client.FILES.items():
        assert target.read_text() == sync_client.source(source), "run `make client`"
    assert sync_client.unused() == []


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


def test_every_field_reaches_the_service(url: str, backend: FakeGenerator) -> None:
    with MusicGenClient(url) as client:
        client.generate(
            "a", model="large", duration_s=1, temperature=0.5, top_k=10, top_p=0.25, cfg_coef=4.5,
            seed=11, max_wait_s=None, extend_stride_s=10, fade_in_s=0.1, normalization="peak",
        )  # fmt: skip
    [request] = backend.requests
    assert (request.model, request.extend_stride_s) == ("large", 10)
    assert request.sampling.model_dump() == {
        "temperature": 0.5, "top_k": 10, "top_p": 0.25, "cfg_coef": 4.5, "seed": 11,
    }  # fmt: skip


def test_a_stream(url: str) -> None:
    with MusicGenClient(url) as client:
        events = list(client.stream("lofi beat", duration_s=1, seed=7, response_format="pcm"))
        whole = client.generate("lofi beat", duration_s=1, seed=7, response_format="pcm")
    assert [type(event) for event in events] == [Progress, Progress, Audio, Audio, Track]
    assert events[0] == Progress(0.0, 1, 0.0, 0.5)
    assert isinstance(events[-1], Track)
    assert events[-1] == whole
    assert b"".join(event.content for event in events if isinstance(event, Audio)) == whole.content


@pytest.mark.parametrize("key", ["schl\u00fcssel", "two words", "two\nlines"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="API key has a space or a character outside ASCII"):
        MusicGenClient("http://127.0.0.1:1", key)


def test_space_around_a_key_is_left_out(url: str) -> None:
    with MusicGenClient(url, f" {KEY}\n") as client:
        assert client.models()


def test_variations(url: str) -> None:
    with MusicGenClient(url) as client:
        tracks = client.variations("lofi beat", n=3, seed=7, duration_s=1, response_format="flac")
        alone = client.generate("lofi beat", seed=8, duration_s=1, response_format="flac")
    assert [track.seed for track in tracks] == [7, 8, 9]
    assert soundfile.info(io.BytesIO(tracks[0].content)).format == "FLAC"
    assert tracks[1].content == alone.content
    assert tracks[1].model == "small"
    assert tracks[1].cost_usd == 0.0005


def test_every_track_tells_the_models_sample_rate(url: str) -> None:
    with MusicGenClient(url) as client:
        whole = client.generate("a", duration_s=1, sample_rate=16_000)
        [variation] = client.variations("a", n=1, duration_s=1, sample_rate=16_000)
        streamed = list(client.stream("a", duration_s=1, sample_rate=16_000))[-1]
    assert isinstance(streamed, Track)
    for track in (whole, variation, streamed):
        assert track.sample_rate == 32_000
        assert soundfile.info(io.BytesIO(track.content)).samplerate == 16_000


@pytest.mark.parametrize("kind", [str, Path, Path.read_bytes, lambda path: path.open("rb")])
def test_audio_is_a_path_bytes_or_an_open_file(
    url: str, backend: FakeGenerator, tmp_path: Path, kind: Callable[[Path], Any]
) -> None:
    file = tmp_path / "beginning.wav"
    with MusicGenClient(url) as client:
        client.generate("a", duration_s=0.5).save(file)
        audio = kind(file)
        client.generate(audio_prompt=audio, duration_s=1)
        if hasattr(audio, "close"):
            audio.close()
    prompt = backend.requests[-1].audio_prompt
    assert prompt is not None
    assert prompt.duration_s == 0.5


def test_a_conversion(url: str, tmp_path: Path) -> None:
    with MusicGenClient(url) as client:
        track = client.generate("a", duration_s=1)
        converted = client.convert(track.content, response_format="flac", sample_rate=16_000)
    assert converted.media_type == "audio/flac"
    assert repr(converted) == f"AudioFile('audio/flac', {len(converted.content)} bytes)"
    converted.save(tmp_path / "a.flac")
    info = soundfile.info(tmp_path / "a.flac")
    assert (info.samplerate, info.duration) == (16_000, 1.0)


def test_the_served_models(url: str) -> None:
    with MusicGenClient(url) as client:
        served = client.models()
    assert [one["id"] for one in served] == ["small", "large"]
    assert served[0]["aliases"] == ["tiny"]
    assert served[1]["sample_rate"] is None


class Endless(FakeGenerator):
    """Makes the beginning of a track, and no end; `ended` once its request is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        try:
            async for item in super().generate(request):
                yield item
                if isinstance(item, AudioChunk):
                    await asyncio.Event().wait()
        finally:
            self.ended.set()


def test_a_closed_stream_cancels_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    backend = Endless()
    with served_api(backend) as url, MusicGenClient(url) as client:
        events = client.stream("a", duration_s=1)
        next(events)
        assert not backend.ended.is_set()
        events.close()  # type: ignore[attr-defined]
        assert backend.ended.wait(PATIENCE_S)


def test_an_error_tells_the_services_status_code_and_detail(
    url: str, backend: FakeGenerator
) -> None:
    backend.error = QueueFull("Too many wait.", retry_after_s=120)
    with MusicGenClient(url) as client, pytest.raises(ApiError, match="Too many wait") as error:
        client.generate("a", duration_s=1)
    assert error.value.status == 429
    assert error.value.code == "queue_full"
    assert error.value.retry_after_s == 120
    assert len(backend.requests) == 1, "a pause beyond max_delay_s is the caller's"


def test_a_stream_that_fails_late_raises(url: str, backend: FakeGenerator) -> None:
    backend.late_error = GenerationFailed("The model failed.")
    with MusicGenClient(url) as client, pytest.raises(ApiError, match="The model failed") as error:
        list(client.stream("a", duration_s=1, seed=7))
    assert (error.value.status, error.value.code) == (500, "generation_failed")
    assert len(backend.requests) == 1, "its audio has been given away"


def test_a_wrong_key_is_refused(url: str) -> None:
    with MusicGenClient(url, key="wrong") as client, pytest.raises(ApiError) as error:
        client.models()
    assert error.value.status == 401
    assert error.value.code == "unauthorized"
    assert error.value.retry_after_s is None


def test_busy_services_are_asked_again() -> None:
    answers = [problem(429, "queue_full"), problem(503, "model_loading", "retry-after: 0"), TRACK]
    with raw_server(*answers) as server, MusicGenClient(server.url, retries=SOON) as client:
        assert client.generate("a").content == WAV
    assert len(server.requests) == 3
    assert len(set(server.requests)) == 1, "the same request each time"


def test_the_service_is_not_asked_before_its_retry_after() -> None:
    with (
        raw_server(problem(429, "rate_limited", "retry-after: 1"), TRACK) as server,
        MusicGenClient(server.url, retries=SOON) as client,
    ):
        started_at = time.monotonic()
        assert client.generate("a").content == WAV
        assert time.monotonic() - started_at >= 1.0


def test_attempts_are_bounded() -> None:
    with (
        raw_server(problem(503, "replica_failed")) as server,
        MusicGenClient(server.url, retries=SOON) as client,
        pytest.raises(ApiError, match=r"It is replica_failed\."),
    ):
        client.generate("a")
    assert len(server.requests) == SOON.attempts


def test_retries_may_be_turned_off() -> None:
    with (
        raw_server(problem(503, "replica_failed")) as server,
        MusicGenClient(server.url, retries=NO_RETRIES) as client,
        pytest.raises(ApiError),
    ):
        client.generate("a", seed=7)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 502, 504])
def test_other_refusals_are_final(status: int) -> None:
    with (
        raw_server(problem(status, "no")) as server,
        MusicGenClient(server.url, retries=SOON) as client,
        pytest.raises(ApiError) as error,
    ):
        client.generate("a", seed=7)
    assert error.value.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize("broken", [None, answer("200 OK", WAV, WAV_TYPE, length=100)])
def test_an_answer_that_breaks_off_is_asked_again_only_with_a_seed(broken: bytes | None) -> None:
    with raw_server(broken, TRACK) as server, MusicGenClient(server.url, retries=SOON) as client:
        assert client.generate("a", seed=7).seed == 7
    assert len(server.requests) == 2
    with (
        raw_server(broken, TRACK) as server,
        MusicGenClient(server.url, retries=SOON) as client,
        pytest.raises(ApiError, match="was cut off") as error,
    ):
        client.generate("a")
    assert error.value.code == "cut_off"
    assert len(server.requests) == 1


def test_an_unreachable_service_is_an_error_of_httpx() -> None:
    with (
        refusing_address() as nobody,
        MusicGenClient(f"http://{nobody}", retries=SOON) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.models()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_keeps_the_request(status: str) -> None:
    moved = answer(status, b"", "location: /elsewhere?a=1")
    with raw_server(moved, TRACK) as server, MusicGenClient(server.url, KEY) as client:
        assert client.generate("a").content == WAV
    first, second = server.requests
    assert second.startswith(b"POST /elsewhere?a=1 HTTP/1.1\r\n")
    rest = [sorted(request.lower().splitlines()[1:]) for request in (first, second)]
    assert rest[0] == rest[1], "headers, key and body"
    assert KEY.encode() in second


def test_see_other_is_followed_by_a_get() -> None:
    moved = answer("303 See Other", b"", "location: streams/1")
    with raw_server(moved, TRACK) as server, MusicGenClient(server.url, KEY) as client:
        assert client.generate("a").content == WAV
    head, _, body = server.requests[1].partition(b"\r\n\r\n")
    assert head.startswith(b"GET /v1/audio/streams/1 HTTP/1.1\r\n")
    assert KEY.encode() in head
    assert b"content-" not in head.lower()
    assert body == b""


def test_the_key_never_goes_to_another_host() -> None:
    with raw_server(TRACK) as other:
        moved = answer("307 Temporary", b"", f"location: {other.url}/v1")
        with (
            raw_server(moved) as server,
            MusicGenClient(server.url, KEY) as client,
            pytest.raises(ApiError, match=f"redirects to {other.url}, and its key") as error,
        ):
            client.generate("a", seed=7)
    assert error.value.code == "redirected"
    assert other.requests == []


def test_redirects_come_to_an_end() -> None:
    moved = answer("307 Temporary", b"", "location: /v1/models")
    with (
        raw_server(moved) as server,
        MusicGenClient(server.url) as client,
        pytest.raises(ApiError, match="redirects more than 5 times") as error,
    ):
        client.models()
    assert error.value.code == "redirected"
    assert len(server.requests) == 6


Method = Callable[[MusicGenClient], object]
EACH_METHOD: dict[str, Method] = {
    "generate": lambda client: client.generate("a"),
    "variations": lambda client: client.variations("a", n=2),
    "stream": lambda client: list(client.stream("a")),
    "convert": lambda client: client.convert(b"audio"),
    "check_provenance": lambda client: client.check_provenance(b"audio"),
    "models": lambda client: client.models(),
}
JSON_TYPE = "content-type: application/json"
BROKEN = {
    "a page": (answer("200 OK", HTML, HTML_TYPE), "bad_answer"),
    "a page as text": (answer("200 OK", HTML, "content-type: text/plain"), "bad_answer"),
    "nothing": (answer("200 OK"), "bad_answer"),
    "no content": (answer("204 No Content"), "bad_answer"),
    "a list": (answer("200 OK", b"[]", JSON_TYPE), "bad_answer"),
    "a number": (answer("200 OK", b"1", JSON_TYPE), "bad_answer"),
    "an object": (answer("200 OK", b"{}", JSON_TYPE), "bad_answer"),
    "half an object": (answer("200 OK", b'{"data": [', JSON_TYPE), "bad_answer"),
    "a deep list": (answer("200 OK", b"[" * 200_000, JSON_TYPE), "bad_answer"),
    "a deep error": (answer("500 Error", b"[" * 200_000, JSON_TYPE), "unknown"),
    "wrong data": (answer("200 OK", b'{"data": [1], "sample_rate": 1}', JSON_TYPE), "bad_answer"),
    "no tracks": (answer("200 OK", b'{"data": 1, "sample_rate": 1}', JSON_TYPE), "bad_answer"),
    "no gzip": (answer("200 OK", b"RIFF", WAV_TYPE, "content-encoding: gzip"), "bad_answer"),
    "empty audio": (answer("200 OK", b"", WAV_TYPE, *HEADER_LINES), "bad_answer"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad_answer"),
    "no answer": (None, "cut_off"),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-ty", "cut_off"),
    "half a body": (answer("200 OK", b"RIFF", WAV_TYPE, *HEADER_LINES, length=9), "cut_off"),
    "a redirect to nowhere": (answer("302 Found"), "bad_answer"),
    "a redirect to no URL": (answer("302 Found", b"", "location: http://a:b"), "bad_answer"),
    "a redirect to a letter": (answer("302 Found", b"", "location: mailto:a@b"), "bad_answer"),
    "a redirect to no host": (answer("302 Found", b"", "location: http://xn--/"), "bad_answer"),
    "not modified": (answer("304 Not Modified"), "unknown"),
    "a bad gateway": (answer("502 Bad Gateway", HTML, HTML_TYPE), "unknown"),
    "an error as a list": (answer("500 Error", b"[1]", JSON_TYPE), "unknown"),
    "an odd error": (answer("500 Error", b'{"detail": 5, "code": []}', JSON_TYPE), "unknown"),
    "an error without a body": (answer("500"), "unknown"),
    "an endless promise": (answer("500 Error", b"{", length=9), "cut_off"),
}


@pytest.mark.parametrize("method", EACH_METHOD)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_an_api_error(method: str, kind: str) -> None:
    broken, code = BROKEN[kind]
    with (
        raw_server(broken) as server,
        MusicGenClient(server.url, retries=NO_RETRIES) as client,
        pytest.raises(ApiError) as error,
    ):
        EACH_METHOD[method](client)
    expected = {code, "bad_answer"} if kind == "half a body" else {code}
    assert error.value.code in expected
    assert str(error.value)


def test_a_file_that_ends_early_without_a_length_is_an_api_error() -> None:
    """As behind a proxy that speaks HTTP/1.0."""
    head = "\r\n".join(["HTTP/1.0 200 OK", WAV_TYPE, *HEADER_LINES, "", ""])
    with (
        raw_server(head.encode() + WAV[:-1]) as server,
        MusicGenClient(server.url) as client,
        pytest.raises(ApiError, match="was cut off") as error,
    ):
        client.generate("a")
    assert error.value.code == "cut_off"


WHOLE = FACTS | {"audio": "UklGRg==", "model_sample_rate": 32_000}


@pytest.mark.parametrize(
    "data", [[], [FACTS], [WHOLE, WHOLE], [WHOLE | {"audio": ""}], [WHOLE | {"audio": "%"}]]
)
def test_variations_without_audio_are_an_api_error(data: list[object]) -> None:
    body = json.dumps({"sample_rate": 32_000, "data": data}).encode()
    with (
        raw_server(answer("200 OK", body, JSON_TYPE)) as server,
        MusicGenClient(server.url) as client,
        pytest.raises(ApiError) as error,
    ):
        client.variations("a", n=1)
    assert error.value.code == "bad_answer"


def chunked(*parts: bytes, ends: bool = True) -> bytes:
    """An answer with these chunks. ends: whether the last, empty chunk is there."""
    head = f"HTTP/1.1 200 OK\r\n{EVENTS}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + body + (b"0\r\n\r\n" if ends else b"")


def error_event(status: str) -> bytes:
    """An `error` event with this text as its status."""
    data = f'{{"status": {status}, "code": "unavailable", "detail": "a"}}'
    return f"event: error\ndata: {data}\n\n".encode()


PROGRESS = event(
    "progress", {"fraction": 0.5, "queue_position": 0, "audio_s": 1, "remaining_s": None}
)
AUDIO = event("audio", {"audio": "UklGRg=="})
BROKEN_STREAMS = {
    "nothing": (chunked(), "cut_off"),
    "an end before done": (chunked(PROGRESS, AUDIO), "cut_off"),
    "a lost connection": (chunked(PROGRESS, AUDIO, ends=False), "cut_off"),
    "half of done": (chunked(AUDIO, DONE[:-10]), "cut_off"),
    "done without facts": (chunked(AUDIO, event("done", {"seed": 7})), "bad_answer"),
    "no JSON": (chunked(b"event: audio\ndata: {\n\n"), "bad_answer"),
    "a list": (chunked(event("audio", [])), "bad_answer"),
    "a deep list": (chunked(b"event: done\ndata: " + b"[" * 200_000 + b"\n\n"), "bad_answer"),
    "no base64": (chunked(event("audio", {"audio": "%"})), "bad_answer"),
    "half of the progress": (chunked(event("progress", {"fraction": 1})), "bad_answer"),
    "half an error": (chunked(event("error", {"detail": "a"})), "bad_answer"),
    "an endless status": (chunked(error_event("1e999")), "bad_answer"),
    "a status that is no number": (chunked(error_event("NaN")), "bad_answer"),
    "an error as a number": (chunked(event("error", 5)), "bad_answer"),
    "progress in words": (chunked(event("progress", {"fraction": "half"})), "bad_answer"),
    "no audio": (chunked(DONE), "bad_answer"),
}


@pytest.mark.parametrize("kind", BROKEN_STREAMS)
def test_a_broken_stream_is_an_api_error(kind: str) -> None:
    broken, code = BROKEN_STREAMS[kind]
    with raw_server(broken) as server, MusicGenClient(server.url) as client:
        with pytest.raises(ApiError) as error:
            list(client.stream("a", seed=7))
        assert error.value.code == code
        assert len(server.requests) == 1


def test_events_of_the_future_and_comments_are_passed_over() -> None:
    stream = chunked(b": ping\n\n", event("lyrics", {"text": "la"}), b"data: a\n\n", AUDIO, DONE)
    with raw_server(stream) as server, MusicGenClient(server.url) as client:
        events = list(client.stream("a"))
    assert [type(event) for event in events] == [Audio, Track]
    assert isinstance(events[-1], Track)
    assert events[-1].content == b"RIFF"


def test_a_stream_without_its_last_chunk_is_complete_with_done() -> None:
    with (
        raw_server(chunked(AUDIO, DONE, ends=False)) as server,
        MusicGenClient(server.url) as client,
    ):
        assert isinstance(list(client.stream("a"))[-1], Track)


def test_a_stream_is_opened_again_while_the_service_is_busy() -> None:
    with (
        raw_server(problem(503, "model_loading"), chunked(AUDIO, DONE)) as server,
        MusicGenClient(server.url, retries=SOON) as client,
    ):
        assert len(list(client.stream("a"))) == 2
    assert json.loads(server.requests[1].partition(b"\r\n\r\n")[2])["stream_format"] == "sse"


def test_a_key_is_sent_as_a_bearer() -> None:
    with raw_server(TRACK) as server, MusicGenClient(server.url, KEY) as client:
        client.generate("a")
    assert f"authorization: bearer {KEY}".encode() in server.requests[0].lower()


def test_values_fit_a_line() -> None:
    with raw_server(TRACK) as server, MusicGenClient(server.url) as client:
        track = client.generate("a")
    assert repr(track) == "Track(model='small', seed=7, duration_s=1, 12 bytes)"
    assert f"{track}" == repr(track)
    assert repr(AudioFile(b"a" * 9000, "audio/wav")) == "AudioFile('audio/wav', 9000 bytes)"
    assert repr(Audio(b"a" * 9000)) == "Audio(9000 bytes)"
