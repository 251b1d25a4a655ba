"""The language model's training: it learns what the prompts say, resumes, and writes a checkpoint that serves."""

from pathlib import Path

import numpy as np
import pytest
import torch

from serve_app.models.checkpoint import load_checkpoint
from tests.tools.nano.test_codec import SMALL
from tools.make_nano import make_tokenizer
from tools.nano import codec, language_model
from tools.nano.export import huggingface_encodec


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(codec, "CONFIG", SMALL)
    monkeypatch.setattr(language_model, "PIECE_S", 1.0)
    monkeypatch.setattr(language_model, "LENGTHS_S", (0.5, 1.0))
    monkeypatch.setattr(language_model, "TOKENS_PER_BATCH", 200)
    monkeypatch.setattr(language_model, "BLOCK", 4)
    monkeypatch.setattr(language_model, "LOG_EVERY", 2)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 64}
    monkeypatch.setattr(language_model, "SIZE", size)
    trained = codec.build().eval()
    for buffer in trained.quantizer.buffers():
        torch.nn.init.normal_(buffer)
    huggingface_encodec(SMALL, trained.state_dict()).save_pretrained(tmp_path / "encodec")
    return tmp_path


def test_training_resumes_and_writes_a_checkpoint_that_serves(folder: Path) -> None:
    language_model.train(folder, pieces=6, steps=2)
    language_model.train(folder, pieces=6, steps=4)
    saved = torch.load(folder / "lm.pt", weights_only=True)
    assert [step for step, _ in saved["history"]] == [2, 4]
    assert (folder / "lm.png").exists()
    checkpoint = load_checkpoint(str(folder / "musicgen-nano"))
    assert checkpoint.musicgen.config.codebook_size == 16
    assert checkpoint.sample_rate == 32_000


def test_codes_are_made_once(folder: Path) -> None:
    codes = language_model.make_codes(folder, 6)
    assert codes.shape == (6, 4, 50)
    stamp = (folder / "codes" / "0000.npy").stat().st_mtime_ns
    assert np.array_equal(language_model.make_codes(folder, 5), codes[:5])
    assert (folder / "codes" / "0000.npy").stat().st_mtime_ns == stamp


def test_delayed_sequences_are_the_engines() -> None:
    codes = torch.arange(12).view(1, 4, 3)
    assert language_model.delayed(codes, special=99)[0].tolist() == [
        [99, 0, 1, 2, 99, 99, 99],
        [99, 99, 3, 4, 5, 99, 99],
        [99, 99, 99, 6, 7, 8, 99],
        [99, 99, 99, 99, 9, 10, 11],
    ]


def test_it_learns_what_the_prompt_says(folder: Path) -> None:
    """Two prompts, each with a code of its own: soon the prompt decides, and without it there is doubt."""
    torch.manual_seed(0)
    model, tokenizer = language_model.build(folder), make_tokenizer()
    tokens = dict(tokenizer(["calm piano", "loud drums, fast"], padding=True, return_tensors="pt"))
    codes = torch.tensor([3, 9]).view(2, 1, 1).expand(2, 4, 8)
    keep = torch.ones(2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(60):
        loss = language_model.loss_of(model, tokens, codes, keep)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert language_model.loss_of(model, tokens, codes, keep) < 0.2
    swapped = language_model.loss_of(model, tokens, codes.flip(0), keep)
    assert swapped > 0.5, "the other prompt's code is not expected"
