"""What a body may bring: JSON or a form, audio in base64 or as a file; and how many variations."""

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import soundfile

from serve_app.api.app import create_api
from serve_app.audio.encoder import encode
from serve_app.audio.file_format import Encoding, FileFormat
from serve_app.config import ApiConfig
from tests.api.conftest import SAMPLE_RATE, SMALL, FakeGenerator, leaks

PATH, CONVERSIONS = "/v1/audio/generations", "/v1/audio/conversions"


def sound(duration_s: float = 0.5, file_format: FileFormat = FileFormat.WAV) -> bytes:
    t = np.arange(round(duration_s * 16_000)) / 16_000
    samples = 0.5 * np.sin(2 * np.pi * 440 * t)[None]
    return encode(samples.astype(np.float32), 16_000, Encoding(file_format))


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("prefix", ["", "data:audio/wav;base64,"])
async def test_audio_in_base64(
    client: httpx.AsyncClient, generator: FakeGenerator, prefix: str
) -> None:
    response = await client.post(
        PATH, json={"audio_prompt": prefix + text(sound()), "duration_s": 1}
    )
    assert response.status_code == 200
    [request] = generator.requests
    assert request.audio_prompt is not None
    assert (request.prompt, request.audio_prompt.sample_rate, request.audio_prompt.duration_s) == (
        "",
        16_000,
        0.5,
    )


@pytest.mark.parametrize(
    "file_format", [FileFormat.WAV, FileFormat.FLAC, FileFormat.MP3, FileFormat.OPUS]
)
async def test_audio_as_a_forms_file(
    client: httpx.AsyncClient, generator: FakeGenerator, file_format: FileFormat
) -> None:
    fields = {
        "prompt": "strings",
        "duration_s": "1.5",
        "seed": "7",
        "top_k": "10",
        "response_format": "flac",
    }
    response = await client.post(
        PATH, data=fields, files={"audio_prompt": ("a", sound(file_format=file_format))}
    )
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/flac")
    [request] = generator.requests
    assert request.audio_prompt is not None
    assert request.audio_prompt.duration_s == pytest.approx(0.5, abs=0.1)
    assert (request.prompt, request.duration_s) == ("strings", 1.5)
    assert (request.sampling.seed, request.sampling.top_k) == (7, 10)


async def test_a_form_may_stream(client: httpx.AsyncClient) -> None:
    fields = {"prompt": "a", "duration_s": "1", "stream": "true", "response_format": "pcm"}
    response = await client.post(PATH, data=fields, files={"audio_prompt": ("a", sound())})
    assert len(response.content) == 2 * SAMPLE_RATE


@pytest.mark.parametrize(
    ("form", "file", "detail"),
    [
        (
            {"prompt": "a", "duration_s": "soon"},
            "audio_prompt",
            "duration_s: Input should be a valid number",
        ),
        ({"prompt": "a", "volume": "11"}, "audio_prompt", "volume: Extra inputs are not permitted"),
        ({"prompt": "a"}, "song", "song cannot be a file"),
        ({"prompt": ["a", "b"]}, "audio_prompt", "prompt may be there only once"),
    ],
)
async def test_bad_forms_are_refused(
    client: httpx.AsyncClient,
    generator: FakeGenerator,
    form: dict[str, Any],
    file: str,
    detail: str,
) -> None:
    response = await client.post(PATH, data=form, files={file: ("a.wav", sound())})
    assert response.status_code == 400
    assert response.json()["detail"].startswith(detail)
    assert generator.requests == []


@pytest.mark.parametrize(
    ("audio", "detail"),
    [
        ("not base64!", "audio_prompt is not base64"),
        (text(b"hello"), "The audio is not a wav, flac, mp3 or ogg file"),
        (text(sound()[:5000]), "The audio is cut off: 5000 of 16044 bytes are there"),
        (text(sound(1.5)), "The audio is longer than the 1 seconds that are taken"),
        ("", "The audio is not a wav"),
    ],
)
async def test_bad_audio_is_refused(
    client: httpx.AsyncClient, generator: FakeGenerator, audio: str, detail: str
) -> None:
    response = await client.post(PATH, json={"prompt": "a", "audio_prompt": audio})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_audio")
    assert response.json()["detail"].startswith(detail)
    assert not leaks(response.text)
    assert generator.requests == []


async def test_a_broken_form_is_refused(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for content in (b"", b"--x\r\nnonsense", b"--y--"):
        response = await client.post(PATH, content=content, headers=headers)
        assert response.status_code == 400, response.text
    response = await client.post(
        PATH, content=b"--x--", headers={"content-type": "multipart/form-data"}
    )
    assert response.status_code == 400


async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[" * 5000, b"prompt=a"):
        response = await client.post(PATH, content=content)
        assert response.status_code == 400
        assert response.json()["detail"].startswith(
            "The request's body must be a JSON object, or a form"
        )
    response = await client.post(PATH, json=[1])
    assert response.status_code == 400


async def test_uploads_have_a_limit_of_their_own(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"prompt": "a", "audio_prompt": "A" * 200_000})
    assert (response.status_code, response.json()["detail"]) == (
        413,
        "The request's body must be at most 100000 bytes",
    )


async def test_memory_stays_flat_under_bad_uploads(generator: FakeGenerator) -> None:
    api = create_api(generator, [SMALL], "small", ApiConfig())
    zeros = encode(np.zeros((2, 31 * 48_000), np.float32), 48_000, Encoding(FileFormat.FLAC))
    huge = [
        sound(60.0)[:15_000_000],
        b"RIFF" + bytes(12_000_000),
        zeros,
        b"\xff\xfb" + bytes(range(256)) * 40_000,
    ]
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://test"
    ) as client:

        async def send(count: int) -> int:
            for number in range(count):
                file = {"audio_prompt": ("a", huge[number % len(huge)])}
                assert (
                    await client.post(PATH, data={"prompt": "a"}, files=file)
                ).status_code == 400
            return psutil.Process().memory_info().rss

        before = await send(8)
        assert await send(24) - before < 64 * 2**20
    assert generator.requests == []


async def test_variations_are_of_seeds_in_a_row(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    body = {
        "prompt": "a",
        "duration_s": 1,
        "seed": 7,
        "n": 3,
        "response_format": "json",
        "audio_format": "flac",
    }
    answer = (await client.post(PATH, json=body)).json()
    assert (answer["prompt"], answer["format"], answer["sample_rate"]) == ("a", "flac", SAMPLE_RATE)
    assert [one["seed"] for one in answer["data"]] == [7, 8, 9]
    assert sorted(request.sampling.seed or 0 for request in generator.requests) == [7, 8, 9]
    for one in answer["data"]:
        file = base64.b64decode(one["audio"])
        samples, _ = soundfile.read(io.BytesIO(file))
        assert (len(samples), len(file)) == (SAMPLE_RATE, one["size_bytes"])
        assert (one["model"], one["license"], one["duration_s"]) == ("small", "CC-BY-NC-4.0", 1.0)
        assert (one["generation_s"], one["compute_s"], one["cost_usd"]) == (2.004, 1.5, 0.0005)


async def test_variations_without_a_seed_have_seeds_in_a_row_too(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "duration_s": 1, "n": 2, "response_format": "json"}
    first, second = (one["seed"] for one in (await client.post(PATH, json=body)).json()["data"])
    assert second == first + 1


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"n": 2}, "n above 1 needs response_format 'json'"),
        ({"n": 9, "response_format": "json"}, "n: Input should be less than or equal to 8"),
        ({"stream": True, "response_format": "json"}, "response_format 'json' cannot be streamed"),
        ({"audio_format": "mp3"}, "audio_format needs response_format 'json'"),
        ({"max_wait_s": 0}, "max_wait_s: Input should be greater than 0"),
        (
            {"n": 2, "seed": 2**63 - 1, "response_format": "json"},
            "seed must be at most 9223372036854775806",
        ),
        ({"extend_stride_s": 0.5}, "extend_stride_s: Input should be greater than or equal to 1"),
    ],
)
async def test_options_that_do_not_fit_are_refused(
    client: httpx.AsyncClient, generator: FakeGenerator, body: dict[str, Any], detail: str
) -> None:
    response = await client.post(PATH, json={"prompt": "a"} | body)
    assert response.status_code == 400
    assert detail in response.json()["detail"]
    assert generator.requests == []


async def test_where_one_variation_fails_all_do(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.full = ("small",)
    response = await client.post(PATH, json={"prompt": "a", "n": 4, "response_format": "json"})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert generator.closed == len(generator.requests)


async def test_audio_is_converted(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    fields = {"response_format": "flac", "normalization": "peak", "sample_rate": "48000"}
    response = await client.post(CONVERSIONS, data=fields, files={"audio": ("a.wav", sound())})
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/flac")
    samples, rate = soundfile.read(io.BytesIO(response.content))
    assert (len(samples), rate) == (24_000, 48_000)
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), rel=0.02)
    assert generator.requests == []


@pytest.mark.parametrize(
    ("fields", "files", "detail"),
    [
        ({"response_format": "mp3"}, {}, "The request's body must be a form (multipart/form-data)"),
        ({"audio": "a"}, {"song": ("a", b"a")}, "song cannot be a file"),
        (
            {"audio": "a", "response_format": "doc"},
            {"audio": ("a", b"a")},
            "audio may be there only once",
        ),
        ({"response_format": "doc"}, {"audio": ("a", b"a")}, "response_format: Input should be"),
        ({}, {"audio": ("a", b"a")}, "The audio is not a wav"),
        (
            {"bitrate_kbps": "1", "response_format": "mp3"},
            {"audio": ("a", sound())},
            "bitrate_kbps of mp3 must be",
        ),
    ],
)
async def test_what_cannot_be_converted_is_refused(
    client: httpx.AsyncClient, fields: dict[str, str], files: dict[str, Any], detail: str
) -> None:
    response = await client.post(CONVERSIONS, data=fields, files=files)
    assert response.status_code == 400
    assert response.json()["detail"].startswith(detail)


async def test_openapi_knows_both_bodies(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"][PATH]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert content["application/json"]["schema"]["properties"]["n"]["maximum"] == 8
    assert (
        content["multipart/form-data"]["schema"]["properties"]["audio_prompt"]["format"] == "binary"
    )
    assert "Variations" in json.dumps(operation["responses"]["200"]["content"]["application/json"])
