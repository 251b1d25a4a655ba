"""Residual vector quantization (SoundStream, arXiv:2107.03312).

Each codebook quantizes the previous residual.
"""

import torch
from torch import Tensor


def quantize(latents: Tensor, codebooks: Tensor) -> Tensor:
    """latents [B, D, n], codebooks [K, codebook_size, D] -> codes [B, K, n], int64"""
    residual = latents.transpose(1, 2)
    codes = []
    for codebook in codebooks:
        nearest = _nearest(residual, codebook)
        residual = residual - codebook[nearest]
        codes.append(nearest)
    return torch.stack(codes, dim=1)


def dequantize(codes: Tensor, codebooks: Tensor) -> Tensor:
    """codes [B, K, n], codebooks [>= K, codebook_size, D] -> latents [B, D, n]"""
    _, codebook_size, dim = codebooks.shape
    offsets = torch.arange(codes.shape[1], device=codes.device)[:, None] * codebook_size
    entries = codebooks.view(-1, dim)
    return entries[codes + offsets].sum(dim=1).transpose(1, 2)


def _nearest(residual: Tensor, codebook: Tensor) -> Tensor:
    """residual [B, n, D], codebook [codebook_size, D] -> indices of the nearest entries [B, n]"""
    # |r - c|^2 without |r|^2, which is the same for every entry
    return (codebook.pow(2).sum(-1) - 2 * residual @ codebook.T).argmin(-1)
