"""A model conditioned by a prefix of embeddings runs beside one that cross-attends, through the same engine.

The reference recomputes all positions in every step, without a cache: embed the prefix and the codes, attend causally,
guide by the branches, take the likeliest code.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config import EngineConfig
from serve_app.engine.delay import delay, undelay
from serve_app.engine.engine import Engine
from serve_app.engine.memory import slot_bytes
from serve_app.engine.model_runner import BatchShape, ModelRunner, bucket
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.models.musicgen import execution
from serve_app.models.musicgen.conditioning import ConditioningSpec, Conditions
from serve_app.models.musicgen.execution import prepare_model, torch_backend
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import (
    DecoderLayer,
    TransformerConfig,
    sinusoidal_positions,
)
from serve_app.types import GenerationRequest, SamplingParams
from tests.architectures import randomize

K, V = 4, 64
CFG_COEF = 3.0
LEADING = 70  # positions before the text: more than a bucket of the cache
MAX_TEXT = 30
GREEDY = SamplingParams(temperature=0.0, cfg_coef=CFG_COEF)
NOTHING = torch.zeros(K, 0, dtype=torch.int64)


class PrefixMusicGen(MusicGen):
    """A double: constant embeddings, then the text, in front of the codes. The unconditional branch has zeros there."""

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__(config)
        self.leading = torch.nn.Parameter(torch.empty(LEADING, config.transformer.hidden_size))

    def conditions(self, text: Tensor | None) -> Conditions:
        tail = self.embedding.weight.new_zeros(1, self.config.transformer.hidden_size)
        if text is not None:
            tail = self.text_proj(text)
        conditional = torch.cat([self.leading, tail])
        unconditional = torch.cat([self.leading, torch.zeros_like(tail)])
        return Conditions(prefix=torch.stack([conditional, unconditional]))


@pytest.fixture(scope="module")
def model(nano: Checkpoint) -> PrefixMusicGen:
    torch.manual_seed(5)
    config = MusicGenConfig(
        TransformerConfig(hidden_size=32, num_layers=2, num_heads=4, ffn_dim=64),
        K,
        V,
        (0, 1, 2, 3),
        audio_channels=1,
        text_hidden_size=nano.text_encoder.hidden_size,
        max_duration_s=0.8,
        conditioning=ConditioningSpec(text="prefix", prefix_positions=LEADING),
    )
    model = PrefixMusicGen(config)
    randomize(model)
    torch.nn.init.normal_(model.leading, std=2.0)
    torch.nn.init.normal_(model.embedding.weight, std=1.0)
    return model.eval().requires_grad_(False)


def reference_logits(model: MusicGen, prefix: Tensor, inputs: Tensor) -> Tensor:
    """Guided logits [K, V] of the step after inputs [K, steps], by whole passes over both branches."""
    heads = model.config.transformer.num_heads
    codes = model.embed(inputs.T + model.embedding_offsets())[:, 0]
    x = torch.cat([prefix, codes.expand(len(prefix), -1, -1)], dim=1)
    x = x + sinusoidal_positions(x.shape[1], x.shape[2], x.device)
    for module in model.layers:
        layer = cast(DecoderLayer, module)
        qkv = layer.self_attn.qkv_proj(layer.self_attn_norm(x)).unflatten(-1, (3, heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + layer.self_attn.out_proj(attended.transpose(1, 2).flatten(2))
        x = x + layer.fc2(F.gelu(layer.fc1(layer.ffn_norm(x))))
    conditional, unconditional = model.logits(x[:, -1])
    guided: Tensor = unconditional + CFG_COEF * (conditional - unconditional)
    return guided


@torch.inference_mode()
def reference(model: MusicGen, text: Tensor | None, given: Tensor, num_frames: int) -> Tensor:
    """Greedy codes [K, num_frames] of a window that begins with the codes `given` [K, n]."""
    config = model.config
    prefix = model.conditions(text).prefix
    assert prefix is not None
    frames = torch.full((K, num_frames), -1)
    frames[:, : given.shape[1]] = given
    tokens = delay(frames, config.delays, config.special_token)
    inputs = torch.full((K, 1), config.special_token)
    for step in range(tokens.shape[1]):
        if (tokens[:, step] == -1).any():
            drawn = reference_logits(model, prefix, inputs).argmax(-1)
            tokens[:, step] = torch.where(tokens[:, step] == -1, drawn, tokens[:, step])
        inputs = torch.cat([inputs, tokens[:, step : step + 1]], dim=1)
    return undelay(tokens, config.delays, 0, num_frames)


def new_runner(model: MusicGen, slots: int = 3, frames: int = 40) -> ModelRunner:
    return ModelRunner(model, torch_backend(model), slots, frames, MAX_TEXT)


def start(runner: ModelRunner, slot: int, text: Tensor, given: Tensor, frames: int) -> int:
    """Start a window; returns the filled positions of the cache."""
    with torch.inference_mode():
        conditions = runner.model.conditions(text)
    runner.start(slot, conditions, GREEDY)
    return conditions.prefix_positions + runner.open_window(slot, given, frames)


def test_sequences_that_join_midway_equal_the_reference(model: PrefixMusicGen) -> None:
    """Prefixes of different lengths; the second begins with codes."""
    texts = [torch.randn(n, model.config.text_hidden_size) for n in (3, 17, 30)]
    given = [NOTHING, torch.randint(0, V, (K, 9)), NOTHING]
    expected = [reference(model, t, g, 30) for t, g in zip(texts, given, strict=True)]
    runner = new_runner(model)
    positions: list[int] = []
    for done in range(33 + 10):
        if done in (0, 5, 10):
            slot = len(positions)
            positions.append(start(runner, slot, texts[slot], given[slot], 30))
        for slot, codes in enumerate(expected[: len(positions)]):
            if positions[slot] - LEADING - len(texts[slot]) == 33:
                assert torch.equal(runner.codes(slot, 0, 30), codes)
                runner.stop(slot)
                positions[slot] = -1000
        runner.step(BatchShape(len(positions), bucket(max(positions) + 1), 0))
        positions = [position + 1 for position in positions]
    assert torch.equal(runner.codes(2, 0, 30), expected[2])


def test_the_conditions_matter(model: PrefixMusicGen) -> None:
    one, other = (torch.randn(4, model.config.text_hidden_size) for _ in range(2))
    found = [reference(model, text, NOTHING, 12) for text in (one, other, None)]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert len(set(found[0].flatten().tolist())) > 8, (
        "the weights should not collapse to a few codes"
    )


def test_conditions_of_another_kind_are_refused(model: PrefixMusicGen, nano: Checkpoint) -> None:
    with pytest.raises(ValueError, match="takes its text by prefix"):
        new_runner(model).start(0, nano.musicgen.conditions(None), GREEDY)
    with pytest.raises(ValueError, match="takes its text by cross_attention"):
        new_runner(nano.musicgen, frames=8).start(0, model.conditions(None), GREEDY)


def test_a_slot_has_positions_for_the_longest_prefix_and_none_for_texts(
    model: PrefixMusicGen,
) -> None:
    runner = new_runner(model)
    assert runner.max_length == bucket(LEADING + MAX_TEXT + 40 + 3)
    assert runner.max_text_tokens == 0
    assert slot_bytes(model, 40, MAX_TEXT) == runner.kv_cache_bytes / runner.max_slots


def test_a_slot_forgets_its_last_prefix(model: PrefixMusicGen) -> None:
    short, long = (torch.randn(n, model.config.text_hidden_size) for n in (2, 25))
    runner = new_runner(model, slots=1)
    for text in (long, short):
        positions = start(runner, 0, text, NOTHING, 12)
        for step in range(15):
            runner.step(BatchShape(1, bucket(positions + step + 1), 0))
        assert torch.equal(runner.codes(0, 0, 12), reference(model, text, NOTHING, 12))
        runner.stop(0)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_cpu_backend_runs_it(
    model: PrefixMusicGen, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32 exactly; in 8 bits it must run, and finitely."""
    monkeypatch.setattr(execution, "CACHED_WEIGHTS", 0)
    narrow = PrefixMusicGen(model.config).requires_grad_(False)
    narrow.load_state_dict(model.state_dict())
    runner = ModelRunner(narrow, prepare_model(narrow, precision), 1, 12, MAX_TEXT)
    text = torch.randn(5, model.config.text_hidden_size)
    positions = start(runner, 0, text, NOTHING, 12)
    for step in range(15):
        runner.step(BatchShape(1, bucket(positions + step + 1), 0))
    assert runner.is_finite(0)
    if precision == "fp32":
        assert torch.equal(runner.codes(0, 0, 12), reference(model, text, NOTHING, 12))


def engine_codes(
    checkpoint: Checkpoint, requests: list[GenerationRequest], monkeypatch: pytest.MonkeyPatch
) -> list[Tensor]:
    """The codes of each request, decoded together by an engine."""
    seen: dict[int, list[Tensor]] = {}
    decode: Callable[..., object] = StreamingDecoder.decode

    def record(self: StreamingDecoder, codes: Tensor, final: bool) -> object:
        seen.setdefault(id(self), []).append(codes.clone())
        return decode(self, codes, final)

    monkeypatch.setattr(StreamingDecoder, "decode", record)
    config = EngineConfig(max_slots=2, num_threads=1, max_prompt_tokens=MAX_TEXT, chunk_s=0.3)
    engine = Engine(checkpoint, config)

    async def run(request: GenerationRequest) -> None:
        async for _ in engine.generate(request):
            pass

    async def run_all() -> None:
        await asyncio.gather(*(run(request) for request in requests))

    try:
        asyncio.run(run_all())
    finally:
        engine.shutdown()
    return [torch.cat(parts, dim=-1) for parts in seen.values()]


def test_the_engine_slides_its_window(
    model: PrefixMusicGen, nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tracks, of which one is longer than the window of 40 frames; each window has the same prefix."""
    checkpoint = replace(nano, musicgen=model)
    request = GenerationRequest(
        request_id="test", model="nano", prompt="calm piano", duration_s=1.4, sampling=GREEDY
    )
    short = request.model_copy(update={"prompt": "loud techno drums", "duration_s": 0.5})
    codes = engine_codes(checkpoint, [request, short], monkeypatch)

    def text(prompt: str) -> Tensor:
        with torch.inference_mode():
            hidden: Tensor = nano.text_encoder(nano.text_encoder.tokenize(prompt))
        return hidden

    expected = reference(model, text("calm piano"), NOTHING, 40)
    for _ in range(2):  # 0.6 of the window at a time
        window = reference(
            model, text("calm piano"), expected[:, -16:], min(40, 16 + 70 - expected.shape[1])
        )
        expected = torch.cat([expected, window[:, 16:]], dim=1)
    by_length = {part.shape[1]: part for part in codes}
    assert torch.equal(by_length[70], expected)
    assert torch.equal(by_length[25], reference(model, text("loud techno drums"), NOTHING, 25))
