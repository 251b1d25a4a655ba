"""Tests of the decode benchmark: its last line, and the equality of the compared models."""

import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import decode
from benchmarks.peers import SCALES, TEXT_SIZE, TEXT_TOKENS, audiocraft_model
from serve_app.engine import drawing
from serve_app.errors import ConfigError
from serve_app.models.musicgen.cpu_layers import CpuLinear
from serve_app.models.musicgen.execution import ExecutionBackend, prepare_model
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.transformer import DecoderLayer
from tests.kernels.cuda.interpreter import interpreted


def test_the_last_line_has_consistent_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "decode --scale tiny --steps 8 --batch 2 --precision fp32 int8"
    command += " --against audiocraft transformers"
    monkeypatch.setattr(sys, "argv", command.split())
    decode.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    ms = result["ms_per_step"]
    for peer in ("audiocraft", "transformers"):
        expected = {name: ms[peer] / ms[name] for name in ("fp32", "int8")}
        assert result["speedup"][peer] == pytest.approx(expected, rel=0.01)
    assert all(share > 0 for share in result["of_the_floor"].values())
    assert {"scale": "tiny", "batch": 2, "steps": 8}.items() <= result.items()


def test_the_compared_models_have_equal_weights() -> None:
    text = torch.randn(1, TEXT_TOKENS, TEXT_SIZE)
    theirs = audiocraft_model(SCALES["tiny"], text)
    ours, _ = decode.our_model(SCALES["tiny"], theirs.state_dict(), "fp32", torch.device("cpu"))
    projected = theirs.condition_provider.conditioners["description"].output_proj(text[0])
    torch.testing.assert_close(ours.text_proj(text[0]), projected)
    in_proj = theirs.transformer.layers[1].self_attn.in_proj_weight.detach().numpy()
    layer = ours.layers[1]
    assert isinstance(layer, DecoderLayer)
    qkv_proj = layer.self_attn.qkv_proj
    assert isinstance(qkv_proj, CpuLinear)
    assert isinstance(qkv_proj.stored, np.ndarray)
    assert np.array_equal(qkv_proj.stored, in_proj)


def test_steps_end_by_the_draw_kernel_as_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "draws_by_kernel", lambda _device: True)
    model, backend = decode.our_model(SCALES["tiny"], None, "fp32", torch.device("cpu"))
    text = torch.randn(1, TEXT_TOKENS, TEXT_SIZE)
    with interpreted() as launches:
        decode.our_run(model, backend, text, steps=2, batch=1)()
    assert [launch.name for launch in launches] == ["draw_kernel"] * 2


def test_a_melody_models_figures_are_consistent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The largest gap is no smaller than the median, and every precision has all figures."""
    command = "decode --family melody --scale tiny --steps 20 --precision fp32 int8 --rounds 2"
    monkeypatch.setattr(sys, "argv", command.split())
    decode.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"family": "melody", "scale": "tiny"}.items() <= result.items()
    assert set(result["figures"]) == {"fp32", "int8"}
    for figures in result["figures"].values():
        assert figures["largest gap, ms"] >= figures["median gap, ms"]
        assert len(figures) == 6
        assert all(value > 0 for value in figures.values())


def test_a_precision_that_the_card_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_int8(model: MusicGen, precision: str) -> ExecutionBackend:
        if precision == "int8":
            raise ConfigError("precision 'int8' on a GPU is not possible: it is a T4.")
        return prepare_model(model, precision)

    monkeypatch.setattr(decode, "prepare_model", without_int8)
    command = ["decode", "--scale", "tiny", "--precision", "fp32", "int8"]
    monkeypatch.setattr(sys, "argv", command)
    runs, sizes = decode.build_runs(decode._arguments())
    assert list(runs) == list(sizes) == ["fp32"]
    assert "int8 is left out. precision 'int8' on a GPU is not possible" in capsys.readouterr().err
