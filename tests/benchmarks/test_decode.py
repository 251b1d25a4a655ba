"""The benchmark runs, and ends with a line of JSON."""

import json
import sys

import pytest
import torch

from benchmarks import decode


def test_both_run_on_the_same_weights(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["decode", "--scale", "tiny", "--steps", "8", "--against", "audiocraft", "--batch", "2"]
    monkeypatch.setattr(sys, "argv", command)
    decode.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["speedup"] == pytest.approx(result["baseline_ms_per_step"] / result["ms_per_step"], rel=0.01)
    assert {"scale": "tiny", "batch": 2, "steps": 8, "precision": "fp32"}.items() <= result.items()


def test_the_compared_models_compute_the_same() -> None:
    text = torch.randn(1, decode.TEXT_TOKENS, decode.TEXT_SIZE)
    theirs = decode.audiocraft_model(decode.SCALES["tiny"], text)
    ours = decode.our_model(decode.SCALES["tiny"], theirs.state_dict(), torch.float32, torch.device("cpu"))
    projected = theirs.condition_provider.conditioners["description"].output_proj(text[0])
    torch.testing.assert_close(ours.text_proj(text[0]), projected)
    in_proj = theirs.transformer.layers[1].self_attn.in_proj_weight
    assert torch.equal(ours.state_dict()["layers.1.self_attn.qkv_proj.weight"], in_proj)
