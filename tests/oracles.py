"""Oracles: AudioCraft and `transformers` on the same checkpoints as this package."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.types import Audio
from tests.architectures import Architecture, t5_width, write_audiocraft, write_huggingface
from tests.untraced import untraced

PROMPT = "a calm piano melody, 70 bpm"


class AudioCraftOracle:
    """AudioCraft's model, loaded by its own loaders."""

    @untraced
    def __init__(self, architecture: Architecture, folder: Path) -> None:
        from audiocraft.models.builders import get_wrapped_compression_model
        from audiocraft.models.loaders import load_compression_model, load_lm_model

        with t5_width(architecture):
            self.lm = load_lm_model(folder)
        self.codec = get_wrapped_compression_model(load_compression_model(folder), self.lm.cfg)
        self.stereo = architecture.stereo

    @untraced
    def generate(self, prompt: str, num_frames: int, cfg_coef: float = 3.0) -> Tensor:
        """Greedy codes [K, num_frames]."""
        codes = self.lm.generate(
            conditions=[_condition(prompt)],
            max_gen_len=num_frames,
            use_sampling=False,
            cfg_coef=cfg_coef,
        )
        return codes[0]  # type: ignore[no-any-return]

    @untraced
    def continue_audio(
        self, prompt: str | None, audio_prompt: Audio | None, duration_s: float
    ) -> Tensor:
        """Greedy codes [K, frames] of a track that begins with the audio prompt."""
        from audiocraft.models import MusicGen

        codec = self.codec.model if self.stereo else self.codec  # MusicGen wraps it again
        musicgen = MusicGen("oracle", codec, self.lm, max_duration=30)
        musicgen.set_generation_params(use_sampling=False, duration=duration_s, extend_stride=18)
        if audio_prompt is None:
            return musicgen.generate([prompt], return_tokens=True)[1][0]  # type: ignore[no-any-return]
        audio = torch.from_numpy(audio_prompt.samples)
        _, codes = musicgen.generate_continuation(
            audio, audio_prompt.sample_rate, [prompt], return_tokens=True
        )
        return codes[0]  # type: ignore[no-any-return]

    @untraced
    def logits(self, prompt: str, codes: Tensor) -> Tensor:
        """Logits [2, K, steps, V] (conditional, unconditional) along the delayed sequence of codes [K, T]."""
        from audiocraft.modules.conditioners import ClassifierFreeGuidanceDropout

        conditions = [_condition(prompt)]
        conditions = conditions + ClassifierFreeGuidanceDropout(p=1.0)(conditions)
        tensors = self.lm.condition_provider(self.lm.condition_provider.tokenize(conditions))
        pattern = self.lm.pattern_provider.get_pattern(codes.shape[-1])
        sequence, _, _ = pattern.build_pattern_sequence(codes[None], self.lm.special_token_id)
        with torch.no_grad():
            return self.lm(sequence.expand(2, -1, -1), conditions=[], condition_tensors=tensors)  # type: ignore[no-any-return]

    @untraced
    def decode(self, codes: Tensor) -> Tensor:
        """codes [K, T] -> audio [channels, samples]"""
        with torch.no_grad():
            return self.codec.decode(codes[None], None)[0]  # type: ignore[no-any-return]


class TransformersOracle:
    """The model of `transformers`, loaded by its own loaders."""

    @untraced
    def __init__(self, architecture: Architecture, folder: Path) -> None:
        from transformers import AutoTokenizer, MusicgenForConditionalGeneration

        self.model: Any = MusicgenForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.stereo = architecture.stereo
        self.delays = architecture.delays

    @untraced
    def generate(self, prompt: str, num_frames: int, cfg_coef: float = 3.0) -> Tensor:
        """Greedy codes [K, num_frames]."""
        codes: list[Tensor] = []
        decode = self.model.audio_encoder.decode

        def record(codes_of_channel: Tensor, **options: Any) -> Any:
            codes.append(codes_of_channel[0, 0])
            return decode(codes_of_channel, **options)

        self.model.audio_encoder.decode = record
        self.audio = self.model.generate(
            **self.tokenizer(prompt, return_tensors="pt"),
            max_new_tokens=num_frames + max(self.delays),
            guidance_scale=cfg_coef,
            do_sample=False,
        )[0]
        self.model.audio_encoder.decode = decode
        return torch.stack(codes, dim=1).flatten(0, 1) if self.stereo else codes[0]

    @untraced
    def logits(self, prompt: str, codes: Tensor) -> Tensor:
        """Logits [2, K, steps, V] (conditional, unconditional) along the delayed sequence of codes [K, T]."""
        special = self.model.config.decoder.pad_token_id
        num_codebooks, frames = codes.shape
        sequence = torch.full((num_codebooks, frames + max(self.delays) + 1), special)
        for k, delay in enumerate(self.delays):
            sequence[k, delay + 1 : delay + 1 + frames] = codes[k]
        tokens = self.tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            hidden = self.model.text_encoder(**tokens).last_hidden_state
            mask = tokens["attention_mask"]
            logits = self.model(
                encoder_outputs=(torch.cat([hidden, torch.zeros_like(hidden)]),),
                attention_mask=torch.cat([mask, torch.zeros_like(mask)]),
                decoder_input_ids=sequence.repeat(2, 1),
            ).logits
        return logits.view(2, num_codebooks, *logits.shape[1:])  # type: ignore[no-any-return]

    @untraced
    def decode(self, codes: Tensor) -> Tensor:
        """codes [K, T] -> audio [channels, samples]"""
        channels = [codes[0::2], codes[1::2]] if self.stereo else [codes]
        with torch.no_grad():
            audio = [
                self.model.audio_encoder.decode(c[None, None], [None]).audio_values[0]
                for c in channels
            ]
        return torch.cat(audio)


Oracle = AudioCraftOracle | TransformersOracle


def load_pair(
    kind: str, architecture: Architecture, folder: Path, hub_cache: Path
) -> tuple[Checkpoint, Oracle]:
    """Write random weights in the oracle's format; load them by this package and by the oracle."""
    if kind == "audiocraft":
        write_audiocraft(architecture, folder, hub_cache)
        return load_checkpoint(str(folder)), AudioCraftOracle(architecture, folder)
    write_huggingface(architecture, folder)
    return load_checkpoint(str(folder)), TransformersOracle(architecture, folder)


def _condition(prompt: str) -> Any:
    from audiocraft.modules.conditioners import ConditioningAttributes

    return ConditioningAttributes(text={"description": prompt})
