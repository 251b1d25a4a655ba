"""SEANet's LSTM, with a skip connection."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:  # numba: small models need none
    from serve_app.models.encodec.cpu_convolutions import CpuConvolution

_LANES = 16  # of the kernel's vectors
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
        self._layers: list[tuple[CpuConvolution, NDArray[np.float32]]] = []  # made on first use

    def forward(self, x: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        """x [B, C, n] and the state before it (None: zeros) -> [B, C, n] and the state after it."""
        steps = x.permute(2, 0, 1)
        size = self.lstm.hidden_size
        if x.device.type == "cpu" and 4 * size**2 >= _MANY_WEIGHTS and size % _LANES == 0:
            y, after = self._by_kernel(x, state)
        else:
            y, (hidden, cell) = self.lstm(steps, state)
            after = LSTMState(hidden, cell)
        return (y + steps).permute(1, 2, 0), after

    def _by_kernel(self, x: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """x [B, C, n] -> [n, B, C], layer by layer: one layer's weights stay in the CPU's cache."""
        from serve_app.kernels.cpu.compilation import (  # numba: small models need none
            limit_threads,
            num_threads,
        )
        from serve_app.kernels.cpu.lstm import lstm_layer

        limit_threads(torch.get_num_threads())
        steps = x.permute(2, 0, 1)
        after = self._copy(state, steps)
        for layer, (projection, weight) in enumerate(self._kernel_layers()):
            gates = projection(steps.permute(1, 2, 0), 1, 0, len(steps), 0, False)
            steps = torch.empty(steps.shape)
            hidden = after.hidden[layer].numpy()
            cell = after.cell[layer].numpy()
            inputs = gates.permute(2, 0, 1).contiguous().numpy()
            lstm_layer(num_threads(), inputs, weight, hidden, cell, steps.numpy())
        return steps, after

    def _kernel_layers(self) -> "list[tuple[CpuConvolution, NDArray[np.float32]]]":
        """Each layer's input projection with the summed biases, and its recurrent weights."""
        from serve_app.kernels.cpu.lstm import pack_gates
        from serve_app.models.encodec.cpu_convolutions import CpuConvolution

        if not self._layers:
            for inputs, weight, *biases in self.lstm.all_weights:
                projection = CpuConvolution(inputs[:, :, None], biases[0] + biases[1])
                self._layers.append((projection, pack_gates(weight.detach().numpy())))
        return self._layers

    def _copy(self, state: LSTMState | None, steps: Tensor) -> LSTMState:
        """Return a state to update in place: a copy of `state`, or zeros."""
        if state is not None:
            return LSTMState(state.hidden.clone(), state.cell.clone())
        shape = (self.lstm.num_layers, steps.shape[1], self.lstm.hidden_size)
        return LSTMState(steps.new_zeros(shape), steps.new_zeros(shape))
