"""Linear layers on the CPU kernels, for the few rows of a step and the many of a prefill."""

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve_app.kernels.cpu.compilation import limit_threads
from serve_app.kernels.cpu.many_rows import product_of_many
from serve_app.kernels.cpu.packing import MAX_INT8, TILE, pack_int8, unpack_int8
from serve_app.kernels.cpu.products import QuantizedWeight, Weight, product, split_weight

MANY_ROWS = 32  # from here on a product is compute-bound, not memory-bound
_STORED_AS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class CpuLinear(nn.Module):
    """A linear layer with weights of any precision: x [n, in_features], fp32 -> [n, out_features].

    A row's result is independent of the other rows; in int8 up to MANY_ROWS rows, more of which
    PyTorch computes.
    Raises ValueError if `out_features` is no multiple of the kernels' tile.
    """

    def __init__(self, linear: nn.Linear, precision: str) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.precision = precision
        if self.out_features % TILE:
            raise ValueError(
                f"the layer's {self.out_features} outputs ({self.in_features} inputs) are no "
                f"multiple of {TILE}, which the CPU kernels need: run this model on a GPU"
            )
        self.bias = linear.bias
        self.stored = _stored(linear.weight.detach(), precision)
        self.bias_array = np.empty(0, np.float32) if self.bias is None else _array(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.precision == "int8" and len(x) > MANY_ROWS:
            return F.linear(x, self._dequantized(), self.bias)
        limit_threads(torch.get_num_threads())
        y = torch.empty(len(x), self.out_features)
        rows = x.contiguous().numpy()
        if self.precision == "int8":
            product(rows, self.stored, self.bias_array, y.numpy(), 1, False)
        else:
            stored, _ = split_weight(self.stored)
            product_of_many(rows, stored, self.bias_array, y.numpy())
        return y

    def _dequantized(self) -> Tensor:
        """Return int8 weights in fp32: [out_features, in_features]."""
        qweight, scales = cast(QuantizedWeight, self.stored)
        unpacked = torch.from_numpy(unpack_int8(qweight, self.in_features))
        return unpacked * torch.from_numpy(scales)[:, None]


def _stored(weight: Tensor, precision: str) -> Weight:
    """Convert weights to the kernels' format; int8 has one scale for each output."""
    if precision == "int8":
        scales = (weight.abs().amax(dim=1) / MAX_INT8).clamp(min=torch.finfo(torch.float32).tiny)
        quantized = torch.div(weight, scales[:, None]).round_().to(torch.int8)
        return pack_int8(quantized.numpy()), scales.numpy()
    stored = weight.to(_STORED_AS[precision]).contiguous()
    if precision == "fp32":
        return stored.numpy()
    bits = stored.view(torch.int16).numpy()
    return bits.view(np.uint16) if precision == "fp16" else bits


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().numpy()
