"""Every answer with audio says that an AI model generated it: in the file, in headers, in JSON."""

import base64
import io
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import av
import httpx
import numpy as np
import pytest

from serve_app.api.app import create_api
from serve_app.audio.decoder import Decoder
from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.config.api import ApiConfig
from serve_app.config.provenance import ProvenanceConfig
from serve_app.marks import DIGITAL_SOURCE_TYPE, NAMES
from tests.audio.files import READ_ONLY, file_of, pcm_file, tone
from tests.fakes import SMALL, FakeGenerator
from tests.riff import samples_of

GENERATIONS = "/v1/audio/generations"
CONVERSIONS = "/v1/audio/conversions"
HEADER = "x-musicgen-digital-source-type"
TAGGED = ("wav", "flac", "mp3", "opus")
BODY = {"prompt": "爵士 🎷\nlofi", "duration_s": 1, "seed": 7}
TITLE = "爵士 🎷 lofi"


@pytest.fixture
async def private(generator: FakeGenerator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that keeps prompts out of files."""
    async with _client(generator, ProvenanceConfig(tag_prompt=False)) as client:
        yield client


def _client(generator: FakeGenerator, provenance: ProvenanceConfig) -> httpx.AsyncClient:
    app = create_api(generator, generator, [SMALL], None, ApiConfig(), provenance=provenance)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", follow_redirects=True)


def tags(content: bytes) -> dict[str, str]:
    """The marks that FFmpeg reads."""
    with av.open(io.BytesIO(content)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    return {name: found[name] for name in NAMES if name in found}


async def convert(client: httpx.AsyncClient, content: bytes, **fields: str) -> httpx.Response:
    return await client.post(CONVERSIONS, data=fields, files={"audio": ("a", content)})


async def made(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    response = await client.post(GENERATIONS, json=BODY | fields)
    assert response.status_code == 200, response.text
    return response


def assert_marked(content: bytes) -> None:
    found = tags(content)
    assert tuple(found) == NAMES
    assert found["title"] == TITLE
    assert found["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert found["ai_model"] == "small (facebook/musicgen-small)"
    assert (found["seed"], found["model_license"]) == ("7", "CC-BY-NC-4.0")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("response_format", FORMATS)
async def test_generations(client: httpx.AsyncClient, response_format: str, stream: bool) -> None:
    response = await made(client, response_format=response_format, stream=stream)
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    if response_format in TAGGED:
        assert_marked(response.content)
    again = await made(client, response_format=response_format, stream=stream)
    assert again.content == response.content


@pytest.mark.parametrize("response_format", FORMATS)
async def test_streams(client: httpx.AsyncClient, response_format: str) -> None:
    fields: Mapping[str, Any] = BODY | {"response_format": response_format}
    response = await client.get("/v1/audio/stream", params=fields)
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    if response_format in TAGGED:
        assert_marked(response.content)
    head = await client.head(str(response.url))
    assert head.headers[HEADER] == DIGITAL_SOURCE_TYPE
    if FORMATS[response_format].sized:
        assert int(head.headers["content-length"]) == len(response.content)


async def test_json(client: httpx.AsyncClient) -> None:
    response = await made(client, response_format="json", n=2)
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    first, second = response.json()["data"]
    assert first["digital_source_type"] == second["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert_marked(base64.b64decode(first["audio"]))
    assert first["size_bytes"] == len(base64.b64decode(first["audio"]))


async def test_events(client: httpx.AsyncClient) -> None:
    response = await made(client, stream=True, stream_format="sse")
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    done = json.loads(response.text.rpartition("data: ")[2])
    assert done["digital_source_type"] == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("accept", ["audio/wav", "audio/flac"])
async def test_hugging_face(client: httpx.AsyncClient, accept: str) -> None:
    body = {"inputs": "lofi", "parameters": {"duration": 1, "seed": 7}}
    response = await client.post(
        "/models/facebook/musicgen-small", json=body, headers={"accept": accept}
    )
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    assert tags(response.content)["digital_source_type"] == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("path", ["/", "/generate"])
async def test_older_contracts(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json={"prompt": "lofi", "duration": 1})
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    content = base64.b64decode(response.json()["audio_base64"])
    assert tags(content)["digital_source_type"] == DIGITAL_SOURCE_TYPE


async def test_a_failure_of_the_local_contract_is_no_audio(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.error = RuntimeError("x")
    response = await client.post("/generate", json={"prompt": "lofi", "duration": 1})
    assert response.json()["success"] is False
    assert HEADER not in response.headers


async def test_a_continuation_of_other_audio_is_generated(client: httpx.AsyncClient) -> None:
    beginning = pcm_file(tone(0.5, rate=16_000), 16_000)
    response = await client.post(
        GENERATIONS, data={"prompt": "a", "duration_s": "1"}, files={"audio_prompt": beginning}
    )
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    assert tags(response.content)["digital_source_type"] == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wanted", FORMATS)
@pytest.mark.parametrize("kind", TAGGED)
async def test_a_conversion_keeps_the_marks(
    client: httpx.AsyncClient, kind: str, wanted: str, stream: bool
) -> None:
    """Also through a chain of conversions, and with a gain that decodes the file twice."""
    file = (await made(client, response_format=kind, stream=stream)).content
    response = await convert(client, file, response_format=wanted, normalization="peak")
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    if wanted in TAGGED:
        assert_marked(response.content)
        assert tags(response.content) == tags(file)
        again = await convert(client, response.content, response_format="wav")
        assert tags(again.content) == tags(file)


@pytest.mark.parametrize("wanted", FORMATS)
@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus", "m4a", "aiff"])
async def test_a_conversion_invents_no_mark(
    client: httpx.AsyncClient, kind: str, wanted: str
) -> None:
    rate = READ_ONLY[kind][2] if kind in READ_ONLY else 32_000
    file = file_of(kind, tone(0.5, rate=rate))
    response = await convert(client, file, response_format=wanted)
    assert response.status_code == 200
    assert HEADER not in response.headers
    assert DIGITAL_SOURCE_TYPE.encode() not in response.content
    if wanted in TAGGED:
        assert tags(response.content) == {}


async def test_a_conversion_takes_no_other_tag(client: httpx.AsyncClient) -> None:
    foreign = {"title": "a song", "artist": "someone", "seed": "7", "comment": "x" * 50_000}
    file = encode(tone(0.5), 32_000, Encoding(FORMATS["flac"], tags=foreign))
    response = await convert(client, file, response_format="mp3")
    assert HEADER not in response.headers
    assert tags(response.content) == {}
    forged = foreign | {"digital_source_type": DIGITAL_SOURCE_TYPE}
    file = encode(tone(0.5), 32_000, Encoding(FORMATS["flac"], tags=forged))
    response = await convert(client, file, response_format="wav")
    assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
    found = tags(response.content)
    assert [*found] == ["title", "comment", "digital_source_type", "seed"]
    assert len(found["comment"]) == 2000
    assert b"someone" not in response.content


async def test_a_private_prompt_is_in_no_file(
    client: httpx.AsyncClient, private: httpx.AsyncClient
) -> None:
    for response_format in TAGGED:
        for stream in (False, True):
            file = (await made(private, response_format=response_format, stream=stream)).content
            assert tuple(tags(file)) == NAMES[1:]
            assert b"lofi" not in file
    open_file = (await made(client)).content
    converted = await convert(private, open_file, response_format="flac")
    assert tuple(tags(converted.content)) == NAMES[1:]
    assert b"lofi" not in converted.content


async def test_tags_can_be_left_out(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    """The samples are the same; headers tell the mark nevertheless."""
    async with _client(generator, ProvenanceConfig(tags=False)) as plain:
        for stream in (False, True):
            response = await made(plain, stream=stream)
            assert response.headers[HEADER] == DIGITAL_SOURCE_TYPE
            assert tags(response.content) == {}
            assert response.content[36:40] == b"data"
            marked = await made(client, stream=stream)
            assert samples_of(marked.content) == samples_of(response.content)
        kept = await convert(plain, marked.content, response_format="flac")
        assert tags(kept.content) == tags(marked.content)


def test_tags_of_the_file_and_of_its_audio_are_read() -> None:
    for name in TAGGED:
        file = encode(tone(0.5), 32_000, Encoding(FORMATS[name], tags={"title": "a", "seed": "7"}))
        decoder = Decoder(file, 10.0, lambda rate: rate)
        assert np.concatenate([*decoder.parts()], axis=1).size > 0
        assert decoder.metadata["title"] == "a"
