"""Cases of the product kernel: the products of a layer and of the heads, in fp16 and in int8."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_check.kernel_case import Case, bound_of, deviation, random
from benchmarks.gpu_check.measurement import Setting
from benchmarks.peers import Scale
from serve_app.kernels.cuda.norm import Norm
from serve_app.kernels.cuda.products import Weights, Workspace, multiply

_EPS = 1e-5


@dataclass(frozen=True)
class Product:
    """A product of a decode step: its outputs and inputs, and what is fused with it."""

    name: str
    outputs: int
    inputs: int
    norm: bool = False
    gelu: bool = False
    residual: bool = False


def products(scale: Scale, codes: int) -> list[Product]:
    """List the products of a step. codes: outputs of all heads together."""
    width = scale.hidden_size
    return [
        Product("norm, QKV", 3 * width, width, norm=True),
        Product("out, residual", width, width, residual=True),
        Product("norm, fc1, GELU", 4 * width, width, norm=True, gelu=True),
        Product("fc2, residual", width, 4 * width, residual=True),
        Product("norm, heads", codes, width, norm=True),
    ]


def cases(size: str, scale: Scale, setting: Setting) -> Iterator[Case]:
    """Yield every product for 1 and 16 guided slots, with weights in fp16 and int8."""
    for product in products(scale, 256 if setting.tiny else 4 * 2048):
        for rows in (2,) if setting.tiny else (2, 8, 32):
            for int8 in (False, True):
                yield _case(size, product, rows, int8, setting)


def _case(size: str, product: Product, rows: int, int8: bool, setting: Setting) -> Case:
    x = random(setting, rows, product.inputs)
    weight = random(setting, product.outputs, product.inputs, std=product.inputs**-0.5)
    weights = _int8(weight) if int8 else Weights(weight)
    norm = _norm(product.inputs, setting) if product.norm else None
    before = random(setting, rows, product.outputs)
    workspace = Workspace(
        rows, [(product.outputs, product.inputs)], _processors(setting), setting.device
    )

    def run(out: Tensor) -> Tensor:
        multiply(x, weights, out, workspace, norm, product.gelu, product.residual)
        return out

    exact = _exact(product, x, weights, norm, before)
    error = deviation(run(before.clone()), exact)
    out = before.clone()
    numbers = weights.weight
    nbytes = numbers.numel() * numbers.element_size()
    kind = "int8" if int8 else "fp16" if setting.on_gpu else "fp32"
    name = f"{size}: {product.name}, {rows} rows, {kind}"
    bound = 2 * bound_of(setting)
    return Case(name, error, bound, lambda: run(out), lambda: F.linear(x, weight), nbytes)


def _int8(weight: Tensor) -> Weights:
    """Quantize each output's weights to int8 with one scale."""
    scales = weight.float().abs().amax(dim=1) / 127
    return Weights((weight.float() / scales[:, None]).round().to(torch.int8), scales)


def _norm(inputs: int, setting: Setting) -> Norm:
    gains = 1 + random(setting, inputs, std=0.1)
    return Norm(gains, random(setting, inputs, std=0.1), _EPS)


def _exact(
    product: Product, x: Tensor, weights: Weights, norm: Norm | None, before: Tensor
) -> Tensor:
    """Compute the product in fp32, with weights as they are stored."""
    y = x.float()
    if norm is not None:
        y = F.layer_norm(y, y.shape[-1:], norm.gains.float(), norm.shifts.float(), norm.eps)
    weight = weights.weight.float()
    if weights.scales is not None:
        weight = weight * weights.scales[:, None]
    y = F.linear(y, weight)
    y = F.gelu(y) if product.gelu else y
    return before.float() + y if product.residual else y


def _processors(setting: Setting) -> int:
    if not setting.on_gpu:
        return 8
    return int(torch.cuda.get_device_properties(setting.device).multi_processor_count)
