"""A melody on every route that takes one, over the fake generator."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from serve_app.gateway import fleet_view
from tests.audio.files import RATE, pcm_file, tone
from tests.fakes import Clock, FakeGenerator

GENERATIONS = "/v1/audio/generations"
SONG = pcm_file(tone(0.5), RATE)
IN_BASE64 = base64.b64encode(SONG).decode()
REFUSAL = "Model 'small' takes no melody. Leave it out: no served model is known to take one."
BODIES = [
    (GENERATIONS, {"melody": IN_BASE64, "duration_s": 1}),
    (
        GENERATIONS,
        {"melody": f"data:audio/wav;base64,{IN_BASE64}", "duration_s": 1, "stream": True},
    ),
    (GENERATIONS, {"melody": IN_BASE64, "duration_s": 1, "stream": True, "stream_format": "sse"}),
    (GENERATIONS, {"melody": IN_BASE64, "duration_s": 1, "n": 2, "response_format": "json"}),
    ("/", {"melody_audio_base64": IN_BASE64, "duration": 1}),
    ("/", {"melody_audio_base64": f"data:audio/wav;base64,{IN_BASE64}", "duration": 1}),
    ("/generate", {"melody_audio_base64": IN_BASE64, "duration": 1, "model_size": "tiny"}),
]


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("prompt", ["strings", ""])
async def test_it_reaches_the_model(
    client: httpx.AsyncClient,
    generator: FakeGenerator,
    path: str,
    body: dict[str, Any],
    prompt: str,
) -> None:
    generator.melody = ("small",)
    response = await client.post(path, json=body | {"prompt": prompt})
    assert response.status_code == 200, response.text
    for request in generator.requests:
        assert request.melody is not None
        assert (request.prompt, request.audio_prompt) == (prompt, None)
        assert (request.melody.duration_s, request.melody.sample_rate) == (0.5, 32_000)
    assert len(generator.requests) == body.get("n", 1)


async def test_it_is_a_forms_file_beside_an_audio_prompt(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.melody = ("small",)
    files = {"melody": ("a.wav", SONG), "audio_prompt": ("b.wav", pcm_file(tone(0.25), RATE))}
    response = await client.post(GENERATIONS, data={"duration_s": "1"}, files=files)
    assert response.status_code == 200, response.text
    [request] = generator.requests
    assert request.melody is not None
    assert request.audio_prompt is not None
    assert (request.melody.duration_s, request.audio_prompt.duration_s) == (0.5, 0.25)


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_model_without_one_refuses_it_by_name(
    client: httpx.AsyncClient, generator: FakeGenerator, loaded: bool
) -> None:
    """Before it waits where its replicas have told so, else from the engine itself."""
    generator.loaded = loaded
    for body in ({"melody": IN_BASE64}, {"melody": IN_BASE64, "stream": True}):
        response = await client.post(GENERATIONS, json=body | {"prompt": "a"})
        problem = response.json()
        assert (response.status_code, problem["code"]) == (422, "melody_not_supported")
        assert problem["detail"] == REFUSAL
        assert problem["errors"] == [{"field": "melody", "message": REFUSAL}]
    assert bool(generator.requests) is not loaded


@pytest.mark.parametrize("path", ["/", "/generate"])
@pytest.mark.parametrize("loaded", [True, False])
async def test_the_older_contracts_refuse_it_in_their_form(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str, loaded: bool
) -> None:
    generator.loaded = loaded
    body = {"prompt": "a", "melody_audio_base64": IN_BASE64}
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()) == (400, {"detail": REFUSAL})


async def test_the_older_contracts_name_the_alias(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    body = {"prompt": "a", "melody_audio_base64": IN_BASE64, "model": "tiny"}
    detail = (await client.post("/", json=body)).json()["detail"]
    assert detail.startswith("Model 'small' (which answers to 'tiny' here) takes no melody.")
    assert (await client.post("/", json={"prompt": "a", "model": "tiny"})).status_code == 200
    assert len(generator.requests) == 1, "without a melody the alias goes on answering"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (pcm_file(np.full((1, 800), np.nan, np.float32), RATE, subtype="FLOAT"), "not finite"),
        (b"hi", "not a "),
        (b"", "empty"),
        (pcm_file(tone(0.5), RATE)[:40], "beginning is damaged"),
    ],
)
async def test_hostile_files_get_the_errors_of_audio_prompts(
    client: httpx.AsyncClient, generator: FakeGenerator, content: bytes, named: str
) -> None:
    generator.melody = ("small",)
    encoded = base64.b64encode(content).decode()
    for field in ("melody", "audio_prompt"):
        response = await client.post(GENERATIONS, json={"prompt": "a", field: encoded})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_audio")
        assert named in response.json()["detail"]
    assert response.json().get("errors") is None
    body = {"prompt": "a", "melody_audio_base64": encoded}
    for path in ("/", "/generate"):
        response = await client.post(path, json=body)
        assert response.status_code == 400
        assert named in response.json()["detail"]
    assert generator.requests == []


async def test_what_is_no_file_is_named(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.melody = ("small",)
    response = await client.post(GENERATIONS, json={"prompt": "a", "melody": "!"})
    assert response.json()["detail"] == "melody is not valid base64"
    for value, named in (("!", "is not valid base64"), (1, "must be a file of audio in base64")):
        response = await client.post("/", json={"prompt": "a", "melody_audio_base64": value})
        assert (response.status_code, response.json()) == (
            400,
            {"detail": f"melody_audio_base64 {named}"},
        )
    null = {"prompt": "a", "melody_audio_base64": None, "duration": 1}
    assert (await client.post("/", json=null)).status_code == 200


async def test_large_files_are_refused(client: httpx.AsyncClient) -> None:
    """The limit is that of uploads also on the older routes, whose bodies hold a melody."""
    for path, field in (("/", "melody_audio_base64"), (GENERATIONS, "melody")):
        response = await client.post(path, json={"prompt": "a", field: "A" * 200_000})
        assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


async def test_other_dialects_go_on_without_one(client: httpx.AsyncClient) -> None:
    """Their requests have no field for a melody, and one that is sent is named."""
    body = {"input": "a", "melody": "aGk="}
    response = await client.post("/v1/audio/generate", json=body)
    assert response.status_code == 400
    assert "melody" in response.json()["detail"]


async def test_models_tell_whether_they_take_one(
    client: httpx.AsyncClient, generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(fleet_view, "monotonic", clock)
    generator.melody = ("small",)
    for path in ("/v1/models/small", "/v1/models/tiny"):
        assert (await client.get(path)).json()["capabilities"]["melody"] is True
    generator.loaded = False
    clock.now += 10  # the replicas are asked again
    small = (await client.get("/v1/models/small")).json()
    assert (small["loaded"], small["channels"]) == (False, None)
    assert small["capabilities"] == {
        "text": True,
        "melody": True,
        "stereo": False,
        "continuation": True,
        "max_duration_s": 30.0,
        "decoders": ["encodec"],
    }
