"""SEANet's LSTM, with a skip connection."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve_app.models.encodec.onednn import as_operand

_MANY_WEIGHTS = 2**19  # of a layer; a smaller layer stays in the CPU's cache with PyTorch, too


class LSTMState(NamedTuple):
    """Hidden and cell state after a time step, each [num_layers, B, C]."""

    hidden: Tensor
    cell: Tensor


class SkipLSTM(nn.Module):
    """LSTM over time, added to its input."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers)
        self._inputs: list[tuple[Tensor, Tensor]] = []  # oneDNN's operands, made on first use

    def forward(self, x: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        """x [B, C, n] and the state before it (None: zeros) -> [B, C, n] and the state after it."""
        steps = x.permute(2, 0, 1)
        if x.device.type == "cpu" and 4 * self.lstm.hidden_size**2 >= _MANY_WEIGHTS:
            y, after = self._by_kernel(steps, state)
        else:
            y, (hidden, cell) = self.lstm(steps, state)
            after = LSTMState(hidden, cell)
        return (y + steps).permute(1, 2, 0), after

    def _by_kernel(self, steps: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """steps [n, B, C], layer by layer: the weights of one layer stay in the CPU's cache."""
        from serve_app.kernels.cpu.compilation import limit_threads  # numba: small models need none
        from serve_app.kernels.cpu.lstm import lstm_layer

        limit_threads(torch.get_num_threads())
        inputs = self._input_projections()
        after = self._copy(state, steps)
        for layer, (_, weight, *_) in enumerate(self.lstm.all_weights):
            gates = F.linear(as_operand(steps), *inputs[layer]).to_dense()
            steps = torch.empty(*steps.shape[:2], self.lstm.hidden_size)
            hidden = after.hidden[layer].numpy()
            cell = after.cell[layer].numpy()
            lstm_layer(gates.numpy(), weight.detach().numpy(), hidden, cell, steps.numpy())
        return steps, after

    def _input_projections(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and summed biases of each layer's input projection, as oneDNN's operands."""
        if not self._inputs:
            parts = self.lstm.all_weights
            self._inputs = [(as_operand(w), as_operand(b0 + b1)) for w, _, b0, b1 in parts]
        return self._inputs

    def _copy(self, state: LSTMState | None, steps: Tensor) -> LSTMState:
        """Return a state to update in place: a copy of `state`, or zeros."""
        if state is not None:
            return LSTMState(state.hidden.clone(), state.cell.clone())
        shape = (self.lstm.num_layers, steps.shape[1], self.lstm.hidden_size)
        return LSTMState(steps.new_zeros(shape), steps.new_zeros(shape))
