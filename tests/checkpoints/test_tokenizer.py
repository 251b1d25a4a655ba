"""The tokenizer: transformers' ids, from its own files alone, each named for its own faults."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, T5Tokenizer

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.hub import resolve
from serve_app.checkpoints.tokenizer import read_tokenizer
from serve_app.errors import CheckpointError
from tests.conftest import EMBEDDED
from tools.nano.tokenizer import make_tokenizer

PROMPTS = ["", " ", "a calm piano melody", "LO-FI  beat, 120 BPM", "ünïcode 音楽 \n", "x" * 300]
BOM = b"\xef\xbb\xbf"


def write_unigram(folder: Path) -> Path:
    """The files of a T5's own tokenizer, without the name of its class, as t5-base has them."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    T5Tokenizer(vocab=[*pieces, *letters, ("▁piano", -1.0)], extra_ids=0).save_pretrained(folder)
    edit(folder / "tokenizer_config.json", tokenizer_class=None)
    (folder / "config.json").write_text('{"model_type": "t5"}')
    return folder


def edit(file: Path, **values: Any) -> None:
    content = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({key: one for key, one in content.items() if one is not None}))


def assert_equal_ids(folder: Path, vocab_size: int = 1000) -> None:
    ours = read_tokenizer(folder, vocab_size)
    theirs = AutoTokenizer.from_pretrained(folder)
    assert type(ours) is type(theirs)
    assert len(ours) == len(theirs)
    for prompt in PROMPTS:
        assert ours(prompt)["input_ids"] == theirs(prompt)["input_ids"]


def test_ids_are_those_of_transformers(tmp_path: Path, huggingface: Path) -> None:
    assert_equal_ids(resolve(EMBEDDED), 100_000)
    assert_equal_ids(huggingface)
    assert_equal_ids(write_unigram(tmp_path / "t5"))
    (tmp_path / "t5" / "tokenizer_config.json").unlink()
    assert_equal_ids(tmp_path / "t5")


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("decoder", "add_cross_attention", "x"),
        ("audio_encoder", "target_bandwidths", "x"),
        ("text_encoder", "dtype", "float99"),
        ("text_encoder", "tokenizer_class", 5),
    ],
)
def test_options_without_effect_do_not_matter(
    huggingface: Path, section: str, name: str, value: Any
) -> None:
    file = huggingface / "config.json"
    config = json.loads(file.read_text())
    config[section][name] = value
    file.write_bytes(BOM + json.dumps(config).encode())
    tokenize = load_checkpoint(str(huggingface)).text_encoder.tokenize
    assert tokenize("calm piano") == make_tokenizer()("calm piano")["input_ids"]


@pytest.mark.parametrize("value", [5, None, "", "x-y-z"])
def test_an_option_of_t5_is_a_fault_of_the_configuration(huggingface: Path, value: Any) -> None:
    file = huggingface / "config.json"
    config = json.loads(file.read_text())
    config["text_encoder"]["feed_forward_proj"] = value
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(huggingface))
    assert caught.value.message.startswith(f"{file}: ")
    assert "tokenizer" not in caught.value.message


@pytest.mark.parametrize(
    "name",
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"],
)
@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"5", b"[" * 100_000, b"\xff", BOM + b"{}"])
def test_a_damaged_file_is_named(huggingface: Path, name: str, content: bytes) -> None:
    (huggingface / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_tokenizer(huggingface, 1000)
    assert caught.value.message.startswith(f"{huggingface / name}: ")
    assert caught.value.message.endswith("own tokenizer into the folder.")


@pytest.mark.parametrize(
    "options",
    [{"eos_token": 5}, {"model_max_length": "x"}, {"added_tokens_decoder": 5}],
    ids=str,
)
def test_options_of_the_wrong_type_are_a_fault_of_their_file(
    huggingface: Path, options: dict[str, Any]
) -> None:
    file = huggingface / "tokenizer_config.json"
    edit(file, **options)
    with pytest.raises(CheckpointError) as caught:
        read_tokenizer(huggingface, 1000)
    assert caught.value.message.startswith(f"{file}: the tokenizer cannot be read (")


def test_code_that_the_options_name_is_not_run(huggingface: Path) -> None:
    edit(
        huggingface / "tokenizer_config.json",
        auto_map={"AutoTokenizer": [None, "evil/code--x.Y"]},
    )
    assert read_tokenizer(huggingface, 1000)("piano")["input_ids"]
