"""Oracles: AudioCraft and `transformers` on the same checkpoints as this package."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.types import Audio
from tests.architectures import (
    Architecture,
    melody_extractor,
    t5_width,
    write_audiocraft,
    write_huggingface,
)
from tests.separation import separation
from tests.untraced import untraced

PROMPT = "a calm piano melody, 70 bpm"


class AudioCraftOracle:
    """AudioCraft's model, loaded by its own loaders."""

    @untraced
    def __init__(self, architecture: Architecture, folder: Path) -> None:
        from audiocraft.models.builders import get_wrapped_compression_model
        from audiocraft.models.loaders import load_compression_model, load_lm_model

        with t5_width(architecture), separation(architecture):
            self.lm = load_lm_model(folder)
        self.architecture = architecture
        if architecture.melody:  # as MusicGen.get_pretrained does
            conditioner = self.lm.condition_provider.conditioners["self_wav"]
            conditioner.match_len_on_eval = True
            conditioner._use_masking = False
        self.codec = get_wrapped_compression_model(load_compression_model(folder), self.lm.cfg)
        self.stereo = architecture.stereo

    @untraced
    def generate(
        self,
        prompt: str | None,
        num_frames: int,
        cfg_coef: float = 3.0,
        melody: Tensor | None = None,
    ) -> Tensor:
        """Greedy codes [K, num_frames]; melody [n]: at the model's sample rate."""
        with separation(self.architecture):
            codes = self.lm.generate(
                conditions=[self._condition(prompt, melody)],
                max_gen_len=num_frames,
                use_sampling=False,
                cfg_coef=cfg_coef,
            )
        return codes[0]  # type: ignore[no-any-return]

    @untraced
    def continue_audio(
        self,
        prompt: str | None,
        audio_prompt: Audio | None,
        duration_s: float,
        melody: Tensor | None = None,
    ) -> Tensor:
        """Greedy codes [K, frames] of a track that begins with the audio prompt.

        melody [n]: at the model's sample rate.
        """
        from audiocraft.models import MusicGen

        codec = self.codec.model if self.stereo else self.codec  # MusicGen wraps it again
        musicgen = MusicGen("oracle", codec, self.lm, max_duration=30)
        musicgen.set_generation_params(use_sampling=False, duration=duration_s, extend_stride=18)
        audio = None
        if audio_prompt is not None:
            audio = torch.from_numpy(audio_prompt.samples)[None]
        melodies = [melody[None]] if melody is not None else None
        with separation(self.architecture), torch.no_grad():
            conditions = musicgen._prepare_tokens_and_attributes([prompt], audio, melodies)
            return musicgen._generate_tokens(*conditions)[0]  # type: ignore[no-any-return]

    @untraced
    def logits(self, prompt: str | None, codes: Tensor, melody: Tensor | None = None) -> Tensor:
        """Logits [2, K, steps, V] (conditional, unconditional) along the delayed sequence of codes [K, T]."""
        from audiocraft.modules.conditioners import ClassifierFreeGuidanceDropout

        conditions = [self._condition(prompt, melody)]
        conditions = conditions + ClassifierFreeGuidanceDropout(p=1.0)(conditions)
        provider = self.lm.condition_provider
        with separation(self.architecture), torch.no_grad():
            tensors = provider(provider.tokenize(conditions))
        pattern = self.lm.pattern_provider.get_pattern(codes.shape[-1])
        sequence, _, _ = pattern.build_pattern_sequence(codes[None], self.lm.special_token_id)
        with torch.no_grad():
            return self.lm(sequence.expand(2, -1, -1), conditions=[], condition_tensors=tensors)  # type: ignore[no-any-return]

    @untraced
    def decode(self, codes: Tensor) -> Tensor:
        """codes [K, T] -> audio [channels, samples]"""
        with torch.no_grad():
            return self.codec.decode(codes[None], None)[0]  # type: ignore[no-any-return]

    def _condition(self, prompt: str | None, melody: Tensor | None) -> Any:
        from audiocraft.modules.conditioners import ConditioningAttributes, WavCondition

        condition = ConditioningAttributes(text={"description": prompt})
        if self.architecture.melody:
            audio = torch.zeros(1, 1, 1) if melody is None else melody[None, None]
            length = torch.tensor([0 if melody is None else len(melody)])
            rates = [self.architecture.sample_rate]
            condition.wav["self_wav"] = WavCondition(audio, length, sample_rate=rates, path=[None])
        return condition


class TransformersOracle:
    """The model of `transformers`, loaded by its own loaders."""

    @untraced
    def __init__(self, architecture: Architecture, folder: Path) -> None:
        from transformers import (
            AutoTokenizer,
            MusicgenForConditionalGeneration,
            MusicgenMelodyForConditionalGeneration,
        )

        kind: Any = MusicgenForConditionalGeneration
        if architecture.melody:
            kind = MusicgenMelodyForConditionalGeneration
        self.model: Any = kind.from_pretrained(folder, dtype=torch.float32).eval()
        self.architecture = architecture
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.stereo = architecture.stereo
        self.delays = architecture.delays

    @untraced
    def generate(
        self, prompt: str, num_frames: int, cfg_coef: float = 3.0, melody: Tensor | None = None
    ) -> Tensor:
        """Greedy codes [K, num_frames]; melody [n]: at the model's sample rate."""
        codes: list[Tensor] = []
        decode = self.model.audio_encoder.decode

        def record(codes_of_channel: Tensor, **options: Any) -> Any:
            codes.append(codes_of_channel[0, 0])
            return decode(codes_of_channel, **options)

        self.model.audio_encoder.decode = record
        self.audio = self.model.generate(
            **self.tokenizer(prompt, return_tensors="pt"),
            **self._melody_inputs(melody),
            max_new_tokens=num_frames + max(self.delays),
            guidance_scale=cfg_coef,
            do_sample=False,
        )[0]
        self.model.audio_encoder.decode = decode
        return torch.stack(codes, dim=1).flatten(0, 1) if self.stereo else codes[0]

    def _melody_inputs(self, melody: Tensor | None) -> Any:
        if melody is None:
            return {}
        extractor = melody_extractor(self.architecture)
        rate = self.architecture.sample_rate
        return extractor(melody.numpy(), sampling_rate=rate, return_tensors="pt")

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
