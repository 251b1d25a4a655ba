"""Stages kept in the repository: a training goes on from them."""

from pathlib import Path

import pytest
import torch

from tools.nano import language_model, train
from tools.nano.resume import LANGUAGE_MODEL, MODEL, WEIGHTS, keep, restore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that goes on from the repository's stages."""
    folder = tmp_path_factory.mktemp("nano")
    restore(folder)
    return folder


def test_the_kept_stages_build_the_model_of_the_recipe(folder: Path) -> None:
    state = torch.load(folder / "lm.pt", weights_only=True)
    assert 0 < state["step"] <= language_model.STEPS
    model, tokenizer = language_model.build(folder)
    model.load_state_dict(state["model"])
    assert tokenizer("calm piano, 80 bpm")["input_ids"]
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_a_kept_training_is_restored_as_it_was(folder: Path, tmp_path: Path) -> None:
    keep(folder, tmp_path / "weights")
    restore(tmp_path / "again", tmp_path / "weights")
    first, again = (
        torch.load(one / "lm.pt", weights_only=True) for one in (folder, tmp_path / "again")
    )
    assert first["step"] == again["step"]
    decoder = {name: one for name, one in first["model"].items() if name.startswith("decoder.")}
    assert decoder
    assert all(torch.equal(again["model"][name], one) for name, one in decoder.items())


def test_a_training_under_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "encodec").mkdir()
    (tmp_path / "lm.pt").write_text("its own")
    restore(tmp_path)
    assert not (tmp_path / "encodec" / MODEL).exists()
    assert (tmp_path / "lm.pt").read_text() == "its own"
    assert (tmp_path / "text_encoder" / MODEL).exists()


def test_weights_of_another_model_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(language_model.SIZE, "num_hidden_layers", 4)
    with pytest.raises(SystemExit, match=f"{LANGUAGE_MODEL} is of another model"):
        restore(tmp_path)


def test_finished_stages_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    class Recorded:
        def __init__(self, name: str, *_: object) -> None:
            ran.append(name)

        def wait(self) -> None:
            """End at once."""

    monkeypatch.setattr(train, "Stage", Recorded)
    train.train(tmp_path / "kept", "cpu")
    assert ran == ["codes", "language_model"]
    ran.clear()
    train.train(tmp_path / "scratch", "cpu", scratch=True)
    assert ran == ["text_encoder", "codec", "codes", "language_model"]
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) < 17e6
