"""Fits a MusicGen to a CPU: a step reads all its weights, so its time is their bytes, at the speed of memory."""

from typing import cast

import torch
from torch import nn

from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.transformer import DecoderLayer, Linear

LARGE = 2**19  # weights of a layer: smaller ones stay in the CPU's cache


def optimize_for_cpu(model: MusicGen, precision: str) -> None:
    """Put layers made for few rows, with weights of this precision, in the place of the decoder's layers and the heads.
    The model must be fp32; a small one that is to stay so is left as it is.

    Embeddings, norms and the projection of the text stay in fp32, and all arithmetic but int8's products is in it.
    """
    if precision == "fp32" and model.heads.weight.numel() < LARGE:
        return
    from serve_app.models.musicgen.cpu_layers import (  # they import numba, which small models do not
        CpuDecoderLayer,
        CpuLinear,
    )

    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Linear):
                setattr(module, name, CpuLinear(child, precision))
    for number, layer in enumerate(model.layers):
        model.layers[number] = CpuDecoderLayer(cast(DecoderLayer, layer))


def precision_of(model: MusicGen) -> str:
    """What the weights are stored as."""
    if is_fitted(model):
        return str(model.heads.precision)
    return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[
        model.embedding.weight.dtype
    ]


def is_fitted(model: MusicGen) -> bool:
    """Whether `optimize_for_cpu` has changed it."""
    return not isinstance(model.heads, nn.Linear)
