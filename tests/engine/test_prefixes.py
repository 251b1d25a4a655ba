"""A copied prefix equals a computed one, in every kind of cache, however its work is sliced."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.engine.prefixes import Prefixes
from serve_app.models.musicgen.conditioning import Conditions
from serve_app.models.musicgen.cpu_backend import CpuBackend
from serve_app.models.musicgen.cuda_backend import CudaBackend
from serve_app.models.musicgen.execution import TorchBackend
from serve_app.models.musicgen.model import MusicGen
from serve_app.types import SamplingParams
from tests.engine.melody_models import CHROMA, NOTHING, K, V, melody_model, text, tune
from tests.kernels.cuda.interpreter import interpreted

MAX_TEXT, FRAMES = 20, 30
GREEDY = SamplingParams(temperature=0.0)
SAMPLED = SamplingParams(seed=7)


@dataclass(frozen=True)
class Kind:
    """A backend and its cache. exact: whether a copied prefix has the bits of a computed one."""

    name: str
    exact: bool

    def runner(self, model: MusicGen, slots: int = 3, block_rows: int = 32) -> ModelRunner:
        """Prefill in blocks of few rows, so that a prefix has several."""
        backend = self._backend(model)
        backend.prefill_rows = block_rows
        backend.prepare(model)
        return ModelRunner(model, backend, slots, FRAMES, MAX_TEXT)

    def _backend(self, model: MusicGen) -> TorchBackend | CpuBackend | CudaBackend:
        weight = model.embedding.weight
        match self.name.split():
            case ["torch", *rest]:
                return TorchBackend(weight, int8_cache="int8" in rest)
            case ["attention", "kernel", *rest]:
                return TorchBackend(weight, "int8" in rest, attention_kernel=True)
            case ["cpu", precision, *rest]:
                return CpuBackend(precision, int8_cache="int8" in rest)
            case ["cuda", precision, *rest]:
                return CudaBackend(model, precision, 8, int8_cache="int8" in rest)
        raise ValueError(self.name)


COMPILES = pytest.mark.long  # the CPU's step, for 20 s
TORCH = Kind("torch", exact=False)
KINDS = [
    TORCH,
    Kind("torch int8", exact=False),
    Kind("cpu fp32", exact=True),
    pytest.param(Kind("cpu fp16", exact=True), marks=COMPILES),
    pytest.param(Kind("cpu fp32 int8", exact=True), marks=COMPILES),
    pytest.param(Kind("cpu int8", exact=True), marks=COMPILES),
    Kind("attention kernel", exact=False),
    Kind("attention kernel int8", exact=False),
    Kind("cuda fp32", exact=False),
    Kind("cuda int8", exact=False),
    Kind("cuda fp32 int8", exact=False),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    kind: Kind = request.param
    kernels = kind.name.startswith(("cuda", "attention"))
    with interpreted() if kernels else nullcontext():
        yield kind


def new_model(kind: Kind) -> MusicGen:
    wide = not kind.name.startswith("torch")
    return melody_model(64, 1) if wide else melody_model()


def conditions(model: MusicGen, tokens: int, melody: Tensor | None) -> Conditions:
    with torch.inference_mode():
        hidden = text(tokens) if tokens else None
        found = model.conditions(hidden, model.leading(melody))
    return found._replace(melody=melody is not None)


def start(
    runner: ModelRunner,
    slot: int,
    conditioned: Conditions,
    given: Tensor = NOTHING,
    sampling: SamplingParams = GREEDY,
) -> int:
    """Start a window of FRAMES frames without its prefill; return its steps that are done."""
    runner.start(slot, conditioned, sampling)
    return runner.open_window(slot, given, FRAMES)


def filled(runner: ModelRunner, slot: int, positions: int) -> list[Tensor]:
    """The slot's keys and values as numbers: int8 ones times their scales."""
    numbers = [tensor[:, :, slot, :, :positions].float() for tensor in runner._cache.tensors]
    if len(numbers) == 1:
        return numbers
    return [numbers[0] * numbers[1][..., None]]


def steps(runner: ModelRunner, slots: int, count: int) -> None:
    for _ in range(count):
        runner.step(BatchShape(slots, runner.max_length, 0))


@pytest.mark.parametrize("melody", [None, tune()], ids=["no melody", "melody"])
def test_a_copied_prefix_equals_a_computed_one(
    kind: Kind, melody: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot had another prefix before. Nothing is copied by the second runner."""
    model = new_model(kind)
    copying = kind.runner(model)
    start(copying, 1, conditions(model, 20, tune(1)))
    copying.prefill(1)
    start(copying, 1, conditions(model, 5, melody))
    left = copying.prefill(1, 0)
    copying.prefill(1)
    monkeypatch.setattr(Prefixes, "compute_template", lambda *_: None)
    computing = kind.runner(new_model(kind))
    start(computing, 1, conditions(model, 5, melody))
    assert left < computing.prefill(1, 0), "the copied positions are not computed"
    computing.prefill(1)
    tolerance = 0.0 if kind.exact else 2e-2 if "int8" in kind.name else 1e-5
    for one, other in zip(
        filled(copying, 1, CHROMA + 5), filled(computing, 1, CHROMA + 5), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * other.abs().max().item())
        assert other[..., : CHROMA + 5, :].abs().amax(dim=-1).min() > 0, "every position is filled"
    assert copying.kv_cache_bytes > computing.kv_cache_bytes, "the template counts"


@pytest.mark.parametrize("name", ["cpu fp32", "cpu fp16", "cpu int8"])
def test_the_size_of_the_blocks_changes_no_bit(name: str) -> None:
    """On the CPU's kernels. A prefix may thus be copied in part, whatever the blocks are."""
    kind = Kind(name, exact=True)
    caches = []
    for block_rows in (2, 32):
        model = new_model(kind)
        runner = kind.runner(model, block_rows=block_rows)
        start(runner, 1, conditions(model, 5, tune()))
        runner.prefill(1)
        caches.append(filled(runner, 1, CHROMA + 5))
    for one, other in zip(*caches, strict=True):
        assert torch.equal(one, other)


def test_slices_and_steps_between_them_change_no_bit(kind: Kind) -> None:
    """One unit at a time beside a running neighbour, or at once and alone; with given codes."""
    model = new_model(kind)
    given = torch.randint(V, (K, 9), generator=torch.Generator().manual_seed(1))
    at_once = kind.runner(model)
    start(at_once, 1, conditions(model, 5, tune()), given, SAMPLED)
    at_once.prefill(1)
    sliced = kind.runner(new_model(kind))
    start(sliced, 0, conditions(model, 12, None))
    sliced.prefill(0)
    start(sliced, 1, conditions(model, 5, tune()), given, SAMPLED)
    units = sliced.prefill(1, 0)
    while sliced.prefill(1, 1):
        steps(sliced, 2, 1)
    assert units > 4
    for one, other in zip(
        filled(at_once, 1, CHROMA + 5 + 9), filled(sliced, 1, CHROMA + 5 + 9), strict=True
    ):
        assert torch.equal(one, other)
    assert sliced.is_finite(1)


def test_codes_of_slices_equal_those_at_once() -> None:
    """The steps beside a prefill leave nothing in the history, in the tokens or in the noise."""
    model = melody_model()
    kind = TORCH
    conditioned = conditions(model, 5, tune())
    given = torch.randint(V, (K, 9), generator=torch.Generator().manual_seed(1))
    alone = kind.runner(model)
    start(alone, 1, conditioned, given, SAMPLED)
    alone.prefill(1)
    steps(alone, 3, FRAMES + 3 - 9)
    sliced = kind.runner(model)
    for slot in (0, 2):
        start(sliced, slot, conditions(model, 3, None), sampling=SAMPLED)
        sliced.prefill(slot)
    start(sliced, 1, conditioned, given, SAMPLED)
    while sliced.prefill(1, 3):
        steps(sliced, 3, 1)
    steps(sliced, 3, FRAMES + 3 - 9)
    assert torch.equal(sliced.codes(1, 0, FRAMES), alone.codes(1, 0, FRAMES))
    assert torch.equal(alone.codes(1, 0, 9), given)


def test_a_slot_serves_after_a_cancelled_prefill() -> None:
    """Even if the cancelled one had filled it with NaN."""
    model = melody_model()
    runner = TORCH.runner(model)
    expected = TORCH.runner(model)
    start(expected, 0, conditions(model, 4, None))
    expected.prefill(0)
    steps(expected, 1, FRAMES + 3)
    bad = conditions(model, 20, tune())
    assert bad.prefix is not None
    for prefix in (bad.prefix, bad.prefix * torch.nan):
        start(runner, 0, bad._replace(prefix=prefix))
        assert runner.prefill(0, 5)
        runner.stop(0)
        start(runner, 0, conditions(model, 4, None))
        runner.prefill(0)
        steps(runner, 1, FRAMES + 3)
        assert runner.is_finite(0)
        assert torch.equal(runner.codes(0, 0, FRAMES), expected.codes(0, 0, FRAMES))
        runner.stop(0)


def test_nan_in_a_prefix_ends_its_sequence_alone() -> None:
    model = melody_model()
    runner = TORCH.runner(model)
    start(runner, 0, conditions(model, 4, None))
    runner.prefill(0)
    bad = conditions(model, 20, tune())
    assert bad.prefix is not None
    start(runner, 1, bad._replace(prefix=bad.prefix * torch.nan))
    while runner.prefill(1, 1):
        steps(runner, 2, 1)
    assert (runner.is_finite(0), runner.is_finite(1)) == (True, False)
