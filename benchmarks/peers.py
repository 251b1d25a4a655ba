"""Decode steps of other MusicGen implementations, with random weights."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

TEXT_TOKENS = 16
TEXT_SIZE = 768
Run = Callable[[], list[float]]  # -> seconds of each step


@dataclass(frozen=True)
class Scale:
    hidden_size: int
    num_layers: int
    num_heads: int


SCALES = {
    "tiny": Scale(64, 2, 4),
    "small": Scale(1024, 24, 16),
    "medium": Scale(1536, 48, 24),
    "large": Scale(2048, 48, 32),
}


def audiocraft_model(scale: Scale, text: Tensor) -> Any:
    """Build AudioCraft's language model. text: the output of T5, [1, tokens, TEXT_SIZE]"""
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider

    conditioners = {"description": _encoded_text(scale, text)}
    fuser = ConditionFuser(
        {"cross": ["description"], "prepend": [], "sum": [], "input_interpolate": []}
    )
    return LMModel(
        DelayedPatternProvider(4), ConditioningProvider(conditioners), fuser,
        n_q=4, card=2048, dim=scale.hidden_size, num_heads=scale.num_heads,
        num_layers=scale.num_layers, hidden_scale=4, norm_first=True, bias_proj=False,
        bias_ff=False, bias_attn=False, causal=True, cross_attention=True, memory_efficient=True,
        activation="gelu", dropout=0.0, weight_init="gaussian", depthwise_init="current",
    ).eval()  # fmt: skip


def _encoded_text(scale: Scale, text: Tensor) -> Any:
    """Build a text conditioner of AudioCraft that returns `text` for every prompt."""
    from audiocraft.modules.conditioners import BaseConditioner, TextConditioner

    class EncodedText(TextConditioner):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseConditioner.__init__(self, TEXT_SIZE, scale.hidden_size)

        def tokenize(self, x: list[str | None]) -> dict[str, Tensor]:
            mask = torch.tensor([[float(bool(prompt))] for prompt in x], device=text.device)
            return {"mask": mask.expand(-1, text.shape[1])}

        def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            mask = inputs["mask"]
            return self.output_proj(text.expand(len(mask), -1, -1)) * mask[..., None], mask

    return EncodedText()


def audiocraft_run(model: Any, steps: int, batch: int) -> Run:
    """Prepare AudioCraft's generation with guidance."""
    from audiocraft.modules.conditioners import ConditioningAttributes

    conditions = [ConditioningAttributes(text={"description": "music"}) for _ in range(batch)]

    def run() -> list[float]:
        marks = [perf_counter()]
        model.generate(
            conditions=conditions,
            max_gen_len=steps - max(model.pattern_provider.delays),
            callback=lambda *_: marks.append(perf_counter()),
        )
        return [after - before for before, after in itertools.pairwise(marks)]

    return run


def transformers_run(scale: Scale, device: torch.device, steps: int, batch: int) -> Run:
    """Prepare transformers' generation with guidance. Text encoder and codec are not counted."""
    from transformers import MusicgenForConditionalGeneration

    config = _transformers_config(scale)
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    model = MusicgenForConditionalGeneration(config).eval().to(device, dtype)
    tokens = torch.ones(batch, TEXT_TOKENS, dtype=torch.int64, device=device)
    padding = config.decoder.pad_token_id

    def run() -> list[float]:
        marks: list[float] = []

        def mark(_: Tensor, logits: Tensor) -> Tensor:
            marks.append(perf_counter())
            return logits

        model.generate(
            tokens, do_sample=True, top_k=250, guidance_scale=3.0, max_new_tokens=steps + 1,
            logits_processor=[mark], pad_token_id=padding, decoder_start_token_id=padding,
        )  # fmt: skip
        return [after - before for before, after in itertools.pairwise(marks)]

    return run


def _transformers_config(scale: Scale) -> Any:
    """Configure MusicGen at `scale`, with the smallest text encoder and codec."""
    from transformers import EncodecConfig, MusicgenConfig, T5Config
    from transformers.models.musicgen import MusicgenDecoderConfig

    text = T5Config(vocab_size=8, d_model=TEXT_SIZE, d_ff=8, num_layers=1, num_heads=1)
    codec = EncodecConfig(
        target_bandwidths=[2.2], sampling_rate=32_000, codebook_size=2048, codebook_dim=8,
        hidden_size=8, num_filters=4, num_lstm_layers=1, upsampling_ratios=[8, 5, 4, 4],
        use_causal_conv=False, normalize=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        hidden_size=scale.hidden_size, num_hidden_layers=scale.num_layers,
        num_attention_heads=scale.num_heads, ffn_dim=4 * scale.hidden_size,
    )  # fmt: skip
    return MusicgenConfig(
        text_encoder=text.to_dict() | {"model_type": "t5"},
        audio_encoder=codec.to_dict() | {"model_type": "encodec"},
        decoder=decoder.to_dict(),
    )
