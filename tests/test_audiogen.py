"""An AudioGen equals AudioCraft's on the same random weights, up to a track beyond its window."""

from pathlib import Path

import pytest
import torch

from serve_app.config.app import EngineConfig
from serve_app.engine.engine import Engine
from serve_app.types import AudioChunk, GenerationRequest, SamplingParams
from tests.architectures import AUDIOGEN
from tests.oracles import AudioCraftOracle, load_pair
from tests.untraced import untraced

PROMPT = "a dog barks behind a door"


@pytest.fixture(scope="module")
def audiogen(
    tmp_path_factory: pytest.TempPathFactory, hub_cache: Path
) -> tuple[Engine, AudioCraftOracle]:
    folder = tmp_path_factory.mktemp("audiogen")
    checkpoint, oracle = load_pair("audiocraft", AUDIOGEN, folder, hub_cache)
    assert isinstance(oracle, AudioCraftOracle)
    engine = Engine(checkpoint, EngineConfig(device="cpu", max_slots=1, max_duration_s=30))
    return engine, oracle


@untraced
def expected(oracle: AudioCraftOracle, duration_s: float) -> torch.Tensor:
    """Audio [1, samples] of AudioCraft's AudioGen, with all its defaults but greedy decoding."""
    from audiocraft.models import AudioGen

    model = AudioGen("oracle", oracle.codec, oracle.lm, max_duration=AUDIOGEN.window_s)
    model.set_generation_params(use_sampling=False, duration=duration_s)
    assert model.extend_stride == 2
    return model.generate([PROMPT])[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("duration_s", [1.0, 14.5])
async def test_a_track_equals_audiocrafts(
    audiogen: tuple[Engine, AudioCraftOracle], duration_s: float
) -> None:
    engine, oracle = audiogen
    request = GenerationRequest(
        request_id="test",
        model="audiogen",
        prompt=PROMPT,
        duration_s=duration_s,
        sampling=SamplingParams(temperature=0.0),
    )
    items = [item async for item in engine.generate(request)]
    audio = torch.cat(
        [torch.from_numpy(item.samples) for item in items if isinstance(item, AudioChunk)], dim=-1
    )
    wanted = expected(oracle, duration_s)
    assert wanted.std() > 0.01
    torch.testing.assert_close(audio, wanted, rtol=0, atol=1e-5)


def test_the_model_list_tells_that_it_is_audio(audiogen: tuple[Engine, AudioCraftOracle]) -> None:
    described = audiogen[0].describe()
    assert (described.content, described.sample_rate) == ("audio", 16_000)
