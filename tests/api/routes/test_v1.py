"""`/v1`: what it answers, its limits, its errors."""

import base64
import io
from typing import Any

import av
import httpx
import numpy as np
import pytest
import soundfile

from serve_app.track_fields import HEADERS
from tests.fakes import SAMPLE_RATE, FakeGenerator

PATH = "/v1/audio/generations"


@pytest.mark.parametrize("response_format", ["wav", "flac"])
async def test_an_answer_is_the_file_and_its_facts(
    client: httpx.AsyncClient, generator: FakeGenerator, response_format: str
) -> None:
    sampling = {"temperature": 0.5, "top_k": 10, "top_p": 0.9, "cfg_coef": 2, "seed": 7}
    body = {
        "prompt": "lofi beat",
        "model": "tiny",
        "duration_s": 1.5,
        "response_format": response_format,
        **sampling,
    }
    response = await client.post(PATH, json=body)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"audio/{response_format}"
    samples, sample_rate = soundfile.read(io.BytesIO(response.content))
    assert (len(samples), sample_rate) == (1.5 * SAMPLE_RATE, SAMPLE_RATE)
    assert {name: response.headers[name] for name in HEADERS} == {
        "x-musicgen-model": "small",
        "x-musicgen-seed": "7",
        "x-musicgen-license": "CC-BY-NC-4.0",
        "x-musicgen-sample-rate": "32000",
        "x-musicgen-duration-s": "1.500",
        "x-musicgen-queue-s": "0.250",
        "x-musicgen-time-to-first-audio-s": "0.500",
        "x-musicgen-generation-s": "2.004",
        "x-musicgen-real-time-factor": "0.75",
        "x-musicgen-compute-s": "1.500",
        "x-musicgen-cost-usd": "0.0005",
    }
    [request] = generator.requests
    assert request.sampling.model_dump() == sampling
    assert generator.closed == 1


@pytest.mark.parametrize(
    ("response_format", "media_type"),
    [("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("flac", "audio/flac")],
)
async def test_files_have_tags(
    client: httpx.AsyncClient, response_format: str, media_type: str
) -> None:
    body = {"prompt": "lofi beat", "duration_s": 1, "seed": 7, "response_format": response_format}
    response = await client.post(PATH, json=body)
    assert response.headers["content-type"] == media_type
    with av.open(io.BytesIO(response.content), "r") as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    tags = {name.lower(): value for name, value in found.items()}
    assert tags["title"] == "lofi beat"
    assert tags["comment"] == (
        "Made by MusicGen (facebook/musicgen-small), seed 7. Licence of the weights: CC-BY-NC-4.0."
    )


async def test_audio_is_mastered_as_asked(client: httpx.AsyncClient) -> None:
    body = {
        "prompt": "a",
        "duration_s": 1,
        "sample_format": "float32",
        "normalization": "peak",
        "fade_out_s": 0.5,
    }
    response = await client.post(PATH, json=body | {"sample_rate": 48_000})
    samples, sample_rate = soundfile.read(io.BytesIO(response.content))
    assert (len(samples), sample_rate) == (48_000, 48_000)
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), rel=0.01)
    assert np.abs(samples[-100:]).max() < 0.02


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (
            {"bitrate_kbps": 128},
            "bitrate_kbps does not apply to wav: leave it out, or use mp3 or opus",
        ),
        (
            {"response_format": "flac", "sample_format": "float32"},
            "sample_format 'float32' is not available in flac: use wav or pcm",
        ),
        ({"sample_rate": 96_000}, "sample_rate of wav must be one of 8000, "),
    ],
)
async def test_options_that_a_format_lacks_are_refused(
    client: httpx.AsyncClient, generator: FakeGenerator, body: dict[str, Any], detail: str
) -> None:
    response = await client.post(PATH, json={"prompt": "a"} | body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert response.json()["detail"].startswith(detail)
    assert generator.requests == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": "a", "duration_s": 0}, "duration_s"),
    ({"prompt": "a", "duration_s": -1}, "duration_s"),
    ({"prompt": "a", "duration_s": "5"}, "duration_s"),
    ({"prompt": "a", "duration_s": True}, "duration_s"),
    ({"prompt": "a", "duration_s": 1e300}, "duration_s"),
    ({"prompt": "a", "temperature": -0.1}, "temperature"),
    ({"prompt": "a", "top_k": -1}, "top_k"),
    ({"prompt": "a", "top_k": 1.5}, "top_k"),
    ({"prompt": "a", "top_p": 1.1}, "top_p"),
    ({"prompt": "a", "cfg_coef": 1000}, "cfg_coef"),
    ({"prompt": "a", "seed": -1}, "seed"),
    ({"prompt": "a", "seed": 2**63}, "seed"),
    ({"prompt": "a", "response_format": "aiff"}, "response_format"),
    ({"prompt": "a", "sample_rate": 44100.5}, "sample_rate"),
    ({"prompt": "a", "sample_format": "int24"}, "sample_format"),
    ({"prompt": "a", "bitrate_kbps": "128"}, "bitrate_kbps"),
    ({"prompt": "a", "normalization": "loud"}, "normalization"),
    ({"prompt": "a", "loudness_lufs": 0}, "loudness_lufs"),
    ({"prompt": "a", "fade_in_s": -1}, "fade_in_s"),
    ({"prompt": "a", "fade_out_s": 1e9}, "fade_out_s"),
    ({"prompt": "a", "stream": 1}, "stream"),
    ({"prompt": "a", "duration": 5}, "duration"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=str)
async def test_bad_fields_are_named(
    client: httpx.AsyncClient, generator: FakeGenerator, body: Any, field: str
) -> None:
    response = await client.post(PATH, json=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["status"], problem["type"]) == (
        "invalid_request",
        400,
        "about:blank",
    )
    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["detail"].startswith(f"{field}: ")
    assert generator.requests == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"prompt": "a", "duration_s": NaN}', b'{"prompt": "a", "top_p": -Infinity}'],
)
async def test_broken_bodies_are_bad_requests(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post(
        PATH, content=content, headers={"content-type": "application/json"}
    )
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_blank_and_long_prompts(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATH, json={"prompt": "  "})).json()[
        "detail"
    ] == "Prompt is required and cannot be empty"
    detail = (await client.post(PATH, json={"prompt": "x" * 101})).json()["detail"]
    assert detail == "Prompt must be at most 100 characters long"


async def test_unknown_model_lists_the_served_ones(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"prompt": "a", "model": "huge"})
    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")
    assert (
        response.json()["detail"]
        == "Model 'huge' is not served here. Served models: small, tiny, large."
    )


async def test_models(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/models")).json()
    assert answer["object"] == "list"
    assert answer["data"] == [
        {
            "id": "small",
            "object": "model",
            "aliases": ["tiny"],
            "source": "facebook/musicgen-small",
            "license": "CC-BY-NC-4.0",
            "loaded": True,
            "sample_rate": 32000,
            "channels": 1,
            "max_duration_s": 30.0,
        },
        {
            "id": "large",
            "object": "model",
            "aliases": [],
            "source": "facebook/musicgen-large",
            "license": "CC-BY-NC-4.0",
            "loaded": False,
            "sample_rate": None,
            "channels": None,
            "max_duration_s": None,
        },
    ]


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


async def test_where_one_variation_fails_all_do(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.full = ("small",)
    response = await client.post(PATH, json={"prompt": "a", "n": 4, "response_format": "json"})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert generator.closed == len(generator.requests)


async def test_auto_is_answered_by_a_named_model(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.step_s = {"small": 0.01, "large": 0.02}
    body = {"prompt": "a", "duration_s": 20, "model": "auto"}
    large = await client.post(PATH, json=body | {"max_wait_s": 20})
    small = await client.post(PATH, json=body | {"max_wait_s": 19})
    answered = [response.headers["x-musicgen-model"] for response in (large, small)]
    assert answered == ["large", "small"]


async def test_a_loading_model_says_when_to_come_back(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.loaded = False
    response = await client.post(PATH, json={"prompt": "a", "model": "auto"})
    assert (response.status_code, response.json()["code"]) == (503, "model_loading")
    assert response.headers["retry-after"] == "20"
    assert generator.woken == ["small"]


async def test_a_slow_model_says_when_to_come_back(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.step_s = {"small": 0.05}
    body = {"prompt": "a", "duration_s": 20, "model": "small"}
    response = await client.post(PATH, json=body | {"max_wait_s": 30})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert "about 50 s, longer than max_wait_s" in response.json()["detail"]
    assert response.headers["retry-after"] == "20"
    assert (await client.post(PATH, json=body | {"max_wait_s": 50})).status_code == 200
    assert (await client.post(PATH, json=body)).status_code == 200, "without max_wait_s it waits"


async def test_a_full_models_fallback_is_named(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.full = ("large",)
    response = await client.post(PATH, json={"prompt": "a", "duration_s": 1, "model": "large"})
    assert (response.status_code, response.headers["x-musicgen-model"]) == (200, "small")
    generator.full = ("large", "small")
    response = await client.post(PATH, json={"prompt": "a", "model": "large"})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")


LOUD_OPUS = {"prompt": "a", "duration_s": 1, "response_format": "opus", "bitrate_kbps": 257}
ONE_CHANNEL = "bitrate_kbps of opus must be between 6 and 256 for one channel"


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"stream": True, "stream_format": "sse"}])
async def test_a_bit_rate_beyond_the_models_channels_is_refused_before_generation(
    client: httpx.AsyncClient, generator: FakeGenerator, more: dict[str, Any]
) -> None:
    response = await client.post(PATH, json=LOUD_OPUS | more)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert response.json()["detail"] == ONE_CHANNEL
    assert generator.requests == []
    lower = LOUD_OPUS | {"bitrate_kbps": 256}
    assert (await client.post(PATH, json=lower | more)).status_code == 200


@pytest.mark.parametrize("more", [{}, {"stream": True}])
async def test_a_bit_rate_is_refused_once_the_channels_are_known(
    client: httpx.AsyncClient, generator: FakeGenerator, more: dict[str, Any]
) -> None:
    generator.loaded = False  # the model starts for this request
    response = await client.post(PATH, json=LOUD_OPUS | more)
    assert (response.status_code, response.json()["detail"]) == (400, ONE_CHANNEL)
    assert generator.closed == len(generator.requests) == 1


async def test_events_tell_a_refused_bit_rate(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.loaded = False
    body = LOUD_OPUS | {"stream": True, "stream_format": "sse"}
    last = (await client.post(PATH, json=body)).text.strip().split("\n\n")[-1]
    assert last.startswith("event: error")
    assert ONE_CHANNEL in last
    assert generator.closed == 1
