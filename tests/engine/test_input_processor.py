"""Requests beyond the model's limits are refused before the queue; others become sequences."""

from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.input_processor import InputProcessor
from serve_app.engine.pace import peak_positions
from serve_app.engine.window import Window
from serve_app.errors import DurationTooLong, InvalidAudio, InvalidRequest, MelodyNotSupported
from serve_app.types import Audio, GenerationRequest
from tests.engine.melody_models import CHROMA, melody_model


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


@pytest.mark.parametrize(
    ("duration_s", "prompt", "encoded"),
    [
        (8.0, "calm piano", "calm piano, 8 s"),
        (30.0, "calm piano", "calm piano, 30 s"),
        (7.9, "calm piano", "calm piano, 7 s"),
        (0.5, "calm piano", "calm piano"),
        (30.5, "calm piano", "calm piano"),
    ],
)
async def test_a_model_may_be_told_the_length_of_a_track_of_one_window(
    nano: Checkpoint, duration_s: float, prompt: str, encoded: str
) -> None:
    config = replace(nano.musicgen.config, length_prompt=", {seconds} s")
    conditioner = Conditioner(nano.text_encoder, nano.musicgen, 64, 4)
    with mock.patch.object(nano.musicgen, "config", config):
        processor = InputProcessor(nano, conditioner, max_duration_s=120.0)
        sequence = await processor.process(request(duration_s, prompt=prompt), lambda _: None)
    assert sequence.prompt_tokens == nano.text_encoder.tokenize(encoded)


async def test_a_prompt_that_leaves_no_room_for_the_length_goes_without_it(
    nano: Checkpoint,
) -> None:
    config = replace(nano.musicgen.config, length_prompt=", {seconds} s")
    tokens = nano.text_encoder.tokenize("calm piano")
    conditioner = Conditioner(nano.text_encoder, nano.musicgen, len(tokens), 4)
    with mock.patch.object(nano.musicgen, "config", config):
        processor = InputProcessor(nano, conditioner, max_duration_s=120.0)
        sequence = await processor.process(request(8.0, prompt="calm piano"), lambda _: None)
    assert sequence.prompt_tokens == tokens


async def test_other_models_get_the_prompt_alone(nano: Checkpoint) -> None:
    config = replace(nano.musicgen.config, length_prompt="")
    conditioner = Conditioner(nano.text_encoder, nano.musicgen, 64, 4)
    with mock.patch.object(nano.musicgen, "config", config):
        processor = InputProcessor(nano, conditioner, max_duration_s=120.0)
        sequence = await processor.process(request(8.0), lambda _: None)
    assert sequence.prompt_tokens == nano.text_encoder.tokenize("calm piano")


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


SECOND = Audio(np.zeros((1, 32_000), np.float32), 32_000)


@pytest.fixture(scope="module")
def melodies(nano: Checkpoint) -> InputProcessor:
    """The limits of a melody model."""
    checkpoint = replace(nano, musicgen=melody_model())
    conditioner = Conditioner(nano.text_encoder, checkpoint.musicgen, 64, 4)
    return InputProcessor(checkpoint, conditioner, max_duration_s=120.0)


async def test_a_text_model_takes_no_melody(processor: InputProcessor) -> None:
    with pytest.raises(MelodyNotSupported, match="leave it out, or use a melody model") as refused:
        await processor.process(request(5.0, melody=SECOND), lambda _: None)
    assert (refused.value.status, refused.value.field) == (422, "melody")


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        (np.zeros((1, 0)), 32_000, "no samples"),
        (np.array([[0.0, np.nan]]), 32_000, "not finite"),
        (np.array([[np.inf], [0.0]]), 32_000, "not finite"),
        (np.zeros((1, 8000)), 47_999, "melody's sample rate of 47999 Hz cannot be resampled"),
    ],
)
async def test_a_melody_without_chroma_is_refused(
    melodies: InputProcessor, samples: Any, rate: int, reason: str
) -> None:
    melody = Audio(samples.astype(np.float32), rate)
    with pytest.raises(InvalidAudio, match=reason):
        await melodies.process(request(5.0, melody=melody), lambda _: None)


async def test_a_melody_needs_no_prompt_and_may_be_long_or_short(melodies: InputProcessor) -> None:
    for seconds in (0.0001, 100.0):
        melody = Audio(np.ones((2, round(seconds * 32_000)), np.float32), 32_000)
        sequence = await melodies.process(request(5.0, prompt="", melody=melody), lambda _: None)
        assert [classes.shape for classes in sequence.chroma] == [(CHROMA,)]
        assert sequence.prefix_positions == CHROMA + 1


async def test_each_window_has_its_chroma(melodies: InputProcessor) -> None:
    """One after the other, beside the windows."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 50 * 32_000)).astype(np.float32)
    made = request(60.0, melody=Audio(noise, 32_000))
    sequence = await melodies.process(made, lambda _: None)
    assert len(sequence.chroma) == len(sequence.windows) == 3
    later = sequence.chroma[1]
    assert sequence.slide()
    assert sequence.melody is later
    assert len(sequence.chroma) == len(sequence.windows) == 2


async def test_a_waiting_sequence_counts_its_prefix(melodies: InputProcessor) -> None:
    """By which the scheduler decides, before the sequence has a slot."""
    sequence = await melodies.process(request(5.0), lambda _: None)
    assert sequence.prefix_positions == CHROMA + len(sequence.prompt_tokens)
    assert peak_positions([sequence]) == sequence.prefix_positions + 250
