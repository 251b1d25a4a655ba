"""The Hugging Face format: a clear error for everything that can be wrong in a folder."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.errors import CheckpointError
from tools.nano.tokenizer import make_tokenizer


def edit_tensors(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


def edit_json(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for path, value in values.items():
            node = config
            *parents, leaf = path.split("__")
            for parent in parents:
                node = node[parent]
            node[leaf] = value
        (folder / "config.json").write_text(json.dumps(config))

    return edit


HEAD = "decoder.lm_heads.2.weight"
HUGGINGFACE_FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (edit_tensors(lambda t: t.pop(HEAD)), rf"model.safetensors: tensor '{HEAD}' is missing"),
    (
        edit_tensors(lambda t: t.update(extra=torch.ones(1))),
        "model.safetensors: unexpected tensors 'extra'",
    ),
    (
        edit_tensors(lambda t: t.update({HEAD: t[HEAD][:, 1:].contiguous()})),
        r"lm_heads.2.weight' has shape \(64, 31\), which cannot be joined to \(64, 32\)",
    ),
    (
        edit_tensors(lambda t: t.update({"enc_to_dec_proj.weight": torch.ones(3, 3)})),
        r"tensor 'enc_to_dec_proj.weight' has shape \(3, 3\), but .* needs \(32, 24\)",
    ),
    (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: the file is missing"),
    (
        lambda f: (f / "model.safetensors").write_bytes(b"not tensors at all"),
        "not a readable safetensors file",
    ),
    (lambda f: (f / "config.json").unlink(), "config.json: missing or not JSON"),
    (lambda f: (f / "config.json").write_text("[]"), "config.json: has no 'model_type'"),
    (lambda f: (f / "config.json").write_bytes(b"\xff{"), "config.json: missing or not JSON"),
    (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json: missing or not JSON"),
    (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer cannot be read .*own tokenizer"),
    (lambda f: (f / "tokenizer.json").write_text('{"version": "1.0",'), "tokenizer cannot be read"),
    (
        edit_json(model_type="bark"),
        "model_type 'bark' is not supported, only 'musicgen' and 'musicgen_melody'",
    ),
    (edit_json(decoder__activation_function="relu"), "decoder.activation_function is 'relu'"),
    (edit_json(audio_encoder__normalize=True), "audio_encoder.normalize is True"),
    (edit_json(decoder__hidden_size="32"), "decoder.hidden_size is '32', not an integer from 1"),
    (edit_json(decoder__hidden_size=32.0), "decoder.hidden_size is 32.0, not an integer"),
    (edit_json(decoder__hidden_size=-32), "decoder.hidden_size is -32, not an integer"),
    (edit_json(decoder__hidden_size=True), "decoder.hidden_size is True, not an integer"),
    (edit_json(decoder__hidden_size=[32]), r"decoder.hidden_size is \[32\], not an integer"),
    (edit_json(decoder__ffn_dim=None), "decoder.ffn_dim is missing"),
    (edit_json(decoder__num_hidden_layers=10**9), "num_hidden_layers is 1000000000, not an"),
    (
        edit_json(decoder__num_attention_heads=5),
        r"decoder.num_attention_heads is 5, which does not divide hidden_size \(32\)",
    ),
    (edit_json(length_prompt=8), "length_prompt is 8, not a text"),
    (edit_json(decoder=None), "config.json: has no section 'decoder'"),
    (edit_json(text_encoder__model_type="bert"), "text_encoder.model_type is 'bert'"),
    (edit_json(text_encoder__d_model="24"), "text_encoder.d_model is '24', not an integer"),
    (
        edit_json(text_encoder__vocab_size=5),
        f"tokenizer has {len(make_tokenizer())} tokens, the text encoder 5",
    ),
    (edit_json(text_encoder__dense_act_fn="x"), "config.json: describes no possible model"),
    (edit_json(audio_encoder__model_type="dac"), "audio_encoder.model_type is 'dac'.*'encodec'"),
    (edit_json(audio_encoder__upsampling_ratios=[4, "3"]), "upsampling_ratios is .* not a list of"),
    (edit_json(audio_encoder__pad_mode="odd"), "pad_mode is 'odd', not one of reflect, constant"),
    (edit_json(audio_encoder__use_causal_conv=0), "use_causal_conv is 0, not true or false"),
    (edit_json(audio_encoder__trim_right_ratio=2), "trim_right_ratio is 2, not a number from 0 to"),
    (edit_json(audio_encoder__sampling_rate=7), "audio_encoder.sampling_rate is 7, not an integer"),
    (edit_json(audio_encoder__compress=100), "config.json: describes no possible model"),
    (edit_json(decoder__num_hidden_layers=4), "layers.3.*are missing"),
    (edit_json(decoder__num_hidden_layers=2), "unexpected tensors 'decoder.model.decoder.layers.2"),
]


@pytest.mark.parametrize("dim", [None, 16])
def test_codebooks_are_as_wide_as_the_codec_s_hidden_states_by_default(
    huggingface: Path, dim: int | None
) -> None:
    edit_json(audio_encoder__codebook_dim=dim)(huggingface)
    assert load_checkpoint(str(huggingface)).codec.config.codebook_dim == 16


@pytest.mark.parametrize(
    ("break_it", "said"), HUGGINGFACE_FAULTS, ids=[said[:40] for _, said in HUGGINGFACE_FAULTS]
)
def test_faults_of_a_huggingface_folder_are_named(
    huggingface: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(huggingface)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(huggingface))
    assert re.search(said, caught.value.message), caught.value.message
