"""Chunks between a replica and the ingress."""

import numpy as np
import pytest

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FLAC, MP3, OPUS, PCM, WAV, Encoding, FormatSpec
from serve_app.audio.file_options import FileOptions
from serve_app.deployments.transport import PackedChunk, pack, unpack
from serve_app.types import AudioChunk, FinishReason, GenerationRequest, Progress

RATE = 32_000


def request(sample_bits: int) -> GenerationRequest:
    return GenerationRequest.model_validate(
        {"request_id": "a", "model": "a", "prompt": "", "duration_s": 1, "sample_bits": sample_bits}
    )


def loud_noise() -> AudioChunk:
    """Noise with values beyond full scale and halfway between two integers."""
    noise = np.random.default_rng(0).normal(0.0, 0.5, (2, RATE)).astype(np.float32)
    noise[:, :7] = np.array([1.0, -1.0, 2.0, -2.0, 0.5 / 32768, 1.5 / 32768, -2.5 / 32768])
    return AudioChunk(noise, RATE, FinishReason.LENGTH, track_samples=RATE)


@pytest.mark.parametrize("file_format", [WAV, FLAC, PCM], ids=str)
def test_packed_audio_gives_the_same_16_bit_file(file_format: FormatSpec) -> None:
    chunk = loud_noise()
    packed = pack(chunk, request(16))
    assert isinstance(packed, PackedChunk)
    assert packed.samples.dtype == np.int16
    arrived = unpack(packed)
    assert isinstance(arrived, AudioChunk)
    assert arrived.samples.dtype == np.float32
    assert (arrived.sample_rate, arrived.finish_reason, arrived.track_samples) == (
        RATE,
        FinishReason.LENGTH,
        RATE,
    )
    encoding = Encoding(file_format)
    assert encode(arrived.samples, RATE, encoding) == encode(chunk.samples, RATE, encoding)


def test_what_needs_float32_is_not_packed() -> None:
    chunk = loud_noise()
    assert pack(chunk, request(32)) is chunk
    assert unpack(chunk) is chunk
    progress = Progress(0, 1.0, None)
    assert pack(progress, request(16)) is progress


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ({}, 16),
        ({"normalization": "clip"}, 16),
        ({"response_format": "mp3", "sample_rate": 44_100}, 16),
        ({"response_format": "opus"}, 16),
        ({"sample_rate": 44_100}, 32),
        ({"sample_format": "float32"}, 32),
        ({"normalization": "loudness"}, 32),
        ({"normalization": "peak", "response_format": "mp3"}, 32),
        ({"fade_in_s": 1.0}, 32),
        ({"fade_out_s": 1.0, "response_format": "opus"}, 32),
    ],
    ids=str,
)
def test_files_that_keep_more_than_16_bits_ask_for_them(
    options: dict[str, object], bits: int
) -> None:
    assert FileOptions.model_validate(options).sample_bits == bits


@pytest.mark.parametrize("file_format", [MP3, OPUS], ids=str)
def test_rounding_is_far_below_what_a_lossy_format_loses(file_format: FormatSpec) -> None:
    """Files of rounded samples have the same length, within the format's own frames."""
    time = np.arange(2 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[np.newaxis]
    packed = pack(AudioChunk(tone, RATE), request(16))
    assert isinstance(packed, PackedChunk)
    error = packed.samples / 2**15 - tone
    assert 20 * np.log10(np.sqrt(np.mean(error**2))) < -95
    arrived = unpack(packed)
    assert isinstance(arrived, AudioChunk)
    encoding = Encoding(file_format)
    sizes = [len(encode(one, RATE, encoding)) for one in (tone, arrived.samples)]
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[0]
