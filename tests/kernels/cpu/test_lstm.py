"""The recurrence of an LSTM layer against PyTorch's, in one call and in two."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from serve_app.kernels.cpu.lstm import lstm_layer

SIZE, STEPS = 24, 9


@pytest.mark.parametrize("split", [STEPS, 4])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_recurrence_equals_pytorchs(batch: int, split: int) -> None:
    lstm = nn.LSTM(SIZE, SIZE).requires_grad_(False)
    x = torch.randn(STEPS, batch, SIZE)
    expected, (last_hidden, last_cell) = lstm(x)
    [[input_weight, weight, *biases]] = lstm.all_weights
    gates = F.linear(x, input_weight, biases[0] + biases[1]).numpy()
    hidden = np.zeros((batch, SIZE), np.float32)
    cell = np.zeros((batch, SIZE), np.float32)
    out = np.empty((STEPS, batch, SIZE), np.float32)
    for part in filter(len, np.split(np.arange(STEPS), [split])):
        steps = slice(part[0], part[-1] + 1)
        lstm_layer(gates[steps], weight.numpy(), hidden, cell, out[steps])
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(hidden, last_hidden[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(cell, last_cell[0], rtol=0, atol=1e-6)
