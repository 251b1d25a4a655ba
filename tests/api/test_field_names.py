"""Refusals name the field at fault as each dialect does."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from serve_app.api.field_names import named_as
from serve_app.errors import DurationTooLong, InvalidRequest, PromptTooLong
from serve_app.types import GenerationRequest, StreamItem
from tests.fakes import FakeGenerator

SPEECH = "/v1/audio/speech"
GENERATE = "/v1/audio/generate"
GENERATIONS = "/v1/audio/generations"
MUSIC = "/v1/music"
SOUND = "/v1/sound-generation"
HUGGING_FACE = "/models/facebook/musicgen-small"
PLAN = {"positive_global_styles": ["a"], "sections": [{"duration_ms": 31_000}]}
LOUD = {"normalization": "peak"}
OPENAI = {GENERATIONS: "prompt", SPEECH: "input", GENERATE: "input"}
ELEVENLABS = {
    MUSIC: "prompt",
    f"{MUSIC}/stream": "prompt",
    f"{MUSIC}/detailed": "prompt",
    SOUND: "text",
}
FIELDS = OPENAI | ELEVENLABS  # of the prompt


class _Limited(FakeGenerator):
    """Refuses long tracks, as the engine does."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        if request.duration_s > self.longest_s:
            raise DurationTooLong.of(request.duration_s, self.longest_s)
        async for item in super().generate(request):
            yield item


@pytest.fixture
def generator() -> FakeGenerator:
    return _Limited()


def param_of(response: httpx.Response) -> str | None:
    """The field that the error names, where the route's clients read it."""
    body = response.json()
    holder: dict[str, Any] = body["detail"] if isinstance(body["detail"], dict) else body["error"]
    param: str | None = holder["param"]
    return param


@pytest.mark.parametrize(
    ("path", "more", "field"),
    [
        (GENERATIONS, {"duration_s": 31}, "duration_s"),
        (GENERATIONS, {"stream": True, **LOUD}, "normalization"),
        (GENERATIONS, {"n": 2}, "n"),
        (GENERATIONS, {"response_format": "mp3", "bitrate_kbps": 33}, "bitrate_kbps"),
        (GENERATIONS, {"sample_format": "float32", "response_format": "mp3"}, "sample_format"),
        (SPEECH, {"duration_s": 31}, "duration_s"),
        (SPEECH, {"stream_format": "sse", **LOUD}, "normalization"),
        (SPEECH, {"response_format": "wav", "bitrate_kbps": 64}, "bitrate_kbps"),
        (SPEECH, {"response_format": "opus", "bitrate_kbps": 300}, "bitrate_kbps"),
        (SPEECH, {"response_format": "mp3", "sample_rate": 8000}, "sample_rate"),
        (GENERATE, {"audio_length": 31.0}, "audio_length"),
        (GENERATE, {"bitrate_kbps": 64}, "bitrate_kbps"),
        (MUSIC, {"music_length_ms": 31_000}, "music_length_ms"),
        (f"{MUSIC}/stream", {"music_length_ms": 31_000}, "music_length_ms"),
        (f"{MUSIC}/detailed", {"music_length_ms": 31_000}, "music_length_ms"),
        (
            MUSIC,
            {"prompt": None, "composition_plan": PLAN},
            "composition_plan.sections.duration_ms",
        ),
        (SOUND, {"prompt_influence": 0.3, "cfg_coef": 3.0}, "prompt_influence"),
    ],
)
async def test_a_refusal_names_the_field(
    client: httpx.AsyncClient, path: str, more: dict[str, Any], field: str
) -> None:
    response = await client.post(path, json={FIELDS[path]: "a"} | more)
    assert (response.status_code, param_of(response)) == (400, field)


@pytest.mark.parametrize("path", FIELDS)
async def test_a_prompt_of_too_many_tokens_is_named(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str
) -> None:
    generator.error = PromptTooLong("The prompt has 300 tokens")
    response = await client.post(path, json={FIELDS[path]: "a"})
    assert (response.status_code, param_of(response)) == (400, FIELDS[path])


@pytest.mark.parametrize("name", ["duration", "max_new_tokens", "max_length"])
async def test_hugging_faces_sentence_names_the_parameter(
    client: httpx.AsyncClient, generator: FakeGenerator, name: str
) -> None:
    value = 31 if name == "duration" else 1600
    body = {"inputs": "a", "parameters": {name: value}}
    response = await client.post(HUGGING_FACE, json=body)
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"parameters.{name}: ")
    generator.error = PromptTooLong("The prompt has 300 tokens")
    response = await client.post(HUGGING_FACE, json={"inputs": "a"})
    assert response.json() == {"error": "inputs: The prompt has 300 tokens"}


def test_a_field_without_another_name_keeps_its_own() -> None:
    for field, expected in (("n", "n"), ("prompt", "input"), (None, None)):
        with pytest.raises(InvalidRequest) as raised, named_as({"prompt": "input"}):
            raise InvalidRequest("no", field=field)
        assert raised.value.field == expected
