"""Tensors are read without running code, joined, and accounted for."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.tensor_store import TensorStore, Third, not_finite
from serve_app.errors import CheckpointError
from tests.checkpoints.test_checkpoint import same_weights


def test_sources_are_joined_over_their_rows() -> None:
    packed = torch.arange(12.0).view(6, 2)
    store = TensorStore("file", {"packed": packed, "other": torch.ones(1, 2)})
    assert torch.equal(
        store.take((Third("packed", 1, 3), "other")), torch.cat([packed[2:], torch.ones(1, 2)])
    )
    store.check_all_taken(ignored="")


def test_weight_norm_is_folded() -> None:
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 5))
    plain = nn.Sequential(nn.Conv1d(3, 4, 5)).requires_grad_(False)
    store = TensorStore("file", nn.Sequential(convolution).requires_grad_(False).state_dict())
    sources = {"0.weight": ("0.weight",), "0.bias": ("0.bias",)}
    store.fill(plain, sources, torch.float32, torch.device("cpu"))
    torch.testing.assert_close(plain.state_dict()["0.weight"], convolution.weight)
    store.check_all_taken(ignored="")


def test_faults_name_origin_and_tensor() -> None:
    store = TensorStore("file", {"a": torch.ones(2, 3), "b": torch.ones(2, 4)})
    with pytest.raises(
        CheckpointError, match=r"file: tensor 'b' has shape \(2, 4\).*\(2, 3\) of 'a'"
    ):
        store.take(("a", "b"))
    with pytest.raises(CheckpointError, match="file: tensor 'c' is missing"):
        store.take(("c",))
    fresh = TensorStore("file", {"a": torch.ones(1), "b": torch.ones(1), "c": torch.ones(1)})
    fresh.take(("a",))
    with pytest.raises(
        CheckpointError, match=r"file: unexpected tensors 'b'\. The .* another architecture"
    ):
        fresh.check_all_taken(ignored="c")


def test_plain_weights_are_read_as_weight_normed_ones(huggingface: Path) -> None:
    """Weight norm is folded in the published files' form and in the newer form of transformers."""
    before = load_checkpoint(str(huggingface)).codec
    file = huggingface / "model.safetensors"
    old = {
        name.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): tensor
        for name, tensor in load_file(file).items()
    }
    assert any(name.endswith(".weight_g") for name in old)
    save_file(old, file)
    assert same_weights(load_checkpoint(str(huggingface)).codec, before)


def test_overflow_of_a_cast_names_tensor_value_and_cure(huggingface: Path) -> None:
    file = huggingface / "model.safetensors"
    name = "decoder.model.decoder.layers.1.fc1.weight"
    tensors = load_file(file)
    tensors[name] = tensors[name].bfloat16()
    tensors[name][3, 4] = 1e5
    save_file(tensors, file)
    said = rf"{name}' has values up to 9.984e\+04, beyond the range of torch.float16 \(6.55e\+04\)"
    with pytest.raises(CheckpointError, match=said + r"\. Set engine_kwargs.precision to bf16 or"):
        load_checkpoint(str(huggingface), dtype=torch.float16)
    load_checkpoint(str(huggingface), dtype=torch.bfloat16)
    load_checkpoint(str(huggingface), dtype=torch.float32)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "name",
    [
        "decoder.lm_heads.2.weight",
        "text_encoder.encoder.final_layer_norm.weight",
        "audio_encoder.quantizer.layers.1.codebook.embed",
    ],
)
def test_weights_that_are_not_finite_are_refused(
    huggingface: Path, name: str, value: float
) -> None:
    file = huggingface / "model.safetensors"
    tensors = load_file(file)
    tensors[name].view(-1)[5] = value
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=rf"{name}.*' has values that are not finite"):
        load_checkpoint(str(huggingface))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_weights_of_other_types_are_refused(huggingface: Path, dtype: torch.dtype) -> None:
    file = huggingface / "model.safetensors"
    tensors = load_file(file)
    tensors["enc_to_dec_proj.bias"] = tensors["enc_to_dec_proj.bias"].to(dtype)
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=rf"'enc_to_dec_proj.bias' is of {dtype} .*bfloat16"):
        load_checkpoint(str(huggingface))


def test_only_tensors_with_values_are_asked_whether_these_are_finite() -> None:
    tensors = {"none": torch.empty(0), "good": torch.ones(2), "bad": torch.tensor([1, torch.nan])}
    assert not_finite(tensors) == ["bad"]
    assert not_finite({"none": torch.empty(0)}) == []


def test_a_magnitude_must_fit_its_direction() -> None:
    store = TensorStore("file", {"w_g": torch.ones(4), "w_v": torch.ones(4, 3, 5)})
    with pytest.raises(
        CheckpointError, match=r"'w_g' has shape \(4,\), which is no magnitude of 'w_v' \(4, 3, 5\)"
    ):
        store.take(("w",))
