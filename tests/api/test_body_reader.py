"""Bodies of requests: JSON and forms, audio in base64 and as a file, variations."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from serve_app.api.app import create_api
from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FLAC, MP3, OPUS, WAV, Encoding, FormatSpec
from serve_app.config.api import ApiConfig
from tests.fakes import SAMPLE_RATE, SMALL, FakeGenerator, leaks

PATH = "/v1/audio/generations"


def sound(duration_s: float = 0.5, file_format: FormatSpec = WAV) -> bytes:
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
        SAMPLE_RATE,
        0.5,
    )


@pytest.mark.parametrize("file_format", [WAV, FLAC, MP3, OPUS])
async def test_audio_as_a_forms_file(
    client: httpx.AsyncClient, generator: FakeGenerator, file_format: FormatSpec
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
        ({"prompt": ["a", "b"]}, "audio_prompt", "prompt is repeated"),
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
        ("not base64!", "audio_prompt is not valid base64"),
        (text(b"hello"), "The audio is not a wav, flac, mp3, ogg, m4a, webm, aiff or aac file"),
        (text(sound()[:44]), "The audio has no samples"),
        (text(sound(1.5)), "The audio is longer than the allowed 1 seconds"),
        ("", "The audio is empty: send a wav, "),
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
    bad = {"content-type": "multipart/form-data"}
    many = b"".join(
        b'--x\r\ncontent-disposition: form-data; name="%d"\r\n\r\na\r\n' % number
        for number in range(60)
    )
    for path in (PATH, "/v1/audio/conversions"):
        for content, kind in ((b"--x--", bad), (b"--y--", headers), (many, headers)):
            answer = (await client.post(path, content=content, headers=kind)).json()
            assert (answer["status"], answer["code"]) == (400, "invalid_request"), answer
            assert answer["title"] == "The request is not valid"
            assert answer["detail"].startswith("The form cannot be read: ")


async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[" * 5000, b"prompt=a", b"[]", b"5", b"null"):
        response = await client.post(PATH, content=content)
        assert response.status_code == 400
        assert response.json()["detail"].startswith(
            "The request's body must be a JSON object, or a form"
        )
    response = await client.post(PATH, json=[1])
    assert response.status_code == 400


@pytest.mark.long
async def test_memory_stays_flat_under_bad_uploads(generator: FakeGenerator) -> None:
    api = create_api(generator, generator, [SMALL], "small", ApiConfig())
    zeros = encode(np.zeros((2, 31 * 48_000), np.float32), 48_000, Encoding(FLAC))
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

        before = await send(24)  # each worker thread's allocator has grown to its size by then
        after = [await send(8) for _ in range(3)]
        # Allocators hold on to some pages at times: the least counts, which a leak raises, too.
        assert min(after) - before < 64 * 2**20, "8 uploads of 12 MB would be 96"
    assert generator.requests == []


def _url_safe(encoded: str) -> str:
    return encoded.translate(str.maketrans("+/", "-_"))


def _wrapped(encoded: str) -> str:
    return "\r\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76))


@pytest.mark.parametrize(
    "rewrite",
    [_wrapped, _url_safe, lambda encoded: encoded.rstrip("=")],
    ids=["wrapped", "url", "bare"],
)
async def test_base64_of_any_writer_is_taken(
    client: httpx.AsyncClient, generator: FakeGenerator, rewrite: Callable[[str], str]
) -> None:
    rng = np.random.default_rng(0)
    content = encode(rng.uniform(-1, 1, (1, 16_001)).astype(np.float32), 32_000, Encoding(FLAC))
    body = {"prompt": "a", "audio_prompt": rewrite(base64.b64encode(content).decode())}
    assert (await client.post(PATH, json=body)).status_code == 200
    [request] = generator.requests
    assert request.audio_prompt is not None
    assert request.audio_prompt.samples.shape == (1, 16_001)


async def test_blank_fields_of_a_form_count_as_absent(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    fields = {"prompt": "a", "duration_s": "1", "seed": "", "model": "", "sample_rate": ""}
    response = await client.post(PATH, data=fields, files={"audio_prompt": ("", b"")})
    assert response.status_code == 200, response.text
    [request] = generator.requests
    assert request.audio_prompt is None


async def test_blank_fields_of_a_query_count_as_absent(client: httpx.AsyncClient) -> None:
    query = {"prompt": "a", "duration_s": "1", "seed": "", "model": ""}
    response = await client.get("/v1/audio/stream", params=query)
    assert response.status_code == 200, response.text


async def test_a_name_with_half_a_surrogate_pair_is_answered(client: httpx.AsyncClient) -> None:
    response = await client.post(
        PATH,
        content=b'{"prompt": "a", "model": "\\ud800"}',
        headers={"content-type": "application/json"},
    )
    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("charset", ["undefined", "hex", "idna", "punycode", "utf-16", "no-such"])
async def test_any_charset_of_a_form_is_answered(client: httpx.AsyncClient, charset: str) -> None:
    """Python has codecs under these names that no text has."""
    boundary = "----b"
    body = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nm\u00fcsic\r\n'
        f"--{boundary}--\r\n"
    )
    kind = f"multipart/form-data; boundary={boundary}; charset={charset}"
    headers = {"content-type": kind}
    for path in ("/v1/audio/generations", "/v1/audio/conversions"):
        response = await client.post(path, content=body.encode(), headers=headers)
        assert response.status_code in (200, 400), (path, response.text)
        if response.status_code == 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["code"] == "invalid_request"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "latin-1"])
@pytest.mark.parametrize("path", ["/v1/audio/generations", "/generate", "/models/x/small"])
async def test_json_in_another_encoding_is_read_or_refused(
    client: httpx.AsyncClient, path: str, encoding: str
) -> None:
    body = json.dumps({"prompt": "m\u00fcsic", "inputs": "a"}, ensure_ascii=False).encode(encoding)
    headers = {"content-type": f"application/json; charset={encoding}"}
    response = await client.post(path, content=body, headers=headers)
    assert response.status_code in (200, 400), response.text


@pytest.mark.parametrize(
    "body", ['{"\\ud800": 1}', '{"prompt": "\\ud800"}', '{"prompt": "a", "model": "\\ud800"}']
)
async def test_half_a_surrogate_pair_is_answered(client: httpx.AsyncClient, body: str) -> None:
    for path in ("/v1/audio/generations", "/", "/generate", "/models/x/small"):
        content = body.replace("prompt", "inputs") if path.startswith("/models") else body
        response = await client.post(path, content=content)
        assert response.status_code in (400, 404), (path, response.text)
        assert isinstance(response.json(), dict)


@pytest.mark.parametrize(
    ("body", "message"),
    [({}, "Field required"), ({"prompt": ""}, "Empty, and there is no audio_prompt or melody")],
)
async def test_an_empty_prompt_is_not_called_absent(
    client: httpx.AsyncClient, body: dict[str, str], message: str
) -> None:
    response = await client.post(PATH, json=body)
    assert (response.status_code, response.json()["detail"]) == (400, f"prompt: {message}")
