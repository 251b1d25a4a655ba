"""Audio prompts reach a model at its own sample rate."""

from dataclasses import replace

import pytest

from serve_app.audio.workers import AudioWorkers
from serve_app.errors import InvalidAudio
from serve_app.gateway.audio_prompts import AudioPrompts
from serve_app.gateway.readiness import Readiness
from serve_app.model_status import ModelCard, ReplicaStatus
from tests.audio.files import RATE, case, pcm_file, tone
from tests.fakes import LARGE, SMALL, FakeGenerator


class At24kHz(FakeGenerator):
    """A fleet of models at 24 kHz, which counts how often it is asked."""

    asked = 0

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        self.asked += 1
        replicas = await super().replicas(model_id)
        return [replace(one, model=replace(one.model, sample_rate=24_000)) for one in replicas]


def prompts(fleet: FakeGenerator) -> AudioPrompts:
    return AudioPrompts(AudioWorkers(), Readiness(fleet), 30.0, 40.0)


async def read_rate(prompts: AudioPrompts, card: ModelCard) -> int:
    return (await prompts.read(pcm_file(tone(0.5), RATE), card)).sample_rate


async def test_the_rate_is_the_models_own_and_asked_once() -> None:
    fleet = At24kHz()
    ours = prompts(fleet)
    assert [await read_rate(ours, SMALL) for _ in range(3)] == [24_000] * 3
    assert fleet.asked == 1


async def test_a_model_that_is_not_ready_gets_musicgens_rate() -> None:
    fleet = At24kHz(loaded=False)
    ours = prompts(fleet)
    assert await read_rate(ours, LARGE) == 32_000
    fleet.loaded = True
    fleet.step_s["large"] = 0.1
    assert await read_rate(ours, LARGE) == 24_000


async def test_a_prompt_is_bounded() -> None:
    with pytest.raises(InvalidAudio, match="longer than the allowed 30 seconds"):
        await prompts(FakeGenerator()).read(case("long_silence.flac"), SMALL)


@pytest.mark.parametrize("rate", [8_002, 47_999])
async def test_odd_rates_never_reach_a_model(rate: int) -> None:
    content = pcm_file(tone(0.5, rate=rate), rate)
    audio = await prompts(FakeGenerator()).read(content, SMALL)
    assert audio.sample_rate == 32_000
    assert audio.duration_s == pytest.approx(0.5, abs=0.001)


class OfTenSeconds(FakeGenerator):
    """A fleet of models with a window of 10 s."""

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        replicas = await super().replicas(model_id)
        return [replace(one, model=replace(one.model, window_s=10.0)) for one in replicas]


async def test_a_melody_is_read_as_far_as_the_models_window_goes() -> None:
    ours = prompts(OfTenSeconds())
    song = pcm_file(tone(50.0, rate=8_000), 8_000)
    for duration_s, used_s in ((10.0, 10.0), (15.0, 25.0)):
        assert (await ours.read_melody(song, SMALL, duration_s)).duration_s == used_s


async def test_a_melody_is_cut_and_not_refused() -> None:
    """A track hears one window of it; a longer one hears on, up to the bound, which is 40 s here."""
    ours = prompts(FakeGenerator())
    song = pcm_file(tone(50.0, rate=8_000), 8_000)
    for duration_s, used_s in ((1.0, 30.0), (30.0, 30.0), (31.0, 40.0)):
        melody = await ours.read_melody(song, SMALL, duration_s)
        assert (melody.sample_rate, melody.duration_s) == (32_000, used_s)
    assert (await ours.read_melody(song, SMALL, 1.0, start_s=5.0)).duration_s == 35.0
    assert (await ours.read_melody(pcm_file(tone(0.5), RATE), SMALL, 1.0)).duration_s == 0.5
    assert len(melody.file_sha256) == 64


async def test_no_more_of_a_melody_is_decoded() -> None:
    """An hour of silence in a small file costs as much as half a minute."""
    melody = await prompts(FakeGenerator()).read_melody(case("long_silence.flac"), SMALL, 10.0)
    assert melody.duration_s == 30.0


@pytest.mark.parametrize("content", [case("nan.wav"), b"", b"hi", pcm_file(tone(0.0), RATE)])
async def test_hostile_melodies_get_the_errors_of_audio_prompts(content: bytes) -> None:
    ours = prompts(FakeGenerator())
    with pytest.raises(InvalidAudio) as as_prompt:
        await ours.read(content, SMALL)
    with pytest.raises(InvalidAudio) as as_melody:
        await ours.read_melody(content, SMALL, 10.0)
    assert as_melody.value.message == as_prompt.value.message
