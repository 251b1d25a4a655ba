"""The CPU's fused step computes the same as the model's layers in PyTorch, each slot by itself."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from serve_app.engine.cross_attention_slots import CrossAttentionSlots
from serve_app.kernels.cpu.step import decoder_step
from serve_app.models.musicgen.conditioning import ConditioningSpec, CrossAttentionKV
from serve_app.models.musicgen.cpu_backend import CpuBackend
from serve_app.models.musicgen.cpu_layers import MANY_ROWS
from serve_app.models.musicgen.execution import torch_backend
from serve_app.models.musicgen.fused_step import StepInputs, Texts
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import (
    CrossAttentionInputs,
    TransformerConfig,
    causal_masks,
    sinusoidal_positions,
)

LENGTH, TOKENS, STEPS = 12, 5, 3
ERRORS = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 2e-2, "int8": 0.05}
CPU = torch.device("cpu")


def new_model(biases: bool = False, prefix: bool = False) -> MusicGen:
    transformer = TransformerConfig(64, 2, 4, 128, bias_attention=biases, bias_ffn=biases)
    conditioning = ConditioningSpec(text="prefix") if prefix else ConditioningSpec()
    model = MusicGen(
        MusicGenConfig(transformer, 4, 16, (0, 1, 2, 3), 1, 8, conditioning=conditioning)
    )
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.requires_grad_(False)


def texts(model: MusicGen, slots: int) -> CrossAttentionSlots:
    """Texts of different lengths."""
    kept = CrossAttentionSlots(model.config.transformer, slots, TOKENS, torch.float32, CPU)
    rng = torch.Generator().manual_seed(1)
    for slot in range(slots):
        pair = torch.randn(2, 2, 4, 1 + slot % TOKENS, 16, generator=rng)
        kept.put(slot, CrossAttentionKV(pair[0], pair[1]))
    return kept


def inputs(slots: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and positions of each step."""
    for step in range(STEPS):
        tokens = (torch.arange(4 * slots) * 7 + 5 * step) % 17
        yield tokens.view(slots, 4), torch.full((slots,), step)


def by_step(model: MusicGen, precision: str, slots: int, rows: int) -> list[Tensor]:
    """Logits [slots, rows, K, V] of each step of the CPU's kernels."""
    backend = CpuBackend(precision)
    backend.prepare(model)
    step = backend.fused_step(model, slots, LENGTH)
    cache = backend.allocate_cache(model.config, slots, LENGTH)
    embeddings = sinusoidal_positions(LENGTH, 64, CPU)
    known: Texts | None = None
    if model.config.conditioning.cross_attention:
        known = texts(model, slots).texts(slice(slots), TOKENS)
    narrow = cache.narrow(slice(0, slots), rows, LENGTH)
    return [
        step.logits(StepInputs(tokens, positions, embeddings, narrow, known))
        for tokens, positions in inputs(slots)
    ]


def by_layers(model: MusicGen, slots: int, rows: int) -> list[Tensor]:
    """The same in PyTorch, from fp32 weights and an fp32 cache."""
    cache = torch_backend(model).allocate_cache(model.config, slots, LENGTH)
    narrow = cache.narrow(slice(0, slots), rows, LENGTH)
    embeddings = sinusoidal_positions(LENGTH, 64, CPU)
    cross: CrossAttentionInputs | None = None
    if model.config.conditioning.cross_attention:
        cross = texts(model, slots).narrow(slice(slots), TOKENS)
    logits = []
    for tokens, positions in inputs(slots):
        x = model.embed(tokens + model.embedding_offsets())
        at = torch.arange(slots), positions
        mask = causal_masks(LENGTH, torch.float32, CPU)[positions][:, None, None]
        y = model(x, embeddings[positions], at, narrow, mask, cross)
        logits.append(model.logits(y).view(slots, rows, 4, 16))
    return logits


def check(model: MusicGen, precision: str, slots: int, rows: int) -> None:
    expected = torch.stack(by_layers(copy.deepcopy(model), slots, rows))
    found = torch.stack(by_step(model, precision, slots, rows))
    assert (found - expected).norm() < ERRORS[precision] * expected.norm()


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@torch.inference_mode()
def test_a_step_computes_the_same(precision: str, rows: int) -> None:
    check(new_model(), precision, slots=3, rows=rows)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@torch.inference_mode()
def test_biases_are_added_also_those_of_a_row_without_text(precision: str) -> None:
    check(new_model(biases=True), precision, slots=2, rows=2)


@torch.inference_mode()
def test_a_model_without_cross_attention() -> None:
    check(new_model(prefix=True), "fp32", slots=2, rows=2)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@torch.inference_mode()
def test_many_rows(precision: str) -> None:
    check(new_model(), precision, slots=MANY_ROWS // 2 + 1, rows=2)


@torch.inference_mode()
def test_one_compilation_serves_all_slots_and_some() -> None:
    """In a running service a compilation would stall all tracks for half a minute."""
    model = new_model()
    backend = CpuBackend("int8")
    backend.prepare(model)
    step = backend.fused_step(model, 3, LENGTH)
    cache = backend.allocate_cache(model.config, 3, LENGTH)
    known = texts(model, 3)
    embeddings = sinusoidal_positions(LENGTH, 64, CPU)
    compiled = []
    for slots, tokens in ((3, TOKENS), (2, TOKENS), (3, 2), (1, 2)):
        narrow = cache.narrow(slice(0, slots), 2, LENGTH)
        text = known.texts(slice(slots), tokens)
        zeros = torch.zeros(slots, 4, dtype=torch.int64)
        step.logits(StepInputs(zeros, zeros[:, 0].clone(), embeddings, narrow, text))
        compiled.append(len(decoder_step.signatures))
    assert len(set(compiled)) == 1


@torch.inference_mode()
def test_one_compilation_serves_models_with_and_without_cross_attention() -> None:
    by_step(new_model(), "int8", 2, 2)
    compiled = len(decoder_step.signatures)
    by_step(new_model(prefix=True), "int8", 2, 2)
    assert len(decoder_step.signatures) == compiled


@pytest.mark.long  # each compiles for 20 s
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@torch.inference_mode()
def test_a_step_of_half_precision_computes_the_same(precision: str) -> None:
    check(new_model(), precision, slots=3, rows=2)


@torch.inference_mode()
def test_a_slot_gets_the_same_bits_alone_and_among_others() -> None:
    model = new_model()
    among = by_step(copy.deepcopy(model), "int8", 3, 2)
    alone = by_step(model, "int8", 1, 2)
    assert all(torch.equal(one[0], many[0]) for one, many in zip(alone, among, strict=True))
