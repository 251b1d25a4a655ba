"""Audio prompts become codes at the model's sample rate, channels and order of codebooks."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.engine import audio_prompter
from serve_app.engine.audio_prompter import AudioPrompter, check_sample_rate, encode_audio_prompt
from serve_app.errors import InvalidAudio
from serve_app.types import Audio
from tests.architectures import STEREO, write_huggingface
from tests.engine.fake_gpu import Copies, fake_gpu, moved_checkpoint


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model whose codebooks alternate between the channels of a mono codec."""
    checkpoint = load_checkpoint(str(write_huggingface(STEREO, tmp_path_factory.mktemp("stereo"))))
    assert checkpoint.stereo_codebooks
    return checkpoint


def sound(channels: int, samples: int, sample_rate: int) -> Audio:
    noise = np.random.default_rng(channels).uniform(-0.5, 0.5, (channels, samples))
    return Audio(noise.astype(np.float32), sample_rate)


def encoded(checkpoint: Checkpoint, samples: Tensor, num_codebooks: int) -> Tensor:
    """Codes [K, frames] of one channel."""
    with torch.inference_mode():
        return checkpoint.codec.encode(samples[None, None], num_codebooks)[0]


def test_a_mono_model_gets_the_mean_of_the_channels(nano: Checkpoint) -> None:
    prompt = sound(2, 6400, nano.sample_rate)
    mean = torch.from_numpy(prompt.samples.mean(axis=0))
    assert torch.equal(encode_audio_prompt(nano, prompt), encoded(nano, mean, 4))


def test_another_sample_rate_is_resampled(nano: Checkpoint) -> None:
    """A slow sine has the same codes at half the rate, but for the codec's last codebooks."""
    seconds = np.arange(0, 1, 1 / nano.sample_rate)
    whole = np.sin(2 * np.pi * 220 * seconds, dtype=np.float32)[None]
    at_rate = encode_audio_prompt(nano, Audio(whole, nano.sample_rate))
    at_half = encode_audio_prompt(nano, Audio(whole[:, ::2], nano.sample_rate // 2))
    assert at_half.shape == at_rate.shape == (4, 50)
    assert (at_half[0] == at_rate[0]).float().mean() > 0.8


def test_codebooks_of_a_stereo_model_alternate(stereo: Checkpoint) -> None:
    prompt = sound(2, 24 * 30, stereo.sample_rate)
    codes = encode_audio_prompt(stereo, prompt)
    left, right = torch.from_numpy(prompt.samples)
    assert codes.shape == (8, 30)
    assert torch.equal(codes[0::2], encoded(stereo, left, 4))
    assert torch.equal(codes[1::2], encoded(stereo, right, 4))
    assert not torch.equal(codes[0::2], codes[1::2])


def test_a_stereo_model_gets_a_mono_prompt_on_both_sides(stereo: Checkpoint) -> None:
    codes = encode_audio_prompt(stereo, sound(1, 24 * 30, stereo.sample_rate))
    assert torch.equal(codes[0::2], codes[1::2])


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("model_rate", [24_000, 32_000, 44_100, 48_000])
def test_usual_rates_are_resampled(rate: int, model_rate: int) -> None:
    check_sample_rate(rate, model_rate)


@pytest.mark.parametrize("rate", [8_002, 44_101, 47_999])
def test_rates_that_need_a_huge_kernel_are_refused(rate: int) -> None:
    with pytest.raises(InvalidAudio, match=f"{rate} Hz cannot be resampled to this model's 32000"):
        check_sample_rate(rate, 32_000)


def test_codes_of_a_gpu_are_complete_once_returned(nano: Checkpoint) -> None:
    """The engine's stream reads them: a copy to the CPU waits for the stream that makes them."""
    with fake_gpu():
        checkpoint = moved_checkpoint(nano)
        with Copies() as copies:
            codes = encode_audio_prompt(checkpoint, sound(1, 6400, nano.sample_rate))
        assert codes.device.type == "cpu"
    assert copies.waiting[-1] == "(4, 10) from cuda:0 to cpu"


def test_codes_of_a_stereo_model_are_complete_too(stereo: Checkpoint) -> None:
    with fake_gpu():
        checkpoint = moved_checkpoint(stereo)
        prompt = sound(2, 24 * 10, stereo.sample_rate)
        assert encode_audio_prompt(checkpoint, prompt).device.type == "cpu"


async def test_one_prompt_is_encoded_at_a_time(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 0.8 GiB of a GPU's memory."""
    threads: list[str] = []
    busy = threading.Lock()

    def encode(*arguments: Any) -> Tensor:
        assert busy.acquire(blocking=False), "two at a time"
        threads.append(threading.current_thread().name)
        codes = encode_audio_prompt(*arguments)
        busy.release()
        return codes

    monkeypatch.setattr(audio_prompter, "encode_audio_prompt", encode)
    prompter = AudioPrompter(nano, lambda _: None)
    prompts = [sound(1, 6400 * (n + 1), nano.sample_rate) for n in range(4)]
    codes = await asyncio.gather(*map(prompter.encode, prompts))
    prompter.shutdown()
    assert [part.shape[1] for part in codes] == [10, 20, 30, 40]
    assert threads == ["musicgen-audio-prompt_0"] * 4
