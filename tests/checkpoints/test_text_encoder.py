"""The text encoder: from a T5 repository, with or without its decoder."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.text_encoder import load_text_encoder
from serve_app.errors import CheckpointError
from tests.architectures import MONO, make_t5, write_t5
from tools.nano.tokenizer import make_tokenizer

CPU = torch.device("cpu")
PROMPT = "a calm piano melody"


def hidden_states(folder: Path) -> Tensor:
    encoder = load_text_encoder(folder, CPU).eval()
    assert encoder.hidden_size == MONO.text_size
    with torch.inference_mode():
        states: Tensor = encoder(encoder.tokenize(PROMPT))
    return states


@torch.inference_mode()
def expected_states(t5: torch.nn.Module) -> Tensor:
    states: Tensor = t5(**make_tokenizer()(PROMPT, return_tensors="pt")).last_hidden_state[0]
    return states


def test_a_repository_of_the_encoder_alone_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = expected_states(make_t5(MONO))
    torch.manual_seed(3)
    torch.testing.assert_close(hidden_states(write_t5(MONO, tmp_path)), expected)


def test_the_decoder_of_a_whole_t5_is_left_out(tmp_path: Path) -> None:
    from transformers import T5ForConditionalGeneration

    encoder = make_t5(MONO)
    whole = T5ForConditionalGeneration(encoder.config)
    whole.encoder.load_state_dict(encoder.encoder.state_dict())
    whole.shared.load_state_dict(encoder.shared.state_dict())
    whole.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    torch.testing.assert_close(hidden_states(tmp_path), expected_states(encoder))


def test_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match=r"'bert' is not supported, only 't5' \(a text enco"):
        load_text_encoder(tmp_path, CPU)


def test_options_that_name_code_are_left_out(tmp_path: Path) -> None:
    file = write_t5(MONO, tmp_path) / "config.json"
    expected = hidden_states(tmp_path)
    config = json.loads(file.read_text())
    code = {"_attn_implementation_internal": "evil/code", "attn_implementation": "evil/code"}
    file.write_text(json.dumps(config | code | {"auto_map": {"AutoConfig": "evil/code--x.Y"}}))
    encoder = load_text_encoder(tmp_path, CPU)
    assert not any("evil" in str(value) for value in vars(encoder.t5.config).values())
    torch.testing.assert_close(hidden_states(tmp_path), expected)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    make_t5(MONO).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"has no tokenizer \(tokenizer.json or spiece.mod"):
        load_text_encoder(tmp_path, CPU)


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (write_t5(MONO, tmp_path) / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer.json: the tokenizer cannot be read"):
        load_text_encoder(tmp_path, CPU)
