"""A backend is selected where a model is loaded, by its device, size and precision."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from serve_app.errors import ConfigError
from serve_app.models.musicgen import execution
from serve_app.models.musicgen.conditioning import ConditioningSpec
from serve_app.models.musicgen.cpu_backend import CpuBackend
from serve_app.models.musicgen.cpu_kv_cache import CpuKVCache
from serve_app.models.musicgen.cpu_layers import CpuLinear
from serve_app.models.musicgen.cpu_step import CpuStep
from serve_app.models.musicgen.cuda_backend import CudaBackend
from serve_app.models.musicgen.cuda_kv_cache import CudaKVCache
from serve_app.models.musicgen.cuda_layers import CudaLinear
from serve_app.models.musicgen.execution import (
    Kernels,
    TorchBackend,
    prepare_model,
    torch_backend,
)
from serve_app.models.musicgen.int8_kv_cache import Int8KVCache
from serve_app.models.musicgen.kv_cache import FloatKVCache
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import DecoderLayer, TransformerConfig
from tests.architectures import MONO, write_huggingface

TRANSFORMER = TransformerConfig(hidden_size=64, num_layers=2, num_heads=4, ffn_dim=128)
SLOTS, LENGTH = 3, 20


def model(conditioning: ConditioningSpec) -> MusicGen:
    config = MusicGenConfig(TRANSFORMER, 4, 16, (0, 1, 2, 3), 1, 8, conditioning=conditioning)
    return MusicGen(config).requires_grad_(False)


def test_a_small_exact_model_stays_with_torch() -> None:
    small = model(ConditioningSpec())
    backend = prepare_model(small, "fp32")
    assert isinstance(backend, TorchBackend)
    assert (backend.precision, backend.batch_invariant) == ("fp32", False)
    assert all(isinstance(layer, DecoderLayer) for layer in small.layers)
    assert isinstance(backend.allocate_cache(small.config, SLOTS, LENGTH), FloatKVCache)


@pytest.mark.parametrize(
    ("precision", "of_fp32"),
    [("fp32", 1), ("fp16", 1), ("bf16", 1), ("int8", 1 / 4 + 1 / TRANSFORMER.head_dim)],
)
def test_a_cpu_has_its_own_layers_and_cache(
    precision: str, of_fp32: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = model(ConditioningSpec())
    exact = torch_backend(large).allocate_cache(large.config, SLOTS, LENGTH)
    monkeypatch.setattr(execution, "CACHED_WEIGHTS", 0)
    backend = prepare_model(large, precision)
    assert isinstance(backend, CpuBackend)
    assert (backend.precision, backend.batch_invariant) == (precision, True)
    assert isinstance(large.heads, CpuLinear)
    assert isinstance(backend.fused_step(large, SLOTS, LENGTH), CpuStep)
    cache = backend.allocate_cache(large.config, SLOTS, LENGTH)
    assert isinstance(cache, CpuKVCache)
    assert cache.nbytes == exact.nbytes * of_fp32


class Gpu:
    """A card that is not here: only what a backend asks of it before it runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
        properties = SimpleNamespace(multi_processor_count=108)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
        monkeypatch.setenv("CC", sys.executable)

    def model(
        self, heads: int = 2, dtype: torch.dtype = torch.float16, ffn_dim: int = 128
    ) -> MusicGen:
        transformer = TransformerConfig(128, 1, num_heads=heads, ffn_dim=ffn_dim)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with FakeTensorMode(), torch.device("cuda"):
                return MusicGen(MusicGenConfig(transformer, 4, 16, (0, 1, 2, 3), 1, 8))
        finally:
            torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kernels", ["auto", "triton"])
def test_a_gpu_has_kernels_of_its_own(
    kernels: Kernels, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Gpu(monkeypatch, (8, 0)).model(dtype=dtype)
    backend = prepare_model(model, "fp16", kernels)
    assert isinstance(backend, CudaBackend)
    assert (backend.precision, backend.batch_invariant) == ("fp16", True)
    assert all(isinstance(layer, DecoderLayer) for layer in model.layers), "for prefills"


@pytest.mark.parametrize(
    ("capability", "heads", "dtype", "compiler", "reason"),
    [
        ((7, 5), 2, torch.float16, True, "the GPU's compute capability is 7.5, below 8.0"),
        ((9, 0), 4, torch.float16, True, "the model's heads have 32 dimensions, not 64"),
        ((9, 0), 2, torch.float32, True, "the weights are loaded in torch.float32"),
        ((9, 0), 2, torch.float16, False, "Triton finds no C compiler: install gcc"),
    ],
)
def test_what_the_kernels_cannot_run_stays_with_torch_or_is_refused(
    capability: tuple[int, int],
    heads: int,
    dtype: torch.dtype,
    compiler: bool,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Gpu(monkeypatch, capability).model(heads, dtype)
    if not compiler:
        monkeypatch.delenv("CC")
        monkeypatch.setenv("PATH", "")
    with caplog.at_level("INFO"):
        assert isinstance(prepare_model(model, "fp16"), TorchBackend)
    assert f"PyTorch's kernels: {reason}" in caplog.text
    with pytest.raises(ConfigError, match=f"kernels 'triton' is not possible: {reason}"):
        prepare_model(model, "fp16", "triton")
    with pytest.raises(ConfigError, match="precision 'int8' on a GPU is not possible"):
        prepare_model(model, "int8")


@pytest.mark.parametrize(
    ("capability", "kernels", "cache_type"),
    [
        ((9, 0), "auto", Int8KVCache),
        ((7, 5), "auto", CudaKVCache),
        ((9, 0), "eager", Int8KVCache),
    ],
)
def test_keys_and_values_are_stored_in_8_bits_on_demand(
    capability: tuple[int, int],
    kernels: Kernels,
    cache_type: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Gpu(monkeypatch, capability).model()
    halves = prepare_model(model, "fp16", kernels)
    eighths = prepare_model(model, "fp16", kernels, kv_cache="int8")
    with FakeTensorMode():
        exact, narrow = (
            backend.allocate_cache(model.config, SLOTS, LENGTH) for backend in (halves, eighths)
        )
    assert isinstance(narrow, cache_type)
    assert narrow.nbytes == exact.nbytes * (64 + 4) / 128


@pytest.mark.parametrize("weights", [0, execution.CACHED_WEIGHTS])
def test_a_cpu_stores_keys_and_values_in_8_bits_on_demand(
    weights: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numba kernels' cache, and that of a model which stays with PyTorch."""
    monkeypatch.setattr(execution, "CACHED_WEIGHTS", weights)
    one = model(ConditioningSpec())
    exact = torch_backend(one).allocate_cache(one.config, SLOTS, LENGTH)
    cache = prepare_model(one, "fp32", kv_cache="int8").allocate_cache(one.config, SLOTS, LENGTH)
    assert isinstance(cache, Int8KVCache if weights else CpuKVCache)
    assert cache.nbytes == exact.nbytes * (1 / 4 + 1 / TRANSFORMER.head_dim)


@pytest.mark.parametrize(
    ("capability", "kernels", "cache_type"),
    [
        ((7, 5), "auto", CudaKVCache),
        ((7, 5), "eager", FloatKVCache),
        ((7, 0), "auto", FloatKVCache),
    ],
)
def test_a_t4_has_the_attention_that_needs_no_dot(
    capability: tuple[int, int],
    kernels: Kernels,
    cache_type: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Gpu(monkeypatch, capability).model()
    backend = prepare_model(model, "fp16", kernels)
    assert isinstance(backend, TorchBackend)
    with FakeTensorMode():
        assert isinstance(backend.allocate_cache(model.config, SLOTS, LENGTH), cache_type)


def test_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Gpu(monkeypatch, (9, 0)).model()
    assert isinstance(prepare_model(model, "fp16", "eager"), TorchBackend)
    with pytest.raises(ConfigError, match="kernels is 'eager'"):
        prepare_model(model, "int8", "eager")


def test_unaligned_weights_stay_with_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = Gpu(monkeypatch, (9, 0)).model(ffn_dim=130)
    with caplog.at_level("INFO"):
        assert isinstance(prepare_model(model, "fp16"), TorchBackend)
    assert "width, 130, is not a multiple of 16" in caplog.text


def test_a_gpu_of_another_maker_stays_with_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PyTorch for ROCm calls AMD's GPUs cuda, too."""
    model = Gpu(monkeypatch, (9, 4)).model()
    monkeypatch.setattr(torch.version, "hip", "7.0")
    with caplog.at_level("INFO"):
        assert isinstance(prepare_model(model, "fp16"), TorchBackend)
    assert "is not an NVIDIA GPU" in caplog.text


def test_a_gpu_without_triton_stays_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Gpu(monkeypatch, (9, 0)).model()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert isinstance(prepare_model(model, "fp16"), TorchBackend)


def test_int8_on_a_gpu_halves_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Gpu(monkeypatch, (9, 0)).model()
    backend = prepare_model(model, "int8")
    assert (backend.precision, backend.batch_invariant) == ("int8", True)
    assert isinstance(model.heads, CudaLinear)
    assert model.heads.qweight.dtype == torch.int8
    assert model.heads.qweight.device.type == "cuda"


@pytest.mark.parametrize("branches", [1, 2])
def test_a_cache_has_a_row_for_each_branch(branches: int) -> None:
    one = model(ConditioningSpec(branches=branches))
    cache = torch_backend(one).allocate_cache(one.config, SLOTS, LENGTH)
    keys_and_values = 2 * TRANSFORMER.num_layers * TRANSFORMER.hidden_size * LENGTH
    assert cache.nbytes == 4 * SLOTS * branches * keys_and_values


def test_a_small_exact_model_imports_no_numba(tmp_path: Path) -> None:
    write_huggingface(MONO, tmp_path)
    code = (
        "import sys; from serve_app.checkpoints.checkpoint import load_checkpoint;"
        "from serve_app.models.musicgen.execution import prepare_model;"
        f"prepare_model(load_checkpoint({str(tmp_path)!r}).musicgen, 'fp32');"
        "print('numba' in sys.modules)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
