"""Requests beyond the model's limits are refused before the queue; others become sequences."""

from typing import Any

import numpy as np
import pytest

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.input_processor import InputProcessor
from serve_app.engine.window import Window
from serve_app.errors import DurationTooLong, InvalidAudio, InvalidRequest
from serve_app.types import Audio, GenerationRequest


@pytest.fixture(scope="module")
def processor(nano: Checkpoint) -> InputProcessor:
    return InputProcessor(
        nano, Conditioner(nano.text_encoder, nano.musicgen, 64, 4), max_duration_s=120.0
    )


def request(
    duration_s: float, prompt: str = "calm piano", audio_s: float = 0.0, **fields: Any
) -> GenerationRequest:
    sound = (
        np.random.default_rng(0).uniform(-0.1, 0.1, (2, round(audio_s * 16_000))).astype(np.float32)
    )
    audio_prompt = Audio(sound, 16_000) if audio_s else None
    return GenerationRequest(
        request_id="test",
        model="nano",
        prompt=prompt,
        duration_s=duration_s,
        audio_prompt=audio_prompt,
        **fields,
    )


async def test_an_audio_prompt_is_resampled_mixed_and_encoded(processor: InputProcessor) -> None:
    sequence = await processor.process(request(10.0, prompt="", audio_s=2.0), lambda _: None)
    assert sequence.prefix_codes.shape == (4, 100)
    assert sequence.windows == [Window(0, 500, 100)]
    assert sequence.frames_left == 400
    assert sequence.prompt_tokens == []


async def test_the_window_slides_as_asked(processor: InputProcessor) -> None:
    as_audiocraft = await processor.process(request(45.0), lambda _: None)
    assert as_audiocraft.windows == [Window(0, 1500, 0), Window(900, 2250, 600)]
    closer = await processor.process(request(45.0, extend_stride_s=10.0), lambda _: None)
    assert [window.start for window in closer.windows] == [0, 500, 1000]


@pytest.mark.parametrize(
    ("refused", "error", "reason"),
    [
        (
            request(120.5),
            DurationTooLong,
            r"120\.5 seconds were asked for, but this model makes up to 120",
        ),
        (request(5.0, prompt=""), InvalidRequest, "Prompt is required"),
        (
            request(45.0, extend_stride_s=30.0),
            InvalidRequest,
            "less than this model's window of 30 seconds",
        ),
        (request(5.0, audio_s=5.0), InvalidRequest, r"lasts 5 seconds.*the whole track \(5\)"),
        (request(60.0, audio_s=31.0), InvalidRequest, r"lasts 31 seconds.*window \(30\)"),
        (
            request(5.0).model_copy(
                update={"audio_prompt": Audio(np.zeros((1, 8000), np.float32), 47_999)}
            ),
            InvalidAudio,
            "47999 Hz cannot be resampled",
        ),
    ],
)
async def test_a_request_beyond_the_limits_is_refused(
    processor: InputProcessor, refused: GenerationRequest, error: type[InvalidRequest], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        await processor.process(refused, lambda _: None)
