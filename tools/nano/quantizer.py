"""Training of a residual vector quantizer by exponential moving averages (arXiv:2210.13438).

The codebooks are the buffers of transformers' EncodecModel. No function waits for the GPU.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DECAY = 0.99
SMOOTHING = 1e-5
DEAD = 0.1  # moving average of uses below which an entry is replaced by a latent of the batch
KMEANS_ITERATIONS = 20


def initialize(quantizer: Any, latents: Tensor) -> None:
    """Set each codebook to the k-means of the residuals before it. latents: [N, D]"""
    residual = latents
    for layer in quantizer.layers:
        book = layer.codebook
        means, sizes = _kmeans(residual, book.codebook_size)
        book.embed.copy_(means)
        book.embed_avg.copy_(means * sizes[:, None])
        book.cluster_size.copy_(sizes)
        residual = residual - F.embedding(book.quantize(residual), book.embed)


def quantize(quantizer: Any, latents: Tensor, *, learn: bool = True) -> tuple[Tensor, Tensor]:
    """Quantize latents [B, D, T], and move the codebooks towards them if they `learn`.

    Returns the quantized latents, with the gradient of `latents`, and the commitment loss.
    """
    residual = latents.movedim(1, 2)
    whole = torch.zeros_like(residual)
    commitments = []
    for layer in quantizer.layers:
        flat = residual.detach().flatten(0, 1)
        chosen = layer.codebook.quantize(flat)
        quantized = F.embedding(chosen, layer.codebook.embed).view_as(residual)
        if learn:
            _move(layer.codebook, flat, chosen)
        commitments.append(F.mse_loss(residual, quantized))
        residual = residual - quantized
        whole = whole + quantized
    quantized = latents + (whole.movedim(1, 2) - latents).detach()
    return quantized, torch.stack(commitments).mean()


@torch.no_grad()
def _move(book: Any, flat: Tensor, chosen: Tensor) -> None:
    """Replace dead entries by random latents, move the averages, and set the entries to them."""
    dead = book.cluster_size < DEAD
    samples = flat[torch.randint(len(flat), (book.codebook_size,), device=flat.device)]
    book.embed_avg.copy_(torch.where(dead[:, None], samples, book.embed_avg))
    book.cluster_size.copy_(torch.where(dead, 1.0, book.cluster_size))
    uses, sums = _sums(flat, chosen, book.codebook_size)
    book.cluster_size.mul_(DECAY).add_(uses, alpha=1 - DECAY)
    book.embed_avg.mul_(DECAY).add_(sums, alpha=1 - DECAY)
    book.embed.copy_(book.embed_avg / (book.cluster_size + SMOOTHING)[:, None])


def _sums(flat: Tensor, chosen: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Uses of each entry and sums of its latents: [size], [size, D]"""
    uses = flat.new_zeros(size).index_add_(0, chosen, torch.ones_like(flat[:, 0]))
    return uses, flat.new_zeros(size, flat.shape[1]).index_add_(0, chosen, flat)


def _kmeans(samples: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Means [clusters, D] and sizes; a cluster without samples keeps its mean."""
    if len(samples) >= clusters:
        picks = torch.randperm(len(samples), device=samples.device)[:clusters]
    else:
        picks = torch.randint(len(samples), (clusters,), device=samples.device)
    means = samples[picks]
    for _ in range(KMEANS_ITERATIONS):
        uses, sums = _sums(samples, torch.cdist(samples, means).argmin(1), clusters)
        means = torch.where(uses[:, None] > 0, sums / uses.clamp(min=1)[:, None], means)
    return means, uses
