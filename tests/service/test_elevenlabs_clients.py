"""ElevenLabs' own client for Python, blocking and for asyncio, against the running service."""

import io
from collections.abc import Callable, Iterator

import httpx
import pytest
import soundfile
from elevenlabs import AsyncElevenLabs, ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.types import MusicPrompt, SongSection

from serve_app.launcher import Service

PROMPT = "lofi beat"
SECONDS = 3


@pytest.fixture
def client(service: Service) -> Iterator[ElevenLabs]:
    with httpx.Client(timeout=60) as http:
        yield ElevenLabs(api_key="none", base_url=service.url, httpx_client=http)


def plan(sections: int) -> MusicPrompt:
    section = SongSection(
        section_name="Verse",
        positive_local_styles=["piano"],
        negative_local_styles=[],
        duration_ms=1000 * SECONDS,
        lines=[],
    )
    return MusicPrompt(
        positive_global_styles=["lofi"],
        negative_global_styles=[],
        sections=[section] * sections,
    )


def test_compose(client: ElevenLabs) -> None:
    content = b"".join(client.music.compose(prompt=PROMPT, music_length_ms=1000 * SECONDS))
    samples, rate = soundfile.read(io.BytesIO(content))
    assert (rate, len(samples) / rate) == (44_100, pytest.approx(SECONDS, abs=0.1))
    by_plan = client.music.compose(composition_plan=plan(1), output_format="pcm_16000")
    assert len(b"".join(by_plan)) == 2 * 16_000 * SECONDS


async def test_stream(service: Service) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        client = AsyncElevenLabs(api_key="none", base_url=service.url, httpx_client=http)
        stream = client.music.stream(
            prompt=PROMPT,
            music_length_ms=1000 * SECONDS,
            model_id="music_v2",
            force_instrumental=True,
            output_format="pcm_32000",
        )
        parts = [part async for part in stream]
    assert len(parts) > 1
    assert len(b"".join(parts)) == 2 * 32_000 * SECONDS


def test_compose_detailed(client: ElevenLabs) -> None:
    answer = client.music.compose_detailed(
        prompt=PROMPT,
        music_length_ms=1000 * SECONDS,
        output_format="pcm_32000",
        with_timestamps=True,
        enable_logging=False,
    )
    assert len(answer.audio) == 2 * 32_000 * SECONDS, "no boundary behind the samples"
    assert answer.filename == "track.pcm"
    assert answer.json["song_metadata"]["description"] == PROMPT
    assert answer.json["words_timestamps"] == []
    assert answer.json["track"]["model"] == "nano"
    assert answer.song_id


def test_what_has_no_effect_is_named(client: ElevenLabs) -> None:
    with client.music.with_raw_response.compose(
        prompt=PROMPT, music_length_ms=1000 * SECONDS, model_id="music_v1", enable_logging=False
    ) as answer:
        assert answer.headers["x-musicgen-ignored"] == "enable_logging, model_id"
        assert answer.headers["x-musicgen-model"] == "nano"
        assert b"".join(answer.data)


def test_sound_effects_are_music(client: ElevenLabs) -> None:
    parts = client.text_to_sound_effects.convert(
        text="rain", duration_seconds=1.0, prompt_influence=0.3, output_format="mp3_22050_32"
    )
    assert soundfile.info(io.BytesIO(b"".join(parts))).samplerate == 22_050


def test_refusals_name_the_field(client: ElevenLabs) -> None:
    calls: dict[str, Callable[[], Iterator[bytes]]] = {
        "output_format": lambda: client.music.compose(prompt="a", output_format="ulaw_8000"),
        "finetune_id": lambda: client.music.stream(prompt="a", finetune_id="x"),
        "store_for_inpainting": lambda: client.music.compose(prompt="a", store_for_inpainting=True),
        "composition_plan.sections": lambda: client.music.compose(composition_plan=plan(2)),
        "loop": lambda: client.text_to_sound_effects.convert(text="a", loop=True),
    }
    for field, call in calls.items():
        with pytest.raises(ApiError) as raised:
            list(call())
        detail = raised.value.body["detail"]
        assert (raised.value.status_code, detail["param"]) == (400, field)


def test_other_routes_say_which_are_served(client: ElevenLabs) -> None:
    with pytest.raises(ApiError) as raised:
        client.music.composition_plan.create(prompt="a")
    assert raised.value.status_code == 404
    assert "/v1/music/plan is not served here" in raised.value.body["detail"]["message"]
