"""Conditioning by a prefix of embeddings, alone and beside a model that cross-attends.

The reference recomputes all positions in every step, without a cache: embed the prefix and the
codes, attend causally, guide by the branches, draw. It counts a sequence's three numbers apart:
the position is the index in the whole sequence, the column is the step within the window, and the
noise step is `first_frame + step`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.bucket import bucket
from serve_app.engine.delay import delay, undelay
from serve_app.engine.engine import Engine
from serve_app.engine.memory import slot_bytes
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.engine.sampler import exponential_noise, token_keys
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.models.encodec.model import Encodec
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
from tests.architectures import MONO, randomize
from tests.oracles import PROMPT, load_pair

K, V = 4, 64
CFG_COEF = 3.0
LEADING = 70  # positions before the text: more than a bucket of the cache
MAX_TEXT = 30
GREEDY = SamplingParams(temperature=0.0, cfg_coef=CFG_COEF)
SAMPLED = SamplingParams(temperature=1.2, top_k=0, cfg_coef=CFG_COEF, seed=2**40 + 5)
NOTHING = torch.zeros(K, 0, dtype=torch.int64)


class PrefixMusicGen(MusicGen):
    """A double of a melody model: constant embeddings in front of the text, in every branch."""

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__(config)
        self.further = torch.nn.Parameter(torch.empty(LEADING, config.transformer.hidden_size))

    def conditions(self, text: Tensor | None, leading: Tensor | None = None) -> Conditions:
        assert leading is None
        branches = self.config.conditioning.branches
        return super().conditions(text, self.further.expand(branches, -1, -1))


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
    torch.nn.init.normal_(model.further, std=2.0)
    torch.nn.init.normal_(model.embedding.weight, std=1.0)
    return model.eval().requires_grad_(False)


def reference_logits(model: MusicGen, prefix: Tensor, inputs: Tensor, cfg_coef: float) -> Tensor:
    """Guided logits [K, V] of the step after inputs [K, steps], by passes over both branches."""
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
    guided: Tensor = unconditional + cfg_coef * (conditional - unconditional)
    return guided


def reference_draw(logits: Tensor, sampling: SamplingParams, noise_step: int) -> Tensor:
    """Codes [K]: the likeliest at temperature 0, else argmax(p / noise) over all codes."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    keys = token_keys(K, V)
    noise = exponential_noise(torch.tensor([sampling.seed]), torch.tensor([noise_step]), keys)[0]
    return ((logits / sampling.temperature).softmax(-1) / noise).argmax(-1)


@torch.inference_mode()
def reference(
    model: MusicGen,
    text: Tensor | None,
    given: Tensor,
    num_frames: int,
    sampling: SamplingParams = GREEDY,
    first_frame: int = 0,
) -> Tensor:
    """Codes [K, num_frames] of a window that begins with the codes `given` [K, n].

    first_frame: the window's first frame within the track.
    """
    config = model.config
    prefix = model.conditions(text).prefix
    assert prefix is not None
    frames = torch.full((K, num_frames), -1)
    frames[:, : given.shape[1]] = given
    tokens = delay(frames, config.delays, config.special_token)
    inputs = torch.full((K, 1), config.special_token)
    for step in range(tokens.shape[1]):
        if (tokens[:, step] == -1).any():
            logits = reference_logits(model, prefix, inputs, sampling.cfg_coef)
            drawn = reference_draw(logits, sampling, first_frame + step)
            tokens[:, step] = torch.where(tokens[:, step] == -1, drawn, tokens[:, step])
        inputs = torch.cat([inputs, tokens[:, step : step + 1]], dim=1)
    return undelay(tokens, config.delays, 0, num_frames)


def new_runner(model: MusicGen, slots: int = 3, frames: int = 40) -> ModelRunner:
    return ModelRunner(model, torch_backend(model), slots, frames, MAX_TEXT)


def start(runner: ModelRunner, slot: int, text: Tensor, given: Tensor, frames: int) -> int:
    """Start a window; return the filled positions of the cache."""
    with torch.inference_mode():
        conditions = runner.model.conditions(text)
    runner.start(slot, conditions, GREEDY)
    steps = runner.open_window(slot, given, frames)
    runner.prefill(slot)
    return conditions.prefix_positions + steps


@pytest.mark.parametrize("branches", [0, 3])
def test_other_numbers_of_branches_are_refused(branches: int) -> None:
    with pytest.raises(ValueError, match=rf"^{branches} guidance branches.*Use 2 .* or 1 "):
        ConditioningSpec(branches=branches)


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


def request(
    prompt: str, num_frames: int, frame_rate: float, sampling: SamplingParams
) -> GenerationRequest:
    return GenerationRequest(
        request_id="test",
        model="nano",
        prompt=prompt,
        duration_s=num_frames / frame_rate,
        sampling=sampling,
    )


def served_codes(
    served: list[tuple[Checkpoint, list[GenerationRequest]]], monkeypatch: pytest.MonkeyPatch
) -> list[dict[int, Tensor]]:
    """Serve all requests at the same time, by one engine for each checkpoint.

    Returns each checkpoint's codes by their number of frames.
    """
    seen: dict[tuple[Encodec, StreamingDecoder], list[Tensor]] = defaultdict(list)
    decode: Callable[..., object] = StreamingDecoder.decode

    def record(self: StreamingDecoder, codes: Tensor, final: bool) -> object:
        seen[self._codec, self].append(codes.clone())
        return decode(self, codes, final)

    monkeypatch.setattr(StreamingDecoder, "decode", record)
    config = EngineConfig(
        max_slots=2,
        num_threads=1,
        max_prompt_tokens=MAX_TEXT,
        max_duration_s=2.0,
        chunk_s=0.3,
    )
    engines = [Engine(checkpoint, config) for checkpoint, _ in served]

    async def run(engine: Engine, one: GenerationRequest) -> None:
        async for _ in engine.generate(one):
            pass

    async def run_all() -> None:
        pairs = zip(engines, served, strict=True)
        await asyncio.gather(*(run(e, one) for e, (_, requests) in pairs for one in requests))

    try:
        asyncio.run(run_all())
    finally:
        for engine in engines:
            engine.shutdown()
    tracks = [(codec, torch.cat(parts, dim=-1)) for (codec, _), parts in seen.items()]
    return [
        {codes.shape[1]: codes for codec, codes in tracks if codec is checkpoint.codec}
        for checkpoint, _ in served
    ]


def encoded(checkpoint: Checkpoint, prompt: str) -> Tensor:
    with torch.inference_mode():
        hidden: Tensor = checkpoint.text_encoder(checkpoint.text_encoder.tokenize(prompt))
    return hidden


def long_reference(model: MusicGen, text: Tensor, sampling: SamplingParams) -> Tensor:
    """Codes [K, 70] of a track in windows of 40 frames; 0.6 of the window is new in each."""
    codes = reference(model, text, NOTHING, 40, sampling)
    for first_frame in (24, 48):
        frames = min(40, 70 - first_frame)
        window = reference(model, text, codes[:, first_frame:], frames, sampling, first_frame)
        codes = torch.cat([codes[:, :first_frame], window], dim=1)
    return codes


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_engine_slides_its_window(
    model: PrefixMusicGen,
    nano: Checkpoint,
    sampling: SamplingParams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two tracks, of which one is longer than the window; each window has the same prefix."""
    checkpoint = replace(nano, musicgen=model)
    requests = [
        request("calm piano", 70, nano.frame_rate, sampling),
        request("loud techno drums", 25, nano.frame_rate, sampling),
    ]
    [codes] = served_codes([(checkpoint, requests)], monkeypatch)
    assert torch.equal(codes[70], long_reference(model, encoded(nano, "calm piano"), sampling))
    short = reference(model, encoded(nano, "loud techno drums"), NOTHING, 25, sampling)
    assert torch.equal(codes[25], short)


def test_it_generates_beside_a_model_that_cross_attends(
    model: PrefixMusicGen,
    nano: Checkpoint,
    tmp_path: Path,
    hub_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both engines serve at the same time; each track equals its lone oracle's."""
    other, oracle = load_pair("transformers", MONO, tmp_path, hub_cache)
    prefixed = replace(nano, musicgen=model)
    by_prefix = [
        request("calm piano", 70, nano.frame_rate, SAMPLED),
        request("loud techno drums", 25, nano.frame_rate, GREEDY),
    ]
    by_cross_attention = [
        request(PROMPT, 120, other.frame_rate, GREEDY),
        request("bells", 45, other.frame_rate, GREEDY),
    ]
    ours, theirs = served_codes([(prefixed, by_prefix), (other, by_cross_attention)], monkeypatch)
    assert torch.equal(ours[70], long_reference(model, encoded(nano, "calm piano"), SAMPLED))
    short = reference(model, encoded(nano, "loud techno drums"), NOTHING, 25)
    assert torch.equal(ours[25], short)
    assert torch.equal(theirs[120], oracle.generate(PROMPT, 120))
    assert torch.equal(theirs[45], oracle.generate("bells", 45))


def test_a_model_with_one_branch_decodes_without_guidance(
    tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slots have one row, and cfg_coef has no effect on it."""
    checkpoint, oracle = load_pair("transformers", MONO, tmp_path, hub_cache)
    config = replace(checkpoint.musicgen.config, conditioning=ConditioningSpec(branches=1))
    one_branch = MusicGen(config).eval().requires_grad_(False)
    one_branch.load_state_dict(checkpoint.musicgen.state_dict())
    plain = SamplingParams(temperature=0.0, cfg_coef=1.0)
    requests = [
        request(PROMPT, 60, checkpoint.frame_rate, plain),
        request(PROMPT, 50, checkpoint.frame_rate, GREEDY),
    ]
    unguided = replace(checkpoint, musicgen=one_branch)
    [codes] = served_codes([(unguided, requests)], monkeypatch)
    assert torch.equal(codes[60], oracle.generate(PROMPT, 60, cfg_coef=1.0))
    assert torch.equal(codes[50], oracle.generate(PROMPT, 50, cfg_coef=1.0))
