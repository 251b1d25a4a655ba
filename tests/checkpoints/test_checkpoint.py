"""Loading: shards, the hub's cache, pointers, and a clear error for all that can be wrong."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.errors import CheckpointError
from tests.architectures import (
    MONO,
    make_encodec,
    put_in_cache,
    write_audiocraft,
    write_huggingface,
)


@pytest.fixture
def huggingface(tmp_path: Path) -> Path:
    return write_huggingface(MONO, tmp_path / "huggingface")


@pytest.fixture
def export(tmp_path: Path, hub_cache: Path) -> Path:
    return write_audiocraft(MONO, tmp_path / "export", hub_cache)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_shards_are_read(tmp_path: Path, huggingface: Path) -> None:
    sharded = write_huggingface(MONO, tmp_path / "sharded", max_shard_size="50KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    whole = load_checkpoint(str(huggingface))
    assert same_weights(load_checkpoint(str(sharded)).musicgen, whole.musicgen)


def test_weights_have_the_asked_dtype_and_codec_and_text_encoder_stay_exact(
    huggingface: Path,
) -> None:
    checkpoint = load_checkpoint(str(huggingface), dtype=torch.bfloat16)
    assert {p.dtype for p in checkpoint.musicgen.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in checkpoint.codec.parameters()} == {torch.float32}
    assert {p.dtype for p in checkpoint.text_encoder.parameters()} == {torch.float32}


def test_hub_id_is_found_in_the_cache(hub_cache: Path, huggingface: Path) -> None:
    put_in_cache(hub_cache, "someone/tiny-musicgen", lambda path: write_huggingface(MONO, path))
    checkpoint = load_checkpoint("someone/tiny-musicgen")
    assert same_weights(checkpoint.musicgen, load_checkpoint(str(huggingface)).musicgen)


def test_audiocraft_export_is_found_in_the_cache(hub_cache: Path, export: Path) -> None:
    put_in_cache(
        hub_cache, "someone/tiny-export", lambda path: write_audiocraft(MONO, path, hub_cache)
    )
    assert same_weights(
        load_checkpoint("someone/tiny-export").musicgen, load_checkpoint(str(export)).musicgen
    )


def test_codec_may_be_a_pointer_to_another_repository(hub_cache: Path, export: Path) -> None:
    codec = make_encodec(MONO)
    put_in_cache(hub_cache, "someone/tiny-encodec", codec.save_pretrained)
    pointer = {
        "pretrained": "//pretrained/someone/tiny-encodec",
        "exported": True,
        "version": "1.3.0",
    }
    torch.save(pointer, export / "compression_state_dict.bin")
    codes = torch.randint(0, 64, (1, 4, 9))
    expected = codec.decode(codes[None], [None]).audio_values
    torch.testing.assert_close(
        load_checkpoint(str(export)).codec.decode(codes), expected, rtol=0, atol=1e-5
    )


def test_codec_and_text_encoder_may_come_from_elsewhere(
    tmp_path: Path, hub_cache: Path, export: Path
) -> None:
    make_encodec(MONO).save_pretrained(tmp_path / "codec")
    (export / "compression_state_dict.bin").unlink()
    t5 = hub_cache / "models--t5-small" / "snapshots" / ("0" * 40)
    checkpoint = load_checkpoint(
        str(export), codec_source=str(tmp_path / "codec"), text_encoder_source=str(t5)
    )
    assert checkpoint.codec.config.codebook_size == 1024


def test_plain_weights_are_read_as_weight_normed_ones(huggingface: Path) -> None:
    """transformers writes weight norm in a newer form than the published files have; both are folded."""
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
        r"lm_heads.2.weight' has shape \(64, 31\), which does not go with \(64, 32\)",
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
    (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    (edit_json(model_type="musicgen_melody"), "model_type 'musicgen_melody' is not supported"),
    (edit_json(decoder__activation_function="relu"), "decoder.activation_function is 'relu'"),
    (edit_json(audio_encoder__normalize=True), "audio_encoder.normalize is True"),
    (edit_json(decoder__num_hidden_layers=4), "layers.3.*is missing"),
    (edit_json(decoder__num_hidden_layers=2), "unexpected tensors 'decoder.model.decoder.layers.2"),
]


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


def test_pickled_weights_of_transformers_are_not_read(huggingface: Path) -> None:
    (huggingface / "model.safetensors").rename(huggingface / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin\) are not read: save the model again"
    ):
        load_checkpoint(str(huggingface))


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.file,)  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["state_dict.bin", "compression_state_dict.bin"])
def test_unsafe_pickle_is_refused_and_not_run(tmp_path: Path, export: Path, name: str) -> None:
    trap = tmp_path / "run"
    torch.save({"best_state": {}, "xp.cfg": Malicious(trap)}, export / name)
    with pytest.raises(
        CheckpointError, match=rf"{name}: refused, because this pickle holds more than tensors"
    ):
        load_checkpoint(str(export))
    assert not trap.exists()


def edit_export(
    name: str, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> Callable[[Path], None]:
    """Change an export's state dict and configuration."""

    def edit(folder: Path) -> None:
        package = torch.load(folder / name, weights_only=True)
        cfg = yaml.safe_load(package.get("xp.cfg", "{}"))
        change(package, cfg)
        torch.save(package | {"xp.cfg": yaml.safe_dump(cfg)}, folder / name)

    return edit


LM, CODEC = "state_dict.bin", "compression_state_dict.bin"
EXPORT_FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (
        edit_export(LM, lambda p, _: p["best_state"].pop("emb.1.weight")),
        "state_dict.bin: tensor 'emb.1.weight' is missing",
    ),
    (
        edit_export(LM, lambda p, _: p["best_state"].update(x=torch.ones(1))),
        "unexpected tensors 'x'",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].update(dim=16)),
        r"has shape .* but .* needs",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].update(norm_first=False)),
        "transformer_lm.norm_first is False",
    ),
    (
        edit_export(LM, lambda _, c: c["transformer_lm"].update(positional_embedding="rope")),
        "positional_embedding is 'rope'",
    ),
    (
        edit_export(LM, lambda _, c: c.update(lm_model="transformer_lm_magnet")),
        "lm_model is 'transformer_lm_magnet'",
    ),
    (
        edit_export(LM, lambda _, c: c["conditioners"].update(self_wav={})),
        r"\['description', 'self_wav'\] are not supported",
    ),
    (
        edit_export(LM, lambda _, c: c["codebooks_pattern"].update(modeling="unroll")),
        "modeling is 'unroll'",
    ),
    (
        edit_export(LM, lambda _, c: c["codebooks_pattern"]["delay"].update(delays=[0, 1])),
        "2 delays for 4 codebooks",
    ),
    (
        edit_export(LM, lambda _, c: c["conditioners"]["description"]["t5"].update(finetune=True)),
        "finetune is True",
    ),
    (edit_export(LM, lambda p, _: p.pop("best_state")), "has no 'best_state'"),
    (edit_export(CODEC, lambda _, c: c["encodec"].update(renormalize=True)), "renormalize is True"),
    (
        edit_export(CODEC, lambda _, c: c.update(compression_model="dac")),
        "compression_model is 'dac'",
    ),
    (edit_export(CODEC, lambda p, _: p.update(pretrained="dac_44khz")), "points to 'dac_44khz'"),
    (
        edit_export(CODEC, lambda p, _: p.update(pretrained="/etc/passwd")),
        "points to '/etc/passwd'",
    ),
    (lambda f: (f / CODEC).unlink(), "compression_state_dict.bin: the file is missing"),
    (
        lambda f: (f / CODEC).write_bytes(b"nothing"),
        "compression_state_dict.bin: (not a readable|refused)",
    ),
]


@pytest.mark.parametrize(
    ("break_it", "said"), EXPORT_FAULTS, ids=[said[:40] for _, said in EXPORT_FAULTS]
)
def test_faults_of_an_audiocraft_export_are_named(
    export: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(export)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(export))
    assert re.search(said, caught.value.message), caught.value.message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nobody/nothing", "Hub repository 'nobody/nothing' could not be fetched .*HF_TOKEN"),
        ("no such place!", "'no such place!' is neither a folder nor the id of a hub repository"),
        ("embedded:musicgen-huge", "'embedded:musicgen-huge' is not a model inside this package"),
    ],
)
def test_unknown_sources_say_what_to_do(source: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(source)


def test_codec_must_fit_the_language_model(tmp_path: Path, hub_cache: Path, export: Path) -> None:
    from dataclasses import replace

    big = write_audiocraft(replace(MONO, codebook_size=256), tmp_path / "big", hub_cache)
    (export / CODEC).rename(big / CODEC)
    with pytest.raises(
        CheckpointError, match="4 codebooks of 256 for each channel, but the codec has 4 of 128"
    ):
        load_checkpoint(str(big))
