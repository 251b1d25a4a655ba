"""ElevenLabs' music and sound routes over the fake generator."""

import io
import json
from typing import Any

import httpx
import pytest
import soundfile

from serve_app.api.schemas.elevenlabs_formats import FORMATS
from tests.fakes import FakeGenerator

MUSIC = "/v1/music"
SOUND = "/v1/sound-generation"
MUSIC_PATHS = (MUSIC, f"{MUSIC}/stream", f"{MUSIC}/detailed")
THREE_SECONDS = {"prompt": "lofi beat", "music_length_ms": 3000}
SECTION: dict[str, Any] = {
    "section_name": "Verse",
    "positive_local_styles": ["soft piano"],
    "negative_local_styles": [],
    "duration_ms": 4000,
    "lines": [],
}
PLAN: dict[str, Any] = {
    "positive_global_styles": ["lofi", "70 bpm"],
    "negative_global_styles": [],
    "sections": [SECTION],
}


def parts_of(response: httpx.Response) -> tuple[dict[str, Any], bytes, str]:
    """The JSON, the file and its headers, read as ElevenLabs' client for Python reads them."""
    lines = response.text.split("\n")
    boundary = lines[0].strip().encode()
    place = next(i for i, line in enumerate(lines) if "Content-Type: application/json" in line)
    assert place < 10
    second = response.content.index(boundary, len(boundary))
    headers, _, content = response.content[second:].partition(b"\r\n\r\n")
    assert lines[place + 2].startswith("{")
    return json.loads(lines[place + 2]), content, headers.decode()


async def test_a_prompt_becomes_a_file(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    body = THREE_SECONDS | {"seed": 7, "force_instrumental": False, "temperature": 0.5}
    response = await client.post(MUSIC, json=body, headers={"x-request-id": "this-one"})
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/mpeg")
    assert response.headers["song-id"] == "this-one"
    assert response.headers["x-musicgen-seed"] == "7"
    assert response.headers["x-musicgen-ignored"] == "force_instrumental"
    samples, rate = soundfile.read(io.BytesIO(response.content))
    assert (rate, len(samples) / rate) == (44_100, pytest.approx(3.0, abs=0.1))
    [request] = generator.requests
    assert (request.prompt, request.model, request.duration_s) == ("lofi beat", "small", 3.0)
    assert (request.sampling.seed, request.sampling.temperature) == (7, 0.5)


async def test_without_a_length_a_track_has_thirty_seconds(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    nulls = dict.fromkeys(("music_length_ms", "composition_plan", "finetune_id", "seed"))
    assert (await client.post(MUSIC, json={"prompt": "a", **nulls})).status_code == 200
    assert generator.requests[0].duration_s == 30.0


@pytest.mark.parametrize("path", [MUSIC, f"{MUSIC}/stream"])
async def test_every_format(client: httpx.AsyncClient, path: str) -> None:
    containers = {"mp3": "MP3", "opus": "OGG", "wav": "WAV"}
    for name in FORMATS:
        kind, rate, *_ = name.split("_")
        response = await client.post(path, params={"output_format": name}, json=THREE_SECONDS)
        assert response.status_code == 200, name
        if kind == "pcm":
            assert len(response.content) == 3 * int(rate) * 2
        else:
            file = soundfile.info(io.BytesIO(response.content))
            assert (file.format, file.samplerate) == (containers[kind], int(rate)), name


def test_bit_rates_are_those_of_the_names() -> None:
    """Layer III has no 240 kbit/s."""
    for name, options in FORMATS.items():
        kind, rate, *kbps = name.split("_")
        assert (options.response_format, options.sample_rate) == (kind, int(rate))
        expected = [256 if name == "mp3_48000_240" else int(one) for one in kbps]
        assert expected == ([options.bitrate_kbps] if options.bitrate_kbps else [])


@pytest.mark.parametrize(
    ("model", "rate"), [(None, 44_100), ("music_v1", 44_100), ("music_v2_5", 48_000)]
)
async def test_auto_depends_on_the_named_model(
    client: httpx.AsyncClient, model: str | None, rate: int
) -> None:
    for params in ({}, {"output_format": "auto"}):
        response = await client.post(MUSIC, params=params, json=THREE_SECONDS | {"model_id": model})
        assert soundfile.info(io.BytesIO(response.content)).samplerate == rate


@pytest.mark.parametrize("path", [*MUSIC_PATHS, SOUND])
async def test_other_formats_are_refused_by_name(client: httpx.AsyncClient, path: str) -> None:
    body = {"text": "a"} if path == SOUND else {"prompt": "a"}
    for name in ("ulaw_8000", "alaw_8000", "mp3", "mp3_44100_320", "aac_44100"):
        response = await client.post(path, params={"output_format": name}, json=body)
        detail = response.json()["detail"]
        assert (response.status_code, detail["param"]) == (400, "output_format")
        assert f"'{name}'" in detail["message"]
        assert "mp3_44100_128" in detail["message"]


@pytest.mark.parametrize("path", MUSIC_PATHS)
@pytest.mark.parametrize(
    ("more", "ignored"),
    [
        ({"force_instrumental": False}, "force_instrumental"),
        ({"force_instrumental": True}, None),
        ({"respect_sections_durations": False}, "respect_sections_durations"),
        ({"respect_sections_durations": True}, "respect_sections_durations"),
        ({"respect_sections_durations": None, "force_instrumental": None}, None),
    ],
)
async def test_what_always_holds_is_named(
    client: httpx.AsyncClient, path: str, more: dict[str, Any], ignored: str | None
) -> None:
    response = await client.post(path, json=THREE_SECONDS | more)
    assert (response.status_code, response.headers.get("x-musicgen-ignored")) == (200, ignored)


async def test_models_of_elevenlabs_are_the_default_model_and_say_so(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    params = {"enable_logging": "false"}
    named = await client.post(MUSIC, params=params, json=THREE_SECONDS | {"model_id": "music_v1"})
    assert named.headers["x-musicgen-ignored"] == "enable_logging, model_id"
    assert named.headers["x-musicgen-model"] == "small"
    served = await client.post(MUSIC, json=THREE_SECONDS | {"model_id": "tiny"})
    assert "x-musicgen-ignored" not in served.headers
    await client.post(MUSIC, json=THREE_SECONDS | {"model_id": "large"})
    assert [request.model for request in generator.requests] == ["small", "small", "large"]
    other = await client.post(MUSIC, json=THREE_SECONDS | {"model_id": "huge"})
    detail = other.json()["detail"]
    assert (other.status_code, detail["type"], detail["param"]) == (404, "not_found", "model_id")


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ({"finetune_id": "x"}, "finetune_id", "no finetunes"),
        ({"store_for_inpainting": True}, "store_for_inpainting", "no song is kept"),
        ({"sign_with_c2pa": True}, "sign_with_c2pa", "no certificate"),
        ({"music_length_ms": 2999}, "music_length_ms", "greater than or equal to 3000"),
        ({"music_length_ms": 600_001}, "music_length_ms", "less than or equal to 600000"),
        ({"music_length_ms": "3000"}, "music_length_ms", "valid integer"),
        ({"prompt": " "}, "prompt", "cannot be empty"),
        ({"prompt": "a" * 101}, "prompt", "at most 100 characters"),
        ({"lyrics": "la"}, "lyrics", "not permitted"),
        ({"composition_plan": PLAN}, "composition_plan", "not both"),
        ({"prompt": None}, "prompt", "give a prompt or a composition_plan"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient,
    generator: FakeGenerator,
    more: dict[str, object],
    field: str,
    said: str,
) -> None:
    for path in MUSIC_PATHS:
        response = await client.post(path, json={"prompt": "a"} | more)
        detail = response.json()["detail"]
        assert (response.status_code, detail["type"]) == (400, "validation_error")
        assert detail["param"] == field
        assert said in detail["message"]
        assert "Value error" not in detail["message"]
    assert generator.requests == []


async def test_a_plan_of_one_section_is_a_prompt(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    response = await client.post(MUSIC, json={"composition_plan": PLAN})
    assert response.status_code == 200
    [request] = generator.requests
    assert (request.prompt, request.duration_s) == ("lofi, 70 bpm, soft piano", 4.0)


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"negative_global_styles": ["rock"]}, "negative_global_styles", "no negative styles"),
        ({"sections": []}, "sections", "0 sections"),
        ({"sections": [SECTION, SECTION]}, "sections", "one description for the whole track"),
        ({"sections": [SECTION | {"lines": ["la"]}]}, "sections.lines", "sings no lyrics"),
        (
            {"sections": [SECTION | {"negative_local_styles": ["x"]}]},
            "sections.negative_local_styles",
            "no negative styles",
        ),
        (
            {"sections": [SECTION | {"source_from": {"song_id": "x"}}]},
            "sections.source_from",
            "not permitted",
        ),
        ({"chunks": []}, "", "chunks are not supported"),
    ],
)
async def test_a_plan_that_one_prompt_cannot_follow_is_refused(
    client: httpx.AsyncClient,
    generator: FakeGenerator,
    change: dict[str, object],
    field: str,
    said: str,
) -> None:
    response = await client.post(MUSIC, json={"composition_plan": PLAN | change})
    detail = response.json()["detail"]
    assert response.status_code == 400
    assert detail["param"] == ".".join(["composition_plan", *filter(None, [field])])
    assert said in detail["message"]
    assert generator.requests == []


async def test_a_plan_has_its_own_length_and_a_description(client: httpx.AsyncClient) -> None:
    both = await client.post(MUSIC, json={"composition_plan": PLAN, "music_length_ms": 3000})
    assert "music_length_ms: goes with a prompt" in both.json()["detail"]["message"]
    assert both.json()["detail"]["param"] == "music_length_ms"
    silent = PLAN | {
        "positive_global_styles": [],
        "sections": [SECTION | {"positive_local_styles": []}],
    }
    empty = await client.post(MUSIC, json={"composition_plan": silent})
    assert empty.json()["detail"]["param"] == "composition_plan"


async def test_a_stream_is_sent_while_it_is_made(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    body = THREE_SECONDS | {"model_id": "music_v2"}
    response = await client.post(
        f"{MUSIC}/stream", params={"output_format": "pcm_32000"}, json=body
    )
    assert len(response.content) == 2 * 3 * 32_000
    assert response.headers["song-id"]
    assert response.headers["x-musicgen-ignored"] == "model_id"
    assert "content-length" not in response.headers
    assert generator.requests[0].streamed


async def test_the_parts_of_a_detailed_answer(client: httpx.AsyncClient) -> None:
    body = {"prompt": 'two\nlines filename="x"', "music_length_ms": 3000, "with_timestamps": True}
    response = await client.post(
        f"{MUSIC}/detailed", params={"output_format": "pcm_32000"}, json=body
    )
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("multipart/mixed; boundary=")
    assert response.headers["song-id"]
    facts, content, headers = parts_of(response)
    assert len(content) == 2 * 3 * 32_000, "nothing follows the samples"
    assert 'filename="track.pcm"' in headers
    assert facts["song_metadata"] == {
        "title": None,
        "description": 'two\nlines filename="x"',
        "genres": [],
        "languages": [],
        "is_explicit": False,
    }
    assert facts["words_timestamps"] == []
    assert facts["track"]["model"] == "small"
    [section] = facts["composition_plan"]["sections"]
    assert section["duration_ms"] == 3000
    again = await client.post(
        f"{MUSIC}/detailed", json={"composition_plan": facts["composition_plan"]}
    )
    assert parts_of(again)[0]["composition_plan"] == facts["composition_plan"]


async def test_a_waveform_is_refused(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "with_waveform_visual": True}
    detail = (await client.post(f"{MUSIC}/detailed", json=body)).json()["detail"]
    assert detail["param"] == "with_waveform_visual"


async def test_a_sound_is_music(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    body = {"text": "rain", "duration_seconds": 1.5, "prompt_influence": 0.5, "loop": False}
    response = await client.post(SOUND, json=body | {"model_id": "eleven_text_to_sound_v2"})
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/mpeg")
    assert response.headers["x-musicgen-ignored"] == "model_id"
    await client.post(SOUND, json={"text": "rain", "duration_seconds": None})
    await client.post(SOUND, json={"text": "rain", "prompt_influence": 0.0})
    first, second, third = generator.requests
    assert (first.prompt, first.duration_s, first.sampling.cfg_coef) == ("rain", 1.5, 5.0)
    assert (second.duration_s, second.sampling.cfg_coef) == (10.0, 3.0)
    assert third.sampling.cfg_coef == 1.0


async def test_sounds_refuse_by_name(client: httpx.AsyncClient) -> None:
    for field, value in (
        ("loop", True),
        ("duration_seconds", 0.4),
        ("duration_seconds", 31),
        ("prompt_influence", 1.1),
        ("text", ""),
        ("prompt", "a"),
    ):
        response = await client.post(SOUND, json={"text": "a", field: value})
        assert (response.status_code, response.json()["detail"]["param"]) == (400, field)


async def test_influence_and_guidance_exclude_each_other(client: httpx.AsyncClient) -> None:
    body = {"text": "a", "prompt_influence": 0.5, "cfg_coef": 3.0}
    assert "not both" in (await client.post(SOUND, json=body)).json()["detail"]["message"]


async def test_other_routes_say_which_are_served(client: httpx.AsyncClient) -> None:
    for path in ("plan", "upload", "stem-separation", "video-to-music", "detailed/stream"):
        response = await client.post(f"{MUSIC}/{path}", json={"prompt": "a"})
        detail = response.json()["detail"]
        assert (response.status_code, detail["type"]) == (404, "not_found")
        assert f"/v1/music/{path} is not served here" in detail["message"]


async def test_the_fields_of_a_query_are_named(client: httpx.AsyncClient) -> None:
    response = await client.post(MUSIC, params={"enable_logging": "perhaps"}, json=THREE_SECONDS)
    assert (response.status_code, response.json()["detail"]["param"]) == (400, "enable_logging")
