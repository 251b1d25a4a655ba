"""The recurrence of an LSTM layer against PyTorch's, in one call and in two."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from serve_app.kernels.cpu.lstm import lstm_layer, pack_gates

SIZE, STEPS = 48, 9


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("split", [STEPS, 4])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_recurrence_equals_pytorchs(batch: int, split: int, threads: int) -> None:
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
        lstm_layer(threads, gates[steps], pack_gates(weight.numpy()), hidden, cell, out[steps])
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(hidden, last_hidden[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(cell, last_cell[0], rtol=0, atol=1e-6)


def test_states_are_as_exact_as_pytorchs() -> None:
    """Errors beside double precision, over inputs that saturate the gates and that do not."""
    lstm = nn.LSTM(SIZE, SIZE).requires_grad_(False)
    x = torch.logspace(-3, 2, 200)[:, None, None] * torch.randn(200, 1, SIZE)
    rounded = lstm(x)[0]
    [[input_weight, weight, *biases]] = lstm.all_weights
    gates = F.linear(x, input_weight, biases[0] + biases[1]).numpy()
    state = np.zeros((2, 1, SIZE), np.float32)
    out = np.empty((200, 1, SIZE), np.float32)
    lstm_layer(2, gates, pack_gates(weight.numpy()), state[0], state[1], out)
    exact = lstm.double()(x.double())[0]
    error = (torch.from_numpy(out) - exact).abs().max()
    assert error <= 2 * (rounded - exact).abs().max()


def test_a_size_that_vectors_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="24 units: the kernel needs a multiple of 16"):
        pack_gates(np.zeros((96, 24), np.float32))
