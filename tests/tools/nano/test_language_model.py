"""Tests of the language model's training: it follows prompts, resumes, and exports a checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.config.adapter import AdapterSource
from tests.tools.nano.test_codec import write_small
from tools.nano import batches, language_model, prediction, text_encoder, training


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A codec, and codes of two kinds of examples that differ in their prompts alone."""
    monkeypatch.setattr(batches, "LENGTHS_S", (0.5, 1.0))
    monkeypatch.setattr(language_model, "EARLY_SHARES", (0.5, 0.5))
    monkeypatch.setattr(language_model, "LATE_SHARES", (0.0, 1.0))
    monkeypatch.setattr(batches, "FRAMES_PER_BATCH", 200)
    monkeypatch.setattr(training, "LOG_EVERY", 2)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 64}
    monkeypatch.setattr(language_model, "SIZE", size)
    write_small(tmp_path)
    text_encoder.train(tmp_path, steps=1, examples=1)
    (tmp_path / "codes").mkdir()
    codes = np.stack([np.full((4, 50), 3), np.full((4, 50), 9)]).astype(np.int16)
    np.save(tmp_path / "codes" / "0000.npy", codes)
    described = [
        {"prompts": ["calm piano"], "sound": "piano"},
        {"prompts": ["loud drums, fast"], "sound": "drums"},
    ]
    (tmp_path / "codes" / "0000.json").write_text(json.dumps(described))
    return tmp_path


def test_training_resumes_and_exports_a_loadable_checkpoint(folder: Path) -> None:
    language_model.train(folder, steps=2)
    language_model.train(folder, steps=4)
    saved = torch.load(folder / "lm.pt", weights_only=True)
    assert [step for step, *_ in saved["history"]] == [2, 4]
    assert (folder / "lm.png").exists()
    assert str(folder) not in (folder / "checkpoint" / "config.json").read_text()
    checkpoint = load_checkpoint(str(folder / "checkpoint"))
    assert checkpoint.musicgen.config.codebook_size == 16
    assert checkpoint.sample_rate == 32_000


def test_fine_tuning_keeps_the_text_encoder(folder: Path) -> None:
    language_model.train(folder, steps=1)
    (folder / "checkpoint").rename(folder / "first")
    (folder / "lm.pt").unlink()
    language_model.train(folder, steps=3, checkpoint=folder / "first", learning_rate=1e-3)
    first, second = (load_checkpoint(str(folder / name)) for name in ("first", "checkpoint"))
    for before, after in zip(
        first.text_encoder.parameters(), second.text_encoder.parameters(), strict=True
    ):
        assert torch.equal(before, after)
    assert not torch.equal(first.musicgen.embedding.weight, second.musicgen.embedding.weight)


def test_an_adapter_is_trained_and_served_on_its_base(folder: Path) -> None:
    language_model.train(folder, steps=1)
    base = (folder / "checkpoint").rename(folder / "base")
    (folder / "lm.pt").unlink()
    language_model.train(folder, steps=2, checkpoint=base, learning_rate=1e-2, adapter_rank=4)
    language_model.train(folder, steps=3, checkpoint=base, learning_rate=1e-2, adapter_rank=4)
    named = AdapterSource(source=str(folder / "adapter"))
    before = load_checkpoint(str(base)).musicgen.state_dict()
    after = load_checkpoint(str(base), adapters=[named]).musicgen.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith("weight") and "norm" not in name}
    assert not (folder / "checkpoint").exists()


def test_without_codes_the_error_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"is empty: python -m tools\.nano\.codes"):
        language_model.train(tmp_path, steps=1)


def test_the_delay_pattern() -> None:
    codes = torch.arange(12).view(1, 4, 3)
    assert prediction.delayed(codes, special=99)[0].tolist() == [
        [99, 0, 1, 2, 99, 99, 99],
        [99, 99, 3, 4, 5, 99, 99],
        [99, 99, 99, 6, 7, 8, 99],
        [99, 99, 99, 99, 9, 10, 11],
    ]


def test_the_delay_pattern_of_a_shorter_example() -> None:
    codes = torch.tensor([[5, -1], [6, -1]])[None]
    assert prediction.delayed(codes, special=99)[0].tolist() == [
        [99, 5, 99, 99],
        [99, 99, 6, 99],
    ]


def test_logits_depend_on_the_past_alone(folder: Path) -> None:
    model, tokenizer = language_model.build(folder)
    tokens = dict(tokenizer(["calm piano"], return_tensors="pt"))
    codes = torch.randint(0, 16, (1, 4, 30))
    other = codes.clone()
    other[..., 20:] = (other[..., 20:] + 1) % 16
    with torch.no_grad():
        first, second = (
            prediction.logits_of(model, tokens, x, torch.ones(1)) for x in (codes, other)
        )
    assert torch.equal(first[..., :20, :], second[..., :20, :])
    assert not torch.equal(first[..., 24:, :], second[..., 24:, :])


def test_training_on_two_prompts_tells_them_apart(folder: Path) -> None:
    """Two prompts with one code each: the loss is low with the right one, high with the other."""
    torch.manual_seed(0)
    model, tokenizer = language_model.build(folder)
    tokens = dict(tokenizer(["calm piano", "loud drums, fast"], padding=True, return_tensors="pt"))
    codes = torch.tensor([3, 9]).view(2, 1, 1).expand(2, 4, 8)
    keep = torch.ones(2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(60):
        loss = prediction.loss_of(model, tokens, codes, keep)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert prediction.loss_of(model, tokens, codes, keep) < 0.2
    swapped = prediction.loss_of(model, tokens, codes.flip(0), keep)
    assert swapped > 0.5, "the other prompt's code is unlikely"
