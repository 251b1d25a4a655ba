"""Tests of encoding music with prompts: synthetic tracks and recordings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.tools.nano.test_codec import write_small
from tools.nano import codes, language_model, text_encoder
from tools.nano.huggingface import save
from tools.nano.prompts import duration_s, random_example


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(codes, "BLOCK", 3)
    write_small(tmp_path)
    return tmp_path


def test_synthetic_tracks_are_encoded_once(folder: Path) -> None:
    codes.synthesized(folder, 4, "cpu")
    examples = codes.load(folder)
    assert sorted((one.codes.shape, one.prompts[0], one.sound) for one in examples) == sorted(
        ((4, 50 * duration_s(seed)), prompt, score.lead)
        for seed, (score, prompt) in enumerate(map(random_example, range(4)))
    )
    assert all(len(example.prompts) == codes.PROMPTS for example in examples)
    files = {file: file.stat().st_mtime_ns for file in (folder / "codes").iterdir()}
    codes.synthesized(folder, 4, "cpu")
    assert {file: file.stat().st_mtime_ns for file in (folder / "codes").iterdir()} == files


@pytest.fixture
def checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 64}
    monkeypatch.setattr(language_model, "SIZE", size)
    text_encoder.train(folder, steps=1, examples=1)
    model, tokenizer = language_model.build(folder)
    save(model, tokenizer, folder / "checkpoint")
    return folder / "checkpoint"


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    return folder


def write_music(folder: Path, name: str, seconds: float, prompt: str | None) -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal((int(seconds * 22_050), 2))
    soundfile.write(folder / name, samples, 22_050)
    if prompt is not None:
        (folder / name).with_suffix(".txt").write_text(prompt)


def test_recordings_are_cut_into_windows(
    folder: Path, checkpoint: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "WINDOW_S", 2.0)
    monkeypatch.setattr(codes, "SHORTEST_S", 1.0)
    write_music(music, "a.wav", 5.5, "sea shanty\n")
    write_music(music, "b.flac", 2.9, "jazz")
    codes.recorded(folder, music, checkpoint)
    found = [
        (example.codes.shape, example.prompts, example.sound) for example in codes.load(folder)
    ]
    assert found == [
        ((4, 75), ["sea shanty"], codes.RECORDED),
        ((4, 100), ["sea shanty"], codes.RECORDED),
        ((4, 100), ["sea shanty"], codes.RECORDED),
        ((4, 100), ["jazz"], codes.RECORDED),
    ]


def test_errors_name_the_unusable_file(folder: Path, checkpoint: Path, music: Path) -> None:
    with pytest.raises(SystemExit, match="has no audio files"):
        codes.recorded(folder, music, checkpoint)
    write_music(music, "a.wav", 7.0, None)
    with pytest.raises(SystemExit, match=r"a\.wav has no prompt: write it into a\.txt"):
        codes.recorded(folder, music, checkpoint)
    write_music(music, "a.wav", 3.0, "jazz")
    with pytest.raises(SystemExit, match=r"a\.wav is shorter than 6 s"):
        codes.recorded(folder, music, checkpoint)
    (music / "a.wav").write_bytes(b"no audio")
    with pytest.raises(SystemExit, match=r"a\.wav cannot be read"):
        codes.recorded(folder, music, checkpoint)
