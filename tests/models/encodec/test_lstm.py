"""A large LSTM goes through the CPU kernel, with PyTorch's results."""

import pytest
import torch

from serve_app.models.encodec import lstm as module
from serve_app.models.encodec.lstm import SkipLSTM


@pytest.mark.parametrize("batch", [1, 2])
def test_a_large_lstm_equals_the_plain_one(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lstm = SkipLSTM(64, 2).requires_grad_(False)
    x = torch.randn(batch, 64, 30)
    expected, state = lstm(x)
    monkeypatch.setattr(module, "_MANY_WEIGHTS", 0)
    first, between = lstm(x[..., :11])
    copy = between.hidden.clone()
    second, after = lstm(x[..., 11:], between)
    torch.testing.assert_close(torch.cat([first, second], dim=-1), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.hidden, state.hidden, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.cell, state.cell, atol=1e-5, rtol=0)
    assert torch.equal(between.hidden, copy), "the state given is not changed"
