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
