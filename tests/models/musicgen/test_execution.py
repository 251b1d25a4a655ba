"""A backend is selected where a model is loaded, by its device, size and precision."""

import subprocess
import sys

import pytest

from serve_app.models.musicgen import execution
from serve_app.models.musicgen.conditioning import ConditioningSpec
from serve_app.models.musicgen.cpu_backend import CpuBackend
from serve_app.models.musicgen.cpu_kv_cache import CpuKVCache
from serve_app.models.musicgen.cpu_layers import CpuDecoderLayer
from serve_app.models.musicgen.execution import TorchBackend, prepare_model, torch_backend
from serve_app.models.musicgen.kv_cache import FloatKVCache
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import DecoderLayer, TransformerConfig
from tests.conftest import EMBEDDED

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
    assert all(isinstance(layer, CpuDecoderLayer) for layer in large.layers)
    cache = backend.allocate_cache(large.config, SLOTS, LENGTH)
    assert isinstance(cache, CpuKVCache)
    assert cache.nbytes == exact.nbytes * of_fp32


@pytest.mark.parametrize("branches", [1, 2])
def test_a_cache_has_a_row_for_each_branch(branches: int) -> None:
    one = model(ConditioningSpec(branches=branches))
    cache = torch_backend(one).allocate_cache(one.config, SLOTS, LENGTH)
    keys_and_values = 2 * TRANSFORMER.num_layers * TRANSFORMER.hidden_size * LENGTH
    assert cache.nbytes == 4 * SLOTS * branches * keys_and_values


def test_a_small_exact_model_imports_no_numba() -> None:
    code = (
        "import sys; from serve_app.checkpoints.checkpoint import load_checkpoint;"
        "from serve_app.models.musicgen.execution import prepare_model;"
        f"prepare_model(load_checkpoint('{EMBEDDED}').musicgen, 'fp32');"
        "print('numba' in sys.modules)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
