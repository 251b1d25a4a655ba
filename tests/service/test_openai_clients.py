"""OpenAI's own client for Python, blocking and for asyncio, against the running service."""

import base64
import json
from collections.abc import Iterator

import openai
import pytest

from serve_app.launcher import Service
from tests.service.conftest import samples_of

ONE_SECOND = {"duration_s": 1, "seed": 7}


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    url = f"{service.url}/v1"
    with openai.OpenAI(api_key="none", base_url=url, max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    [model] = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("nano", "model", "unknown")
    assert client.models.retrieve("small") == model
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("huge")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_speech_is_music(client: openai.OpenAI) -> None:
    answer = client.audio.speech.with_raw_response.create(
        model="nano",
        input="lofi beat",
        voice="alloy",
        response_format="wav",
        speed=1.0,
        extra_body=ONE_SECOND,
    )
    assert len(samples_of(answer.content)) == 32_000
    assert answer.headers["x-musicgen-ignored"] == "voice"
    assert answer.headers["x-musicgen-seed"] == "7"
    again = client.audio.speech.create(
        model="small",
        input="lofi beat",
        voice={"id": "any"},
        response_format="wav",
        extra_body=ONE_SECOND,
    )
    assert again.read() == answer.content


async def test_the_file_arrives_while_it_is_made(service: Service) -> None:
    async with (
        openai.AsyncOpenAI(api_key="none", base_url=f"{service.url}/v1") as client,
        client.audio.speech.with_streaming_response.create(
            model="nano",
            input="lofi beat",
            voice="alloy",
            response_format="pcm",
            stream_format="audio",
            extra_body={"duration_s": 3},
        ) as answer,
    ):
        parts = [part async for part in answer.iter_bytes()]
    assert len(parts) > 1
    assert len(b"".join(parts)) == 3 * 24_000 * 2


def test_events(client: openai.OpenAI) -> None:
    answer = client.audio.speech.create(
        model="nano",
        input="lofi beat",
        voice="alloy",
        response_format="pcm",
        stream_format="sse",
        extra_body=ONE_SECOND,
    )
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    content = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert len(content) == 24_000 * 2
    assert (done["type"], done["track"]["model"]) == ("speech.audio.done", "nano")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"response_format": "aac"}, "response_format"),
        ({"speed": 2.0}, "speed"),
        ({"instructions": "sing"}, "instructions"),
        ({"extra_body": {"lyrics": "la"}}, "lyrics"),
    ],
)
def test_refusals_name_the_field(
    client: openai.OpenAI, more: dict[str, object], field: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=field) as raised:
        client.audio.speech.create(model="nano", input="a", voice="alloy", **more)  # type: ignore[arg-type]
    assert raised.value.param == field
    assert raised.value.type == "invalid_request_error"


def test_an_unknown_route_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="GET /v1/batches is not served here"):
        client.batches.list()
